"""Log lines: one format, no secret, nothing that speaks to a terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
import structlog

from reaper.observe.logging import configure_logging
from tests.report.reports import HOSTILE


@pytest.fixture(autouse=True)
def restored() -> Iterator[None]:
    handlers = list(logging.getLogger().handlers)
    yield
    logging.getLogger().handlers[:] = handlers
    structlog.reset_defaults()


def test_json_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    with structlog.contextvars.bound_contextvars(run_id="abc"):
        structlog.get_logger().info("deleted", tags=("a", "b"), at=datetime(2026, 3, 1, tzinfo=UTC))
    structlog.get_logger().debug("not said")
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["event"], found["level"], found["run_id"]) == ("deleted", "info", "abc")
    assert found["tags"] == ["a", "b"]
    assert found["at"] == "2026-03-01T00:00:00+00:00"
    assert found["timestamp"].endswith("Z")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_secrets_are_hidden(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format, "info")
    structlog.get_logger().info("login", password="s3cret", identitytoken="s3cret", Authorization="s3cret")
    assert "s3cret" not in capsys.readouterr().err


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_names_do_not_reach_the_terminal(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging(log_format, "info")
    structlog.get_logger().info("seen", repository="evil\x1b[2J\u202egnp")
    written = capsys.readouterr().err
    assert "\x1b[2J" not in written
    assert "\u202e" not in written
    assert "evil" in written


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("name", HOSTILE)
def test_a_name_is_one_line_and_ascii_or_printable(
    log_format: str, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logging(log_format, "info")
    structlog.get_logger().info("seen", repository=name, tags=(name,), problems={"first": [name]})
    structlog.get_logger().warning(name)
    written = capsys.readouterr().err
    assert len(written.splitlines()) == 2
    assert all(line.isprintable() for line in written.splitlines())


def test_a_trace_keeps_its_lines(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("console", "info")
    try:
        json.loads("")
        pytest.fail("that is no JSON")
    except ValueError as error:
        error.args = ("evil\x1b[2J",)
        structlog.get_logger().exception("failed")
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) > 3
    assert all(line.isprintable() for line in lines)


def test_what_libraries_say_is_a_line_like_all_others(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("json", "info")
    configure_logging("json", "info")
    logging.getLogger("apscheduler.scheduler").warning("job %s was missed", "x")
    logging.getLogger("apscheduler.scheduler").info("routine")
    (line,) = capsys.readouterr().err.splitlines()
    found = json.loads(line)
    assert (found["library"], found["message"]) == ("apscheduler.scheduler", "job x was missed")
