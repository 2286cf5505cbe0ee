"""A run and its undo with each login, and over TLS."""

from __future__ import annotations

from tests.compat.conftest import PASSWORD, Scenario, each


@each("htpasswd", "token", "tls")
def test_a_run_and_its_undo(scenario: Scenario) -> None:
    images = {
        tag: scenario.push(scenario.repository, tag, age=age) for tag, age in (("old", 50), ("new", 10))
    }
    digests = {tag: image.digest for tag, image in images.items()}
    scenario.holds(digests)
    scenario.rules("[{keep: {newest: 1}}]")
    ran = scenario.reaper("run", "-vv", "--format=json")
    assert ran.code == 0, ran.err
    assert ran.report["summary"]["deleted_manifests"] == 1
    assert ("deletes_are_final" in ran.err) is not scenario.target.product.undoes
    scenario.holds({"new": digests["new"]}, gone=[digests["old"]])
    restored = scenario.reaper("restore", f"{scenario.repository}:old")
    if scenario.target.product.undoes:
        assert restored.code == 0, restored.err
        scenario.holds(digests)
        scenario.can_be_pulled(digests.values())
    verified = scenario.reaper("verify", scenario.repository)
    assert verified.code == 0, verified.err
    assert PASSWORD not in "".join((ran.err, ran.out, restored.err, verified.err))
