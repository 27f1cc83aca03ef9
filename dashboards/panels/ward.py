"""The ward dashboard: current state of each child, critical alerts, vitals over time, and data flow.

`kidjamo-dashboards render` writes it in each language.
"""

from __future__ import annotations

from grafana_foundation_sdk.builders import common, table, text, timeseries
from grafana_foundation_sdk.builders import dashboard as build
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import dashboard as model
from grafana_foundation_sdk.models.common import (
    GraphDrawStyle,
    StackingMode,
)
from grafana_foundation_sdk.models.text import TextMode

from dashboards.panels import children
from dashboards.panels.components import (
    CLEAR,
    GREY,
    ORANGE,
    RED,
    background,
    background_cell,
    coloured,
    override_property,
    plain_timeseries,
    short_pseudonym,
    steps,
    vital_timeseries,
)
from dashboards.panels.critical_alerts import critical_alerts
from dashboards.panels.latest_values import (
    HEARD_WITHIN_DAYS,
    HIGH,
    LOW,
    NO_DATA_AFTER_S,
    OLD_AFTER_S,
    latest_values,
)
from dashboards.postgres_query import DATASOURCE, PostgresQuery
from dashboards.sql import literal
from dashboards.words import Words
from vitals import limits
from vitals.limits import HEART_RATE, RESPIRATORY_RATE, SPO2, TEMPERATURE, VITALS, Vital

DELAY_PERCENTILE = 95
_FULL, _HALF, _THIRD = 24, 12, 8
_WITH_OWN_PANEL = (SPO2, HEART_RATE, RESPIRATORY_RATE, TEMPERATURE)


def ward(words: Words) -> model.Dashboard:
    """Return the ward dashboard in one language."""
    panels: list[Builder[model.Panel]] = [
        notice_text(words).id(1).span(_FULL).height(3),
        vitals_latest(words).id(2).span(_FULL).height(9),
        alerts_table(words).id(3).span(_FULL).height(8),
        spo2_timeseries(words).id(4).span(_HALF).height(9),
        heart_rate_timeseries(words).id(5).span(_HALF).height(9),
        respiratory_rate_timeseries(words).id(6).span(_HALF).height(9),
        temperature_timeseries(words).id(7).span(_HALF).height(9),
        *(
            mean_timeseries(vital, words).id(number).span(_HALF).height(9)
            for number, vital in enumerate((v for v in VITALS if v not in _WITH_OWN_PANEL), start=11)
        ),
        flow_timeseries(words).id(8).span(_THIRD).height(8),
        delay_timeseries(words).id(9).span(_THIRD).height(8),
        errors_timeseries(words).id(10).span(_THIRD).height(8),
    ]
    board = (
        build.Dashboard(words.ward)
        .uid(f"kidjamo-ward-{words.language}")
        .tags(["kidjamo", words.language])
        .readonly()
        .timezone("browser")
        .time("now-1h", "now")
        .refresh("10s")
        .tooltip(model.DashboardCursorSync.CROSSHAIR)
        .with_variable(patient_variable(words))
    )
    for panel in panels:
        board.with_panel(panel)
    return board.build()


