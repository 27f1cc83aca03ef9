"""Faults in dashboard JSON are reported."""

from __future__ import annotations

import json
from typing import Any

from dashboards import render, structure

SOURCE = {"type": "grafana-postgresql-datasource", "uid": "kidjamo-postgresql"}


def panel(number: int | None, x: int = 0, y: int = 0, w: int = 12, h: int = 8) -> dict[str, Any]:
    return {
        "id": number,
        "title": f"panel {number}",
        "type": "table",
        "gridPos": {"x": x, "y": y, "w": w, "h": h},
        "targets": [{"datasource": SOURCE}],
    }


def faults(*panels: dict[str, Any]) -> list[str]:
    return list(structure.faults({"panels": list(panels)}, ["kidjamo-postgresql"]))


def test_our_dashboards_have_no_faults() -> None:
    uids = structure.provisioned_uids()
    assert uids == {"kidjamo-postgresql"}
    for text in render.rendered().values():
        assert list(structure.faults(json.loads(text), uids)) == []


def test_faults_panels_side_by_side_and_below_are_fine() -> None:
    assert faults(panel(1), panel(2, x=12), panel(3, y=8, w=24)) == []


def test_faults_names_overlapping_panels() -> None:
    assert faults(panel(1), panel(2, x=11, y=7)) == ["panels 'panel 1' (1) and 'panel 2' (2) overlap"]


def test_faults_names_ids_missing_and_used_twice() -> None:
    assert faults(panel(1), panel(1, x=12)) == ["2 panels with the id 1"]
    assert faults(panel(None)) == ["1 panels with the id None"]


def test_faults_names_a_panel_beyond_the_page() -> None:
    assert faults(panel(1, x=20)) == ["panel 'panel 1' (1) is wider than the page"]


def test_faults_names_a_data_source_that_is_not_provisioned() -> None:
    odd = panel(1) | {"targets": [{"datasource": {"uid": "other"}}]}
    assert faults(odd) == ["data source other is not provisioned"]
