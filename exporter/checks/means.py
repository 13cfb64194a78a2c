"""What all checks work with: settings, lookups, room for probes, and results that serve again."""

import asyncio
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from exporter.boundaries import Boundaries
from exporter.checks.slots import Slots
from exporter.discovery import Discovery, SoaLookup
from exporter.model import (
    AddressLookup,
    DnsServer,
    Endpoint,
    Family,
    Glue,
    Memory,
    ProbeResult,
    Record,
    SrvLookup,
    TargetLookup,
    family_of,
)
from exporter.probe import start_probe
from exporter.sharing import SharedResults

_MOST_FOLLOWED = 20_000
_MOST_ADDRESSES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckSettings:
    """What holds for every check alike; the names are those of the configuration."""

    interval_seconds: float
    timeout_seconds: float
    attempts: int
    source_addresses: Mapping[Family, str]
    address_families: tuple[Family, ...]
    max_concurrency: int
    boundaries: Boundaries
    records_per_zone: int
    addresses_per_target: int
    probes_per_check: int
    rpc_bind: bool


class Followed(NamedTuple):
    """Where an answer led that came with all addresses, and what that follows from.

    It holds what was there itself: for as long as it does, nothing else can be the same object.
    """

    memory: Memory
    records: tuple[Record, ...]
    glue: Glue
    targets: tuple[TargetLookup, ...]
    endpoints: frozenset[Endpoint]

    def is_small(self) -> bool:
        """Tell whether it can be kept: a hostile server could have much come along, and new at each check."""
        return sum(len(each.addresses) for each in self.glue.values()) <= _MOST_ADDRESSES

    def is_of(self, lookup: SrvLookup, memory: Memory) -> bool:
        """Tell whether this is where an answer leads: it is, if nothing is there that was not then."""
        return self.memory is memory and self.records is lookup.records and self.glue is lookup.glue


Turn = tuple[Mapping[DnsServer, Followed], dict[DnsServer, Followed]]
"""Where the answers of the last check led, and those of this one do."""


class Following:
    """Where the answers of the last check led, by owner and zone; only of what leads to few addresses."""

    def __init__(self) -> None:
        self._kept: dict[Hashable, dict[DnsServer, Followed]] = {}

    def turn(self, key: Hashable) -> Turn:
        """Give what was kept at the last check, and what to keep in for the next one."""
        last = self._kept.pop(key, {})
        if len(self._kept) >= _MOST_FOLLOWED:  # so many are not watched: most of it is of what was once
            self._kept.clear()
        self._kept[key] = now = dict[DnsServer, Followed]()
        return last, now

    def last(self, key: Hashable) -> Mapping[DnsServer, Followed]:
        """Give what was kept at the last check, and go on keeping it."""
        return self._kept.get(key, {})


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What all checks work with: the same settings, lookups, and results to share."""

    settings: CheckSettings
    discovery: Discovery
    probe_slots: Slots[Endpoint, ProbeResult]
    probes: SharedResults[Endpoint, ProbeResult]
    addresses: SharedResults[tuple[str, Family, DnsServer], AddressLookup]
    serials: SharedResults[tuple[str, DnsServer], SoaLookup]
    followed: Following
    allows: Callable[[str, int], bool]


def begin_probe(
    settings: CheckSettings, endpoint: Endpoint, ended: Callable[[], None]
) -> asyncio.Future[ProbeResult]:
    """Begin to probe an endpoint as the settings say; `ended` is called when that is over."""
    return start_probe(
        endpoint,
        timeout_seconds=settings.timeout_seconds,
        rpc_bind=settings.rpc_bind,
        source_address=settings.source_addresses.get(family_of(endpoint.address)),
        ended=ended,
    )
