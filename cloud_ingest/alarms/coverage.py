"""Which of the two notifies: a patient's gateway or the cloud. Both track every episode; one notifies.

A patient is *covered* while the last heartbeat of a gateway is at most two minutes old and says that the
gateway watches the patient and can reach its contacts. The cloud tracks the episodes of a covered patient and
sends nothing. It notifies

- for patients without a gateway, and for those whose gateway reaches no contact, as the gateway would;
- at once when coverage is lost while an episode is open and not acknowledged;
- when nobody has acknowledged an episode of a covered patient for 15 minutes: the last resort.

An acknowledgement made at the gateway arrives with its next heartbeat, at most 30 s later; one made in the
cloud is returned in the response to a heartbeat. Known limit: an alarm that ended before it was acknowledged
(LATCHED, silent) has to be acknowledged in both places.

The age of a heartbeat counts from when the API received it, by the cloud's clock. While the process catches
up with Kafka after a start, the last known heartbeat still counts, so that a restart sends no notification.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from pydantic import BaseModel

from cloud_ingest.alarms.service_health import KafkaLiveness
from cloud_ingest.privacy.identities import Identities
from vitals.episodes import Episode, Phase
from vitals.heartbeat import SILENT_AFTER, Heartbeat
from vitals.reading import UtcTime
from vitals.rules import AlertRecord, AlertType, Severity, alert_id

LAST_RESORT_AFTER = timedelta(minutes=15)


class KnownGateway(BaseModel):
    """A gateway that has sent at least one heartbeat; persisted.

    Attributes:
        heartbeat: the last one; patients by pseudonym.
        heard: when the API received it.
        announced: `status_id` of the last heartbeat whose following silence is recorded as an alert.
        retired: whether somebody took the gateway out of service.
    """

    heartbeat: Heartbeat
    heard: UtcTime
    announced: UUID | None = None
    retired: bool = False


@dataclass(frozen=True, slots=True)
class GatewaySilence:
    """A gateway that stopped sending heartbeats, and the alert records of it.

    Attributes:
        status_id: its last heartbeat.
    """

    gateway_id: str
    status_id: UUID
    alerts: tuple[AlertRecord, ...]


class KnownGateways:
    """All gateways that have sent a heartbeat, and the patients each watches.

    Args:
        kafka: whether heartbeats could be received at all.
    """

    def __init__(self, kafka: KafkaLiveness) -> None:
        self._kafka = kafka
        self._by_id: dict[str, KnownGateway] = {}
        self._watchers: dict[str, set[str]] = {}

    @property
    def by_id(self) -> Mapping[str, KnownGateway]:
        """The gateways by id, to read."""
        return self._by_id

    def receive(self, heartbeat: Heartbeat, received: datetime, now: datetime) -> bool:
        """Store a heartbeat; return False for one that is not newer than the last."""
        known = self._by_id.get(heartbeat.gateway_id)
        if known and known.heard >= received:
            return False
        announced = known.announced if known else None
        self.put(KnownGateway(heartbeat=heartbeat, heard=min(received, now), announced=announced))
        return True

    def put(self, gateway: KnownGateway) -> None:
        """Add or replace a gateway."""
        gateway_id = gateway.heartbeat.gateway_id
        if before := self._by_id.get(gateway_id):
            for patient_id in before.heartbeat.watches:
                self._watchers[patient_id].discard(gateway_id)
        self._by_id[gateway_id] = gateway
        for patient_id in gateway.heartbeat.watches:
            self._watchers.setdefault(patient_id, set()).add(gateway_id)

    def retire(self, gateway_id: str) -> None:
        """Take a gateway out of service until its next heartbeat."""
        self._by_id[gateway_id].retired = True

    def mark_silence_recorded(self, silence: GatewaySilence) -> None:
        """Note that the alert records of a silence are published."""
        self._by_id[silence.gateway_id].announced = silence.status_id

    def patients(self) -> set[str]:
        """Return the pseudonyms of all patients that a gateway watches."""
        return {patient_id for patient_id, watchers in self._watchers.items() if watchers}

    def watching(self, patient_id: str) -> list[KnownGateway]:
        """Return the gateways that watch a patient, silent ones included."""
        return [self._by_id[gateway_id] for gateway_id in self._watchers.get(patient_id, ())]

    def is_covered(self, patient_id: str, now: datetime) -> bool:
        """Return whether a gateway notifies the alarms of a patient."""
        return any(
            gateway.heartbeat.contacts_reachable and self.is_fresh(gateway, now)
            for gateway in self.watching(patient_id)
        )

    def is_fresh(self, gateway: KnownGateway, now: datetime) -> bool:
        """Return whether the last heartbeat of a gateway still counts."""
        return now - gateway.heard <= SILENT_AFTER or self._kafka.is_catching_up(now)

    def is_silent(self, gateway: KnownGateway, was_silent: bool, now: datetime) -> bool:
        """Return whether a gateway is silent; while nothing can be received, whether it was."""
        if gateway.retired or now - gateway.heard < SILENT_AFTER:
            return False
        return was_silent or not self._kafka.is_disconnected(now)


def under_current_pseudonyms(heartbeat: Heartbeat, identities: Identities) -> Heartbeat:
    """Return a heartbeat with the newest pseudonyms and without erased patients."""
    if identities.known().isdisjoint(heartbeat.watches):
        return heartbeat
    current = {pseudonym: identities.of(pseudonym) for pseudonym in heartbeat.watches}
    episodes = (
        episode.model_copy(update={"patient_id": current.get(episode.patient_id)})
        for episode in heartbeat.episodes
    )
    return heartbeat.model_copy(
        update={
            "watches": tuple(filter(None, current.values())),
            "episodes": tuple(episode for episode in episodes if episode.patient_id),
        }
    )


def silence_of(gateway: KnownGateway) -> GatewaySilence:
    """Return the alert records of a silent gateway: one for each patient it watches, else one for itself.

    The ids derive from its last heartbeat: the same silence has the same ids, however often it is published.
    """
    last, seconds = gateway.heartbeat, SILENT_AFTER.total_seconds()
    alerts = []
    for patient_id in last.watches or (last.gateway_id,):
        message_id = uuid5(last.status_id, patient_id)
        alerts.append(
            AlertRecord(
                type=AlertType.GATEWAY_SILENT,
                severity=Severity.TECHNICAL,
                value=None,
                threshold=seconds,
                message=f"no heartbeat from the gateway for {seconds:.0f} s",
                message_fr=f"aucun signal de la passerelle depuis {seconds:.0f} s",
                alert_id=alert_id(message_id, AlertType.GATEWAY_SILENT),
                message_id=message_id,
                patient_id=patient_id,
                device_id=last.gateway_id,
                timestamp=gateway.heard + SILENT_AFTER,
            )
        )
    return GatewaySilence(last.gateway_id, last.status_id, tuple(alerts))


def is_last_resort(episode: Episode, now: datetime) -> bool:
    """Return whether an alarm has waited so long for an acknowledgement that coverage no longer counts."""
    since = episode.speaking_since
    return episode.phase is Phase.ACTIVE and since is not None and now - since >= LAST_RESORT_AFTER
