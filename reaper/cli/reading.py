"""What commands that look at one repository have in common."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import typer

from reaper.cli.session import Session
from reaper.compose import protector_for
from reaper.core.errors import ReaperError
from reaper.core.reference import Reference
from reaper.core.snapshot import Snapshot
from reaper.inventory import Inventory
from reaper.registry import NotFoundError
from reaper.run import utc_now


async def read(opened: Session, repository: str) -> Snapshot:
    """Return the repository as it is now.

    Raises:
        ReaperError: it is not there, or could not be read completely.
    """
    snapshot = await inventory_of(opened).read(repository)
    if not snapshot.tags and not snapshot.manifests:
        try:
            await opened.client.tags(repository)
        except NotFoundError as error:
            hint = "`reaper ls` lists the repositories"
            raise ReaperError(f"there is no repository {repository}", hint=hint) from error
    return snapshot


async def referrers_of(opened: Session, snapshot: Snapshot, digests: Iterable[str]) -> Snapshot:
    """Return the snapshot with what the registry itself lists as referrers of ``digests``, if it does that.

    Raises:
        ReaperError: it does, and could not be asked.
    """
    if not await opened.client.has_referrers_api(snapshot.repository):
        return snapshot
    return await inventory_of(opened).with_referrers(snapshot, digests)


def digest_of(snapshot: Snapshot, named: Reference) -> str | None:
    """Return the digest that ``named`` stands for, None for the whole repository.

    Raises:
        ReaperError: it is not there.
    """
    if named.tag is not None:
        if named.tag not in snapshot.tags:
            raise ReaperError(f"{named} is not there", hint=f"`reaper ls {named.repository}` lists its tags")
        digest = snapshot.tags[named.tag].digest
        if named.digest not in (None, digest):
            raise ReaperError(f"{named} is not there: the tag is on {digest}")
        return digest
    if named.digest is not None and named.digest not in snapshot.manifests:
        hint = "reaper knows tagged manifests, their parts, and what it has seen before"
        raise ReaperError(f"{named} is not known", hint=hint)
    return named.digest


async def in_use_of(opened: Session) -> Callable[[str], Mapping[str, str]]:
    """Return what says of a repository what is in use there, as far as that can be read.

    What cannot be read is said on standard error.
    """
    protector = protector_for(opened.settings, opened.registry, opened.store)
    if protector is None:
        return lambda _repository: {}
    protection = await protector.read()
    for problem in protection.problems:
        typer.echo(f"reaper: not all images in use are known, so a run would be blocked: {problem}", err=True)
    return protection.in_use.of


def inventory_of(opened: Session) -> Inventory:
    """Return what reads the session's registry, as of now."""
    return Inventory(
        opened.client,
        opened.store,
        registry=opened.key,
        now=utc_now(),
        concurrency=opened.registry.concurrency,
    )
