"""What there is to tell about a run, and how it is put."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

SCHEMA: Final = "reaper.notification/v1"

#: How many guard rails, or errors, a notification names; it says how many more there are.
_LINES: Final = 10
#: The outcomes that are told about by their own name; a digest is told whatever the outcome.
_TROUBLE: Final = frozenset({"blocked", "failed", "partial"})
DIGEST: Final = "digest"

_ADVICE: Final = {
    "blocked": "Nothing was deleted. Look at the plan: reaper --dry-run --registry {registry}",
    "failed": "Nothing more is deleted until it succeeds. See the log of run {run_id}.",
    "partial": "What could not be read was left alone; the rest was done.",
}


@dataclass(frozen=True, slots=True)
class Notice:
    """One run, or collection, that ended. ``registry`` is the configured name, ``outcome`` the report's.

    ``figures`` are the report's summary; ``lines`` say what went wrong: guard rails with their figures,
    errors.
    """

    registry: str
    outcome: str
    run_id: str
    dry_run: bool
    started_at: datetime
    finished_at: datetime
    figures: Mapping[str, int] = field(default_factory=dict)
    lines: Sequence[str] = ()

    @property
    def occasions(self) -> frozenset[str]:
        """What receivers may have asked to be told that this is."""
        return (frozenset({self.outcome}) & _TROUBLE) | {DIGEST}

    def as_json(self) -> dict[str, Any]:
        """Return the body of the JSON webhook."""
        return {
            "schema": SCHEMA,
            "registry": self.registry,
            "outcome": self.outcome,
            "run_id": self.run_id,
            "dry_run": self.dry_run,
            "started_at": _instant(self.started_at),
            "finished_at": _instant(self.finished_at),
            "summary": dict(self.figures),
            "problems": list(self.lines),
            "text": self.text(),
        }

    def as_slack(self) -> dict[str, Any]:
        """Return the body of an incoming webhook of Slack, and of what understands the same.

        Only ``&``, ``<`` and ``>`` mean something in such a text
        (https://docs.slack.dev/messaging/formatting-message-text, "Escaping text").
        """
        text = self.text()
        for character, entity in (("&", "&amp;"), ("<", "&lt;"), (">", "&gt;")):
            text = text.replace(character, entity)
        return {"text": text}

    def text(self) -> str:
        """Return it in a few lines for a person."""
        what = "audit" if self.dry_run else "run"
        lines = [f"reaper: {what} of {self.registry} is {self.outcome} ({what} {self.run_id})"]
        lines += [f"• {_printable(line)}" for line in self.lines[:_LINES]]
        if len(self.lines) > _LINES:
            lines.append(f"• and {len(self.lines) - _LINES} more")
        if self.figures:
            verb = "to delete" if self.dry_run or self.outcome == "blocked" else "deleted"
            key = "manifests_to_delete" if verb == "to delete" else "deleted_manifests"
            tags, repositories, expired, manifests, size = (
                self.figures.get(name, 0)
                for name in ("tags", "repositories", "expired_tags", key, "reclaimable_bytes")
            )
            lines.append(
                f"{tags} tags in {repositories} repositories, {expired} expired, "
                f"{manifests} manifests {verb}, {size / 2**20:.1f} MiB reclaimable"
            )
        if self.outcome in _ADVICE:
            lines.append(_ADVICE[self.outcome].format(registry=self.registry, run_id=self.run_id))
        return "\n".join(lines)


def _instant(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _printable(text: str) -> str:
    """Return ``text`` in one line; what does not print, in a name from a registry say, as an escape."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text)
