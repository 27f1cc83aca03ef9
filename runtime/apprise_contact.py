"""A person who is notified through one of apprise's services: mail, ntfy, SMS gateways and many more."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.notification_queue import THREADS_PER_CONTACT
from vitals.absence import Language
from vitals.conditions import Priority
from vitals.errors import NotNotified
from vitals.message import Message

if TYPE_CHECKING:
    from apprise import Apprise, NotifyType

logging.getLogger("apprise").setLevel(logging.CRITICAL)  # its messages contain addresses, which are secrets


@dataclass(frozen=True)
class AppriseContact:
    """One contact.

    Attributes:
        name: identifies the contact in logs.
        url_file: holds the apprise URL, which is a secret; read again for each message.
        level: escalation level, notified when an alarm is not acknowledged for 0, 5 or 10 minutes: 0, 1, 2.
        language: of the messages.
    """

    name: str
    url_file: Path
    level: int = 0
    language: Language = "fr"

    async def send(self, message: Message) -> None:
        """Send a message and wait until the service has accepted it.

        Raises:
            NotNotified: the service has not accepted it; the reason does not contain the URL.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message)

    @cached_property
    def _threads(self) -> ThreadPoolExecutor:
        """Threads of this contact alone: a service that hangs would occupy those that apprise shares."""
        return ThreadPoolExecutor(THREADS_PER_CONTACT, thread_name_prefix=f"contact-{self.name}")

    def _send(self, message: Message) -> None:
        title, body = message.title(self.language), message.body[self.language]
        if not self._service().notify(body=body, title=title, notify_type=_notify_type(message.priority)):
            raise NotNotified("the service did not accept the message")

    def _service(self) -> Apprise:
        try:
            url = self.url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotNotified(f"{self.url_file} cannot be read: {type(error).__name__}") from error
        service = _apprise()
        if not service.add(url):
            raise NotNotified(f"{self.url_file} does not hold a URL that apprise knows")
        return service


def is_apprise_url(url: str) -> bool:
    """Return whether apprise has a service for a URL."""
    return _apprise().add(url)


def _apprise() -> Apprise:
    from apprise import Apprise, AppriseAsset  # takes a second: only where there are contacts

    # Both settings keep apprise from its shared threads, which it uses to limit time and to send in parallel.
    return Apprise(asset=AppriseAsset(async_mode=False, service_timeout=0))


def _notify_type(priority: Priority) -> NotifyType:
    from apprise import NotifyType

    kinds = {
        Priority.HIGH: NotifyType.FAILURE,
        Priority.MEDIUM: NotifyType.WARNING,
        Priority.LOW: NotifyType.INFO,
    }
    return kinds[priority]
