"""Commands about the gateway as a whole that a running gateway answers over its socket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edge_gateway.alarms.notification import People
from edge_gateway.control import Answer, Handler
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState


def handlers(state: GatewayState, people: People, outbox: Outbox) -> dict[str, Handler]:
    """Returns the handlers of `status` and `self-test`, for the command socket."""

    async def status(_request: Mapping[str, Any]) -> Answer:
        ward = people.ward
        down = state.undelivered_since
        return {
            **state.to_json((await outbox.counts()).to_json()),
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
