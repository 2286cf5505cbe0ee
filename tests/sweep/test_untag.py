"""Tags that are deleted alone, on a registry that deletes more than that."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

from aiohttp import web

from reaper.core.capabilities import UNSAFE, Name
from reaper.core.manifest import OCI_MANIFEST
from reaper.core.plan import Action, RepositoryPlan, Step
from reaper.core.reference import digest_of
from reaper.store import State, open_store
from reaper.store.capabilities import recall
from reaper.sweep import Outcome, Sweeper
from tests.registry.fake import Fake, with_fake

CONFIG = {"mediaType": "application/vnd.oci.empty.v1+json", "digest": digest_of(b"{}"), "size": 2}
BODY = json.dumps({"schemaVersion": 2, "mediaType": OCI_MANIFEST, "config": CONFIG, "layers": []}).encode()
DIGEST = digest_of(BODY)


def test_a_tag_that_goes_with_another_comes_back(tmp_path: Path) -> None:
    tags = {"keep", "alias"}

    async def registry(request: web.Request) -> web.Response:
        reference = request.path.rpartition("/")[2]
        if reference == "list":
            return web.json_response({"tags": sorted(tags)})
        headers = {"Docker-Content-Digest": DIGEST}
        if request.method == "DELETE":
            tags.clear()
            return web.Response(status=202)
        if request.method == "PUT":
            tags.update({reference} - {DIGEST})
            return web.Response(status=201, headers=headers)
        if reference in {DIGEST, *tags}:
            return web.Response(body=BODY, headers={**headers, "Content-Type": OCI_MANIFEST})
        return web.Response(status=404)

    async def work(fake: Fake) -> None:
        step = Step(Action.UNTAG, DIGEST, OCI_MANIFEST, ("alias",), "no rule keeps it", "tidy")
        with open_store(f"sqlite:///{tmp_path}/reaper.db") as store:
            async with fake.client() as client:
                sweeper = Sweeper(
                    client,
                    store,
                    registry="registry",
                    run_id="run",
                    clock=lambda: datetime.now(UTC),
                    may_write=lambda: None,
                )
                plan = RepositoryPlan("app", (), (step,))
                results = [r async for r in sweeper.sweep(plan, dict.fromkeys(tags, DIGEST))]
            assert [(r.outcome, r.put_back) for r in results] == [(Outcome.CANCELLED, ("keep",))]
            assert [each.state for each in store.journal.of_run("registry", "run")] == [State.RESTORED]
            known = recall(store.observations, "registry", Name.UNTAG)
            assert known is not None
            assert known.value == UNSAFE

    with_fake(registry, work)
    assert tags == {"keep", "alias"}
