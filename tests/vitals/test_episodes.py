"""Alarm episodes by the table they must follow, and what must hold whatever happens."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vitals.episodes import Episodes, Phase
from vitals.notices import Group, Notice, Why
from vitals.reading import Measurements, Reading, Signal
from vitals.rules import evaluate

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)


class Child:
    """A child, and time that goes on."""

    def __init__(self) -> None:
        self.now = NIGHT
        self.episodes = Episodes(patient_id="patient-001-ss")
        self.told: list[Notice] = []

    def measure(
        self,
        spo2: float | None = None,
        temperature: float | None = None,
        heart_rate: float | None = None,
        *,
        age: timedelta = timedelta(),
        signal: Signal | None = None,
    ) -> None:
        reading = Reading(
            patient_id="patient-001-ss",
            device_id="bracelet-001",
            timestamp=self.now - age,
            measurements=Measurements(spo2_pct=spo2, temp_corp=temperature, freq_card=heart_rate),
            message_id=uuid4(),
            signal=signal,
        )
        self.told += self.episodes.observe(reading, evaluate(reading), self.now)

    def wait(self, length: timedelta) -> None:
        for _ in range(int(length / SECOND)):
            self.now += SECOND
            self.told += self.episodes.tick(self.now)

    def measure_for(
        self,
        length: timedelta,
        spo2: float | None = None,
        temperature: float | None = None,
        heart_rate: float | None = None,
    ) -> None:
        for _ in range(int(length / SECOND)):
            self.wait(SECOND)
            self.measure(spo2, temperature, heart_rate)

    def acknowledge(self, silence: timedelta | None = None) -> None:
        self.episodes.acknowledge("Awa", self.now, silence=silence)

    def phase(self, group: Group = Group.SPO2) -> Phase:
        return self.episodes.episodes[group].phase

    @property
    def story(self) -> list[tuple[int, str, str, int]]:
        return [
            (int((each.at - NIGHT).total_seconds()), each.group.value, each.why.value, each.level)
            for each in self.told
        ]


@pytest.fixture
def child() -> Child:
    return Child()


def test_first_critical_record_is_told_at_once_and_the_next_ones_are_counted(child: Child) -> None:
    child.measure(spo2=87.9)
    child.measure_for(20 * SECOND, spo2=80.0)
    assert child.phase() is Phase.ACTIVE
    assert child.story == [(0, "SPO2", "raised", 0)]
    episode = child.episodes.episodes[Group.SPO2]
    assert (episode.records, episode.worst_values) == (21, {"spo2_pct": 80.0})


def test_nobody_answers_it_is_repeated_and_more_people_are_told(child: Child) -> None:
    child.measure(spo2=85.0)
    child.wait(13 * MINUTE)
    assert child.story == [
        (0, "SPO2", "raised", 0),
        (120, "SPO2", "repeated", 0),
        (240, "SPO2", "repeated", 0),
        (300, "SPO2", "escalated", 1),
        (420, "SPO2", "repeated", 1),
        (540, "SPO2", "repeated", 1),
        (600, "SPO2", "escalated", 2),
        (720, "SPO2", "repeated", 2),
    ]


@pytest.mark.parametrize(
    ("group", "values", "minutes"),
    [
        (Group.SPO2, {"spo2": 85.0}, 10),
        (Group.HR, {"heart_rate": 190.0}, 10),
        (Group.TEMP, {"temperature": 38.6}, 30),
    ],
)
def test_acknowledged_it_is_silent_for_its_time_and_speaks_again(
    child: Child, group: Group, values: dict[str, float], minutes: int
) -> None:
    child.measure(**values)  # type: ignore[arg-type]
    child.acknowledge()
    assert child.phase(group) is Phase.ACKNOWLEDGED
    child.measure_for(minutes * MINUTE - SECOND, **values)
    assert [why for _, _, why, _ in child.story] == ["raised"]
    child.wait(SECOND)
    assert child.story[1:] == [(minutes * 60, group.value, "silence_over", 0)]
    assert child.phase(group) is Phase.ACTIVE
    child.wait(2 * MINUTE)
    assert child.story[-1] == (minutes * 60 + 120, group.value, "repeated", 0)


@pytest.mark.parametrize(
    ("seen", "still", "worse"),
    [
        ({"spo2": 85.0}, {"spo2": 83.1}, {"spo2": 83.0}),
        ({"temperature": 38.2}, {"temperature": 38.6}, {"temperature": 38.7}),
        ({"heart_rate": 190.0}, {"heart_rate": 204.0}, {"heart_rate": 205.0}),
        ({"heart_rate": 38.0}, {"heart_rate": 24.0}, {"heart_rate": 23.0}),
        ({"heart_rate": 190.0}, {"heart_rate": 181.0}, {"heart_rate": 39.0}),
    ],
)
def test_acknowledged_it_speaks_again_when_it_worsens(
    child: Child, seen: dict[str, float], still: dict[str, float], worse: dict[str, float]
) -> None:
    child.measure(**seen)  # type: ignore[arg-type]
    child.acknowledge()
    child.measure(**still)  # type: ignore[arg-type]
    assert len(child.told) == 1
    child.measure(**worse)  # type: ignore[arg-type]
    assert [each.why for each in child.told] == [Why.RAISED, Why.WORSENED]


def test_acknowledged_it_speaks_again_with_a_new_group_and_with_combo(child: Child) -> None:
    child.measure(spo2=85.0)
    child.acknowledge()
    child.measure(heart_rate=190.0)
    assert child.story == [(0, "SPO2", "raised", 0), (0, "HR", "raised", 0)]
    assert child.phase() is Phase.ACTIVE
    child.acknowledge()
    child.measure(spo2=85.0, temperature=38.0)
    assert [group for _, group, _, _ in child.story[2:]] == ["TEMP", "COMBO"]
    assert {child.phase(group) for group in Group} == {Phase.ACTIVE}


def test_silence_may_be_shorter_and_never_longer(child: Child) -> None:
    child.measure(spo2=85.0)
    child.acknowledge(silence=2 * MINUTE)
    child.wait(3 * MINUTE)
    assert child.story[-1] == (120, "SPO2", "silence_over", 0)
    child.acknowledge(silence=timedelta(days=1))
    silence = child.episodes.episodes[Group.SPO2].silence
    assert silence is not None
    assert (silence.by, silence.until - child.now) == ("Awa", 10 * MINUTE)


def test_clears_after_a_minute_at_90_latched_as_nobody_has_seen_it(child: Child) -> None:
    child.measure(spo2=85.0)
    child.measure_for(60 * SECOND, spo2=90.0)
    assert child.phase() is Phase.ACTIVE, "59 s between the first and the last"
    child.measure_for(SECOND, spo2=90.0)
    assert child.phase() is Phase.LATCHED
    child.wait(20 * MINUTE)
    assert len(child.told) == 1
    child.acknowledge()
    assert child.phase() is Phase.NORMAL


def test_acknowledged_it_clears_into_normal(child: Child) -> None:
    child.measure(spo2=85.0)
    child.acknowledge()
    child.measure_for(61 * SECOND, spo2=95.0)
    assert child.phase() is Phase.NORMAL
    child.wait(20 * MINUTE)
    assert len(child.told) == 1


def test_latched_speaks_with_the_next_critical_record(child: Child) -> None:
    child.measure(spo2=85.0)
    child.measure_for(61 * SECOND, spo2=95.0)
    child.measure(spo2=87.0)
    assert child.phase() is Phase.ACTIVE
    assert [each.why for each in child.told] == [Why.RAISED, Why.RAISED]
    assert child.told[1].worst == {"spo2_pct": 85.0}


@pytest.mark.parametrize(
    ("group", "critical", "not_clear", "clear", "hold"),
    [
        (Group.SPO2, {"spo2": 80.0}, {"spo2": 89.9}, {"spo2": 90.0}, MINUTE),
        (Group.HR, {"heart_rate": 30.0}, {"heart_rate": 44.9}, {"heart_rate": 45.0}, MINUTE),
        (Group.HR, {"heart_rate": 190.0}, {"heart_rate": 170.1}, {"heart_rate": 170.0}, MINUTE),
        (Group.TEMP, {"temperature": 38.0}, {"temperature": 37.8}, {"temperature": 37.7}, 10 * MINUTE),
    ],
)
def test_each_group_clears_by_its_own_boundary(
    child: Child,
    group: Group,
    critical: dict[str, float],
    not_clear: dict[str, float],
    clear: dict[str, float],
    hold: timedelta,
) -> None:
    child.measure(**critical)  # type: ignore[arg-type]
    child.measure_for(20 * MINUTE, **not_clear)
    assert child.phase(group) is Phase.ACTIVE
    child.measure_for(hold + SECOND, **clear)
    assert child.phase(group) is Phase.LATCHED


def test_combo_clears_when_both_parts_do(child: Child) -> None:
    child.measure(spo2=91.0, temperature=38.5)
    assert [each.group for each in child.told] == [Group.TEMP, Group.COMBO]
    child.measure_for(2 * MINUTE, spo2=97.0, temperature=38.0)
    assert child.phase(Group.COMBO) is Phase.ACTIVE
    child.measure_for(10 * MINUTE + SECOND, spo2=97.0, temperature=37.0)
    assert child.phase(Group.COMBO) is Phase.LATCHED


def test_two_values_far_apart_or_in_doubt_clear_nothing(child: Child) -> None:
    child.measure(spo2=85.0)
    child.wait(10 * SECOND)
    child.measure(spo2=97.0)
    child.wait(4 * MINUTE)
    child.measure(spo2=97.0)
    assert child.phase() is Phase.ACTIVE
    for doubt in (Signal(motion=True), Signal(low_perfusion=True), Signal(contact=False)):
        for _ in range(100):
            child.wait(SECOND)
            child.measure(spo2=97.0, signal=doubt)
    assert child.phase() is Phase.ACTIVE
    child.measure(spo2=97.0)
    assert child.phase() is Phase.LATCHED, "the third good value, a minute and more after the first"


def test_invalid_value_clears_nothing(child: Child) -> None:
    child.measure(spo2=85.0)
    child.measure_for(5 * MINUTE, spo2=0.0)
    assert child.phase() is Phase.ACTIVE


def test_backlog_under_15_minutes_is_told_and_an_older_one_goes_into_the_digest(child: Child) -> None:
    child.measure(spo2=85.0, age=15 * MINUTE - SECOND)
    assert child.story == [(0, "SPO2", "raised", 0)]
    other = Child()
    for second in range(360):
        other.measure(spo2=86.0 if second else 81.0, age=2 * timedelta(hours=1) - second * SECOND)
    assert other.told == []
    assert other.phase() is Phase.NORMAL
    other.wait(61 * SECOND)
    (digest,) = other.told
    assert (digest.why, digest.records, digest.lasted_s, digest.urgent) == (Why.DIGEST, 360, 359.0, False)
    assert digest.text("en") == "While offline: Low oxygen, for 6 min in all, worst SpO2 81 %"
    assert (
        digest.text("fr") == "Pendant la coupure\u00a0: Manque d'oxygène, 6 min au total, au pire SpO2 81 %"
    )
    other.wait(10 * MINUTE)
    assert len(other.told) == 1


def test_critical_value_that_comes_late_between_good_ones_is_told_and_does_not_go_on(child: Child) -> None:
    child.measure_for(5 * MINUTE, spo2=97.0)
    child.measure(spo2=85.0, age=6 * MINUTE)
    assert [each.why for each in child.told] == [Why.RAISED]
    assert child.phase() is Phase.LATCHED


def test_state_survives_a_restart(child: Child) -> None:
    child.measure(spo2=85.0, temperature=38.5)
    child.acknowledge()
    child.measure_for(30 * SECOND, spo2=95.0)
    child.episodes = Episodes.model_validate_json(child.episodes.model_dump_json())
    assert child.phase() is Phase.ACKNOWLEDGED
    child.measure_for(31 * SECOND, spo2=95.0)
    assert child.phase() is Phase.NORMAL
    child.wait(30 * MINUTE)
    assert [(each.group, each.why) for each in child.told[3:5]] == [
        (Group.COMBO, Why.SILENCE_OVER),
        (Group.COMBO, Why.REPEATED),
    ]


def test_clock_that_jumps_back_neither_stops_repetition_nor_makes_a_silence_longer(child: Child) -> None:
    child.measure(spo2=85.0)
    child.acknowledge()
    child.now -= timedelta(days=365)
    child.wait(SECOND)
    child.now -= timedelta(days=1)
    child.wait(SECOND)
    assert [each.why for each in child.told[1:]] == [Why.SILENCE_OVER, Why.REPEATED]


def test_words_say_what_and_for_how_long(child: Child) -> None:
    child.measure(spo2=85.5, temperature=38.2)
    child.wait(2 * MINUTE)
    said = {(each.group.value, each.why.value): each.text("en") for each in child.told}
    assert said[("SPO2", "raised")] == "Low oxygen: worst SpO2 85.5 %, for less than a minute"
    assert said[("COMBO", "repeated")] == (
        "Fever with low oxygen: worst SpO2 85.5 %, temperature 38.2 °C, for 2 min (nobody has answered)"
    )
    assert (
        child.told[0].text("fr") == "Manque d'oxygène\u00a0: au pire SpO2 85,5 %, depuis moins d'une minute"
    )


_STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("wait"), st.integers(1, 400)),
        st.tuples(st.just("missing"), st.integers(1, 400)),
        st.tuples(st.just("spo2"), st.sampled_from([70.0, 85.0, 87.9, 88.0, 89.0, 90.0, 97.0])),
        st.tuples(st.just("late"), st.integers(900, 90_000)),
        st.tuples(st.just("acknowledge"), st.integers(0, 2000)),
    ),
    max_size=30,
)


def _take(child: Child, step: str, argument: float) -> None:
    match step:
        case "wait":
            child.wait(argument * SECOND)
        case "missing":
            for _ in range(int(argument)):
                child.wait(SECOND)
                child.measure(temperature=36.8)
        case "spo2":
            child.wait(SECOND)
            child.measure(spo2=argument)
        case "late":
            child.measure(spo2=60.0, age=argument * SECOND)
        case _:
            child.acknowledge(silence=argument * SECOND)


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_missing_data_never_clears(steps: list[tuple[str, float]]) -> None:
    child = Child()
    for step, argument in steps:
        before = child.phase()
        _take(child, step, argument)
        if step in ("wait", "missing", "late") and before in (Phase.ACTIVE, Phase.ACKNOWLEDGED):
            assert child.phase() in (Phase.ACTIVE, Phase.ACKNOWLEDGED)


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_silence_always_ends_and_an_open_alarm_is_never_quiet_for_longer(
    steps: list[tuple[str, float]],
) -> None:
    child = Child()
    child.measure(spo2=85.0)
    for step, argument in steps:
        _take(child, step, argument)
    if child.phase() is Phase.ACKNOWLEDGED:
        told = len(child.told)
        child.wait(10 * MINUTE)
        assert Why.SILENCE_OVER in [each.why for each in child.told[told:]]
    if child.phase() is Phase.ACTIVE:
        told = len(child.told)
        child.wait(2 * MINUTE)
        assert len(child.told) > told


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_worsening_is_never_silenced(steps: list[tuple[str, float]]) -> None:
    child = Child()
    for step, argument in steps:
        _take(child, step, argument)
    child.measure(spo2=70.0)
    child.acknowledge()
    child.measure(spo2=68.0)
    assert child.told[-1].why is Why.WORSENED
    assert child.phase() is Phase.ACTIVE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(20, 87), st.integers(900, 300_000)), max_size=50))
def test_backlog_never_raises_a_live_alarm_and_is_told_in_full(late: list[tuple[float, int]]) -> None:
    child = Child()
    for spo2, age in late:
        child.measure(spo2=spo2, age=age * SECOND)
    child.wait(2 * MINUTE)
    assert child.phase() is Phase.NORMAL
    assert [each.why for each in child.told] == [Why.DIGEST] * bool(late)
    assert sum(each.records for each in child.told) == len(late)
