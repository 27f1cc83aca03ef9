"""A gateway and the real API over TLS: tokens are fetched, renewed, refused and fetched again."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
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
from tests.edge_gateway.helpers import a_row
from tests.edge_gateway.secure_broker import make_certificates
from tests.waiting import eventually

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


@dataclass
class DeliveringGateway:
    """Outbox and uplink of a gateway, without bracelets."""

    outbox: Outbox
    uplink: Uplink
    state: GatewayState

    async def append(self, count: int, device_id: str = "bracelet-001") -> None:
        """Store readings of one bracelet."""
        await asyncio.wrap_future(self.outbox.append([a_row(device_id) for _ in range(count)]))
        self.uplink.news.set()

    async def has(self, **expected: int) -> None:
        """Wait until the outbox has these counts."""

        async def matches() -> bool:
            counts = await self.outbox.counts()
            return all(getattr(counts, name) == value for name, value in expected.items())

        await eventually(matches)


@asynccontextmanager
async def delivering_gateway(
    directory: Path, url: str, secret_file: Path
) -> AsyncIterator[DeliveringGateway]:
    config = ApiConfig(url=url, client_id="gw", client_secret_file=secret_file, ca_file=directory / "ca.pem")
    api, state = ApiClient(config), GatewayState("gw")
    with Outbox(directory / "outbox.sqlite3") as outbox:
        uplink = Uplink(api, outbox, state, batch_size=50)
        running = asyncio.create_task(uplink.run())
        try:
            yield DeliveringGateway(outbox, uplink, state)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await api.close()


async def test_gateway_delivers_across_token_expiry_and_revocation(
    tmp_path: Path, variables: dict[str, str]
) -> None:
    secret_file = tmp_path / "gateway.secret"
    secret_file.write_text(register(variables, "gw", "bracelet-001"))
    registry = Registry.open(Path(variables["API_GATEWAYS_FILE"]))
    with ServedApi(variables, tmp_path) as served:
        async with delivering_gateway(tmp_path, served.url, secret_file) as gateway:
            for sent in range(1, 2 * LIFETIME_S + 1):
                await gateway.append(20)
                await gateway.has(delivered=20 * sent)
                await asyncio.sleep(1)
            assert 2 <= actions(variables).count("token_issued") <= 6, "renewed, but not for every request"
            assert gateway.state.counters.delivery_failures == 0
            assert "access_refused" not in actions(variables), "renewed before it expired"

            await gateway.append(3, "bracelet-of-others")
            await gateway.has(delivered=20 * 2 * LIFETIME_S, rejected=3)

            registry.revoke("gw")
            await gateway.append(40)
            await eventually(lambda: "invalid_client" in gateway.state.parts["api"])
            await gateway.has(pending=40)
            secret_file.write_text(register(variables, "gw", "bracelet-001"))
            await gateway.has(delivered=20 * 2 * LIFETIME_S + 40, pending=0, rejected=3)
            assert gateway.state.parts["api"] == "up"
        assert served.stop() == 0
    kept = audit_and_log(tmp_path)
    assert b"bracelet-of-others" in kept, "the audit log has what was refused"
    assert b"patient-001-ss" not in kept
    assert secret_file.read_bytes() not in kept


def test_doctor_checks_the_credentials(tmp_path: Path, variables: dict[str, str]) -> None:
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
