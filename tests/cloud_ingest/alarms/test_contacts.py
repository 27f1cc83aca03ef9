"""The contacts file of the cloud's alarms, and how its mistakes are reported."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from cloud_ingest.alarms.contacts import load_contacts
from cloud_ingest.alarms.process import Alarms
from cloud_ingest.cli import main
from cloud_ingest.errors import InvalidSettings
from runtime.apprise_contact import AppriseContact
from tests.cloud_ingest.running import NOWHERE, environment
from tests.web_service import NotificationWebService
from vitals.absence import Language
from vitals.conditions import Priority
from vitals.message import Message

NURSE = '[[contact]]\nname = "nurse"\nurl_file = "nurse.url"\n'


def a_message() -> Message:
    at = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
    body: dict[Language, str] = {"en": "Low oxygen", "fr": "Manque"}
    return Message("SPO2", "raised", "p1_x", Priority.HIGH, 0, at, "Awa", body)


def write_url(file: Path, url: str, mode: int = 0o600) -> None:
    file.write_text(url)
    file.chmod(mode)


def test_no_file_means_no_contacts() -> None:
    assert load_contacts(None) == ()


def test_url_files_are_relative_to_the_contacts_file(tmp_path: Path) -> None:
    file = tmp_path / "contacts.toml"
    file.write_text(NURSE + 'level = 0\nlanguage = "en"\n')
    write_url(tmp_path / "nurse.url", "json://127.0.0.1")
    assert load_contacts(file) == (AppriseContact("nurse", tmp_path / "nurse.url", 0, "en"),)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "contact"),
        ("contact = 3", "contact"),
        ("[[contact", "Expected"),
        (NURSE + "level = 1\n", "level 0"),
        (NURSE + "level = 3\n", "level"),
        (NURSE + NURSE, "same name"),
        (NURSE + 'phone = "1"\n', "phone"),
        (NURSE + 'language = "de"\n', "language"),
    ],
)
def test_invalid_file_is_refused_with_its_name(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "contacts.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings, match=rf"ALARM_CONTACTS_FILE .*contacts\.toml: .*{reason}"):
        load_contacts(file)


def test_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        load_contacts(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("url", "mode", "reason"),
    [
        (None, 0, "No such file"),
        ("json://s3cret", 0o644, "mode 0644 lets others read it"),
        ("json://s3cret", 0o640, "mode 0640 lets others read it"),
        ("", 0o600, "is empty"),
        ("nonsense://s3cret", 0o600, "does not hold a URL that apprise knows"),
        ("s3cret", 0o600, "does not hold a URL that apprise knows"),
    ],
)
def test_unusable_url_is_reported_at_the_start(
    tmp_path: Path,
    url: str | None,
    mode: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "contacts.toml"
    file.write_text(NURSE)
    if url is not None:
        write_url(tmp_path / "nurse.url", url, mode)
    for name, value in environment(tmp_path, NOWHERE, ALARM_CONTACTS_FILE=str(file)).items():
        monkeypatch.setenv(name, value)

    async def run(_self: Alarms) -> None:
        pytest.fail("the alarms process was started")

    monkeypatch.setattr(Alarms, "run", run)
    monkeypatch.setattr("cloud_ingest.cli._stop_on_signals", Event)
    assert main(["alarms"]) == 2
    (complaint,) = capfd.readouterr().err.splitlines()
    url_file = tmp_path / "nurse.url"
    assert complaint.startswith(
        f"kidjamo-ingest: ALARM_CONTACTS_FILE {file}: contact 'nurse': url_file {url_file}: {reason}"
    )
    assert "s3cret" not in complaint


async def test_url_is_read_again_for_each_message(tmp_path: Path) -> None:
    (tmp_path / "contacts.toml").write_text(NURSE)
    write_url(tmp_path / "nurse.url", "json://127.0.0.1:1")
    (nurse,) = load_contacts(tmp_path / "contacts.toml")
    with NotificationWebService() as service:
        write_url(tmp_path / "nurse.url", service.url)
        await nurse.send(a_message())
        assert len(service.received) == 1
