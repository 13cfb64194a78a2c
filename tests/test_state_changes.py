"""Tests of what counts as a change of state, and so gets a line in the log."""

from dataclasses import replace

import pytest

from exporter.model import LookupStatus, ProbeFailure, TargetLookup
from exporter.state import Change, EndpointView, ServerView
from exporter.state.changes import endpoint_changes, server_changes, target_changes
from tests.builders import (
    ADDRESS,
    PORT,
    SERVER,
    TARGET,
    ZONE,
    addresses,
    answer,
    endpoint,
    endpoint_view,
    probed,
    record,
)

Fields = dict[str, str | int]

AT_SERVER: Fields = {"dns_zone": ZONE, "dns_server": SERVER}
AT_TARGET: Fields = {"target": TARGET, "dns_server": SERVER}
AT_ENDPOINT: Fields = {"target": TARGET, "port": PORT, "address": ADDRESS}

NEW = ServerView(dns_server=SERVER)
GOOD = NEW.after(answer(record()))
OTHER_TTL = NEW.after(answer(record(), ttl_seconds=7, soa_serial=2, duration_seconds=9.0))
TWO = NEW.after(answer(record(), record("kms2.contoso.test", 1689, priority=1, weight=2)))
EMPTY = NEW.after(answer())
NAME_ERROR = NEW.after(answer(status=LookupStatus.NXDOMAIN))
DEAD = NEW.after(answer(status=LookupStatus.TIMEOUT))
DEAD_AFTER_GOOD = GOOD.after(answer(status=LookupStatus.TIMEOUT))
REFUSED_AFTER_GOOD = DEAD_AFTER_GOOD.after(answer(status=LookupStatus.REFUSED))
EMPTY_AFTER_DEAD = DEAD_AFTER_GOOD.after(answer())
FIRST: Fields = {"target": TARGET, "port": PORT, "priority": 0, "weight": 0}
SECOND: Fields = {"target": "kms2.contoso.test", "port": 1689, "priority": 1, "weight": 2}


def status_change(before: str, status: str, *, good: bool = False) -> Change:
    """Build the change of a lookup's status."""
    fields = {**AT_SERVER, "status": status, "before": before}
    return Change(event="srv lookup status changed", good=good, fields=fields)


def appeared(one: Fields) -> Change:
    """Build the appearance of a record."""
    return Change(event="srv record appeared", good=True, fields=AT_SERVER | one)


def vanished(one: Fields) -> Change:
    """Build the disappearance of a record."""
    return Change(event="srv record vanished", good=False, fields=AT_SERVER | one)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param(None, GOOD, [], id="first sight, good"),
        pytest.param(NEW, GOOD, [], id="first answer, good"),
        pytest.param(NEW, NEW, [], id="nothing yet"),
        pytest.param(NEW, NAME_ERROR, [status_change("unknown", "nxdomain")], id="first answer, bad"),
        pytest.param(None, DEAD, [status_change("unknown", "timeout")], id="first sight, bad"),
        pytest.param(GOOD, GOOD, [], id="as before"),
        pytest.param(GOOD, OTHER_TTL, [], id="nothing that counts"),
        pytest.param(DEAD, DEAD, [], id="as bad as before"),
        pytest.param(GOOD, DEAD_AFTER_GOOD, [status_change("ok", "timeout")], id="lookup fails"),
        pytest.param(
            DEAD_AFTER_GOOD, REFUSED_AFTER_GOOD, [status_change("timeout", "refused")], id="fails otherwise"
        ),
        pytest.param(DEAD_AFTER_GOOD, GOOD, [status_change("timeout", "ok", good=True)], id="recovers"),
        pytest.param(DEAD, GOOD, [status_change("timeout", "ok", good=True)], id="first records after all"),
        pytest.param(GOOD, TWO, [appeared(SECOND)], id="record appears"),
        pytest.param(TWO, GOOD, [vanished(SECOND)], id="record vanishes"),
        pytest.param(
            EMPTY, GOOD, [status_change("nodata", "ok", good=True), appeared(FIRST)], id="records at last"
        ),
        pytest.param(
            TWO,
            EMPTY,
            [status_change("ok", "nodata"), vanished(FIRST), vanished(SECOND)],
            id="all records vanish",
        ),
        pytest.param(
            DEAD_AFTER_GOOD,
            EMPTY_AFTER_DEAD,
            [status_change("timeout", "nodata"), vanished(FIRST)],
            id="record vanished while lookups failed",
        ),
        pytest.param(EMPTY, NAME_ERROR, [status_change("nodata", "nxdomain")], id="empty otherwise"),
    ],
)
def test_server_changes(before: ServerView | None, after: ServerView, changes: list[Change]) -> None:
    """A zone at a DNS server gives a line for a new status and for each record that comes or goes."""
    assert list(server_changes(ZONE, before, after)) == changes


