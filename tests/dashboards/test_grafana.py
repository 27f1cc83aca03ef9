"""The ward on a Grafana server: it accepts the dashboard, and its data source runs the panels' queries.

Runs only if GRAFANA_URL names a server that was provisioned with our files; GRAFANA_TOKEN, or GRAFANA_USER
and GRAFANA_PASSWORD, must be allowed to write dashboards.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import httpx
import pytest

from dashboards import probe, render
from dashboards.postgres_query import DATASOURCE
from dashboards.sql import View, substitute

UID = "kidjamo-ward-test"

pytestmark = pytest.mark.skipif(
    not os.environ.get("GRAFANA_URL"), reason="GRAFANA_URL is not set: no Grafana server to test against"
)


@pytest.fixture
def grafana() -> Iterator[httpx.Client]:
    token = os.environ.get("GRAFANA_TOKEN")
    user = (os.environ.get("GRAFANA_USER", "admin"), os.environ.get("GRAFANA_PASSWORD", "admin"))
    with httpx.Client(
        base_url=os.environ["GRAFANA_URL"],
        headers={"Authorization": f"Bearer {token}"} if token else {},
        auth=None if token else user,
        timeout=30,
    ) as client:
        yield client
        client.delete(f"/api/dashboards/uid/{UID}")


def test_grafana_accepts_the_ward_and_runs_its_queries(grafana: httpx.Client) -> None:
    board: dict[str, Any] = json.loads(render.rendered()["ward-en.json"])
    board |= {"uid": UID, "title": "Kidjamo – ward, as pushed by a test"}
    pushed = grafana.post("/api/dashboards/db", json={"dashboard": board, "overwrite": True})
    assert pushed.status_code == 200, pushed.text

    kept = grafana.get(f"/api/dashboards/uid/{UID}").json()["dashboard"]
    assert [panel["id"] for panel in kept["panels"]] == list(range(1, 11))

    view = View.last(timedelta(hours=3), probe.everything(kept), interval="10s")
    for query in probe.queries(kept):
        response = grafana.post("/api/ds/query", json=_browser_request(query, view))
        assert response.status_code == 200, f"{query.panel}: {response.text}"
        result = response.json()["results"]["A"]
        assert "error" not in result, query.panel
        if query.panel == "Latest values":
            names = [field["name"] for field in result["frames"][0]["schema"]["fields"]]
            assert names[:3] == ["Child", "State", "Last reading"]


def _browser_request(query: probe.PanelQuery, view: View) -> dict[str, Any]:
    return {
        "from": "now-3h",
        "to": "now",
        "queries": [
            {
                "refId": "A",
                "datasource": {"type": DATASOURCE.type_val, "uid": DATASOURCE.uid},
                "rawSql": substitute(query.sql, view),
                "format": query.format,
                "intervalMs": 10_000,
                "maxDataPoints": 1000,
            }
        ],
    }
