"""The Grafana dashboard: whole, about metrics there are, and none of them forgotten."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from tests.prometheus.expressions import SPECS, alerts, dashboard, queries, uses

PANELS = dashboard()["panels"]
DRAWN = [panel for panel in PANELS if panel["type"] != "row"]


@pytest.mark.parametrize("query", queries(), ids=lambda query: query.where)
def test_every_query_is_about_metrics_that_reaper_has(query: Any) -> None:
    found = uses(query.filled("reaper"))
    assert found
    assert not [fault for use in found for fault in use.faults()]


def test_every_metric_is_shown_or_watched() -> None:
    expressions = [query.filled("reaper") for query in queries()] + [rule["expr"] for rule in alerts()]
    used = {re.sub(r"_(bucket|sum|count)$", "", use.metric) for text in expressions for use in uses(text)}
    assert SPECS.keys() <= used


def test_every_query_keeps_to_what_is_selected() -> None:
    for query in queries():
        for use in uses(query.filled("reaper")):
            labels = {label for label, _, _ in use.matchers}
            if use.metric != "reaper_build_info" and not query.where.startswith("variable"):
                assert {"namespace", "job"} <= labels, query
            spec = SPECS.get(re.sub(r"_(bucket|sum|count)$", "", use.metric))
            if spec is not None and "registry" in spec.labels and not query.where.startswith("variable"):
                assert "registry" in labels, query


def test_rates_follow_the_scrapes() -> None:
    for query in queries():
        assert "rate(" not in query.expression or "[$__rate_interval]" in query.expression, query


def test_it_can_be_imported_anywhere() -> None:
    document = dashboard()
    assert (document["uid"], document["title"], document["id"]) == ("reaper", "Reaper", None)
    assert [v["name"] for v in document["templating"]["list"]] == [
        "datasource",
        "namespace",
        "job",
        "registry",
    ]
    wanted = {"type": "prometheus", "uid": "${datasource}"}
    for panel in DRAWN:
        assert panel["datasource"] == wanted
        assert all(target["datasource"] == wanted for target in panel["targets"])
    assert "__inputs" not in document


def test_panels_have_names_units_and_a_place_of_their_own() -> None:
    assert len({panel["id"] for panel in PANELS}) == len(PANELS)
    taken: dict[tuple[int, int], str] = {}
    for panel in PANELS:
        place = panel["gridPos"]
        assert panel["title"]
        assert place["x"] + place["w"] <= 24
        for x in range(place["x"], place["x"] + place["w"]):
            for y in range(place["y"], place["y"] + place["h"]):
                assert (x, y) not in taken, f"{panel['title']} lies upon {taken[x, y]}"
                taken[x, y] = panel["title"]
    for panel in DRAWN:
        unit = panel["fieldConfig"]["defaults"].get("unit") or panel["options"]["yAxis"]["unit"]
        assert unit
        for target in panel["targets"]:
            assert "bytes" not in target["expr"] or unit == "bytes", panel["title"]


def test_rows_come_in_the_order_of_urgency() -> None:
    rows = [panel for panel in PANELS if panel["type"] == "row"]
    assert rows[0]["title"] == "Is it well?"
    assert all(one["gridPos"]["y"] < other["gridPos"]["y"] for one, other in pairwise(rows))
