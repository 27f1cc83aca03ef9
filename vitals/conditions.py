"""Technical alarm conditions: what prevents monitoring, how urgent it is and how often it is notified.

The caller states every second which conditions are present, and with which priority. Priorities are those of
IEC 60601-1-8. Time is an argument.
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
    """How soon a response is needed."""

    LOW = 1
    MEDIUM = 2
    HIGH = 3


REPEAT_EVERY = {
    Priority.LOW: timedelta(minutes=30),
    Priority.MEDIUM: timedelta(minutes=10),
    Priority.HIGH: timedelta(minutes=5),
}
"""How often a condition is notified again while it lasts."""


class ConditionKind(StrEnum):
    """Type of a condition."""

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
        """Return it in words."""
        return _KINDS[self][language]


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition that is present.

    Attributes:
        subject: patient, gateway or component it concerns; empty where there is only one.
        reason: why there is no value, for a child without data.
    """

    kind: ConditionKind
    priority: Priority
    subject: str = ""
    reason: Absence | None = None

    @property
    def key(self) -> str:
        """Identity of the condition, whatever its priority."""
        return f"{self.kind}:{self.subject}"

    def text(self, language: Language) -> str:
        """Return it in words."""
        kind = self.kind.text(language)
        if self.reason is None:
            return kind
        colon = {"en": ": ", "fr": "\u00a0: "}[language]
        return f"{kind}{colon}{self.reason.text(language)}"


class Standing(BaseModel):
    """The history of one present condition.

    Attributes:
        since: when it began.
        priority: its current priority.
        told: when it was last notified.
        silenced_by, silent_until: who acknowledged it, and until when that silences it.
    """

    since: UtcTime
    priority: Priority
    told: UtcTime
    silenced_by: str | None = None
    silent_until: UtcTime | None = None


class Conditions(BaseModel):
    """All present conditions of a gateway or of the cloud; serialise it to survive a restart."""

    standing: dict[str, Standing] = {}

    def update(self, present: Iterable[Condition], now: datetime) -> list[Condition]:
        """Replace the present conditions; return those to notify now.

        A condition is notified when it begins, when its priority rises, and repeatedly while it lasts. A rise
        in priority also ends its silence.
        """
        current = {condition.key: condition for condition in present}
        self.standing = {key: standing for key, standing in self.standing.items() if key in current}
        return [condition for key, condition in current.items() if self._is_due(key, condition, now)]

    def acknowledge(self, by: str, now: datetime, key: str, made: datetime | None = None) -> bool:
        """Silence a condition for 30 minutes; return whether it was present.

        Args:
            made: when it was acknowledged, if that was before now. Silence counts from then, and a condition
                notified since is left out.
        """
        standing, until = self.standing.get(key), min(made or now, now) + LONGEST_SILENCE
        if standing is None or until <= now or (made is not None and standing.told > made):
            return False
        standing.silenced_by, standing.silent_until = by, until
        return True

    def silence(self, condition: Condition, now: datetime) -> tuple[str, datetime] | None:
        """Return who silenced a condition and until when; None if it is not silenced."""
        standing = self.standing.get(condition.key)
        if standing is None or not _within(standing.silent_until, now):
            return None
        return (standing.silenced_by or "", standing.silent_until or now)

    def _is_due(self, key: str, condition: Condition, now: datetime) -> bool:
        standing = self.standing.get(key)
        if standing is None:
            self.standing[key] = Standing(since=now, priority=condition.priority, told=now)
            return True
        rises = condition.priority > standing.priority
        if rises or not _within(standing.silent_until, now):
            standing.silenced_by = standing.silent_until = None
            if rises or not timedelta() <= now - standing.told < REPEAT_EVERY[condition.priority]:
                standing.priority, standing.told = condition.priority, now
                return True
        standing.priority = condition.priority
        return False


def no_data(latest: datetime, now: datetime, *, alarm_open: bool) -> Priority | None:
    """Return how urgent a missing value is; None while values are recent.

    Args:
        latest: when the latest value was measured; without any value, when monitoring began.
        alarm_open: whether an alarm of this child is open: without values, its course is unknown.
    """
    age = now - latest
    if alarm_open and age >= VALUE_OLD_AFTER:
        return Priority.HIGH
    reached = sum(age >= after for after in NO_DATA_AFTER)
    return Priority(reached) if reached else None


def _within(until: datetime | None, now: datetime) -> bool:
    """Return whether a silence is in force; a clock that jumps cannot make it longer than allowed."""
    return until is not None and timedelta() < until - now <= LONGEST_SILENCE


_KINDS: dict[ConditionKind, dict[Language, str]] = {
    ConditionKind.NO_DATA: {"en": "No values", "fr": "Aucune mesure"},
    ConditionKind.SENSOR_OFF: {"en": "Sensor off", "fr": "Capteur débranché"},
    ConditionKind.LOW_BATTERY: {"en": "Bracelet battery low", "fr": "Batterie du bracelet faible"},
    ConditionKind.UPLINK_DOWN: {
        "en": "No connection to the cloud; readings are stored on the gateway",
        "fr": "Pas de connexion au cloud\u00a0; les mesures sont conservées sur la passerelle",
    },
    ConditionKind.OUTBOX_FILLING: {
        "en": "The gateway's storage is filling up",
        "fr": "La mémoire de la passerelle est bientôt pleine",
    },
    ConditionKind.OUTBOX_FAILING: {
        "en": "The gateway cannot store readings: its disk is full or failing",
        "fr": "La passerelle ne peut plus enregistrer les mesures\u00a0: disque plein ou défaillant",
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
        "en": "The gateway is not responding; the state of its children is unknown",
        "fr": "La passerelle ne répond plus\u00a0; l'état de ses enfants est inconnu",
    },
    ConditionKind.KAFKA_DOWN: {
        "en": "Cloud alarms receive no data: Kafka is unavailable, or the service keeps restarting",
        "fr": "Les alarmes du cloud ne reçoivent aucune donnée\u00a0: Kafka est indisponible ou le service "
        "redémarre sans cesse",
    },
    ConditionKind.DATABASE_DOWN: {
        "en": "Cloud alarms cannot be saved or acknowledged: PostgreSQL is unavailable",
        "fr": "Les alarmes du cloud ne peuvent être ni enregistrées ni acquittées\u00a0: PostgreSQL est "
        "indisponible",
    },
}
