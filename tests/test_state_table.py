"""Tests of the table whose values live for as long as somebody holds them."""

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from exporter.state.table import HeldTable

OWNERS = st.sampled_from(["zone a", "zone b", "vanished"])
KEYS = st.integers(min_value=0, max_value=5)


def test_value_lives_as_long_as_it_is_held() -> None:
    """The last owner to let go of a key takes its value along, the others do not."""
    table: HeldTable[str, int] = HeldTable()
    table.hold("zone", ["kms1", "kms2"])
    table.hold("vanished", ["kms1"])
    table["kms1"] = 1
    table["kms2"] = 2

    table.release("zone")
    assert dict(table.items()) == {"kms1": 1}
    assert list(table.values()) == [1]

    table.release("vanished")
    assert table.get("kms1") is None
    assert "kms1" not in table
    assert not table.keys()


def test_value_needs_an_owner() -> None:
    """A value whose key nobody holds is not kept."""
    table: HeldTable[str, int] = HeldTable()
    table["kms1"] = 1
    assert not table.items()
    table.hold("zone", ["kms1"])
    assert table.get("kms1") is None


def test_key_without_value() -> None:
    """A key is listed as soon as it is held, with or without a value."""
    table: HeldTable[str, int] = HeldTable()
    table.hold("zone", ["kms1"])
    assert list(table.keys()) == ["kms1"]
    assert not table.items()
    assert table.held_by("zone") == {"kms1"}


def test_hold_replaces_what_was_held() -> None:
    """To hold something else is to let go of the rest, while what stays keeps its value."""
    table: HeldTable[str, int] = HeldTable()
    table.hold("zone", ["kms1", "kms2"])
    table["kms1"] = 1
    table["kms2"] = 2
    table.hold("zone", ["kms2", "kms3", "kms3"])
    assert dict(table.items()) == {"kms2": 2}
    assert table.held_by("zone") == {"kms2", "kms3"}


def test_release_of_nothing() -> None:
    """An owner that holds nothing can let go of it."""
    table: HeldTable[str, int] = HeldTable()
    table.release("zone")
    assert table.held_by("zone") == frozenset()


class AnySequence(RuleBasedStateMachine):
    """Whatever is held and let go in whatever order, the table agrees with a plain reckoning of it."""

    def __init__(self) -> None:
        super().__init__()
        self.table: HeldTable[int, str] = HeldTable()
        self.held: dict[str, frozenset[int]] = {}
        self.expected: dict[int, str] = {}

    @rule(owner=OWNERS, keys=st.frozensets(KEYS))
    def hold(self, owner: str, keys: frozenset[int]) -> None:
        """Hold some keys."""
        self.table.hold(owner, keys)
        self.held[owner] = keys
        self._drop_what_nobody_holds()

    @rule(owner=OWNERS)
    def release(self, owner: str) -> None:
        """Let everything go."""
        self.table.release(owner)
        self.held.pop(owner, None)
        self._drop_what_nobody_holds()

    @rule(key=KEYS, value=st.text(max_size=3))
    def set(self, key: int, value: str) -> None:
        """Set a value, held or not."""
        self.table[key] = value
        if key in self._all():
            self.expected[key] = value

    def _all(self) -> frozenset[int]:
        return frozenset().union(*self.held.values())

    def _drop_what_nobody_holds(self) -> None:
        self.expected = {key: value for key, value in self.expected.items() if key in self._all()}

    @invariant()
    def agrees(self) -> None:
        """Keys, values and owners are those of the reckoning."""
        assert set(self.table.keys()) == self._all()
        assert {key for key in range(6) if key in self.table} == self._all()
        assert dict(self.table.items()) == self.expected
        for owner, keys in self.held.items():
            assert self.table.held_by(owner) == keys

    @invariant()
    def keeps_no_owner_without_keys(self) -> None:
        """Owners come and go for ever, so one that holds nothing leaves no trace; that is not public."""
        assert set(self.table._held) == {owner for owner, keys in self.held.items() if keys}


TestAnySequence = AnySequence.TestCase
TestAnySequence.settings = settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
