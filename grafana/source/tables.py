"""Tables: the answers of several instant queries side by side, one row for each set of labels."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from grafana_foundation_sdk.builders import common as common_builders
from grafana_foundation_sdk.builders import table
from grafana_foundation_sdk.models.dashboard import DataTransformerConfig, DynamicConfigValue
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from grafana.source.panels import CHECK_INTERVAL, POINTS, describe, link, mappings, thresholds
from grafana.source.queries import Query
from grafana.source.words import Word


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """A column; `source` is a label, or the letter of the query whose values it holds.

    With `words` the cell is coloured. `missing` stands where there is no value. `url` is where a click leads
    to, with the title `click`.
    """

    source: str
    title: str
    unit: str = ""
    words: Sequence[Word] = ()
    missing: str = ""
    width: int | None = None
    url: str = ""
    click: str = ""

    @property
    def is_label(self) -> bool:
        """Whether it is text. Grafana has to be told, or it shows 0x8007232B as a decimal number."""
        return len(self.source) > 1

    @property
    def settings(self) -> Mapping[str, object]:
        """What overrides the settings of all columns."""
        values: dict[str, object] = {"unit": self.unit or ("string" if self.is_label else "none")}
        if self.words:
            values["mappings"] = mappings(self.words)
            values["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        if self.missing:
            values["noValue"] = self.missing
        if self.width:
            values["custom.width"] = self.width
        if self.url:
            values["links"] = [link(self.click, self.url).build()]
        return values


def listing(
    title: str,
    description: str,
    queries: Sequence[Query],
    columns: Sequence[Column],
    *,
    worst: Sequence[str] = (),
    then: Sequence[str] = (),
    no_value: str = "",
) -> table.Panel:
    """Build a table in pages: highest values of the columns `worst` first, then by the columns `then`.

    Every query keeps the same labels, or more than the others.
    """
    panel = describe(table.Panel(), title, description, queries, instant=True, shape=PromQueryFormat.TABLE)
    merged = [DataTransformerConfig(id_val="merge", options={})] if len(queries) > 1 else []
    panel = (
        panel.transformations([*merged, _organize(columns, len(queries))])
        .footer(
            common_builders.TableFooterOptions()
            .show(show=False)
            .reducer([])
            .enable_pagination(enable_pagination=True)
        )
        .sort_by(
            [*(_sorted(name, desc=True) for name in worst), *(_sorted(name, desc=False) for name in then)]
        )
        .interval(CHECK_INTERVAL)
        .max_data_points(POINTS)
        .thresholds(thresholds(base="text"))
        .filterable(filterable=True)
        .unit("none")
    )
    if no_value:
        panel = panel.no_value(no_value)
    for column in columns:
        panel = panel.override_by_name(
            column.title,
            [DynamicConfigValue(id_val=key, value=value) for key, value in column.settings.items()],
        )
    return panel


def _sorted(name: str, *, desc: bool) -> common_builders.TableSortByFieldState:
    return common_builders.TableSortByFieldState().display_name(name).desc(desc)


def _organize(columns: Iterable[Column], count: int) -> DataTransformerConfig:
    """Name and order the columns, and leave out the time and the values that no column shows."""
    several = count > 1
    values = [f"Value #{chr(ord('A') + index)}" if several else "Value" for index in range(count)]
    names = {
        column.source if column.is_label else values[ord(column.source) - ord("A")]: column.title
        for column in columns
    }
    options = {
        "renameByName": names,
        "indexByName": {name: index for index, name in enumerate(names)},
        "excludeByName": dict.fromkeys(sorted({"Time", *values}.difference(names)), True),
    }
    return DataTransformerConfig(id_val="organize", options=options)
