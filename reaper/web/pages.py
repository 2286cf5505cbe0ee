"""The pages for people, rendered on the server. They need no script, and load nothing else."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any, Final

from jinja2 import Environment
from markupsafe import Markup

from reaper.core.duration import describe_age
from reaper.core.reference import short
from reaper.report import words
from reaper.report.templating import environment
from reaper.report.text import count
from reaper.store import Store
from reaper.web import overview
from reaper.web.state import DaemonState

_TEMPLATES: Final = Path(__file__).parent / "templates"
_REASON: Final = 300


@cache
def style() -> str:
    """Return the style sheet that every page carries."""
    return (_TEMPLATES / "style.css").read_text(encoding="utf-8")


def content_security_policy() -> str:
    """Return the policy under which a browser applies our style sheet, and does nothing else."""
    digest = base64.b64encode(hashlib.sha256(style().encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )


class Pages:
    """Makes the pages. Every method reads the store, and may block."""

    def __init__(self, state: DaemonState, store: Store, clock: Callable[[], datetime]) -> None:
        self._state = state
        self._store = store
        self._clock = clock

    def status(self, registry: str | None) -> str:
        """Return the status page, of all registries or of the one of this configured name.

        Raises:
            StoreError: the store cannot be read.
        """
        view = overview.status_view(self._store, self._state.status(), self._clock(), registry)
        dead = self._state.dead()
        problems: Sequence[str] = [*([dead] if dead else []), *self._state.unready()]
        return _render("status.html.j2", "status", view, problems=problems, limit=overview.ROWS)

    def runs(self, registry: str | None, before: datetime | None) -> str:
        """Return a page of runs. Raises StoreError when the store cannot be read."""
        view = overview.runs_view(self._store, self._state.status(), self._clock(), registry, before)
        return _render("runs.html.j2", "runs", view)

    def run(self, run_id: str, before: int | None) -> str:
        """Return the page of one run.

        Raises:
            InvalidInputError: there is no such run.
            StoreError: the store cannot be read.
        """
        view = overview.run_view(self._store, self._state.status(), self._clock(), run_id, before)
        return _render("run.html.j2", "run", view)


def _render(template: str, page: str, view: object, **more: object) -> str:
    ours = Markup(style())  # noqa: S704 - a file of this package
    context = {"page": page, "view": view, "words": words, "style": ours, **more}
    return _environment().get_template(template).render(context)


@cache
def _environment() -> Environment:
    found = environment(_TEMPLATES, html=True)
    filters: dict[str, Callable[..., Any]] = {
        "age": describe_age,
        "short": short,
        "count": count,
        "advice": words.advice,
        "clip": lambda text: text if len(text) <= _REASON else f"{text[:_REASON]}…",
    }
    found.filters |= filters
    return found
