"""A gateway and the real service over TLS: tokens fetched, renewed, refused and had again."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from cloud_ingest.access.registry import Registry
from edge_gateway.commands.doctor import CheckVerdict, run_checks
from edge_gateway.config import ApiConfig
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from edge_gateway.uplink.client import ApiClient
from edge_gateway.uplink.uplink import Uplink
from tests.cloud_ingest.running import NOWHERE, ServedApi, environment, register
from tests.edge_gateway.commands.test_doctor import a_config
from tests.edge_gateway.helpers import a_row, eventually
from tests.edge_gateway.secure_broker import make_certificates

LIFETIME_S = 5


@pytest.fixture
def variables(tmp_path: Path) -> dict[str, str]:
    make_certificates(tmp_path)
    (tmp_path / "broker.key").chmod(0o600)
    return environment(
        tmp_path,
        NOWHERE,
        API_AUTH="on",
        API_TOKEN_LIFETIME_S=str(LIFETIME_S),
        API_TLS_CERT_FILE=str(tmp_path / "broker.pem"),
        API_TLS_KEY_FILE=str(tmp_path / "broker.key"),
    )


def actions(variables: dict[str, str]) -> list[str]:
    lines = Path(variables["API_AUDIT_FILE"]).read_text().splitlines()
    return [json.loads(line)["action"] for line in lines]


def audit_and_log(directory: Path) -> bytes:
    return (directory / "audit.jsonl").read_bytes() + (directory / "api.log").read_bytes()


async def test_gateway_keeps_delivering_while_its_tokens_run_out(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    secret_file = tmp_path / "gateway.secret"
    secret_file.write_text(register(variables, "gw", "bracelet-001"))
    registry = Registry.open(Path(variables["API_GATEWAYS_FILE"]))
    with ServedApi(variables, tmp_path) as served, Outbox(tmp_path / "outbox.sqlite3") as outbox:
        config = ApiConfig(
            url=served.url, client_id="gw", client_secret_file=secret_file, ca_file=tmp_path / "ca.pem"
        )
        api, state = ApiClient(config), GatewayState("gw")
        uplink = Uplink(api, outbox, state, batch_size=50)
        lanes = asyncio.create_task(uplink.run())

        async def append(count: int, device_id: str = "bracelet-001") -> None:
            await asyncio.wrap_future(outbox.append([a_row(device_id) for _ in range(count)]))
            uplink.news.set()

        async def counted(**expected: int) -> None:
            async def look() -> bool:
                counts = await outbox.counts()
                return all(getattr(counts, name) == value for name, value in expected.items())

            await eventually(look, 30)

        try:
            for sent in range(1, 2 * LIFETIME_S + 1):
                await append(20)
                await counted(delivered=20 * sent)
                await asyncio.sleep(1)
            issued = actions(variables).count("token_issued")
            assert 2 <= issued <= 6, "renewed, and not at every request"
            assert state.counters.delivery_failures == 0
            assert "access_refused" not in actions(variables), "renewed before it ran out"

            await append(3, "bracelet-of-others")
            await counted(delivered=20 * 2 * LIFETIME_S, rejected=3)

            registry.revoke("gw")
            await append(40)
            await eventually(lambda: "invalid_client" in state.parts["api"], 30)
            await counted(pending=40)
            secret_file.write_text(register(variables, "gw", "bracelet-001"))
            await counted(delivered=20 * 2 * LIFETIME_S + 40, pending=0, rejected=3)
            assert state.parts["api"] == "up"
        finally:
            lanes.cancel()
            await asyncio.gather(lanes, return_exceptions=True)
            await api.close()
        assert served.stop() == 0
    kept = audit_and_log(tmp_path)
    assert b"bracelet-of-others" in kept, "the audit log says what was refused"
    assert b"patient-001-ss" not in kept
    assert secret_file.read_bytes() not in kept


def test_doctor_proves_the_credentials(tmp_path: Path, variables: dict[str, str]) -> None:
    (tmp_path / "secret").write_text(register(variables, "gw", "bracelet-001"))
    (tmp_path / "secret").chmod(0o600)
    api = 'client_id = "gw"\nclient_secret_file = "secret"\nca_file = "ca.pem"\n[mqtt]\n'
    with ServedApi(variables, tmp_path) as served:
        config = a_config(tmp_path, api)
        config = config.model_copy(update={"api": config.api.model_copy(update={"url": served.url})})
        finding = next(each for each in run_checks(config) if each.what == "ingestion API")
        assert finding.verdict is CheckVerdict.OK
        (tmp_path / "secret").write_text("x" * 43)
        finding = next(each for each in run_checks(config) if each.what == "ingestion API")
        assert finding.verdict is CheckVerdict.BAD
        assert "invalid_client" in finding.text
        assert "client_secret_file" in finding.remedy
