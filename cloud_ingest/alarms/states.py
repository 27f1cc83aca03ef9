"""The states that the alarms process persists, one JSON document each.

Field names are stored in PostgreSQL: a field that is renamed keeps its stored name as an alias.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field

from vitals.conditions import Conditions
from vitals.episodes import Episodes
from vitals.notices import Group
from vitals.reading import UtcTime

Key = tuple[str, str]
"""Kind and id of a persisted state."""
PATIENT, GATEWAY, SERVICE = "child", "gateway", "service"
SERVICE_KEY: Key = (SERVICE, "alarms")


class PatientAlarms(BaseModel):
    """The alarms of one patient.

    Attributes:
        since: when the first message about the patient was received.
        latest: when the latest plausible value was measured.
        left_to_gateway: groups whose present alarm is notified by the patient's gateway.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    episodes: Episodes
    since: UtcTime
    latest: UtcTime | None = None
    left_to_gateway: set[Group] = Field(default_factory=set, alias="quiet")

    def merged(self, persisted: PatientAlarms) -> PatientAlarms:
        """Return these alarms, raised before the persisted ones were loaded, merged with those.

        An episode that is open in either stays open.
        """
        episodes = self.episodes.model_copy(
            update={
                "episodes": {
                    group: episode if episode.open else persisted.episodes.episodes[group]
                    for group, episode in self.episodes.episodes.items()
                },
                "digests": persisted.episodes.digests | self.episodes.digests,
            }
        )
        return PatientAlarms(
            episodes=episodes,
            since=persisted.since,
            latest=max(filter(None, (self.latest, persisted.latest)), default=None),
            left_to_gateway=persisted.left_to_gateway | self.left_to_gateway,
        )

    def under(self, pseudonym: str) -> PatientAlarms:
        """Return the same alarms under another pseudonym."""
        return self.model_copy(
            update={"episodes": self.episodes.model_copy(update={"patient_id": pseudonym})}
        )


class AlarmServiceState(Conditions):
    """The technical conditions, and when the alarms process last ran.

    Attributes:
        alive: time of the last tick.
        disconnected_since: as in `KafkaLiveness`.
    """

    model_config = ConfigDict(populate_by_name=True, serialize_by_alias=True)

    alive: UtcTime | None = None
    disconnected_since: UtcTime | None = Field(None, alias="deaf_since")
