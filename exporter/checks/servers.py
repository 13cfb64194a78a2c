"""The DNS servers that a configured list stands for at one moment. Pure value objects."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exporter.model import DnsServer, Groups, LookupStatus, Queries


@dataclass(frozen=True, slots=True, kw_only=True)
class Servers:
    """The DNS servers that a configured list stands for right now.

    `missing` gives the reason for each group word that leads to none; the word then stands where the
    label of a server would, lest the zone looks as if nobody had to be asked. `refused` are members of groups
    that may not be asked, `queries` found the groups.
    """

    addresses: tuple[DnsServer, ...] = ()
    groups: Groups = field(default_factory=dict)
    missing: Mapping[str, LookupStatus] = field(default_factory=dict)
    refused: tuple[DnsServer, ...] = ()
    queries: Queries = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Members:
    """What a group stands for right now; `status` says why that is nothing, where it is."""

    servers: tuple[DnsServer, ...]
    status: LookupStatus
    refused: tuple[DnsServer, ...] = ()
    queries: Queries = ()


def merge_servers(found: Iterable[Servers]) -> Servers:
    """Take the servers that were found for any of several names together; a group is missing for all or none.

    The groups themselves stay apart, with the names that they were found for.
    """
    found = tuple(found)
    missing = [servers.missing for servers in found]
    return Servers(
        addresses=tuple(dict.fromkeys(address for servers in found for address in servers.addresses)),
        missing={
            word: status
            for word, status in (missing[0] if missing else {}).items()
            if all(word in each for each in missing)
        },
    )
