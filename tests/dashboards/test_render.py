"""The generated files are up to date and have the required content."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from dashboards import render
from dashboards.sql import literal

ENGLISH, FRENCH = "ward-en.json", "ward-fr.json"


def board(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((render.GENERATED / name).read_text(encoding="utf-8"))
    return loaded


def panel(name: str, title: str) -> dict[str, Any]:
    (found,) = (panel for panel in board(name)["panels"] if panel.get("title") == title)
    assert isinstance(found, dict)
    return found


def steps(title: str) -> list[tuple[float | None, str]]:
    defaults = panel(ENGLISH, title)["fieldConfig"]["defaults"]
    assert defaults["custom"]["thresholdsStyle"]["mode"] == "line+area"
    return [(step["value"], step["color"]) for step in defaults["thresholds"]["steps"]]


def test_generated_files_are_up_to_date() -> None:
    assert render.out_of_date() == []
    assert sorted(path.name for path in render.GENERATED.glob("*")) == [ENGLISH, FRENCH]


def test_write_replaces_outdated_files_and_deletes_removed_ones(tmp_path: Path) -> None:
    assert render.out_of_date(tmp_path) == [ENGLISH, FRENCH]
    render.write(tmp_path)
    assert render.out_of_date(tmp_path) == []
    (tmp_path / ENGLISH).write_text("{}")
    (tmp_path / "gone.json").write_text("{}")
    assert render.out_of_date(tmp_path) == ["gone.json", ENGLISH]
    assert render.write(tmp_path) == [tmp_path / "gone.json", tmp_path / ENGLISH]
    assert render.out_of_date(tmp_path) == []
    assert not (tmp_path / "gone.json").exists()


def test_critical_thresholds_are_those_of_the_rules() -> None:
    assert steps("Oxygen saturation (%)") == [(None, "red"), (88.0, "orange"), (92.0, "transparent")]
    assert steps("Heart rate (/min)") == [(None, "red"), (40.0, "transparent"), (180.0, "red")]
    assert steps("Body temperature (°C)") == [(None, "transparent"), (38.0, "red")]
    assert steps("Respiratory rate (/min)") == [(None, "transparent")]


def test_both_languages_state_that_this_is_not_a_medical_device() -> None:
    for name, sentence in (
        (ENGLISH, "Research and education software, not a medical device."),
        (FRENCH, "Logiciel de recherche et d'enseignement, pas un dispositif médical."),
    ):
        first = board(name)["panels"][0]
        assert first["type"] == "text"
        assert sentence in first["options"]["content"]


def test_languages_differ_in_words_only() -> None:
    english, french = board(ENGLISH), board(FRENCH)
    for first, second in zip(english["panels"], french["panels"], strict=True):
        for same in ("id", "type", "gridPos"):
            assert first[same] == second[same]
        for words in ("title", "description"):
            assert first.get(words) is None or first[words] != second[words]


def test_patient_variable_allows_several_and_defaults_to_all() -> None:
    (variable,) = board(ENGLISH)["templating"]["list"]
    assert variable["name"] == "patient"
    assert (variable["multi"], variable["includeAll"], variable["allValue"]) == (True, True, "patient_id")
    assert variable["current"]["value"] == ["$__all"]


def test_queries_are_for_the_postgresql_data_source() -> None:
    for panel in board(ENGLISH)["panels"][1:]:
        (target,) = panel["targets"]
        assert target["datasource"] == {
            "type": "grafana-postgresql-datasource",
            "uid": "kidjamo-postgresql",
        }
        assert target["rawQuery"] is True
        assert target["format"] == ("time_series" if panel["type"] == "timeseries" else "table")


def test_colour_patterns_of_the_latest_values_match_the_cells_texts() -> None:
    overrides = panel(FRENCH, "Dernières valeurs")["fieldConfig"]["overrides"]
    by_column = {override["matcher"]["options"]: override["properties"] for override in overrides}
    (mappings,) = (p["value"] for p in by_column["Saturation en oxygène (%)"] if p["id"] == "mappings")
    assert [(m["options"]["pattern"], m["options"]["result"]["color"]) for m in mappings] == [
        ("/^[▼▲]/", "red"),
        ("/^ancien\u00a0: .*[▼▲]/", "orange"),
        ("/^[^0-9]/", "#8e8e8e"),
    ]
    sql = panel(FRENCH, "Dernières valeurs")["targets"][0]["rawSql"]
    for words in ("ancien\u00a0: ", "aucune donnée", "batterie faible", "non porté", "capteur débranché"):
        assert literal(words) in sql
