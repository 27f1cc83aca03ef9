"""Components shared by panels: the graph of one vital, and colours of table cells."""

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

MAX_POINTS = 360
"""Points of a vital's line: one per 10 s in an hour; more cannot be distinguished on half a page."""
RED, ORANGE, GREY, CLEAR = "red", "orange", "#8e8e8e", "transparent"
_SHORT_PSEUDONYM = (r"/^(p\d+_.{8}).*$/", "$1…")


def vital_timeseries(vital: Vital, worst: str, words: Words) -> timeseries.Panel:
    """Return a graph of one vital with a line per child, interrupted where there are no valid values."""
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
        .max_data_points(MAX_POINTS)
        .thresholds_style(common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE_AND_AREA))
        .with_transformation(
            model.DataTransformerConfig(
                id_val="renameByRegex", options={"regex": pattern, "renamePattern": replacement}
            )
        )
    )


def plain_timeseries(sql: str) -> timeseries.Panel:
    """Return a graph of one query with a line per `metric`, still without a title."""
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
    """Return thresholds: each colour starts at its value, the first at minus infinity."""
    return (
        build.ThresholdsConfig()
        .mode(model.ThresholdsMode.ABSOLUTE)
        .steps([model.Threshold(value=value, color=colour) for value, colour in steps])
    )


def coloured(pattern: str, colour: str) -> model.RegexMap:
    """Return a mapping that colours cells whose text matches a JavaScript regular expression."""
    return model.RegexMap(
        model.DashboardRegexMapOptions(pattern=pattern, result=model.ValueMappingResult(color=colour))
    )


def short_pseudonym() -> model.RegexMap:
    """Return a mapping that displays the start of a pseudonym; the value is unchanged."""
    pattern, replacement = _SHORT_PSEUDONYM
    return model.RegexMap(
        model.DashboardRegexMapOptions(pattern=pattern, result=model.ValueMappingResult(text=replacement))
    )


def background() -> list[model.DynamicConfigValue]:
    """Return properties that fill cells with the colour of their mapping, if any matches."""
    return [override_property("thresholds", steps((None, CLEAR)).build()), background_cell()]


def background_cell() -> model.DynamicConfigValue:
    """Return the property that makes colours fill the cell."""
    return override_property(
        "custom.cellOptions", TableColoredBackgroundCellOptions(mode=TableCellBackgroundDisplayMode.BASIC)
    )


def override_property(name: str, value: object) -> model.DynamicConfigValue:
    """Return one property of an override, by Grafana's name for it."""
    return model.DynamicConfigValue(id_val=name, value=value)
