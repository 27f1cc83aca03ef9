"""The page's routes: access, actions and rejected requests."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest

from tests.edge_gateway.page.conftest import PIN, Serving
from vitals.episodes import Phase
from vitals.notices import Group

NO_LOGIN = [("/events", "GET"), ("/acknowledge", "POST"), ("/handover", "POST"), ("/self-test", "POST")]


@pytest.mark.parametrize(("path", "method"), NO_LOGIN)
async def test_every_route_needs_a_login(serving: Serving, path: str, method: str) -> None:
    async with serving(PIN) as served, httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.request(method, path, json={})
        assert answer.status_code == 401
        assert "Awa" not in (await client.get("/")).text


async def test_login_opens_the_page_until_logout(serving: Serving) -> None:
    async with serving(PIN) as served, httpx.AsyncClient(base_url=served.url) as client:
        wrong = await client.post("/login", data={"name": "Fatou", "pin": "0000"})
        assert (wrong.status_code, "Code PIN incorrect" in wrong.text) == (403, True)
        right = await client.post("/login", data={"name": "Fatou", "pin": PIN})
        assert right.status_code == 303
        cookie = right.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert "Awa" in (await client.get("/")).text
        await client.post("/logout")
        assert "Awa" not in (await client.get("/")).text
        assert await served.audited() == [("Fatou", "log in", "")]


async def test_guessing_the_pin_is_blocked(serving: Serving) -> None:
    async with serving(PIN) as served, httpx.AsyncClient(base_url=served.url) as client:
        codes = [
            (await client.post("/login", data={"name": "x", "pin": f"{n}"})).status_code for n in range(7)
        ]
        assert codes == [403, 403, 403, 403, 429, 429, 429]
        assert (await client.post("/login", data={"name": "x", "pin": PIN})).status_code == 429


async def test_acknowledgement_is_bounded_attributed_and_audited(serving: Serving) -> None:
    async with serving(PIN) as served, httpx.AsyncClient(base_url=served.url) as client:
        await client.post("/login", data={"name": "Fatou", "pin": PIN})
        served.measure(1, spo2=85.0, temperature=38.5)
        asked = {"patient_id": "patient-001-ss", "group": "SPO2", "minutes": 500}
        answer = await client.post("/acknowledge", json=asked)
        assert answer.json() == {"acknowledged": ["SPO2"]}
        episode = served.monitor.children["patient-001-ss"].episodes.episodes[Group.SPO2]
        assert episode.phase is Phase.ACKNOWLEDGED
        assert episode.silence is not None
        assert (episode.silence.by, episode.silence.until - episode.silence.since) == (
            "Fatou",
            timedelta(minutes=10),
        )
        assert (await client.post("/acknowledge", json={"patient_id": "patient-001-ss"})).json() == {
            "acknowledged": ["SPO2", "TEMP", "COMBO"]
        }
        assert (await served.audited())[1] == ("Fatou", "acknowledge", "SPO2:patient-001-ss")


async def test_condition_is_acknowledged_by_its_key(serving: Serving) -> None:
    async with serving() as served, httpx.AsyncClient(base_url=served.url) as client:
        served.state.undelivered_since = datetime.now(UTC) - timedelta(hours=1)
        served.monitor.tick()
        answer = await client.post("/acknowledge", json={"condition": "UPLINK_DOWN:"})
        assert answer.status_code == 200
        assert served.monitor.conditions.standing["UPLINK_DOWN:"].silenced_by == "local"
        assert (await client.post("/acknowledge", json={"condition": "NO_DATA:x"})).status_code == 404


@pytest.mark.parametrize(
    ("content", "kind", "status"),
    [
        (b"{}", "text/plain", 415),
        (b"{", "application/json", 422),
        (b"[]", "application/json", 422),
        (b"{}", "application/json", 404),
        (b'{"patient_id": "nobody"}', "application/json", 404),
        (b'{"patient_id": "patient-001-ss", "group": "LUNG"}', "application/json", 422),
        (b'{"patient_id": "patient-001-ss", "minutes": "ten"}', "application/json", 422),
        (b'{"patient_id": "patient-001-ss", "minutes": true}', "application/json", 422),
        (b"x" * 5000, "application/json", 413),
    ],
)
async def test_invalid_request_is_rejected(serving: Serving, content: bytes, kind: str, status: int) -> None:
    async with serving() as served, httpx.AsyncClient(base_url=served.url) as client:
        answer = await client.post("/acknowledge", content=content, headers={"content-type": kind})
        assert answer.status_code == status


async def test_responses_carry_security_headers(serving: Serving) -> None:
    async with serving() as served, httpx.AsyncClient(base_url=served.url) as client:
        for path in ("/", "/static/page.js"):
            headers = (await client.get(path)).headers
            assert headers["content-security-policy"].startswith("default-src 'none'")
            assert headers["cache-control"] == "no-store"


async def test_names_and_notes_cannot_carry_markup(serving: Serving) -> None:
    async with serving() as served, httpx.AsyncClient(base_url=served.url) as client:
        await client.post("/handover", json={"note": "<script>alert(1)</script>"})
        text = (await client.get("/")).text
        assert "<script>alert" not in text
        assert "&lt;script&gt;alert(1)" in text


async def test_self_test_returns_a_result_for_each_contact(serving: Serving) -> None:
    async with serving() as served, httpx.AsyncClient(base_url=served.url) as client:
        assert (await client.post("/self-test", json={})).json() == {
            "lines": ["Aucun contact n'est configuré."]
        }
        served.failures = {"mother": "", "nurse": "the service did not take the message"}
        assert (await client.post("/self-test", json={})).json() == {
            "lines": [
                "mother: envoyé\u00a0; est-il arrivé\u00a0?",
                "nurse: the service did not take the message",
            ]
        }


async def test_metrics_need_no_login_on_this_machine_and_identify_no_child(serving: Serving) -> None:
    async with serving(PIN) as served, httpx.AsyncClient(base_url=served.url) as client:
        served.measure(1, spo2=85.0)
        served.state.link("bracelet-1", "mqtt", "live")
        served.monitor.tick()
        answer = await client.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain")
        lines = answer.text.splitlines()
        assert 'kidjamo_gateway_open_alarms{phase="ACTIVE"} 1.0' in lines
        assert 'kidjamo_gateway_links{state="live"} 1.0' in lines
        assert "kidjamo_gateway_outbox_filled_ratio 0.0" in lines
        for name in ("Awa", "patient-001", "bracelet-1"):
            assert name not in answer.text
