"""A whole life in each registry: audit, run, run again, undo, verify; and what other clients see of it."""

from __future__ import annotations

from dataclasses import dataclass

from devtools.images import Image, build_image, build_index, build_referrer, fallback_tag, signature_tag
from tests.compat.conftest import Scenario, each

ALL_BUT_KEPT = "[{tags: {include: [stable, multi]}, keep: all}]"
EVERYTHING_MAY_GO = {"guard": "{max_share: 1, max_deletions: 1000}"}


@dataclass(frozen=True)
class Stock:
    """What is pushed: some of it kept, some of it expired, and some of it shared by both."""

    shared: Image
    signature: Image
    multi: Image
    old: Image
    old_signature: Image
    sbom: Image
    #: Of the index under the fallback tag, None where the registry lists referrers itself.
    listing: str | None
    old_multi: Image

    @property
    def tags(self) -> dict[str, str]:
        found = {
            "stable": self.shared.digest,
            "v1": self.shared.digest,
            signature_tag(self.shared): self.signature.digest,
            "multi": self.multi.digest,
            "v2-arm": self.multi.children[1].digest,
            "v3": self.old.digest,
            "v3-also": self.old.digest,
            signature_tag(self.old): self.old_signature.digest,
            "v4": self.old_multi.digest,
        }
        return found | ({fallback_tag(self.old.digest): self.listing} if self.listing else {})

    @property
    def expired(self) -> set[str]:
        """The digests that nothing needs but expired tags."""
        found = {self.old.digest, self.old_signature.digest, self.sbom.digest}
        found |= {self.listing} if self.listing else set()
        return found | {image.digest for image in (self.old_multi, *self.old_multi.children)}


def stock(scenario: Scenario) -> Stock:
    pusher, repository = scenario.pusher, scenario.repository

    def index(name: str) -> Image:
        return build_index([build_image(seed=name + p, platform=p) for p in ("linux/amd64", "linux/arm64")])

    shared, old = build_image(seed="shared"), build_image(seed="old", media="docker")
    multi, old_multi = index("multi"), index("old")
    pusher.push(repository, shared, "stable", "v1")
    pusher.push(repository, multi, "multi")
    pusher.push(repository, multi.children[1], "v2-arm")
    pusher.push(repository, old, "v3", "v3-also")
    pusher.push(repository, old_multi, "v4")
    signature, old_signature = (pusher.push_signature(repository, image) for image in (shared, old))
    sbom = build_referrer(old)
    listing = None
    if scenario.target.product.referrers:
        pusher.push(repository, sbom)
    else:
        listing = scenario.crane.digest(repository, pusher.push_referrer(repository, sbom))
    return Stock(shared, signature, multi, old, old_signature, sbom, listing, old_multi)


@each("plain", "cloud")
def test_what_is_expired_goes_and_all_of_it_comes_back(scenario: Scenario) -> None:
    made = stock(scenario)
    scenario.holds(made.tags)
    scenario.rules(ALL_BUT_KEPT, **EVERYTHING_MAY_GO)

    audit = scenario.json("--dry-run")
    scenario.holds(made.tags)
    # Each reads the whole registry, of which the policy covers one repository.
    ran = scenario.json("run")
    for report in (audit, ran):
        row = scenario.row(report)
        assert row["errors"] == []
        actions = {manifest["digest"]: manifest["action"] for manifest in row["manifests"]}
        assert {digest for digest, action in actions.items() if action == "delete"} == made.expired

    row = scenario.row(ran)
    reasons = {tag["tag"]: tag["reason"] for tag in row["tags"]}
    left = made.tags
    for tag in ("v3", "v3-also", "v4", signature_tag(made.old), fallback_tag(made.old.digest)):
        left.pop(tag, None)
    for tag in ("v1", "v2-arm"):
        if scenario.target.product.untags:
            del left[tag]
        else:
            assert "shared-digest" in reasons[tag]
    scenario.holds(left, gone=made.expired)
    scenario.can_be_pulled(left.values())

    again = scenario.json("run")
    assert scenario.row(again)["errors"] == []
    assert again["summary"]["deleted_manifests"] == 0
    scenario.holds(left)

    restored = scenario.reaper("restore", "--run", ran["run_id"], "--format=json")
    if scenario.target.product.undoes:
        assert restored.code == 0, restored.err
        scenario.holds(made.tags)
        scenario.can_be_pulled(made.expired)
    else:
        # Its blobs go with the last manifest that needs them, and no journal has those.
        assert restored.code == 4
        lost = [row["digest"] for row in restored.rows if not row["restored"]]
        assert made.old.digest in lost
        assert all("BLOB_UNKNOWN" in row["detail"] for row in restored.rows if not row["restored"])
    verified = scenario.reaper("verify", scenario.repository)
    assert verified.code == 0, verified.err + verified.out


@each("left")
def test_where_tags_outlive_their_manifest_nothing_is_lost(scenario: Scenario) -> None:
    """Such a tag looks as one that was put on it just then, so all is put back; nothing is deleted there."""
    made = stock(scenario)
    scenario.rules(ALL_BUT_KEPT, **EVERYTHING_MAY_GO)
    row = scenario.row(scenario.json("run"))
    assert not any(manifest["action"] == "delete" for manifest in row["manifests"])
    left = {tag: digest for tag, digest in made.tags.items() if tag not in ("v1", "v2-arm")}
    scenario.holds(left)


@each("plain", having=lambda product: product.untags)
def test_an_untagged_child_of_a_kept_index_stays(scenario: Scenario) -> None:
    """It was pushed under its tag alone, as ``docker manifest push`` leaves it."""
    pusher, repository = scenario.pusher, scenario.repository
    child = build_image(seed="by tag")
    index = build_index([child])
    for blob in child.blobs:
        pusher.push_blob(repository, blob)
    pusher.push_manifest(repository, "arm", child.body, child.media_type)
    pusher.push_manifest(repository, "multi", index.body, index.media_type)
    scenario.rules(ALL_BUT_KEPT, **EVERYTHING_MAY_GO)
    assert scenario.row(scenario.json("run"))["errors"] == []
    scenario.holds({"multi": index.digest})
    scenario.can_be_pulled([index.digest])
