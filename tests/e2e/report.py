"""The integration report: each named check with its outcome and seconds, and the success rate."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

Outcome = Literal["passed", "failed", "skipped"]


@dataclass(frozen=True, slots=True)
class Check:
    """One integration check as it went.

    Attributes:
        reason: why it failed or was skipped; empty when it passed.
    """

    name: str
    outcome: Outcome
    seconds: float
    reason: str = ""


def write(directory: Path, mode: str, checks: list[Check]) -> Path:
    """Write one report.

    Args:
        directory: where reports are kept.
        mode: "full", or "api-only" where Kafka and PostgreSQL were not to be had.
        checks: what ran; the success rate counts passed ones among those that were not skipped.
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
