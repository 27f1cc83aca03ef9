"""Periodic maintenance of the outbox, and reports to the cloud about readings that were lost."""

from __future__ import annotations

import asyncio
import json
from functools import partial
from pathlib import Path
from uuid import UUID

from edge_gateway.config import Config
from edge_gateway.inbox import DeadLetter, InboxItem
from edge_gateway.intake import Intake
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.outbox.retention import Gap
from edge_gateway.state import GatewayState
from edge_gateway.uplink.uplink import Uplink

_EVERY_S, _EVERY_WHILE_REMOVING_S = 10.0, 1.0


async def maintain(
    config: Config, intake: Intake, uplink: Uplink, state: GatewayState, outbox: Outbox, reported: int
) -> None:
    """Keep the outbox within its size limit, delete expired history, report losses; runs until cancelled.

    Args:
        reported: how many corrupt files were reported already.
    """
    while True:
        for path in outbox.set_aside[reported:]:
            report_corruption(path, intake)
        reported = len(outbox.set_aside)
        removed = await outbox.purge(config.history_hours * 3600)
        while await outbox.enforce_bound(config.outbox.max_bytes):
            removed += 1
        state.outbox_filled = await outbox.fill_ratio(config.outbox.max_bytes)
        if state.undelivered_since is None and await outbox.report_gaps(
            partial(_gap_letter, config.gateway_id)
        ):
            uplink.dead_letter_news.set()
        await asyncio.sleep(_EVERY_WHILE_REMOVING_S if removed else _EVERY_S)


def report_corruption(path: Path, intake: Intake) -> None:
    """Report a corrupt outbox to the cloud, because readings may be missing."""
    reason = f"the gateway's outbox was corrupt and is set aside as {path.name}: readings may be missing"
    intake.take([InboxItem(DeadLetter.of(b"", reason, field="outbox"))])


def _gap_letter(gateway_id: str, gap: Gap) -> tuple[UUID, str]:
    """Return the dead letter about readings that the cloud will never get: its identity and its JSON."""
    reason = (
        f"data gap: {gap.lost} readings measured from {gap.first} to {gap.last} were deleted,"
        " because the gateway's outbox was full while it was offline"
    )
    letter = DeadLetter.of(b"", reason, field="outbox", device_id=gap.device_id)
    return letter.error_id, json.dumps(letter.to_wire(gateway_id), separators=(",", ":"))
