"""Tests of a client's search: the first of its suffixes with records wins."""

from dataclasses import replace

import pytest

from exporter.diagnosis import Verdict, ZoneDiagnosis
from exporter.diagnosis.profiles import SuffixSight, deciding_suffix
from exporter.model import LookupStatus
from tests.builders import answer, record, server_diagnosis, zone_view

PROFILES = [
    (["ok"], "ok", 0),
    (["nxdomain"], "srv_missing", None),
    (["nodata"], "srv_missing", None),
    (["nxdomain", "nodata"], "srv_missing", None),
    # the first with records wins, whatever becomes of it
    (["ok", "ok"], "ok", 0),
    (["degraded", "ok"], "degraded", 0),
    (["port_closed", "ok"], "port_closed", 0),
    (["target_unresolvable", "ok"], "target_unresolvable", 0),
    (["unknown", "ok"], "unknown", 0),
    # one without records is skipped
    (["nxdomain", "ok"], "ok", 1),
    (["nodata", "ok"], "ok", 1),
    (["nxdomain", "nodata", "not_kms", "ok"], "not_kms", 2),
    # one that fails is skipped too
    (["servfail", "ok"], "ok", 1),
    (["timeout", "nxdomain", "degraded"], "degraded", 2),
    (["refused", "port_filtered", "servfail"], "port_filtered", 1),
    (["ok", "servfail"], "ok", 0),
    # and shows only when no later one has records
    (["servfail"], "dns_failed", None),
    (["servfail", "nxdomain"], "dns_failed", None),
    (["nxdomain", "unreachable"], "dns_failed", None),
    (["nodata", "bad_response", "nxdomain"], "dns_failed", None),
    (["timeout", "refused"], "dns_failed", None),
    # one that this machine could not look up may have records or not: nobody knows from there on
    (["local_error"], "unknown", None),
    (["local_error", "ok"], "unknown", None),
    (["nxdomain", "local_error", "ok"], "unknown", None),
    (["servfail", "local_error"], "unknown", None),
    (["local_error", "servfail"], "unknown", None),
    (["ok", "local_error"], "ok", 0),
    # a lone `.` is a record
    (["srv_declined"], "srv_declined", 0),
    (["srv_declined", "ok"], "srv_declined", 0),
    (["nxdomain", "srv_declined", "ok"], "srv_declined", 1),
    (["servfail", "srv_declined"], "srv_declined", 1),
]


def suffix_sight(number: int, seen: str) -> SuffixSight:
    """Build what was seen of a suffix, from how its lookup ended or from the verdict on its records."""
    if seen in set(LookupStatus) - {LookupStatus.OK}:
        server = server_diagnosis(answer(status=LookupStatus(seen)))
    else:
        lookup = answer(record(".", 0)) if seen == "srv_declined" else answer(record())
        server = replace(server_diagnosis(lookup), verdict=Verdict(seen))
    zone = ZoneDiagnosis(view=zone_view(f"{number}.test"), servers=(server,), agree=None)
    return SuffixSight(zone=zone, server=server)


@pytest.mark.parametrize(("suffixes", "verdict", "winner"), PROFILES)
def test_deciding_suffix(suffixes: list[str], verdict: str, winner: int | None) -> None:
    """A client ends up with the first suffix that has records, or with none."""
    seen = [suffix_sight(number, each) for number, each in enumerate(suffixes)]
    found = deciding_suffix(seen)
    assert found is not None
    assert found in seen
    assert found.server.verdict == verdict
    assert (found.server.lookup.status is LookupStatus.OK) == (winner is not None)
    assert winner is None or found is seen[winner]


@pytest.mark.parametrize(
    ("suffixes", "number"),
    [
        (["nxdomain", "nodata"], 0),
        (["nxdomain", "servfail", "nodata", "refused"], 1),
        (["servfail", "nxdomain", "ok"], 2),
        (["timeout", "refused"], 0),
    ],
)
def test_suffix_that_decides(suffixes: list[str], number: int) -> None:
    """Without a winner the first failure decides, and where no lookup failed, the first suffix."""
    found = deciding_suffix([suffix_sight(place, each) for place, each in enumerate(suffixes)])
    assert found is not None
    assert found.zone.view.zone == f"{number}.test"
    assert found.server in found.zone.servers


@pytest.mark.parametrize(
    ("before", "after", "decided"),
    [([], ["ok"], False), (["nxdomain"], ["ok"], False), (["ok"], [], True), (["servfail"], [], False)],
)
def test_suffix_without_a_result(before: list[str], after: list[str], decided: bool) -> None:  # noqa: FBT001
    """A search is not decided while that hangs on a suffix that nobody has looked up yet."""
    seen = [suffix_sight(number, each) for number, each in enumerate(before)]
    later = [suffix_sight(9, each) for each in after]
    assert (deciding_suffix([*seen, None, *later]) is not None) == decided
