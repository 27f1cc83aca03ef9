"""Alarm episodes: which critical records reach a person, when, and how often. Time is an argument.

One episode per child and group; names follow IEEE 11073 SDC and IEC 60601-1-8.

    NORMAL ──critical──▶ ACTIVE ──acknowledge──▶ ACKNOWLEDGED
      ▲ ▲                │  ▲ ▲                     │  │
      │ │                │  │ └─silence over, worse─┘  │
      │ └────────────────┼──┼──────────clear───────────┘
      │                clear└─critical─┐
      └──acknowledge── LATCHED ────────┘

An episode that was acknowledged once ends in NORMAL when it clears, any other in LATCHED: nobody has seen it.
Whatever is decided here, every record is written: this is about people only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import BaseModel, Field

from vitals.limits import HEART_RATE_CRITICAL_BELOW, NOTIFIED_UP_TO, SPO2, TEMPERATURE, VALUE_OLD_AFTER
from vitals.notices import GROUP_OF, Group, Notice, Why
from vitals.reading import Identifier, Measurements, Reading, UtcTime
from vitals.recovery import Recovery
from vitals.rules import Alert

REPEAT_EVERY = timedelta(minutes=2)
ESCALATE_AFTER = (timedelta(minutes=5), timedelta(minutes=10))
_DIGEST_AFTER = timedelta(seconds=60)
"""A backlog that has brought nothing critical for this long is told of."""


def longest_silence(group: Group) -> timedelta:
    """How long an acknowledgement silences at most."""
    return timedelta(minutes=30 if group is Group.TEMP else 10)


class Phase(StrEnum):
    """Where an episode stands."""

    NORMAL = "NORMAL"
    ACTIVE = "ACTIVE"
    ACKNOWLEDGED = "ACKNOWLEDGED"
    LATCHED = "LATCHED"


class Silence(BaseModel):
    """Who silenced an episode, and until when; visible to all."""

    by: str
    since: UtcTime
    until: UtcTime


class Episode(BaseModel):
    """One child's alarm of one group.

    Attributes:
        since: when the first critical value was measured; None while NORMAL.
        latest: when the latest was.
        speaking_since: from when on repetition and escalation count.
        told: when a person was last told.
        level: how many contacts beyond the first have been told.
        worst: the worst values since then, by kind: see `_kinds`.
        seen: the worst values when it was acknowledged.
        acknowledged: whether anybody ever did.
        silence: the present one.
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
        """Whether it stands between a child and a quiet page."""
        return self.phase is not Phase.NORMAL

    def is_meant(self, made: datetime) -> bool:
        """Whether an acknowledgement made then means it: nobody has seen what it has said since."""
        news = (self.speaking_since, self.latest if self.phase is Phase.LATCHED else None)
        return all(each <= made for each in news if each is not None)

    @property
    def worst_values(self) -> dict[str, float]:
        """The worst values, by field."""
        return {_STEPS[kind][0]: value for kind, value in self.worst.items()}

    def count(self, measured: datetime, values: Measurements) -> None:
        """Note a critical reading."""
        self.records += 1
        self.since = min(self.since or measured, measured)
        self.latest = max(self.latest or measured, measured)
        for kind, value in _kinds(self.group, values):
            self.worst[kind] = _worse(kind, self.worst.get(kind, value), value)

    def acknowledge(self, silence: Silence) -> None:
        """Somebody has seen it as it stands."""
        self.phase, self.acknowledged, self.silence = Phase.ACKNOWLEDGED, True, silence
        self.seen = dict(self.worst)

    def speak(self, now: datetime) -> None:
        """Be unacknowledged from now on."""
        self.phase, self.silence = Phase.ACTIVE, None
        self.speaking_since, self.level = now, 0

    @property
    def is_worse_than_seen(self) -> bool:
        """Whether it has become clearly worse since it was acknowledged."""
        return any(_is_a_step_worse(kind, self.seen.get(kind), value) for kind, value in self.worst.items())

    def is_silent(self, now: datetime) -> bool:
        """Whether its silence still holds; a clock that jumps cannot make one longer than allowed."""
        return self.silence is not None and timedelta() < self.silence.until - now <= longest_silence(
            self.group
        )


class Digest(BaseModel):
    """Critical readings of one group that came too late to wake anybody."""

    since: UtcTime
    until: UtcTime
    noticed: UtcTime
    records: int = 0
    lasted_s: float = 0.0
    worst: dict[str, float] = {}


