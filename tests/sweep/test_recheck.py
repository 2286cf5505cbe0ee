"""How much a re-check looks up, and how often."""

from __future__ import annotations

import asyncio
import itertools
from typing import cast

import pytest

from reaper.core.plan import Action, Step
from reaper.core.reference import digest_of
from reaper.registry import NotFoundError, RegistryClient, Resolved
from reaper.sweep.recheck import ChangedError, Recheck

DOOMED, OTHER = digest_of(b"doomed"), digest_of(b"other")
STEP = Step(Action.DELETE, DOOMED, "type", ("old",), "reason", "policy")


class Scripted:
    """A registry whose answers take as long as the test says, on a clock of the test's own."""

    def __init__(self, *, seconds: float = 0.0) -> None:
        self.tags_now = {"old": DOOMED, **{f"t{number}": OTHER for number in range(10)}}
        self.heads: list[str] = []
        self.time = 0.0
        self._seconds = seconds

    async def tags(self, repository: str) -> list[str]:
        if not self.tags_now:
            raise NotFoundError("not there")
        return list(self.tags_now)

    async def head(self, repository: str, reference: str) -> Resolved | None:
        self.heads.append(reference)
        self.time += self._seconds
        return Resolved(self.tags_now[reference], "type") if reference in self.tags_now else None

    async def manifest(self, repository: str, reference: str) -> None:
        """There are no bytes: what a tag needs is its digest alone."""

    async def has_referrers_api(self, repository: str) -> bool:
        return False

    def recheck(self) -> Recheck:
        return Recheck(
            cast(RegistryClient, self),
            "app",
            dict(self.tags_now),
            {DOOMED, OTHER},
            concurrency=4,
            monotonic=lambda: self.time,
        )

    def counted(self) -> int:
        count = len(self.heads)
        self.heads.clear()
        return count


def test_all_tags_once_a_second_and_its_own_each_time() -> None:
    registry = Scripted()
    recheck = registry.recheck()

    async def work() -> None:
        await recheck.deletion(STEP)
        assert registry.counted() == 11
        for _ in range(3):
            registry.time += 0.25
            await recheck.deletion(STEP)
            assert registry.heads == ["old"]
            registry.heads.clear()
        registry.tags_now["new"] = OTHER
        await recheck.deletion(STEP)
        assert sorted(registry.heads) == ["new", "old"]
        registry.heads.clear()
        registry.time += 0.25
        await recheck.deletion(STEP)
        assert registry.counted() == 12

    asyncio.run(work())


def test_a_look_that_takes_long_is_not_repeated_for_each_delete() -> None:
    """Else a large repository would cost its tags times its deletes."""
    registry = Scripted(seconds=1.0)
    recheck = registry.recheck()

    async def work() -> None:
        await recheck.deletion(STEP)
        assert registry.counted() == 11
        looks = [registry.time]
        while registry.time < 100:
            await recheck.deletion(STEP)
            if registry.counted() > 1:
                looks.append(registry.time)
        assert all(later - sooner >= 20 for sooner, later in itertools.pairwise(looks))
        assert len(looks) == 5

    asyncio.run(work())


@pytest.mark.parametrize("left", [{"old": OTHER}, {"t1": OTHER}, {}])
def test_a_listing_without_its_tag_or_none_at_all_cancels(left: dict[str, str]) -> None:
    registry = Scripted()
    recheck = registry.recheck()
    registry.tags_now = left
    with pytest.raises(ChangedError, match="tag old has moved or is gone"):
        asyncio.run(recheck.deletion(STEP))
