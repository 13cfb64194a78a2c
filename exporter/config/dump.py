"""`Config` → the YAML of a file that says the same, with every default spelled out.

`parse` makes an equal configuration of it, whatever order and spelling the original file had.
"""

from collections.abc import Mapping

import yaml
from pydantic import BaseModel

from exporter.config.schema import Config
from exporter.config.values import show_duration
from exporter.model import DnsServer, Host, host_port


class _Dumper(yaml.SafeDumper):
    """Writes every value where it stands, however often it occurs."""

    def ignore_aliases(self, data: object) -> bool:
        del data
        return True


def dump(config: Config) -> str:
    """Write a configuration as YAML, in the order of the documentation."""
    return yaml.dump(_plain(config), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def _fields(section: BaseModel) -> dict[str, object]:
    """Give the keys of a section; None stands for a key that is not there."""
    values = {name: getattr(section, name) for name in type(section).model_fields}
    return {name: value for name, value in values.items() if value is not None}


def _plain(value: object) -> object:
    match value:
        case BaseModel():
            return {key: _plain(each) for key, each in _fields(value).items()}
        case Mapping():
            return dict(value)
        case Host():  # a tuple itself
            return host_port(value.target, value.port)
        case tuple():
            return [_plain(each) for each in value]
        case bool() | int():
            return value
        case _:
            return _text(value)


def _text(value: object) -> str:
    match value:
        case float():  # every number with a fraction is a time
            return show_duration(value)
        case DnsServer():
            return value.label
        case _:  # a word of an enumeration, a network, or text
            return str(value)
