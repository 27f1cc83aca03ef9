"""Alarm episodes: their transitions, and properties that hold for any sequence of events."""

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


class EpisodeScenario:
    """The episodes of one child, with a clock that the test advances."""

    def __init__(self) -> None:
        self.now = NIGHT
        self.episodes = Episodes(patient_id="patient-001-ss")
        self.notices: list[Notice] = []

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
        self.notices += self.episodes.observe(reading, evaluate(reading), self.now)

    def wait(self, length: timedelta) -> None:
        for _ in range(int(length / SECOND)):
            self.now += SECOND
            self.notices += self.episodes.tick(self.now)

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
    def timeline(self) -> list[tuple[int, str, str, int]]:
        return [
            (int((notice.at - NIGHT).total_seconds()), notice.group.value, notice.why.value, notice.level)
            for notice in self.notices
        ]


@pytest.fixture
def scenario() -> EpisodeScenario:
    return EpisodeScenario()


def test_first_critical_reading_is_notified_at_once_and_later_ones_are_counted(
    scenario: EpisodeScenario,
) -> None:
    scenario.measure(spo2=87.9)
    scenario.measure_for(20 * SECOND, spo2=80.0)
    assert scenario.phase() is Phase.ACTIVE
    assert scenario.timeline == [(0, "SPO2", "raised", 0)]
    episode = scenario.episodes.episodes[Group.SPO2]
    assert (episode.records, episode.worst_values) == (21, {"spo2_pct": 80.0})


