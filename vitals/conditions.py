"""Technical alarm conditions: what keeps a child from being watched, how urgent, how often told.

A condition holds or does not: whoever knows says every second which ones do, and with which priority.
Priorities are those of IEC 60601-1-8. Time is an argument.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum, StrEnum

from pydantic import BaseModel

from vitals.absence import Absence, Language
from vitals.limits import NO_DATA_AFTER, VALUE_OLD_AFTER
from vitals.reading import UtcTime

LONGEST_SILENCE = timedelta(minutes=30)


class Priority(IntEnum):
    """How soon somebody must do something about it."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


REPEAT_EVERY = {
    Priority.LOW: timedelta(minutes=30),
    Priority.MEDIUM: timedelta(minutes=10),
    Priority.HIGH: timedelta(minutes=5),
}
"""For as long as it lasts, however long that is."""


class ConditionKind(StrEnum):
    """What is wrong."""

    NO_DATA = "NO_DATA"
    SENSOR_OFF = "SENSOR_OFF"
    LOW_BATTERY = "LOW_BATTERY"
    UPLINK_DOWN = "UPLINK_DOWN"
    OUTBOX_FILLING = "OUTBOX_FILLING"
    OUTBOX_FAILING = "OUTBOX_FAILING"
    CLOCK_UNSYNCHRONISED = "CLOCK_UNSYNCHRONISED"
    NOTIFIER_FAILING = "NOTIFIER_FAILING"
    GATEWAY_SILENT = "GATEWAY_SILENT"
    KAFKA_DOWN = "KAFKA_DOWN"
    DATABASE_DOWN = "DATABASE_DOWN"

    def text(self, language: Language) -> str:
        """In words."""
        return _KINDS[self][language]


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that holds at present.

    Attributes:
        subject: a patient, a gateway or a part of one; empty where there is only one.
        reason: why there is no number, for a child without data.
    """

    kind: ConditionKind
    priority: Priority
    subject: str = ""
    reason: Absence | None = None

    @property
    def key(self) -> str:
        """The same for as long as it lasts, whatever its priority."""
        return f"{self.kind}:{self.subject}"

    def text(self, language: Language) -> str:
        """In words."""
        kind = self.kind.text(language)
        if self.reason is None:
            return kind
        colon = {"en": ": ", "fr": "\u00a0: "}[language]
        return f"{kind}{colon}{self.reason.text(language)}"


class Standing(BaseModel):
    """One condition over time.

    Attributes:
        priority: when it was last told.
        told: when that was.
        silenced_by, silent_until: who has acknowledged it, and how long that lasts.
    """

    since: UtcTime
    priority: Priority
    told: UtcTime
    silenced_by: str | None = None
    silent_until: UtcTime | None = None


class Conditions(BaseModel):
    """All conditions of one gateway, or of the cloud; serialise it to survive a restart."""

    standing: dict[str, Standing] = {}

    def update(self, present: Iterable[Condition], now: datetime) -> list[Condition]:
        """Compare what holds with what held; returns what people are to be told.

        A condition is told when it begins, when its priority rises, and again and again while it lasts.
        Silence ends with a higher priority.
        """
        current = {condition.key: condition for condition in present}
        self.standing = {key: standing for key, standing in self.standing.items() if key in current}
        return [condition for key, condition in current.items() if self._is_due(key, condition, now)]

    def acknowledge(self, by: str, now: datetime, key: str, made: datetime | None = None) -> bool:
        """Silence one that is standing, for 30 minutes; returns whether there is one of that key.

        Args:
            made: when, where that was before now: silence counts from then, and what was told since is not
                meant.
        """
        standing, until = self.standing.get(key), min(made or now, now) + LONGEST_SILENCE
        if standing is None or until <= now or (made is not None and standing.told > made):
            return False
        standing.silenced_by, standing.silent_until = by, until
        return True

    def silence(self, condition: Condition, now: datetime) -> tuple[str, datetime] | None:
        """Who has silenced a condition, and until when; None where it may speak."""
        standing = self.standing.get(condition.key)
        if standing is None or not _within(standing.silent_until, now):
            return None
        return (standing.silenced_by or "", standing.silent_until or now)

    def _is_due(self, key: str, condition: Condition, now: datetime) -> bool:
        known = self.standing.get(key)
        if known is None:
            self.standing[key] = Standing(since=now, priority=condition.priority, told=now)
            return True
        rises = condition.priority > known.priority
        if rises or not _within(known.silent_until, now):
            known.silenced_by = known.silent_until = None
            if rises or not timedelta() <= now - known.told < REPEAT_EVERY[condition.priority]:
                known.priority, known.told = condition.priority, now
                return True
        known.priority = condition.priority
        return False


def no_data(latest: datetime, now: datetime, *, alarm_open: bool) -> Priority | None:
    """How urgent it is that a child has had no value; None where there is one.

    Args:
        latest: when the latest value was measured; for a child never heard, when watching began.
        alarm_open: whether an alarm of this child is open: then nobody knows how it goes on.
    """
    silence = now - latest
    if alarm_open and silence >= VALUE_OLD_AFTER:
        return Priority.HIGH
    reached = sum(silence >= after for after in NO_DATA_AFTER)
    return Priority(reached) if reached else None


def _within(until: datetime | None, now: datetime) -> bool:
    """A clock that jumps cannot make a silence longer than allowed."""
    return until is not None and timedelta() < until - now <= LONGEST_SILENCE


_KINDS: dict[ConditionKind, dict[Language, str]] = {
    ConditionKind.NO_DATA: {"en": "No values", "fr": "Aucune mesure"},
    ConditionKind.SENSOR_OFF: {"en": "Sensor off", "fr": "Capteur débranché"},
    ConditionKind.LOW_BATTERY: {"en": "Bracelet battery low", "fr": "Batterie du bracelet faible"},
    ConditionKind.UPLINK_DOWN: {
        "en": "No connection to the cloud; values are kept here",
        "fr": "Pas de connexion au nuage\u00a0; les mesures sont gardées ici",
    },
    ConditionKind.OUTBOX_FILLING: {
        "en": "The gateway's memory is filling up",
        "fr": "La mémoire de la passerelle se remplit",
    },
    ConditionKind.OUTBOX_FAILING: {
        "en": "The gateway cannot store values: its disk fails or is full",
        "fr": "La passerelle ne peut plus enregistrer\u00a0: disque plein ou défaillant",
    },
    ConditionKind.CLOCK_UNSYNCHRONISED: {
        "en": "The gateway's clock is not synchronised",
        "fr": "L'horloge de la passerelle n'est pas synchronisée",
    },
    ConditionKind.NOTIFIER_FAILING: {
        "en": "A contact cannot be reached",
        "fr": "Un contact est injoignable",
    },
    ConditionKind.GATEWAY_SILENT: {
        "en": "The gateway has fallen silent; nobody knows how its children are",
        "fr": "La passerelle ne répond plus\u00a0; l'état de ses enfants est inconnu",
    },
    ConditionKind.KAFKA_DOWN: {
        "en": "The cloud's alarms hear nothing: Kafka is away, or they start over and over",
        "fr": "Les alarmes du nuage n'entendent rien\u00a0: Kafka absent, ou elles redémarrent sans cesse",
    },
    ConditionKind.DATABASE_DOWN: {
        "en": "The cloud's alarms cannot be saved or acknowledged: PostgreSQL is away",
        "fr": "Les alarmes du nuage ne sont ni gardées ni acquittables\u00a0: PostgreSQL est absent",
    },
}
