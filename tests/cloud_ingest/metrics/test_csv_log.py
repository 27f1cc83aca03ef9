import csv
from pathlib import Path

import pytest

from cloud_ingest.metrics.csv_log import MetricsCsv, Row
from tests.waiting import wait_until

HEADER = "timestamp,latency_s,alerts_count,alert_types,quality_score,valid_flag,device_id"


def row(device: str = "bracelet-001") -> Row:
    types = "CRITICAL_SPO2|CRITICAL_TEMPERATURE"
    return Row("2025-08-24T10:30:01Z", "0.004200", 2, types, 100.0, 1, device)


def written(path: Path, *rows: Row, max_bytes: int = 10**6) -> list[str]:
    file = MetricsCsv(path, max_bytes)
    for each in rows:
        file.add([each])
    file.close()
    return path.read_text().splitlines()


def test_rows_follow_the_header_of_the_contract(tmp_path: Path) -> None:
    assert written(tmp_path / "new" / "metrics.csv", row()) == [
        HEADER,
        "2025-08-24T10:30:01Z,0.004200,2,CRITICAL_SPO2|CRITICAL_TEMPERATURE,100.0,1,bracelet-001",
    ]


def test_header_is_written_before_the_first_reading(tmp_path: Path) -> None:
    assert written(tmp_path / "metrics.csv") == [HEADER]


def test_second_start_appends(tmp_path: Path) -> None:
    written(tmp_path / "metrics.csv", row("a"))
    lines = written(tmp_path / "metrics.csv", row("b"))
    assert [line.rpartition(",")[2] for line in lines] == ["device_id", "a", "b"]


def test_line_truncated_by_a_crash_does_not_damage_the_next(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text(f"{HEADER}\n2025-08-24T10:30")
    assert len(written(path, row())[2].split(",")) == 7


def test_line_truncated_within_a_character_does_not_stop_the_writer(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    truncated = f"{HEADER}\n2025-08-24T10:30:01Z,0.1,0,,100.0,1,bracelet-\u00e9".encode()[:-1]
    path.write_bytes(truncated)
    file = MetricsCsv(path, 10**6)
    file.add([row("after")])
    file.close()
    assert path.read_bytes() == truncated + b"\n" + (
        b"2025-08-24T10:30:01Z,0.004200,2,CRITICAL_SPO2|CRITICAL_TEMPERATURE,100.0,1,after\n"
    )
    assert file.dropped == 0


def test_row_that_cannot_be_encoded_is_dropped_alone(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    file = MetricsCsv(path, 10**6)
    file.add([row("\ud800")])
    assert wait_until(lambda: file.dropped == 1)
    file.add([row("after")])
    file.close()
    assert [line.rpartition(",")[2] for line in path.read_text().splitlines()] == ["device_id", "after"]


def test_device_with_a_comma_is_one_field(tmp_path: Path) -> None:
    written(tmp_path / "metrics.csv", row('a,"b"'))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert list(csv.reader(file))[1][6] == 'a,"b"'


@pytest.mark.parametrize("device", ['=HYPERLINK("x")', "+1", "-2", "@SUM(A1)"])
def test_device_is_not_read_as_a_formula(tmp_path: Path, device: str) -> None:
    written(tmp_path / "metrics.csv", row(device), row("a=b"))
    with (tmp_path / "metrics.csv").open(newline="") as file:
        assert [each[6] for each in csv.reader(file)] == ["device_id", f"'{device}", "a=b"]


def test_full_files_are_rotated_and_three_are_kept(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    for number in range(7):
        written(path, row(f"d{number}"), max_bytes=100)
    names = ["metrics.csv", "metrics.csv.1", "metrics.csv.2", "metrics.csv.3"]
    assert sorted(each.name for each in tmp_path.iterdir()) == names
    assert [(tmp_path / name).read_text().splitlines()[1][-2:] for name in names] == ["d6", "d5", "d4", "d3"]


def test_file_with_another_header_is_rotated(tmp_path: Path) -> None:
    path = tmp_path / "metrics.csv"
    path.write_text("time,value\n1,2\n")
    assert written(path, row())[0] == HEADER
    assert (tmp_path / "metrics.csv.1").read_text() == "time,value\n1,2\n"


def test_path_that_cannot_be_written_drops_rows(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    file = MetricsCsv(tmp_path / "file" / "metrics.csv", 1000)
    file.add([row()])
    file.close()
    assert file.dropped == 1
