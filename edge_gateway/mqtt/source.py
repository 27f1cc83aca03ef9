"""Bracelets that publish their readings over MQTT, to kidjamo/bracelets/<device_id>/measurements.

The topic names the bracelet. The list assigns a patient to each bracelet. Other bracelets are refused, unless
the gateway accepts unknown ones; then the payload must name the patient. A refused message becomes a dead
letter.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from pydantic import TypeAdapter, ValidationError

from edge_gateway.inbox import DeadLetter, Inbox, InboxItem
from edge_gateway.mqtt.session import MqttSession, PendingMessage
from edge_gateway.state import GatewayState
from vitals import topics
from vitals.absence import of_disconnected
from vitals.errors import InvalidReading
from vitals.reading import (
    NAMESPACE,
    Identifier,
    Reading,
    derived_message_id,
    parse_json,
    parse_reading,
)
from vitals.topics import BraceletTopic

log = logging.getLogger(__name__)

_IDENTIFIER: TypeAdapter[str] = TypeAdapter(Identifier)
_MOST_LOGGED = 10_000


class MqttLinkState(StrEnum):
    """State of an MQTT bracelet, as its status message gives it; LIVE if it gives none."""

    ONLINE = "online"
    OFFLINE = "offline"
    LIVE = "live"


class MqttSource:
    """Readings of MQTT bracelets.

    Args:
        session: the connection; this source becomes its receiver.
        patients: patient of each bracelet on the list.
        accept_unknown: accept bracelets that are not listed but name a patient.
    """

    name = "mqtt"

    def __init__(
        self, session: MqttSession, patients: Mapping[str, str], accept_unknown: bool, state: GatewayState
    ) -> None:
        self.inbox = Inbox()
        self._session, self._patients, self._accept_unknown = session, patients, accept_unknown
        self._state = state
        self._logged: set[str] = set()
        session.receiver = self.receive
        session.subscriptions.append(topics.BRACELETS)

    async def run(self) -> None:
        """Keep the connection up until cancelled."""
        await self._session.run()

    def receive(self, message: PendingMessage) -> None:
        """Process one message from the broker."""
        topic = BraceletTopic.parse(message.topic)
        if topic is None:
            message.acknowledge()
            return
        if topic.channel == "status":
            self._note_status(topic.device_id, message.payload)
            message.acknowledge()
            return
        self.inbox.put(InboxItem(self._content(topic.device_id, message.payload), message.acknowledge))

    def _content(self, device_id: str, payload: bytes) -> Reading | DeadLetter:
        try:
            reading = self.read(device_id, payload)
        except InvalidReading as error:
            return self._refuse(device_id, payload, error)
        except Exception as error:
            log.exception("a message of bracelet %.128r could not be processed", device_id)
            return self._refuse(
                device_id, payload, InvalidReading("", f"{type(error).__name__} on reading it")
            )
        self._state.heard(device_id, "mqtt")
        self._state.absence(device_id, "mqtt", None)
        return reading

    def _refuse(self, device_id: str, payload: bytes, error: InvalidReading) -> DeadLetter:
        self._log_refusal(device_id, error)
        self._state.counters.refused[error.field or "document"] += 1
        named = device_id if _is_identifier(device_id) else None
        return DeadLetter.of(payload, error.reason, field=error.field, device_id=named)

    def read(self, device_id: str, payload: bytes) -> Reading:
        """Return the reading in a payload, with its identity.

        Raises:
            InvalidReading: it breaks the contract, or the gateway does not accept this bracelet.
        """
        document = parse_json(payload)
        if not isinstance(document, dict):
            raise InvalidReading("", "must be a JSON object")
        if document.get("device_id", device_id) != device_id:
            raise InvalidReading("device_id", "names another bracelet than the topic")
        patient = self._patient(device_id, document)
        reading = parse_reading(document | {"device_id": device_id, "patient_id": patient, "source": "mqtt"})
        if reading.message_id:
            return reading
        return reading.model_copy(update={"message_id": _identity(reading, payload)})

    def _patient(self, device_id: str, document: Mapping[str, Any]) -> Any:
        listed, given = self._patients.get(device_id), document.get("patient_id")
        if listed is None:
            if not self._accept_unknown:
                raise InvalidReading(
                    "device_id", "is not a bracelet of this gateway: add a [[bracelet]] for it"
                )
            if given is None:
                raise InvalidReading("patient_id", "is needed from a bracelet that is not listed")
            return given
        if given is not None and given != listed:
            raise InvalidReading("patient_id", "is another one than this gateway's list has for the bracelet")
        return listed

    def _log_refusal(self, device_id: str, error: InvalidReading) -> None:
        """Log the first refusal of each bracelet as a warning, the others for debugging."""
        level = logging.DEBUG
        if device_id not in self._logged and len(self._logged) < _MOST_LOGGED:
            self._logged.add(device_id)
            level = logging.WARNING
        log.log(level, "refused a message of bracelet %.128r: %s", device_id, error)

    def _note_status(self, device_id: str, payload: bytes) -> None:
        """Update the link's state from a status message."""
        if device_id not in self._patients and not self._accept_unknown:
            return
        try:
            document = parse_json(payload)
        except InvalidReading:
            document = payload.decode(errors="replace").strip()
        fields = document if isinstance(document, dict) else {"status": document}
        status, battery = fields.get("status", fields.get("state")), fields.get("battery_pct")
        state = MqttLinkState(status) if status in ("online", "offline") else MqttLinkState.LIVE
        charge = battery if isinstance(battery, int) and 0 <= battery <= 100 else None
        self._state.link(device_id, "mqtt", state.value)
        if charge is not None:
            self._state.battery(device_id, "mqtt", charge)
        if state is MqttLinkState.OFFLINE:
            self._state.absence(device_id, "mqtt", of_disconnected(self._state.links[device_id].battery_pct))


def _identity(reading: Reading, payload: bytes) -> UUID:
    """Derive the identity of a reading without one: the same each time it is sent."""
    if reading.seq is not None:
        milliseconds = round(reading.timestamp.timestamp() * 1000)
        return derived_message_id(reading.device_id, reading.boot or 0, reading.seq, milliseconds)
    return uuid5(NAMESPACE, f"{reading.device_id}/{hashlib.sha256(payload).hexdigest()}")


def _is_identifier(text: str) -> bool:
    try:
        _IDENTIFIER.validate_python(text)
    except ValidationError:
        return False
    return True
