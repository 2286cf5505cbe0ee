"""Reports for the tests of the renderers."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from reaper.report.model import (
    CollectionReport,
    GuardReport,
    ManifestReport,
    Outcome,
    RepositoryReport,
    RunReport,
    Summary,
    TagReport,
)

NOW = datetime(2026, 7, 1, 2, 0, tzinfo=UTC)
MIB = 1024 * 1024

#: What a hostile registry may send as a name: an escape sequence, markup, an override of direction, ...
HOSTILE = (
    "\x1b[31mred\x1b[0m",
    "[red]markup[/red] [link=https://evil.example]x[/link]",
    "gpj.\u202eexe\u2066x\u2069",
    "line\nbreak\rreturn\ttab\x9b31m",
    "<script>alert(1)</script><img src=x onerror=alert(1)>",
    "| pipe \\| **bold** [text](https://evil.example) `code` @team #1",
    '=HYPERLINK("https://evil.example")',
    ":skull: \U000e0041\u200b\ud800",
)


def digest(number: int) -> str:
    return f"sha256:{number:064x}"


def tag(
    name: str, number: int, decision: str = "expire", *, days: int = 40, reason: str | None = None
) -> TagReport:
    pushed = NOW - timedelta(days=days)
    default = {
        "expire": "no rule keeps it: last five builds of each branch: rank 7 of 9 in branch=login by pushed "
        f"{pushed:%Y-%m-%d %H:%M:%SZ} (push event), keeps 5",
        "keep": "releases: keeps all",
        "ignore": "no policy matches this repository",
    }
    return TagReport(
        tag=name,
        digest=digest(number),
        decision=decision,
        rule="last five builds of each branch" if decision == "expire" else "releases",
        reason=reason or default[decision],
        created_at=pushed - timedelta(hours=1),
        pushed_at=pushed,
        pulled_at=None,
        size=120 * MIB + number,
        expires_at=None,
        policy="services",
    )


def manifest(
    number: int, action: str, tags: list[str], *, reason: str = "because", kind: str = "image"
) -> ManifestReport:
    return ManifestReport(digest(number), kind, action, reason, tags, 120 * MIB + number)


def api() -> RepositoryReport:
    expired = [tag(f"login-{number:07x}", number) for number in range(1, 13)]
    return RepositoryReport(
        name="services/api",
        policies=["services"],
        tags=[*expired, tag("v1.2.0", 50, "keep", days=10)],
        manifests=[
            *(manifest(n, "delete", [t.tag], reason=t.reason) for n, t in enumerate(expired, start=1)),
            manifest(50, "keep", ["v1.2.0"], reason="tag v1.2.0 is kept by releases: keeps all"),
            manifest(60, "delete", [], reason="untagged for 9d (first seen by reaper), older than 24h"),
        ],
    )


def web() -> RepositoryReport:
    shared = "no rule selects it; pushed 2026-05-22 02:00:00Z (created in config)"
    return RepositoryReport(
        name="services/web",
        policies=["services", "everything"],
        tags=[tag("nightly", 70, reason=shared), tag("v2.0.0", 70, "keep", days=3)],
        manifests=[
            manifest(70, "untag", ["nightly", "v2.0.0"], reason="tag v2.0.0 is kept; untagged: nightly")
        ],
    )


def quiet() -> RepositoryReport:
    return RepositoryReport("infra/proxy", [], [tag("v1", 80, "ignore")], [manifest(80, "keep", ["v1"])])


def unread() -> RepositoryReport:
    return RepositoryReport(
        name="services/broken",
        policies=["services"],
        tags=[tag("v1", 90, "ignore", reason="the repository could not be read completely")],
        errors=["tag v2: the registry lists it and answers 404"],
    )


def hostile() -> RepositoryReport:
    """A repository in which every text from the registry is one of `HOSTILE`."""
    tags = [tag(name, number, reason=name) for number, name in enumerate(HOSTILE)]
    return RepositoryReport(
        name=HOSTILE[4],
        policies=["services"],
        tags=tags,
        manifests=[manifest(n, "delete", [t.tag], reason=t.tag, kind=t.tag) for n, t in enumerate(tags)],
        errors=list(HOSTILE),
    )


def report(**changed: object) -> RunReport:
    given: dict[str, object] = {
        "run_id": "3f2a9c1b7d04",
        "registry": "https://registry.example.com",
        "dry_run": True,
        "started_at": NOW,
        "finished_at": NOW + timedelta(seconds=95),
        "outcome": Outcome.PARTIAL,
        "summary": Summary(
            repositories=4,
            tags=17,
            manifests=16,
            kept_tags=2,
            expired_tags=13,
            ignored_tags=2,
            manifests_to_delete=13,
            reclaimable_bytes=1536 * MIB,
            errors=1,
        ),
        "notes": ["reclaimable bytes may be less: a repository could not be read completely"],
        "repositories": [api(), web(), quiet(), unread()],
    }
    return RunReport(**(given | changed))  # type: ignore[arg-type]


def blocked() -> RunReport:
    return report(
        dry_run=False,
        outcome=Outcome.BLOCKED,
        guards=[
            GuardReport(
                "max_share", "13 of 17 tags (76%) would go; policy services allows 50%", "services/api"
            ),
            GuardReport(
                "clock", "the clock says 2026-07-01 02:00:00Z; the last run ended 2026-07-02 02:00:00Z"
            ),
        ],
    )


def done() -> RunReport:
    return report(
        dry_run=False,
        outcome=Outcome.DONE,
        summary=Summary(3, 16, 15, 2, 13, 1, 13, 12, 1400 * MIB, 0, 1, 1),
        collection=CollectionReport("docker", "done", 12, 900 * MIB, "", ["a warning"]),
        settled=1,
        notes=[],
        repositories=[api(), web(), quiet()],
    )
