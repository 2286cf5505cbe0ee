"""What goes wrong between the plan and the delete, and during it, costs no tag that is kept."""

from __future__ import annotations

import pytest

from devtools import fault_proxy as faults
from devtools.fault_proxy import Exchange, Fault
from reaper.report.model import Outcome
from reaper.store import State, open_store
from tests.faults.conftest import Ground, by_name

TAGS = "/v2/bad/tags/list"
BY_DIGEST = "/v2/bad/manifests/sha256:.*"
#: Of the requests for the listing: the inventory's, the last look before the delete, and the one after it.
INVENTORY, LAST_LOOK, AFTERWARDS = 1, 2, 3


def shortened(by: str) -> Fault:
    return faults.edit_names("tags", lambda names: [name for name in names if name != by])


def skipped(ground: Ground, outcome: Outcome = Outcome.PARTIAL) -> list[str]:
    """Run, check that ``good`` is tidied, and return what is said of what was not done in ``bad``."""
    report = ground.run()
    assert report.outcome is outcome
    assert ground.swept("good")
    bad = by_name(report)["bad"]
    return [*(m.reason for m in bad.manifests if m.action == "skip"), *bad.errors]


LACKS = "the listing of the tags lacks it"
NO_TAGS = faults.edit_names("tags", lambda _: [])
LAST_LOOKS: dict[str, tuple[str, str, Fault, int, Outcome, str]] = {
    # name: (method, path, fault, which of the requests, outcome, what the report says)
    "listing 500": ("GET", TAGS, faults.answer(500), LAST_LOOK, Outcome.PARTIAL, "failed (500)"),
    "listing cut": ("GET", TAGS, faults.cut, LAST_LOOK, Outcome.PARTIAL, "ended too early"),
    "listing 404": ("GET", TAGS, faults.answer(404), LAST_LOOK, Outcome.PARTIAL, LACKS),
    "listing without the tag": ("GET", TAGS, shortened("v1"), LAST_LOOK, Outcome.PARTIAL, LACKS),
    "listing without another tag": ("GET", TAGS, shortened("v3"), LAST_LOOK, Outcome.PARTIAL, LACKS),
    "listing with no tags": ("GET", TAGS, NO_TAGS, LAST_LOOK, Outcome.PARTIAL, LACKS),
    "tag 403": ("HEAD", "/v2/bad/manifests/v1", faults.answer(403), 2, Outcome.PARTIAL, "access is denied"),
    "tag 404": ("HEAD", "/v2/bad/manifests/v1", faults.answer(404), 2, Outcome.DONE, "has moved or is gone"),
    "another tag 404": (
        "HEAD",
        "/v2/bad/manifests/v3",
        faults.answer(500),
        2,
        Outcome.PARTIAL,
        "the registry failed (500)",
    ),
    "manifest of the wrong type": (
        "GET",
        BY_DIGEST,
        faults.edit(lambda real: real.having(content_type="application/vnd.oci.image.index.v1+json")),
        4,
        Outcome.PARTIAL,
        "and is now sent as application/vnd.oci.image.index.v1+json",
    ),
    "manifest is another": (
        "GET",
        BY_DIGEST,
        faults.edit(lambda real: real.saying(b"{}")),
        4,
        Outcome.PARTIAL,
        "but the registry says",
    ),
}


@pytest.mark.parametrize("name", LAST_LOOKS)
def test_a_last_look_that_fails_cancels_the_delete(ground: Ground, name: str) -> None:
    method, path, fault, nth, outcome, says = LAST_LOOKS[name]
    ground.push("bad", "good")
    # A request that fails is sent again: so does each of its repetitions.
    ground.proxy.inject(fault, method, path, nth=range(nth, nth + 4))
    said = skipped(ground, outcome)
    assert any(says in text for text in said), said
    assert ground.whole("bad")
    assert ground.sent("DELETE", "/v2/bad/.*") == 0


class TestDelete:
    @pytest.mark.parametrize(
        "fault",
        [
            faults.answer(500),
            faults.answer(503, Retry_After="0"),
            faults.answer(429),
            faults.answer(307, Location="/v2/bad/manifests/v2"),
            faults.hang_up,
            faults.mute,
        ],
    )
    def test_refused_again_and_again(self, ground: Ground, fault: Fault) -> None:
        ground.push("bad", "good")
        ground.proxy.inject(fault, "DELETE", BY_DIGEST)
        assert skipped(ground)
        assert ground.whole("bad")
        # Each attempt is one more after another look.
        assert ground.sent("DELETE", "/v2/bad/.*") == 3
        assert ground.sent("GET", TAGS) == 1 + 3

    def test_an_answer_that_is_lost(self, ground: Ground) -> None:
        ground.push("bad", "good")
        ground.proxy.inject(faults.lose_answer, "DELETE", BY_DIGEST)
        report = ground.run()
        assert report.outcome is Outcome.DONE
        assert report.summary.deleted_manifests == 2
        assert ground.sent("DELETE", "/v2/bad/.*") == 1
        assert ground.swept("bad")

    def test_said_to_be_done_and_not_done(self, ground: Ground) -> None:
        ground.push("bad", "good")
        ground.proxy.inject(faults.answer(202), "DELETE", BY_DIGEST)
        assert skipped(ground, Outcome.DONE)
        assert ground.whole("bad")

    def test_a_listing_that_is_short_afterwards_breaks_nothing(self, ground: Ground) -> None:
        ground.push("bad", "good")
        ground.proxy.inject(faults.edit_names("tags", lambda _: ["v2"]), "GET", TAGS, nth=AFTERWARDS)
        ground.run()
        for image, tag in zip(ground.images["bad"][1:], ("v2", "v3"), strict=True):
            assert ground.pusher.pull("bad", tag).digest == image.digest

    def test_a_registry_that_is_gone_afterwards(self, ground: Ground) -> None:
        """The delete is in the journal; the next run finds it there, and settles it."""
        ground.push("bad")

        def last_answer(exchange: Exchange) -> None:
            exchange.upstream()
            faults.vanish(exchange)

        ground.proxy.inject(last_answer, "DELETE")
        report = ground.run()
        assert report.outcome is Outcome.PARTIAL
        assert ground.swept("bad")
        with open_store(ground.store_url) as store:
            (entry,) = store.journal.of_run(report.registry, report.run_id)
            assert entry.state not in (State.DELETED, State.CANCELLED)
            assert entry.content == ground.images["bad"][0].body


def test_a_tag_said_to_be_on_another_digest_is_put_back(ground: Ground) -> None:
    """No look can tell that the registry lies about a tag; what the delete takes along is put back."""
    ground.push("bad", "good")
    oldest, newest = ground.images["bad"][0], ground.images["bad"][2]
    ground.pusher.push_manifest("bad", "v9", oldest.body, oldest.media_type)
    lie = faults.edit(lambda real: real.having(docker_content_digest=newest.digest))
    ground.proxy.inject(lie, "HEAD", "/v2/bad/manifests/v9", nth=range(1, 3))
    said = skipped(ground, Outcome.DONE)
    assert any("v9 was put on it during the delete; all of it has been put back" in text for text in said)
    assert ground.pusher.pull("bad", "v9").digest == oldest.digest
    assert ground.pusher.tags("bad") == ["v1", "v2", "v3", "v9"]
