"""Looks up again, directly before a delete, everything that the plan relied on."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from reaper.concurrency import collect
from reaper.core.errors import ReaperError
from reaper.core.manifest import parse_manifest
from reaper.core.plan import Step
from reaper.core.reference import subject_of_tag
from reaper.registry import NotFoundError, ProtocolError, RegistryClient


class ChangedError(ReaperError):
    """The registry is no longer as the plan saw it; the step it concerns is cancelled.

    ``put_back`` are the tags that it had taken along before that was noticed, and that are there again.
    """

    def __init__(self, message: str, *, put_back: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.put_back = tuple(put_back)


class Recheck:
    """What one repository's tags point to, kept fresh while its plan is swept.

    The listing and the tags of the digest in question are read anew for each delete. All other tags are
    resolved again when the last look at them is older than ``freshness`` seconds, or than it took itself:
    a tag that moves onto a doomed digest in between is noticed missing right after the delete, and put back.

    ``known`` are all manifests that the plan knew.
    """

    def __init__(
        self,
        client: RegistryClient,
        repository: str,
        tags: Mapping[str, str],
        known: Collection[str],
        *,
        concurrency: int,
        freshness: float = 1.0,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._repository = repository
        self._planned = dict(tags)
        self._known = frozenset(known)
        self._concurrency = concurrency
        self._freshness = freshness
        self._monotonic = monotonic
        self._stale_at: float | None = None
        #: What each tag pointed to when last looked at.
        self.current: dict[str, str] = dict(tags)
        self._reached: dict[str, frozenset[str]] = {}

    async def deletion(self, step: Step) -> None:
        """Check that deleting ``step.digest`` still does just what the plan says.

        Raises:
            ChangedError: a tag moved or is new on the digest, or something new needs the digest.
            RegistryError: something could not be looked up.
        """
        await self._refresh(step.tags)
        on_digest = {name for name, digest in self.current.items() if digest == step.digest}
        moved = sorted(set(step.tags) - on_digest)
        if moved:
            raise ChangedError(f"tag {moved[0]} has moved or is gone since the plan was made")
        fresh = sorted(on_digest - set(step.tags))
        if fresh:
            raise ChangedError(f"tag {fresh[0]} has been put on it since the plan was made")
        for name, digest in self._news().items():
            if subject_of_tag(name) == step.digest:
                raise ChangedError(f"referrer {name} has been attached since the plan was made")
            if step.digest in await self._reach(digest):
                raise ChangedError(f"tag {name} has come to need it since the plan was made")
        await self._check_referrers(step.digest)

    async def untagging(self, step: Step) -> None:
        """Check that the tag of ``step`` is still on the planned digest.

        Raises:
            ChangedError: the tag moved.
            RegistryError: it could not be looked up.
        """
        tag = step.tags[0]
        resolved = await self._client.head(self._repository, tag)
        if resolved is None or resolved.digest != step.digest:
            raise ChangedError(f"tag {tag} has moved or is gone since the plan was made")

    async def aftermath(self, step: Step) -> tuple[list[str], list[str]]:
        """Return what happened to the repository during the delete of ``step``, by the names of tags.

        The first are gone although the plan did not say so, the second are new and need what was deleted:
        they refer to it, or are listed and lead nowhere, because they were put on it just then.

        Raises:
            RegistryError: it could not be looked up.
        """
        for name in step.tags:
            self.current.pop(name, None)
            self._planned.pop(name, None)
        listed = await self._list()
        gone = sorted(set(self.current) - listed)
        new = sorted(listed - set(self.current))
        await self._resolve(new)
        needing = [name for name in new if name in self.current and await self._needed(name, {step.digest})]
        return gone, needing or await self._dangling(new)

    async def afterwards(self, deleted: Collection[str]) -> tuple[dict[str, list[str]], list[str]]:
        """Look at every tag once more, after the last delete; return which need what was ``deleted``.

        The first are the digests that each such tag needs; the second are listed, and lead nowhere. A tag
        that comes later cannot need them: a registry takes no index whose parts it does not have.

        Raises:
            RegistryError, ManifestError: something could not be looked up.
        """
        listed = await self._list()
        for gone in set(self.current) - listed:
            del self.current[gone]
        await self._resolve(listed)
        needing = {}
        for name in self._news():
            needed = await self._needed(name, deleted)
            if needed:
                needing[name] = needed
        return needing, await self._dangling(listed)

    async def _refresh(self, own: Collection[str]) -> None:
        started = self._monotonic()
        if self._stale_at is None or started >= self._stale_at:
            await self._resolve(set(self.current).difference(own))
            # In a large repository a look takes longer than it stays fresh; no more than half of the time
            # is spent on looking.
            took = self._monotonic() - started
            self._stale_at = started + max(self._freshness, 2 * took)
        # Last of all, however many tags there are: what is put on the digest after this goes unseen.
        listed = await self._list()
        gone = (set(self.current) | set(own)) - listed
        await self._resolve({name for name in listed if name not in self.current}.union(own, gone))
        hidden = sorted(gone & self.current.keys())
        if hidden:
            # It may lack another tag just as well, which has come to the digest since.
            raise ProtocolError(f"tag {hidden[0]} is there, and the listing of the tags lacks it")

    async def _dangling(self, names: Iterable[str]) -> list[str]:
        """Return those of the ``names`` that are listed, and lead nowhere."""
        missing = set(names).difference(self.current)
        if not missing:
            return []
        # A tag that is being deleted, or written, leads nowhere for a moment as well.
        listed = missing & await self._list()
        await self._resolve(listed)
        return sorted(listed.difference(self.current))

    async def _needed(self, name: str, digests: Collection[str]) -> list[str]:
        """Return those of the ``digests`` that a tag needs or refers to."""
        reach = await self._reach(self.current[name])
        subject = subject_of_tag(name)
        return [digest for digest in digests if digest in reach or digest == subject]

    async def _resolve(self, names: Iterable[str]) -> None:
        async def resolve(name: str) -> None:
            resolved = await self._client.head(self._repository, name)
            if resolved is None:
                self.current.pop(name, None)
            else:
                self.current[name] = resolved.digest

        await collect(sorted(names), resolve, limit=self._concurrency)

    async def _check_referrers(self, digest: str) -> None:
        if await self._client.has_referrers_api(self._repository):
            for referrer in await self._client.referrers(self._repository, digest) or ():
                if referrer.digest not in self._known:
                    raise ChangedError(
                        f"referrer {referrer.digest} has been attached since the plan was made"
                    )

    async def _list(self) -> set[str]:
        try:
            return set(await self._client.tags(self._repository))
        except NotFoundError:
            # What a registry answers once the last tag is gone.
            return set()

    def _news(self) -> dict[str, str]:
        """Return the tags that are new, or elsewhere than the plan saw them."""
        return {name: digest for name, digest in self.current.items() if self._planned.get(name) != digest}

    async def _reach(self, digest: str) -> frozenset[str]:
        """Return all that ``digest`` needs or refers to, as the registry has it now."""
        if digest not in self._reached:
            found: set[str] = set()
            pending = [digest]
            while pending:
                current = pending.pop()
                if current in found:
                    continue
                found.add(current)
                raw = await self._client.manifest(self._repository, current)
                if raw is None:
                    continue
                manifest = parse_manifest(raw.content, raw.media_type, current)
                pending.extend(child.digest for child in manifest.children)
                pending.extend(manifest.mentions)
                if manifest.subject is not None:
                    found.add(manifest.subject)
            self._reached[digest] = frozenset(found)
        return self._reached[digest]
