"""The doctor reports what does not work, and how to correct it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from deploy.local.ports import free_port
from edge_gateway.cli import main
from edge_gateway.commands import doctor as module
from edge_gateway.commands.doctor import CheckVerdict, Finding, run_checks
from edge_gateway.config import Config
from edge_gateway.config_file import parse_config

HEAD = 'gateway_id = "gw"\ndata_dir = "data"\n[api]\nurl = "http://127.0.0.1:{port}"\n'


def findings_of(config: Config) -> dict[str, Finding]:
    return {each.what: each for each in run_checks(config)}


def a_config(directory: Path, more: str) -> Config:
    return parse_config(HEAD.format(port=free_port()) + more, directory)


def test_unreachable_api_and_broker_are_bad(tmp_path: Path) -> None:
    findings = findings_of(a_config(tmp_path, f"[mqtt]\nport = {free_port()}\n"))
    assert findings["ingestion API"].verdict is CheckVerdict.BAD
    assert findings["MQTT broker"].verdict is CheckVerdict.BAD
    assert "systemctl start mosquitto" in findings["MQTT broker"].remedy
    assert findings["data directory"].verdict is CheckVerdict.OK


def test_reachable_broker_is_ok(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as broker:
        findings = findings_of(a_config(tmp_path, f"[mqtt]\nport = {broker.getsockname()[1]}\n"))
    assert findings["MQTT broker"].verdict is CheckVerdict.OK


def test_missing_adapter_is_bad_and_a_present_one_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_ADAPTERS", tmp_path / "bluetooth")
    config = a_config(tmp_path, "[ble]\n")
    assert findings_of(config)["Bluetooth"].verdict is CheckVerdict.BAD
    (tmp_path / "bluetooth" / "hci0").mkdir(parents=True)
    assert findings_of(config)["Bluetooth"].text == "hci0"


@pytest.mark.parametrize(
    ("content", "mode", "verdict", "message"),
    [
        (None, 0, CheckVerdict.BAD, "cannot be read"),
        ("", 0o600, CheckVerdict.BAD, "is empty"),
        ("ntfy://topic-7f3a", 0o644, CheckVerdict.ODD, "is accessible to other users"),
        ("ntfy://topic-7f3a", 0o600, CheckVerdict.OK, "mother.url"),
    ],
)
def test_contact_file_must_be_readable_not_empty_and_private(
    tmp_path: Path, content: str | None, mode: int, verdict: CheckVerdict, message: str
) -> None:
    if content is not None:
        (tmp_path / "mother.url").write_text(content)
        (tmp_path / "mother.url").chmod(mode)
    finding = findings_of(
        a_config(tmp_path, '[mqtt]\n[[contact]]\nname = "mother"\nurl_file = "mother.url"\n')
    )
    assert finding["contact mother"].verdict is verdict
    assert message in finding["contact mother"].text
    assert "7f3a" not in finding["contact mother"].text + finding["contact mother"].remedy


def test_short_pin_is_bad(tmp_path: Path) -> None:
    (tmp_path / "pin").write_text("12")
    finding = findings_of(a_config(tmp_path, '[mqtt]\n[page]\npin_file = "pin"\n'))["page"]
    assert (finding.verdict, finding.remedy) == (CheckVerdict.BAD, "Use at least 4 characters")


def test_too_little_disk_space_is_odd(tmp_path: Path) -> None:
    finding = findings_of(a_config(tmp_path, "[mqtt]\n[outbox]\nmax_mb = 1000000\n"))["data directory"]
    assert finding.verdict is CheckVerdict.ODD


def test_command_fails_if_a_check_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "gateway.toml"
    config.write_text(HEAD.format(port=free_port()) + f"[mqtt]\nport = {free_port()}\n")
    assert main(["doctor", "--config", str(config)]) == 1
    printed = capsys.readouterr().out
    assert "✗ ingestion API: http://127.0.0.1:" in printed
    assert "✓ data directory" in printed
