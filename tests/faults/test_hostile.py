"""Documents and names that are made to do harm: bounded in memory and time, and never decided on."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from devtools import fault_proxy as faults
from devtools.fault_proxy import Answer, Exchange
from devtools.images import OCI_INDEX, OCI_MANIFEST, digest_of
from reaper.core.manifest import MAX_MANIFEST_SIZE
from reaper.report.model import RunReport
from reaper.report.render import Format, render
from tests.e2e.conftest import REAPER
from tests.faults.conftest import Ground, by_name

DIGEST = digest_of(b"x")
CHILD = {"mediaType": OCI_MANIFEST, "digest": DIGEST, "size": 1}


def filled(head: str, item: str, tail: str, size: int = MAX_MANIFEST_SIZE) -> bytes:
    """Return as many items as fit."""
    room = (size - len(head) - len(tail) - len(item)) // (len(item) + 1)
    return (head + (item + ",") * room + item + tail).encode()


#: What each is refused with. All but the first fit into the four megabytes that a manifest may have.
BOMBS: dict[str, tuple[str, bytes, str]] = {
    "100,000 children": (
        OCI_INDEX,
        json.dumps(
            {"manifests": [CHILD | {"digest": digest_of(b"%d" % n)} for n in range(100_000)]}
        ).encode(),
        "the limit is 4194304",
    ),
    "20,000 children": (
        OCI_INDEX,
        json.dumps({"manifests": [CHILD | {"digest": digest_of(b"%d" % n)} for n in range(20_000)]}).encode(),
        "20000 entries; the limit is 10000",
    ),
    "lists": (OCI_INDEX, filled('{"manifests":[', "[]", "]}"), "objects and lists"),
    "objects": (OCI_MANIFEST, filled('{"a":[', '{"":0}', "]}"), "objects and lists"),
    "numbers": (OCI_MANIFEST, filled('{"a":[', "0.1", "]}"), "has no config"),
    "texts": (OCI_MANIFEST, filled('{"a":[', '"ab"', "]}"), "has no config"),
    "one text": (OCI_MANIFEST, filled('{"mediaType":"', "x", '"}'), "a mediaType that is none"),
    "a long number": (OCI_MANIFEST, b'{"config":{"size":' + b"9" * 4_000_000 + b"}}", "is not JSON"),
    "a large number": (
        OCI_MANIFEST,
        json.dumps({"config": CHILD | {"size": 10**400}, "layers": []}).encode(),
        "config has no valid size",
    ),
    "deep": (OCI_MANIFEST, b'{"a":' * 90_000 + b"0" + b"}" * 90_000, "is not JSON"),
    "deeper": (OCI_MANIFEST, b"[" * 4_000_000, "objects and lists"),
    "twice": (OCI_INDEX, b'{"manifests":[],"manifests":[]}', "a field twice"),
    "in another case": (OCI_INDEX, b'{"manifests":[],"MANIFESTS":[]}', "which some read as manifests"),
    "no UTF-8": (OCI_MANIFEST, b'{"mediaType":"\xed\xa0\x80"}', "is not JSON"),
    "a surrogate": (OCI_MANIFEST, b'{"mediaType":"\\ud800"}', "a mediaType that is none"),
    "a terminal": (OCI_MANIFEST, b'{"mediaType":"\\u001b[2J\\u202e<script>"}', "a mediaType that is none"),
    "itself": (OCI_INDEX, b"", "but the registry says"),
}


def serve(ground: Ground, repository: str, body: bytes, media_type: str) -> None:
    """Let the tag ``v1`` be a manifest that no registry would take."""
    digest = digest_of(body)
    if not body:
        # An index that contains itself has a digest that nobody can find.
        body = json.dumps({"manifests": [CHILD | {"digest": digest, "mediaType": OCI_INDEX}]}).encode()
    answer = Answer(200, {"Content-Type": media_type, "Docker-Content-Digest": digest}, body)

    def send(exchange: Exchange) -> None:
        sized = answer.having(content_length=str(len(body)))
        exchange.send(sized)

    for reference in ("v1", digest):
        ground.proxy.inject(send, "GET|HEAD", f"/v2/{repository}/manifests/{reference}")


def bombed(ground: Ground) -> dict[str, str]:
    """Push a repository for each bomb and each listing that is one; return what is said of each."""
    says = {}
    for number, (media_type, body, text) in enumerate(BOMBS.values()):
        says[f"bad-{number}"] = text
        ground.push(f"bad-{number}")
        serve(ground, f"bad-{number}", body, media_type)
    sizes = {
        "list-1": (filled('{"tags":[', "[]", "]}", 60 * 1024 * 1024), "not a list of names"),
        "list-2": (filled('{"tags":[', '"ab"', "]}", 60 * 1024 * 1024), "more than 2000000 names"),
        "list-3": (b'{"tags":["' + b"x" * 63_000_000 + b'"]}', "an invalid tag 'xxx"),
        "list-4": (b" " * (64 * 1024 * 1024 + 1), "the limit is 67108864"),
        "list-5": (b"[" * 60_000_000, "not a list of names"),
    }
    for name, (content, text) in sizes.items():
        says[name] = text
        ground.push(name)
        ground.proxy.inject(faults.answer(200, content), "GET", f"/v2/{name}/tags/list")
    ground.push("good")
    return says


#: The command with a limit on its memory: it fails where it would take more than this.
LIMITED = """
import os, resource, sys
resource.setrlimit(resource.RLIMIT_DATA, (640 * 1024 * 1024,) * 2)
os.execv(sys.argv[1], sys.argv[1:])
"""


def test_bombs_are_bounded_in_memory_and_time(ground: Ground, tmp_path: Path) -> None:
    says = bombed(ground)
    (tmp_path / "policy.yaml").write_text(
        "version: 1\npolicies: [{name: two, repositories: {include: ['**']}, minimum_age: 0s,"
        " rules: [{keep: {newest: 2}}]}]\n"
    )
    (tmp_path / "reaper.yaml").write_text(
        json.dumps(
            {
                "registries": [{"name": "main", "url": ground.proxy.url}],
                "policies": ["policy.yaml"],
                "store": {"url": ground.store_url},
            }
        )
    )
    command = [str(REAPER), "--config", str(tmp_path / "reaper.yaml"), "run", "--format", "json"]
    began = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-c", LIMITED, *command], capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 4, ended.stderr[-3000:]
    assert time.monotonic() - began < 60
    report = json.loads(ended.stdout)
    assert report["outcome"] == "partial"
    errors = {entry["name"]: entry["errors"] for entry in report["repositories"]}
    assert errors.pop("good") == []
    for name, text in says.items():
        assert any(text in error for error in errors[name]), (name, errors[name])
        assert all(len(error) < 500 for error in errors[name])
        assert ground.whole(name)
    assert ground.swept("good")
    assert "Traceback" not in ended.stderr


def plain(report: RunReport, form: Format) -> str:
    out = io.StringIO()
    render(report, form, out, verbose=True)
    return out.getvalue()


NAMES = [
    "\x1b[2J",
    "a\nb",
    "\u202egpj",
    "<script>alert(1)</script>",
    "|x|",
    '=cmd|"/c calc"!A1',
    "\ud800",
    "\x00",
]


@pytest.mark.parametrize("form", list(Format))
def test_names_from_a_registry_are_text_in_every_format(ground: Ground, form: Format) -> None:
    def naming(bad: str) -> Callable[[list[str]], list[str]]:
        return lambda names: [*names, bad]

    for number, name in enumerate(NAMES):
        ground.push(f"bad-{number}")
        ground.proxy.inject(faults.edit_names("tags", naming(name)), "GET", f"/v2/bad-{number}/tags/list")
    report = ground.run(dry_run=True)
    assert all(by_name(report)[f"bad-{number}"].errors for number in range(len(NAMES)))
    text = plain(report, form)
    assert text.encode()
    assert all(line.isprintable() for line in text.splitlines())
    assert "an invalid tag" in text
    if form is Format.HTML:
        assert "<script>alert" not in text
    if form is Format.CSV:
        assert not any(
            cell.startswith(("=", "+", "@")) for line in text.splitlines() for cell in line.split(",")
        )
