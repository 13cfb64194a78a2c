"""The choices at the top of every dashboard; links between dashboards carry them by these names."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableModel,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from grafana.source.queries import of_exporter, of_zones

DATASOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

_ALL = VariableOption(selected=True, text="All", value="$__all")
_COUNTS = ("10", "20", "50", "100")


def variables() -> list[Builder[VariableModel]]:
    """Build the variables; the choices of one follow from those before it."""
    # An exporter has the first; what it gives at /probe has only the second, with the zone as its instance.
    looking = '__name__=~"kms_exporter_build_info|kms_srv_lookup_status"'
    verdicts = "kms_client_verdict"
    return [
        builders.DatasourceVariable("datasource").label("Data source").type("prometheus"),
        _choice("job", "Job", f"{{{looking}}}", "Prometheus jobs, each of which is a vantage point."),
        _choice("instance", "Instance", f'{{{looking},job=~"$job"}}', "Exporters of these jobs."),
        _choice("dns_zone", "Zone", of_exporter(verdicts), "Zones that these exporters look at."),
        # A static host that is an address has no DNS server: All must match the empty label too.
        _choice(
            "dns_server",
            "DNS server",
            of_zones(verdicts),
            "DNS servers asked for these zones.",
            everything=".*",
        ),
        _top(),
    ]


def _choice(
    name: str, label: str, series: str, description: str, *, everything: str = ".+"
) -> builders.QueryVariable:
    return (
        builders.QueryVariable(name)
        .label(label)
        .description(description)
        .datasource(DATASOURCE)
        .query({"query": f"label_values({series},{name})", "refId": name})
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.NATURAL_ASC)
        .multi(multi=True)
        .include_all(include_all=True)
        .all_value(everything)
        .current(_ALL)
    )


def _top() -> builders.CustomVariable:
    options = [VariableOption(selected=count == _COUNTS[0], text=count, value=count) for count in _COUNTS]
    return (
        builders.CustomVariable("top")
        .label("Lines per panel")
        .description(
            "How many lines a graph has at most where there would be one for every zone, host or server."
        )
        .values(",".join(_COUNTS))
        .options(options)
        .current(options[0])
    )
