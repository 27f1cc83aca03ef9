"""The commands about bracelets: links, scan, pair, forget.

They are sent to the running gateway through its control socket. If none is running, scan, pair and forget use
the Bluetooth adapter themselves and lock the data directory meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edge_gateway.config import Config
from edge_gateway.control import Answer, ask
from edge_gateway.errors import CommandFailed, NotRunning

_SLACK_S = 60.0
"""Longest time to find, connect to and pair with a bracelet, beyond the time asked for."""


def links(config: Config, chosen: argparse.Namespace) -> int:
    """Print the state of each link of a running gateway."""
    answer = asyncio.run(ask(config.control_path, {"command": "links"}, _SLACK_S))
    links: Mapping[str, Any] = answer["links"]
    by_device = {device: links.get(device) for device in sorted({*config.patients, *links})}
    if chosen.json:
        print(json.dumps({**answer, "links": by_device}))
        return 0
    for component, state in sorted(answer["parts"].items()):
        print(f"{component}: {state}")
    rows = [(device, *_link_row(link, datetime.now(UTC))) for device, link in by_device.items()]
    print(table(("bracelet", "over", "state", "for", "last heard", "battery", "signal", "reason"), rows))
    return 0


def scan(config: Config, chosen: argparse.Namespace) -> int:
    """Print the devices in range that offer vitals."""
    answer = asyncio.run(_ask_or_run(config, {"command": "scan", "seconds": chosen.seconds}))
    if chosen.json:
        print(json.dumps(answer["devices"]))
        return 0
    rows: list[tuple[str, ...]] = [
        (
            each["address"],
            each["name"],
            f"{each['rssi']} dBm",
            ", ".join(each["vitals"]),
            each["listed_as"] or "no",
        )
        for each in answer["devices"]
    ]
    if rows:
        print(table(("address", "name", "signal", "vitals", "listed as"), rows))
    else:
        print("no device in range offers vitals; a connected bracelet does not advertise")
    return 0


def pair(config: Config, chosen: argparse.Namespace) -> int:
    """Pair with a bracelet."""
    answer = asyncio.run(_ask_or_run(config, {"command": "pair", "device_id": chosen.device}))
    print(f"{answer['device_id']} is paired; its address is {answer['address']}")
    return 0


def forget(config: Config, chosen: argparse.Namespace) -> int:
    """Delete a bracelet's bond and address."""
    answer = asyncio.run(_ask_or_run(config, {"command": "forget", "device_id": chosen.device}))
    result = "bond and address deleted" if answer["forgotten"] else "there was no bond or address"
    print(f"{answer['device_id']}: {result}; the bracelet is still listed in the configuration")
    return 0


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return rows as text, each column as wide as its widest cell."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def ago(moment: str | None, now: datetime) -> str:
    """Return how long ago a moment was, as in "5 min"."""
    if moment is None:
        return "never"
    seconds = max(0.0, (now - datetime.fromisoformat(moment)).total_seconds())
    for unit, length in (("d", 86_400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{seconds:.0f} s"


def _link_row(link: Mapping[str, Any] | None, now: datetime) -> tuple[str, ...]:
    if link is None:
        return ("", "never heard", "", "never", "", "", "")
    reasons = [(link["absence"] or "").replace("_", " "), link["reason"]]
    if link["notice"]:
        reasons = [each for each in reasons if each != link["notice"]]
        reasons.append(f"{link['notice']} ({ago(link['notice_at'], now)} ago)")
    return (
        link["transport"],
        link["state"],
        ago(link["since"], now),
        ago(link["heard"], now),
        "" if link["battery_pct"] is None else f"{link['battery_pct']} %",
        "" if link["rssi"] is None else f"{link['rssi']} dBm",
        "; ".join(filter(None, reasons)),
    )


async def _ask_or_run(config: Config, request: Mapping[str, Any]) -> Answer:
    if config.ble is None:
        raise CommandFailed("Bluetooth is not configured: add a [ble] section")
    try:
        return await ask(config.control_path, request, request.get("seconds", 0) + _SLACK_S)
    except NotRunning:
        from edge_gateway.gateway import standalone_handlers  # slow to import

        async with standalone_handlers(config) as handlers:
            return await handlers[request["command"]](request)
