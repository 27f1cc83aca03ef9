"""All children the cloud hears of: their alarms, their gateways, and what people are to be told. No I/O.

Decides with `vitals.episodes` and `vitals.conditions`; who speaks, gateway or cloud, is the rule of `cover`.
"""

from __future__ import annotations

import logging
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel, ValidationError

from cloud_ingest.alarms.acknowledgement import Acknowledgement
from cloud_ingest.alarms.coverage import Gateway, Gateways, Hearing, is_last_resort, silence_records
from cloud_ingest.privacy.identities import Identities
from vitals import message
from vitals.conditions import Condition, ConditionKind, Conditions, Priority, no_data
from vitals.episodes import Episodes, Phase
from vitals.heartbeat import Heartbeat
from vitals.limits import VITALS
from vitals.message import Message
from vitals.notices import Group, Notice, Why
from vitals.reading import Reading, UtcTime
from vitals.rules import Alert, AlertRecord

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""Kind and identity of a kept state."""
CHILD, GATEWAY, SERVICE = "child", "gateway", "service"
SERVICE_KEY: Key = (SERVICE, "alarms")
_URGENT_AFTER = timedelta(minutes=10)
_EVERYBODY = 2
_IN_ORDER = timedelta(seconds=5)
"""A heartbeat this much younger than an alarm knows of it."""
_SHORT = 8
_REMEMBERED = 20_000
"""Critical readings; those of an hour where a hundred children have one every 20 s."""


class Child(BaseModel):
    """What is kept of one child.

    Attributes:
        since: when it was first heard of.
        latest: when the latest value that a body can have was measured.
        quiet: groups whose present alarm is left to the child's gateway.
    """

    episodes: Episodes
    since: UtcTime
    latest: UtcTime | None = None
    quiet: set[Group] = set()

    def merged(self, kept: Child) -> Child:
        """This child, heard while nothing was known of it, with what was kept: no open alarm is forgotten."""
        episodes = self.episodes.model_copy(
            update={
                "episodes": {
                    group: now if now.open else kept.episodes.episodes[group]
                    for group, now in self.episodes.episodes.items()
                },
                "digests": kept.episodes.digests | self.episodes.digests,
            }
        )
        latest = max(filter(None, (self.latest, kept.latest)), default=None)
        return Child(episodes=episodes, since=kept.since, latest=latest, quiet=kept.quiet | self.quiet)

    def under(self, pseudonym: str) -> Child:
        """The same child under another pseudonym."""
        return self.model_copy(
            update={"episodes": self.episodes.model_copy(update={"patient_id": pseudonym})}
        )


class Service(Conditions):
    """What is kept of the alarms themselves.

    Attributes:
        alive: when they last looked at what is due.
        deaf_since: as in `Hearing`.
    """

    alive: UtcTime | None = None
    deaf_since: UtcTime | None = None


class Ward:
    """All children.

    Args:
        started: when this process was.

    Attributes:
        names: display names by pseudonym, as far as they may be known.
        identities: what became of pseudonyms: replaced ones are taken for the new, erased ones passed over.
        said: messages that were not fetched yet.
        changed: keys of states that changed since they were last fetched.
    """

    def __init__(self, started: datetime) -> None:
        self.children: dict[str, Child] = {}
        self.gateways = Gateways(Hearing(started))
        self.conditions = Service()
        self.names: Mapping[str, str] = {}
        self.identities = Identities()
        self.said: list[Message] = []
        self.changed: set[Key] = set()
        self._heard: OrderedDict[tuple[str, UUID, datetime], None] = OrderedDict()

    def recall(self, kept: Mapping[Key, str]) -> None:
        """Take up where alarms were; what was heard meanwhile is joined to it."""
        for (kind, identity), state in kept.items():
            try:
                self._recall(kind, identity, state)
            except ValidationError:
                log.exception("the kept state of a %s cannot be read: it begins anew", kind)

    def _recall(self, kind: str, identity: str, state: str) -> None:
        if kind == CHILD:
            child = Child.model_validate_json(state)
            known = self.children.get(identity)
            self.children[identity] = known.merged(child) if known else child
        elif kind == GATEWAY and identity not in self.gateways.known:
            self.gateways.put(Gateway.model_validate_json(state))
        elif kind == SERVICE:
            before = Service.model_validate_json(state)
            self.conditions.standing = before.standing | self.conditions.standing
            if before.alive and before.deaf_since:
                self.gateways.hearing.go_on(before.alive, before.deaf_since)

    def patients(self) -> frozenset[str]:
        """Every pseudonym that was heard of."""
        watched = (gateway.heartbeat.watches for gateway in self.gateways.known.values())
        return self.identities.known().union(self.children, *watched)

    def follow(self, identities: Identities) -> None:
        """Have children under their newest pseudonyms, and forget those that were erased."""
        self.identities = identities
        for pseudonym in identities.known() & self.children.keys():
            child, current = self.children.pop(pseudonym), identities.of(pseudonym)
            self.changed.add((CHILD, pseudonym))
            if current is not None:
                known = self.children.get(current)
                self.children[current] = (known.merged(child) if known else child).under(current)
                self.changed.add((CHILD, current))
        for identity, gateway in tuple(self.gateways.known.items()):
            heartbeat = self._under_current_pseudonyms(gateway.heartbeat)
            if heartbeat is not gateway.heartbeat:
                self.gateways.put(gateway.model_copy(update={"heartbeat": heartbeat}))
                self.changed.add((GATEWAY, identity))

    def _under_current_pseudonyms(self, heartbeat: Heartbeat) -> Heartbeat:
        if self.identities.known().isdisjoint(heartbeat.watches):
            return heartbeat
        current = {pseudonym: self.identities.of(pseudonym) for pseudonym in heartbeat.watches}
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

    def states(self, keys: Iterable[Key]) -> dict[Key, str]:
        """The states of these keys, as they are to be kept; without those that are gone."""
        return {key: state.model_dump_json() for key in keys if (state := self._state(key)) is not None}

    def _state(self, key: Key) -> BaseModel | None:
        kind, identity = key
        if kind == SERVICE:
            return self.conditions
        return self.children.get(identity) if kind == CHILD else self.gateways.known[identity]

    def observe(self, reading: Reading, alerts: Iterable[Alert], now: datetime) -> None:
        """Take in a reading and what the rules say of it."""
        patient_id = self.identities.of(reading.patient_id)
        if patient_id is None:
            return
        found, child = list(alerts), self._child(patient_id, now)
        if found and self._is_repeated(reading):
            return
        if any(reading.measurements.plausible(vital.field) is not None for vital in VITALS):
            measured = min(reading.timestamp, now)
            child.latest = max(child.latest or measured, measured)
        for notice in child.episodes.observe(reading, found, now):
            self._voice(child, notice, now)
        if found or child.episodes.open:
            self.changed.add((CHILD, patient_id))

    def _is_repeated(self, reading: Reading) -> bool:
        """Whether it was heard before: one sent again raises no alarm that somebody has seen.

        Child and time count beside the identity: an alarm is not missed because a sender uses one twice.
        """
        if reading.message_id is None:
            return False
        heard = (reading.patient_id, reading.message_id, reading.timestamp)
        if heard in self._heard:
            return True
        self._heard[heard] = None
        if len(self._heard) > _REMEMBERED:
            self._heard.popitem(last=False)
        return False

    def hear(self, heartbeat: Heartbeat, heard: datetime, now: datetime) -> None:
        """Take in a gateway's sign of life, which the API took at `heard`."""
        heartbeat = self._under_current_pseudonyms(heartbeat)
        if not self.gateways.hear(heartbeat, heard, now):
            return
        self.changed.add((GATEWAY, heartbeat.gateway_id))
        for patient_id in heartbeat.watches:
            self._child(patient_id, now)
        self._adopt(heartbeat, heard, now)

    def _adopt(self, heartbeat: Heartbeat, heard: datetime, now: datetime) -> None:
        """An acknowledgement at the gateway counts here, too, unless the alarm has spoken again since."""
        for at_gateway in heartbeat.episodes:
            child, until = self.children.get(at_gateway.patient_id), at_gateway.until
            if child is None or until is None or at_gateway.phase is not Phase.ACKNOWLEDGED:
                continue
            here = child.episodes.episodes[at_gateway.group]
            known = here.speaking_since is not None and heard - here.speaking_since >= _IN_ORDER
            if here.phase is Phase.ACTIVE and known and until > now:
                child.episodes.acknowledge(at_gateway.by or "", now, at_gateway.group, until - now)
                self.changed.add((CHILD, at_gateway.patient_id))

    def refresh(self, since: datetime) -> None:
        """Have the children kept that were heard since then, so that a restart knows when each last was."""
        self.changed |= {
            (CHILD, patient) for patient, child in self.children.items() if (child.latest or since) > since
        }

    def acknowledge(self, made: Acknowledgement, now: datetime) -> list[str]:
        """Somebody has seen an alarm or a condition; returns what was open of it when that was.

        Args:
            made: its time is by this process's clock.
        """
        if made.condition is not None:
            return self._acknowledge_condition(made, made.condition, now)
        patient_id = self.identities.of(made.patient_id or "")
        child = self.children.get(patient_id or "")
        if child is None or patient_id is None:
            return []
        self.changed.add((CHILD, patient_id))
        found = child.episodes.acknowledge(made.by, now, made.group, made.silence, made.at)
        return [group.value for group in found]

    def _acknowledge_condition(self, made: Acknowledgement, key: str, now: datetime) -> list[str]:
        found = self.conditions.acknowledge(made.by, now, key, made.at)
        self.changed.add(SERVICE_KEY)
        kind, _, subject = key.partition(":")
        gateway = self.gateways.known.get(subject) if kind == ConditionKind.GATEWAY_SILENT else None
        if made.retires and gateway and gateway.heard <= made.at:
            gateway.retired = True
            self.changed.add((GATEWAY, subject))
        return [key] if found else []

    def tick(self, now: datetime, of_service: Iterable[Condition]) -> None:
        """What is due because time has passed.

        Args:
            of_service: what is wrong with this process itself.
        """
        for patient_id, child in self.children.items():
            for notice in child.episodes.tick(now):
                self.changed.add((CHILD, patient_id))
                self._voice(child, notice, now)
            for group in tuple(child.quiet):
                self._watch_over(child, group, now)
        self._note_life(now)
        present = [*of_service, *self._silent_gateways(now), *self._children_without_data(now)]
        before = set(self.conditions.standing)
        for condition in self.conditions.update(present, now):
            self._say(self._of_condition(condition, now))
            self.changed.add(SERVICE_KEY)
        if before != set(self.conditions.standing):
            self.changed.add(SERVICE_KEY)

    def _note_life(self, now: datetime) -> None:
        deaf_since = self.gateways.hearing.deaf_since
        if deaf_since != self.conditions.deaf_since:
            self.changed.add(SERVICE_KEY)
        self.conditions.alive, self.conditions.deaf_since = now, deaf_since

    def silences(self, now: datetime) -> dict[str, tuple[AlertRecord, ...]]:
        """Alert records of silent gateways that are not on record yet, by gateway."""
        return {
            identity: tuple(silence_records(gateway))
            for identity, gateway in self.gateways.known.items()
            if gateway.announced != gateway.heartbeat.status_id and self._is_silent(identity, now)
        }

    def announced(self, gateway_id: str, status_id: UUID) -> None:
        """The silence after this heartbeat is on record."""
        self.gateways.known[gateway_id].announced = status_id
        self.changed.add((GATEWAY, gateway_id))

    def about(self, patient_id: str) -> str:
        """What people call a child, where that may be known."""
        return self.names.get(patient_id) or patient_id[:_SHORT]

    def _child(self, patient_id: str, now: datetime) -> Child:
        child = self.children.get(patient_id)
        if child is None:
            child = Child(episodes=Episodes(patient_id=patient_id), since=now)
            self.children[patient_id] = child
            self.changed.add((CHILD, patient_id))
        return child

    def _voice(self, child: Child, notice: Notice, now: datetime) -> None:
        episode = child.episodes.episodes[notice.group]
        if self.gateways.is_covered(notice.patient_id, now) and not is_last_resort(episode, now):
            if notice.urgent:
                child.quiet.add(notice.group)
            return
        child.quiet.discard(notice.group)
        self._say(message.of_notice(notice, self.about(notice.patient_id)))

    def _watch_over(self, child: Child, group: Group, now: datetime) -> None:
        """Speak of an alarm that was left to the gateway, where the gateway does not suffice any more."""
        patient_id, episode = child.episodes.patient_id, child.episodes.episodes[group]
        if episode.phase is not Phase.ACTIVE:
            child.quiet.discard(group)
        elif not self.gateways.is_covered(patient_id, now):
            self._voice(child, child.episodes.notice_again(group, Why.UNCOVERED, now), now)
        elif is_last_resort(episode, now):
            self._voice(child, child.episodes.notice_again(group, Why.LAST_RESORT, now), now)
        else:
            return
        self.changed.add((CHILD, patient_id))

    def _silent_gateways(self, now: datetime) -> Iterator[Condition]:
        for identity, gateway in self.gateways.known.items():
            if not self._is_silent(identity, now):
                continue
            watched = filter(None, map(self.children.get, gateway.heartbeat.watches))
            urgent = any(child.episodes.open for child in watched) or now - gateway.heard >= _URGENT_AFTER
            priority = Priority.HIGH if urgent else Priority.MEDIUM
            yield Condition(ConditionKind.GATEWAY_SILENT, priority, identity)

    def _is_silent(self, gateway_id: str, now: datetime) -> bool:
        key = Condition(ConditionKind.GATEWAY_SILENT, Priority.HIGH, gateway_id).key
        return self.gateways.is_silent(self.gateways.known[gateway_id], key in self.conditions.standing, now)

    def _children_without_data(self, now: datetime) -> Iterator[Condition]:
        """Children nobody else speaks of: not their gateway, because it reaches nobody, nor its own silence.

        One without a gateway counts only while an alarm is open: it may just not wear its bracelet.
        """
        if self.gateways.hearing.is_deaf(now):
            yield from self._as_before(ConditionKind.NO_DATA)
            return
        for patient_id, child in self.children.items():
            alarm_open = bool(child.episodes.open)
            watching = self.gateways.watching(patient_id)
            fresh = any(self.gateways.is_fresh(gateway, now) for gateway in watching)
            expected = fresh if watching else alarm_open
            missing = no_data(child.latest or child.since, now, alarm_open=alarm_open) if expected else None
            if missing and not self.gateways.is_covered(patient_id, now):
                yield Condition(ConditionKind.NO_DATA, missing, patient_id)

    def _as_before(self, kind: ConditionKind) -> Iterator[Condition]:
        for key, standing in self.conditions.standing.items():
            name, _, subject = key.partition(":")
            if name == kind:
                yield Condition(kind, standing.priority, subject)

    def _of_condition(self, condition: Condition, now: datetime) -> Message:
        patient_id = condition.subject if condition.subject in self.children else None
        about = self.about(patient_id) if patient_id else condition.subject or "Kidjamo"
        everybody = condition.priority is Priority.HIGH and patient_id is None
        return message.of_condition(condition, patient_id, about, now, _EVERYBODY if everybody else 0)

    def _say(self, said: Message) -> None:
        level = logging.WARNING if said.priority is Priority.HIGH else logging.INFO
        log.log(level, "%s %s: the cloud speaks", said.kind, said.why)
        self.said.append(said)
