"""Publishes the gateway's state, retained, every few seconds and on each change."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress

from edge_gateway.mqtt.session import MqttSession
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from vitals.topics import gateway_state

EVERY_S = 5.0
_AT_MOST_EVERY_S = 0.2


def last_will(gateway_id: str) -> tuple[str, bytes]:
    """Return topic and payload for a gateway that is gone; it also publishes them itself when it stops."""
    return gateway_state(gateway_id), json.dumps({"gateway_id": gateway_id, "status": "offline"}).encode()


async def publish_state(session: MqttSession, state: GatewayState, outbox: Outbox) -> None:
    """Publish the state until cancelled."""
    while True:
        state.changed.clear()
        await _publish(session, state, outbox)
        await asyncio.sleep(_AT_MOST_EVERY_S)
        with suppress(TimeoutError):
            async with asyncio.timeout(EVERY_S):
                await state.changed.wait()


async def _publish(session: MqttSession, state: GatewayState, outbox: Outbox) -> None:
    if session.connected:
        payload = json.dumps(state.to_json((await outbox.counts()).to_json())).encode()
        await session.publish(gateway_state(state.gateway_id), payload, retain=True)
