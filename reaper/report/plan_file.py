"""Plans in files: an audit that is saved, looked at, and then carried out exactly so (``reaper.plan/v1``)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final, TextIO

from pydantic import TypeAdapter, ValidationError

from reaper.core.errors import InvalidInputError
from reaper.core.plan import RepositoryPlan
from reaper.report.spool import SpooledRepository
from reaper.report.text import rfc3339

SCHEMA: Final = "reaper.plan/v1"
#: A plan for a registry with a million tags is below this; a larger file is something else.
MAX_SIZE: Final = 1024 * 1024 * 1024
_AGAIN: Final = "make the plan anew with `reaper plan -o FILE`"


@dataclass(frozen=True, slots=True)
class PlannedRepository:
    """What is to be done in one repository, and what each of its tags pointed to when that was decided."""

    name: str
    tags: dict[str, str]
    plan: RepositoryPlan


@dataclass(frozen=True, slots=True)
class PlanFile:
    """A plan as it was saved.

    ``plan_id`` names it, and ``policies`` the policies behind it. ``guards`` are the guard rails that it ran
    into, a line each: such a plan is carried out only when a person accepts it by its name.
    """

    registry: str
    plan_id: str
    run_id: str
    created_at: datetime
    policies: str
    guards: list[str]
    summary: dict[str, int]
    repositories: list[PlannedRepository]


_PLAN: Final = TypeAdapter(PlanFile)


def planned(entries: Iterable[SpooledRepository]) -> list[PlannedRepository]:
    """Return what is to be done, of the repositories where something is."""
    return [
        PlannedRepository(entry.report.name, {tag.tag: tag.digest for tag in entry.report.tags}, entry.plan)
        for entry in entries
        if entry.plan is not None
    ]


def write_plan(plan: PlanFile, out: TextIO) -> None:
    """Write ``plan`` with a digest over all that it says."""
    content = _content(plan)
    document = {"schema": SCHEMA, "digest": _digest(content), **content}
    json.dump(document, out, indent=1, ensure_ascii=True)
    out.write("\n")


def read_plan(path: Path) -> PlanFile:
    """Return the plan in a file.

    Raises:
        InvalidInputError: the file cannot be read, is no plan, or was changed after it was written.
    """
    try:
        if path.stat().st_size > MAX_SIZE:
            raise InvalidInputError(f"{path} is too large for a plan")
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise InvalidInputError(f"the plan {path} cannot be read: {error.strerror}") from error
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is no plan: it is no JSON", hint=_AGAIN) from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA:
        raise InvalidInputError(f"{path} is no plan: its schema is not {SCHEMA}", hint=_AGAIN)
    stated = document.pop("digest", None)
    del document["schema"]
    try:
        plan = _PLAN.validate_python(document, strict=False, extra="forbid")
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(step) for step in first["loc"])
        raise InvalidInputError(f"{path} is no plan: {where}: {first['msg']}", hint=_AGAIN) from error
    if stated != _digest(document):
        raise InvalidInputError(
            f"{path} was changed after it was written: its digest does not fit",
            hint="a plan is done as it is or not at all; change the policies, and " + _AGAIN,
        )
    return plan


def _content(plan: PlanFile) -> dict[str, Any]:
    found = asdict(plan)
    found["created_at"] = rfc3339(plan.created_at)
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def _digest(content: Mapping[str, Any]) -> str:
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return f"sha256:{hashlib.sha256(canonical.encode()).hexdigest()}"
