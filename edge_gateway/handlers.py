"""Handlers of the socket commands about the gateway as a whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_gateway.alarms.notification import NotificationService
from edge_gateway.control import Answer, Handler
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState


def handlers(state: GatewayState, notification: NotificationService, outbox: Outbox) -> dict[str, Handler]:
    """Return the handlers of `status` and `self-test`."""

    async def status(_request: Mapping[str, Any]) -> Answer:
        monitor, down = notification.monitor, state.undelivered_since
        return {
            **state.to_json((await outbox.counts()).to_json()),
            "undelivered_since": down.isoformat() if down else None,
            "outbox_filled": round(state.outbox_filled, 4),
            "on_duty": monitor.duty.name if monitor.duty else None,
            "children": [
                {
                    "patient_id": child.patient_id,
                    "last_value": child.persisted.latest.isoformat() if child.persisted.latest else None,
                    "alarms": {episode.group.value: episode.phase.value for episode in child.episodes.open},
                }
                for child in monitor.children.values()
            ],
            "conditions": [
                {"kind": each.kind.value, "priority": each.priority.name, "subject": each.subject}
                for each in monitor.active_conditions
            ],
        }

    async def self_test(_request: Mapping[str, Any]) -> Answer:
        return {"contacts": dict(await notification.self_test())}

    return {"status": status, "self-test": self_test}
