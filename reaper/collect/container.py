"""How a container that runs the registry says where its configuration is, and so how to collect it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import Final

from reaper.collect.base import CollectError
from reaper.collect.distribution import SUBCOMMAND, deletes_untagged, dry_run_command, is_dry_run
from reaper.core.errors import InvalidInputError

#: Where the images of distribution have their configuration: 2.x, then 3.x.
_PLACES: Final = ("/etc/docker/registry/config.yml", "/etc/distribution/config.yml")
_IMAGE: Final = re.compile(r"(?:^|/)(?:registry|distribution):v?([23])(?:[.@-]|$)")


def collector_command(
    started_with: Sequence[str],
    *,
    environment: str | None = None,
    mounts: Collection[str] = (),
    image: str = "",
) -> list[str] | None:
    """Return the command that collects what a container serves, or None where that cannot be told.

    ``started_with`` is its entrypoint with the arguments, as far as they are known; ``environment`` the
    value of ``REGISTRY_CONFIGURATION_PATH``, which the registry looks at when no argument names the file;
    ``mounts`` are the places at which the container has volumes; ``image`` is the image's name.
    """
    words = list(started_with)
    binary = "registry"
    if "serve" in words[1:]:
        at = words.index("serve", 1)
        binary, words = words[at - 1], words[at + 1 :]
    named = next((word for word in reversed(words) if _is_configuration(word)), None)
    found = named or environment or _by_mounts(mounts) or _by_image(image)
    return [binary, SUBCOMMAND, found] if found else None


def refuse_unfit_command(command: Sequence[str] | None) -> None:
    """Refuse a configured command that is only ever a dry run, hides the collector, or removes too much.

    Raises:
        InvalidInputError: it is one.
    """
    if command is None:
        return
    if dry_run_command(command) is None or is_dry_run(command):
        raise InvalidInputError(
            "the collection's command does not run the collector itself",
            hint="write it as [registry, garbage-collect, /etc/distribution/config.yml]",
        )
    if deletes_untagged(command):
        raise InvalidInputError("reaper deletes untagged manifests itself: leave --delete-untagged out")


def refuse_lasting_cache(variables: Mapping[str, str], whose: str) -> None:
    """Refuse descriptors in Redis, as far as variables tell: a restart does not drop them.

    Raises:
        CollectError: they are there.
    """
    caches = ("REGISTRY_STORAGE_CACHE_BLOBDESCRIPTOR", "REGISTRY_STORAGE_CACHE")
    if any("redis" in variables.get(each, "") for each in caches):
        raise CollectError(
            f"{whose} keeps descriptors in Redis, which outlive its restart: after a collection it would "
            "accept pushes without their layers",
            hint="use the cache inmemory, or none",
        )


def _is_configuration(word: str) -> bool:
    return word.endswith((".yml", ".yaml")) and not any(each.isspace() for each in word)


def _by_mounts(mounts: Collection[str]) -> str | None:
    given = {mount.rstrip("/") for mount in mounts}
    fitting = [place for place in _PLACES if given & {place, place.rpartition("/")[0]}]
    return fitting[0] if len(fitting) == 1 else None


def _by_image(image: str) -> str | None:
    match = _IMAGE.search(image)
    return _PLACES[int(match[1]) - 2] if match else None