def test_unanswered_alarm_is_repeated_and_escalated(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.wait(13 * MINUTE)
    assert scenario.timeline == [
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
def test_acknowledged_alarm_is_notified_again_when_its_silence_ends(
    scenario: EpisodeScenario, group: Group, values: dict[str, float], minutes: int
) -> None:
    scenario.measure(**values)  # type: ignore[arg-type]
    scenario.acknowledge()
    assert scenario.phase(group) is Phase.ACKNOWLEDGED
    scenario.measure_for(minutes * MINUTE - SECOND, **values)
    assert [why for _, _, why, _ in scenario.timeline] == ["raised"]
    scenario.wait(SECOND)
    assert scenario.timeline[1:] == [(minutes * 60, group.value, "silence_over", 0)]
    assert scenario.phase(group) is Phase.ACTIVE
    scenario.wait(2 * MINUTE)
    assert scenario.timeline[-1] == (minutes * 60 + 120, group.value, "repeated", 0)


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
def test_acknowledged_alarm_is_notified_again_when_it_worsens(
    scenario: EpisodeScenario, seen: dict[str, float], still: dict[str, float], worse: dict[str, float]
) -> None:
    scenario.measure(**seen)  # type: ignore[arg-type]
    scenario.acknowledge()
    scenario.measure(**still)  # type: ignore[arg-type]
    assert len(scenario.notices) == 1
    scenario.measure(**worse)  # type: ignore[arg-type]
    assert [notice.why for notice in scenario.notices] == [Why.RAISED, Why.WORSENED]


def test_acknowledged_alarm_becomes_active_again_with_a_new_group(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.acknowledge()
    scenario.measure(heart_rate=190.0)
    assert scenario.timeline == [(0, "SPO2", "raised", 0), (0, "HR", "raised", 0)]
    assert scenario.phase() is Phase.ACTIVE
    scenario.acknowledge()
    scenario.measure(spo2=85.0, temperature=38.0)
    assert [group for _, group, _, _ in scenario.timeline[2:]] == ["TEMP", "COMBO"]
    assert {scenario.phase(group) for group in Group} == {Phase.ACTIVE}


def test_silence_can_be_shortened_but_not_extended(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.acknowledge(silence=2 * MINUTE)
    scenario.wait(3 * MINUTE)
    assert scenario.timeline[-1] == (120, "SPO2", "silence_over", 0)
    scenario.acknowledge(silence=timedelta(days=1))
    silence = scenario.episodes.episodes[Group.SPO2].silence
    assert silence is not None
    assert (silence.by, silence.until - scenario.now) == ("Awa", 10 * MINUTE)


def test_unacknowledged_alarm_is_latched_after_a_minute_at_90(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.measure_for(60 * SECOND, spo2=90.0)
    assert scenario.phase() is Phase.ACTIVE, "59 s between the first and the last"
    scenario.measure_for(SECOND, spo2=90.0)
    assert scenario.phase() is Phase.LATCHED
    scenario.wait(20 * MINUTE)
    assert len(scenario.notices) == 1
    scenario.acknowledge()
    assert scenario.phase() is Phase.NORMAL


def test_acknowledged_alarm_clears_to_normal(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.acknowledge()
    scenario.measure_for(61 * SECOND, spo2=95.0)
    assert scenario.phase() is Phase.NORMAL
    scenario.wait(20 * MINUTE)
    assert len(scenario.notices) == 1


def test_latched_alarm_is_raised_again_by_the_next_critical_reading(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.measure_for(61 * SECOND, spo2=95.0)
    scenario.measure(spo2=87.0)
    assert scenario.phase() is Phase.ACTIVE
    assert [notice.why for notice in scenario.notices] == [Why.RAISED, Why.RAISED]
    assert scenario.notices[1].worst == {"spo2_pct": 85.0}


@pytest.mark.parametrize(
    ("group", "critical", "not_clear", "clear", "hold"),
    [
        (Group.SPO2, {"spo2": 80.0}, {"spo2": 89.9}, {"spo2": 90.0}, MINUTE),
        (Group.HR, {"heart_rate": 30.0}, {"heart_rate": 44.9}, {"heart_rate": 45.0}, MINUTE),
        (Group.HR, {"heart_rate": 190.0}, {"heart_rate": 170.1}, {"heart_rate": 170.0}, MINUTE),
        (Group.TEMP, {"temperature": 38.0}, {"temperature": 37.8}, {"temperature": 37.7}, 10 * MINUTE),
    ],
)
def test_each_group_clears_at_its_own_limit(
    scenario: EpisodeScenario,
    group: Group,
    critical: dict[str, float],
    not_clear: dict[str, float],
    clear: dict[str, float],
    hold: timedelta,
) -> None:
    scenario.measure(**critical)  # type: ignore[arg-type]
    scenario.measure_for(20 * MINUTE, **not_clear)
    assert scenario.phase(group) is Phase.ACTIVE
    scenario.measure_for(hold + SECOND, **clear)
    assert scenario.phase(group) is Phase.LATCHED


def test_combined_alarm_clears_when_both_vitals_do(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=91.0, temperature=38.5)
    assert [notice.group for notice in scenario.notices] == [Group.TEMP, Group.COMBO]
    scenario.measure_for(2 * MINUTE, spo2=97.0, temperature=38.0)
    assert scenario.phase(Group.COMBO) is Phase.ACTIVE
    scenario.measure_for(10 * MINUTE + SECOND, spo2=97.0, temperature=37.0)
    assert scenario.phase(Group.COMBO) is Phase.LATCHED


def test_two_distant_or_doubtful_values_do_not_clear_an_alarm(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.wait(10 * SECOND)
    scenario.measure(spo2=97.0)
    scenario.wait(4 * MINUTE)
    scenario.measure(spo2=97.0)
    assert scenario.phase() is Phase.ACTIVE
    for doubt in (Signal(motion=True), Signal(low_perfusion=True), Signal(contact=False)):
        for _ in range(100):
            scenario.wait(SECOND)
            scenario.measure(spo2=97.0, signal=doubt)
    assert scenario.phase() is Phase.ACTIVE
    scenario.measure(spo2=97.0)
    assert scenario.phase() is Phase.LATCHED, "the third good value, a minute and more after the first"


def test_invalid_values_do_not_clear_an_alarm(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0)
    scenario.measure_for(5 * MINUTE, spo2=0.0)
    assert scenario.phase() is Phase.ACTIVE


def test_backlog_under_15_minutes_is_notified_and_an_older_one_goes_into_the_digest(
    scenario: EpisodeScenario,
) -> None:
    scenario.measure(spo2=85.0, age=15 * MINUTE - SECOND)
    assert scenario.timeline == [(0, "SPO2", "raised", 0)]
    other = EpisodeScenario()
    for second in range(360):
        other.measure(spo2=86.0 if second else 81.0, age=2 * timedelta(hours=1) - second * SECOND)
    assert other.notices == []
    assert other.phase() is Phase.NORMAL
    other.wait(61 * SECOND)
    (digest,) = other.notices
    assert (digest.why, digest.records, digest.lasted_s, digest.urgent) == (Why.DIGEST, 360, 359.0, False)
    assert digest.text("en") == "While offline: Low oxygen, for 6 min in all, worst SpO2 81 %"
    assert (
        digest.text("fr") == "Pendant la coupure\u00a0: Manque d'oxygène, 6 min au total, au pire SpO2 81 %"
    )
    other.wait(10 * MINUTE)
    assert len(other.notices) == 1


def test_late_critical_value_between_good_ones_is_notified_once_and_latched(
    scenario: EpisodeScenario,
) -> None:
    scenario.measure_for(5 * MINUTE, spo2=97.0)
    scenario.measure(spo2=85.0, age=6 * MINUTE)
    assert [notice.why for notice in scenario.notices] == [Why.RAISED]
    assert scenario.phase() is Phase.LATCHED


def test_state_survives_a_restart(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.0, temperature=38.5)
    scenario.acknowledge()
    scenario.measure_for(30 * SECOND, spo2=95.0)
    scenario.episodes = Episodes.model_validate_json(scenario.episodes.model_dump_json())
    assert scenario.phase() is Phase.ACKNOWLEDGED
    scenario.measure_for(31 * SECOND, spo2=95.0)
    assert scenario.phase() is Phase.NORMAL
    scenario.wait(30 * MINUTE)
    assert [(notice.group, notice.why) for notice in scenario.notices[3:5]] == [
        (Group.COMBO, Why.SILENCE_OVER),
        (Group.COMBO, Why.REPEATED),
    ]


def test_state_from_before_a_group_existed_takes_its_first_alarm(scenario: EpisodeScenario) -> None:
    scenario.episodes = Episodes.model_validate({"patient_id": "patient-001-ss", "episodes": {}})
    scenario.measure(spo2=85.0)
    assert scenario.timeline == [(0, "SPO2", "raised", 0)]


def test_clock_that_jumps_back_neither_stops_repetition_nor_extends_a_silence(
    scenario: EpisodeScenario,
) -> None:
    scenario.measure(spo2=85.0)
    scenario.acknowledge()
    scenario.now -= timedelta(days=365)
    scenario.wait(SECOND)
    scenario.now -= timedelta(days=1)
    scenario.wait(SECOND)
    assert [notice.why for notice in scenario.notices[1:]] == [Why.SILENCE_OVER, Why.REPEATED]


def test_text_states_the_worst_values_and_the_duration(scenario: EpisodeScenario) -> None:
    scenario.measure(spo2=85.5, temperature=38.2)
    scenario.wait(2 * MINUTE)
    texts = {(notice.group.value, notice.why.value): notice.text("en") for notice in scenario.notices}
    assert texts[("SPO2", "raised")] == "Low oxygen: worst SpO2 85.5 %, for less than a minute"
    assert texts[("COMBO", "repeated")] == (
        "Fever with low oxygen: worst SpO2 85.5 %, temperature 38.2 °C, for 2 min (nobody has answered)"
    )
    assert (
        scenario.notices[0].text("fr")
        == "Manque d'oxygène\u00a0: au pire SpO2 85,5 %, depuis moins d'une minute"
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


def _apply(scenario: EpisodeScenario, step: str, argument: float) -> None:
    match step:
        case "wait":
            scenario.wait(argument * SECOND)
        case "missing":
            for _ in range(int(argument)):
                scenario.wait(SECOND)
                scenario.measure(temperature=36.8)
        case "spo2":
            scenario.wait(SECOND)
            scenario.measure(spo2=argument)
        case "late":
            scenario.measure(spo2=60.0, age=argument * SECOND)
        case _:
            scenario.acknowledge(silence=argument * SECOND)


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_missing_data_never_clears(steps: list[tuple[str, float]]) -> None:
    scenario = EpisodeScenario()
    for step, argument in steps:
        before = scenario.phase()
        _apply(scenario, step, argument)
        if step in ("wait", "missing", "late") and before in (Phase.ACTIVE, Phase.ACKNOWLEDGED):
            assert scenario.phase() in (Phase.ACTIVE, Phase.ACKNOWLEDGED)


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_silence_always_ends_and_an_active_alarm_is_repeated(
    steps: list[tuple[str, float]],
) -> None:
    scenario = EpisodeScenario()
    scenario.measure(spo2=85.0)
    for step, argument in steps:
        _apply(scenario, step, argument)
    if scenario.phase() is Phase.ACKNOWLEDGED:
        before = len(scenario.notices)
        scenario.wait(10 * MINUTE)
        assert Why.SILENCE_OVER in [notice.why for notice in scenario.notices[before:]]
    if scenario.phase() is Phase.ACTIVE:
        before = len(scenario.notices)
        scenario.wait(2 * MINUTE)
        assert len(scenario.notices) > before


@settings(max_examples=60, deadline=None)
@given(_STEPS)
def test_worsening_is_never_silenced(steps: list[tuple[str, float]]) -> None:
    scenario = EpisodeScenario()
    for step, argument in steps:
        _apply(scenario, step, argument)
    scenario.measure(spo2=70.0)
    scenario.acknowledge()
    scenario.measure(spo2=68.0)
    assert scenario.notices[-1].why is Why.WORSENED
    assert scenario.phase() is Phase.ACTIVE


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(st.floats(20, 87), st.integers(900, 300_000)), max_size=50))
def test_old_backlog_raises_no_alarm_and_is_reported_completely(late: list[tuple[float, int]]) -> None:
    scenario = EpisodeScenario()
    for spo2, age in late:
        scenario.measure(spo2=spo2, age=age * SECOND)
    scenario.wait(2 * MINUTE)
    assert scenario.phase() is Phase.NORMAL
    assert [notice.why for notice in scenario.notices] == [Why.DIGEST] * bool(late)
    assert sum(notice.records for notice in scenario.notices) == len(late)