class Episodes(BaseModel):
    """All episodes of one child, with what is needed to end them; serialise it to survive a restart."""

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
        """Take in a reading and what the rules said of it; returns what people are to be told."""
        groups = [GROUP_OF[alert.type] for alert in alerts if alert.type in GROUP_OF]
        measured = min(reading.timestamp, now)
        if now - measured >= NOTIFIED_UP_TO:
            for group in groups:
                self._digest(group, reading.measurements, measured, now)
            return []
        self.recovery.observe(reading, measured)
        told = [
            notice
            for group in groups
            for notice in self._critical(group, reading.measurements, measured, now)
        ]
        self._clear()
        return told

    def tick(self, now: datetime) -> list[Notice]:
        """What people are to be told because time has passed; call it every second."""
        told = [notice for episode in self.open for notice in self._remind(episode, now)]
        return [*told, *self._digests_complete(now)]

    def acknowledge(
        self,
        by: str,
        now: datetime,
        group: Group | None = None,
        silence: timedelta | None = None,
        made: datetime | None = None,
    ) -> list[Group]:
        """Somebody has seen it: silence what is open, for a bounded time.

        Args:
            by: who.
            group: one group; all where absent.
            silence: for how long, at most `longest_silence`, which is also what an absent one means.
            made: when, where that was before now: silence counts from then, and what has spoken since is
                not meant.

        Returns:
            The groups that were open and meant.
        """
        since, found = now if made is None else min(made, now), []
        for episode in self.open:
            longest = longest_silence(episode.group)
            until = since + (longest if silence is None else min(silence, longest))
            if group not in (None, episode.group) or (made is not None and not episode.is_meant(made)):
                continue
            if episode.phase is Phase.LATCHED:
                self._end(episode, Phase.NORMAL)
            elif until > now:
                episode.acknowledge(Silence(by=by, since=since, until=until))
            else:
                continue
            found.append(episode.group)
        return found

    def tell_anew(self, group: Group, why: Why, now: datetime) -> Notice:
        """An open episode as it stands, for people who have not been told of it yet."""
        return self._tell(self.episodes[group], why, now)

    def _critical(
        self, group: Group, values: Measurements, measured: datetime, now: datetime
    ) -> Iterator[Notice]:
        episode = self.episodes[group]
        starts = episode.phase in (Phase.NORMAL, Phase.LATCHED)
        episode.count(measured, values)
        if starts:
            for other in self.open:
                if other.phase is Phase.ACKNOWLEDGED:  # seen, but not together with this
                    other.speak(now)
                    other.told = now
            episode.speak(now)
            yield self._tell(episode, Why.RAISED, now)
        elif episode.phase is Phase.ACKNOWLEDGED and episode.is_worse_than_seen:
            episode.speak(now)
            yield self._tell(episode, Why.WORSENED, now)

    def _remind(self, episode: Episode, now: datetime) -> Iterator[Notice]:
        if episode.phase is Phase.ACKNOWLEDGED and not episode.is_silent(now):
            episode.speak(now)
            yield self._tell(episode, Why.SILENCE_OVER, now)
        elif episode.phase is Phase.ACTIVE and episode.speaking_since and episode.told:
            due = sum(now - episode.speaking_since >= after for after in ESCALATE_AFTER)
            if due > episode.level:
                episode.level = due
                yield self._tell(episode, Why.ESCALATED, now)
            elif not timedelta() <= now - episode.told < REPEAT_EVERY:
                yield self._tell(episode, Why.REPEATED, now)

    def _tell(self, episode: Episode, why: Why, now: datetime) -> Notice:
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
            if episode.phase is not Phase.LATCHED and self.recovery.is_well(episode.group.fields):
                self._end(episode, Phase.NORMAL if episode.acknowledged else Phase.LATCHED)

    def _end(self, episode: Episode, phase: Phase) -> None:
        """LATCHED keeps what there is to see; a new critical record begins from there."""
        kept = episode.model_dump(include={"since", "latest", "speaking_since", "records", "worst"})
        still = kept if phase is Phase.LATCHED else {}
        self.episodes[episode.group] = Episode(group=episode.group, phase=phase, **still)

    def _digest(self, group: Group, values: Measurements, measured: datetime, now: datetime) -> None:
        digest = self.digests.get(group)
        if digest is None:
            digest = self.digests[group] = Digest(since=measured, until=measured, noticed=now)
        elif measured > digest.until:
            digest.lasted_s += min(measured - digest.until, VALUE_OLD_AFTER).total_seconds()
        digest.since, digest.until = min(digest.since, measured), max(digest.until, measured)
        digest.noticed, digest.records = now, digest.records + 1
        for kind, value in _kinds(group, values):
            digest.worst[kind] = _worse(kind, digest.worst.get(kind, value), value)

    def _digests_complete(self, now: datetime) -> Iterator[Notice]:
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
                    worst={_STEPS[kind][0]: value for kind, value in digest.worst.items()},
                    records=digest.records,
                    lasted_s=digest.lasted_s,
                )


_STEPS = {
    "spo2": (SPO2.field, -1, 2.0),
    "temp": (TEMPERATURE.field, +1, 0.5),
    "hr_low": ("freq_card", -1, 15.0),
    "hr_high": ("freq_card", +1, 15.0),
}
"""Kinds of badness: which field, which direction is worse, and how much worse makes an alarm speak again."""
_ROUNDING = 1e-9


def _kinds(group: Group, values: Measurements) -> Iterator[tuple[str, float]]:
    """What is bad about a critical reading, as far as it belongs to a group."""
    for field in group.fields:
        value = values.plausible(field)
        if value is None:
            continue
        if field == SPO2.field:
            yield "spo2", value
        elif field == TEMPERATURE.field:
            yield "temp", value
        else:
            yield ("hr_low" if value < HEART_RATE_CRITICAL_BELOW else "hr_high"), value


def _worse(kind: str, one: float, other: float) -> float:
    return max(one, other) if _STEPS[kind][1] > 0 else min(one, other)


def _is_a_step_worse(kind: str, seen: float | None, value: float) -> bool:
    """A kind that nobody has seen, such as a fast heart that became a slow one, is worse."""
    _, direction, step = _STEPS[kind]
    return seen is None or direction * (value - seen) >= step - _ROUNDING
