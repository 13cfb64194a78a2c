"""What has changed from one check to the next: the lines a log should hold, and no others.

Pure functions that compare views. A thing seen for the first time is a change only when it is bad.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from exporter.model import Endpoint, LookupStatus, Record, SrvLookup, TargetLookup
from exporter.state.views import EndpointView, ServerView


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One change of state: an event, whether it is for the better, and the names and values it concerns."""

    event: str
    good: bool
    fields: Mapping[str, str | int]


def is_same_answer(before: SrvLookup | None, after: SrvLookup) -> bool:
    """Tell whether two lookups have the same outcome and records, whatever their times, TTLs and serials."""
    return (
        before is not None
        and before.status is after.status
        and before.fingerprint == after.fingerprint
        and before.authoritative is after.authoritative
        and before.records == after.records
        and before.portless == after.portless
    )


def server_changes(
    zone: str, before: ServerView | None, after: ServerView, *, client: str | None = None
) -> Iterator[Change]:
    """Compare views of a zone at one DNS server; `client` is the kind that searches it, if one does."""
    place: dict[str, str | int] = {"dns_zone": zone, "dns_server": after.dns_server}
    if client is not None:
        place["client"] = client
    old = before.lookup.status if before and before.lookup else None
    new = after.lookup.status if after.lookup else None
    if new is not None and new is not old and (old is not None or new is not LookupStatus.OK):
        status = {"status": new.value, "before": old.value if old else "unknown"}
        yield Change(
            event="srv lookup status changed", good=new is LookupStatus.OK, fields={**place, **status}
        )
    if before is None or before.records is None or after.records is None:
        return
    for record in sorted(set(after.records) - set(before.records)):
        yield Change(event="srv record appeared", good=True, fields={**place, **_show(record)})
    for record in sorted(set(before.records) - set(after.records)):
        yield Change(event="srv record vanished", good=False, fields={**place, **_show(record)})


def target_changes(dns_server: str, before: TargetLookup | None, after: TargetLookup) -> Iterator[Change]:
    """Compare the addresses of a target at one DNS server."""
    place = {"target": after.target, "dns_server": dns_server}
    old, new = (before.failure if before else None), after.failure
    if new is not None and new is not old:
        yield Change(event="target unresolvable", good=False, fields={**place, "reason": new.value})
    elif old is not None and new is None:
        yield Change(event="target resolved", good=True, fields=place)
    if before and before.addresses and after.addresses and before.addresses != after.addresses:
        fields = {**place, "addresses": " ".join(after.addresses), "before": " ".join(before.addresses)}
        yield Change(event="target addresses changed", good=True, fields=fields)


def endpoint_changes(before: EndpointView | None, after: EndpointView) -> Iterator[Change]:
    """Compare an endpoint's last two results."""
    old, new = (before.last.failure if before else None), after.last.failure
    place = _place(after.endpoint)
    if new is not None and new is not old:
        yield Change(event="endpoint down", good=False, fields={**place, "reason": new.value})
    elif old is not None and new is None:
        yield Change(event="endpoint up", good=True, fields=place)


def _place(endpoint: Endpoint) -> dict[str, str | int]:
    return {"target": endpoint.target, "port": endpoint.port, "address": endpoint.address}


def _show(record: Record) -> dict[str, str | int]:
    return {
        "target": record.target,
        "port": record.port,
        "priority": record.priority,
        "weight": record.weight,
    }