def test_server_changes_of_a_client() -> None:
    """What a kind of client finds in a suffix says so; that is all the difference."""
    ours = list(server_changes(ZONE, TWO, EMPTY))
    theirs = list(server_changes(ZONE, TWO, EMPTY, client="branch"))
    assert theirs == [replace(change, fields={**change.fields, "client": "branch"}) for change in ours]


RESOLVED = addresses(TARGET, ADDRESS)
MOVED = addresses(TARGET, "192.0.2.2", "192.0.2.3")
STALE = addresses(TARGET)
UNANSWERED = addresses(TARGET, failure=LookupStatus.TIMEOUT, probed=(ADDRESS,))


def unresolvable(reason: str) -> Change:
    """Build the loss of a target's addresses."""
    return Change(event="target unresolvable", good=False, fields={**AT_TARGET, "reason": reason})


BACK = Change(event="target resolved", good=True, fields=AT_TARGET)


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param(None, RESOLVED, [], id="first sight, good"),
        pytest.param(None, STALE, [unresolvable("nxdomain")], id="first sight, bad"),
        pytest.param(RESOLVED, RESOLVED, [], id="as before"),
        pytest.param(STALE, STALE, [], id="as bad as before"),
        pytest.param(RESOLVED, UNANSWERED, [unresolvable("timeout")], id="cannot be resolved"),
        pytest.param(UNANSWERED, STALE, [unresolvable("nxdomain")], id="cannot be resolved otherwise"),
        pytest.param(STALE, RESOLVED, [BACK], id="recovers"),
        pytest.param(UNANSWERED, MOVED, [BACK], id="recovers elsewhere"),
        pytest.param(
            RESOLVED,
            MOVED,
            [
                Change(
                    event="target addresses changed",
                    good=True,
                    fields={**AT_TARGET, "addresses": "192.0.2.2 192.0.2.3", "before": ADDRESS},
                )
            ],
            id="moves",
        ),
    ],
)
def test_target_changes(before: TargetLookup | None, after: TargetLookup, changes: list[Change]) -> None:
    """A target gives a line when its addresses are lost, found or changed at a DNS server."""
    assert list(target_changes(SERVER, before, after)) == changes


UP = endpoint_view(probed(endpoint()))
SLOW = endpoint_view(probed(endpoint(), connect_seconds=4.0, syn_retransmits=2, at=2.0), probes=2)
CLOSED = endpoint_view(probed(endpoint(), ProbeFailure.CONNECTION_REFUSED))
FILTERED = endpoint_view(probed(endpoint(), ProbeFailure.TIMEOUT))


def down(reason: str) -> Change:
    """Build the failure of an endpoint."""
    return Change(event="endpoint down", good=False, fields={**AT_ENDPOINT, "reason": reason})


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        pytest.param(None, UP, [], id="first sight, good"),
        pytest.param(None, CLOSED, [down("connection_refused")], id="first sight, bad"),
        pytest.param(UP, SLOW, [], id="nothing that counts"),
        pytest.param(CLOSED, CLOSED, [], id="as bad as before"),
        pytest.param(UP, CLOSED, [down("connection_refused")], id="goes down"),
        pytest.param(CLOSED, FILTERED, [down("timeout")], id="fails otherwise"),
        pytest.param(
            FILTERED, UP, [Change(event="endpoint up", good=True, fields=AT_ENDPOINT)], id="recovers"
        ),
    ],
)
def test_endpoint_changes(before: EndpointView | None, after: EndpointView, changes: list[Change]) -> None:
    """An endpoint gives a line when it goes down, when it fails otherwise, and when it recovers."""
    assert list(endpoint_changes(before, after)) == changes
