"""Plain data → Config, or every problem that it has.

Two passes, neither of which stops the other: pydantic checks each field by itself, then what concerns
several fields is looked for in the raw data, among those values that can be read.
"""

import difflib
from collections.abc import Callable, Hashable, Iterator, Mapping
from typing import TypeAlias

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from exporter.config import values
from exporter.config.problems import ConfigError, Path, Problem, show, show_path
from exporter.config.schema import Client, Config, Dns, Limits, Probe, Web, Zone
from exporter.config.source import Document
from exporter.model import Family, family_of

_MESSAGES = {
    "extra_forbidden": "unknown key",
    "missing": "is required",
    "model_type": "must be a mapping",
    "dict_type": "must be a mapping",
    "tuple_type": "must be a list",
    "string_type": "must be text: put it in quotes",
    "int_type": "must be a whole number",
    "bool_type": "must be true or false",
    "greater_than_equal": "must be at least {ge}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}
_SECTIONS: Mapping[Path, type[BaseModel]] = {
    (): Config,
    ("dns",): Dns,
    ("probe",): Probe,
    ("web",): Web,
    ("limits",): Limits,
    ("zones", "*"): Zone,
    ("clients", "*"): Client,
}
_SETS: Mapping[Path, Callable[[str], Hashable]] = {
    ("dns", "servers"): values.parse_server,
    ("probe", "address_families"): values.parse_family,
    ("probe", "networks"): values.parse_network,
    ("probe", "ports"): int,
    ("probe", "nat64_prefixes"): values.parse_nat64_prefix,
    ("web", "probe_allow"): values.parse_allowed,
    ("hosts",): values.parse_host,
    ("zones", "*", "dns_servers"): values.parse_server,
    ("zones", "*", "expected"): values.parse_expected,
    ("clients", "*", "suffixes"): values.parse_zone,
    ("clients", "*", "dns_servers"): values.parse_server,
}
"""The lists in which nothing may stand twice; `*` is each item of a list."""
_NAMED: Mapping[str, Callable[[str], Hashable]] = {"zones": values.parse_zone, "clients": values.parse_client}
"""The lists in which no two items may have the same name."""
_WATCHED = ("zones", "hosts", "clients")
_LONGEST_TYPO = 40
_MOST_SHOWN = 5
_ONE_EACH = "there may be one IPv4 and one IPv6 address, and of this kind there is already"

Items: TypeAlias = list[tuple[Path, object]]


def load(document: Document) -> Config:
    """Make the configuration of a document; raises ConfigError with all problems, also those of YAML."""
    problems = list(document.problems)
    config = None
    try:
        config = Config.model_validate(document.data)
    except ValidationError as error:
        problems += translate(error, document, _SECTIONS)
    problems += [
        Problem(line=document.line(path), path=show_path(path), message=message)
        for path, message in _cross_check(document)
    ]
    if problems or config is None:
        raise ConfigError(problems)
    return config


def translate(
    error: ValidationError, document: Document, sections: Mapping[Path, type[BaseModel]]
) -> list[Problem]:
    """Say what pydantic found in the words of this project, save for what YAML alone has shown already."""
    details = error.errors(include_url=False, include_input=False)
    return [_translate(each, document, sections) for each in details if each["loc"] not in document.broken]


def _translate(error: ErrorDetails, document: Document, sections: Mapping[Path, type[BaseModel]]) -> Problem:
    path = error["loc"]
    if path[-1:] == ("[key]",) and path not in document.lines:
        path = path[:-1]  # how pydantic says that it means a key, not its value
    template = _MESSAGES.get(error["type"])
    message = template.format_map(error.get("ctx", {})) if template else error["msg"]
    if error["type"] == "extra_forbidden":
        message += _suggestion(path, sections)
    return Problem(line=document.line(path), path=show_path(path), message=message)


def _suggestion(path: Path, sections: Mapping[Path, type[BaseModel]]) -> str:
    section = sections.get(tuple("*" if isinstance(step, int) else step for step in path[:-1]))
    key = str(path[-1])
    if section is None or len(key) > _LONGEST_TYPO:
        return ""
    close = difflib.get_close_matches(key, section.model_fields, n=1, cutoff=0.7)
    return f", did you mean {close[0]}?" if close else ""


def _cross_check(document: Document) -> Iterator[tuple[Path, str]]:
    if not isinstance(document.data, dict):
        return
    yield from _nothing_to_watch(document.data)
    yield from _timeout(document.data)
    yield from _repeated(document, _items(document, "source_addresses"), _family, _ONE_EACH)
    for pattern, parse in _SETS.items():
        for path in _matching(document, pattern):
            yield from _repeated(document, _items(document, *path), parse)
    for key, parse in _NAMED.items():
        yield from _repeated(document, _names(document, key), parse)
    yield from _label_keys(document, _items(document, "zones"))
    yield from _too_many_expected(document)


def _nothing_to_watch(data: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    section = data.get("web")
    web = section if isinstance(section, dict) else {}
    if web.get("probe_allow", ()) != ():
        return
    given = {key for key in _WATCHED if data.get(key, ()) != ()}
    if not given:
        yield (), "there is nothing to watch: give zones, hosts or clients, or web.probe_allow"
    elif given == {"clients"} and web.get("probe_only") is True:
        yield ("web", "probe_only"), "leaves nothing to look at: clients are checked only on a timer"


def _timeout(data: Mapping[str, object]) -> Iterator[tuple[Path, str]]:
    try:
        interval, timeout = (
            values.parse_duration(data.get(key, Config.model_fields[key].default))
            for key in ("interval", "timeout")
        )
    except ValueError:
        return
    if timeout >= interval:
        yield (
            ("timeout" if "timeout" in data else "interval",),
            "the timeout must be shorter than the interval",
        )


def _repeated(
    document: Document,
    items: Items,
    parse: Callable[[str], Hashable],
    message: str = "is the same as",
) -> Iterator[tuple[Path, str]]:
    first: dict[Hashable, Path] = {}
    for path, item in items:
        if type(item) not in {str, int}:  # a bool is neither
            continue
        try:
            value = parse(str(item))
        except ValueError:
            continue
        if value in first:
            yield path, f"{message} {_reference(document, first[value])}"
        else:
            first[value] = path


def _label_keys(document: Document, zones: Items) -> Iterator[tuple[Path, str]]:
    first: tuple[Path, set[str]] | None = None
    for path, labels in (
        ((*path, "labels"), zone.get("labels")) for path, zone in zones if isinstance(zone, dict)
    ):
        if not isinstance(labels, dict) or not labels:
            continue
        if first is None:
            first = path, set(labels)
        elif set(labels) != first[1]:
            differing = sorted(first[1].symmetric_difference(labels))
            keys = ", ".join(map(show, differing[:_MOST_SHOWN]))
            yield path, f"must have the same keys as {_reference(document, first[0])}, but differs in {keys}"


def _matching(document: Document, pattern: Path) -> Iterator[Path]:
    """The paths of a pattern in which one step at most may be `*`."""
    if "*" not in pattern:
        yield pattern
        return
    star = pattern.index("*")
    for path, _ in _items(document, *pattern[:star]):
        yield *path, *pattern[star + 1 :]


def _names(document: Document, key: str) -> Items:
    return [
        ((*path, "name"), item["name"])
        for path, item in _items(document, key)
        if isinstance(item, dict) and "name" in item
    ]


def _too_many_expected(document: Document) -> Iterator[tuple[Path, str]]:
    """What is cut off an answer looks as if it was missing, and of what is not probed nobody knows."""
    data = document.data if isinstance(document.data, dict) else {}
    limits = data.get("limits", {})
    for key in ("records_per_zone", "probes_per_check"):
        limit = limits.get(key, getattr(Limits(), key)) if isinstance(limits, dict) else None
        if type(limit) is not int or limit < 1:  # which is a problem of its own
            continue
        for path, _ in _items(document, "zones"):
            if len(_items(document, *path, "expected")) > limit:
                yield (*path, "expected"), f"has more hosts than limits.{key}, which is {limit}"


def _items(document: Document, *path: str | int) -> Items:
    """The items of the list at a path with their own paths; none where there is no list."""
    value: object = document.data
    for step in path:
        match value:
            case dict() if step in value:
                value = value[step]
            case tuple() if isinstance(step, int):
                value = value[step]
            case _:
                return []
    return [((*path, index), item) for index, item in enumerate(value)] if isinstance(value, tuple) else []


def _reference(document: Document, path: Path) -> str:
    line = document.line(path)
    return show_path(path) if line is None else f"{show_path(path)} on line {line}"


def _family(text: str) -> Family:
    return family_of(values.parse_address(text))
