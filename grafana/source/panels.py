"""Kinds of panels, with what all panels of a kind have in common. What they show is up to the caller."""

from collections.abc import Iterable, Sequence
from typing import TypeAlias, TypeVar

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import dashboard as dashboard_builders
from grafana_foundation_sdk.builders import heatmap, prometheus, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.models import common
from grafana_foundation_sdk.models import heatmap as heatmap_models
from grafana_foundation_sdk.models.dashboard import (
    DynamicConfigValue,
    FieldColorModeId,
    Threshold,
    ThresholdsMode,
    ValueMap,
    ValueMapping,
    ValueMappingResult,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.source.queries import RATE, Query
from grafana.source.variables import DATASOURCE
from grafana.source.words import Word

Panel: TypeAlias = stat.Panel | timeseries.Panel | statetimeline.Panel | table.Panel | heatmap.Panel
AnyPanel = TypeVar("AnyPanel", stat.Panel, timeseries.Panel, statetimeline.Panel, table.Panel, heatmap.Panel)

CHECK_INTERVAL = "1m"
"""How often the exporter looks, unless told otherwise: a finer resolution shows nothing more."""
RATE_STEP = "2m"
"""The least step of a rate: a window that is as long has two checks in it; without one a share is 0 / 0."""
POINTS = 360
_STATES = 180
"""Of a timeline, whose rows are many and whose queries are the most expensive."""


def mappings(words: Iterable[Word]) -> list[ValueMapping]:
    """Show numbers as words."""
    results = {
        str(word.number): ValueMappingResult(text=word.text, color=word.colour, index=index)
        for index, word in enumerate(words)
    }
    return [ValueMap(options=results)]


def thresholds(*steps: tuple[float, str], base: str = "green") -> dashboard_builders.ThresholdsConfig:
    """Colour by value: `base`, and from each number on another colour."""
    every = [
        Threshold(value=None, color=base),
        *(Threshold(value=value, color=colour) for value, colour in steps),
    ]
    return dashboard_builders.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(every)


def describe(
    panel: AnyPanel,
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    instant: bool = False,
    shape: PromQueryFormat = PromQueryFormat.TIME_SERIES,
) -> AnyPanel:
    """Give a panel what every panel has: a title, a description, a data source and queries."""
    panel = panel.title(title).description(description).datasource(DATASOURCE)
    if any(RATE in query.expr for query in queries):
        panel = panel.interval(RATE_STEP)
    for number, query in enumerate(queries):
        panel = panel.with_target(_target(number, query, instant=instant, shape=shape))
    return panel


def _target(number: int, query: Query, *, instant: bool, shape: PromQueryFormat) -> prometheus.Dataquery:
    target = prometheus.Dataquery().ref_id(chr(ord("A") + number)).datasource(DATASOURCE)
    target = target.expr(query.expr).legend_format(query.legend or "__auto").format(shape)
    return target.instant() if instant else target.range()


def number(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str = "none",
    colours: dashboard_builders.ThresholdsConfig | None = None,
    no_value: str = "no data",
) -> stat.Panel:
    """Build a panel of numbers as they are now; those of further queries have no colour."""
    names = common.BigValueTextMode.VALUE_AND_NAME if len(queries) > 1 else common.BigValueTextMode.AUTO
    panel = describe(stat.Panel(), title, description, queries, instant=True)
    panel = (
        panel.reduce_options(
            common_builders.ReduceDataOptions().calcs(["lastNotNull"]).fields("").values(values=False)
        )
        .graph_mode(common.BigValueGraphMode.NONE)
        .color_mode(common.BigValueColorMode.VALUE)
        .text_mode(names)
        .unit(unit)
        .thresholds(colours or thresholds((1, "red")))
        .no_value(no_value)
    )
    for query in queries[1:]:
        panel = panel.override_by_name(query.legend, [_fixed_colour("text")])
    return panel


def _fixed_colour(colour: str) -> DynamicConfigValue:
    return DynamicConfigValue(id_val="color", value={"mode": FieldColorModeId.FIXED, "fixedColor": colour})


def lines(
    title: str,
    description: str,
    queries: Sequence[Query],
    *,
    unit: str,
    calcs: Sequence[str] = ("lastNotNull", "max"),
    bars: bool = False,
) -> timeseries.Panel:
    """Build a graph, with the last value and others of each line as a table below it; bars are stacked."""
    style = common.GraphDrawStyle.BARS if bars else common.GraphDrawStyle.LINE
    stacking = common.StackingMode.NORMAL if bars else common.StackingMode.NONE
    return (
        describe(timeseries.Panel(), title, description, queries)
        .unit(unit)
        .min(0)
        .legend(_legend(calcs))
        .tooltip(_tooltip())
        .draw_style(style)
        .stacking(common_builders.StackingConfig().mode(stacking))
        .line_width(1)
        .fill_opacity(70 if bars else 10)
        .show_points(common.VisibilityMode.NEVER)
    )


def _legend(calcs: Sequence[str]) -> common_builders.VizLegendOptions:
    return (
        common_builders.VizLegendOptions()
        .show_legend(show_legend=True)
        .display_mode(common.LegendDisplayMode.TABLE)
        .placement(common.LegendPlacement.BOTTOM)
        .calcs([*calcs])
    )


def _tooltip() -> common_builders.VizTooltipOptions:
    return (
        common_builders.VizTooltipOptions()
        .mode(common.TooltipDisplayMode.MULTI)
        .sort(common.SortOrder.DESCENDING)
    )


def timeline(
    title: str,
    description: str,
    queries: Sequence[Query],
    words: Iterable[Word],
    *,
    links: Sequence[dashboard_builders.DashboardLink] = (),
) -> statetimeline.Panel:
    """Build a timeline of states, in pages where there are many rows; its height tells how many fit."""
    panel = describe(statetimeline.Panel(), title, description, queries)
    return (
        panel.mappings(mappings(words))
        .row_height(0.85)
        .merge_values(merge_values=True)
        .show_value(common.VisibilityMode.AUTO)
        .fill_opacity(80)
        .interval(CHECK_INTERVAL)
        .max_data_points(_STATES)
        .legend(
            common_builders.VizLegendOptions()
            .show_legend(show_legend=False)
            .display_mode(common.LegendDisplayMode.LIST)
        )
        .tooltip(common_builders.VizTooltipOptions().mode(common.TooltipDisplayMode.SINGLE))
        .thresholds(thresholds(base="text"))
        .data_links([*links])
    )


def rows_per_page(height: int) -> int:
    """Tell how many rows fit on a timeline of this height in units of the grid, and can be read."""
    unit, frame, row = 38, 120, 18  # pixels: of the grid; of title, time axis and pages; of a row
    return (unit * height - frame) // row


def spread(title: str, description: str, query: Query, *, unit: str) -> heatmap.Panel:
    """Build a heatmap of a histogram's buckets over time."""
    panel = describe(heatmap.Panel(), title, description, [query], shape=PromQueryFormat.HEATMAP)
    colour = (
        heatmap.HeatmapColorOptions()
        .mode(heatmap_models.HeatmapColorMode.SCHEME)
        .scheme("Oranges")
        .scale(heatmap_models.HeatmapColorScale.EXPONENTIAL)
        .exponent(0.5)
        .steps(64)
        .fill("dark-orange")
    )
    return (
        panel.calculate(calculate=False)
        .color(colour)
        .y_axis(heatmap.YAxisConfig().unit(unit))
        .unit("short")
        .scale_distribution(common_builders.ScaleDistributionConfig().type(common.ScaleDistribution.LINEAR))
        .max_data_points(POINTS)
    )


def link(title: str, url: str) -> dashboard_builders.DashboardLink:
    """Make the link of a value."""
    return dashboard_builders.DashboardLink(title).url(url)
