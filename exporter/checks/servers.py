"""The DNS servers that a configured list stands for at one moment, and how they are found."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from exporter.boundaries import Boundaries
from exporter.checks.deadline import Deadline, unfinished
from exporter.discovery import Authoritative, Discovery
from exporter.model import DnsServer, Family, Groups, LookupStatus, Queries, ServerGroup, ServerSelector

_MAX_AUTHORITATIVE = 32  # servers of one zone; the root has 26 addresses


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


class Finder:
    """Finds the servers that configured lists stand for, for one check and by its deadline."""

    def __init__(
        self,
        discovery: Discovery,
        deadline: Deadline,
        *,
        boundaries: Boundaries,
        families: tuple[Family, ...],
    ) -> None:
        self._discovery = discovery
        self._deadline = deadline
        self._boundaries = boundaries
        self._families = families

    async def find(self, name: str, selectors: Iterable[ServerSelector], known: Groups) -> Servers:
        """Turn a configured list into addresses, in order and without repetition.

        While the members of a group cannot be found, those found before (`known`) go on being asked.
        """
        addresses: dict[DnsServer, None] = {}
        groups: dict[ServerGroup, tuple[DnsServer, ...]] = {}
        missing: dict[str, LookupStatus] = {}
        refused: dict[DnsServer, None] = {}
        queries: Queries = ()
        for selector in selectors:
            if isinstance(selector, DnsServer):
                addresses[selector] = None
                continue
            members = await self._find_group(selector, name, known.get(selector, ()))
            queries += members.queries
            addresses.update(dict.fromkeys(members.servers))
            refused.update(dict.fromkeys(members.refused))
            groups[selector] = members.servers
            if not members.servers:
                missing[selector.value] = members.status
        return Servers(
            addresses=tuple(addresses),
            groups=groups,
            missing=missing,
            refused=tuple(refused),
            queries=queries,
        )

    async def _find_group(self, group: ServerGroup, name: str, known: tuple[DnsServer, ...]) -> Members:
        if group is ServerGroup.SYSTEM:
            system = self._discovery.system()
            return Members(servers=system.servers or known, status=system.missing)
        found, status, queries = await self._deadline.keep(
            self._discovery.find_authoritative(name, self._families),
            late=lambda: Authoritative(
                frozenset(), LookupStatus.TIMEOUT, unfinished(ServerGroup.SYSTEM.value, name, "NS")
            ),
        )
        askable = self._askable(found)
        if not askable and status.usable:  # somebody serves every zone: such an answer cannot be right
            status = LookupStatus.BAD_RESPONSE
        members = askable if status.usable else askable | self._askable(known)
        kept = sorted(members, key=lambda server: (server not in known, server))[:_MAX_AUTHORITATIVE]
        return Members(
            servers=tuple(sorted(kept)),
            status=status,
            refused=tuple(sorted(found - askable)[:_MAX_AUTHORITATIVE]),
            queries=queries,
        )

    def _askable(self, servers: Iterable[DnsServer]) -> frozenset[DnsServer]:
        """Keep those of a group that may be asked, for they come from DNS too."""
        allows = self._boundaries.allows_name_server
        return frozenset(server for server in servers if allows(server.address))


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
