"""Before the first night: does everything this gateway depends on work, and if not, what is to be done?

Looks, and changes nothing.
"""

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

_WITHIN_S = 5.0
_ADAPTERS = Path("/sys/class/bluetooth")


class Verdict(StrEnum):
    """How a check went."""

    OK = "ok"
    ODD = "odd"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Finding:
    """One check.

    Attributes:
        remedy: what to do about it; empty where nothing needs to be done.
    """

    what: str
    verdict: Verdict
    text: str
    remedy: str = ""


def examine(config: Config) -> Iterator[Finding]:
    """Check everything, one after the other."""
    for warning in config.warnings():
        yield Finding("configuration", Verdict.ODD, warning)
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
            "contacts", Verdict.ODD, "nobody is told of alarms beyond the page and MQTT", "Add a [[contact]]"
        )
    if config.page:
        yield _page(config)


def _data_dir(directory: Path, bound: int) -> Finding:
    what = "data directory"
    existing = next(each for each in (directory, *directory.absolute().parents) if each.exists())
    try:
        probe = existing / ".kidjamo-doctor"
        probe.write_bytes(b"")
        probe.unlink()
    except OSError as error:
        return Finding(
            what,
            Verdict.BAD,
            f"{existing} cannot be written: {error.strerror}",
            "Correct its owner, or data_dir",
        )
    free = shutil.disk_usage(existing).free
    if free < bound:
        return Finding(
            what,
            Verdict.ODD,
            f"{free / 2**20:.0f} MiB are free, and the outbox may grow to {bound / 2**20:.0f}",
            "Free some space, or lower outbox.max_mb",
        )
    return Finding(what, Verdict.OK, f"{directory}, {free / 2**30:.1f} GiB free")


def _clock() -> Finding:
    synchronised = system_clock.is_synchronised()
    if synchronised is None:
        return Finding(
            "clock", Verdict.ODD, "nobody knows whether it is right", "Compare it with another one"
        )
    if synchronised:
        return Finding("clock", Verdict.OK, "synchronised")
    return Finding(
        "clock",
        Verdict.ODD,
        "not synchronised: readings may be dated wrongly",
        "sudo timedatectl set-ntp true",
    )


def _api(config: Config) -> Finding:
    import httpx  # the other commands need none of it

    from edge_gateway.uplink.oauth import credentials_of

    what = "ingestion API"
    verify = httpx.create_ssl_context(verify=str(config.api.ca_file)) if config.api.ca_file else True
    try:
        answer = httpx.get(
            f"{config.api.url}/health", timeout=_WITHIN_S, verify=verify, auth=credentials_of(config.api)
        )
    except DeliveryFailed as error:
        return Finding(what, Verdict.BAD, str(error), "Check client_id and client_secret_file in [api]")
    except (httpx.HTTPError, OSError) as error:
        return Finding(
            what, Verdict.BAD, f"{config.api.url} does not answer: {error}", "Check the network and api.url"
        )
    if answer.status_code != httpx.codes.OK:
        return Finding(what, Verdict.BAD, f"/health answers {answer.status_code}", "Check api.url")
    if config.api.client_secret_file:
        return _secret(what, config.api.client_secret_file)
    return Finding(what, Verdict.OK, config.api.url)


def _reachable(what: str, host: str, port: int, remedy: str) -> Finding:
    try:
        with closing(socket.create_connection((host, port), timeout=_WITHIN_S)):
            return Finding(what, Verdict.OK, f"{host}:{port}")
    except OSError as error:
        return Finding(what, Verdict.BAD, f"{host}:{port} does not answer: {error}", remedy)


def _adapter() -> Finding:
    found = sorted(each.name for each in _ADAPTERS.glob("hci*")) if _ADAPTERS.is_dir() else []
    if found:
        return Finding("Bluetooth", Verdict.OK, ", ".join(found))
    return Finding(
        "Bluetooth",
        Verdict.BAD,
        "no adapter",
        "Plug one in, or wake it: sudo systemctl start bluetooth; rfkill unblock bluetooth",
    )


def _secret(what: str, path: Path) -> Finding:
    """A file with a secret: there, not empty, and nobody else's."""
    try:
        text, mode = path.read_text(encoding="utf-8").strip(), path.stat().st_mode
    except (OSError, UnicodeDecodeError) as error:
        return Finding(what, Verdict.BAD, f"{path} cannot be read: {error}", "Correct the path or its owner")
    if not text:
        return Finding(what, Verdict.BAD, f"{path} is empty", "Put the secret there")
    if mode & (stat.S_IWGRP | stat.S_IRWXO):
        return Finding(what, Verdict.ODD, f"{path} can be read by others", f"chmod 600 {path}")
    return Finding(what, Verdict.OK, str(path))


def _page(config: Config) -> Finding:
    assert config.page is not None
    try:
        config.page.check()
    except InvalidConfig as error:
        return Finding("page", Verdict.BAD, f"{error.field} {error.reason}", error.remedy)
    if config.page.pin_file:
        return _secret("page", config.page.pin_file)
    return Finding("page", Verdict.OK, "for this machine only, without a PIN")
