"""One step of a plan: journal it, look at everything again, change the registry, look at what came of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NoReturn

import structlog

from reaper.core.capabilities import NO, UNSAFE, YES, Name, Remembered
from reaper.core.errors import ReaperError
from reaper.core.manifest import OCI_MANIFEST, ManifestError, base_media_type
from reaper.core.plan import Action, Step
from reaper.registry import (
    Deleted,
    DeletesDisabledError,
    ProtocolError,
    RawManifest,
    RegistryClient,
    RegistryError,
)
from reaper.store import Action as JournalAction
from reaper.store import NewEntry, State, Store
from reaper.store.capabilities import recall, remember
from reaper.sweep.finality import Finality
from reaper.sweep.placeholder import EMPTY, PLACEHOLDER, Placeholder, move_back, new_placeholder, remove
from reaper.sweep.product_pushes import ProductPushes
from reaper.sweep.put import put
from reaper.sweep.recheck import ChangedError, Recheck

_log = structlog.get_logger(__name__)

#: How often a change is sent that the registry had no time for, each time after another look.
_ATTEMPTS: Final = 3
#: Refusals that need not last. Distribution answers 400 while somebody pushes the very manifest: it reads a
#: file that is being written.
_LATER: Final = frozenset({400, 429})
_ABSENT: Final = "it was gone already"
_CANNOT_UNTAG: Final = "this registry cannot delete the tag alone"
_UNTAGS_TOO_MUCH: Final = "this registry deletes more than the tag"


class AbsentError(ReaperError):
    """What was to be deleted is gone already."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where changes are made, by which run. ``may_write`` raises when the right to make any is gone.

    ``planned_at`` is when the registry was looked at for the plan, None where that is not known.
    ``product_pushes``: who else knows of pushes besides events. ``finality`` learns from each delete.
    """

    client: RegistryClient
    store: Store
    registry: str
    run_id: str
    clock: Callable[[], datetime]
    may_write: Callable[[], None]
    planned_at: datetime | None = None
    product_pushes: ProductPushes | None = None
    finality: Finality | None = None

    async def pushed_since(self, repository: str, digests: Collection[str]) -> dict[str, str]:
        """Return the tags that were put on the digests since the plan was made, as far as anybody tells.

        Raises:
            RegistryError: the registry's product could not be asked.
        """
        if self.planned_at is None:
            return {}
        found = await asyncio.to_thread(
            self.store.events.tags_pushed_since, self.registry, repository, digests, self.planned_at
        )
        if self.product_pushes is not None:
            found |= await self.product_pushes.between(repository, digests, self.planned_at, self.clock())
        return found


class Change:
    """One step on its way. ``memory`` is what the journal keeps of the step besides its manifest."""

    def __init__(
        self, site: Site, repository: str, step: Step, recheck: Recheck, memory: Mapping[str, Any]
    ) -> None:
        self._site = site
        self._client = site.client
        self._repository = repository
        self._step = step
        self._recheck = recheck
        self._memory = memory
        self._entry = 0
        self._untag = step.action is Action.UNTAG
        self._placeholder: Placeholder | None = None
        if step.placeholder:
            self._placeholder = new_placeholder(site.run_id, step.tags[0], step.digest)
            self._memory = {**memory, PLACEHOLDER: self._placeholder.digest}
        #: Whether the placeholder is the way to take.
        self._by_placeholder = False

    async def make(self) -> None:
        """Make the change.

        Raises:
            ChangedError: the registry is not as the plan saw it any more; nothing is changed after all.
            AbsentError: there is nothing to delete.
            RegistryError, ManifestError: something could not be looked up or done.
            StoreError: the journal could not be written, or the right to change anything is gone.
        """
        if self._untag:
            await self._find_the_way()
        raw = await self._client.manifest(self._repository, self._step.digest)
        if raw is None:
            raise ChangedError("its manifest is gone") if self._untag else AbsentError(_ABSENT)
        if base_media_type(raw.media_type) != self._step.media_type:
            # The journal has to put it back as what it is.
            raise ProtocolError(
                f"{self._step.digest} was {self._step.media_type}, and is now sent as {raw.media_type}"
            )
        await self._client.prepare_delete(self._repository)
        await self._begin(raw)
        sent = await self._send(raw)
        if not sent and self._placeholder is not None and not self._by_placeholder:
            # The registry was taken for one that can delete a tag alone.
            await self._remember_untagging(NO)
            self._by_placeholder = True
            sent = await self._send(raw)
        if not sent:
            error = ChangedError(_CANNOT_UNTAG) if self._untag else AbsentError(_ABSENT)
            await self._mark(State.CANCELLED, error.message)
            raise error
        await self._mark(State.DELETED)
        try:
            await (self._check_untagged(raw) if self._untag else self._check_deleted(raw))
        except RegistryError as error:
            raise RegistryError(
                f"it was deleted, but what came of it could not be looked up or undone: {error.message}",
                status=error.status,
            ) from error

    async def _find_the_way(self) -> None:
        """Choose between the delete of the tag alone and the placeholder, by what is known by now.

        Raises:
            ChangedError: there is no way.
        """
        facts = self._site.store.observations
        known = await asyncio.to_thread(recall, facts, self._site.registry, Name.UNTAG)
        self._by_placeholder = self._placeholder is not None and known is not None and known.value != YES
        if known is not None and known.value == UNSAFE and not self._by_placeholder:
            raise ChangedError(_UNTAGS_TOO_MUCH)

    async def _remember_untagging(self, value: str) -> None:
        facts, site = self._site.store.observations, self._site
        known = await asyncio.to_thread(recall, facts, site.registry, Name.UNTAG)
        product = known.product if known else ""
        found = Remembered(value, site.clock(), product)
        await asyncio.to_thread(remember, facts, site.registry, Name.UNTAG, found)

    async def _prepare_placeholder(self) -> None:
        """Have ready what its push needs, so that nothing stands between the last look and that."""
        await self._client.prepare_push(self._repository)
        self._site.may_write()
        await self._client.put_blob(self._repository, EMPTY)

    async def _hold(self, raw: RawManifest) -> None:
        """See to it that something holds the manifest when its tag is gone: another tag, or its own digest.

        Gitea keeps a manifest under each name that it was pushed as: with the last of these goes the
        manifest, with its blobs, and no push by digest brings those back. Elsewhere the push changes nothing.
        """
        for tag, digest in self._recheck.current.items():
            if digest == self._step.digest and tag not in self._step.tags:
                held = await self._client.head(self._repository, tag)
                if held is not None and held.digest == digest:
                    return
        self._site.may_write()
        await put(self._client, self._repository, self._step.digest, raw.content, raw.media_type)

    async def _begin(self, raw: RawManifest) -> None:
        step = self._step
        entry = NewEntry(
            registry=self._site.registry,
            repository=self._repository,
            digest=step.digest,
            action=JournalAction(step.action.value),
            media_type=raw.media_type,
            content=raw.content,
            tags=step.tags,
            policy=step.policy,
            rule=step.rule or "",
            reason=step.reason,
            run_id=self._site.run_id,
            created_at=self._site.clock(),
            plan=self._memory,
        )
        self._entry = await asyncio.to_thread(self._site.store.journal.begin, entry)

    async def _mark(self, state: State, error: str | None = None) -> None:
        await asyncio.to_thread(self._site.store.journal.mark, self._entry, state, self._site.clock(), error)

    async def _send(self, raw: RawManifest) -> bool:
        """Look again, and directly then send the change; where no answer comes, find out, and try again.

        Returns False where there was nothing to delete, or the registry cannot delete a tag alone.

        The entry is closed where the change has certainly not been made. It stays open where that is not
        certain, since a request may still arrive after its sender gave up: the next start settles it.
        """
        certain = True

        async def close(error: ReaperError) -> None:
            if certain:
                await self._mark(State.CANCELLED, error.message)

        for attempt in range(1, _ATTEMPTS + 1):
            try:
                if self._by_placeholder:
                    await self._prepare_placeholder()
                elif self._untag:
                    await self._hold(raw)
                await self._look()
            except (ChangedError, RegistryError, ManifestError) as error:
                await close(error)
                raise
            self._site.may_write()
            try:
                # What is gone now may have gone with an earlier attempt.
                done = await self._request() or not certain
            except RegistryError as error:
                refused = error.status is not None and 400 <= error.status < 500 and error.status != 408
                certain = certain and refused
                if not refused and await self._is_done():
                    done = True
                elif attempt == _ATTEMPTS or (refused and error.status not in _LATER):
                    await close(error)
                    raise
                else:
                    continue
            if done and self._by_placeholder:
                await self._remove_placeholder(raw)
            return done
        raise AssertionError("the last attempt returns or raises")

    async def _look(self) -> None:
        # A tag that is pushed again, on the same digest, shows in no listing.
        for tag in await self._site.pushed_since(self._repository, [self._step.digest]):
            if not self._untag or tag in self._step.tags:
                raise ChangedError(f"tag {tag} has been pushed since the plan was made")
        await (self._recheck.untagging if self._untag else self._recheck.deletion)(self._step)

    async def _request(self) -> bool:
        if self._placeholder is not None and self._by_placeholder:
            tag, content = self._step.tags[0], self._placeholder.content
            await self._client.put_manifest(self._repository, tag, content, OCI_MANIFEST, once=True)
            return True
        if self._untag:
            return await self._client.delete_tag(self._repository, self._step.tags[0])
        deleted = await self._client.delete_manifest(self._repository, self._step.digest)
        if deleted is Deleted.ABSENT and await self._exists(self._step.digest):
            raise RegistryError("the registry does not delete it: it answers 404, and has it", status=404)
        return deleted is Deleted.DONE

    async def _is_done(self) -> bool:
        if self._placeholder is not None and self._by_placeholder:
            held = await self._client.head(self._repository, self._step.tags[0])
            return held is not None and held.digest == self._placeholder.digest
        reference = self._step.tags[0] if self._untag else self._step.digest
        return not await self._exists(reference)

    async def _remove_placeholder(self, raw: RawManifest) -> None:
        """Delete the placeholder, and the tag with it, unless that has been moved on meanwhile.

        Raises:
            ChangedError: the tag is back on its digest: it was pushed again, or the registry deletes nothing.
            RegistryError: it could not be deleted; the entry stays open, and the next start finishes it.
        """
        placeholder = self._placeholder
        assert placeholder is not None
        tag, client = self._step.tags[0], self._client
        try:
            await remove(client, self._repository, placeholder.digest, self._site.may_write)
        except DeletesDisabledError as error:
            await move_back(client, self._repository, tag, placeholder.digest, raw.content, raw.media_type)
            await self._mark(State.CANCELLED, error.message)
            raise
        held = await client.head(self._repository, tag)
        if held is not None and held.digest == self._step.digest:
            pushed = ChangedError(f"tag {tag} has been pushed again meanwhile")
            await self._mark(State.CANCELLED, pushed.message)
            raise pushed

    async def _exists(self, reference: str) -> bool:
        return await self._client.head(self._repository, reference) is not None

    async def _check_deleted(self, raw: RawManifest) -> None:
        """Undo the delete where somebody came to need the digest between the last look and the delete."""
        vanished, needing = await self._recheck.aftermath(self._step)
        lost = await self._taken_along(vanished)
        if lost or needing:
            cause = f"tag {lost[0]} was put on it" if lost else f"tag {needing[0]} came to need it"
            await self._put_back(raw, lost, f"{cause} during the delete")
        if self._site.finality is not None:
            await self._site.finality.look(self._repository, raw)

    async def _check_untagged(self, raw: RawManifest) -> None:
        """Undo the deletion of a tag where its manifest, or other tags of that, have gone with it."""
        there = await self._exists(self._step.digest)
        vanished, _ = await self._recheck.aftermath(self._step)
        if there:
            lost = [tag for tag in vanished if self._recheck.current[tag] == self._step.digest]
        else:
            lost = await self._taken_along(vanished)
        if there and not lost:
            return
        if not self._by_placeholder:
            await self._remember_untagging(UNSAFE)
        await self._put_back(raw, lost, _UNTAGS_TOO_MUCH)

    async def _taken_along(self, vanished: Sequence[str]) -> list[str]:
        """Return those of the ``vanished`` tags that went with the digest, because they were on it by then.

        Where the former manifest of such a tag is gone as well, somebody else deleted both.
        """
        taken = []
        for tag in vanished:
            former = self._recheck.current[tag]
            if former == self._step.digest or await self._exists(former):
                taken.append(tag)
        return taken

    async def _put_back(self, raw: RawManifest, lost: Sequence[str], cause: str) -> NoReturn:
        """Put the manifest back, with its own tags and those that it took along.

        Raises:
            ChangedError: always; it says why.
        """
        # Should this be cut short, the journal knows all that a restore has to put back.
        tags = tuple(dict.fromkeys((*self._step.tags, *lost)))
        await asyncio.to_thread(
            self._site.store.journal.mark, self._entry, State.RESTORING, self._site.clock(), cause, tags=tags
        )
        for reference in (self._step.digest, *lost, *self._step.tags):
            if not await self._exists(reference):
                await put(self._client, self._repository, reference, raw.content, raw.media_type)
                if reference != self._step.digest:
                    self._recheck.current[reference] = self._step.digest
        await self._mark(State.RESTORED)
        _log.error(
            "delete_undone", repository=self._repository, digest=self._step.digest, tags=lost, reason=cause
        )
        raise ChangedError(f"{cause}; all of it has been put back", put_back=lost)
