"""What a person asks of a gateway as a whole: status, doctor, self-test."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from edge_gateway.commands import ago, table
from edge_gateway.config import Config
from edge_gateway.control import Answer, Handler, ask
from edge_gateway.doctor import Verdict, examine
from edge_gateway.outbox import Outbox
from edge_gateway.people import People
from edge_gateway.state import GatewayState

_WITHIN_S = 60.0
_MARKS = {Verdict.OK: "✓", Verdict.ODD: "!", Verdict.BAD: "✗"}


def handlers(state: GatewayState, people: People, outbox: Outbox) -> dict[str, Handler]:
    """The commands of this module that a running gateway answers."""

    async def status(_request: Mapping[str, Any]) -> Answer:
        ward = people.ward
        down = state.undelivered_since
        return {
            **state.to_json(await outbox.counts()),
            "undelivered_since": down.isoformat() if down else None,
            "outbox_filled": round(state.outbox_filled, 4),
            "on_duty": ward.duty.name if ward.duty else None,
            "children": [
                {
                    "patient_id": child.patient_id,
                    "last_value": child.watched.latest.isoformat() if child.watched.latest else None,
                    "alarms": {episode.group.value: episode.phase.value for episode in child.episodes.open},
                }
                for child in ward.children.values()
            ],
            "conditions": [
                {"kind": each.kind.value, "priority": each.priority.name, "subject": each.subject}
                for each in ward.standing
            ],
        }

    async def self_test(_request: Mapping[str, Any]) -> Answer:
        return {"contacts": dict(await people.prove())}

    return {"status": status, "self-test": self_test}


def status(config: Config, chosen: argparse.Namespace) -> int:
    """Print how a running gateway is; 1 where something urgent stands."""
    answer = asyncio.run(ask(config.control_path, {"command": "status"}, _WITHIN_S))
    urgent = [each for each in answer["conditions"] if each["priority"] == "HIGH"]
    if chosen.json:
        print(json.dumps(answer))
        return int(bool(urgent))
    now, outbox = datetime.now(UTC), answer["outbox"]
    print(f"gateway {answer['gateway_id']}, running for {ago(answer['started'], now)}")
    for part, text in sorted(answer["parts"].items()):
        print(f"{part}: {text}")
    since = answer["undelivered_since"]
    waiting = f"for {ago(since, now)} nothing could be delivered" if since else "deliveries work"
    print(f"outbox: {outbox['pending']} readings wait, {answer['outbox_filled']:.1%} full, {waiting}")
    rows: list[tuple[str, ...]] = [
        (
            child["patient_id"],
            ago(child["last_value"], now),
            ", ".join(f"{group} {phase}" for group, phase in child["alarms"].items()) or "none",
        )
        for child in answer["children"]
    ]
    if rows:
        print(table(("child", "last value", "alarms"), rows))
    for each in answer["conditions"]:
        print(" ".join(filter(None, [each["priority"], each["kind"], each["subject"]])))
    return int(bool(urgent))


def doctor(config: Config, chosen: argparse.Namespace) -> int:
    """Print what works and what does not, with its remedy; 1 where something does not."""
    bad = False
    findings = []
    for found in examine(config):
        bad = bad or found.verdict is Verdict.BAD
        findings.append({"what": found.what, "verdict": found.verdict.value, "text": found.text})
        if not chosen.json:
            print(f"{_MARKS[found.verdict]} {found.what}: {found.text}")
            if found.remedy:
                print(f"    {found.remedy}")
    if chosen.json:
        print(json.dumps(findings))
    return int(bad)


def self_test(config: Config, chosen: argparse.Namespace) -> int:
    """Send every contact a test message; 1 where one did not arrive."""
    answer = asyncio.run(ask(config.control_path, {"command": "self-test"}, _WITHIN_S))["contacts"]
    if chosen.json:
        print(json.dumps(answer))
    elif not answer:
        print("no [[contact]] is configured")
    else:
        for name, failed in answer.items():
            print(f"{'✗' if failed else '✓'} {name}: {failed or 'its service took the message'}")
    return int(any(answer.values()))


COMMANDS = {"status": status, "doctor": doctor, "self-test": self_test}
