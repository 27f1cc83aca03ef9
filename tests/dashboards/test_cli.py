"""The command `kidjamo-dashboards`, as a user or a build server runs it."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from dashboards import cli, render
from deploy.local.ports import free_port
from deploy.local.postgres import Dsn, PostgresServer


@pytest.fixture
def environment(dsn: Dsn, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in dsn.env().items():
        monkeypatch.setenv(name, value)


def test_check_lists_every_query_with_rows_and_time(
    environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["check"]) == 0
    output = capsys.readouterr()
    assert output.err == ""
    lines = output.out.splitlines()
    assert lines[0].split() == ["dashboard", "panel", "rows", "ms"]
    assert len(lines) == 1 + 2 * 10  # the variable and nine panels with a query, in two languages
    cells = next(line for line in lines if "Latest values" in line).split()
    assert cells[:4] == ["kidjamo-ward-en", "Latest", "values", "0"]
    assert float(cells[4]) > 0


def test_check_without_a_table_names_the_panel_and_the_reason(
    environment: None,
    postgres: PostgresServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PGDATABASE", postgres.database("dashboards_empty").dbname)
    assert cli.main(["check"]) == 1
    output = capsys.readouterr()
    assert (
        'kidjamo-ward-en: Ingestion errors by source: relation "ingestion_errors" does not exist'
        in output.err
    )
    assert sum(line.endswith("error") for line in output.out.splitlines()) == 20


def test_check_without_a_database_fails_with_a_message(
    environment: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PGPORT", str(free_port()))
    assert cli.main(["check"]) == 1
    assert capsys.readouterr().err.startswith("PostgreSQL: ")


def test_render_check_fails_until_rendered(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["render", "--output", str(tmp_path)]
    assert cli.main([*arguments, "--check"]) == 1
    assert f"{tmp_path / 'ward-en.json'} is out of date" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert cli.main(arguments) == 0
    assert cli.main([*arguments, "--check"]) == 0


def test_check_outdated_file_fails(
    environment: None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    render.write(tmp_path)
    stale = tmp_path / "ward-fr.json"
    stale.write_text(json.dumps(json.loads(stale.read_text()) | {"title": "edited by hand"}))
    monkeypatch.setattr(render, "GENERATED", tmp_path)
    assert cli.main(["check"]) == 1
    assert "ward-fr.json is out of date" in capsys.readouterr().err


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"kidjamo-dashboards {version('kidjamo')}\n"


def test_wrong_usage_exits_2() -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["draw"])
    assert ended.value.code == 2
