"""Alarms over MQTT: records for machines, messages for whatever displays them."""

from __future__ import annotations

from edge_gateway.mqtt.session import MqttSession
from vitals.errors import NotNotified
from vitals.message import Message
from vitals.rules import AlertRecord
from vitals.topics import gateway_notifications, patient_alarms, patient_notifications


class MqttNotifier:
    """Publishes alert records and messages, at least once."""

    def __init__(self, session: MqttSession, gateway_id: str) -> None:
        self._session, self._gateway_id = session, gateway_id

    async def publish_alert(self, alert: AlertRecord) -> None:
        """Publish an alert record on the child's alarm topic and wait until the broker has it.

        Raises:
            NotNotified: the broker is unavailable.
        """
        await self._publish(patient_alarms(alert.patient_id), alert.model_dump_json())

    async def publish_message(self, message: Message) -> None:
        """Publish a message about a child or the gateway and wait until the broker has it.

        Raises:
            NotNotified: the broker is unavailable.
        """
        patient = message.patient_id
        topic = patient_notifications(patient) if patient else gateway_notifications(self._gateway_id)
        await self._publish(topic, message.to_json())

    async def _publish(self, topic: str, text: str) -> None:
        if not await self._session.publish(topic, text.encode()):
            raise NotNotified("the MQTT broker is unavailable")
