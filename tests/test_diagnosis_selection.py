"""Tests of the chance that a first attempt works, against the algorithm as RFC 2782 words it."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.diagnosis.selection import Selection, first_attempt
from exporter.model import Host, Record, hosts_of
from tests.builders import host, record

SETS = 120
DRAWS = 3000
DOT = record(".", 0)

RECORDS = st.lists(
    st.builds(
        record,
        st.sampled_from(["kms1", "kms2", "kms3", "kms4"]),
        st.sampled_from([1688, 1689]),
        priority=st.sampled_from([0, 1, 10, 65535]),
        weight=st.sampled_from([0, 1, 65535]) | st.integers(0, 65535),
    ),
    min_size=1,
    max_size=8,
    unique=True,
)


def preferred(records: Sequence[Record]) -> list[Record]:
    """Keep the records with the lowest-numbered priority, which a client must try first."""
    lowest = min(each.priority for each in records)
    return [each for each in records if each.priority == lowest]


def zero_first(records: Sequence[Record]) -> list[Record]:
    """Place those with weight 0 at the beginning of the list, and leave the order as it is otherwise."""
    return sorted(records, key=lambda each: each.weight != 0)


def select(ordered: Sequence[Record], number: int) -> Record:
    """Select the record whose running sum is the first in the order that is not below the number."""
    sums = itertools.accumulate(each.weight for each in ordered)
    return next(each for each, running in zip(ordered, sums, strict=True) if running >= number)


def draw(records: Sequence[Record], rng: random.Random) -> Record:
    """Pick the first record to try as a client does that follows RFC 2782."""
    candidates = preferred(records)
    rng.shuffle(candidates)
    return select(zero_first(candidates), rng.randint(0, sum(each.weight for each in candidates)))


def random_records(rng: random.Random) -> list[Record]:
    """Make up what a zone may hold: few or many priorities, weights of all sizes, hosts named twice."""
    weights = rng.choice([(0,), (0, 65535), (0, 1, 2, 3), (1, 10, 100), (0, 0, 7, 100, 65535)])
    priorities = rng.choice([(0,), (0, 10), range(5), (3, 65535)])
    found = {
        record(
            f"kms{rng.randrange(6)}",
            rng.choice([1688, 1688, 1689]),
            priority=rng.choice(priorities),
            weight=rng.choice(weights),
        )
        for _ in range(rng.randint(1, 9))
    }
    return sorted(found)


def chances(records: Sequence[Record], *up: str | Host) -> dict[str, float]:
    """Give the chances when the hosts in `up`, given whole or by target, are up and no others are."""
    works = {each: each in up or each.target in up for each in hosts_of(records)}
    return {selection.value: chance for selection, chance in first_attempt(records, works).items()}


def weighted(*weights: int, priority: int = 0) -> list[Record]:
    """Build records of `a`, `b`, `c`, … with these weights."""
    return [
        record(target, weight=weight, priority=priority)
        for target, weight in zip("abcdefgh", weights, strict=False)
    ]


def test_selections() -> None:
    """There are the two ways of choosing that the contract names."""
    assert {selection.value for selection in Selection} == {"rfc2782", "random"}


@pytest.mark.parametrize(
    ("records", "up", "rfc2782", "uniform"),
    [
        (weighted(0), "a", Fraction(1), Fraction(1)),
        (weighted(5), "a", Fraction(1), Fraction(1)),
        (weighted(65535), "", Fraction(0), Fraction(0)),
        (weighted(0, 0), "a", Fraction(1, 2), Fraction(1, 2)),
        (weighted(0, 0, 0), "ac", Fraction(2, 3), Fraction(2, 3)),
        (weighted(1, 1), "b", Fraction(1, 2), Fraction(1, 2)),
        (weighted(100, 100), "b", Fraction(1, 2), Fraction(1, 2)),
        (weighted(7, 7, 7), "b", Fraction(1, 3), Fraction(1, 3)),
        # a first: 0 and 1 of 0..4 hit it; b first: only 4 does
        (weighted(1, 3), "a", Fraction(3, 10), Fraction(1, 2)),
        (weighted(1, 3), "b", Fraction(7, 10), Fraction(1, 2)),
        # 20 of 61 numbers are b's own, and a third of 0 is
        (weighted(10, 20, 30), "b", Fraction(61, 183), Fraction(1, 3)),
        (weighted(10, 20, 30), "a", Fraction(31, 183), Fraction(1, 3)),
        (weighted(10, 20, 30), "ac", Fraction(122, 183), Fraction(2, 3)),
        # weight 0 is hit by 0 alone
        (weighted(0, 1), "a", Fraction(1, 2), Fraction(1, 2)),
        (weighted(0, 100), "a", Fraction(1, 101), Fraction(1, 2)),
        (weighted(0, 65535), "a", Fraction(1, 65536), Fraction(1, 2)),
        (weighted(0, 65535), "b", Fraction(65535, 65536), Fraction(1, 2)),
        (weighted(0, 0, 1), "a", Fraction(1, 4), Fraction(1, 3)),
        (weighted(0, 0, 1), "c", Fraction(1, 2), Fraction(1, 3)),
        (weighted(0, 2, 3), "b", Fraction(2, 6), Fraction(1, 3)),
        (weighted(65535, 65535), "a", Fraction(1, 2), Fraction(1, 2)),
        # priorities
        ([record("a"), record("b", priority=10)], "b", Fraction(0), Fraction(1, 2)),
        ([record("a"), record("b", priority=10)], "a", Fraction(1), Fraction(1, 2)),
        (
            [record("a", weight=1, priority=5), record("b", weight=65535, priority=6)],
            "b",
            Fraction(0),
            Fraction(1, 2),
        ),
        (
            [*weighted(1, 3, priority=1), record("z", weight=9, priority=2)],
            "az",
            Fraction(3, 10),
            Fraction(2, 3),
        ),
        # a host that is named by several records
        (
            [record("a", weight=1), record("a", weight=2), record("b", weight=1)],
            "a",
            Fraction(11, 15),
            Fraction(2, 3),
        ),
        ([record("a"), record("a", weight=1), record("b")], "a", Fraction(3, 4), Fraction(2, 3)),
        ([record("a"), record("a", priority=1), record("b", priority=1)], "b", Fraction(0), Fraction(1, 3)),
        # `.` can be picked and leads nowhere
        ([DOT, record("a")], "a", Fraction(1, 2), Fraction(1, 2)),
        ([DOT, record("a", weight=9)], "a", Fraction(9, 10), Fraction(1, 2)),
        ([record(".", 0, priority=1), record("a")], "a", Fraction(1), Fraction(1, 2)),
        ([DOT, record("a", priority=1)], "a", Fraction(0), Fraction(1, 2)),
    ],
)
def test_first_attempt(records: list[Record], up: str, rfc2782: Fraction, uniform: Fraction) -> None:
    """The chance is the share of a client's draws that lead to a host that is up."""
    expected = {"rfc2782": float(rfc2782), "random": float(uniform)}
    assert chances(records, *up) == pytest.approx(expected, abs=1e-15)


