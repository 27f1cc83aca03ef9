"""Contacts are told through apprise: over a real connection, in their language, and failing loudly."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.alarms.notifiers import Contact
from edge_gateway.state import Counters
from runtime.notification_queue import NotificationQueue
from tests.web_service import NotificationWebService, hanging_service
from vitals.conditions import Priority
from vitals.errors import NotNotified
from vitals.message import Message, self_test

AT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)


def a_message(priority: Priority = Priority.HIGH, level: int = 0) -> Message:
    body = {"en": "Low oxygen: worst SpO2 85 %", "fr": "Manque d'oxygène : au pire SpO2 85 %"}
    return Message("SPO2", "raised", "patient-001-ss", priority, level, AT, "Awa", body)  # type: ignore[arg-type]


@pytest.fixture
def service() -> Iterator[NotificationWebService]:
    with NotificationWebService() as made:
        yield made


def a_contact(path: Path, url: str, language: Any = "fr", level: int = 0) -> Contact:
    file = path / "contact.url"
    file.write_text(url + "\n")
    return Contact("mother", file, level, language)


@pytest.mark.parametrize(
    ("language", "title", "body"),
    [
        ("fr", "ALARME Awa", "Manque d'oxygène : au pire SpO2 85 %"),
        ("en", "ALARM Awa", "Low oxygen: worst SpO2 85 %"),
    ],
)
async def test_contact_is_told_in_its_language(
    service: NotificationWebService, tmp_path: Path, language: str, title: str, body: str
) -> None:
    await a_contact(tmp_path, service.url, language).tell(a_message())
    (received,) = service.received
    assert (received["title"], received["message"], received["type"]) == (title, body, "failure")


async def test_service_that_refuses_is_a_failure(service: NotificationWebService, tmp_path: Path) -> None:
    service.status = 500
    with pytest.raises(NotNotified, match="did not take"):
        await a_contact(tmp_path, service.url).tell(a_message())


async def test_address_nobody_knows_is_named_by_its_file_and_not_told(tmp_path: Path) -> None:
    with pytest.raises(NotNotified, match=r"contact\.url does not hold") as refused:
        await a_contact(tmp_path, "nonsense://secret").tell(a_message())
    assert "secret" not in str(refused.value)
    (tmp_path / "contact.url").unlink()
    with pytest.raises(NotNotified, match="cannot be read"):
        await Contact("mother", tmp_path / "contact.url", 0, "fr").tell(a_message())


async def test_self_test_reaches_the_contact_and_says_when_it_does_not(
    service: NotificationWebService, tmp_path: Path
) -> None:
    queue = NotificationQueue("mother", a_contact(tmp_path, service.url).tell, Counters())
    assert await queue.try_now(self_test("gw-test", AT)) == ""
    assert (
        service.received[0]["message"]
        == "Ceci est un test\u00a0: vous recevrez les alarmes de cette passerelle."
    )
    service.status = 503
    assert await queue.try_now(self_test("gw-test", AT)) == "the service did not take the message"


async def test_contact_whose_service_hangs_holds_up_no_other(
    service: NotificationWebService, tmp_path: Path
) -> None:
    (tmp_path / "other").mkdir()
    with hanging_service() as hanging:
        hung = a_contact(tmp_path / "other", hanging)
        waiting = [asyncio.create_task(hung.tell(a_message())) for _ in range(40)]
        await asyncio.sleep(0.2)
        async with asyncio.timeout(2):
            await a_contact(tmp_path, service.url).tell(a_message())
        for each in waiting:
            each.cancel()
