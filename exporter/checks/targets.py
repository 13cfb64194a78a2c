"""One result for a target out of what its names and address families gave.

Pure functions, no sockets, no clock.
"""

import functools
from collections.abc import Iterable, Mapping

from exporter.model import UNFINISHED, AddressLookup, Family, LookupStatus, TargetLookup, family_of

_FEW, _TARGETS_KEPT = 16, 20_000


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


def merge_glue(
    target: str,
    addresses: tuple[tuple[str, ...], ...],
    *,
    families: tuple[Family, ...],
    known: tuple[str, ...],
    limit: int,
) -> TargetLookup:
    """Do what `merge_target` does, with addresses that came along for each of the families.

    It is the same in nearly every check, and so is what comes out: the same object, if it is not too many.
    """
    few = sum(map(len, addresses)) <= _FEW and len(known) <= _FEW
    merge = _merge_few if few else _merge_few.__wrapped__
    return merge(target, addresses, families, known, limit)


@functools.lru_cache(maxsize=_TARGETS_KEPT)
def _merge_few(
    target: str,
    addresses: tuple[tuple[str, ...], ...],
    families: tuple[Family, ...],
    known: tuple[str, ...],
    limit: int,
) -> TargetLookup:
    found = zip(families, addresses, strict=True)
    lookups = {family: AddressLookup(status=LookupStatus.OK, addresses=each) for family, each in found}
    return merge_target(target, lookups, known=known, limit=limit)


def worst_status(statuses: Iterable[LookupStatus]) -> LookupStatus:
    """Choose the one reason why a target has no address from those of its names and address families.

    A lookup that failed leaves it open whether there are addresses, and says more than one that this machine
    could not make; NXDOMAIN says more than NODATA.
    """
    order = [LookupStatus.LOCAL_ERROR, LookupStatus.NXDOMAIN, LookupStatus.NODATA]
    return min(statuses, key=lambda status: order.index(status) if status in order else -1)
