"""Replay of dead letters with a real Kafka, read back by another client."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kafka import KafkaProducer

from cloud_ingest.access.permissions import ANYONE, Caller, Scope
from cloud_ingest.access.registry import Registry
from cloud_ingest.cli import main
from cloud_ingest.errors import NotAllowed
from cloud_ingest.ingest.dead_letters import LetterSelection, StoredDeadLetter, sender_of
from cloud_ingest.kafka.admin import admin_client, create_topics
from cloud_ingest.kafka.record import utc_text
from deploy.local.kafka import KafkaBroker
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment, register
from tests.cloud_ingest.samples import CRISIS, NORMAL, reading
from tests.cloud_ingest.topic_reader import of_device, read_topic
from vitals.pseudonym import Pseudonymiser
from vitals.reading import parse_reading

MEASUREMENTS, ALERTS, ERRORS = "kidjamo-iot-measurements", "kidjamo-iot-alerts", "kidjamo-iot-errors"
PSEUDONYM = "p1_" + "ab" * 16
KEYS = Pseudonymiser({1: bytes(range(32)), 2: bytes(range(1, 33))})


@pytest.fixture
def device() -> str:
    return f"bracelet-{uuid4().hex[:12]}"


@pytest.fixture
def producer(kafka: KafkaBroker) -> Iterator[KafkaProducer]:
    create_topics(admin_client(kafka.bootstrap), 10)
    client = KafkaProducer(bootstrap_servers=kafka.bootstrap, acks="all")
    yield client
    client.close()


@pytest.fixture
def settings(kafka: KafkaBroker, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(tmp_path, kafka.bootstrap).items():
        monkeypatch.setenv(name, value)


def letter(original: Any, **changes: Any) -> dict[str, Any]:
    body = original if isinstance(original, bytes) else json.dumps(original).encode()
    return {
        "error_id": str(uuid4()),
        "timestamp": "2025-08-24T10:30:00Z",
        "source": "api",
        "reason": "is 400 s ahead of the server's clock: quarantined",
        "field": "timestamp",
        "original": base64.b64encode(body).decode(),
        **changes,
    }


def send(producer: KafkaProducer, *letters: dict[str, Any]) -> list[str]:
    """Write letters to the topic; return the arguments that select exactly them."""
    for each in letters:
        producer.send(ERRORS, json.dumps(each).encode())
    producer.flush()
    return ["replay-errors", *(part for each in letters for part in ("--error-id", each["error_id"]))]


def test_replayed_letter_keeps_its_identity_each_time(
    settings: None,
    kafka: KafkaBroker,
    producer: KafkaProducer,
    device: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = send(
        producer, letter(reading(CRISIS, patient_id=PSEUDONYM, device_id=device, message_id=None))
    )
    assert main([*arguments, "--dry-run"]) == 0
    assert (
        "1 dead letters selected: 1 could be sent with 1 readings, 0 still refused" in capsys.readouterr().out
    )
    assert of_device(kafka.bootstrap, MEASUREMENTS, device) == []
    for _ in range(2):
        assert main(arguments) == 0
    first, second = of_device(kafka.bootstrap, MEASUREMENTS, device)
    assert first.value["message_id"] == second.value["message_id"]
    assert first.value["patient_id"] == first.key == PSEUDONYM
    alerts = of_device(kafka.bootstrap, ALERTS, device)
    assert len(alerts) == 6
    assert len({alert.value["alert_id"] for alert in alerts}) == 3


def test_replayed_reading_gets_the_device_of_its_letter(
    settings: None, kafka: KafkaBroker, producer: KafkaProducer, device: str
) -> None:
    without = {name: value for name, value in NORMAL.items() if name != "device_id"}
    arguments = send(producer, letter(without, source="gateway", device_id=device, gateway_id="gw-1"))
    assert main(arguments) == 0
    (seen,) = of_device(kafka.bootstrap, MEASUREMENTS, device)
    assert seen.value["gateway_id"] == "gw-1"
    assert seen.value["patient_id"].startswith("p1_")


def test_replay_of_a_batch_and_of_the_flat_form(
    settings: None, kafka: KafkaBroker, producer: KafkaProducer, device: str
) -> None:
    flat = {"patient_id": PSEUDONYM, "device_id": device, "spo2_pct": 97}
    batch = {"readings": [reading(device_id=device), reading(device_id=device)]}
    assert main(send(producer, letter(flat), letter(batch))) == 0
    seen = of_device(kafka.bootstrap, MEASUREMENTS, device)
    assert len({each.value["message_id"] for each in seen}) == 3
    (from_flat,) = (each for each in seen if "freq_card" not in each.value["measurements"])
    assert from_flat.value["timestamp"] == "2025-08-24T10:30:00Z"


def test_letters_still_refused_exit_with_3_and_make_no_new_letter(
    settings: None, kafka: KafkaBroker, producer: KafkaProducer, capsys: pytest.CaptureFixture[str]
) -> None:
    future = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    arguments = send(
        producer,
        letter(b"{not json"),
        letter(reading(timestamp=future)),
        letter(reading(), original_size=2**20),
        letter(reading(measurements={"spo2_pct": "97"})),
    )
    before = len(read_topic(kafka.bootstrap, ERRORS))
    assert main(arguments) == 3
    assert "0 sent with 0 readings, 4 still refused" in capsys.readouterr().out
    assert len(read_topic(kafka.bootstrap, ERRORS)) == before


@pytest.mark.parametrize(
    ("selection", "selected"),
    [
        (LetterSelection(), True),
        (LetterSelection(since=datetime(2025, 8, 24, 10, 30, tzinfo=UTC)), True),
        (LetterSelection(until=datetime(2025, 8, 24, 10, 30, tzinfo=UTC)), False),
        (LetterSelection(reason="AHEAD of"), True),
        (LetterSelection(reason="not JSON"), False),
        (LetterSelection(source="api"), True),
        (LetterSelection(source="recorder"), False),
        (LetterSelection(error_ids=frozenset({uuid4()})), False),
    ],
)
def test_selection_by_time_reason_source_and_error_id(selection: LetterSelection, selected: bool) -> None:
    assert selection.selects(StoredDeadLetter.model_validate(letter(NORMAL)), ANYONE) is selected


def test_replay_without_kafka_exits_with_1(
    settings: None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", NOWHERE)
    monkeypatch.setattr("cloud_ingest.ingest.dead_letters.KAFKA_TIMEOUT_S", 0.5)
    assert main(["replay-errors"]) == 1
    assert "kidjamo-iot-errors" in capsys.readouterr().err


@pytest.mark.parametrize(
    "changes",
    [
        {"code": "forbidden", "reason": "the gateway is not registered for this device"},
        {"reason": "is not a device this gateway may speak for"},
        {"reason": "is another gateway than the token's"},
        {"reason": "names a patient this gateway may not speak for"},
    ],
    ids=["code", "device before codes", "gateway before codes", "patient before codes"],
)
def test_forbidden_letter_is_selected_only_by_its_error_id(changes: dict[str, str]) -> None:
    forbidden = StoredDeadLetter.model_validate(letter(reading(), field="device_id", **changes))
    sender = sender_of(forbidden, None, KEYS)
    assert not LetterSelection().selects(forbidden, sender)
    assert not LetterSelection(reason=changes["reason"]).selects(forbidden, sender)
    assert LetterSelection(error_ids=frozenset({forbidden.error_id})).selects(forbidden, sender)


def test_invalid_letter_is_not_forbidden_whatever_its_reason_quotes() -> None:
    quoting = letter(NORMAL, code="invalid", reason="is not a device this gateway may speak for")
    assert sender_of(StoredDeadLetter.model_validate(quoting), None, KEYS) == ANYONE


def test_sender_is_the_gateway_of_the_letter_as_registered_now(tmp_path: Path) -> None:
    variables = environment(tmp_path, NOWHERE)
    register(variables, "gw-1", "bracelet-001")
    register(variables, "reporter", scopes=frozenset({Scope.ERRORS_WRITE}))
    register(variables, "gone")
    registry = Registry.open(Path(variables["API_GATEWAYS_FILE"]))
    registry.revoke("gone")

    def sender(**changes: str) -> Caller | None:
        return sender_of(StoredDeadLetter.model_validate(letter(NORMAL, **changes)), registry, KEYS)

    for source in ("api", "gateway"):
        caller = sender(source=source, gateway_id="gw-1")
        assert caller
        assert caller.gateway_id == "gw-1"
        assert caller.devices == frozenset({"bracelet-001"})
        for gateway_id in ("gone", "reporter", "unheard-of", ""):
            assert sender(source=source, gateway_id=gateway_id) is None
    assert sender(source="recorder") == ANYONE
    assert (
        sender_of(StoredDeadLetter.model_validate(letter(NORMAL, gateway_id="unheard-of")), None, KEYS)
        == ANYONE
    )


def test_sender_bound_to_a_patient_may_send_its_pseudonyms(tmp_path: Path) -> None:
    registry = Registry.open(tmp_path / "gateways.json")
    registry.add("gw-1", frozenset({Scope.READINGS_WRITE}), None, frozenset({"patient-001-ss"}))
    sender = sender_of(StoredDeadLetter.model_validate(letter(NORMAL, gateway_id="gw-1")), registry, KEYS)
    assert sender
    for patient_id in KEYS.every_pseudonym("patient-001-ss"):
        sender.authorize_reading(parse_reading(reading(patient_id=patient_id)))
    with pytest.raises(NotAllowed):
        sender.authorize_reading(parse_reading(reading(patient_id=PSEUDONYM)))


def test_dead_letters_cannot_bring_in_readings_of_another_gateways_device(
    kafka: KafkaBroker,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    variables = environment(tmp_path, kafka.bootstrap, API_AUTH="on", API_RATE_LIMIT="100000")
    own, started = f"{device}-own", datetime.now(UTC)
    secret = register(variables, "gw-a", own)
    with RunningApi(variables) as api:
        form = {"grant_type": "client_credentials"}
        token = api.http.post("/oauth/token", data=form, auth=("gw-a", secret)).json()["access_token"]
        api.http.headers["Authorization"] = f"Bearer {token}"
        send_forged_letters(api, device, own, started)
    recorded = [seen.value for seen in read_topic(kafka.bootstrap, ERRORS)]
    recorded = [value for value in recorded if value["timestamp"] >= utc_text(started)]
    assert {value["gateway_id"] for value in recorded} == {"gw-a"}
    assert {value["source"] for value in recorded} == {"api", "gateway"}
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert main(["replay-errors", "--since", started.isoformat()]) == 3
    output = capsys.readouterr().out
    assert "still refused: device_id: the gateway is not registered for this device" in output
    assert "the gateway is not registered for this device -> skipped" in output
    assert of_device(kafka.bootstrap, MEASUREMENTS, device) == []
    sent = of_device(kafka.bootstrap, MEASUREMENTS, own)
    assert [seen.value["gateway_id"] for seen in sent] == ["gw-a"] * 2


def send_forged_letters(api: RunningApi, device: str, own: str, started: datetime) -> None:
    """Try every way for a gateway to have a reading of another device recorded as a dead letter."""

    def forged(original: Any, **changes: Any) -> dict[str, Any]:
        return letter(original, source="gateway", reason="not JSON", timestamp=started.isoformat(), **changes)

    def flat(device_id: str) -> dict[str, Any]:
        return {"patient_id": PSEUDONYM, "device_id": device_id, "spo2_pct": 85}

    letters = [
        forged(reading(device_id=device), code="invalid"),
        forged(reading(device_id=device)) | {"source": "recorder"},
        forged(reading(device_id=own), device_id=own) | {"source": "recorder"},
        forged({"patient_id": PSEUDONYM, "spo2_pct": 85}, device_id=device),
        forged(reading(device_id=device)) | {"error_id": "none"},
    ]
    assert api.post({"errors": letters}, "/iot/errors").json() == {"accepted": 3, "rejected": 2}
    for document in (flat(device), flat(own), {"readings": {"0": flat(device)}}):
        assert api.post(document).status_code == 422
    nested = {"readings": [{"readings": [reading(device_id=device)]}]}
    assert api.post(nested).json()["rejected"] == 1
