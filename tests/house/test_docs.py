"""What the documentation promises: links that lead somewhere, paths that exist, every setting and metric."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families
from pydantic import BaseModel

from cloud_ingest.settings import Settings
from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.config import Config
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.reading_queries import OutboxCounts
from edge_gateway.page import metrics as gateway_metrics
from edge_gateway.state import GatewayState
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.house.source import PACKAGES, ROOT, parsed, tracked

LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.*)$", re.M)
FENCE = re.compile(r"^```.*?^```", re.M | re.S)
PAGES = tracked(".md")
TEN_CHANGES = 10


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_lead_to_a_file_and_a_heading(page: Path) -> None:
    text = FENCE.sub("", (ROOT / page).read_text())
    assert [link for link in LINK.findall(text) if _is_dead(page, link)] == []


def test_contributing_names_one_existing_place_for_each_of_ten_changes() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    table = next(part for part in text.split("\n\n") if part.startswith("| change |"))
    rows = table.splitlines()[2:]
    assert len(rows) == TEN_CHANGES
    for row in rows:
        places = re.findall(r"`([\w./]+/[\w./]*)`", row.split("|")[2])
        assert len(places) == 1, row
        assert [place for place in places if not (ROOT / place).exists()] == [], row


def test_every_environment_variable_is_documented() -> None:
    names = set(Settings.variables()) | set(_environment_variables())
    assert len(names) > 30
    documented = _words(_everything())
    assert sorted(names - documented) == []


def test_every_configuration_key_of_the_gateway_is_documented() -> None:
    example = (ROOT / "edge_gateway" / "gateway.example.toml").read_text()
    documented = _words(example) | _words((ROOT / "docs" / "gateway.md").read_text())
    assert sorted(set(_keys(Config)) - documented) == []


def test_every_metric_of_the_api_is_documented(tmp_path: Path) -> None:
    with RunningApi(environment(tmp_path, NOWHERE)) as api:
        text = api.http.get("/metrics", headers={"Accept": "text/plain"}).text
    assert sorted(_metric_names(text) - _metrics_documented()) == []


def test_every_metric_of_the_gateway_is_documented(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        monitor = AlarmMonitor("gw-1", {}, {}, outbox, lambda _monitor, _now: ())
        text = gateway_metrics.exposition(GatewayState("gw-1"), monitor, OutboxCounts()).decode()
    assert sorted(_metric_names(text) - _metrics_documented()) == []


def _is_dead(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return False  # another site, which a test must not ask
    name, _, anchor = link.partition("#")
    target = ROOT / page.parent / name if name else ROOT / page
    if not target.exists():
        return True
    return bool(anchor) and target.suffix == ".md" and anchor not in set(_anchors(target))


def _anchors(page: Path) -> Iterator[str]:
    for heading in HEADING.findall(FENCE.sub("", page.read_text())):
        kept = re.sub(r"[^\w\- ]", "", heading.lower())
        yield kept.strip().replace(" ", "-")


def _everything() -> str:
    return "\n".join((ROOT / page).read_text() for page in PAGES)


def _words(text: str) -> set[str]:
    return set(re.findall(r"\w+", text))


def _environment_variables() -> Iterator[str]:
    """Names of variables that the packages and the demo read: upper-case strings beside an environment."""
    for path in tracked(".py"):
        if path.parts[0] not in (*PACKAGES, "deploy"):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call | ast.Subscript) and _reads_environment(node):
                for inner in ast.walk(node):
                    if isinstance(inner, ast.Constant) and re.fullmatch(
                        r"[A-Z][A-Z0-9_]{3,}", str(inner.value)
                    ):
                        yield str(inner.value)


def _upper_case_strings(node: ast.AST) -> Iterator[str]:
    for inner in ast.walk(node):
        if isinstance(inner, ast.Constant) and re.fullmatch(r"[A-Z][A-Z0-9_]{3,}", str(inner.value)):
            yield str(inner.value)


def _reads_environment(node: ast.Call | ast.Subscript) -> bool:
    source = ast.unparse(node.func if isinstance(node, ast.Call) else node.value)
    return source.endswith(("environ", "environ.get", "given.get", "getenv", "_one_of"))


def _keys(model: type[BaseModel]) -> Iterator[str]:
    for name, field in model.model_fields.items():
        yield field.alias or name
        for inner in _models_in(field.annotation):
            yield from _keys(inner)


def _models_in(annotation: object) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in getattr(annotation, "__args__", ()):
        yield from _models_in(inner)


def _metric_names(text: str) -> set[str]:
    return {
        family.name for family in text_string_to_metric_families(text) if family.name.startswith("kidjamo_")
    }


def _metrics_documented() -> set[str]:
    names = _words((ROOT / "docs" / "metrics.md").read_text())
    return names | {name.removesuffix("_total") for name in names}
