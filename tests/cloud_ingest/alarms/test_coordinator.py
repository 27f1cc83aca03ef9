"""What the cloud says and what it leaves to gateways, on made-up nights."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from cloud_ingest.alarms import coordinator
from cloud_ingest.alarms.acknowledgement import Acknowledgement
from cloud_ingest.alarms.coordinator import CHILD, GATEWAY, SERVICE_KEY, Ward
from cloud_ingest.alarms.process import of_service
from cloud_ingest.privacy.identities import Identities
from vitals.conditions import Condition, Priority
from vitals.episodes import Phase
from vitals.heartbeat import Heartbeat, OpenEpisode
from vitals.notices import Group
from vitals.reading import Measurements, Reading
from vitals.rules import evaluate

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
AWA = "p1_0123456789abcdef0123456789abcdef"


class Night:
    """A ward and its clock; gateway gw-1 sends heartbeats while it is told to."""

    def __init__(self, started: datetime = NIGHT - timedelta(hours=1)) -> None:
        self.now = NIGHT
        self.ward = Ward(started)
        for moment in (started, self.now):
            self.ward.gateways.hearing.note(True, moment)
        self.kafka = True

    def beat(self, reachable: bool = True, *episodes: OpenEpisode, status_id: UUID | None = None) -> None:
        heartbeat = Heartbeat(
            status_id=status_id or uuid4(),
            gateway_id="gw-1",
            timestamp=self.now,
            contacts_reachable=reachable,
            watches=(AWA,),
            episodes=episodes,
        )
        self.ward.hear(heartbeat, self.now, self.now)

    def measure(self, spo2: float, ago: timedelta = timedelta()) -> None:
        reading = Reading(
            patient_id=AWA,
            device_id="bracelet-1",
            timestamp=self.now - ago,
            measurements=Measurements(spo2_pct=spo2),
        )
        self.ward.observe(reading, evaluate(reading), self.now)

    def tick(self, *conditions: Condition) -> None:
        hearing = self.ward.gateways.hearing
        hearing.note(self.kafka, self.now)
        self.ward.tick(self.now, [*of_service(hearing.deaf_since, None, (), self.now), *conditions])

    def restart(self) -> None:
        """Begin anew with what was kept."""
        gateways = [(GATEWAY, gateway_id) for gateway_id in self.ward.gateways.known]
        kept = self.ward.states([(CHILD, AWA), SERVICE_KEY, *gateways])
        self.ward = Ward(self.now)
        self.ward.recall(kept)

    def wait(self, length: timedelta, spo2: float | None = None, beats: bool | None = None) -> None:
        """Let time pass, with a reading every 20 s and a heartbeat every 30 s where wanted."""
        for second in range(int(length / SECOND)):
            self.now += SECOND
            if second % 30 == 0 and beats is not None:
                self.beat(beats)
            if second % 20 == 0 and spo2 is not None:
                self.measure(spo2)
            self.tick()

    def said(self) -> list[tuple[str, str, int]]:
        """What was said since this was last asked."""
        said = [(each.kind, each.why, each.level) for each in self.ward.said]
        self.ward.said.clear()
        return said

    def phase(self) -> Phase:
        return self.ward.children[AWA].episodes.episodes[Group.SPO2].phase


def test_child_without_gateway_is_spoken_of_like_at_a_gateway() -> None:
    night = Night()
    night.measure(85.0)
    night.wait(10 * MINUTE + SECOND, 85.0)
    assert [(why, level) for _, why, level in night.said()] == [
        ("raised", 0),
        ("repeated", 0),
        ("repeated", 0),
        ("escalated", 1),
        ("repeated", 1),
        ("repeated", 1),
        ("escalated", 2),
    ]


def test_covered_child_stays_silent_and_its_episode_is_kept() -> None:
    night = Night()
    night.beat()
    night.measure(85.0)
    night.wait(14 * MINUTE, 85.0, beats=True)
    assert night.said() == []
    assert night.phase() is Phase.ACTIVE


def test_gateway_that_reaches_nobody_covers_nobody() -> None:
    night = Night()
    night.beat(reachable=False)
    night.measure(85.0)
    assert night.said() == [("SPO2", "raised", 0)]


def test_cover_that_is_lost_speaks_at_once_for_what_nobody_acknowledged() -> None:
    night = Night()
    night.beat()
    night.measure(85.0)
    night.wait(6 * MINUTE, 85.0, beats=True)
    night.beat(reachable=False)
    night.wait(SECOND)
    assert night.said() == [("SPO2", "uncovered", 1)]


def test_gateway_that_falls_silent_uncovers_its_children_after_two_minutes() -> None:
    night = Night()
    night.beat()
    night.measure(85.0)
    night.wait(2 * MINUTE, 85.0)
    assert night.said() == [("GATEWAY_SILENT", "condition", 2)]  # high, because an alarm is open
    night.wait(SECOND)
    assert night.said() == [("SPO2", "uncovered", 0)]


def test_covered_alarm_nobody_answers_for_15_minutes_is_the_clouds_again() -> None:
    night = Night()
    night.beat()
    night.measure(85.0)
    night.wait(15 * MINUTE - SECOND, 85.0, beats=True)
    assert night.said() == []
    night.wait(SECOND)
    assert night.said() == [("SPO2", "last_resort", 2)]
    night.wait(2 * MINUTE, 85.0, beats=True)
    assert night.said() == [("SPO2", "repeated", 2)]


def test_acknowledgement_at_the_gateway_counts_when_cover_is_lost() -> None:
    night = Night()
    night.beat()
    night.measure(85.0)
    night.wait(MINUTE, 85.0, beats=True)
    until = night.now + 9 * MINUTE
    seen = OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACKNOWLEDGED, by="Fatou", until=until)
    night.beat(True, seen)
    assert night.phase() is Phase.ACKNOWLEDGED
    night.wait(8 * MINUTE, 85.0, beats=False)
    assert night.said() == []
    night.wait(MINUTE, 85.0, beats=False)
    assert night.said() == [("SPO2", "silence_over", 0)]


def test_acknowledgement_older_than_the_alarm_is_not_adopted() -> None:
    night = Night()
    seen = OpenEpisode(
        patient_id=AWA, group=Group.SPO2, phase=Phase.ACKNOWLEDGED, by="F", until=NIGHT + 9 * MINUTE
    )
    night.measure(85.0)
    night.now += SECOND
    night.beat(True, seen)
    assert night.phase() is Phase.ACTIVE


def test_acknowledgement_in_the_cloud_is_bounded_and_attributed() -> None:
    night = Night()
    night.measure(85.0)
    made = Acknowledgement(
        acknowledgement_id=uuid4(), patient_id=AWA, by="Fatou", at=night.now, silence_s=3600
    )
    assert night.ward.acknowledge(made, night.now) == ["SPO2"]
    silence = night.ward.children[AWA].episodes.episodes[Group.SPO2].silence
    assert silence is not None
    assert (silence.by, silence.until) == ("Fatou", NIGHT + 10 * MINUTE)
    stranger = made.model_copy(update={"patient_id": "p1_unknown"})
    assert night.ward.acknowledge(stranger, night.now) == []


def acknowledgement(made: datetime, **changes: Any) -> Acknowledgement:
    return Acknowledgement(acknowledgement_id=uuid4(), by="Fatou", at=made, **{"patient_id": AWA} | changes)


def test_acknowledgement_means_no_alarm_that_was_raised_after_it() -> None:
    night = Night()
    late = acknowledgement(night.now)
    night.now += SECOND
    night.measure(85.0)
    assert night.ward.acknowledge(late, night.now) == []
    assert night.phase() is Phase.ACTIVE
    night.wait(61 * SECOND, 97.0)
    night.wait(20 * SECOND, 97.0)
    assert night.phase() is Phase.LATCHED
    assert night.ward.acknowledge(late, night.now) == []
    assert night.phase() is Phase.LATCHED, "it ended before anybody has seen it"


def test_silence_of_an_acknowledgement_counts_from_when_it_was_made() -> None:
    night = Night()
    night.measure(85.0)
    night.wait(10 * SECOND)
    at_once, of_a_minute = acknowledgement(night.now), acknowledgement(night.now, silence_s=60)
    night.wait(MINUTE)
    assert night.ward.acknowledge(of_a_minute, night.now) == []
    assert night.phase() is Phase.ACTIVE
    assert night.ward.acknowledge(at_once, night.now) == ["SPO2"]
    silence = night.ward.children[AWA].episodes.episodes[Group.SPO2].silence
    assert silence is not None
    assert (silence.since, silence.until) == (at_once.at, at_once.at + 10 * MINUTE)


def test_acknowledgement_of_a_condition_means_nothing_that_was_told_after_it() -> None:
    night = Night()
    night.beat()
    night.wait(3 * MINUTE)
    key = "GATEWAY_SILENT:gw-1"
    soon, late = (acknowledgement(night.now, patient_id=None, condition=key) for _ in range(2))
    night.wait(MINUTE)
    assert night.ward.acknowledge(soon, night.now) == [key]
    assert night.ward.conditions.standing[key].silent_until == soon.at + timedelta(minutes=30)
    night.wait(6 * MINUTE)  # more urgent by now
    assert night.ward.acknowledge(late, night.now) == []
    assert night.ward.conditions.standing[key].silent_until is None


def test_gateway_that_was_heard_since_it_was_called_out_of_service_stays_in_service() -> None:
    night = Night()
    night.beat()
    night.wait(3 * MINUTE)
    made = acknowledgement(night.now, patient_id=None, condition="GATEWAY_SILENT:gw-1", retires=True)
    night.wait(SECOND)
    night.beat()
    night.ward.acknowledge(made, night.now)
    night.said()
    night.wait(2 * MINUTE)
    assert night.said() == [("GATEWAY_SILENT", "condition", 0)]


def test_silent_gateway_climbs_the_ladder_and_clears_when_it_is_heard() -> None:
    night = Night()
    night.beat()
    night.wait(119 * SECOND)
    assert night.said() == []
    night.wait(31 * MINUTE)
    assert night.said() == [
        ("GATEWAY_SILENT", "condition", 0),
        ("GATEWAY_SILENT", "condition", 2),
        *[("GATEWAY_SILENT", "condition", 2)] * 4,
    ]
    night.beat()
    night.tick()
    assert night.ward.conditions.standing == {}


def test_gateway_that_is_retired_is_not_missed_until_it_is_heard_again() -> None:
    night = Night()
    night.beat()
    night.wait(3 * MINUTE)
    key = "GATEWAY_SILENT:gw-1"
    made = Acknowledgement(acknowledgement_id=uuid4(), condition=key, by="F", at=night.now, retires=True)
    assert night.ward.acknowledge(made, night.now) == [key]
    night.said()
    night.wait(2 * timedelta(hours=1))
    assert night.said() == []
    night.beat()
    night.wait(2 * MINUTE)
    assert night.said() == [("GATEWAY_SILENT", "condition", 0)]


def test_silence_goes_on_record_once_for_each_child_under_the_same_id() -> None:
    status_id = UUID(int=7)
    nights = [Night(), Night()]
    for night in nights:
        night.beat(status_id=status_id)
        night.wait(3 * MINUTE)
    first, again = (night.ward.silences(night.now)["gw-1"] for night in nights)
    assert first == again
    (alert,) = first
    assert (alert.type.value, alert.severity.value) == ("GATEWAY_SILENT", "TECHNICAL")
    assert (alert.patient_id, alert.device_id) == (AWA, "gw-1")
    assert alert.timestamp == NIGHT + 2 * MINUTE
    nights[0].ward.announced("gw-1", status_id)
    assert nights[0].ward.silences(nights[0].now) == {}


def test_restart_goes_on_with_alarms_gateways_and_silences() -> None:
    night = Night()
    night.beat()
    night.measure(85.0)
    night.wait(3 * MINUTE)
    night.said()
    kept = night.ward.states(night.ward.changed | {SERVICE_KEY})
    again = Night(started=night.now)
    again.now = night.now
    again.ward.recall(kept)
    again.wait(MINUTE)
    assert again.said() == []
    assert again.phase() is Phase.ACTIVE
    again.wait(MINUTE)
    assert again.said() == [("SPO2", "repeated", 0), ("SPO2", "escalated", 1)]


def test_gateway_heard_once_that_never_came_back_after_a_restart_is_silent() -> None:
    night = Night()
    night.beat()
    kept = night.ward.states(night.ward.changed)
    again = Night(started=NIGHT + timedelta(hours=3))
    again.now = NIGHT + timedelta(hours=3)
    again.ward.recall(kept)
    again.wait(14 * SECOND)
    assert again.said() == []  # what came meanwhile may not have been read yet
    again.wait(SECOND)
    assert again.said() == [("GATEWAY_SILENT", "condition", 2)]


def test_restart_after_an_outage_does_not_wake_for_a_covered_child_before_it_has_caught_up() -> None:
    night = Night()
    night.beat()
    night.measure(85.0)
    kept = night.ward.states(night.ward.changed)
    again = Night(started=NIGHT + 5 * MINUTE)
    again.now = NIGHT + 5 * MINUTE
    again.ward.recall(kept)
    again.wait(10 * SECOND)
    again.beat()  # read from Kafka late
    again.wait(20 * SECOND)
    assert again.said() == []


def test_what_was_heard_before_the_database_answered_forgets_no_open_alarm() -> None:
    night = Night()
    night.measure(85.0)
    kept = night.ward.states(night.ward.changed)
    again = Night(started=NIGHT)
    again.measure(97.0)
    again.ward.recall(kept)
    assert again.phase() is Phase.ACTIVE


def test_backlog_is_told_as_a_digest_and_never_as_a_live_alarm() -> None:
    night = Night()
    night.measure(85.0, ago=20 * MINUTE)
    night.measure(85.0, ago=19 * MINUTE)
    assert night.said() == []
    night.wait(MINUTE)
    assert night.said() == [("SPO2", "digest", 0)]
    assert night.phase() is Phase.NORMAL


def a_reading(night: Night, **measurements: float) -> Reading:
    return Reading(
        patient_id=AWA,
        device_id="bracelet-1",
        timestamp=night.now,
        measurements=Measurements(**measurements),
        message_id=uuid4(),
    )


def test_reading_that_comes_a_second_time_raises_no_alarm_that_somebody_has_seen() -> None:
    night = Night()
    low = a_reading(night, spo2_pct=85.0)
    night.ward.observe(low, evaluate(low), night.now)
    night.wait(100 * SECOND, 97.0)
    night.ward.acknowledge(acknowledgement(night.now), night.now)
    fast = a_reading(night, freq_card=200.0)
    night.ward.observe(fast, evaluate(fast), night.now)
    night.ward.acknowledge(acknowledgement(night.now, group=Group.HR), night.now)
    night.said()
    for again in (low, fast):
        night.ward.observe(again, evaluate(again), night.now)
    phases = {group: episode.phase for group, episode in night.ward.children[AWA].episodes.episodes.items()}
    assert (phases[Group.SPO2], phases[Group.HR]) == (Phase.NORMAL, Phase.ACKNOWLEDGED)
    assert night.said() == []


def test_identity_that_a_sender_uses_for_two_readings_hides_neither() -> None:
    night = Night()
    first = a_reading(night, spo2_pct=85.0)
    night.ward.observe(first, evaluate(first), night.now)
    night.wait(100 * SECOND, 97.0)
    night.said()
    other = first.model_copy(update={"timestamp": night.now})
    night.ward.observe(other, evaluate(other), night.now)
    assert night.said() == [("SPO2", "raised", 0)]


def test_only_so_many_readings_are_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "_REMEMBERED", 2)
    night = Night()
    readings = [a_reading(night, spo2_pct=85.0) for _ in range(3)]
    for each in (*readings, readings[2], readings[0]):
        night.ward.observe(each, evaluate(each), night.now)
    assert night.ward.children[AWA].episodes.episodes[Group.SPO2].records == 4


def test_kafka_away_is_one_condition_and_no_gateway_is_blamed() -> None:
    night = Night()
    night.beat()
    night.kafka = False
    night.wait(11 * MINUTE)
    assert night.said() == [("KAFKA_DOWN", "condition", 0), ("KAFKA_DOWN", "condition", 2)]
    night.kafka = True
    night.wait(14 * SECOND)
    assert "KAFKA_DOWN:" in night.ward.conditions.standing
    night.wait(2 * SECOND)
    assert night.said() == [("GATEWAY_SILENT", "condition", 2)]
    assert "KAFKA_DOWN:" not in night.ward.conditions.standing


def test_kafka_that_comes_and_goes_is_told_like_one_that_is_away() -> None:
    night = Night()
    night.beat()
    for second in range(3600):
        night.now += SECOND
        night.kafka = second % 16 < 10
        night.tick()
        if second == 129:
            assert night.said() == []
    assert night.said()[:3] == [("KAFKA_DOWN", "condition", level) for level in (0, 2, 2)]


def test_moment_without_kafka_is_no_break() -> None:
    night = Night()
    night.beat()
    for second in range(180):
        night.now += SECOND
        night.kafka = second % 16 < 12
        night.tick()
    assert night.said() == [("GATEWAY_SILENT", "condition", 0)]


def test_process_that_starts_over_and_over_says_that_it_hears_nothing() -> None:
    night, said = Night(), []
    night.beat()
    night.wait(MINUTE)
    for _ in range(120):
        night.restart()
        night.wait(6 * SECOND)
        said += night.said()
        night.now += 4 * SECOND
    assert said == [("KAFKA_DOWN", "condition", level) for level in (0, 2, 2)]


def test_deafness_before_a_long_stop_is_not_told_after_it() -> None:
    night = Night()
    night.measure(97.0)
    night.kafka = False
    night.wait(3 * MINUTE)
    night.said()
    night.now += timedelta(days=1)
    night.kafka = True
    night.restart()
    night.wait(MINUTE)
    assert night.said() == []


@pytest.mark.parametrize(
    ("away", "priority"),
    [(timedelta(seconds=119), None), (2 * MINUTE, Priority.MEDIUM), (10 * MINUTE, Priority.HIGH)],
)
def test_server_that_stays_away_becomes_urgent(away: timedelta, priority: Priority | None) -> None:
    for kind, found in (
        ("KAFKA_DOWN", of_service(NIGHT - away, None, (), NIGHT)),
        ("DATABASE_DOWN", of_service(None, NIGHT - away, (), NIGHT)),
    ):
        assert [(each.kind, each.priority) for each in found] == ([(kind, priority)] if priority else [])


def test_contact_that_cannot_be_reached_is_told_to_everybody() -> None:
    night = Night()
    night.tick(*of_service(None, None, ("nurse",), night.now))
    (said,) = night.ward.said
    assert (said.kind, said.priority, said.level, said.about) == (
        "NOTIFIER_FAILING",
        Priority.HIGH,
        2,
        "nurse",
    )


def test_child_whose_gateway_reaches_nobody_is_missed_by_the_cloud() -> None:
    night = Night()
    night.wait(3 * MINUTE, beats=False)
    assert [said.kind for said in night.ward.said] == ["NO_DATA"]
    (said,) = night.ward.said
    assert (said.patient_id, said.priority, said.about) == (AWA, Priority.LOW, "p1_01234")


def test_child_with_an_alarm_that_nothing_is_heard_of_is_urgent_at_once() -> None:
    night = Night()
    night.measure(85.0)
    night.wait(30 * SECOND)
    assert night.said() == [("SPO2", "raised", 0), ("NO_DATA", "condition", 0)]


def test_names_are_said_and_not_kept() -> None:
    night = Night()
    night.ward.names = {AWA: "Awa"}
    night.measure(85.0)
    (said,) = night.ward.said
    assert said.title("en") == "ALARM Awa"
    assert "Awa" not in said.to_json()
    assert "Awa" not in json.dumps(list(night.ward.states(night.ward.changed).values()))


NEW = "p2_0123456789abcdef0123456789abcdef"


def test_alarm_follows_its_child_to_a_new_pseudonym() -> None:
    night = Night()
    night.beat(True, OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACTIVE))
    night.measure(85.0)
    night.ward.changed.clear()
    night.ward.follow(Identities({AWA: NEW}))
    assert night.ward.changed == {("child", AWA), ("child", NEW), ("gateway", "gw-1")}
    assert night.ward.states(night.ward.changed).keys() == {("child", NEW), ("gateway", "gw-1")}
    night.beat(True, OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACTIVE))
    night.measure(84.0)  # still under the old one, as from a backlog
    assert list(night.ward.children) == [NEW]
    child = night.ward.children[NEW].episodes
    assert (child.patient_id, child.episodes[Group.SPO2].records) == (NEW, 2)
    heartbeat = night.ward.gateways.known["gw-1"].heartbeat
    assert heartbeat.watches == (NEW,)
    assert [each.patient_id for each in heartbeat.episodes] == [NEW]
    night.wait(MINUTE, spo2=84.0, beats=True)
    assert night.said() == []  # covered as before
    made = Acknowledgement(acknowledgement_id=uuid4(), patient_id=AWA, by="Fatou", at=night.now)
    assert night.ward.acknowledge(made, night.now) == ["SPO2"]


def test_alarm_under_an_old_pseudonym_joins_what_is_known_under_the_new() -> None:
    night = Night()
    night.measure(85.0)
    night.ward.children[NEW] = night.ward.children.pop(AWA).under(NEW)
    night.ward.children[NEW].latest = None
    night.measure(97.0)
    night.ward.follow(Identities({AWA: NEW}))
    (child,) = night.ward.children.values()
    assert child.latest == NIGHT
    assert [each.phase for each in child.episodes.open] == [Phase.ACTIVE]


def test_erased_child_is_forgotten_until_it_is_let_in_again() -> None:
    night = Night()
    night.beat(False)
    night.measure(85.0)
    assert night.said() == [("SPO2", "raised", 0)]
    night.ward.follow(Identities(erased=frozenset({AWA})))
    night.beat(False, OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACTIVE))
    night.wait(3 * MINUTE, spo2=85.0, beats=False)
    assert night.said() == []
    assert AWA not in json.dumps(list(night.ward.states(night.ward.changed | {SERVICE_KEY}).values()))
    assert night.ward.patients() == {AWA}  # to learn when it is let in again
    night.ward.follow(Identities())
    night.measure(85.0)
    assert night.said() == [("SPO2", "raised", 0)]


def test_state_that_cannot_be_read_begins_anew() -> None:
    night = Night()
    night.ward.recall({("child", AWA): '{"episodes": 3}', ("service", "alarms"): "{", ("gateway", "gw"): "1"})
    night.measure(85.0)
    assert night.said() == [("SPO2", "raised", 0)]
