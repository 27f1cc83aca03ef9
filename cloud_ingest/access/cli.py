"""The commands `kidjamo-ingest gateway` and `keys`: registered gateways and token signing keys."""

from __future__ import annotations

import argparse
import sys
from typing import Any

from cloud_ingest.access.audit import Action, AuditLog
from cloud_ingest.access.permissions import GATEWAY_SCOPES, Scope
from cloud_ingest.access.registry import AsBefore, Registration, Registry
from cloud_ingest.errors import NotRegistered
from cloud_ingest.settings import Settings

OK = 0


def add_commands(commands: Any) -> None:
    """Add both commands to the subcommands of a parser."""
    gateways = _group(
        commands, "gateway", "register, change, revoke or list the gateways that may send readings"
    )
    add = _command(gateways, "add", _add, "register a gateway; prints its secret, once, on standard output")
    add.add_argument("gateway_id", help="its name, the same as gateway_id in its configuration")
    _add_permissions(add, default=GATEWAY_SCOPES)
    change = _command(
        gateways, "change", _change, "replace the devices, and scopes and patients if given; keep the secret"
    )
    change.add_argument("gateway_id")
    _add_permissions(change, default=None)
    revoke = _command(gateways, "revoke", _revoke, "refuse a gateway and its tokens from now on")
    revoke.add_argument("gateway_id")
    _command(gateways, "list", _list, "list all gateways, revoked ones included")
    keys = _group(commands, "keys", "rotate or list the keys that sign access tokens")
    _command(keys, "rotate", _rotate, "make the key that signs from now on, and remove expired keys")
    _command(keys, "list", _list_keys, "list the keys and the use of each")


def _group(commands: Any, name: str, text: str) -> Any:
    return commands.add_parser(name, help=text, description=text).add_subparsers(
        required=True, metavar="action"
    )


def _command(group: Any, name: str, run: Any, text: str) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = group.add_parser(name, help=text, description=text)
    parser.set_defaults(command=run)
    return parser


def _add_permissions(parser: argparse.ArgumentParser, default: frozenset[Scope] | None) -> None:
    default_text = ", ".join(sorted(default)) if default else "as before"
    parser.add_argument(
        "--scope",
        dest="scopes",
        action="append",
        choices=[scope.value for scope in Scope],
        help=f"a scope of its tokens; repeatable (default: {default_text})",
    )
    devices = parser.add_mutually_exclusive_group(required=True)
    devices.add_argument(
        "--device",
        dest="devices",
        action="append",
        metavar="ID",
        help="a device whose readings it may send; repeatable",
    )
    devices.add_argument("--all-devices", action="store_true", help="it may send readings of any device")
    patients = parser.add_mutually_exclusive_group()
    patients.add_argument(
        "--patient",
        dest="patients",
        action="append",
        metavar="ID",
        help="a patient whose readings it may send; repeatable "
        f"(default: {'any' if default else default_text})",
    )
    patients.add_argument("--all-patients", action="store_true", help="it may send readings of any patient")


def _add(settings: Settings, chosen: argparse.Namespace) -> int:
    if sys.stdout is None:
        raise NotRegistered(
            f"{chosen.gateway_id} is not registered: no standard output to print its secret on"
        )
    audit, registry = AuditLog(settings.audit_file), Registry.open(settings.gateways_file)
    scopes, patients = _scopes(chosen) or GATEWAY_SCOPES, frozenset(chosen.patients or ()) or None
    added, secret = registry.add(chosen.gateway_id, scopes, _devices(chosen), patients)
    _audit_change(audit, Action.GATEWAY_ADDED, added)
    try:
        print(f"{chosen.gateway_id} is registered; its secret, which is not stored:", file=sys.stderr)
        print(secret, flush=True)
    except OSError as error:
        _revoke_registration(registry, audit, chosen.gateway_id)
        raise NotRegistered(
            f"{chosen.gateway_id} is revoked again, because its secret could not be printed: {error}"
        ) from None
    return OK


def _change(settings: Settings, chosen: argparse.Namespace) -> int:
    audit, registry = AuditLog(settings.audit_file), Registry.open(settings.gateways_file)
    patients: frozenset[str] | AsBefore | None = "as before"
    if chosen.patients or chosen.all_patients:
        patients = frozenset(chosen.patients or ()) or None
    changed = registry.change(chosen.gateway_id, _scopes(chosen), _devices(chosen), patients)
    _audit_change(audit, Action.GATEWAY_CHANGED, changed)
    print(f"{chosen.gateway_id} may send readings of: {_devices_of(changed)}; {_patients_of(changed)}")
    return OK


def _revoke(settings: Settings, chosen: argparse.Namespace) -> int:
    audit, registry = AuditLog(settings.audit_file), Registry.open(settings.gateways_file)
    _revoke_registration(registry, audit, chosen.gateway_id)
    print(f"{chosen.gateway_id} is refused from now on")
    return OK


def _list(settings: Settings, _chosen: argparse.Namespace) -> int:
    for gateway in Registry.open(settings.gateways_file).all():
        scopes = " ".join(sorted(gateway.scopes))
        columns = _state(gateway), scopes, _devices_of(gateway), _patients_of(gateway)
        print(gateway.gateway_id, *columns, sep="\t")
    return OK


def _rotate(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.access.signing_keys import SigningKeys  # loads cryptography

    audit, keys = AuditLog(settings.audit_file), SigningKeys.of(settings)
    key = keys.make()
    audit.write(Action.KEY_MADE, kid=key.kid)
    print(f"{key.kid} signs from now on")
    for kid in keys.remove_expired():
        audit.write(Action.KEY_REMOVED, kid=kid)
        print(f"{kid} is removed")
    return OK


def _list_keys(settings: Settings, _chosen: argparse.Namespace) -> int:
    from cloud_ingest.access.signing_keys import SigningKeys  # loads cryptography

    for key in SigningKeys.of(settings).all():
        until = key.verifies_until
        print(f"{key.kid}\t{f'verifies until {until:%Y-%m-%d %H:%M:%S} UTC' if until else 'signs'}")
    return OK


def _revoke_registration(registry: Registry, audit: AuditLog, gateway_id: str) -> None:
    registry.revoke(gateway_id)
    audit.write(Action.GATEWAY_REVOKED, gateway=gateway_id)


def _audit_change(audit: AuditLog, action: Action, gateway: Registration) -> None:
    scope = " ".join(sorted(gateway.scopes))
    devices, patients = _devices_of(gateway), _patients_of(gateway)
    audit.write(action, gateway=gateway.gateway_id, scope=scope, devices=devices, patients=patients)


def _scopes(chosen: argparse.Namespace) -> frozenset[Scope] | None:
    return frozenset(map(Scope, chosen.scopes)) if chosen.scopes else None


def _devices(chosen: argparse.Namespace) -> frozenset[str] | None:
    return None if chosen.all_devices else frozenset(chosen.devices)


def _devices_of(gateway: Registration) -> str:
    return "all devices" if gateway.devices is None else " ".join(sorted(gateway.devices))


def _patients_of(gateway: Registration) -> str:
    """Return the number of patients; their identifiers are written to the registry only."""
    if gateway.patients is None:
        return "any patient"
    return f"{len(gateway.patients)} patient{'' if len(gateway.patients) == 1 else 's'}"


def _state(gateway: Registration) -> str:
    return f"revoked {gateway.revoked:%Y-%m-%d}" if gateway.revoked else f"since {gateway.added:%Y-%m-%d}"
