"""Connects the alarm monitor with everything that receives its notifications."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial

from edge_gateway import system_clock
from edge_gateway.alarms import technical_conditions
from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.alarms.notifiers import MqttNotifier
from edge_gateway.config import Config, GpioConfig
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from runtime.apprise_contact import AppriseContact
from runtime.notification_queue import THREADS_PER_CONTACT, NotificationQueue
from vitals.conditions import Condition
from vitals.message import Message, self_test

_FAILING_AFTER_S = 60.0
"""A contact is reported as failing after this long; single failures are only retried."""


@dataclass(frozen=True, slots=True)
class NotificationService:
    """The monitor and the queues that its notifications go to.

    Attributes:
        contacts: one queue per configured contact.
        immediate: queues of the contacts that are notified without delay (level 0).
        queues: all queues, those of the contacts included.
    """

    monitor: AlarmMonitor
    contacts: tuple[NotificationQueue[Message], ...]
    immediate: tuple[NotificationQueue[Message], ...]
    queues: tuple[NotificationQueue[Message], ...]
    gpio: GpioConfig | None = None

    def reachable(self) -> bool:
        """Return whether a contact can be notified without delay, judging by the latest attempts."""
        return any(not queue.failing for queue in self.immediate)

    async def self_test(self) -> Mapping[str, str]:
        """Send each contact a test message now; returns the error for each name, empty on success."""
        test = self_test(self.monitor.gateway_id, datetime.now(UTC))
        errors = await asyncio.gather(*(queue.try_now(test) for queue in self.contacts))
        return {queue.name: error for queue, error in zip(self.contacts, errors, strict=True)}

    async def run(self) -> None:
        """Run the monitor and deliver notifications until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.monitor.run(), name="alarm monitor")
            if self.gpio:
                from edge_gateway.alarms.gpio import sound  # imported only where pins are configured

                tasks.create_task(sound(self.gpio, self.monitor.urgency), name="gpio")
            for queue in self.queues:
                tasks.create_task(queue.run(), name=f"notifier {queue.name}")


def notification_service(
    config: Config, state: GatewayState, outbox: Outbox, mqtt: MqttNotifier | None
) -> NotificationService:
    """Build the service: a monitor, and a queue for MQTT and for each contact of the configuration."""
    contacts = [
        AppriseContact(each.name, each.url_file, each.level, each.language or config.language)
        for each in config.contact
    ]
    contact_queues = tuple(
        NotificationQueue(contact.name, contact.send, state.counters, max_concurrency=THREADS_PER_CONTACT)
        for contact in contacts
    )

    def find_conditions(monitor: AlarmMonitor, now: datetime) -> Iterator[Condition]:
        health = technical_conditions.GatewayHealth(
            uplink_down_since=state.undelivered_since,
            outbox_filled=state.outbox_filled,
            outbox_trouble=outbox.trouble,
            clock_synchronised=system_clock.is_synchronised(),
            failing_contacts=tuple(
                queue.name for queue in contact_queues if queue.failing_s >= _FAILING_AFTER_S
            ),
        )
        yield from technical_conditions.of_gateway(health, now)
        for child in monitor.children.values():
            links = [link for device, link in state.links.items() if device in child.devices]
            yield from technical_conditions.of_child(child, links, monitor.started, now)

    monitor = AlarmMonitor(config.gateway_id, config.names, config.patients, outbox, find_conditions)
    monitor.listeners += [partial(_add_if_due, *pair) for pair in zip(contacts, contact_queues, strict=True)]
    queues = contact_queues
    if mqtt:
        mqtt_queue = NotificationQueue("mqtt", mqtt.publish_message, state.counters)
        monitor.listeners.append(mqtt_queue.add)
        queues = (*contact_queues, mqtt_queue)
    immediate = tuple(
        queue for contact, queue in zip(contacts, contact_queues, strict=True) if contact.level == 0
    )
    return NotificationService(monitor, contact_queues, immediate, queues, config.gpio)


def _add_if_due(contact: AppriseContact, queue: NotificationQueue[Message], notification: Message) -> None:
    if notification.is_for(contact.level):
        queue.add(notification)
