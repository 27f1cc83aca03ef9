"""The commands `gateway` and `keys`, with settings from the environment and exit codes."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_ingest.access.registry import Registry
from cloud_ingest.cli import main
from tests.cloud_ingest.running import NOWHERE, environment


@pytest.fixture
def variables(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    variables = environment(tmp_path, NOWHERE)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    return variables


def audit(variables: dict[str, str]) -> list[dict[str, str]]:
    return [json.loads(line) for line in Path(variables["API_AUDIT_FILE"]).read_text().splitlines()]


def test_add_prints_the_secret_alone_on_standard_output(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", "add", "gw-1", "--device", "bracelet-001", "--device", "bracelet-002"]) == 0
    printed = capsys.readouterr()
    (secret,) = printed.out.splitlines()
    registry = Registry.open(Path(variables["API_GATEWAYS_FILE"]))
    registration = registry.authenticate("gw-1", secret)
    assert registration is not None
    assert registration.devices == frozenset({"bracelet-001", "bracelet-002"})
    assert sorted(registration.scopes) == ["errors:write", "readings:write"]
    assert (
        audit(variables)[-1].items()
        >= {
            "action": "gateway_added",
            "gateway": "gw-1",
            "scope": "errors:write readings:write",
            "devices": "bracelet-001 bracelet-002",
        }.items()
    )
    assert secret not in Path(variables["API_AUDIT_FILE"]).read_text()
    assert main(["gateway", "add", "gw-1", "--all-devices"]) == 1
    assert "registered already" in capsys.readouterr().err


def test_change_revoke_and_list(variables: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["gateway", "add", "gw-1", "--device", "bracelet-001"]) == 0
    assert main(["gateway", "change", "gw-1", "--all-devices", "--scope", "readings:write"]) == 0
    assert main(["gateway", "add", "prometheus", "--all-devices", "--scope", "metrics:read"]) == 0
    assert main(["gateway", "revoke", "gw-1"]) == 0
    assert main(["gateway", "revoke", "gw-1"]) == 1
    assert main(["gateway", "change", "gw-9", "--all-devices"]) == 1
    capsys.readouterr()
    assert main(["gateway", "list"]) == 0
    first, second = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert (first[0], first[1].split()[0], *first[2:]) == (
        "gw-1",
        "revoked",
        "readings:write",
        "all devices",
        "any patient",
    )
    assert (second[0], second[1].split()[0], *second[2:]) == (
        "prometheus",
        "since",
        "metrics:read",
        "all devices",
        "any patient",
    )
    actions = [line["action"] for line in audit(variables)]
    assert actions == ["gateway_added", "gateway_changed", "gateway_added", "gateway_revoked"]


def test_patients_are_named_in_the_registry_only(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    def listed() -> str:
        capsys.readouterr()
        assert main(["gateway", "list"]) == 0
        return capsys.readouterr().out.rstrip("\n").rpartition("\t")[2]

    def patients() -> list[str] | None:
        path = Path(variables["API_GATEWAYS_FILE"])
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        bound = json.loads(path.read_text())["gateways"][0]["patients"]
        return bound and sorted(bound)

    two = ["--patient", "patient-001-ss", "--patient", "patient-002-as"]
    assert main(["gateway", "add", "gw-1", "--all-devices", *two]) == 0
    assert (listed(), patients()) == ("2 patients", ["patient-001-ss", "patient-002-as"])
    assert main(["gateway", "change", "gw-1", "--device", "bracelet-001"]) == 0
    assert listed() == "2 patients", "changing the devices keeps the patients"
    assert main(["gateway", "change", "gw-1", "--all-devices", "--patient", "patient-003-sc"]) == 0
    assert "patient-00" not in str(capsys.readouterr())
    assert (listed(), patients()) == ("1 patient", ["patient-003-sc"])
    assert main(["gateway", "change", "gw-1", "--all-devices", "--patient", "patient-003/sc"]) == 2
    assert "patient-00" not in str(capsys.readouterr())
    assert main(["gateway", "change", "gw-1", "--all-devices", "--all-patients"]) == 0
    assert (listed(), patients()) == ("any patient", None)
    assert [line["patients"] for line in audit(variables)] == [
        "2 patients",
        "2 patients",
        "1 patient",
        "any patient",
    ]
    assert "patient-00" not in Path(variables["API_AUDIT_FILE"]).read_text()


@pytest.mark.parametrize("name", ["bed/1", "", "a\nb", "x" * 129])
@pytest.mark.parametrize("action", ["add", "change"])
def test_invalid_device_exits_with_2_and_changes_nothing(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str], action: str, name: str
) -> None:
    assert main(["gateway", "add", "gw-1", "--device", "bracelet-001"]) == 0
    before = Path(variables["API_GATEWAYS_FILE"]).read_bytes()
    gateway = "gw-1" if action == "change" else "gw-2"
    assert main(["gateway", action, gateway, "--device", "bracelet-002", "--device", name]) == 2
    assert "kidjamo-ingest: devices: " in capsys.readouterr().err
    assert Path(variables["API_GATEWAYS_FILE"]).read_bytes() == before
    assert main(["gateway", "revoke", "gw-1"]) == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "gw-1"],
        ["add", "gw-1", "--all-devices", "--device", "bracelet-001"],
        ["add", "gw-1", "--all-devices", "--scope", "everything"],
        ["add", "--all-devices"],
        [],
    ],
)
def test_wrong_usage_exits_with_2(variables: dict[str, str], arguments: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["gateway", *arguments])
    assert ended.value.code == 2
    assert not Path(variables["API_GATEWAYS_FILE"]).exists()


@pytest.fixture
def service(tmp_path: Path) -> Iterator[int]:
    """The user id of a service that owns the directory of these tests, which run as root."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    user = 54321
    seen = [each for each in tmp_path.parents if stat.S_IMODE(each.stat().st_mode) & 0o077 == 0]
    os.chown(tmp_path, user, user)
    for each in seen:
        each.chmod(0o711)
    yield user
    os.seteuid(0)
    for each in seen:
        each.chmod(0o700)