def test_ports_tell_hosts_apart() -> None:
    """Two ports of one target are two hosts, and one of them can be up alone."""
    records = [record("a", 1688, weight=1), record("a", 1689, weight=3)]
    assert chances(records, host("a", 1689)) == pytest.approx({"rfc2782": 0.7, "random": 0.5})


@pytest.mark.parametrize("records", [[], [DOT], [DOT, record(".", 0, priority=1)]])
def test_first_attempt_without_hosts(records: list[Record]) -> None:
    """Without hosts there is no chance to speak of."""
    assert chances(records) == {}


@pytest.mark.parametrize(
    ("records", "known"),
    [
        (weighted(0), {}),
        (weighted(0, 0), {}),
        (weighted(0, 100), {}),
        (weighted(100, 0), {}),
        (weighted(1, 3), {}),
        ([record("a"), record("b", priority=1)], {}),
        ([record("a", priority=1), record("b")], {"rfc2782": 1}),
        ([record("a", priority=1), record("b"), record("c")], {"rfc2782": 1}),
        ([record("a", weight=65535, priority=1), record("b"), DOT], {"rfc2782": 0.5}),
        ([record("a", priority=1), record("a"), record("b")], {}),
    ],
)
def test_first_attempt_at_a_host_that_nobody_could_look_at(
    records: list[Record], known: Mapping[str, float]
) -> None:
    """A chance is absent only where a host can be picked first that nobody could look at, here `a`."""
    works = {each: None if each.target == "a" else True for each in hosts_of(records)}
    assert first_attempt(records, works) == known


