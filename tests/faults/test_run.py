"""What concerns the whole registry ends the run, and what is slow or gone does not hold it up."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from devtools import fault_proxy as faults
from devtools.fault_proxy import Fault, FaultProxy
from devtools.pusher import Pusher
from devtools.registry_config import RegistryOptions as ServerOptions
from devtools.token_server import TokenServer
from reaper.cli.exits import exit_for_outcome
from reaper.registry import Credentials
from reaper.report.model import Outcome
from tests.conftest import MakeRegistry
from tests.e2e.conftest import run_reaper
from tests.faults.conftest import Ground, by_name
from tests.integration.test_logins import PASSWORD

CATALOG = "/v2/_catalog"
HTML = faults.answer(200, b"<html>please log in</html>", Content_Type="text/html")
WHOLE: dict[str, tuple[str, Fault, str]] = {
    # name: (path, fault, what the report says)
    "catalog 401": (CATALOG, faults.answer(401), "offers no login that reaper knows"),
    "catalog 401 for good": (
        CATALOG,
        faults.answer(401, WWW_Authenticate='Basic realm="x"'),
        "the login is refused (401)",
    ),
    "catalog 403": (CATALOG, faults.answer(403), "access is denied (403)"),
    "catalog 404": (CATALOG, faults.answer(404), "has no catalog of repositories (404)"),
    "catalog is a page": (CATALOG, HTML, "instead of JSON"),
    "catalog 500": (CATALOG, faults.answer(500), "the registry failed (500)"),
    "catalog cut": (CATALOG, faults.cut, "ended too early"),
    "catalog stalled": (CATALOG, faults.stall, "no answer in time"),
    "another service": ("/v2/", faults.answer(404), "is not a registry"),
    "a portal": ("/v2/.*", HTML, "is not a registry"),
    "refused": ("/v2/", faults.vanish, "cannot be reached"),
    "never an answer": ("/v2/.*", faults.mute, "no answer in time"),
    "reset": ("/v2/.*", faults.hang_up, "cannot be reached"),
}


def test_nothing_is_deleted_without_a_catalog(ground: Ground) -> None:
    ground.push("bad", "good")
    for name, (path, fault, says) in WHOLE.items():
        with FaultProxy(ground.server.url) as proxy:
            ground.proxy = proxy
            proxy.inject(fault, "GET", path)
            report = ground.run()
            assert report.outcome is Outcome.FAILED, name
            assert exit_for_outcome(report.outcome) == 1
            assert says in (report.error or ""), (name, report.error)
            assert len(report.error or "") < 400, name
            assert ground.sent() <= 8, name
            assert ground.sent("DELETE") == 0
    assert ground.whole("bad")
    assert ground.whole("good")


INVALID = {
    # name: (what the catalog lists as well, what the report calls it, what it says)
    "a path": ("../../../etc", "../../../etc", "the catalog has an invalid name '../../../etc'"),
    "capitals": ("Good", "Good", "the catalog has an invalid name 'Good'"),
    "control characters": ("a\x1b[2J", "a?[2J", r"the catalog has an invalid name 'a\x1b[2J'"),
    "a very long name": ("a" * 100_000, "a" * 80 + "…", "the catalog has an invalid name 'aaa"),
}


@pytest.mark.parametrize("kind", INVALID)
def test_an_invalid_name_in_the_catalog_holds_nothing_else_up(ground: Ground, kind: str) -> None:
    ground.push("good")
    listed, name, says = INVALID[kind]
    ground.proxy.inject(faults.edit_names("repositories", lambda names: [*names, listed]), "GET", CATALOG)
    report = ground.run()
    assert report.outcome is Outcome.PARTIAL
    (error,) = by_name(report)[name].errors
    assert says in error
    assert len(error) < 200
    assert ground.swept("good")


def test_a_catalog_full_of_nonsense_is_told_in_a_few_lines(ground: Ground) -> None:
    ground.push("good")
    nonsense = [f"No{number}" for number in range(500)]
    ground.proxy.inject(faults.edit_names("repositories", lambda names: [*names, *nonsense]), "GET", CATALOG)
    report = ground.run()
    assert report.outcome is Outcome.PARTIAL
    assert by_name(report)["…"].errors == ["the catalog has 480 more invalid names"]
    assert report.summary.errors == 21
    assert ground.swept("good")


def test_a_registry_that_goes_away_in_the_middle(ground: Ground) -> None:
    names = [f"r{number:02}" for number in range(12)]
    ground.push(*names)
    ground.proxy.inject(faults.vanish, "GET", "/v2/r06/tags/list")
    report = ground.run()
    assert report.outcome is Outcome.PARTIAL
    assert by_name(report)["r06"].errors
    assert ground.sent("DELETE") == 0
    assert all(ground.whole(name) for name in names)


def test_a_registry_that_falls_silent_does_not_hold_the_run_up(ground: Ground) -> None:
    """With all attempts for each repository, this would take 40 * 4 * 1 s / 2, that is 80 s."""
    names = [f"r{number:02}" for number in range(40)]
    ground.push(*names)
    ground.concurrency = 2
    ground.proxy.inject(faults.mute, ".*", "/v2/r.*")
    report = ground.run()
    assert report.outcome is Outcome.PARTIAL
    assert report.summary.errors == len(names)
    assert any("has stopped answering" in error for error in by_name(report)["r39"].errors)
    assert ground.sent(path="/v2/r.*") < 20
    assert ground.took < 30


@pytest.fixture
def tokens() -> Iterator[TokenServer]:
    with TokenServer({"reaper": PASSWORD}) as server:
        yield server


class TestTokens:
    @pytest.fixture
    def guarded(self, make_registry: MakeRegistry, tmp_path: Path, tokens: TokenServer) -> Iterator[Ground]:
        """A registry that sends its clients to the token server."""
        server = make_registry(ServerOptions(token=tokens.trusted(tmp_path)))
        with FaultProxy(server.url) as proxy:
            ground = Ground(server, proxy, f"sqlite:///{tmp_path}/reaper.db")
            ground.credentials = Credentials("the test", "reaper", PASSWORD)
            for repository in ("bad", "good"):
                token = tokens.token("pusher", f"repository:{repository}:pull,push")
                ground.pusher = Pusher(server.url, token=token)
                ground.push(repository)
            yield ground

    def test_a_token_that_expires_in_mid_run_is_renewed(self, guarded: Ground, tokens: TokenServer) -> None:
        # The registry takes a token for a minute longer than it says: this one for four seconds.
        tokens.lifetime = -56
        guarded.proxy.inject(faults.slow(6.0), "HEAD", "/v2/bad/manifests/v1", nth=1)
        guarded.patience = replace(guarded.patience, answer=20.0)
        report = guarded.run()
        assert report.outcome is Outcome.DONE
        assert report.summary.deleted_manifests == 2
        scopes = [scope for _, _, scope in tokens.asked]
        assert scopes.count("repository:bad:pull") > 1

    def test_tokens_that_are_never_taken_are_not_asked_for_without_end(
        self, guarded: Ground, tokens: TokenServer
    ) -> None:
        tokens.lifetime = -1000
        report = guarded.run()
        assert report.outcome is Outcome.FAILED
        assert "the login is refused (401)" in (report.error or "")
        assert len(tokens.asked) <= 3

    def test_a_token_server_that_stops_to_answer(self, guarded: Ground, tokens: TokenServer) -> None:
        tokens.failing.add("repository:bad:pull")
        report = guarded.run()
        assert report.outcome is Outcome.PARTIAL
        (error,) = by_name(report)["bad"].errors
        assert "the token server 127.0.0.1" in error
        assert by_name(report)["good"].errors == []
        assert PASSWORD not in repr(report)


class TestTheCommand:
    """With the time limits from the settings, and its exit codes."""

    @pytest.fixture
    def settings(self, ground: Ground, tmp_path: Path) -> Path:
        ground.push("bad", "good")
        (tmp_path / "policy.yaml").write_text(
            "version: 1\npolicies: [{name: two, repositories: {include: ['**']}, minimum_age: 0s,"
            " rules: [{keep: {newest: 2}}]}]\n"
        )
        settings = tmp_path / "reaper.yaml"
        registry = {"name": "main", "url": ground.proxy.url, "timeout": "1s", "connect_timeout": "1s"}
        store = {"url": ground.store_url}
        settings.write_text(
            json.dumps({"registries": [registry], "policies": ["policy.yaml"], "store": store})
        )
        return settings

    def test_a_repository_that_is_skipped_is_code_4(self, ground: Ground, settings: Path) -> None:
        ground.proxy.inject(faults.stall, "GET", "/v2/bad/tags/list")
        ended = run_reaper("--config", str(settings), "run", "--format", "json")
        assert ended.code == 4, ended.err
        assert ended.report["outcome"] == "partial"
        assert ground.whole("bad")
        assert ground.swept("good")

    def test_a_registry_without_an_answer_is_code_1(self, ground: Ground, settings: Path) -> None:
        ground.proxy.inject(faults.mute)
        began = time.monotonic()
        ended = run_reaper("--config", str(settings), "run")
        assert ended.code == 1
        assert time.monotonic() - began < 30
        assert "no answer in time" in ended.err
        assert len([line for line in ended.err.splitlines() if line.startswith("reaper: ")]) == 1
