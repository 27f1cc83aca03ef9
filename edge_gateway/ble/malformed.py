"""What a device sent and nobody understands: counted, shown, kept as a dead letter."""

from __future__ import annotations

import logging
from uuid import uuid5

from edge_gateway.inbox import DeadLetter
from edge_gateway.state import GatewayState
from vitals.errors import MalformedRecord
from vitals.reading import NAMESPACE

log = logging.getLogger(__name__)


def malformed(device_id: str, data: bytes, error: MalformedRecord, state: GatewayState) -> DeadLetter:
    """The dead letter; the same bytes sent again are the same one."""
    state.counters.refused[error.profile] += 1
    state.counters.malformed[device_id] += 1
    times = state.counters.malformed[device_id]
    state.notice(device_id, "ble", f"what it sent could not be understood, {times} times: {error.reason}")
    level = logging.WARNING if times == 1 else logging.DEBUG
    log.log(level, "%s sent what cannot be understood: %s", device_id, error.reason)
    identity = uuid5(NAMESPACE, f"{device_id}/{error.profile}/{data.hex()}")
    reason = f"{error.profile}: {error.reason}"
    return DeadLetter.of(data, reason, device_id=device_id, error_id=identity)
