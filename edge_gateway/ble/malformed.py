"""Bytes from a device that cannot be parsed: counted, shown, and kept as a dead letter."""

from __future__ import annotations

import logging
from uuid import uuid5

from edge_gateway.inbox import DeadLetter
from edge_gateway.state import GatewayState
from vitals.errors import MalformedRecord
from vitals.reading import NAMESPACE

log = logging.getLogger(__name__)


def malformed(device_id: str, data: bytes, error: MalformedRecord, state: GatewayState) -> DeadLetter:
    """Count malformed bytes and return their dead letter; the same bytes give the same `error_id`."""
    state.counters.refused[error.profile] += 1
    state.counters.malformed[device_id] += 1
    times = state.counters.malformed[device_id]
    state.notice(device_id, "ble", f"what it sent could not be understood, {times} times: {error.reason}")
    level = logging.WARNING if times == 1 else logging.DEBUG
    log.log(level, "%s sent data that cannot be parsed: %s", device_id, error.reason)
    identity = uuid5(NAMESPACE, f"{device_id}/{error.profile}/{data.hex()}")
    reason = f"{error.profile}: {error.reason}"
    return DeadLetter.of(data, reason, device_id=device_id, error_id=identity)
