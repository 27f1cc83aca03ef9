"""Names of the Kafka and MQTT topics."""

from __future__ import annotations

from typing import NamedTuple

MEASUREMENTS = "kidjamo-iot-measurements"
ALERTS = "kidjamo-iot-alerts"
DEVICE_STATUS = "kidjamo-iot-device-status"
ERRORS = "kidjamo-iot-errors"
KAFKA_TOPICS = (MEASUREMENTS, ALERTS, DEVICE_STATUS, ERRORS)

BRACELETS = "kidjamo/bracelets/+/+"
"""MQTT filter for all messages of bracelets."""


class BraceletTopic(NamedTuple):
    """A bracelet's MQTT topic: kidjamo/bracelets/<device_id>/measurements or …/status."""

    device_id: str
    channel: str

    def __str__(self) -> str:
        return f"kidjamo/bracelets/{self.device_id}/{self.channel}"

    @classmethod
    def parse(cls, topic: str) -> BraceletTopic | None:
        """Parse an MQTT topic; return None if it is not a bracelet's."""
        match topic.split("/"):
            case ["kidjamo", "bracelets", device_id, ("measurements" | "status") as channel] if device_id:
                return cls(device_id, channel)
        return None


def measurements_of(device_id: str) -> str:
    """Return the MQTT topic of a bracelet's readings."""
    return str(BraceletTopic(device_id, "measurements"))


def status_of(device_id: str) -> str:
    """Return the MQTT topic of a bracelet's technical state."""
    return str(BraceletTopic(device_id, "status"))


def gateway_state(gateway_id: str) -> str:
    """Return the MQTT topic of a gateway's retained state."""
    return f"kidjamo/gateways/{gateway_id}/state"


def patient_alarms(patient_id: str) -> str:
    """Return the MQTT topic of a child's alarms."""
    return f"kidjamo/patients/{patient_id}/alarms"


def patient_notifications(patient_id: str) -> str:
    """Return the MQTT topic of the notifications about a child."""
    return f"kidjamo/patients/{patient_id}/notifications"


def gateway_notifications(gateway_id: str) -> str:
    """Return the MQTT topic of the notifications about a gateway."""
    return f"kidjamo/gateways/{gateway_id}/notifications"
