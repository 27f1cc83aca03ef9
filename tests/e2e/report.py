"""The integration report: outcome and duration of each named check, and the success rate."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """Result of one integration check.

    Attributes:
        name: name of the check.
        outcome: passed, failed or skipped.
        seconds: its duration.
        reason: why it failed or was skipped; empty if it passed.
    """

    name: str
    outcome: Outcome
    seconds: float
    reason: str = ""


def write(directory: Path, mode: str, checks: list[Check]) -> Path:
    """Write one report.

    Args:
        directory: directory of the reports.
        mode: "full", or "api-only" without Kafka and PostgreSQL.
        checks: the results; the success rate is passed / not skipped.
    """
    ran = [check for check in checks if check.outcome != "skipped"]
    passed = sum(check.outcome == "passed" for check in ran)
    now = datetime.now(UTC)
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / f"integration_{now:%Y%m%dT%H%M%SZ}.json"
    document = {
        "written_at": now.isoformat(),
        "mode": mode,
        "checks": [asdict(check) for check in checks],
        "success_rate": round(passed / len(ran), 4) if ran else None,
    }
    path.write_text(json.dumps(document, indent=2) + "\n")
    return path
