"""A panel's query to Grafana's PostgreSQL data source, which the foundation SDK does not provide."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.dashboard import DataSourceRef

DATASOURCE = DataSourceRef(type_val="grafana-postgresql-datasource", uid="kidjamo-postgresql")
"""The only data source; deploy/grafana/provisioning/datasources defines its uid."""

Format = Literal["time_series", "table"]


@dataclass(frozen=True, slots=True)
class PostgresQuery(Builder[Dataquery], Dataquery):
    """One SQL query; its own builder, because it is immutable.

    Attributes:
        sql: the SQL, with Grafana's macros and variables.
        format: "time_series" requires a column `time`; a column `metric` names the series.
        ref_id: id of the query in its panel.
    """

    sql: str
    format: Format = "table"
    ref_id: str = "A"

    def build(self) -> PostgresQuery:
        """Return the query itself."""
        return self

    def to_json(self) -> dict[str, object]:
        """Return the query as a panel's target in dashboard JSON."""
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": self.sql,
            "refId": self.ref_id,
        }
