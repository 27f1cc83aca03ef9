"""Checks everything the gateway depends on, and names remedies. Changes nothing."""

from __future__ import annotations

import shutil
import socket
import stat
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from edge_gateway import system_clock
from edge_gateway.config import Config
from edge_gateway.errors import DeliveryFailed, InvalidConfig

_TIMEOUT_S = 5.0
_ADAPTERS = Path("/sys/class/bluetooth")


class CheckVerdict(StrEnum):
    """Result of a check."""

    OK = "ok"
    ODD = "odd"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check, with what was found.

    Attributes:
        remedy: what to do; empty if nothing.
    """

    what: str
    verdict: CheckVerdict
    text: str
    remedy: str = ""


def run_checks(config: Config) -> Iterator[Finding]:
    """Run all checks and yield their results."""
    for warning in config.warnings():
        yield Finding("configuration", CheckVerdict.ODD, warning)
    yield _data_dir(config.data_dir, config.outbox.max_bytes)
    yield _clock()
    yield _api(config)
    if config.mqtt:
        yield _reachable(
            "MQTT broker",
            config.mqtt.host,
            config.mqtt.port,
            "Start the broker (sudo systemctl start mosquitto), or correct host and port in [mqtt]",
        )
    if config.ble and config.ble.radio == "system":
        yield _adapter()
    for contact in config.contact:
        yield _secret(f"contact {contact.name}", contact.url_file)
    if not config.contact:
        yield Finding(
            "contacts",
            CheckVerdict.ODD,
            "none: alarms are shown on the page and published over MQTT only",
            "Add a [[contact]]",
        )
    if config.page:
        yield _page(config)


def _data_dir(directory: Path, max_bytes: int) -> Finding:
    what = "data directory"
    existing = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    try:
        probe = existing / ".kidjamo-doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding(
            what,
            CheckVerdict.BAD,
            f"{existing} is not writable: {error.strerror}",
            "Correct its owner, or set another data_dir",
        )
    free = shutil.disk_usage(existing).free
    if free < max_bytes:
        return Finding(
            what,
            CheckVerdict.ODD,
            f"{free / 2**20:.0f} MiB free, but the outbox may grow to {max_bytes / 2**20:.0f} MiB",
            "Free disk space, or lower outbox.max_mb",
        )
    return Finding(what, CheckVerdict.OK, f"{directory}, {free / 2**30:.1f} GiB free")


def _clock() -> Finding:
    synchronised = system_clock.is_synchronised()
    if synchronised is None:
        return Finding(
            "clock",
            CheckVerdict.ODD,
            "cannot check whether it is synchronised",
            "Compare it with another clock",
        )
    if synchronised:
        return Finding("clock", CheckVerdict.OK, "synchronised")
    return Finding(
        "clock",
        CheckVerdict.ODD,
        "not synchronised: readings may get wrong timestamps",
        "sudo timedatectl set-ntp true",
    )


def _api(config: Config) -> Finding:
    import httpx  # slow to import, and other commands do not need it

    from edge_gateway.uplink.oauth import credentials_of

    what = "ingestion API"
    verify = httpx.create_ssl_context(verify=str(config.api.ca_file)) if config.api.ca_file else True
    try:
        response = httpx.get(
            f"{config.api.url}/health", timeout=_TIMEOUT_S, verify=verify, auth=credentials_of(config.api)
        )
    except DeliveryFailed as error:
        return Finding(what, CheckVerdict.BAD, str(error), "Check client_id and client_secret_file in [api]")
    except (httpx.HTTPError, OSError) as error:
        return Finding(
            what,
            CheckVerdict.BAD,
            f"{config.api.url} cannot be reached: {error}",
            "Check the network and api.url",
        )
    if response.status_code != httpx.codes.OK:
        return Finding(
            what, CheckVerdict.BAD, f"/health returned HTTP {response.status_code}", "Check api.url"
        )
    if config.api.client_secret_file:
        return _secret(what, config.api.client_secret_file)
    return Finding(what, CheckVerdict.OK, config.api.url)


def _reachable(what: str, host: str, port: int, remedy: str) -> Finding:
    try:
        with closing(socket.create_connection((host, port), timeout=_TIMEOUT_S)):
            return Finding(what, CheckVerdict.OK, f"{host}:{port}")
    except OSError as error:
        return Finding(what, CheckVerdict.BAD, f"{host}:{port} cannot be reached: {error}", remedy)


def _adapter() -> Finding:
    adapters = sorted(each.name for each in _ADAPTERS.glob("hci*")) if _ADAPTERS.is_dir() else []
    if adapters:
        return Finding("Bluetooth", CheckVerdict.OK, ", ".join(adapters))
    return Finding(
        "Bluetooth",
        CheckVerdict.BAD,
        "no adapter",
        "Plug one in, or enable it: sudo systemctl start bluetooth; rfkill unblock bluetooth",
    )


def _secret(what: str, path: Path) -> Finding:
    """Check that a file with a secret is readable, not empty, and private."""
    try:
        text, mode = path.read_text(encoding="utf-8").strip(), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        return Finding(
            what, CheckVerdict.BAD, f"{path} cannot be read: {error}", "Correct the path or its owner"
        )
    if not text:
        return Finding(what, CheckVerdict.BAD, f"{path} is empty", "Write the secret to it")
    if mode & (stat.S_IWGRP | stat.S_IRWXO):
        return Finding(what, CheckVerdict.ODD, f"{path} is accessible to other users", f"chmod 600 {path}")
    return Finding(what, CheckVerdict.OK, str(path))


def _page(config: Config) -> Finding:
    assert config.page is not None
    try:
        config.page.check()
    except InvalidConfig as error:
        return Finding("page", CheckVerdict.BAD, f"{error.field} {error.reason}", error.remedy)
    if config.page.pin_file:
        return _secret("page", config.page.pin_file)
    return Finding("page", CheckVerdict.OK, "only for this machine, without a PIN")
