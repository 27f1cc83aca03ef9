"""The alarms of all patients, the gateways that cover them, and the messages to send. No I/O.

Rules: `vitals.episodes` and `vitals.conditions`; whether the gateway or the cloud notifies: `coverage`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ValidationError

from cloud_ingest.alarms.acknowledgement import Acknowledgement
from cloud_ingest.alarms.conditions import is_silent, patients_without_data, silent_gateways
from cloud_ingest.alarms.coverage import (
    GatewaySilence,
    KnownGateway,
    KnownGateways,
    is_last_resort,
    silence_of,
    under_current_pseudonyms,
)
from cloud_ingest.alarms.service_health import KafkaLiveness, ServiceHealth, service_conditions
from cloud_ingest.alarms.states import (
    GATEWAY,
    PATIENT,
    SERVICE,
    SERVICE_KEY,
    AlarmServiceState,
    Key,
    PatientAlarms,
)
from cloud_ingest.privacy.identities import Identities
from vitals import message
from vitals.conditions import Condition, ConditionKind, Priority
from vitals.episodes import Episodes, Phase
from vitals.heartbeat import Heartbeat
from vitals.limits import VITALS
from vitals.message import Message
from vitals.notices import Group, Notice, Why
from vitals.reading import Reading
from vitals.rules import Alert

log = logging.getLogger(__name__)

_ALL_CONTACTS = 2
_HEARTBEAT_DELAY = timedelta(seconds=5)
"""The gateway knows of an alarm when it sends a heartbeat that arrives this much after the alarm."""
_SAVE_PATIENTS_EVERY = timedelta(seconds=60)
_SAVE_SERVICE_EVERY = timedelta(seconds=5)
"""The time of its last change shows the API and a standby process that this one runs."""
_PSEUDONYM_SHOWN = 8
_REMEMBERED = 20_000
"""Critical readings: an hour of a hundred patients with one every 20 s."""


@dataclass(frozen=True, slots=True)
class AlarmChanges:
    """What changed since the last `AlarmCoordinator.drain`.

    Attributes:
        messages: to send.
        states: new states, as JSON.
        removed: keys of states that no longer exist.
        applied: by acknowledgement, the groups or the condition it silenced.
        patients: every pseudonym that the states may name.
        identities: what the coordinator knows of replaced and erased pseudonyms.
    """

    messages: Sequence[Message]
    states: Mapping[Key, str]
    removed: Collection[Key]
    applied: Mapping[UUID, Sequence[str]]
    patients: Collection[str]
    identities: Identities


class AlarmCoordinator:
    """The only owner of the alarm state: methods take events and the time, `drain` returns what changed.

    Args:
        started: when this process started.
    """

    def __init__(self, started: datetime) -> None:
        self._patients: dict[str, PatientAlarms] = {}
        self._kafka = KafkaLiveness(started)
        self._gateways = KnownGateways(self._kafka)
        self._service = AlarmServiceState()
        self._names: Mapping[str, str] = {}
        self._identities = Identities()
        self._messages: list[Message] = []
        self._changed: set[Key] = set()
        self._applied: dict[UUID, Sequence[str]] = {}
        self._recent_critical: OrderedDict[tuple[str, UUID, datetime], None] = OrderedDict()
        self._patients_saved = self._service_saved = started

    def drain(self) -> AlarmChanges:
        """Return what changed since the last call."""
        states = {key: state.model_dump_json() for key in self._changed if (state := self._state(key))}
        watched = self._gateways.patients()
        changes = AlarmChanges(
            messages=self._messages,
            states=states,
            removed=self._changed - states.keys(),
            applied=self._applied,
            patients=self._identities.known().union(self._patients, watched),
            identities=self._identities,
        )
        self._messages, self._changed, self._applied = [], set(), {}
        return changes

    def _state(self, key: Key) -> BaseModel | None:
        kind, identity = key
        if kind == SERVICE:
            return self._service
        return self._patients.get(identity) if kind == PATIENT else self._gateways.by_id[identity]

    def restore(self, states: Mapping[Key, str], identities: Identities) -> None:
        """Load persisted states, merged with what was received before they could be loaded."""
        for (kind, identity), state in states.items():
            try:
                self._restore(kind, identity, state)
            except ValidationError:
                log.exception("persisted state of a %s is invalid, starting without it", kind)
        self.apply_identities(identities)

    def _restore(self, kind: str, identity: str, state: str) -> None:
        if kind == PATIENT:
            persisted = PatientAlarms.model_validate_json(state)
            if received := self._patients.get(identity):
                self._changed.add((PATIENT, identity))
                persisted = received.merged(persisted)
            self._patients[identity] = persisted
        elif kind == GATEWAY and identity not in self._gateways.by_id:
            self._gateways.put(KnownGateway.model_validate_json(state))
        elif kind == SERVICE:
            before = AlarmServiceState.model_validate_json(state)
            self._service.standing = before.standing | self._service.standing
            if before.alive and before.disconnected_since:
                self._kafka.continue_from(before.alive, before.disconnected_since)

    def set_names(self, names: Mapping[str, str]) -> None:
        """Replace the display names, by pseudonym; they are never persisted."""
        self._names = names

    def display_name(self, patient_id: str) -> str:
        """Return the name of a patient, or the start of the pseudonym where the name may not be read."""
        return self._names.get(patient_id) or patient_id[:_PSEUDONYM_SHOWN]

    def is_erased(self, patient_id: str | None) -> bool:
        """Return whether the erasure of this patient has been requested."""
        return patient_id in self._identities.erased

    def apply_identities(self, identities: Identities) -> None:
        """Move alarms to the newest pseudonyms and drop those of erased patients."""
        self._identities = identities
        for pseudonym in identities.known() & self._patients.keys():
            patient, current = self._patients.pop(pseudonym), identities.of(pseudonym)
            self._changed.add((PATIENT, pseudonym))
            if current is not None:
                newer = self._patients.get(current)
                self._patients[current] = (newer.merged(patient) if newer else patient).under(current)
                self._changed.add((PATIENT, current))
        for gateway_id, gateway in tuple(self._gateways.by_id.items()):
            heartbeat = under_current_pseudonyms(gateway.heartbeat, identities)
            if heartbeat is not gateway.heartbeat:
                self._gateways.put(gateway.model_copy(update={"heartbeat": heartbeat}))
                self._changed.add((GATEWAY, gateway_id))

    def observe(self, reading: Reading, alerts: Sequence[Alert], now: datetime) -> None:
        """Process a reading and the alerts that the rules raise for it."""
        patient_id = self._identities.of(reading.patient_id)
        if patient_id is None:
            return
        patient = self._patient(patient_id, now)
        if alerts and self._is_repeated(reading):
            return
        if any(reading.measurements.plausible(vital.field) is not None for vital in VITALS):
            measured = min(reading.timestamp, now)
            patient.latest = max(patient.latest or measured, measured)
        was_open = bool(patient.episodes.open)
        for notice in patient.episodes.observe(reading, alerts, now):
            self._notify(patient, notice, now)
        if alerts or was_open or patient.episodes.open:
            self._changed.add((PATIENT, patient_id))

    def _is_repeated(self, reading: Reading) -> bool:
        """Return whether a critical reading was processed before: it must not reopen an acknowledged alarm.

        The patient and the timestamp are compared with the id: a sender that uses an id twice hides no alarm.
        """
        if reading.message_id is None:
            return False
        identity = (reading.patient_id, reading.message_id, reading.timestamp)
        if identity in self._recent_critical:
            return True
        self._recent_critical[identity] = None
        if len(self._recent_critical) > _REMEMBERED:
            self._recent_critical.popitem(last=False)
        return False

    def receive_heartbeat(self, heartbeat: Heartbeat, received: datetime, now: datetime) -> None:
        """Process the heartbeat of a gateway.

        Args:
            received: when the API received it.
        """
        heartbeat = under_current_pseudonyms(heartbeat, self._identities)
        if not self._gateways.receive(heartbeat, received, now):
            return
        self._changed.add((GATEWAY, heartbeat.gateway_id))
        for patient_id in heartbeat.watches:
            self._patient(patient_id, now)
        self._adopt_acknowledgements(heartbeat, received, now)

    def _adopt_acknowledgements(self, heartbeat: Heartbeat, received: datetime, now: datetime) -> None:
        """Acknowledge what was acknowledged at the gateway, unless the alarm was notified again since."""
        for at_gateway in heartbeat.episodes:
            patient, until = self._patients.get(at_gateway.patient_id), at_gateway.until
            if patient is None or until is None or at_gateway.phase is not Phase.ACKNOWLEDGED:
                continue
            here = patient.episodes.episodes[at_gateway.group]
            is_newer = here.speaking_since is not None and received - here.speaking_since >= _HEARTBEAT_DELAY
            if here.phase is Phase.ACTIVE and is_newer and until > now:
                patient.episodes.acknowledge(at_gateway.by or "", now, at_gateway.group, until - now)
                self._changed.add((PATIENT, at_gateway.patient_id))

    def acknowledge(self, acknowledgement: Acknowledgement, now: datetime) -> Sequence[str]:
        """Apply an acknowledgement; return the open groups, or the condition, that it silenced.

        Args:
            acknowledgement: its time is by this process's clock.
        """
        if acknowledgement.condition is None:
            silenced = self._acknowledge_patient(acknowledgement, now)
        else:
            silenced = self._acknowledge_condition(acknowledgement, acknowledgement.condition, now)
        self._applied[acknowledgement.acknowledgement_id] = silenced
        return silenced

    def _acknowledge_patient(self, acknowledgement: Acknowledgement, now: datetime) -> Sequence[str]:
        patient_id = self._identities.of(acknowledgement.patient_id or "")
        patient = self._patients.get(patient_id or "")
        if patient is None or patient_id is None:
            return []
        self._changed.add((PATIENT, patient_id))
        groups = patient.episodes.acknowledge(
            acknowledgement.by, now, acknowledgement.group, acknowledgement.silence, acknowledgement.at
        )
        return [group.value for group in groups]

    def _acknowledge_condition(
        self, acknowledgement: Acknowledgement, key: str, now: datetime
    ) -> Sequence[str]:
        is_silenced = self._service.acknowledge(acknowledgement.by, now, key, acknowledgement.at)
        self._changed.add(SERVICE_KEY)
        kind, _, subject = key.partition(":")
        gateway = self._gateways.by_id.get(subject) if kind == ConditionKind.GATEWAY_SILENT else None
        if acknowledgement.retires and gateway and gateway.heard <= acknowledgement.at:
            self._gateways.retire(subject)
            self._changed.add((GATEWAY, subject))
        return [key] if is_silenced else []

    def tick(self, now: datetime, health: ServiceHealth) -> None:
        """Repeat, escalate and check what is missing; call it every second."""
        self._kafka.record(health.kafka_up, now)
        for patient_id, patient in self._patients.items():
            for notice in patient.episodes.tick(now):
                self._changed.add((PATIENT, patient_id))
                self._notify(patient, notice, now)
            for group in tuple(patient.left_to_gateway):
                self._take_over(patient, group, now)
        self._update_conditions(now, health)
        self._save_regularly(now)

    def _update_conditions(self, now: datetime, health: ServiceHealth) -> None:
        disconnected_since = self._kafka.disconnected_since
        if disconnected_since != self._service.disconnected_since:
            self._changed.add(SERVICE_KEY)
        self._service.alive, self._service.disconnected_since = now, disconnected_since
        present = [
            *service_conditions(health, disconnected_since, now),
            *silent_gateways(self._gateways, self._patients, self._service.standing, now),
            *patients_without_data(self._gateways, self._patients, self._kafka, self._service.standing, now),
        ]
        before = set(self._service.standing)
        for condition in self._service.update(present, now):
            self._send(self._message_of(condition, now))
            self._changed.add(SERVICE_KEY)
        if before != set(self._service.standing):
            self._changed.add(SERVICE_KEY)

    def _save_regularly(self, now: datetime) -> None:
        """Mark as changed what is not worth a transaction of its own: the times of the latest values."""
        if now - self._patients_saved >= _SAVE_PATIENTS_EVERY:
            since = self._patients_saved - _SAVE_PATIENTS_EVERY
            self._patients_saved = now
            self._changed |= {
                (PATIENT, patient_id)
                for patient_id, patient in self._patients.items()
                if patient.latest and patient.latest > since
            }
        if now - self._service_saved >= _SAVE_SERVICE_EVERY:
            self._service_saved = now
            self._changed.add(SERVICE_KEY)

    def unrecorded_silences(self, now: datetime) -> list[GatewaySilence]:
        """Return the silences of gateways whose alert records are not published yet."""
        return [
            silence_of(gateway)
            for gateway in self._gateways.by_id.values()
            if gateway.announced != gateway.heartbeat.status_id
            and is_silent(gateway, self._gateways, self._service.standing, now)
        ]

    def mark_silence_recorded(self, silence: GatewaySilence) -> None:
        """Note that the alert records of a silence are published."""
        self._gateways.mark_silence_recorded(silence)
        self._changed.add((GATEWAY, silence.gateway_id))

    def _patient(self, patient_id: str, now: datetime) -> PatientAlarms:
        patient = self._patients.get(patient_id)
        if patient is None:
            patient = PatientAlarms(episodes=Episodes(patient_id=patient_id), since=now)
            self._patients[patient_id] = patient
            self._changed.add((PATIENT, patient_id))
        return patient

    def _notify(self, patient: PatientAlarms, notice: Notice, now: datetime) -> None:
        episode = patient.episodes.episodes[notice.group]
        if self._gateways.is_covered(notice.patient_id, now) and not is_last_resort(episode, now):
            if notice.urgent:
                patient.left_to_gateway.add(notice.group)
            return
        patient.left_to_gateway.discard(notice.group)
        self._send(message.of_notice(notice, self.display_name(notice.patient_id)))

    def _take_over(self, patient: PatientAlarms, group: Group, now: datetime) -> None:
        """Notify an alarm that was left to the gateway and that the gateway no longer handles."""
        patient_id, episode = patient.episodes.patient_id, patient.episodes.episodes[group]
        if episode.phase is not Phase.ACTIVE:
            patient.left_to_gateway.discard(group)
        elif not self._gateways.is_covered(patient_id, now):
            self._notify(patient, patient.episodes.notice_again(group, Why.UNCOVERED, now), now)
        elif is_last_resort(episode, now):
            self._notify(patient, patient.episodes.notice_again(group, Why.LAST_RESORT, now), now)
        else:
            return
        self._changed.add((PATIENT, patient_id))

    def _message_of(self, condition: Condition, now: datetime) -> Message:
        patient_id = condition.subject if condition.subject in self._patients else None
        about = self.display_name(patient_id) if patient_id else condition.subject or "Kidjamo"
        to_all = condition.priority is Priority.HIGH and patient_id is None
        return message.of_condition(condition, patient_id, about, now, _ALL_CONTACTS if to_all else 0)

    def _send(self, new: Message) -> None:
        level = logging.WARNING if new.priority is Priority.HIGH else logging.INFO
        log.log(level, "sending a message: %s %s", new.kind, new.why)
        self._messages.append(new)
