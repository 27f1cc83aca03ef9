"""Which alarms the cloud notifies and which it leaves to gateways, over simulated nights."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from cloud_ingest.alarms import coordinator
from cloud_ingest.alarms.acknowledgement import Acknowledgement
from cloud_ingest.alarms.coordinator import AlarmChanges, AlarmCoordinator
from cloud_ingest.alarms.coverage import KnownGateway
from cloud_ingest.alarms.service_health import ServiceHealth, service_conditions
from cloud_ingest.alarms.states import GATEWAY, PATIENT, SERVICE_KEY, AlarmServiceState, Key, PatientAlarms
from cloud_ingest.privacy.identities import Identities
from vitals.conditions import Priority, Standing
from vitals.episodes import Episode, Phase
from vitals.heartbeat import Heartbeat, OpenEpisode
from vitals.message import Message
from vitals.notices import Group
from vitals.reading import Measurements, Reading
from vitals.rules import evaluate

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
AWA = "p1_0123456789abcdef0123456789abcdef"
UP = ServiceHealth(kafka_up=True)


class CloudNight:
    """A coordinator, its clock, and what a persister would have stored of it; gateway gw-1 watches AWA.

    Attributes:
        stored: the persisted states.
    """

    def __init__(self, started: datetime = NIGHT - timedelta(hours=1)) -> None:
        self.now = NIGHT
        self.coordinator = AlarmCoordinator(started)
        self.stored: dict[Key, str] = {}
        self.kafka_up = True
        self._messages: list[Message] = []
        for moment in (started, self.now):
            self.coordinator.tick(moment, UP)

    def drain(self) -> AlarmChanges:
        """Store what changed, as the process does in every turn."""
        changes = self.coordinator.drain()
        self.stored = {key: state for key, state in self.stored.items() if key not in changes.removed}
        self.stored |= changes.states
        self._messages += changes.messages
        return changes

    def beat(self, reachable: bool = True, *episodes: OpenEpisode, status_id: UUID | None = None) -> None:
        """Receive a heartbeat of gw-1."""
        heartbeat = Heartbeat(
            status_id=status_id or uuid4(),
            gateway_id="gw-1",
            timestamp=self.now,
            contacts_reachable=reachable,
            watches=(AWA,),
            episodes=episodes,
        )
        self.coordinator.receive_heartbeat(heartbeat, self.now, self.now)

    def measure(self, spo2: float, ago: timedelta = timedelta()) -> None:
        """Receive a reading of AWA."""
        reading = Reading(
            patient_id=AWA,
            device_id="bracelet-1",
            timestamp=self.now - ago,
            measurements=Measurements(spo2_pct=spo2),
        )
        self.coordinator.observe(reading, evaluate(reading), self.now)

    def persisted(self) -> dict[Key, str]:
        """Return what a new process would load."""
        self.drain()
        return dict(self.stored)

    def tick(self, *failing_contacts: str) -> None:
        self.coordinator.tick(self.now, ServiceHealth(self.kafka_up, failing_contacts=failing_contacts))

    def load(self, stored: dict[Key, str], identities: Identities | None = None) -> None:
        """Restore the states that another process has stored."""
        self.stored = stored
        self.coordinator.restore(stored, identities or Identities())

    def restart(self) -> None:
        """Start a new process with the stored states."""
        self.drain()
        self.coordinator = AlarmCoordinator(self.now)
        self.load(self.stored)

    def wait(self, length: timedelta, spo2: float | None = None, beats: bool | None = None) -> None:
        """Let time pass, with a reading every 20 s and a heartbeat every 30 s where given."""
        for second in range(int(length / SECOND)):
            self.now += SECOND
            if second % 30 == 0 and beats is not None:
                self.beat(beats)
            if second % 20 == 0 and spo2 is not None:
                self.measure(spo2)
            self.tick()

    def messages(self) -> list[Message]:
        """Return the messages since the last call."""
        self.drain()
        messages, self._messages = self._messages, []
        return messages

    def sent(self) -> list[tuple[str, str, int]]:
        """Return kind, reason and level of the messages since the last call."""
        return [(each.kind, each.why, each.level) for each in self.messages()]

    def patient(self, pseudonym: str = AWA) -> PatientAlarms:
        """Return the stored alarms of a patient."""
        self.drain()
        return PatientAlarms.model_validate_json(self.stored[PATIENT, pseudonym])

    def patients(self) -> list[str]:
        self.drain()
        return [identity for kind, identity in self.stored if kind == PATIENT]

    def episode(self, group: Group = Group.SPO2) -> Episode:
        return self.patient().episodes.episodes[group]

    def phase(self) -> Phase:
        return self.episode().phase

    def standing(self) -> dict[str, Standing]:
        """Return the stored technical conditions."""
        self.drain()
        return AlarmServiceState.model_validate_json(self.stored[SERVICE_KEY]).standing


def test_patient_without_gateway_is_notified_as_a_gateway_would() -> None:
    night = CloudNight()
    night.measure(85.0)
    night.wait(10 * MINUTE + SECOND, 85.0)
    assert [(why, level) for _, why, level in night.sent()] == [
        ("raised", 0),
        ("repeated", 0),
        ("repeated", 0),
        ("escalated", 1),
        ("repeated", 1),
        ("repeated", 1),
        ("escalated", 2),
    ]


def test_covered_patient_sends_nothing_and_its_episode_is_tracked() -> None:
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    night.wait(14 * MINUTE, 85.0, beats=True)
    assert night.sent() == []
    assert night.phase() is Phase.ACTIVE


def test_gateway_that_reaches_no_contact_covers_no_patient() -> None:
    night = CloudNight()
    night.beat(reachable=False)
    night.measure(85.0)
    assert night.sent() == [("SPO2", "raised", 0)]


def test_lost_coverage_notifies_unacknowledged_alarms_at_once() -> None:
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    night.wait(6 * MINUTE, 85.0, beats=True)
    night.beat(reachable=False)
    night.wait(SECOND)
    assert night.sent() == [("SPO2", "uncovered", 1)]


def test_silent_gateway_no_longer_covers_after_two_minutes() -> None:
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    night.wait(2 * MINUTE, 85.0)
    assert night.sent() == [("GATEWAY_SILENT", "condition", 2)]  # high, because an alarm is open
    night.wait(SECOND)
    assert night.sent() == [("SPO2", "uncovered", 0)]


def test_covered_alarm_unacknowledged_for_15_minutes_is_notified_by_the_cloud() -> None:
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    night.wait(15 * MINUTE - SECOND, 85.0, beats=True)
    assert night.sent() == []
    night.wait(SECOND)
    assert night.sent() == [("SPO2", "last_resort", 2)]
    night.wait(2 * MINUTE, 85.0, beats=True)
    assert night.sent() == [("SPO2", "repeated", 2)]


def test_acknowledgement_at_the_gateway_counts_when_coverage_is_lost() -> None:
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    night.wait(MINUTE, 85.0, beats=True)
    until = night.now + 9 * MINUTE
    seen = OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACKNOWLEDGED, by="Fatou", until=until)
    night.beat(True, seen)
    assert night.phase() is Phase.ACKNOWLEDGED
    night.wait(8 * MINUTE, 85.0, beats=False)
    assert night.sent() == []
    night.wait(MINUTE, 85.0, beats=False)
    assert night.sent() == [("SPO2", "silence_over", 0)]


def test_acknowledgement_older_than_the_alarm_is_not_adopted() -> None:
    night = CloudNight()
    seen = OpenEpisode(
        patient_id=AWA, group=Group.SPO2, phase=Phase.ACKNOWLEDGED, by="F", until=NIGHT + 9 * MINUTE
    )
    night.measure(85.0)
    night.now += SECOND
    night.beat(True, seen)
    assert night.phase() is Phase.ACTIVE


def test_acknowledgement_in_the_cloud_is_bounded_and_attributed() -> None:
    night = CloudNight()
    night.measure(85.0)
    given = Acknowledgement(
        acknowledgement_id=uuid4(), patient_id=AWA, by="Fatou", at=night.now, silence_s=3600
    )
    assert night.coordinator.acknowledge(given, night.now) == ["SPO2"]
    silence = night.episode().silence
    assert silence is not None
    assert (silence.by, silence.until) == ("Fatou", NIGHT + 10 * MINUTE)
    stranger = given.model_copy(update={"patient_id": "p1_unknown"})
    assert night.coordinator.acknowledge(stranger, night.now) == []


def acknowledgement(at: datetime, **changes: Any) -> Acknowledgement:
    return Acknowledgement(acknowledgement_id=uuid4(), by="Fatou", at=at, **{"patient_id": AWA} | changes)


def test_acknowledgement_does_not_apply_to_an_alarm_raised_after_it() -> None:
    night = CloudNight()
    late = acknowledgement(night.now)
    night.now += SECOND
    night.measure(85.0)
    assert night.coordinator.acknowledge(late, night.now) == []
    assert night.phase() is Phase.ACTIVE
    night.wait(61 * SECOND, 97.0)
    night.wait(20 * SECOND, 97.0)
    assert night.phase() is Phase.LATCHED
    assert night.coordinator.acknowledge(late, night.now) == []
    assert night.phase() is Phase.LATCHED, "it ended before it was acknowledged"


def test_silence_of_an_acknowledgement_counts_from_when_it_was_made() -> None:
    night = CloudNight()
    night.measure(85.0)
    night.wait(10 * SECOND)
    at_once, of_a_minute = acknowledgement(night.now), acknowledgement(night.now, silence_s=60)
    night.wait(MINUTE)
    assert night.coordinator.acknowledge(of_a_minute, night.now) == []
    assert night.phase() is Phase.ACTIVE
    assert night.coordinator.acknowledge(at_once, night.now) == ["SPO2"]
    silence = night.episode().silence
    assert silence is not None
    assert (silence.since, silence.until) == (at_once.at, at_once.at + 10 * MINUTE)


def test_acknowledgement_of_a_condition_does_not_apply_to_what_was_notified_after_it() -> None:
    night = CloudNight()
    night.beat()
    night.wait(3 * MINUTE)
    key = "GATEWAY_SILENT:gw-1"
    soon, late = (acknowledgement(night.now, patient_id=None, condition=key) for _ in range(2))
    night.wait(MINUTE)
    assert night.coordinator.acknowledge(soon, night.now) == [key]
    assert night.standing()[key].silent_until == soon.at + timedelta(minutes=30)
    night.wait(6 * MINUTE)  # more urgent by now
    assert night.coordinator.acknowledge(late, night.now) == []
    assert night.standing()[key].silent_until is None


def test_gateway_that_sent_a_heartbeat_after_it_was_retired_stays_in_service() -> None:
    night = CloudNight()
    night.beat()
    night.wait(3 * MINUTE)
    given = acknowledgement(night.now, patient_id=None, condition="GATEWAY_SILENT:gw-1", retires=True)
    night.wait(SECOND)
    night.beat()
    night.coordinator.acknowledge(given, night.now)
    night.sent()
    night.wait(2 * MINUTE)
    assert night.sent() == [("GATEWAY_SILENT", "condition", 0)]


def test_silent_gateway_escalates_and_clears_with_the_next_heartbeat() -> None:
    night = CloudNight()
    night.beat()
    night.wait(119 * SECOND)
    assert night.sent() == []
    night.wait(31 * MINUTE)
    assert night.sent() == [
        ("GATEWAY_SILENT", "condition", 0),
        ("GATEWAY_SILENT", "condition", 2),
        *[("GATEWAY_SILENT", "condition", 2)] * 4,
    ]
    night.beat()
    night.tick()
    assert night.standing() == {}


def test_retired_gateway_is_not_missed_until_its_next_heartbeat() -> None:
    night = CloudNight()
    night.beat()
    night.wait(3 * MINUTE)
    key = "GATEWAY_SILENT:gw-1"
    given = Acknowledgement(acknowledgement_id=uuid4(), condition=key, by="F", at=night.now, retires=True)
    assert night.coordinator.acknowledge(given, night.now) == [key]
    night.sent()
    night.wait(2 * timedelta(hours=1))
    assert night.sent() == []
    night.beat()
    night.wait(2 * MINUTE)
    assert night.sent() == [("GATEWAY_SILENT", "condition", 0)]


def test_silence_is_recorded_once_per_patient_under_the_same_id() -> None:
    status_id = UUID(int=7)
    nights = [CloudNight(), CloudNight()]
    for night in nights:
        night.beat(status_id=status_id)
        night.wait(3 * MINUTE)
    (first,), (again,) = (night.coordinator.unrecorded_silences(night.now) for night in nights)
    assert first == again
    (alert,) = first.alerts
    assert (alert.type.value, alert.severity.value) == ("GATEWAY_SILENT", "TECHNICAL")
    assert (alert.patient_id, alert.device_id) == (AWA, "gw-1")
    assert alert.timestamp == NIGHT + 2 * MINUTE
    nights[0].coordinator.mark_silence_recorded(first)
    assert nights[0].coordinator.unrecorded_silences(nights[0].now) == []


def test_restart_continues_alarms_gateways_and_silences() -> None:
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    night.wait(3 * MINUTE)
    night.sent()
    again = CloudNight(started=night.now)
    again.now = night.now
    again.load(night.persisted())
    again.wait(MINUTE)
    assert again.sent() == []
    assert again.phase() is Phase.ACTIVE
    again.wait(MINUTE)
    assert again.sent() == [("SPO2", "repeated", 0), ("SPO2", "escalated", 1)]


def test_gateway_without_a_heartbeat_since_a_restart_is_silent() -> None:
    night = CloudNight()
    night.beat()
    again = CloudNight(started=NIGHT + timedelta(hours=3))
    again.now = NIGHT + timedelta(hours=3)
    again.load(night.persisted())
    again.wait(14 * SECOND)
    assert again.sent() == []  # Kafka may hold messages that have not been read yet
    again.wait(SECOND)
    assert again.sent() == [("GATEWAY_SILENT", "condition", 2)]


def test_restart_after_an_outage_sends_nothing_for_a_covered_patient_while_catching_up() -> None:
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    again = CloudNight(started=NIGHT + 5 * MINUTE)
    again.now = NIGHT + 5 * MINUTE
    again.load(night.persisted())
    again.wait(10 * SECOND)
    again.beat()  # read from Kafka late
    again.wait(20 * SECOND)
    assert again.sent() == []


def test_reading_processed_before_the_states_were_loaded_keeps_an_open_alarm() -> None:
    night = CloudNight()
    night.measure(85.0)
    again = CloudNight(started=NIGHT)
    again.measure(97.0)
    again.load(night.persisted())
    assert again.phase() is Phase.ACTIVE


def test_backlog_is_notified_as_a_digest_and_never_as_a_live_alarm() -> None:
    night = CloudNight()
    night.measure(85.0, ago=20 * MINUTE)
    night.measure(85.0, ago=19 * MINUTE)
    assert night.sent() == []
    night.wait(MINUTE)
    assert night.sent() == [("SPO2", "digest", 0)]
    assert night.phase() is Phase.NORMAL


def a_reading(night: CloudNight, **measurements: float) -> Reading:
    return Reading(
        patient_id=AWA,
        device_id="bracelet-1",
        timestamp=night.now,
        measurements=Measurements(**measurements),
        message_id=uuid4(),
    )


def test_repeated_reading_raises_no_acknowledged_alarm_again() -> None:
    night = CloudNight()
    low = a_reading(night, spo2_pct=85.0)
    night.coordinator.observe(low, evaluate(low), night.now)
    night.wait(100 * SECOND, 97.0)
    night.coordinator.acknowledge(acknowledgement(night.now), night.now)
    fast = a_reading(night, freq_card=200.0)
    night.coordinator.observe(fast, evaluate(fast), night.now)
    night.coordinator.acknowledge(acknowledgement(night.now, group=Group.HR), night.now)
    night.sent()
    for again in (low, fast):
        night.coordinator.observe(again, evaluate(again), night.now)
    phases = (night.episode(Group.SPO2).phase, night.episode(Group.HR).phase)
    assert phases == (Phase.NORMAL, Phase.ACKNOWLEDGED)
    assert night.sent() == []


def test_message_id_used_for_two_readings_hides_neither() -> None:
    night = CloudNight()
    first = a_reading(night, spo2_pct=85.0)
    night.coordinator.observe(first, evaluate(first), night.now)
    night.wait(100 * SECOND, 97.0)
    night.sent()
    other = first.model_copy(update={"timestamp": night.now})
    night.coordinator.observe(other, evaluate(other), night.now)
    assert night.sent() == [("SPO2", "raised", 0)]


def test_number_of_remembered_readings_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(coordinator, "_REMEMBERED", 2)
    night = CloudNight()
    readings = [a_reading(night, spo2_pct=85.0) for _ in range(3)]
    for each in (*readings, readings[2], readings[0]):
        night.coordinator.observe(each, evaluate(each), night.now)
    assert night.episode().records == 4


def test_kafka_outage_is_one_condition_and_no_gateway_becomes_silent() -> None:
    night = CloudNight()
    night.beat()
    night.kafka_up = False
    night.wait(11 * MINUTE)
    assert night.sent() == [("KAFKA_DOWN", "condition", 0), ("KAFKA_DOWN", "condition", 2)]
    night.kafka_up = True
    night.wait(14 * SECOND)
    assert "KAFKA_DOWN:" in night.standing()
    night.wait(2 * SECOND)
    assert night.sent() == [("GATEWAY_SILENT", "condition", 2)]
    assert "KAFKA_DOWN:" not in night.standing()


def test_flapping_kafka_is_notified_as_an_outage() -> None:
    night = CloudNight()
    night.beat()
    for second in range(3600):
        night.now += SECOND
        night.kafka_up = second % 16 < 10
        night.tick()
        if second == 129:
            assert night.sent() == []
    assert night.sent()[:3] == [("KAFKA_DOWN", "condition", level) for level in (0, 2, 2)]


def test_short_break_of_kafka_is_not_an_outage() -> None:
    night = CloudNight()
    night.beat()
    for second in range(180):
        night.now += SECOND
        night.kafka_up = second % 16 < 12
        night.tick()
    assert night.sent() == [("GATEWAY_SILENT", "condition", 0)]


def test_process_that_restarts_again_and_again_reports_kafka_down() -> None:
    night, sent = CloudNight(), []
    night.beat()
    night.wait(MINUTE)
    for _ in range(120):
        night.restart()
        night.wait(6 * SECOND)
        sent += night.sent()
        night.now += 4 * SECOND
    assert sent == [("KAFKA_DOWN", "condition", level) for level in (0, 2, 2)]


def test_outage_before_a_long_stop_is_not_notified_after_it() -> None:
    night = CloudNight()
    night.measure(97.0)
    night.kafka_up = False
    night.wait(3 * MINUTE)
    night.sent()
    night.now += timedelta(days=1)
    night.kafka_up = True
    night.restart()
    night.wait(MINUTE)
    assert night.sent() == []


@pytest.mark.parametrize(
    ("down", "priority"),
    [(timedelta(seconds=119), None), (2 * MINUTE, Priority.MEDIUM), (10 * MINUTE, Priority.HIGH)],
)
def test_server_that_stays_down_becomes_urgent(down: timedelta, priority: Priority | None) -> None:
    database_down = ServiceHealth(kafka_up=True, database_down_since=NIGHT - down)
    for kind, conditions in (
        ("KAFKA_DOWN", service_conditions(UP, NIGHT - down, NIGHT)),
        ("DATABASE_DOWN", service_conditions(database_down, None, NIGHT)),
    ):
        assert [(each.kind, each.priority) for each in conditions] == ([(kind, priority)] if priority else [])


def test_contact_that_cannot_be_reached_is_notified_to_all_contacts() -> None:
    night = CloudNight()
    night.tick("nurse")
    (message,) = night.messages()
    assert (message.kind, message.priority, message.level, message.about) == (
        "NOTIFIER_FAILING",
        Priority.HIGH,
        2,
        "nurse",
    )


def test_missing_data_is_notified_by_the_cloud_where_the_gateway_reaches_no_contact() -> None:
    night = CloudNight()
    night.wait(3 * MINUTE, beats=False)
    (message,) = night.messages()
    assert (message.kind, message.patient_id) == ("NO_DATA", AWA)
    assert (message.priority, message.about) == (Priority.LOW, "p1_01234")


def test_missing_data_during_an_alarm_is_urgent_at_once() -> None:
    night = CloudNight()
    night.measure(85.0)
    night.wait(30 * SECOND)
    assert night.sent() == [("SPO2", "raised", 0), ("NO_DATA", "condition", 0)]


def test_display_names_are_sent_and_not_stored() -> None:
    night = CloudNight()
    night.coordinator.set_names({AWA: "Awa"})
    night.measure(85.0)
    (message,) = night.messages()
    assert message.title("en") == "ALARM Awa"
    assert "Awa" not in message.to_json()
    assert "Awa" not in json.dumps(list(night.persisted().values()))


NEW = "p2_0123456789abcdef0123456789abcdef"


def test_alarm_moves_to_a_new_pseudonym() -> None:
    night = CloudNight()
    night.beat(True, OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACTIVE))
    night.measure(85.0)
    night.drain()
    night.coordinator.apply_identities(Identities({AWA: NEW}))
    changes = night.drain()
    assert changes.removed == {(PATIENT, AWA)}
    assert changes.states.keys() == {(PATIENT, NEW), (GATEWAY, "gw-1")}
    night.beat(True, OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACTIVE))
    night.measure(84.0)  # still under the old one, as from a backlog
    assert night.patients() == [NEW]
    episodes = night.patient(NEW).episodes
    assert (episodes.patient_id, episodes.episodes[Group.SPO2].records) == (NEW, 2)
    heartbeat = KnownGateway.model_validate_json(night.stored[GATEWAY, "gw-1"]).heartbeat
    assert heartbeat.watches == (NEW,)
    assert [each.patient_id for each in heartbeat.episodes] == [NEW]
    night.wait(MINUTE, spo2=84.0, beats=True)
    assert night.sent() == []  # covered as before
    given = acknowledgement(night.now)
    assert night.coordinator.acknowledge(given, night.now) == ["SPO2"]


def test_alarm_under_an_old_pseudonym_is_merged_into_the_new() -> None:
    night = CloudNight()
    night.measure(85.0)
    under_new = night.patient().under(NEW).model_copy(update={"latest": None})
    again = CloudNight()
    again.measure(97.0)
    stored = {(PATIENT, NEW): under_new.model_dump_json()}
    again.load(stored, Identities({AWA: NEW}))
    assert again.patients() == [NEW]
    patient = again.patient(NEW)
    assert patient.latest == NIGHT
    assert [each.phase for each in patient.episodes.open] == [Phase.ACTIVE]


def test_erased_patient_is_forgotten_until_the_erasure_is_lifted() -> None:
    night = CloudNight()
    night.beat(False)
    night.measure(85.0)
    assert night.sent() == [("SPO2", "raised", 0)]
    night.coordinator.apply_identities(Identities(erased=frozenset({AWA})))
    night.beat(False, OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACTIVE))
    night.wait(3 * MINUTE, spo2=85.0, beats=False)
    assert night.sent() == []
    assert night.coordinator.is_erased(AWA)
    assert AWA not in json.dumps(list(night.persisted().values()))
    assert night.drain().patients == {AWA}  # so that the lifting is noticed
    night.coordinator.apply_identities(Identities())
    night.measure(85.0)
    assert night.sent() == [("SPO2", "raised", 0)]


def test_invalid_state_is_ignored() -> None:
    night = CloudNight()
    invalid = {(PATIENT, AWA): '{"episodes": 3}', SERVICE_KEY: "{", (GATEWAY, "gw"): "1"}
    night.coordinator.restore(invalid, Identities())
    night.measure(85.0)
    assert night.sent() == [("SPO2", "raised", 0)]


def test_drain_returns_each_change_once() -> None:
    night = CloudNight()
    night.measure(85.0)
    given = acknowledgement(night.now)
    night.coordinator.acknowledge(given, night.now)
    changes = night.coordinator.drain()
    assert [each.kind for each in changes.messages] == ["SPO2"]
    assert changes.states.keys() == {(PATIENT, AWA), SERVICE_KEY}
    assert changes.applied == {given.acknowledgement_id: ["SPO2"]}
    again = night.coordinator.drain()
    assert (again.messages, again.states, again.removed, again.applied) == ([], {}, set(), {})


def test_state_is_stored_when_a_reading_ends_an_acknowledged_alarm() -> None:
    night = CloudNight()
    night.measure(85.0)
    night.coordinator.acknowledge(acknowledgement(night.now), night.now)
    night.wait(30 * SECOND, 97.0)
    assert night.phase() is Phase.ACKNOWLEDGED
    for _ in range(3):
        night.now += 20 * SECOND
        night.measure(97.0)
    assert night.phase() is Phase.NORMAL


def test_open_alarm_that_is_merged_after_the_start_is_stored() -> None:
    night = CloudNight()
    night.measure(85.0)
    stored = night.persisted()
    again = CloudNight()
    again.measure(97.0)
    again.drain()
    again.load(stored)
    assert (PATIENT, AWA) in again.drain().states
    assert again.phase() is Phase.ACTIVE


def test_field_names_of_stored_states() -> None:
    """Renamed fields are stored under their first names, so that states of earlier versions can be read."""
    night = CloudNight()
    night.beat()
    night.measure(85.0)
    night.tick()
    patient = json.loads(night.persisted()[PATIENT, AWA])
    assert patient.keys() == {"episodes", "since", "latest", "quiet"}
    assert patient["quiet"] == ["SPO2"]
    assert json.loads(night.persisted()[SERVICE_KEY]).keys() == {"standing", "alive", "deaf_since"}
