"""The gateway's sign of life to the cloud, every 30 seconds, and what the cloud answers: acknowledgements.

The cloud leaves a child's alarms to this gateway for as long as these come and say that somebody can be told.
One that does not arrive is not sent again, and nobody is told of it here: the uplink says when the cloud is
away.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Protocol
from uuid import uuid4

from edge_gateway.alarms.monitor import AlarmMonitor
from edge_gateway.errors import DeliveryFailed
from edge_gateway.outbox.outbox import Outbox
from edge_gateway.state import GatewayState
from vitals.episodes import Episode, Phase
from vitals.heartbeat import (
    EVERY,
    LONGEST_NAME,
    LONGEST_TEXT,
    MOST_CHILDREN,
    Acknowledged,
    Heartbeat,
    OpenEpisode,
    printable,
)

log = logging.getLogger(__name__)

_DONE_WITHIN_S, _COUNTED_WITHIN_S = 20.0, 2.0


class HeartbeatApi(Protocol):
    """Where heartbeats go."""

    async def post_heartbeat(self, heartbeat: Heartbeat) -> tuple[Acknowledged, ...]:
        """Send one; returns acknowledgements made in the cloud.

        Raises:
            DeliveryFailed: it did not arrive.
        """


class HeartbeatSender:
    """Sends heartbeats, and follows acknowledgements made in the cloud.

    Args:
        reachable: whether a contact can be told at once.
    """

    def __init__(
        self,
        api: HeartbeatApi,
        ward: AlarmMonitor,
        state: GatewayState,
        outbox: Outbox,
        reachable: Callable[[], bool],
    ) -> None:
        self._api, self._ward, self._state, self._outbox = api, ward, state, outbox
        self._reachable = reachable

    async def run(self) -> None:
        """Send one at once, then one every 30 s, until cancelled."""
        while True:
            begun = asyncio.get_running_loop().time()
            await self.beat()
            took = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(max(0.0, EVERY.total_seconds() - took))

    async def beat(self) -> None:
        """Send one heartbeat and take up the answer; a failure is only logged."""
        try:
            async with asyncio.timeout(_DONE_WITHIN_S):
                made = await self._api.post_heartbeat(await self.heartbeat(datetime.now(UTC)))
                for each in made:
                    await self._follow(each, datetime.now(UTC))
        except (DeliveryFailed, TimeoutError) as error:
            log.debug("a heartbeat did not arrive: %s", error or "no answer")

    async def heartbeat(self, now: datetime) -> Heartbeat:
        """How the gateway is now."""
        watched = [*self._ward.children.values()][:MOST_CHILDREN]
        return Heartbeat(
            status_id=uuid4(),
            gateway_id=self._state.gateway_id,
            timestamp=now,
            parts={name: printable(text, LONGEST_TEXT) for name, text in self._state.parts.items()},
            outbox_pending=await self._pending(),
            contacts_reachable=self._reachable() and self._ward.is_alive(),
            watches=tuple(child.patient_id for child in watched),
            episodes=tuple(
                _shown(child.patient_id, episode) for child in watched for episode in child.episodes.open
            ),
        )

    async def _pending(self) -> int | None:
        """Readings that wait; None where the disk does not answer: alarms do not need it, nor does this."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_COUNTED_WITHIN_S):
                return (await self._outbox.counts()).pending
        return None

    async def _follow(self, made: Acknowledged, now: datetime) -> None:
        """Silence here what was acknowledged in the cloud, unless it has spoken again since."""
        child, left = self._ward.children.get(made.patient_id), made.until - now
        if child is None or left <= timedelta():
            return
        for episode in list(_meant(made, child.episodes.open)):
            self._ward.acknowledge(made.patient_id, made.by, episode.group, left)
            await self._outbox.audit(made.by, "acknowledge", f"{episode.group.value}:{made.patient_id}")


def _shown(patient_id: str, episode: Episode) -> OpenEpisode:
    silence = episode.silence
    return OpenEpisode(
        patient_id=patient_id,
        group=episode.group,
        phase=episode.phase,
        by=(printable(silence.by, LONGEST_NAME) or None) if silence else None,
        until=silence.until if silence else None,
    )


def _meant(made: Acknowledged, found: Iterable[Episode]) -> Iterator[Episode]:
    """The alarms that whoever acknowledged has seen."""
    for episode in found:
        spoken = episode.phase in (Phase.ACTIVE, Phase.LATCHED)
        if made.group in (None, episode.group) and spoken and episode.accepts(made.at):
            yield episode
