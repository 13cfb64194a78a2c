"""Which endpoints a check probes where there are too many, decided without a socket."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.checks.allotment import Allotment
from exporter.model import Endpoint, Host

EXPECTED = frozenset({Host(target="expected.test", port=1688)})


def endpoints(target: str, count: int = 1) -> list[Endpoint]:
    """Build the endpoints of a host with so many addresses."""
    return [
        Endpoint(target=f"{target}.test", port=1688, address=f"192.0.2.{number}")
        for number in range(1, count + 1)
    ]


def targets(found: list[Endpoint]) -> list[str]:
    """Name the hosts of endpoints in their order, without the domain."""
    return [endpoint.target.removesuffix(".test") for endpoint in found]


def test_all_at_once_within_the_limit() -> None:
    """Nothing waits where there is room for all."""
    allotment = Allotment(4, expected=frozenset(), known=[])
    assert targets(allotment.take([*endpoints("b", 2), *endpoints("a", 2)])) == ["a", "b", "a", "b"]
    assert (allotment.take_rest(), allotment.left) == ([], ())


def test_repeated_endpoints_count_once() -> None:
    """An endpoint that several DNS servers bring takes one place, whether it is probed or waits."""
    allotment = Allotment(2, expected=frozenset(), known=[])
    for _ in range(3):
        allotment.take(endpoints("a", 3))
    assert len(allotment.left) == 1
    allotment = Allotment(2, expected=frozenset(), known=[])
    allotment.take(endpoints("a"))
    assert targets(allotment.take([*endpoints("a"), *endpoints("b")])) == ["b"]


def test_second_address_of_a_host_that_is_probed() -> None:
    """What is new of a host that is probed already waits until every other host has an address."""
    both, other = endpoints("a", 2), endpoints("b")
    allotment = Allotment(2, expected=frozenset(), known=both[:1])
    assert allotment.take(both[:1]) == both[:1]
    assert allotment.take([*both, *other]) == other
    assert allotment.left == (both[1],)


def test_order() -> None:
    """Expected hosts go first, then what is known, then each host has one address before any has two."""
    known = endpoints("known", 2)
    allotment = Allotment(6, expected=EXPECTED, known=known)
    crowd = [*endpoints("a", 9), *endpoints("b", 9), *known, *endpoints("expected", 2)]
    assert targets(allotment.take(crowd)) == ["expected", "expected", "known", "known", "a", "b"]
    assert len(allotment.left) == 16


def test_known_ones_keep_their_places() -> None:
    """Whatever comes in later, what was probed before goes on being probed."""
    known = endpoints("known", 3)
    allotment = Allotment(3, expected=frozenset(), known=known)
    assert allotment.take(known) == known
    assert allotment.take(endpoints("a", 5)) == allotment.take_rest() == []


def test_room_for_expected_hosts() -> None:
    """Room is kept for expected hosts that come in late, and given to others when none does."""
    known = endpoints("known", 9)
    allotment = Allotment(8, expected=EXPECTED, known=known)
    assert len(allotment.take(known)) == 6
    assert targets(allotment.take(endpoints("expected", 3))) == ["expected"] * 2
    assert allotment.take_rest() == []
    allotment = Allotment(8, expected=EXPECTED, known=known)
    allotment.take(known)
    assert targets(allotment.take_rest()) == ["known"] * 2


def test_shares_of_dns_servers() -> None:
    """The first DNS server to answer leaves something to the others; at the end there is no difference."""
    allotment = Allotment(8, expected=frozenset(), known=[])
    assert targets(allotment.take(endpoints("first", 20), sources=2)) == ["first"] * 4
    assert targets(allotment.take(endpoints("second", 20), sources=2)) == ["second"] * 2
    assert targets(allotment.take_rest()) == ["first", "second"]


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_every_host_of_the_first_server(limit: int) -> None:
    """Of a server that names more hosts than there may be probes, each host has one address at most."""
    allotment = Allotment(limit, expected=frozenset(), known=[])
    found = allotment.take(itertools.chain.from_iterable(endpoints(name, 16) for name in "abcdef"))
    assert targets(found) == list("abcdef")[:limit]


NAMES = st.sampled_from(["expected", "a", "b", "c"])
BATCHES = st.lists(st.lists(st.tuples(NAMES, st.integers(1, 6)), max_size=4), max_size=5)


@given(st.integers(1, 12), BATCHES, st.integers(1, 6), st.integers(0, 6))
def test_bounds(limit: int, batches: list[list[tuple[str, int]]], sources: int, known_count: int) -> None:
    """Never more than the limit, none twice, none lost, and none left out while there is room."""
    known = endpoints("a", known_count)
    allotment = Allotment(limit, expected=EXPECTED, known=known)
    taken, offered = allotment.take(known), set(known)
    for batch in batches:
        found = [endpoint for name, count in batch for endpoint in endpoints(name, count)]
        offered.update(found)
        taken += allotment.take(found, sources=sources)
    taken += allotment.take_rest()
    assert len(taken) == len(set(taken)) == min(limit, len(offered))
    assert set(taken).isdisjoint(allotment.left)
    assert offered == set(taken).union(allotment.left)
