"""What policy tests showed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from reaper.core.retention import Decision
from reaper.report.listing import Column
from reaper.report.text import count

KEYS: Final = ("file", "line", "test", "repository", "tag", "expected", "found", "passed", "reason")
COLUMNS: Final = tuple(Column(key, key) for key in KEYS)
_VERBS: Final = {
    Decision.KEEP.value: ("is kept", "be kept"),
    Decision.EXPIRE.value: ("expires", "expire"),
    Decision.IGNORE.value: ("is ignored", "be ignored"),
}


def lines(rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield what people want to know: the failures, each with its place, and the totals."""
    failed = [row for row in rows if not row["passed"]]
    for row in failed:
        what = f":{row['tag']}" if row["tag"] is not None else ", a manifest without a tag,"
        yield f"{row['file']}:{row['line']}: {row['test']}"
        found, expected = _VERBS[row["found"]][0], _VERBS[row["expected"]][1]
        yield f"  {row['repository']}{what} {found}, and should {expected}"
        yield f"  {row['reason']}"
    tests = {(row["file"], row["test"]) for row in rows}
    broken = {(row["file"], row["test"]) for row in failed}
    total = f"{count(len(tests), 'test')}, {count(len(rows), 'expectation')}"
    if failed:
        yield f"{total}: {count(len(broken), 'test')} failed, with {count(len(failed), 'expectation')}"
    else:
        yield f"{total}: all as expected"
