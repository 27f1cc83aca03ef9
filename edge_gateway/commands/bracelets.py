"""What a person asks of a gateway's bracelets: links, scan, pair, forget.

A running gateway is asked through its control socket. Where none runs, scan, pair and forget use the radio
themselves, and hold the data directory meanwhile.
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
"""Longest a command takes beyond what it was asked to take: finding, connecting, pairing."""


def links(config: Config, chosen: argparse.Namespace) -> int:
    """Print the state of each link of a running gateway."""
    answer = asyncio.run(ask(config.control_path, {"command": "links"}, _SLACK_S))
    known: Mapping[str, Any] = answer["links"]
    shown = {device: known.get(device) for device in sorted({*config.patients, *known})}
    if chosen.json:
        print(json.dumps({**answer, "links": shown}))
        return 0
    for part, state in sorted(answer["parts"].items()):
        print(f"{part}: {state}")
    rows = [(device, *_link_row(link, datetime.now(UTC))) for device, link in shown.items()]
    print(table(("bracelet", "over", "state", "for", "heard", "battery", "signal", "why"), rows))
    return 0


def scan(config: Config, chosen: argparse.Namespace) -> int:
    """Print who is on the air."""
    answer = asyncio.run(_ask_or_do(config, {"command": "scan", "seconds": chosen.seconds}))
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
        print(table(("address", "name", "signal", "vitals", "on the list"), rows))
    else:
        print("nobody who offers vitals; a bracelet that is connected does not advertise")
    return 0


def pair(config: Config, chosen: argparse.Namespace) -> int:
    """Pair with a bracelet."""
    answer = asyncio.run(_ask_or_do(config, {"command": "pair", "device_id": chosen.device}))
    print(f"{answer['device_id']} is paired and known as {answer['address']}")
    return 0


def forget(config: Config, chosen: argparse.Namespace) -> int:
    """Forget a bracelet's bond and address."""
    answer = asyncio.run(_ask_or_do(config, {"command": "forget", "device_id": chosen.device}))
    done = "its bond and address are forgotten" if answer["forgotten"] else "nothing was known of it"
    print(f"{answer['device_id']}: {done}; it stays on the list in the configuration")
    return 0


def table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Columns as wide as their widest cell."""
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    lines = (
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (head, *rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def ago(moment: str | None, now: datetime) -> str:
    """How long ago a moment was, shortly."""
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
    because = [(link["absence"] or "").replace("_", " "), link["reason"]]
    if link["notice"]:
        because = [each for each in because if each != link["notice"]]
        because.append(f"{link['notice']} ({ago(link['notice_at'], now)} ago)")
    return (
        link["transport"],
        link["state"],
        ago(link["since"], now),
        ago(link["heard"], now),
        "" if link["battery_pct"] is None else f"{link['battery_pct']} %",
        "" if link["rssi"] is None else f"{link['rssi']} dBm",
        "; ".join(filter(None, because)),
    )


async def _ask_or_do(config: Config, request: Mapping[str, Any]) -> Answer:
    if config.ble is None:
        raise CommandFailed("this gateway has no Bluetooth: the configuration has no [ble]")
    try:
        return await ask(config.control_path, request, request.get("seconds", 0) + _SLACK_S)
    except NotRunning:
        from edge_gateway.gateway import on_the_radio  # bleak and all that

        async with on_the_radio(config) as handlers:
            return await handlers[request["command"]](request)
