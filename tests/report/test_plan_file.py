"""A plan is read as it was written, and applied as it was meant."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from reaper.core.plan import Action, ManifestDecision, RepositoryPlan, Step
from reaper.core.reference import digest_of
from reaper.report.plan_file import PlanFile, PlannedRepository, read_plan, write_plan

DIGEST = digest_of(b"manifest")


def test_every_step_is_read_as_it_was_written(tmp_path: Path) -> None:
    """A tag may only go by way of a placeholder if the plan that was looked at says so."""
    manifests = (ManifestDecision(DIGEST, "image", Action.UNTAG, "why", ("keep", "one", "two"), 7),)
    steps = (
        Step(Action.UNTAG, DIGEST, "type", ("one",), "why", "policy", "rule"),
        Step(Action.UNTAG, DIGEST, "type", ("two",), "why", "policy", placeholder=True),
        Step(Action.DELETE, digest_of(b"other"), "type", (), "why", "policy", after=(DIGEST,)),
    )
    plan = PlanFile(
        registry="https://registry.example.com",
        plan_id="0123456789ab",
        run_id="3f2a9c1b7d04",
        created_at=datetime(2026, 7, 1, 2, 0, tzinfo=UTC),
        policies=digest_of(b"policies"),
        guards=[],
        summary={"repositories": 1},
        repositories=[
            PlannedRepository(
                "app", dict.fromkeys(("keep", "one", "two"), DIGEST), RepositoryPlan("app", manifests, steps)
            )
        ],
    )
    file = tmp_path / "plan.json"
    with file.open("w") as out:
        write_plan(plan, out)
    assert read_plan(file) == plan
