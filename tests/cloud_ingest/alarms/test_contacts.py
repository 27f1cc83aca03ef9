"""Contacts of the cloud: their file, their language, and a reason that holds no address."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path
from threading import Event

import pytest

from cloud_ingest.alarms.contacts import Contact, load_contacts
from cloud_ingest.alarms.process import AlarmProcess
from cloud_ingest.cli import main
from cloud_ingest.errors import InvalidSettings
from tests.cloud_ingest.running import NOWHERE, environment
from tests.web_service import Service, hanging_service
from vitals.conditions import Priority
from vitals.errors import NotNotified
from vitals.message import Message

NURSE = '[[contact]]\nname = "nurse"\nurl_file = "nurse.url"\n'


def a_message(priority: Priority = Priority.HIGH, level: int = 0) -> Message:
    at = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
    return Message("SPO2", "raised", "p1_x", priority, level, at, "Awa", {"en": "Low oxygen", "fr": "Manque"})


def an_address(file: Path, address: str, mode: int = 0o600) -> None:
    file.write_text(address)
    file.chmod(mode)


def test_no_file_is_nobody() -> None:
    assert load_contacts(None) == ()


def test_addresses_are_looked_for_beside_the_file(tmp_path: Path) -> None:
    file = tmp_path / "contacts.toml"
    file.write_text(NURSE + 'level = 0\nlanguage = "en"\n')
    an_address(tmp_path / "nurse.url", "json://127.0.0.1")
    assert load_contacts(file) == (
        Contact(name="nurse", url_file=tmp_path / "nurse.url", level=0, language="en"),
    )


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
def test_file_that_makes_no_sense_is_refused_with_its_name(tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "contacts.toml"
    file.write_text(text)
    with pytest.raises(InvalidSettings, match=rf"ALARM_CONTACTS_FILE .*contacts\.toml: .*{reason}"):
        load_contacts(file)


def test_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSettings, match="No such file"):
        load_contacts(tmp_path / "none.toml")


@pytest.mark.parametrize(
    ("address", "mode", "reason"),
    [
        (None, 0, "No such file"),
        ("json://s3cret", 0o644, "mode 0644 lets others read it"),
        ("json://s3cret", 0o640, "mode 0640 lets others read it"),
        ("", 0o600, "is empty"),
        ("nonsense://s3cret", 0o600, "holds no address that apprise knows"),
        ("s3cret", 0o600, "holds no address that apprise knows"),
    ],
)
def test_contact_that_cannot_be_told_is_found_at_the_start(
    tmp_path: Path,
    address: str | None,
    mode: int,
    reason: str,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    file = tmp_path / "contacts.toml"
    file.write_text(NURSE)
    if address is not None:
        an_address(tmp_path / "nurse.url", address, mode)
    for name, value in environment(tmp_path, NOWHERE, ALARM_CONTACTS_FILE=str(file)).items():
        monkeypatch.setenv(name, value)

    async def run(_self: AlarmProcess) -> None:
        pytest.fail("the alarms run")

    monkeypatch.setattr(AlarmProcess, "run", run)
    monkeypatch.setattr("cloud_ingest.cli._stop_on_signals", Event)
    assert main(["alarms"]) == 2
    (told,) = capfd.readouterr().err.splitlines()
    url_file = tmp_path / "nurse.url"
    assert told.startswith(
        f"kidjamo-ingest: ALARM_CONTACTS_FILE {file}: contact 'nurse': url_file {url_file}: {reason}"
    )
    assert "s3cret" not in told


async def test_address_is_read_anew_for_each_message(tmp_path: Path) -> None:
    (tmp_path / "contacts.toml").write_text(NURSE)
    an_address(tmp_path / "nurse.url", "json://127.0.0.1:1")
    (nurse,) = load_contacts(tmp_path / "contacts.toml")
    with Service() as service:
        an_address(tmp_path / "nurse.url", service.url)
        await nurse.tell(a_message())
        assert len(service.received) == 1


async def test_contact_is_told_in_its_language(tmp_path: Path) -> None:
    with Service() as service:
        (tmp_path / "url").write_text(service.url + "\n")
        await Contact(name="n", url_file=tmp_path / "url", language="fr").tell(a_message())
        (received,) = service.received
    assert (received["title"], received["message"], received["type"]) == ("ALARME Awa", "Manque", "failure")


async def test_failure_names_the_file_and_no_address(tmp_path: Path) -> None:
    contact = Contact(name="n", url_file=tmp_path / "url")
    with pytest.raises(NotNotified, match="cannot be read: FileNotFoundError"):
        await contact.tell(a_message())
    (tmp_path / "url").write_text("nonsense://secret")
    with pytest.raises(NotNotified, match="does not hold an address") as refused:
        await contact.tell(a_message())
    assert "secret" not in str(refused.value)


async def test_contact_whose_service_hangs_holds_up_no_other(tmp_path: Path) -> None:
    with Service() as service, hanging_service() as hanging:
        (tmp_path / "url").write_text(service.url)
        (tmp_path / "hanging").write_text(hanging)
        hung = Contact(name="hung", url_file=tmp_path / "hanging")
        waiting = [asyncio.create_task(hung.tell(a_message())) for _ in range(40)]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(2):
            await Contact(name="nurse", url_file=tmp_path / "url").tell(a_message())
        assert len(service.received) == 1
        for each in waiting:
            each.cancel()
