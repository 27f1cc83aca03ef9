"""Key rotation: rows move to the new pseudonym, the old one still resolves."""

from __future__ import annotations

from pathlib import Path

import pytest
from psycopg2.extensions import connection

from cloud_ingest.cli import main
from cloud_ingest.privacy import erasure, key_rotation, patient_tables
from cloud_ingest.recorder.deduplication import rows_to_insert
from cloud_ingest.recorder.row_mapping import TABLES
from deploy.local.postgres import Dsn, PostgresServer
from tests.cloud_ingest.privacy.test_erasure import fill, keeper, run
from tests.cloud_ingest.recorder.test_recorder import value
from tests.cloud_ingest.samples import a_row
from vitals.pseudonym import Pseudonymiser
from vitals.topics import MEASUREMENTS

FIRST, SECOND, THIRD = bytes(range(32)), bytes(range(1, 33)), bytes(range(2, 34))
BOTH = Pseudonymiser({1: FIRST, 2: SECOND})
# printf patient-001-ss | openssl dgst -sha256 -mac HMAC -macopt hexkey:000102…1f, hexkey:010203…20
OLD = "p1_b8351f60d5bad4bcd6f053c32d6ad094"
NEW = "p2_29351abd1ad462ee0f49ca209d5ce875"


def holders(database: connection, table: str) -> list[tuple[str, int]]:
    return [
        (name, count)
        for name, count in run(database, f"SELECT patient_id, count(*) FROM {table} GROUP BY 1 ORDER BY 1")
    ]


def test_rekey_moves_rows_and_name_in_portions(
    postgres: PostgresServer, dsn: Dsn, database: connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patient_tables, "PORTION", 2)
    monkeypatch.setattr(key_rotation, "PORTION", 2)
    fill(database, OLD, readings=5)
    fill(database, "p1_" + "f" * 32)
    as_keeper = keeper(postgres, dsn)
    moved = key_rotation.rekey(as_keeper, BOTH, ["patient-001-ss"])
    assert moved == key_rotation.Moved(links=1, rows=7, others=1)
    assert key_rotation.rekey(as_keeper, BOTH, ["patient-001-ss"]) == key_rotation.Moved(
        links=0, rows=0, others=1
    )
    as_keeper.close()
    assert holders(database, "measurements") == [("p1_" + "f" * 32, 3), (NEW, 5)]
    assert holders(database, "alerts") == [("p1_" + "f" * 32, 1), (NEW, 1)]
    assert run(database, "SELECT pseudonym FROM identity.patients ORDER BY 1") == [
        ("p1_" + "f" * 32,),
        (NEW,),
    ]
    assert run(database, "SELECT current_pseudonym(%s), current_pseudonym(%s)", OLD, NEW) == [(NEW, NEW)]
    assert run(database, "SELECT old_pseudonym, new_pseudonym, lake_done_at FROM pseudonym_links") == [
        (OLD, NEW, None)
    ]


def test_rekey_continues_after_an_interruption(database: connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(patient_tables, "PORTION", 2)
    monkeypatch.setattr(key_rotation, "PORTION", 2)
    fill(database, OLD, readings=5)
    whole = patient_tables.Leaf.rename
    calls: list[str] = []

    def broken(self: patient_tables.Leaf, *arguments: str) -> int:
        calls.append(self.name)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return whole(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(patient_tables.Leaf, "rename", broken)
    with pytest.raises(KeyboardInterrupt):
        key_rotation.rekey(database, BOTH, ["patient-001-ss"])
    monkeypatch.setattr(patient_tables.Leaf, "rename", whole)
    key_rotation.rekey(database, BOTH, [])
    for table in ("measurements", "alerts", "device_status"):
        assert [name for name, _ in holders(database, table)] == [NEW]
    assert run(database, "SELECT pseudonym FROM identity.patients") == [(NEW,)]


def test_late_message_under_the_old_pseudonym_is_recorded_under_the_new(database: connection) -> None:
    key_rotation.rekey(database, BOTH, ["patient-001-ss"])
    table = TABLES[MEASUREMENTS]
    with database, database.cursor() as cursor:
        (row,) = rows_to_insert(cursor, table, [a_row(table, value("d", patient_id=OLD))])
    assert row[1] == NEW


def test_third_key_links_the_first_pseudonym_directly_to_its_own(database: connection) -> None:
    key_rotation.rekey(database, BOTH, ["patient-001-ss"])
    keys = Pseudonymiser({2: SECOND, 3: THIRD})
    key_rotation.rekey(database, keys, ["patient-001-ss"])
    newest = keys.pseudonym("patient-001-ss")
    assert newest.startswith("p3_")
    links = run(database, "SELECT old_pseudonym, new_pseudonym FROM pseudonym_links ORDER BY 1")
    assert links == [(OLD, newest), (NEW, newest)]


def test_erased_patient_stays_erased_under_a_new_key(database: connection) -> None:
    erasure.request(database, [OLD], "test")
    erasure.erase_requested(database)
    fill(database, NEW)  # readings between the rotation and the job
    key_rotation.rekey(database, BOTH, ["patient-001-ss"])
    (again,) = erasure.erase_requested(database)
    assert set(again.pseudonyms) == {OLD, NEW}
    assert erasure.rows_left(database, [OLD, NEW]) == {}


def test_erasure_includes_pseudonyms_of_removed_keys(database: connection) -> None:
    key_rotation.rekey(database, BOTH, ["patient-001-ss"])
    requested = erasure.request(
        database, Pseudonymiser({2: SECOND}).every_pseudonym("patient-001-ss"), "test"
    )
    assert set(requested.pseudonyms) == {OLD, NEW}


def test_rekey_command(
    dsn: Dsn,
    database: connection,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fill(database, OLD)
    key, patients = tmp_path / "key", tmp_path / "patients"
    key.touch(0o600)
    key.write_text(f"1:{FIRST.hex()}\n2:{SECOND.hex()}\n")
    patients.write_text("patient-001-ss\n\n")
    for name, setting in (dsn.env() | {"PSEUDONYM_KEY_FILE": str(key)}).items():
        monkeypatch.setenv(name, setting)
    assert main(["rekey", "--patients", str(patients)]) == 0
    assert "1 pseudonyms replaced, 5 rows moved" in capsys.readouterr().out
    assert main(["rekey", "--patients", str(tmp_path / "absent")]) == 2
