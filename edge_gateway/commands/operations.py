"""The commands about the gateway as a whole: status, doctor, self-test."""

from __future__ import annotations

import argparse
import asyncio
import json
from datetime import UTC, datetime

from edge_gateway.commands.bracelets import ago, table
from edge_gateway.commands.doctor import CheckVerdict, run_checks
from edge_gateway.config import Config
from edge_gateway.control import ask

_TIMEOUT_S = 60.0
_MARKS = {CheckVerdict.OK: "✓", CheckVerdict.ODD: "!", CheckVerdict.BAD: "✗"}


def status(config: Config, chosen: argparse.Namespace) -> int:
    """Print the state of the running gateway; returns 1 if a condition of priority HIGH is active."""
    answer = asyncio.run(ask(config.control_path, {"command": "status"}, _TIMEOUT_S))
    urgent = [each for each in answer["conditions"] if each["priority"] == "HIGH"]
    if chosen.json:
        print(json.dumps(answer))
        return int(bool(urgent))
    now, outbox = datetime.now(UTC), answer["outbox"]
    print(f"gateway {answer['gateway_id']}, running for {ago(answer['started'], now)}")
    for component, state in sorted(answer["parts"].items()):
        print(f"{component}: {state}")
    since = answer["undelivered_since"]
    delivery = f"deliveries have failed for {ago(since, now)}" if since else "deliveries work"
    print(f"outbox: {outbox['pending']} readings pending, {answer['outbox_filled']:.1%} full, {delivery}")
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
    """Print the result of each check with its remedy; returns 1 if one has failed."""
    failed = False
    findings = []
    for finding in run_checks(config):
        failed = failed or finding.verdict is CheckVerdict.BAD
        findings.append({"what": finding.what, "verdict": finding.verdict.value, "text": finding.text})
        if not chosen.json:
            print(f"{_MARKS[finding.verdict]} {finding.what}: {finding.text}")
            if finding.remedy:
                print(f"    {finding.remedy}")
    if chosen.json:
        print(json.dumps(findings))
    return int(failed)


def self_test(config: Config, chosen: argparse.Namespace) -> int:
    """Send a test message to every contact; returns 1 if one could not be sent."""
    answer = asyncio.run(ask(config.control_path, {"command": "self-test"}, _TIMEOUT_S))["contacts"]
    if chosen.json:
        print(json.dumps(answer))
    elif not answer:
        print("no [[contact]] is configured")
    else:
        for name, error in answer.items():
            print(f"{'✗' if error else '✓'} {name}: {error or 'the service accepted the message'}")
    return int(any(answer.values()))


COMMANDS = {"status": status, "doctor": doctor, "self-test": self_test}