def test_files_written_by_root_belong_to_the_service(
    variables: dict[str, str], service: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("API_GATEWAYS_FILE", str(tmp_path / "registry" / "gateways.json"))
    monkeypatch.setenv("API_AUDIT_FILE", str(tmp_path / "logs" / "new" / "audit.jsonl"))
    assert main(["gateway", "add", "gw-1", "--all-devices"]) == 0
    assert main(["keys", "rotate"]) == 0
    os.seteuid(service)
    assert main(["gateway", "add", "gw-2", "--all-devices"]) == 0
    os.seteuid(0)
    assert main(["gateway", "revoke", "gw-1"]) == 0
    files = [each for each in tmp_path.rglob("*") if each.name != "pseudonym.key"]
    assert len(files) == 8, "registry, lock, audit log, key, and their directories"
    assert {each.stat().st_uid for each in files} == {service}
    os.seteuid(service)
    registry = Registry.open(tmp_path / "registry" / "gateways.json")
    assert registry.active("gw-1") is None
    assert registry.active("gw-2")


def test_file_replaced_by_root_keeps_its_owner_in_a_directory_of_root(
    variables: dict[str, str], service: int, tmp_path: Path
) -> None:
    os.chown(tmp_path, 0, 0)
    assert main(["gateway", "add", "gw-1", "--all-devices"]) == 0
    os.chown(variables["API_GATEWAYS_FILE"], service, service)
    assert main(["gateway", "revoke", "gw-1"]) == 0
    assert Path(variables["API_GATEWAYS_FILE"]).stat().st_uid == service


def test_another_user_gets_an_error_with_the_owner(
    variables: dict[str, str], service: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", "add", "gw-1", "--all-devices"]) == 0
    assert main(["keys", "rotate"]) == 0
    before = Path(variables["API_GATEWAYS_FILE"]).read_bytes()
    capsys.readouterr()
    os.seteuid(service + 1)
    for command in (["gateway", "revoke", "gw-1"], ["gateway", "list"], ["keys", "rotate"], ["keys", "list"]):
        assert main(command) == 2
        assert f"it belongs to user {service}; run this as that user" in capsys.readouterr().err
    os.seteuid(0)
    assert Path(variables["API_GATEWAYS_FILE"]).read_bytes() == before


def test_rotate_and_list_keys(variables: dict[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["keys", "rotate"]) == 0
    assert main(["keys", "rotate"]) == 0
    kids = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert main(["keys", "list"]) == 0
    old, new = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    assert [old[0], new[0]] == kids
    assert old[1].startswith("verifies until 20")
    assert new[1] == "signs"
    assert [line["kid"] for line in audit(variables) if line["action"] == "key_made"] == kids


def test_rotate_keeps_the_directory_mode_and_refuses_a_directory_others_can_write(
    variables: dict[str, str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = tmp_path / "token-keys"
    directory.mkdir()
    for mode in (0o755, 0o2750, 0o700):
        directory.chmod(mode)
        assert main(["keys", "rotate"]) == 0
        assert stat.S_IMODE(directory.stat().st_mode) == mode
    for mode in (0o770, 0o757, 0o1777):
        directory.chmod(mode)
        assert main(["keys", "rotate"]) == 2
        assert "API_KEYS_DIR" in (error := capsys.readouterr().err)
        assert "other users can write to it" in error
        assert stat.S_IMODE(directory.stat().st_mode) == mode
    assert len(list(directory.iterdir())) == 3


@pytest.mark.parametrize("command", ["rotate", "list"])
def test_unusable_keys_exit_with_2_and_no_key_is_made(
    variables: dict[str, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    command: str,
) -> None:
    monkeypatch.setenv("API_KEYS_DIR", "/etc/passwd")
    assert main(["keys", command]) == 2
    assert "API_KEYS_DIR /etc/passwd: Not a directory" in capsys.readouterr().err
    monkeypatch.setenv("API_KEYS_DIR", str(tmp_path / "keys"))
    (tmp_path / "keys").mkdir()
    odd = tmp_path / "keys" / "99999999T999999.999999Z-aaaaaaaa.pem"
    odd.touch(0o600)
    assert main(["keys", command]) == 2
    assert f"API_KEYS_DIR {odd}: its name does not contain a time" in capsys.readouterr().err
    assert list((tmp_path / "keys").iterdir()) == [odd]


def test_registry_others_can_read_exits_with_2(
    variables: dict[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["gateway", "add", "gw-1", "--all-devices"]) == 0
    Path(variables["API_GATEWAYS_FILE"]).chmod(0o644)
    for command in (["gateway", "list"], ["gateway", "revoke", "gw-1"]):
        assert main(command) == 2
        assert "chmod 600" in capsys.readouterr().err
