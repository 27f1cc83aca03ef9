"""The commands links, scan, pair and forget, with and without a running gateway."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from edge_gateway.ble import session
from edge_gateway.cli import main
from edge_gateway.commands.bracelets import ago, table
from edge_gateway.config_file import load_config
from edge_gateway.gateway import run_gateway
from firmware_sim.firmware.bracelet import Bracelet, DeviceClock
from firmware_sim.radio.hci_port import gateway_radio
from firmware_sim.radio.peripheral import BraceletPeripheral
from tests.firmware_sim.air import BOOT, Air, calm, now_ms
from tests.firmware_sim.conftest import air
from tests.waiting import eventually
from vitals.gatt.bracelet import RecordFlag

__all__ = ["air"]

DAY_MS = 86_400_000


@pytest.fixture(autouse=True)
def _hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "_RELEASE_EVERY_S", 0.1)


def a_config(directory: Path, *devices: str, radio: str = "system", **ble: float) -> Path:
    lines = ['gateway_id = "gw"', 'data_dir = "data"', "[api]", 'url = "http://127.0.0.1:9"']
    lines += ["[ble]", f'radio = "{radio}"']
    lines += [f"{name} = {value}" for name, value in ble.items()]
    for number, device in enumerate(devices or ("ble-001",), start=1):
        lines += ["[[bracelet]]", f'device_id = "{device}"', f'patient_id = "patient-{number:03d}"']
    path = directory / "gateway.toml"
    path.write_text("\n".join(lines) + "\n")
    return path


class Shell:
    """Runs commands and returns what they print."""

    def __init__(self, config: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self._config, self._capsys = config, capsys

    async def run(self, *arguments: str) -> tuple[int, str, str]:
        """Run a command; returns exit code, standard output and standard error."""
        self._capsys.readouterr()
        code = await asyncio.to_thread(main, [*arguments, "--config", str(self._config)])
        printed = self._capsys.readouterr()
        return code, printed.out, printed.err

    async def link(self, device_id: str = "ble-001") -> dict[str, Any]:
        """Return one link of `links --json`; empty while no gateway is running."""
        code, out, _ = await self.run("links", "--json")
        return json.loads(out)["links"][device_id] or {} if code == 0 else {}

    async def row(self, device_id: str = "ble-001") -> str:
        """Return one line of `links`."""
        _, out, _ = await self.run("links")
        return next(line for line in out.splitlines() if line.startswith(device_id))


@asynccontextmanager
async def a_gateway(config: Path) -> AsyncIterator[None]:
    stop = asyncio.Event()
    task = asyncio.create_task(run_gateway(load_config(config), stop))
    try:
        yield
    finally:
        stop.set()
        await task


async def until_link(shell: Shell, **wanted: Any) -> dict[str, Any]:
    """Wait until a link has these values; returns the link."""

    async def has() -> dict[str, Any] | None:
        link = await shell.link()
        return link if link and all(link[name] == value for name, value in wanted.items()) else None

    found: dict[str, Any] = await eventually(has)
    return found


async def test_links_shows_live_and_never_seen_bracelets(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await air.add(stored=1)
    config = a_config(tmp_path, "ble-001", "ble-404")
    shell = Shell(config, capsys)
    async with a_gateway(config):
        link = await until_link(shell, state="live")
        assert (link["battery_pct"], link["absence"]) == (100, None)
        row = await shell.row("ble-404")
    assert row.split()[:3] == ["ble-404", "ble", "searching"]
    assert row.endswith("out of range")
    assert "never" in row


async def test_links_without_a_gateway_prints_how_to_start_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = await Shell(a_config(tmp_path), capsys).run("links")
    assert (code, "no data directory" in err) == (1, True)
    (tmp_path / "data").mkdir()
    code, _, err = await Shell(a_config(tmp_path), capsys).run("links")
    assert (code, "start one with kidjamo-gateway run" in err) == (1, True)


async def test_links_bracelet_that_rebooted(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bracelet = await air.add(stored=3)
    config = a_config(tmp_path)
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await eventually(lambda: bracelet.bracelet.unreleased == 0)
        bracelet.controller.lose_links()
        bracelet.bracelet.restart(now_ms(), flash_kept=False)
        for number in range(4):
            bracelet.bracelet.measure(calm(number), now_ms())
        await eventually(lambda: bracelet.bracelet.unreleased == 0)
        await until_link(shell, state="live", notice="it restarted")
        assert "it restarted" in await shell.row()


async def test_links_bracelet_whose_clock_is_a_year_off(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bracelet = await air.add()
    bracelet.bracelet.clock = DeviceClock(ahead_ms=-365 * DAY_MS)
    config = a_config(tmp_path)
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await until_link(shell, state="live", notice="its clock was 365 days behind: it is set now")
        assert abs(bracelet.bracelet.clock_ms(now_ms()) - now_ms()) < 1000


async def test_links_bracelet_that_stops_without_disconnecting(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bracelet = await air.add(stored=1)
    config = a_config(tmp_path, silence_s=1.0)
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await until_link(shell, state="live")
        await bracelet.hide()
        air.link.mute(bracelet.controller)
        link = await until_link(shell, reason="silent for 1 s", absence="out_of_range")
        assert link["state"] in ("searching", "backing off")
        assert "silent for 1 s" in await shell.row()


async def test_links_bracelet_that_sends_garbage(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bracelet = await air.add(stored=1)
    config = a_config(tmp_path, silence_s=1.0)
    shell = Shell(config, capsys)

    async def send_garbage() -> None:
        while True:
            await bracelet.send_live(b"\x00\x01\x02")
            await asyncio.sleep(0.05)

    async with a_gateway(config):
        await until_link(shell, state="live")
        sending = asyncio.create_task(send_garbage())
        await until_link(shell, reason="it sent only what cannot be understood for 1 s")
        sending.cancel()
        link = await until_link(shell, state="live", reason="")
    assert link["notice"] == "it sent only what cannot be understood for 1 s"


async def test_links_shows_why_there_is_no_value(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bracelet = await air.add(stored=1)
    config = a_config(tmp_path)
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await until_link(shell, state="live")
        bracelet.bracelet.worn = False
        record = bracelet.bracelet.measure(None, now_ms())
        assert record.flags & RecordFlag.NO_CONTACT
        await bracelet.publish(record)
        await until_link(shell, absence="not_worn")
        assert (await shell.row()).endswith("not worn")
        bracelet.bracelet.worn = True
        await bracelet.publish(bracelet.bracelet.measure(calm(), now_ms()))
        await until_link(shell, absence=None)


async def test_links_device_with_a_cloned_name_is_refused(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    await air.add(stored=1)
    config = a_config(tmp_path)
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await until_link(shell, state="live")
        clone = BraceletPeripheral(air.link, 99, Bracelet("ble-001", BOOT, now_ms()), now_ms)
        air.bracelets.append(clone)
        await clone.start()
        notice = "another device, F0:1B:DC:4B:00:63, uses its name: refused"
        await until_link(shell, state="live", notice=notice)
        assert not clone.connected


async def test_bracelet_with_another_serial_number_is_rejected(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    impostor = await air.add(stored=1)
    impostor.name = "Kidjamo-ble-007"
    await impostor.hide()
    await impostor.advertise()
    config = a_config(tmp_path, "ble-007")
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await eventually(lambda: shell.link("ble-007"))

        async def refused() -> bool:
            return "has another serial number" in (await shell.link("ble-007"))["notice"]

        await eventually(refused)
    assert impostor.bracelet.unreleased == 1


@pytest.mark.parametrize("running", [True, False])
async def test_scan_lists_addresses_vitals_and_configured_devices(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str], running: bool
) -> None:
    await air.add()
    await air.add()
    async with a_shell(air, tmp_path, capsys, running, "ble-404" if running else "ble-002") as shell:
        code, out, _ = await shell.run("scan", "--seconds", "0.5", "--json")
    assert code == 0
    devices = {each["address"]: each for each in json.loads(out)}
    assert devices.keys() == {"F0:1B:DC:4B:00:01", "F0:1B:DC:4B:00:02"}
    second = devices["F0:1B:DC:4B:00:02"]
    assert second["vitals"] == ["spo2_pct", "freq_card", "freq_resp", "temp_corp"]
    assert second["listed_as"] == (None if running else "ble-002")
    assert second["name"] == "Kidjamo-ble-002"


@asynccontextmanager
async def a_shell(
    air: Air, directory: Path, capsys: pytest.CaptureFixture[str], running: bool, device: str
) -> AsyncIterator[Shell]:
    """Yield a shell; without a running gateway, its commands use a Bluetooth stack of their own."""
    if running:
        config = a_config(directory, device)
        shell = Shell(config, capsys)
        async with a_gateway(config):
            await eventually(shell_answers(shell))
            yield shell
    else:
        async with gateway_radio(air.link, f"unix-server:{directory}/hci"):
            yield Shell(a_config(directory, device, radio=f"bumble:unix-client:{directory}/hci"), capsys)


def shell_answers(shell: Shell) -> Any:
    async def answers() -> bool:
        return (await shell.run("links"))[0] == 0

    return answers


@pytest.mark.parametrize("running", [True, False])
async def test_pair_stores_the_address_and_forget_deletes_it(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str], running: bool
) -> None:
    await air.add(stored=1)
    async with a_shell(air, tmp_path, capsys, running, "ble-001") as shell:
        if running:
            await until_link(shell, state="live")
        code, out, err = await shell.run("pair", "ble-001")
        assert (code, err) == (0, "")
        assert out == "ble-001 is paired; its address is F0:1B:DC:4B:00:01\n"
        code, out, err = await shell.run("forget", "ble-001")
        assert (code, err) == (0, "")
        assert out.startswith("ble-001: bond and address deleted")
        if running:
            await until_link(shell, state="live")


async def test_bond_lost_by_the_bracelet_is_repaired_by_forget_and_pair(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bracelet = await air.add(stored=1, secure=True)
    config = a_config(tmp_path)
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await until_link(shell, state="live")
        await bracelet.forget_bonds()
        bracelet.controller.lose_links()
        await until_link(shell, reason="its bond is not valid any more: kidjamo-gateway forget, then pair")
        code, _, err = await shell.run("forget", "ble-001")
        assert (code, err) == (0, "")
        code, _, err = await shell.run("pair", "ble-001")
        assert (code, err) == (0, "")
        await until_link(shell, state="live")


async def test_pair_of_an_unlisted_device_names_the_remedy(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _, err = await Shell(a_config(tmp_path), capsys).run("pair", "ble-404")
    assert code == 1
    assert "add a [[bracelet]] for it" in err


async def test_control_socket_works_in_a_deep_directory(
    air: Air, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    config = a_config(deep)
    shell = Shell(config, capsys)
    async with a_gateway(config):
        await eventually(shell_answers(shell))
        assert (deep / "data" / "gateway.sock").stat().st_mode & 0o777 == 0o600
    assert not (deep / "data" / "gateway.sock").exists()


def test_table_aligns() -> None:
    assert table(("a", "bb"), [("ccc", "d"), ("e", "")]) == "a    bb\nccc  d\ne"


@pytest.mark.parametrize(
    ("moment", "words"),
    [
        (None, "never"),
        ("2025-08-24T10:29:01+00:00", "59 s"),
        ("2025-08-24T10:28:00+00:00", "2 min"),
        ("2025-08-23T10:30:00+00:00", "24 h"),
        ("2025-08-20T10:30:00+00:00", "4 d"),
    ],
)
def test_ago(moment: str | None, words: str) -> None:
    assert ago(moment, datetime(2025, 8, 24, 10, 30, tzinfo=UTC)) == words
