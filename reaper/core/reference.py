"""Names as the OCI distribution specification defines them: repository, tag, digest, reference."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

from reaper.core.errors import InvalidInputError

# OCI distribution-spec 1.1, "Pulling manifests": <name> and <reference> as a tag.
_REPOSITORY = re.compile(r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*")
_TAG = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}", re.ASCII)
# OCI image-spec 1.1, descriptor.md, "Digests"; the two registered algorithms have fixed lengths.
_DIGEST = re.compile(r"sha256:[a-f0-9]{64}|sha512:[a-f0-9]{128}")
# distribution/reference, grammar: <domain>, which is a host with or without a port.
_LABEL = "[a-zA-Z0-9](?:[a-zA-Z0-9-]*[a-zA-Z0-9])?"
_HOST = re.compile(rf"(?:{_LABEL}(?:\.{_LABEL})*|\[[a-fA-F0-9:]+\])(?::[0-9]+)?")
# The referrers tag schema (distribution-spec 1.1) and cosign's suffixes on the same stem.
_REFERRER_TAG = re.compile(r"(sha256|sha512)-([a-f0-9]{64}|[a-f0-9]{128})(?:\.(sig|att|sbom))?")

#: distribution refuses longer names; the specification leaves the limit to the registry.
MAX_REPOSITORY_LENGTH = 255


def is_repository(text: str) -> bool:
    """Tell whether ``text`` is a repository name (distribution-spec, ``<name>``)."""
    return len(text) <= MAX_REPOSITORY_LENGTH and _REPOSITORY.fullmatch(text) is not None


def is_tag(text: str) -> bool:
    """Tell whether ``text`` is a tag (distribution-spec, ``<reference>`` as a tag)."""
    return _TAG.fullmatch(text) is not None


def is_digest(text: str) -> bool:
    """Tell whether ``text`` is a digest of a registered algorithm (sha256 or sha512)."""
    return _DIGEST.fullmatch(text) is not None


def is_host(text: str) -> bool:
    """Tell whether ``text`` is a host, with or without a port, as references of images write it."""
    return _HOST.fullmatch(text) is not None


def digest_of(content: bytes, algorithm: str = "sha256") -> str:
    """Return the digest of ``content``, such as ``sha256:…``.

    Raises:
        InvalidInputError: the algorithm is not sha256 or sha512.
    """
    if algorithm not in ("sha256", "sha512"):
        raise InvalidInputError(f"unknown digest algorithm {algorithm!r}")
    return f"{algorithm}:{hashlib.new(algorithm, content).hexdigest()}"


def short(digest: str) -> str:
    """Return as much of ``digest`` as people need to tell two apart: ``sha256:`` and twelve digits."""
    algorithm, colon, value = digest.partition(":")
    return f"{algorithm}{colon}{value[:12]}"


def subject_of_tag(tag: str) -> str | None:
    """Return the digest that a referrer's tag (``sha256-<hex>[.sig|.att|.sbom]``) names, or None.

    Source: distribution-spec 1.1, "Referrers Tag Schema"; cosign's ``SignatureTag`` and its siblings.
    """
    match = _REFERRER_TAG.fullmatch(tag)
    if match is None:
        return None
    digest = f"{match[1]}:{match[2]}"
    return digest if is_digest(digest) else None


@dataclass(frozen=True, slots=True)
class Reference:
    """A repository, or one image in it: by tag, by digest, or by neither."""

    repository: str
    tag: str | None = None
    digest: str | None = None

    def __str__(self) -> str:
        tag = f":{self.tag}" if self.tag else ""
        digest = f"@{self.digest}" if self.digest else ""
        return f"{self.repository}{tag}{digest}"


def parse_reference(text: str) -> Reference:
    """Return the reference that ``REPOSITORY[:TAG|@DIGEST]`` names, inside one registry.

    Raises:
        InvalidInputError: a part breaks the specification's grammar.
    """
    rest, at, digest = text.partition("@")
    head, slash, last = rest.rpartition("/")
    last, colon, tag = last.partition(":")
    repository = f"{head}{slash}{last}"
    if not is_repository(repository):
        raise InvalidInputError(
            f"{text!r} does not name a repository",
            hint="write REPOSITORY, REPOSITORY:TAG or REPOSITORY@DIGEST, without the registry's host",
        )
    if colon and not is_tag(tag):
        raise InvalidInputError(f"{tag!r} in {text!r} is not a tag")
    if at and not is_digest(digest):
        raise InvalidInputError(f"{digest!r} in {text!r} is not a digest")
    return Reference(repository, tag or None, digest or None)
