"""The command without Spark: checks, settings and status."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import pytest

from lakehouse import cli, session
from lakehouse.errors import InvalidLakeSettings, UnsuitableMachine
from lakehouse.flows import MEASUREMENTS, StatusBoard
from lakehouse.settings import LakeSettings


@pytest.mark.parametrize(
    ("text", "major"),
    [
        ('openjdk version "17.0.12" 2024-07-16', 17),
        ('openjdk version "21" 2023-09-19', 21),
        ('java version "1.8.0_292"', 8),
        ("no such thing", None),
    ],
)
def test_parse_java_version_returns_the_major_version(text: str, major: int | None) -> None:
    assert session.parse_java_version(text) == major


@pytest.mark.parametrize(("found", "problem"), [(None, "Java is missing"), (11, "Java 11 is too old")])
def test_unsuitable_java_says_what_to_install(found: int | None, problem: str) -> None:
    with pytest.raises(UnsuitableMachine, match=rf"{problem}.*apt-get install openjdk-17"):
        session.check_java(found)


def test_missing_java_is_a_one_line_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    monkeypatch.setenv("DATA_LAKE_PATH", str(tmp_path / "lake"))
    assert cli.main(["run"]) == 1
    assert capsys.readouterr().err.startswith("kidjamo-lake: Java is missing: Spark needs Java 17")


def test_package_of_another_version_names_both_versions() -> None:
    with pytest.raises(UnsuitableMachine, match=r"pyspark \S+ is installed, 3\.5\.0 is needed"):
        session.check_package("pyspark", "3.5.0")
    with pytest.raises(UnsuitableMachine, match="no-such-package is missing"):
        session.check_package("no-such-package", "1")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("KAFKA_STARTING_OFFSETS", "newest"),
        ("KAFKA_FAIL_ON_DATA_LOSS", "maybe"),
        ("LAKE_LAYOUT", "flat"),
        ("LAKE_MEMORY_MB", "10"),
    ],
)
def test_invalid_settings_are_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidLakeSettings, match=f"{name}={value}: must be"):
        LakeSettings.from_environment({name: value})


def test_settings_have_the_contracts_defaults() -> None:
    settings = LakeSettings.from_environment({"KAFKA_BOOTSTRAP_SERVERS": ""})
    assert settings.bootstrap_servers == "127.0.0.1:9092"
    assert settings.path == Path("data_lake").resolve()
    assert (settings.first_offsets, settings.fail_on_data_loss) == ("earliest", True)
    again = LakeSettings.from_environment(
        {"KAFKA_STARTING_OFFSETS": "latest", "RESET_STREAMING_CHECKPOINTS": "1"}
    )
    assert again.first_offsets == "earliest"


def test_version_is_the_packages(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"kidjamo-lake {version('kidjamo')}\n"


def test_status_shows_each_flow(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DATA_LAKE_PATH", str(tmp_path / "lake"))
    assert cli.main(["status"]) == 1
    assert "no lake at" in capsys.readouterr().err
    board = StatusBoard(tmp_path / "lake" / "_status")
    board.record_commit(MEASUREMENTS, "a/1", 5, None)
    board.record_commit(MEASUREMENTS, "a/1", 5, None)  # a replayed micro-batch
    board.record_failure(MEASUREMENTS, "Kafka does not respond")
    assert cli.main(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["running"] is False
    assert len(document["flows"]) == 6
    found = {flow["flow"]: flow for flow in document["flows"]}[MEASUREMENTS]
    assert (found["rows"], found["last_error"]) == (5, "Kafka does not respond")
    assert cli.main(["status"]) == 0
    assert "Kafka does not respond" in capsys.readouterr().out
