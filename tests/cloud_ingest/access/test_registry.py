import json
import os
import stat
import threading
from pathlib import Path

import pytest

from cloud_ingest.access.permissions import GATEWAY_SCOPES, Scope
from cloud_ingest.access.registry import Registry
from cloud_ingest.errors import InvalidSettings, NotRegistered


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "new" / "gateways.json"


def test_add_stores_a_hash_in_a_file_with_mode_0600(path: Path) -> None:
    _, secret = Registry.open(path).add("gw-1", GATEWAY_SCOPES, frozenset({"bracelet-001"}))
    assert len(secret) >= 43, "256 bits in base64"
    assert secret not in path.read_text()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (entry,) = json.loads(path.read_text())["gateways"]
    assert sorted(entry["scopes"]) == ["errors:write", "readings:write"]
    assert (entry["devices"], entry["revoked"]) == (["bracelet-001"], None)


def test_authenticate_requires_matching_name_and_secret(path: Path) -> None:
    registry = Registry.open(path)
    _, one = registry.add("gw-1", GATEWAY_SCOPES, None)
    _, two = registry.add("gw-2", GATEWAY_SCOPES, None)
    registration = registry.authenticate("gw-1", one)
    assert registration is not None
    assert registration.gateway_id == "gw-1"
    for name, secret in (
        ("gw-1", two),
        ("gw-1", ""),
        ("gw-1", one[:-1]),
        ("gw-3", one),
        ("", ""),
        ("gw-3", ""),
    ):
        assert registry.authenticate(name, secret) is None


def test_changes_by_another_process_apply_at_once(path: Path) -> None:
    api, command = Registry.open(path), Registry.open(path)
    _, secret = command.add("gw-1", GATEWAY_SCOPES, None)
    assert api.authenticate("gw-1", secret)
    command.change("gw-1", frozenset({Scope.METRICS_READ}), frozenset({"bracelet-007"}))
    seen = api.active("gw-1")
    assert seen is not None
    assert (seen.scopes, seen.devices) == (frozenset({Scope.METRICS_READ}), frozenset({"bracelet-007"}))
    assert api.authenticate("gw-1", secret), "the secret is kept"
    command.revoke("gw-1")
    assert api.active("gw-1") is None
    assert api.authenticate("gw-1", secret) is None


def test_gateway_registered_again_has_a_new_registration(path: Path) -> None:
    registry = Registry.open(path)
    first, secret = registry.add("gw-1", GATEWAY_SCOPES, None)
    with pytest.raises(NotRegistered, match="already"):
        registry.add("gw-1", GATEWAY_SCOPES, None)
    registry.revoke("gw-1")
    with pytest.raises(NotRegistered, match="not registered"):
        registry.revoke("gw-1")
    second, _ = registry.add("gw-1", GATEWAY_SCOPES, None)
    assert second.added > first.added
    assert registry.authenticate("gw-1", secret) is None


def test_change_of_an_unknown_gateway(path: Path) -> None:
    with pytest.raises(NotRegistered, match="gw-9"):
        Registry.open(path).change("gw-9", None, None)


@pytest.mark.parametrize("name", ["", "a/b", "x" * 129, "a\nb"])
def test_add_refuses_an_invalid_name(path: Path, name: str) -> None:
    with pytest.raises(InvalidSettings, match="gateway_id"):
        Registry.open(path).add(name, GATEWAY_SCOPES, None)


def test_unusable_file_is_refused_at_start_and_ignored_later(path: Path) -> None:
    running = Registry.open(path)
    _, secret = running.add("gw-1", GATEWAY_SCOPES, None)
    assert running.active("gw-1")
    good = path.read_text()
    for content, mode in (("{", 0o600), (good, 0o644), ('{"gateways": [{"gateway_id": "gw-1"}]}', 0o600)):
        path.write_text(content)
        path.chmod(mode)
        os.utime(path, ns=(0, len(content)))
        with pytest.raises(InvalidSettings, match="API_GATEWAYS_FILE"):
            Registry.open(path)
        assert running.authenticate("gw-1", secret), "a corrupt file locks no gateway out"


def test_concurrent_commands_keep_every_gateway(path: Path) -> None:
    threads = [
        threading.Thread(target=Registry.open(path).add, args=(f"gw-{n}", GATEWAY_SCOPES, None))
        for n in range(12)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {each.gateway_id for each in Registry.open(path).all()} == {f"gw-{n}" for n in range(12)}


def test_repr_of_a_registration_omits_hash_and_patients(path: Path) -> None:
    added, _ = Registry.open(path).add("gw-1", GATEWAY_SCOPES, None, frozenset({"patient-001-ss"}))
    assert added.secret_sha256 not in repr(added)
    assert "patient-001-ss" not in repr(added)


def test_registry_without_patients_field_allows_any_patient(path: Path) -> None:
    registry = Registry.open(path)
    registry.add("gw-1", GATEWAY_SCOPES, None)
    document = json.loads(path.read_text())
    del document["gateways"][0]["patients"]
    path.write_text(json.dumps(document))
    registration = Registry.open(path).active("gw-1")
    assert registration is not None
    assert registration.patients is None
