"""What a person asks of a gateway as a whole: status, doctor, self-test."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime

from edge_gateway.commands.bracelets import ago, table
from edge_gateway.commands.doctor import Verdict, examine
from edge_gateway.config import Config
from edge_gateway.control import ask

_WITHIN_S = 60.0
_MARKS = {Verdict.OK: "✓", Verdict.ODD: "!", Verdict.BAD: "✗"}


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
