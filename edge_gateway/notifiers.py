"""Notifiers: who is told of an alert, and how."""

from __future__ import annotations

from edge_gateway.errors import NotNotified
from edge_gateway.mqtt_session import MqttSession
from vitals.rules import AlertRecord
from vitals.topics import patient_alarms


class MqttNotifier:
    """Publishes alerts on the child's alarm topic, at least once."""

    name = "mqtt"

    def __init__(self, session: MqttSession) -> None:
        self._session = session

    async def notify(self, alert: AlertRecord) -> None:
        """Publish one alert and wait until the broker has it.

        Raises:
            NotNotified: the broker is away.
        """
        topic = patient_alarms(alert.patient_id)
        if not await self._session.publish(topic, alert.model_dump_json().encode()):
            raise NotNotified("the MQTT broker is away")
