"""One result for a target out of what its names and address families gave.

Pure functions, no sockets, no clock.
"""

from collections.abc import Iterable, Mapping

from exporter.model import UNFINISHED, AddressLookup, Family, LookupStatus, TargetLookup, family_of


def merge_target(
    target: str, lookups: Mapping[Family, AddressLookup], *, known: tuple[str, ...], limit: int
) -> TargetLookup:
    """Make one result of the lookups of a target's address families at one server.

    Addresses in `known`, the ones probed so far, are kept where their family's lookup failed. At most
    `limit` addresses stay, known ones first, then in order, so that rotation invents no change. Where the
    deadline cut a lookup off, the server was not asked.
    """
    current = {address for lookup in lookups.values() for address in lookup.addresses}
    kept = {
        address
        for address in known
        if (lookup := lookups.get(family_of(address))) and not lookup.status.usable
    }
    familiar = set(known)
    queries = tuple(query for lookup in lookups.values() for query in lookup.queries)
    probed = sorted(current | kept, key=lambda address: (address not in familiar, address))
    chosen = sorted(probed[:limit])
    return TargetLookup(
        target=target,
        addresses=tuple(address for address in chosen if address in current),
        probed=tuple(chosen),
        failure=None if current else worst_status([lookup.status for lookup in lookups.values()]),
        alias_of=next((lookup.alias_of for lookup in lookups.values() if lookup.alias_of), None),
        ignored=len(probed) - len(chosen),
        asked=all(query.outcome != UNFINISHED for query in queries),
        queries=queries,
    )


def worst_status(statuses: Iterable[LookupStatus]) -> LookupStatus:
    """Choose the one reason why a target has no address from those of its names and address families.

    A lookup that failed leaves it open whether there are addresses, and says more than one that this machine
    could not make; NXDOMAIN says more than NODATA.
    """
    order = [LookupStatus.LOCAL_ERROR, LookupStatus.NXDOMAIN, LookupStatus.NODATA]
    return min(statuses, key=lambda status: order.index(status) if status in order else -1)
