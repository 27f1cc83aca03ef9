"""The query of a panel against Grafana's PostgreSQL data source, which the foundation SDK does not have."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE = DataSourceRef(type_val="grafana-postgresql-datasource", uid="kidjamo-postgresql")
"""The one data source; its uid is given in deploy/grafana/provisioning/datasources."""

Format = Literal["time_series", "table"]


@dataclass(frozen=True, slots=True)
class PostgresQuery(Builder[Dataquery], Dataquery):
    """One SQL query; builder and built query at once, as it never changes.

    Attributes:
        sql: with Grafana's macros and variables in it.
        format: "time_series" needs a column `time`, and takes a column `metric` for the name of the series.
    """

    sql: str
    format: Format = "table"
    ref_id: str = "A"

    def build(self) -> PostgresQuery:
        """The query itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """As a panel's target in dashboard JSON."""
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": self.sql,
            "refId": self.ref_id,
        }
