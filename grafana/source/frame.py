"""What all dashboards have in common: settings, links to each other, and rows of panels on the grid."""

from collections.abc import Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders import statetimeline
from grafana_foundation_sdk.models.dashboard import (
    AnnotationQuery,
    Dashboard,
    DashboardCursorSync,
    DashboardLinkType,
)

from grafana.source.panels import Panel, rows_per_page
from grafana.source.variables import DATASOURCE, variables

OVERVIEW_UID = "kms-overview"
ZONE_UID = "kms-zone"
EXPORTER_UID = "kms-exporter"
_TITLES = {OVERVIEW_UID: "KMS overview", ZONE_UID: "KMS zone", EXPORTER_UID: "KMS exporter"}

_CARRIED = "&".join(
    ("${__url_time_range}", *(f"${{{name}:queryparam}}" for name in ("datasource", "job", "instance", "top")))
)
"""What a link of a value takes along: the time range, and what is chosen apart from zone and DNS server."""

GRID_COLUMNS = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """Panels side by side, each with its width; they share a height. A title starts a section."""

    panels: Sequence[tuple[int, Panel]]
    height: int
    title: str = ""


class Annotation(AnnotationQuery):
    """An annotation from a query, with the text of its marks: fields of the Prometheus data source.

    The SDK's class has none but the expression. Grafana shows nothing where the value is below 1.
    """

    def __init__(self, name: str, expr: str, *, text: str, colour: str) -> None:
        super().__init__(name=name, datasource=DATASOURCE, icon_color=colour, expr=expr)
        self.text = text

    def to_json(self) -> dict[str, object]:
        """Give the fields of the file."""
        return super().to_json() | {"titleFormat": self.name, "textFormat": self.text}


def frame(
    uid: str, description: str, rows: Sequence[Row], annotations: Sequence[Annotation] = ()
) -> Dashboard:
    """Put a dashboard together."""
    builder = (
        builders.Dashboard(_TITLES[uid])
        .uid(uid)
        .description(description)
        .tags(["kms"])
        .timezone("browser")
        .readonly()
        .refresh("1m")
        .time("now-6h", "now")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .variables([*variables()])
        .links([_link(other) for other in _TITLES if other != uid])
    )
    _lay_out(builder, rows)
    dashboard = builder.build()
    dashboard.annotations.list_val = [*annotations]
    return dashboard


def _lay_out(builder: builders.Dashboard, rows: Sequence[Row]) -> None:
    number = 0
    for row in rows:
        if row.title:
            number += 1
            builder.with_row(builders.Row(row.title).id(number))
        for width, panel in row.panels:
            number += 1
            if isinstance(panel, statetimeline.Panel):
                panel.per_page(rows_per_page(row.height))
            builder.with_panel(panel.id(number).span(width).height(row.height))


def _link(uid: str) -> builders.DashboardLink:
    return (
        builders.DashboardLink(_TITLES[uid])
        .type(DashboardLinkType.LINK)
        .icon("dashboard")
        .url(f"/d/{uid}")
        .include_vars(include_vars=True)
        .keep_time(keep_time=True)
    )


def zone_url(zone: str) -> str:
    """Give the address of the dashboard of one zone; `zone` is a variable of the value that is clicked."""
    return f"/d/{ZONE_UID}?{_CARRIED}&var-dns_zone={zone}"
