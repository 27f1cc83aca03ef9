"""What panels are made of: a graph of one vital, table cells that take colours."""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    TableCellBackgroundDisplayMode,
    TableColoredBackgroundCellOptions,
    TooltipDisplayMode,
)

from dashboards.postgres_query import DATASOURCE, PostgresQuery
from dashboards.sql import literal
from dashboards.words import Words
from vitals.limits import Vital

MOST_POINTS = 360
"""Points of a vital's line: every 10 s in an hour. More cannot be told apart on half a page."""
RED, ORANGE, GREY, CLEAR = "red", "orange", "#8e8e8e", "transparent"
_SHORT_PSEUDONYM = (r"/^(p\d+_.{8}).*$/", "$1…")


def vital_timeseries(vital: Vital, worst: str, words: Words) -> timeseries.Panel:
    """One vital, a line a child, broken where there are no valid values."""
    sql = f"""\
SELECT $__timeGroupAlias(m.timestamp, $__interval, NULL), m.patient_id AS metric, {worst} AS value
FROM measurements m
WHERE $__timeFilter(m.timestamp) AND patient_id IN ($patient)
  AND m.{vital.field} IS NOT NULL AND NOT {literal(vital.field)} = ANY (m.invalid_fields)
GROUP BY 1, 2
ORDER BY 1, 2"""
    pattern, replacement = _SHORT_PSEUDONYM
    return (
        plain_timeseries(sql)
        .title(words.heading(vital))
        .interval("5s")
        .max_data_points(MOST_POINTS)
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE_AND_AREA))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="renameByRegex", options={"regex": pattern, "renamePattern": replacement}
            )
        )
    )


def plain_timeseries(sql: str) -> timeseries.Panel:
    """A graph of one query, a line for each `metric`, without a title yet."""
    return (
        timeseries.Panel()
        .datasource(DATASOURCE)
        .with_target(PostgresQuery(sql, "time_series"))
        .color_scheme(build.FieldColor().mode(model.FieldColorModeId.PALETTE_CLASSIC_BY_NAME))
        .span_nulls(False)
        .legend(
            common.VizLegendOptions()
            .show_legend(True)
            .display_mode(LegendDisplayMode.LIST)
            .placement(LegendPlacement.BOTTOM)
        )
        .tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI))
    )


def steps(*steps: tuple[float | None, str]) -> build.ThresholdsConfig:
    """Colours from each value on; the first starts at minus infinity."""
    return (
        build.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
    )


def coloured(pattern: str, colour: str) -> model.RegexMap:
    """Colours the cells whose text meets a pattern (JavaScript, between slashes)."""
    return model.RegexMap(
        model.DashboardRegexMapOptions(pattern=pattern, result=model.ValueMappingResult(color=colour))
    )


def short_pseudonym() -> model.RegexMap:
    """Shows the start of a pseudonym; the cell keeps all of it."""
    pattern, replacement = _SHORT_PSEUDONYM
    return model.RegexMap(
        model.DashboardRegexMapOptions(pattern=pattern, result=model.ValueMappingResult(text=replacement))
    )


def background() -> list[model.DynamicConfigValue]:
    """Cells take the colour of their mapping, and none where no mapping is met."""
    return [override_property("thresholds", steps((None, CLEAR)).build()), background_cell()]


def background_cell() -> model.DynamicConfigValue:
    """Colours fill the cell."""
    return override_property(
        "custom.cellOptions", TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    )


def override_property(name: str, value: object) -> model.DynamicConfigValue:
    """One property of an override, by Grafana's name of it."""
    return model.DynamicConfigValue(id_val=name, value=value)
