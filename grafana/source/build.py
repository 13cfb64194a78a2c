"""Which dashboards there are, and the text of their files."""

import json
from collections.abc import Callable, Mapping

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.dashboard import Dashboard

from grafana.source.exporter import exporter
from grafana.source.frame import EXPORTER_UID, OVERVIEW_UID, ZONE_UID
from grafana.source.overview import overview
from grafana.source.zone import zone

DASHBOARDS: Mapping[str, Callable[[], Dashboard]] = {
    OVERVIEW_UID: overview,
    ZONE_UID: zone,
    EXPORTER_UID: exporter,
}
"""How to build each dashboard, by its uid."""


def render(dashboard: Dashboard) -> str:
    """Give the text of a dashboard's file: the same bytes for the same dashboard."""
    return json.dumps(dashboard, cls=JSONEncoder, sort_keys=True, indent=2, ensure_ascii=False) + "\n"
