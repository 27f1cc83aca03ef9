"""Heartbeats: monitored children, reachable contacts, and acknowledgements from the cloud."""

from __future__ import annotations

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.alarms.notification import notification_service
from edge_gateway.config import ApiConfig
from edge_gateway.config_file import MINIMAL, parse_config
from edge_gateway.errors import DeliveryFailed
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.heartbeat import HeartbeatSender
from tests.cloud_ingest.running import NOWHERE, RunningApi, environment
from tests.edge_gateway.helpers import a_row
from vitals.episodes import Phase
from vitals.heartbeat import Acknowledged, Heartbeat, OpenEpisode
from vitals.notices import Group
from vitals.reading import Measurements, Reading
from vitals.rules import records

NIGHT = datetime(2025, 8, 24, 2, 0, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
AWA = "patient-001-ss"


class FakeHeartbeatApi:
    """An API that accepts heartbeats or is unavailable."""

    def __init__(self) -> None:
        self.received: list[Heartbeat] = []
        self.answer: tuple[Acknowledged, ...] = ()
        self.unavailable = False

    async def post_heartbeat(self, heartbeat: Heartbeat) -> tuple[Acknowledged, ...]:
        if self.unavailable:
            raise DeliveryFailed("HTTP 503")
        self.received.append(heartbeat)
        return self.answer


class HeartbeatRig:
    """A heartbeat sender of a gateway that monitors one child."""

    def __init__(self, outbox: Outbox) -> None:
        self.reachable = True
        self.api, self.state, self.outbox = FakeHeartbeatApi(), GatewayState("gw-test"), outbox
        self.ward = AlarmMonitor("gw-test", {AWA: "Awa"}, {"bracelet-001": AWA}, outbox, lambda *_: ())
        self.sender = HeartbeatSender(self.api, self.ward, self.state, outbox, lambda: self.reachable)

    def measure(self, spo2: float) -> None:
        reading = Reading(
            patient_id=AWA,
            device_id="bracelet-001",
            timestamp=datetime.now(UTC),
            measurements=Measurements(spo2_pct=spo2),
            message_id=uuid4(),
        )
        assert reading.message_id
        self.ward.observe(reading, records(reading, reading.message_id))

    def phase(self) -> Phase:
        return self.ward.children[AWA].episodes.episodes[Group.SPO2].phase


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[HeartbeatRig]:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        rig = HeartbeatRig(outbox)
        await rig.ward.load()
        yield rig


async def test_heartbeat_names_monitored_children_and_pending_readings(rig: HeartbeatRig) -> None:
    rig.state.part("api", "away: no\nroute")
    await asyncio.wrap_future(rig.outbox.append([a_row()]))
    await rig.sender.send()
    (heartbeat,) = rig.api.received
    assert (heartbeat.gateway_id, heartbeat.watches, heartbeat.contacts_reachable) == (
        "gw-test",
        (AWA,),
        True,
    )
    assert heartbeat.parts == {"api": "away: no route"}
    assert (heartbeat.outbox_pending, heartbeat.episodes) == (1, ())


async def test_heartbeat_says_when_no_contact_is_reachable(rig: HeartbeatRig) -> None:
    rig.reachable = False
    await rig.sender.send()
    assert rig.api.received[0].contacts_reachable is False


async def test_heartbeat_shows_open_alarms_and_who_silenced_them(rig: HeartbeatRig) -> None:
    rig.measure(85.0)
    await rig.sender.send()
    rig.ward.acknowledge(AWA, "Fa\ttou")
    await rig.sender.send()
    first, second = (heartbeat.episodes for heartbeat in rig.api.received)
    assert first == (OpenEpisode(patient_id=AWA, group=Group.SPO2, phase=Phase.ACTIVE),)
    (silenced,) = second
    assert (silenced.phase, silenced.by) == (Phase.ACKNOWLEDGED, "Fa tou")
    assert silenced.until is not None


async def test_unavailable_cloud_is_ignored(rig: HeartbeatRig) -> None:
    rig.api.unavailable = True
    await rig.sender.send()
    assert rig.api.received == []


async def test_acknowledgement_in_the_cloud_is_applied_and_audited(rig: HeartbeatRig) -> None:
    rig.measure(85.0)
    now = datetime.now(UTC)
    rig.api.answer = (Acknowledged(patient_id=AWA, by="Fatou", at=now, until=now + 5 * MINUTE),)
    await rig.sender.send()
    assert rig.phase() is Phase.ACKNOWLEDGED
    silence = rig.ward.children[AWA].episodes.episodes[Group.SPO2].silence
    assert silence is not None
    assert (silence.by, round((silence.until - now) / MINUTE)) == ("Fatou", 5)


@pytest.mark.parametrize(
    ("at", "until", "group"),
    [
        (-timedelta(seconds=30), 5 * MINUTE, None),  # notified again since
        (MINUTE, -timedelta(seconds=1), None),  # over
        (MINUTE, 5 * MINUTE, Group.TEMP),  # another alarm
    ],
)
async def test_acknowledgement_of_another_alarm_is_not_applied(
    rig: HeartbeatRig, at: timedelta, until: timedelta, group: Group | None
) -> None:
    rig.measure(85.0)
    now = datetime.now(UTC)
    acknowledged = Acknowledged(patient_id=AWA, group=group, by="Fatou", at=now + at, until=now + until)
    rig.api.answer = (acknowledged,)
    await rig.sender.send()
    assert rig.phase() is Phase.ACTIVE


async def test_api_posts_a_heartbeat_and_reads_acknowledgements(rig: HeartbeatRig) -> None:
    requests: list[httpx.Request] = []
    answer = {
        "status": "accepted",
        "acknowledgements": [
            {"patient_id": AWA, "group": None, "by": "F", "at": NIGHT.isoformat(), "until": NIGHT.isoformat()}
        ],
    }

    def serve(request: httpx.Request) -> httpx.Response:
        requests.append(request)
        return httpx.Response(200, json=answer)

    api = ApiClient(ApiConfig(url="http://127.0.0.1:1"), httpx.MockTransport(serve))
    received = await api.post_heartbeat(await rig.sender.heartbeat(NIGHT))
    await api.close()
    assert received == (Acknowledged(patient_id=AWA, by="F", at=NIGHT, until=NIGHT),)
    assert requests[0].url.path == "/iot/heartbeat"
    sent = json.loads(gzip.decompress(requests[0].content))
    assert (sent["gateway_id"], sent["watches"]) == ("gw-test", [AWA])


async def test_real_api_accepts_a_heartbeat(rig: HeartbeatRig, tmp_path: Path) -> None:
    rig.measure(85.0)
    with RunningApi(environment(tmp_path, NOWHERE)) as running:
        api = ApiClient(ApiConfig(url=str(running.http.base_url)))
        assert await api.post_heartbeat(await rig.sender.heartbeat(NIGHT)) == ()
        await api.close()
        assert running.component("spool")["pending"] == 1


@pytest.mark.parametrize(
    ("failing", "reachable"),
    [((), True), (("mother",), True), (("mother", "father"), False), (("mother", "father", "doctor"), False)],
)
async def test_reachable_means_a_contact_of_the_first_level(
    tmp_path: Path, failing: tuple[str, ...], reachable: bool
) -> None:
    contacts = "".join(
        f'[[contact]]\nname = "{name}"\nurl_file = "x"\nlevel = {level}\n'
        for name, level in (("mother", 0), ("father", 0), ("doctor", 1))
    )
    config = parse_config(MINIMAL + contacts)
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        notification = notification_service(config, GatewayState("gw-home"), outbox, None)
        for queue in notification.contacts:
            queue.failing = "away" if queue.name in failing else ""
        assert notification.reachable() is reachable


async def test_no_contact_is_reachable_without_contacts(tmp_path: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3") as outbox:
        assert (
            notification_service(parse_config(MINIMAL), GatewayState("gw-home"), outbox, None).reachable()
            is False
        )
