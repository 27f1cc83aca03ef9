"""Notifiers: who is told, and how."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from edge_gateway.mqtt.session import MqttSession
from runtime.notification_queue import THREADS_PER_CONTACT
from vitals.absence import Language
from vitals.conditions import Priority
from vitals.errors import NotNotified
from vitals.message import Message
from vitals.rules import AlertRecord
from vitals.topics import gateway_notifications, patient_alarms, patient_notifications

if TYPE_CHECKING:
    from apprise import Apprise, NotifyType


class MqttNotifier:
    """Publishes, at least once: alert records for machines, messages for whoever shows them to people."""

    def __init__(self, session: MqttSession, gateway_id: str) -> None:
        self._session, self._gateway_id = session, gateway_id

    async def publish_alert(self, alert: AlertRecord) -> None:
        """Publish one alert record on the child's alarm topic and wait until the broker has it.

        Raises:
            NotNotified: the broker is away.
        """
        await self._publish(patient_alarms(alert.patient_id), alert.model_dump_json())

    async def publish_message(self, message: Message) -> None:
        """Publish one message, of a child or of the gateway, and wait until the broker has it.

        Raises:
            NotNotified: the broker is away.
        """
        patient = message.patient_id
        topic = patient_notifications(patient) if patient else gateway_notifications(self._gateway_id)
        await self._publish(topic, message.to_json())

    async def _publish(self, topic: str, text: str) -> None:
        if not await self._session.publish(topic, text.encode()):
            raise NotNotified("the MQTT broker is away")


class Contact:
    """A person, reached through one of apprise's services: mail, ntfy, SMS gateways and many more.

    Args:
        url_file: holds the service's address, which is a secret; read anew for each message.
        level: told when nobody has answered for 0, 5 or 10 minutes: 0, 1, 2.
    """

    def __init__(self, name: str, url_file: Path, level: int, language: Language) -> None:
        self.name, self.level = name, level
        self._url_file, self._language = url_file, language
        # its own, as apprise's are shared: a service that hangs would take them all
        self._threads = ThreadPoolExecutor(THREADS_PER_CONTACT, thread_name_prefix=f"contact-{name}")

    async def tell(self, message: Message) -> None:
        """Send one message and wait until the service has taken it.

        Raises:
            NotNotified: it has not.
        """
        await asyncio.get_running_loop().run_in_executor(self._threads, self._send, message)

    def _send(self, message: Message) -> None:
        service, kind = self._service(message.priority)
        title, body = message.title(self._language), message.body[self._language]
        if not service.notify(body=body, title=title, notify_type=kind):
            raise NotNotified("the service did not take the message")

    def _service(self, priority: Priority) -> tuple[Apprise, NotifyType]:
        from apprise import Apprise, AppriseAsset, NotifyType  # heavy: only where there are contacts

        kinds: Mapping[Priority, NotifyType] = {
            Priority.HIGH: NotifyType.FAILURE,
            Priority.MEDIUM: NotifyType.WARNING,
            Priority.LOW: NotifyType.INFO,
        }
        # apprise uses its shared threads for what it limits in time or sends side by side
        service = Apprise(asset=AppriseAsset(async_mode=False, service_timeout=0))
        try:
            url = self._url_file.read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise NotNotified(f"its address cannot be read: {error}") from error
        if not service.add(url):
            raise NotNotified(f"{self._url_file} does not hold an address that apprise knows")
        return service, kinds[priority]
