"""Whether the alarms process can do its work: Kafka, PostgreSQL, the contacts. No I/O."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from vitals.conditions import Condition, ConditionKind, Priority

_DOWN_AFTER = ((timedelta(minutes=10), Priority.HIGH), (timedelta(minutes=2), Priority.MEDIUM))
_BREAK_AFTER = timedelta(seconds=5)
_CATCH_UP_TIME = timedelta(seconds=15)
"""How long it may take, after a start or an outage of Kafka, to read what was published meanwhile."""
_RESTARTED_WITHIN = timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class ServiceHealth:
    """What the process can reach at one moment.

    Attributes:
        kafka_up: whether Kafka answers.
        database_down_since: None while PostgreSQL answers.
        failing_contacts: names of contacts that could not be reached for a minute.
    """

    kafka_up: bool
    database_down_since: datetime | None = None
    failing_contacts: tuple[str, ...] = ()


class KafkaLiveness:
    """Whether the alarms process receives anything from Kafka.

    Attributes:
        connected_since: since when Kafka has answered without a break; None while it does not answer.
        disconnected_since: since when Kafka has never answered for long enough to catch up; None once it has.
            Each process starts disconnected.
    """

    def __init__(self, started: datetime) -> None:
        self.started = started
        self.connected_since: datetime | None = None
        self.disconnected_since: datetime | None = started
        self._down_since: datetime | None = None

    def record(self, kafka_up: bool, now: datetime) -> None:
        """Record whether Kafka answers now; less than 5 s without an answer is not a break."""
        if kafka_up:
            self.connected_since, self._down_since = self.connected_since or now, None
            self.disconnected_since = self.disconnected_since if self.is_catching_up(now) else None
            return
        self.disconnected_since = self.disconnected_since or now
        self._down_since = self._down_since or now
        if now - self._down_since >= _BREAK_AFTER:
            self.connected_since = None

    def continue_from(self, alive: datetime, disconnected_since: datetime) -> None:
        """Take over `disconnected_since` of a process that ended less than a minute before this one started.

        A process that restarts again and again never catches up either.
        """
        if self.disconnected_since and self.started - alive < _RESTARTED_WITHIN:
            self.disconnected_since = min(disconnected_since, self.disconnected_since)

    def is_catching_up(self, now: datetime) -> bool:
        """Return whether Kafka may hold messages that have not been read yet."""
        return now - max(self.started, self.connected_since or self.started) < _CATCH_UP_TIME

    def is_disconnected(self, now: datetime) -> bool:
        """Return whether missing messages prove nothing, because none could have been received."""
        return self.connected_since is None or self.is_catching_up(now)


def service_conditions(
    health: ServiceHealth, disconnected_since: datetime | None, now: datetime
) -> Iterator[Condition]:
    """Yield the conditions of the alarms process itself.

    Args:
        disconnected_since: as in `KafkaLiveness`.
    """
    down = {
        ConditionKind.KAFKA_DOWN: disconnected_since,
        ConditionKind.DATABASE_DOWN: health.database_down_since,
    }
    for kind, since in down.items():
        for after, priority in _DOWN_AFTER:
            if since and now - since >= after:
                yield Condition(kind, priority)
                break
    for name in health.failing_contacts:
        yield Condition(ConditionKind.NOTIFIER_FAILING, Priority.HIGH, name)
