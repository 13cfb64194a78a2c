"""Values that live for as long as somebody needs them.

Knows nothing of DNS or metrics. What no owner holds any more is gone at once; so whatever leaves the
configuration or DNS takes its values along, without anything that looks for leftovers.
"""

from collections.abc import Hashable, ItemsView, Iterable, Iterator, KeysView, ValuesView
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class HeldTable(Generic[K, V]):
    """A mapping whose keys are held by any number of owners; the last one to let go drops the value."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._holders: dict[K, int] = {}
        self._held: dict[Hashable, frozenset[K]] = {}

    def hold(self, owner: Hashable, keys: Iterable[K]) -> tuple[K, ...]:
        """Let `owner` hold `keys` from now on, and nothing else; gives the keys whose value that dropped."""
        after = frozenset(keys)
        before = self._held.get(owner, frozenset())
        if after == before:
            return ()
        if after:
            self._held[owner] = after
        else:
            del self._held[owner]
        for key in after - before:
            self._holders[key] = self._holders.get(key, 0) + 1
        return tuple(key for key in before - after if self._let_go(key))

    def release(self, owner: Hashable) -> tuple[K, ...]:
        """Let `owner` hold nothing any more; gives the keys whose value that dropped."""
        return self.hold(owner, ())

    def _let_go(self, key: K) -> bool:
        """Take away one holder of a key, and tell whether a value went with it."""
        self._holders[key] -= 1
        if self._holders[key]:
            return False
        del self._holders[key]
        if key not in self._values:
            return False
        del self._values[key]
        return True

    def held_by(self, owner: Hashable) -> frozenset[K]:
        """Tell what `owner` holds."""
        return self._held.get(owner, frozenset())

    def values_of(self, owner: Hashable) -> Iterator[V | None]:
        """Give the values of what `owner` holds, None where there is none (yet)."""
        return map(self._values.get, self._held.get(owner, ()))

    def is_shared(self, key: K) -> bool:
        """Tell whether more than one owner holds a key."""
        return self._holders.get(key, 0) > 1

    def __contains__(self, key: K) -> bool:
        return key in self._holders

    def __setitem__(self, key: K, value: V) -> None:
        if key in self._holders:
            self._values[key] = value

    def get(self, key: K) -> V | None:
        """Give the value of a key, None where there is none (yet)."""
        return self._values.get(key)

    def keys(self) -> KeysView[K]:
        """List what is held, with or without a value."""
        return self._holders.keys()

    def values(self) -> ValuesView[V]:
        """List the values that there are."""
        return self._values.values()

    def items(self) -> ItemsView[K, V]:
        """List the keys that have a value, with it."""
        return self._values.items()
