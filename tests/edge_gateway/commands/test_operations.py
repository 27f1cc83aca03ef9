"""The commands status and self-test with a running gateway, and the page's port."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import httpx
import pytest

from deploy.local.ports import free_port
from edge_gateway import gateway
from tests.edge_gateway.commands.test_bracelets import Shell, a_gateway
from tests.waiting import eventually

CONFIG = """
gateway_id = "gw"
data_dir = "data"
[api]
url = "http://127.0.0.1:9"
[mqtt]
port = {mqtt}
[page]
port = {page}
[[bracelet]]
device_id = "mqtt-001"
patient_id = "patient-001-ss"
[[child]]
patient_id = "patient-001-ss"
name = "Awa"
"""
CONTACT = '[[contact]]\nname = "mother"\nurl_file = "mother.url"\n'


def a_config(directory: Path, more: str = "") -> tuple[Path, str]:
    page = free_port()
    path = directory / "gateway.toml"
    path.write_text(CONFIG.format(mqtt=free_port(), page=page) + more)
    return path, f"http://127.0.0.1:{page}"


async def test_status_prints_components_children_and_conditions(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, url = a_config(tmp_path)
    shell = Shell(config, capsys)
    async with a_gateway(config):

        async def answers() -> bool:
            return (await shell.run("status"))[0] == 0

        await eventually(answers)
        _, printed, _ = await shell.run("status")
        assert printed.startswith("gateway gw, running for")
        assert "outbox: 0 readings pending, 0.0% full, deliveries work" in printed
        assert [line.split() for line in printed.splitlines() if line.startswith("patient")] == [
            ["patient-001-ss", "never", "none"]
        ]
        answer = json.loads((await shell.run("status", "--json"))[1])
        assert answer["children"] == [{"patient_id": "patient-001-ss", "last_value": None, "alarms": {}}]
        async with httpx.AsyncClient() as client:
            page = await client.get(url)
        assert "Awa" in page.text
    async with httpx.AsyncClient() as client:
        with pytest.raises(httpx.ConnectError):
            await client.get(url)


async def test_page_starts_once_its_port_is_free(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway, "_PAGE_RETRY_S", 0.1)
    config, url = a_config(tmp_path)
    shell = Shell(config, capsys)

    async def page_is(state: str) -> bool:
        return f"page: {state}" in (await shell.run("status"))[1]

    with socket.create_server(("127.0.0.1", int(url.rpartition(":")[2]))) as taken:
        async with a_gateway(config):
            await eventually(lambda: page_is("away: the page cannot listen on 127.0.0.1"))
            taken.close()
            await eventually(lambda: page_is("up"))


async def test_status_without_a_gateway_prints_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    config, _ = a_config(tmp_path)
    (tmp_path / "data").mkdir()
    code, _, error = await Shell(config, capsys).run("status")
    assert (code, "kidjamo-gateway run" in error) == (1, True)


async def test_self_test_fails_if_a_contact_cannot_be_reached(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mother.url").write_text(f"json://127.0.0.1:{free_port()}")
    config, _ = a_config(tmp_path, CONTACT)
    shell = Shell(config, capsys)
    async with a_gateway(config):

        async def answers() -> bool:
            return (await shell.run("status"))[0] == 0

        await eventually(answers)
        code, printed, _ = await shell.run("self-test")
    assert (code, printed) == (1, "✗ mother: the service did not accept the message\n")
