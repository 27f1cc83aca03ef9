"""Alarm episodes: when an alarm is notified, and how often. Time is an argument.

One episode per child and group; names follow IEEE 11073 SDC and IEC 60601-1-8.

    NORMAL ──critical──▶ ACTIVE ──acknowledge──▶ ACKNOWLEDGED
      ▲ ▲                │  ▲ ▲                     │  │
      │ │                │  │ └─silence over, worse─┘  │
      │ └────────────────┼──┼──────────clear───────────┘
      │                clear└─critical─┐
      └──acknowledge── LATCHED ────────┘

An episode that was acknowledged at least once ends in NORMAL when it clears, any other in LATCHED, because
nobody has seen it. Alert records are written regardless; episodes decide about notifications only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, Field

from vitals.limits import BY_FIELD, NOTIFIED_UP_TO, VALUE_OLD_AFTER, VITALS, Limit, Vital
from vitals.notices import GROUP_OF, Group, Notice, Why
from vitals.reading import Identifier, Measurements, Reading, UtcTime
from vitals.recovery import Recovery
from vitals.rules import Alert, Severity

REPEAT_EVERY = timedelta(minutes=2)
ESCALATE_AFTER = (timedelta(minutes=5), timedelta(minutes=10))
_DIGEST_AFTER = timedelta(seconds=60)
"""The digest is sent when a backlog has brought nothing critical for this long."""


def longest_silence(group: Group) -> timedelta:
    """Return for how long an acknowledgement may silence an alarm."""
    return timedelta(minutes=30 if group is Group.TEMP else 10)


class Phase(StrEnum):
    """State of an episode."""

    NORMAL = "NORMAL"
    ACTIVE = "ACTIVE"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    LATCHED = "LATCHED"


class Silence(BaseModel):
    """Who silenced an episode, and until when."""

    by: str
    since: UtcTime
    until: UtcTime


class Episode(BaseModel):
    """One child's alarm of one group.

    Attributes:
        since: when the first critical value was measured; None while NORMAL.
        latest: when the latest critical value was measured.
        speaking_since: when it became active; repetition and escalation count from then.
        told: when the last notification was sent.
        level: escalation level reached so far.
        worst: the worst values since `since`, by the key of their alarm limit.
        seen: the worst values at the latest acknowledgement.
        acknowledged: whether it has ever been acknowledged.
        silence: the current one.
    """

    group: Group
    phase: Phase = Phase.NORMAL
    since: UtcTime | None = None
    latest: UtcTime | None = None
    speaking_since: UtcTime | None = None
    told: UtcTime | None = None
    level: int = 0
    records: int = 0
    worst: dict[str, float] = {}
    seen: dict[str, float] = {}
    acknowledged: bool = False
    silence: Silence | None = None

    @property
    def open(self) -> bool:
        """Whether it is in any phase but NORMAL."""
        return self.phase is not Phase.NORMAL

    def accepts(self, made: datetime) -> bool:
        """Return whether an acknowledgement made at that time applies: it does not cover later news."""
        news = (self.speaking_since, self.latest if self.phase is Phase.LATCHED else None)
        return all(time <= made for time in news if time is not None)

    @property
    def worst_values(self) -> dict[str, float]:
        """The worst values, by field."""
        return _by_field(self.worst)

    def count(self, measured: datetime, values: Measurements) -> None:
        """Add a critical reading."""
        self.records += 1
        self.since = min(self.since or measured, measured)
        self.latest = max(self.latest or measured, measured)
        _keep_worst(self.worst, self.group, values)

    def acknowledge(self, silence: Silence) -> None:
        """Record that somebody has seen its current state."""
        self.phase, self.acknowledged, self.silence = Phase.ACKNOWLEDGED, True, silence
        self.seen = dict(self.worst)

    def activate(self, now: datetime) -> None:
        """Make it active, without an acknowledgement."""
        self.phase, self.silence = Phase.ACTIVE, None
        self.speaking_since, self.level = now, 0

    @property
    def is_worse_than_seen(self) -> bool:
        """Whether it has become clearly worse since it was acknowledged."""
        return any(_is_clearly_worse(key, self.seen.get(key), value) for key, value in self.worst.items())

    def is_silent(self, now: datetime) -> bool:
        """Return whether its silence is in force; a clock that jumps cannot make it longer than allowed."""
        return self.silence is not None and timedelta() < self.silence.until - now <= longest_silence(
            self.group
        )


class Digest(BaseModel):
    """Critical readings of one group that arrived too late to be notified one by one.

    Attributes:
        since, until: when the first and the latest of them was measured.
        noticed: when the latest of them arrived.
        lasted_s: for how long values were critical.
        worst: the worst values, by the key of their alarm limit.
    """

    since: UtcTime
    until: UtcTime
    noticed: UtcTime
    records: int = 0
    lasted_s: float = 0.0
    worst: dict[str, float] = {}


class Episodes(BaseModel):
    """All episodes of one child and their recovery; serialise it to survive a restart."""

    patient_id: Identifier
    episodes: dict[Group, Episode] = Field(
        default_factory=lambda: {group: Episode(group=group) for group in Group}
    )
    recovery: Recovery = Field(default_factory=Recovery)
    digests: dict[Group, Digest] = {}

    @property
    def open(self) -> tuple[Episode, ...]:
        """Episodes that are not NORMAL."""
        return tuple(episode for episode in self.episodes.values() if episode.open)

    def observe(self, reading: Reading, alerts: Iterable[Alert], now: datetime) -> list[Notice]:
        """Add a reading with its alerts; return the notices to send."""
        groups = [GROUP_OF[alert.type] for alert in alerts if alert.type.severity is Severity.CRITICAL]
        measured = min(reading.timestamp, now)
        if now - measured >= NOTIFIED_UP_TO:
            for group in groups:
                self._digest(group, reading.measurements, measured, now)
            return []
        self.recovery.observe(reading, measured)
        notices = [
            notice
            for group in groups
            for notice in self._critical(group, reading.measurements, measured, now)
        ]
        self._clear()
        return notices

    def tick(self, now: datetime) -> list[Notice]:
        """Return the notices that are due because time has passed; call it every second."""
        reminders = [notice for episode in self.open for notice in self._remind(episode, now)]
        return [*reminders, *self._complete_digests(now)]

    def acknowledge(
        self,
        by: str,
        now: datetime,
        group: Group | None = None,
        silence: timedelta | None = None,
        made: datetime | None = None,
    ) -> list[Group]:
        """Acknowledge open episodes: silence them for a limited time, and end latched ones.

        Args:
            by: name of the person.
            group: one group; None for all.
            silence: for how long; at most, and by default, `longest_silence`.
            made: when it was made, if that was before now. Silence counts from then, and episodes with later
                news are left out.

        Returns:
            The groups that were acknowledged.
        """
        since, acknowledged = now if made is None else min(made, now), []
        for episode in self.open:
            longest = longest_silence(episode.group)
            until = since + (longest if silence is None else min(silence, longest))
            if group not in (None, episode.group) or (made is not None and not episode.accepts(made)):
                continue
            if episode.phase is Phase.LATCHED:
                self._end(episode, Phase.NORMAL)
            elif until > now:
                episode.acknowledge(Silence(by=by, since=since, until=until))
            else:
                continue
            acknowledged.append(episode.group)
        return acknowledged

    def notice_again(self, group: Group, why: Why, now: datetime) -> Notice:
        """Return a notice of an open episode in its current state, for recipients not notified so far."""
        return self._notice(self.episodes[group], why, now)

    def _critical(
        self, group: Group, values: Measurements, measured: datetime, now: datetime
    ) -> Iterator[Notice]:
        episode = self.episodes.setdefault(group, Episode(group=group))
        starts = episode.phase in (Phase.NORMAL, Phase.LATCHED)
        episode.count(measured, values)
        if starts:
            for other in self.open:
                if other.phase is Phase.ACKNOWLEDGED:  # acknowledged before this one was known
                    other.activate(now)
                    other.told = now
            episode.activate(now)
            yield self._notice(episode, Why.RAISED, now)
        elif episode.phase is Phase.ACKNOWLEDGED and episode.is_worse_than_seen:
            episode.activate(now)
            yield self._notice(episode, Why.WORSENED, now)

    def _remind(self, episode: Episode, now: datetime) -> Iterator[Notice]:
        if episode.phase is Phase.ACKNOWLEDGED and not episode.is_silent(now):
            episode.activate(now)
            yield self._notice(episode, Why.SILENCE_OVER, now)
        elif episode.phase is Phase.ACTIVE and episode.speaking_since and episode.told:
            due = sum(now - episode.speaking_since >= after for after in ESCALATE_AFTER)
            if due > episode.level:
                episode.level = due
                yield self._notice(episode, Why.ESCALATED, now)
            elif not timedelta() <= now - episode.told < REPEAT_EVERY:
                yield self._notice(episode, Why.REPEATED, now)

    def _notice(self, episode: Episode, why: Why, now: datetime) -> Notice:
        episode.told = now
        return Notice(
            patient_id=self.patient_id,
            group=episode.group,
            why=why,
            at=now,
            since=episode.since or now,
            until=episode.latest or now,
            level=episode.level,
            worst=episode.worst_values,
            records=episode.records,
        )

    def _clear(self) -> None:
        for episode in self.open:
            if episode.phase is not Phase.LATCHED and self.recovery.is_complete(episode.group.fields):
                self._end(episode, Phase.NORMAL if episode.acknowledged else Phase.LATCHED)

    def _end(self, episode: Episode, phase: Phase) -> None:
        """A LATCHED episode keeps its history for display, and a new critical reading adds to it."""
        history = episode.model_dump(include={"since", "latest", "speaking_since", "records", "worst"})
        kept = history if phase is Phase.LATCHED else {}
        self.episodes[episode.group] = Episode(group=episode.group, phase=phase, **kept)

    def _digest(self, group: Group, values: Measurements, measured: datetime, now: datetime) -> None:
        digest = self.digests.get(group)
        if digest is None:
            digest = self.digests[group] = Digest(since=measured, until=measured, noticed=now)
        elif measured > digest.until:
            digest.lasted_s += min(measured - digest.until, VALUE_OLD_AFTER).total_seconds()
        digest.since, digest.until = min(digest.since, measured), max(digest.until, measured)
        digest.noticed, digest.records = now, digest.records + 1
        _keep_worst(digest.worst, group, values)

    def _complete_digests(self, now: datetime) -> Iterator[Notice]:
        for group, digest in list(self.digests.items()):
            if not timedelta() <= now - digest.noticed < _DIGEST_AFTER:
                del self.digests[group]
                yield Notice(
                    patient_id=self.patient_id,
                    group=group,
                    why=Why.DIGEST,
                    at=now,
                    since=digest.since,
                    until=digest.until,
                    worst=_by_field(digest.worst),
                    records=digest.records,
                    lasted_s=digest.lasted_s,
                )


_LIMITS: dict[str, tuple[Vital, Limit]] = {
    limit.key: (vital, limit) for vital in VITALS if vital.alarm for limit in vital.alarm.limits
}
"""The alarm limit behind each key of `Episode.worst`."""
_ROUNDING = 1e-9


def _by_key(group: Group, values: Measurements) -> Iterator[tuple[str, float]]:
    """Yield the values of a critical reading that belong to a group, each with the key of its alarm limit."""
    for field in group.fields:
        value = values.plausible(field)
        if value is not None:
            yield _limit_of(field, value).key, value


def _limit_of(field: str, value: float) -> Limit:
    """The limit a value violates; where only a combined rule was met, the last one of the vital."""
    alarm = BY_FIELD[field].alarm
    if alarm is None:
        raise ValueError(f"{field} has no alarm")
    return alarm.crossed(value) or alarm.limits[-1]


def _by_field(worst: Mapping[str, float]) -> dict[str, float]:
    return {_LIMITS[key][0].field: value for key, value in worst.items()}


def _keep_worst(worst: dict[str, float], group: Group, values: Measurements) -> None:
    for key, value in _by_key(group, values):
        worst[key] = _worse(key, worst.get(key, value), value)


def _is_lower_worse(key: str) -> bool:
    vital, limit = _LIMITS[key]
    return vital.alarm is not None and limit is vital.alarm.low


def _worse(key: str, one: float, other: float) -> float:
    return min(one, other) if _is_lower_worse(key) else max(one, other)


def _is_clearly_worse(key: str, seen: float | None, value: float) -> bool:
    """Return whether a value is a step worse than what was acknowledged, or of a side that was not."""
    if seen is None:
        return True
    change = seen - value if _is_lower_worse(key) else value - seen
    return change >= _LIMITS[key][1].worse_by - _ROUNDING
