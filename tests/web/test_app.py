"""Health, readiness, metrics, who is let in, and what every answer carries."""

from __future__ import annotations

import base64
import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.web.conftest import METRICS, Site
from tests.web.site import NOW, fill

PAGES = ("/", "/runs", "/runs/run0029aaaaa")
HEALTH = ("/healthz", "/livez", "/readyz")


@pytest.mark.parametrize("path", ["/healthz", "/livez"])
def test_alive_until_the_daemon_says_otherwise(site: Site, path: str) -> None:
    assert (site.get(path).status_code, site.get(path).text) == (200, "ok\n")
    site.state.reason = "the scheduler has not come round for 60 seconds"
    assert (site.get(path).status_code, site.get(path).text) == (503, f"{site.state.reason}\n")


def test_health_asks_nobody_else(site: Site) -> None:
    site.store.close()
    site.state.current = replace(site.state.current, registries={"gone": "http://127.0.0.1:1"})
    assert [site.get(path).status_code for path in HEALTH] == [200, 200, 200]


def test_ready_until_the_daemon_says_otherwise(site: Site) -> None:
    site.state.current = replace(site.state.current, leader=False)
    assert (site.get("/readyz").status_code, site.get("/readyz").text) == (200, "ready\n"), "so are standbys"
    site.state.reasons = ["stopping", "another reason"]
    assert (site.get("/readyz").status_code, site.get("/readyz").text) == (503, "stopping\nanother reason\n")


def test_an_invalid_file_is_named_and_takes_nothing_out_of_service(site: Site) -> None:
    error = "policies.yaml:3:5: unknown key 'ruels'"
    changed = replace(site.state.current.configuration, error=error, failed_at=NOW)
    site.state.current = replace(site.state.current, configuration=changed)
    answer = site.get("/readyz")
    assert answer.status_code == 200
    assert error in answer.text


def test_metrics_are_passed_on_as_they_are(site: Site) -> None:
    answer = site.get("/metrics")
    assert (answer.content, answer.headers["content-type"]) == METRICS


def test_head_works_wherever_get_does(site: Site) -> None:
    fill(site.store)
    for path in (*PAGES, *HEALTH, "/metrics"):
        got, head = site.get(path), site.ask("HEAD", path)
        assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
        assert head.headers["content-length"] == got.headers["content-length"]


def test_wrong_paths_and_methods(site: Site) -> None:
    for path in ("/nope", "/runs/", "/runs/a/b", "/static", "/healthz/x", "/../etc/passwd", "/runs/zzz"):
        assert site.get(path).status_code == 404, path
    for method in ("POST", "PUT", "DELETE", "PATCH"):
        for path in ("/", "/runs", "/runs/a", "/metrics", "/healthz", "/readyz"):
            assert site.ask(method, path).status_code == 405, (method, path)
    for path in ("/events", "/events/main"):
        answer = site.get(path)
        assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


def test_every_answer_is_hardened(site: Site) -> None:
    fill(site.store)
    site.token = "secret"
    known = {"Authorization": "Bearer secret"}
    paths = (*PAGES, *HEALTH, "/metrics", "/nope", "/runs?before=x")
    answers = [site.get(path, headers=known) for path in paths]
    answers += [site.get("/"), site.ask("POST", "/events/main", content=b"no", headers=known)]
    assert {answer.status_code for answer in answers} == {200, 400, 401, 404}
    for answer in answers:
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert answer.headers["cache-control"] == "no-store"
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in policy
        assert "script-src" not in policy


def test_the_policy_allows_the_page_its_style_and_nothing_else(site: Site) -> None:
    answer = site.get("/")
    (style,) = re.findall("<style>(.*?)</style>", answer.text, re.DOTALL)
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    assert f"style-src 'sha256-{digest}';" in answer.headers["content-security-policy"]
    assert not re.search(r"<script|\sstyle=|\son\w+=|@import|url\((?!#)", answer.text)
    assert not re.findall(r'(?:src|href)="(?!/|#|data:)', answer.text)


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


@pytest.mark.parametrize(
    ("authorization", "let_in"),
    [
        ("Bearer grün-secret", True),
        ("bearer   grün-secret ", True),
        (basic("", "grün-secret"), True),
        (basic("anybody", "grün-secret"), True),
        (None, False),
        ("Bearer", False),
        ("Bearer grün-secret2", False),
        ("Bearer grün-secre", False),
        ("grün-secret", False),
        ("Digest grün-secret", False),
        (basic("grün-secret", "x"), False),
        ("Basic grün-secret", False),
        ("Basic /////w==", False),
    ],
)
def test_a_token_for_all_but_health(site: Site, authorization: str | None, let_in: bool) -> None:
    site.token = "grün-secret"
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    expected = 200 if let_in else 401
    for path in ("/", "/runs", "/metrics"):
        answer = site.get(path, headers=headers)
        assert answer.status_code == expected
        assert ("www-authenticate" in answer.headers) is not let_in
    assert site.ask("POST", "/events/main", content='{"events": []}', headers=headers).status_code == expected
    assert site.get("/nope", headers=headers).status_code == (404 if let_in else 401)
    assert [site.get(path, headers=headers).status_code for path in HEALTH] == [200, 200, 200]


def test_registries_have_a_secret_of_their_own(site: Site) -> None:
    site.token, site.events_secret = "readers", "registries"

    def statuses(secret: str) -> tuple[int, int]:
        headers = {"Authorization": f"Bearer {secret}"}
        sent = site.ask("POST", "/events/main", content='{"events": []}', headers=headers)
        return site.get("/", headers=headers).status_code, sent.status_code

    assert statuses("readers") == (200, 401)
    assert statuses("registries") == (401, 200)
    site.token = None
    assert site.get("/").status_code == 200
    assert site.ask("POST", "/events/main", content='{"events": []}').status_code == 401


def test_a_store_that_fails_is_said(site: Site) -> None:
    site.store.close()
    Path(site.store.name).write_bytes(b"not a database" * 100)
    for path in ("/", "/runs", "/runs/a"):
        answer = site.get(path)
        assert (answer.status_code, "is not a database" in answer.text) == (503, True)
