"""Gateway or cloud: which of the two wakes somebody. Both keep every child's episodes; one of them speaks.

A child is *covered* while the last heartbeat of a gateway is at most two minutes old and says that it watches
the child and that its contacts can be reached. For a covered child the cloud keeps its episodes and stays
silent. It speaks

- for children without a gateway, and for those whose gateway reaches nobody, as the gateway would;
- when cover is lost while an episode is open and not acknowledged: at once;
- when an episode of a covered child has not been acknowledged for 15 minutes: the last resort.

An acknowledgement at the gateway comes with its next heartbeat, at most 30 s later; one made in the cloud
goes back with the answer to a heartbeat. An alarm that had ended before anybody acknowledged it (LATCHED,
silent) is acknowledged in each place for itself: that is a known limit.

A heartbeat's age counts from when the API took it, by the cloud's clock. While this process catches up with
what Kafka held for it, the last known heartbeat stands, so that a restart wakes nobody.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from pydantic import BaseModel

from vitals.episodes import Episode, Phase
from vitals.heartbeat import SILENT_AFTER, Heartbeat
from vitals.reading import UtcTime

LAST_RESORT_AFTER = timedelta(minutes=15)
_CATCHES_UP_FOR = timedelta(seconds=15)
"""How long reading what came meanwhile may take, after a start or an outage of Kafka."""


@dataclass(slots=True)
class Hearing:
    """Whether the cloud's alarms hear anything at all.

    Attributes:
        since: since when Kafka has answered without a break; None while it is away.
        deaf_since: since when it has been away; None while it answers.
    """

    started: datetime
    since: datetime | None = None
    deaf_since: datetime | None = None

    def note(self, kafka_answers: bool, now: datetime) -> None:
        """Take note of whether Kafka answers now."""
        self.since = (self.since or now) if kafka_answers else None
        self.deaf_since = None if kafka_answers else self.deaf_since or now

    def catches_up(self, now: datetime) -> bool:
        """Whether there may be news that was not read yet."""
        begun = max(self.started, self.since or self.started)
        return now - begun < _CATCHES_UP_FOR


class Gateway(BaseModel):
    """A gateway that was heard at least once.

    Attributes:
        heartbeat: the last one; patients by pseudonym.
        heard: when the API took it.
        announced: the heartbeat after which its silence went on record.
    """

    heartbeat: Heartbeat
    heard: UtcTime
    announced: UUID | None = None

    def is_fresh(self, hearing: Hearing, now: datetime) -> bool:
        """Whether its last heartbeat still counts."""
        return now - self.heard <= SILENT_AFTER or hearing.catches_up(now)

    def covers(self, hearing: Hearing, now: datetime) -> bool:
        """Whether it can tell somebody of the children it watches."""
        return self.heartbeat.contacts_reachable and self.is_fresh(hearing, now)


def is_last_resort(episode: Episode, now: datetime) -> bool:
    """Whether nobody has acknowledged an alarm for so long that cover no longer counts."""
    since = episode.speaking_since
    return episode.phase is Phase.ACTIVE and since is not None and now - since >= LAST_RESORT_AFTER