def patient_variable(words: Words) -> build.QueryVariable:
    """Return the variable that selects children; all by default."""
    return (
        build.QueryVariable("patient")
        .label(words.child)
        .datasource(DATASOURCE)
        .query(children.PATIENTS)
        .refresh(model.VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(model.VariableSort.DISABLED)
        .multi(True)
        .include_all(True)
        .all_value(children.ALL_PATIENTS)
        .allow_custom_value(False)
        .current(model.VariableOption(selected=True, text=["All"], value=["$__all"]))
    )


def notice_text(words: Words) -> text.Panel:
    """Return the notice that this is not a medical device."""
    return text.Panel().transparent(True).mode(TextMode.MARKDOWN).content(words.notice)


def vitals_latest(words: Words) -> table.Panel:
    """Return the table of each child's newest values, or the reason why there are none."""
    old = words.old.partition("{")[0]
    signs = [
        coloured(f"/^[{LOW}{HIGH}]/", RED),
        coloured(f"/^{old}.*[{LOW}{HIGH}]/", ORANGE),
        coloured("/^[^0-9]/", GREY),
    ]
    panel = (
        table.Panel()
        .title(words.latest)
        .description(words.latest_note.format(days=HEARD_WITHIN_DAYS, old_s=OLD_AFTER_S))
        .datasource(DATASOURCE)
        .with_target(PostgresQuery(latest_values(words)))
        .override_by_name(words.child, [override_property("mappings", [short_pseudonym()])])
        .override_by_name(
            words.state,
            [
                override_property("mappings", [coloured(f"/^(?!{words.all_well}$)/", ORANGE)]),
                *background(),
            ],
        )
        .override_by_name(
            words.last_heard,
            [
                override_property("unit", "s"),
                override_property(
                    "thresholds", steps((None, CLEAR), (OLD_AFTER_S, ORANGE), (NO_DATA_AFTER_S, RED)).build()
                ),
                background_cell(),
            ],
        )
    )
    for vital in VITALS:
        panel.override_by_name(words.heading(vital), [override_property("mappings", signs), *background()])
    return panel


def alerts_table(words: Words) -> table.Panel:
    """Return the table of critical alerts, open ones first."""
    return (
        table.Panel()
        .title(words.alerts)
        .description(words.alerts_note)
        .datasource(DATASOURCE)
        .with_target(PostgresQuery(critical_alerts(words)))
        .override_by_name(
            words.state, [override_property("mappings", [coloured(f"/^{words.open}$/", RED)]), *background()]
        )
        .override_by_name(words.child, [override_property("mappings", [short_pseudonym()])])
        .override_by_name(words.since, [override_property("unit", "s")])
    )


def spo2_timeseries(words: Words) -> timeseries.Panel:
    """Return the graph of oxygen saturation; it shows minima so that no dip is averaged out."""
    limit, fever = limits.SPO2_CRITICAL_BELOW, limits.SPO2_WITH_FEVER_UP_TO
    return (
        vital_timeseries(SPO2, f"min(m.{SPO2.field})", words)
        .description(
            _sentences(
                words.worst_low,
                words.critical_below.format(limit=words.number(limit), unit="%"),
                words.with_fever.format(
                    limit=words.number(fever),
                    unit="%",
                    fever=words.number(limits.TEMPERATURE_CRITICAL_FROM),
                ),
            )
        )
        .unit("percent")
        .axis_soft_min(limit - 6)
        .max(SPO2.high)
        .thresholds(steps((None, RED), (limit, ORANGE), (fever, CLEAR)))
    )


def heart_rate_timeseries(words: Words) -> timeseries.Panel:
    """Return the graph of heart rate; it shows the value nearest to either limit."""
    low, high = limits.HEART_RATE_CRITICAL_BELOW, limits.HEART_RATE_CRITICAL_ABOVE
    least, most, middle = f"min(m.{HEART_RATE.field})", f"max(m.{HEART_RATE.field})", (low + high) / 2
    return (
        vital_timeseries(
            HEART_RATE,
            f"CASE WHEN {most} - {middle} >= {middle} - {least} THEN {most} ELSE {least} END",
            words,
        )
        .description(
            _sentences(
                words.worst_either,
                words.critical_below.format(limit=words.number(low), unit="/min"),
                words.critical_above.format(limit=words.number(high), unit="/min"),
            )
        )
        .unit("suffix: /min")
        .axis_soft_min(low - 10)
        .axis_soft_max(high + 10)
        .thresholds(steps((None, RED), (low, CLEAR), (high, RED)))
    )


def respiratory_rate_timeseries(words: Words) -> timeseries.Panel:
    """Return the graph of respiratory rate, which has no critical threshold."""
    return mean_timeseries(RESPIRATORY_RATE, words).axis_soft_min(0).axis_soft_max(40)


def mean_timeseries(vital: Vital, words: Words) -> timeseries.Panel:
    """Return the graph of a vital without a critical threshold."""
    if vital.alarm is not None:
        raise ValueError(f"{vital.field} has critical thresholds, which this panel does not show")
    return (
        vital_timeseries(vital, f"avg(m.{vital.field})", words)
        .description(words.mean)
        .unit(f"suffix: {vital.unit_shown}")
        .thresholds(steps((None, CLEAR)))
    )


def temperature_timeseries(words: Words) -> timeseries.Panel:
    """Return the graph of body temperature; it shows maxima so that no peak is averaged out."""
    limit = limits.TEMPERATURE_CRITICAL_FROM
    return (
        vital_timeseries(TEMPERATURE, f"max(m.{TEMPERATURE.field})", words)
        .description(
            _sentences(words.worst_high, words.critical_from.format(limit=words.number(limit), unit="°C"))
        )
        .unit("celsius")
        .axis_soft_min(limit - 3)
        .axis_soft_max(limit + 2)
        .thresholds(steps((None, CLEAR), (limit, RED)))
    )


def flow_timeseries(words: Words) -> timeseries.Panel:
    """Return the graph of recorded readings per minute."""
    sql = """\
SELECT $__timeGroupAlias(m.timestamp, 1m, 0), coalesce(m.source, '?') AS metric, count(*) AS value
FROM measurements m
WHERE $__timeFilter(m.timestamp) AND patient_id IN ($patient)
GROUP BY 1, 2
ORDER BY 1, 2"""
    return plain_timeseries(sql).title(words.flow).description(words.flow_note).unit("rpm").min(0)


def delay_timeseries(words: Words) -> timeseries.Panel:
    """Return the graph of the delay until readings are recorded, for live readings and backlog."""
    sql = f"""\
SELECT $__timeGroupAlias(m.timestamp, 1m),
       CASE WHEN m.late THEN {literal(words.backlog)} ELSE {literal(words.live)} END AS metric,
       percentile_cont({DELAY_PERCENTILE / 100}) WITHIN GROUP (
           ORDER BY extract(epoch FROM m.recorded_at - m.timestamp)::double precision) AS value
FROM measurements m
WHERE $__timeFilter(m.timestamp) AND patient_id IN ($patient)
GROUP BY 1, 2
ORDER BY 1, 2"""
    return (
        plain_timeseries(sql)
        .title(words.delay)
        .description(words.delay_note.format(share=DELAY_PERCENTILE))
        .unit("s")
        .min(0)
    )


def errors_timeseries(words: Words) -> timeseries.Panel:
    """Return the graph of rejected records by source."""
    sql = """\
SELECT $__timeGroupAlias(e.timestamp, $__interval, 0), e.source AS metric, count(*) AS value
FROM ingestion_errors e
WHERE $__timeFilter(e.timestamp)
GROUP BY 1, 2
ORDER BY 1, 2"""
    return (
        plain_timeseries(sql)
        .title(words.errors)
        .description(words.errors_note)
        .interval("1m")
        .draw_style(GraphDrawStyle.BARS)
        .fill_opacity(80)
        .stacking(common.StackingConfig().mode(StackingMode.NORMAL))
        .min(0)
        .decimals(0)
    )


def _sentences(*sentences: str) -> str:
    return " ".join(sentences)
