"""Contacts are notified over a real connection and in their language; failures do not reveal the URL."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_gateway.state import Counters
from runtime.apprise_contact import AppriseContact, is_apprise_url
from runtime.notification_queue import NotificationQueue
from tests.waiting import PATIENCE_S
from tests.web_service import NotificationWebService, hanging_service
from vitals.absence import Language
from vitals.conditions import Priority
from vitals.errors import NotNotified
from vitals.message import Message, self_test

AT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)


def a_message(priority: Priority = Priority.HIGH) -> Message:
    body: dict[Language, str] = {
        "en": "Low oxygen: worst SpO2 85 %",
        "fr": "Manque d'oxygène : au pire SpO2 85 %",
    }
    return Message("SPO2", "raised", "patient-001-ss", priority, 0, AT, "Awa", body)


@pytest.fixture
def service() -> Iterator[NotificationWebService]:
    with NotificationWebService() as running:
        yield running


def a_contact(directory: Path, url: str, language: Language = "fr") -> AppriseContact:
    file = directory / "contact.url"
    file.write_text(url + "\n")
    return AppriseContact("mother", file, language=language)


@pytest.mark.parametrize(
    ("language", "title", "body"),
    [
        ("fr", "ALARME Awa", "Manque d'oxygène : au pire SpO2 85 %"),
        ("en", "ALARM Awa", "Low oxygen: worst SpO2 85 %"),
    ],
)
async def test_message_is_sent_in_the_language_of_the_contact(
    service: NotificationWebService, tmp_path: Path, language: Language, title: str, body: str
) -> None:
    await a_contact(tmp_path, service.url, language).send(a_message())
    (received,) = service.received
    assert (received["title"], received["message"], received["type"]) == (title, body, "failure")


@pytest.mark.parametrize(
    ("priority", "kind"),
    [(Priority.HIGH, "failure"), (Priority.MEDIUM, "warning"), (Priority.LOW, "info")],
)
async def test_priority_is_the_notification_type(
    service: NotificationWebService, tmp_path: Path, priority: Priority, kind: str
) -> None:
    await a_contact(tmp_path, service.url).send(a_message(priority))
    assert [each["type"] for each in service.received] == [kind]


async def test_service_that_refuses_raises(service: NotificationWebService, tmp_path: Path) -> None:
    service.status = 500
    with pytest.raises(NotNotified, match="did not accept"):
        await a_contact(tmp_path, service.url).send(a_message())


async def test_unusable_url_file_is_named_without_its_content(tmp_path: Path) -> None:
    contact = a_contact(tmp_path, "nonsense://secret")
    with pytest.raises(NotNotified, match=r"contact\.url does not hold") as refused:
        await contact.send(a_message())
    assert "secret" not in str(refused.value)
    contact.url_file.unlink()
    with pytest.raises(NotNotified, match=r"contact\.url cannot be read: FileNotFoundError"):
        await contact.send(a_message())


@pytest.mark.parametrize("url", ["nonsense://s3cret", "s3cret", "mailto://s3cret:s3cret@"])
async def test_secret_url_is_never_logged(tmp_path: Path, caplog: pytest.LogCaptureFixture, url: str) -> None:
    caplog.set_level("DEBUG")
    with pytest.raises(NotNotified):
        await a_contact(tmp_path, url).send(a_message())
    assert not is_apprise_url(url)
    assert "s3cret" not in caplog.text


async def test_url_is_read_again_for_each_message(service: NotificationWebService, tmp_path: Path) -> None:
    contact = a_contact(tmp_path, "json://127.0.0.1:1")
    contact.url_file.write_text(service.url)
    await contact.send(a_message())
    assert len(service.received) == 1


async def test_self_test_is_sent_and_its_failure_reported(
    service: NotificationWebService, tmp_path: Path
) -> None:
    queue = NotificationQueue("mother", a_contact(tmp_path, service.url).send, Counters())
    assert await queue.try_now(self_test("gw-test", AT)) == ""
    assert (
        service.received[0]["message"]
        == "Ceci est un test\u00a0: vous recevrez les alarmes de cette passerelle."
    )
    service.status = 503
    assert await queue.try_now(self_test("gw-test", AT)) == "the service did not accept the message"


async def test_service_that_hangs_delays_no_other_contact(
    service: NotificationWebService, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with hanging_service() as hanging:
        hung = a_contact(tmp_path / "other", hanging)
        waiting = [asyncio.create_task(hung.send(a_message())) for _ in range(40)]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(PATIENCE_S):
            await a_contact(tmp_path, service.url).send(a_message())
        for task in waiting:
            task.cancel()
