"""The configuration file: YAML → `Config`, or every problem with its line and key path.

Owns the form of the file, and its JSON Schema, which `python -m exporter.config` prints. It does not open
files, and it does not decide when to load one. `yaml` is imported nowhere else.

| module | holds |
| --- | --- |
| problems | what can be said about a bad file |
| source | bytes → plain data with line numbers |
| values | text → single values |
| schema | the typed configuration |
| validation | plain data → typed configuration, or all its problems |
| webfile | the web configuration file, all of the above for it |
| dump | typed configuration → YAML |
"""

from collections.abc import Iterable

from exporter.config.dump import dump
from exporter.config.problems import ConfigError, Problem
from exporter.config.schema import Client, Config, Dns, Limits, Probe, Web, Zone, json_schema
from exporter.config.source import Document, read
from exporter.config.validation import load
from exporter.config.values import parse_duration, parse_host, parse_server, parse_zone

__all__ = [
    "Client",
    "Config",
    "ConfigError",
    "Dns",
    "Limits",
    "Probe",
    "Problem",
    "Web",
    "Zone",
    "default",
    "dump",
    "json_schema",
    "parse",
    "parse_duration",
    "parse_host",
    "parse_server",
    "parse_zone",
]


def parse(text: bytes) -> Config:
    """Read a configuration file; raises ConfigError, and nothing else, whatever the bytes are."""
    return load(read(text))


def default(zones: Iterable[str]) -> Config:
    """The configuration without a file: these zones, and defaults for the rest.

    Zones that differ only in case or a trailing dot count once. Raises ConfigError when there are none
    or a name is bad.
    """
    unique = {zone.lower().removesuffix("."): zone for zone in zones}
    return load(Document(data={"zones": tuple({"name": zone} for zone in unique.values())}))
