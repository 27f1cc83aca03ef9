"""Settings of the lake, from environment variables."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from lakehouse.errors import InvalidLakeSettings

Layout = Literal["clustered", "partitioned"]


@dataclass(frozen=True, slots=True)
class LakeSettings:
    """Settings of one lake.

    Attributes:
        path: DATA_LAKE_PATH; the tables and, in `_checkpoints`, the position of each query.
        bootstrap_servers: KAFKA_BOOTSTRAP_SERVERS.
        starting_offsets: KAFKA_STARTING_OFFSETS: where a query without a checkpoint starts.
        fail_on_data_loss: KAFKA_FAIL_ON_DATA_LOSS: fail instead of continuing when Kafka has deleted messages
            that were not read yet (retention passed, topic recreated).
        reset_checkpoints: RESET_STREAMING_CHECKPOINTS: discard the checkpoints at this start and read
            everything in Kafka again, whatever `starting_offsets` is. Raw gets duplicates, the deduplicated
            tables do not.
        layout: LAKE_LAYOUT of raw: clustered by child, or one directory per child for a few children.
        memory_mb: LAKE_MEMORY_MB, the Java heap.
    """

    path: Path
    bootstrap_servers: str
    starting_offsets: str
    fail_on_data_loss: bool
    reset_checkpoints: bool
    layout: Layout
    memory_mb: int

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Self:
        """Read the settings; an empty variable counts as unset.

        Raises:
            InvalidLakeSettings: a variable is invalid; the message names it and the allowed values.
        """
        given = {name: value for name, value in environment.items() if value}
        return cls(
            path=Path(given.get("DATA_LAKE_PATH", "data_lake")).resolve(),
            bootstrap_servers=given.get("KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9092"),
            starting_offsets=_choice(given, "KAFKA_STARTING_OFFSETS", ("earliest", "latest")),
            fail_on_data_loss=_choice(given, "KAFKA_FAIL_ON_DATA_LOSS", ("true", "false")) == "true",
            reset_checkpoints=_choice(given, "RESET_STREAMING_CHECKPOINTS", ("false", "true")) == "true",
            layout="partitioned"
            if _choice(given, "LAKE_LAYOUT", ("clustered", "partitioned")) == "partitioned"
            else "clustered",
            memory_mb=_megabytes(given.get("LAKE_MEMORY_MB", "1536")),
        )

    @property
    def first_offsets(self) -> str:
        """Where a query without a checkpoint starts; always the earliest offset after a reset."""
        return "earliest" if self.reset_checkpoints else self.starting_offsets

    @property
    def checkpoints(self) -> Path:
        """Directory of the queries' checkpoints."""
        return self.path / "_checkpoints"

    @property
    def status(self) -> Path:
        """Directory of the flows' status files."""
        return self.path / "_status"


_BOOLEAN_WORDS = {"1": "true", "yes": "true", "on": "true", "0": "false", "no": "false", "off": "false"}


def _choice(given: Mapping[str, str], name: str, allowed: tuple[str, ...]) -> str:
    value = given.get(name, allowed[0]).lower()
    value = value if value in allowed else _BOOLEAN_WORDS.get(value, value)
    if value not in allowed:
        raise InvalidLakeSettings(f"{name}={given[name]}: must be {' or '.join(allowed)}")
    return value


def _megabytes(text: str) -> int:
    if not text.isdigit() or int(text) < 512:
        raise InvalidLakeSettings(f"LAKE_MEMORY_MB={text}: must be a whole number of at least 512")
    return int(text)
