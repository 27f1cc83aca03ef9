"""The gateway's heartbeat to the cloud, every 30 seconds; the answer contains acknowledgements.

The cloud leaves a child's alarms to the gateway as long as heartbeats arrive and say that a contact is
reachable.
A heartbeat that fails is neither repeated nor reported: the uplink reports that the cloud is unreachable.
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

_SEND_TIMEOUT_S, _COUNT_TIMEOUT_S = 20.0, 2.0


class HeartbeatApi(Protocol):
    """Accepts heartbeats."""

    async def post_heartbeat(self, heartbeat: Heartbeat) -> tuple[Acknowledged, ...]:
        """Send a heartbeat and return the acknowledgements made in the cloud.

        Raises:
            DeliveryFailed: the API did not accept it.
        """


class HeartbeatSender:
    """Sends heartbeats and applies acknowledgements made in the cloud.

    Args:
        reachable: returns whether a contact can be notified now.
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
        """Send a heartbeat now and every 30 s, until cancelled."""
        while True:
            begun = asyncio.get_running_loop().time()
            await self.send()
            took = asyncio.get_running_loop().time() - begun
            await asyncio.sleep(max(0.0, EVERY.total_seconds() - took))

    async def send(self) -> None:
        """Send one heartbeat and apply the answer; a failure is only logged."""
        try:
            async with asyncio.timeout(_SEND_TIMEOUT_S):
                acknowledged = await self._api.post_heartbeat(await self.heartbeat(datetime.now(UTC)))
                for each in acknowledged:
                    await self._apply(each, datetime.now(UTC))
        except (DeliveryFailed, TimeoutError) as error:
            log.debug("heartbeat not accepted: %s", error or "no answer")

    async def heartbeat(self, now: datetime) -> Heartbeat:
        """Return a heartbeat with the gateway's current state."""
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
                _open_episode(child.patient_id, episode)
                for child in watched
                for episode in child.episodes.open
            ),
        )

    async def _pending(self) -> int | None:
        """Return the number of pending readings; None if the disk does not answer in time."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_COUNT_TIMEOUT_S):
                return (await self._outbox.counts()).pending
        return None

    async def _apply(self, cloud: Acknowledged, now: datetime) -> None:
        """Acknowledge here what was acknowledged in the cloud, unless it was notified again since."""
        child, left = self._ward.children.get(cloud.patient_id), cloud.until - now
        if child is None or left <= timedelta():
            return
        for episode in list(_acknowledged_episodes(cloud, child.episodes.open)):
            self._ward.acknowledge(cloud.patient_id, cloud.by, episode.group, left)
            await self._outbox.audit(cloud.by, "acknowledge", f"{episode.group.value}:{cloud.patient_id}")


def _open_episode(patient_id: str, episode: Episode) -> OpenEpisode:
    silence = episode.silence
    return OpenEpisode(
        patient_id=patient_id,
        group=episode.group,
        phase=episode.phase,
        by=(printable(silence.by, LONGEST_NAME) or None) if silence else None,
        until=silence.until if silence else None,
    )


def _acknowledged_episodes(cloud: Acknowledged, episodes: Iterable[Episode]) -> Iterator[Episode]:
    """Yield the alarms that the person who acknowledged has seen."""
    for episode in episodes:
        is_notified = episode.phase in (Phase.ACTIVE, Phase.LATCHED)
        if cloud.group in (None, episode.group) and is_notified and episode.accepts(cloud.at):
            yield episode
