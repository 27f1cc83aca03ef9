"""Gateway or cloud: which of the two wakes somebody. Both keep every child's episodes; one of them speaks.

A child is *covered* while the last heartbeat of a gateway is at most two minutes old and says that it watches
the child and that its contacts can be reached. For a covered child the cloud keeps its episodes and stays
silent. It speaks

- for children without a gateway, and for those whose gateway reaches nobody, as the gateway would;
- when cover is lost while an episode is open and not acknowledged: at once;
- when an episode of a covered child has not been acknowledged for 15 minutes: the last resort.

An acknowledgement at the gateway comes with its next heartbeat, at most 30 s later; one made in the cloud
goes back with the answer to a heartbeat. An alarm that had ended before anybody acknowledged it (LATCHED,
silent) is acknowledged in each place for itself: that is a known limit.

A heartbeat's age counts from when the API took it, by the cloud's clock. While this process catches up with
what Kafka held for it, the last known heartbeat stands, so that a restart wakes nobody.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from uuid import UUID, uuid5

from pydantic import BaseModel

from vitals.episodes import Episode, Phase
from vitals.heartbeat import SILENT_AFTER, Heartbeat
from vitals.reading import UtcTime
from vitals.rules import AlertRecord, AlertType, Severity, alert_id

LAST_RESORT_AFTER = timedelta(minutes=15)
_BREAK_AFTER = timedelta(seconds=5)
_CATCHES_UP_FOR = timedelta(seconds=15)
"""How long reading what came meanwhile may take, after a start or an outage of Kafka."""
_ENDED_JUST_NOW = timedelta(minutes=1)


class Hearing:
    """Whether the cloud's alarms hear anything at all.

    Attributes:
        since: since when Kafka has answered without a break; None while it is away.
        deaf_since: since when it has not once answered for long enough to catch up; None once it has. Each
            process begins deaf.
    """

    def __init__(self, started: datetime) -> None:
        self.started = started
        self.since: datetime | None = None
        self.deaf_since: datetime | None = started
        self._away_since: datetime | None = None

    def note(self, kafka_answers: bool, now: datetime) -> None:
        """Take note of whether Kafka answers now; a moment without an answer is no break."""
        if kafka_answers:
            self.since, self._away_since = self.since or now, None
            self.deaf_since = self.deaf_since if self.catches_up(now) else None
            return
        self.deaf_since, self._away_since = self.deaf_since or now, self._away_since or now
        if now - self._away_since >= _BREAK_AFTER:
            self.since = None

    def go_on(self, alive: datetime, deaf_since: datetime) -> None:
        """Be deaf since a process was that came to its end just now: many short lives hear nothing, too."""
        if self.deaf_since and self.started - alive < _ENDED_JUST_NOW:
            self.deaf_since = min(deaf_since, self.deaf_since)

    def catches_up(self, now: datetime) -> bool:
        """Whether there may be news that was not read yet."""
        begun = max(self.started, self.since or self.started)
        return now - begun < _CATCHES_UP_FOR

    def is_deaf(self, now: datetime) -> bool:
        """Whether silence says nothing, because nothing could have been heard."""
        return self.since is None or self.catches_up(now)


class Gateway(BaseModel):
    """A gateway that was heard at least once.

    Attributes:
        heartbeat: the last one; patients by pseudonym.
        heard: when the API took it.
        announced: the heartbeat after which its silence went on record.
        retired: whether somebody said that it is out of service.
    """

    heartbeat: Heartbeat
    heard: UtcTime
    announced: UUID | None = None
    retired: bool = False


class Gateways:
    """All gateways that were ever heard, and whom each watches.

    Attributes:
        known: by identity.
        hearing: whether anything is heard at all.
    """

    def __init__(self, hearing: Hearing) -> None:
        self.known: dict[str, Gateway] = {}
        self.hearing = hearing
        self._watchers: dict[str, set[str]] = {}

    def hear(self, heartbeat: Heartbeat, heard: datetime, now: datetime) -> bool:
        """Take in a heartbeat; says whether it is newer than what is known."""
        known = self.known.get(heartbeat.gateway_id)
        if known and known.heard >= heard:
            return False
        announced = known.announced if known else None
        self.put(Gateway(heartbeat=heartbeat, heard=min(heard, now), announced=announced))
        return True

    def put(self, gateway: Gateway) -> None:
        """Know this of a gateway, in place of what was known."""
        identity = gateway.heartbeat.gateway_id
        if before := self.known.get(identity):
            for patient_id in before.heartbeat.watches:
                self._watchers[patient_id].discard(identity)
        self.known[identity] = gateway
        for patient_id in gateway.heartbeat.watches:
            self._watchers.setdefault(patient_id, set()).add(identity)

    def watching(self, patient_id: str) -> list[Gateway]:
        """The gateways that say they watch a child, silent ones included."""
        return [self.known[identity] for identity in self._watchers.get(patient_id, ())]

    def is_covered(self, patient_id: str, now: datetime) -> bool:
        """Whether a gateway can tell somebody of this child."""
        return any(
            gateway.heartbeat.contacts_reachable and self.is_fresh(gateway, now)
            for gateway in self.watching(patient_id)
        )

    def is_fresh(self, gateway: Gateway, now: datetime) -> bool:
        """Whether its last heartbeat still counts."""
        return now - gateway.heard <= SILENT_AFTER or self.hearing.catches_up(now)

    def is_silent(self, gateway: Gateway, was_silent: bool, now: datetime) -> bool:
        """Whether it is; while nothing at all can be heard, whether it was."""
        if gateway.retired or now - gateway.heard < SILENT_AFTER:
            return False
        return was_silent or not self.hearing.is_deaf(now)


def silence_records(gateway: Gateway) -> Iterator[AlertRecord]:
    """The silence of a gateway on record: once for each child it watches, where there is none for itself.

    The identities come from its last heartbeat: one silence is recorded once, however often it is sent.
    """
    last, seconds = gateway.heartbeat, SILENT_AFTER.total_seconds()
    for patient_id in last.watches or (last.gateway_id,):
        message_id = uuid5(last.status_id, patient_id)
        yield AlertRecord(
            type=AlertType.GATEWAY_SILENT,
            severity=Severity.TECHNICAL,
            value=None,
            threshold=seconds,
            message=f"the gateway has not been heard for {seconds:.0f} s",
            message_fr=f"la passerelle n'a pas donné signe de vie depuis {seconds:.0f} s",
            alert_id=alert_id(message_id, AlertType.GATEWAY_SILENT),
            message_id=message_id,
            patient_id=patient_id,
            device_id=last.gateway_id,
            timestamp=gateway.heard + SILENT_AFTER,
        )


def is_last_resort(episode: Episode, now: datetime) -> bool:
    """Whether nobody has acknowledged an alarm for so long that cover no longer counts."""
    since = episode.speaking_since
    return episode.phase is Phase.ACTIVE and since is not None and now - since >= LAST_RESORT_AFTER
