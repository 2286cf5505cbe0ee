"""Whether a delete can be undone is found out with the first."""

from __future__ import annotations

import pytest
from aiohttp import web

from devtools.images import build_image
from devtools.pusher import Pusher
from reaper.core.capabilities import NO, YES, Name
from reaper.store.capabilities import recall
from tests.sweep.conftest import REGISTRY, REPOSITORY, Field, On

ONE, OTHER = build_image(seed="one"), build_image(seed="other")


def is_blob(request: web.Request) -> bool:
    return "/blobs/" in request.path


@pytest.mark.parametrize(("frees", "undo"), [(True, NO), (False, YES)])
def test_the_first_image_s_config_tells(frees: bool, undo: str, pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, ONE, "one")
    pusher.push(REPOSITORY, OTHER, "other")
    looked: list[str] = []

    def answer(request: web.Request) -> web.StreamResponse | None:
        if not is_blob(request):
            return None
        looked.append(request.path.rpartition("/")[2])
        return web.Response(status=404) if frees else None

    async def work(field: Field) -> None:
        plan = await field.plan()
        field.at("HEAD", answer, times=1000)
        await field.sweep(plan)
        known = recall(field.store.observations, REGISTRY, Name.UNDO)
        assert known is not None
        assert (known.value, known.at) == (undo, field.now)

    on(work)
    assert len(looked) == 1
    assert looked[0] in {ONE.blobs[0].digest, OTHER.blobs[0].digest}


def test_what_cannot_be_found_out_stays_unknown(pusher: Pusher, on: On) -> None:
    pusher.push(REPOSITORY, ONE, "one")

    async def work(field: Field) -> None:
        plan = await field.plan()
        field.at("HEAD", lambda request: web.Response(status=500) if is_blob(request) else None, times=1000)
        (result,) = await field.sweep(plan)
        assert result.detail == ""
        assert recall(field.store.observations, REGISTRY, Name.UNDO) is None

    on(work)