def test_first_attempt_by_every_order_and_number() -> None:
    """The chance of each record is exactly its share of all orders and numbers that the RFC allows."""
    for size in range(1, 6):
        for weights in itertools.combinations_with_replacement(range(4), size):
            records = weighted(*weights)
            orders = [list(o) for o in itertools.permutations(records) if list(o) == zero_first(o)]
            numbers = range(sum(weights) + 1)
            hits = Counter(select(order, number) for order in orders for number in numbers)
            shares = {each: Fraction(hits[each], len(orders) * len(numbers)) for each in records}
            assert sum(shares.values()) == 1
            never = record("z", priority=1, weight=65535)
            for each, share in shares.items():
                assert chances([*records, never], each.host)["rfc2782"] == pytest.approx(
                    float(share), rel=0, abs=1e-12
                )


@pytest.mark.parametrize("seed", range(SETS))
def test_first_attempt_by_drawing(seed: int) -> None:
    """The chance of each host is met by a client that draws many times, as the RFC says to."""
    rng = random.Random(seed)
    records = random_records(rng)
    picked = Counter(draw(records, rng).host for _ in range(DRAWS))
    for each in hosts_of(records):
        chance = chances(records, each)["rfc2782"]
        # one hit more or less counts as a standard error at the least: rare hits come in lumps
        variance = max(chance * (1 - chance), 1 / DRAWS) if 0 < chance < 1 else 0
        error = math.sqrt(variance / DRAWS)
        assert picked[each] / DRAWS == pytest.approx(chance, rel=0, abs=5 * error + 1e-12)


def test_drawn_record_sets_are_of_all_kinds() -> None:
    """The sets that are drawn from have all that makes a difference to a client."""
    sets = [random_records(random.Random(seed)) for seed in range(SETS)]
    first = [preferred(records) for records in sets]
    assert any({each.weight for each in records} == {0} for records in first if len(records) > 1)
    assert any({0, 65535} <= {each.weight for each in records} for records in first)
    assert any(len(records) > 2 and all(each.weight for each in records) for records in first)
    assert any(len({each.priority for each in records}) > 3 for records in sets)
    assert any(len(hosts_of(records)) < len(records) for records in first)


@given(RECORDS, st.data())
def test_first_attempt_is_a_chance(records: list[Record], data: st.DataObject) -> None:
    """A chance lies between 0 and 1, whatever is up."""
    up = data.draw(st.sets(st.sampled_from(sorted(hosts_of(records)))))
    found = chances(records, *up)
    assert found.keys() == {"rfc2782", "random"}
    assert all(0 <= chance <= 1 for chance in found.values())


@given(RECORDS)
def test_first_attempt_at_the_ends(records: list[Record]) -> None:
    """The chance is 1 when every host works and 0 when none does."""
    assert chances(records, *hosts_of(records)) == {"rfc2782": 1, "random": 1}
    assert chances(records) == {"rfc2782": 0, "random": 0}


@given(RECORDS)
def test_first_attempt_is_at_some_host(records: list[Record]) -> None:
    """The chances of every host alone add up to 1: a client tries one of them first."""
    alone = [chances(records, each) for each in hosts_of(records)]
    for selection in ("rfc2782", "random"):
        assert math.fsum(found[selection] for found in alone) == pytest.approx(1)


@given(RECORDS, st.data())
def test_first_attempt_whatever_the_order(records: list[Record], data: st.DataObject) -> None:
    """The order of records in an answer never matters."""
    up = data.draw(st.sets(st.sampled_from(sorted(hosts_of(records)))))
    rotated = data.draw(st.permutations(records))
    assert chances(rotated, *up) == chances(records, *up)
