"""Values that live for as long as somebody needs them.

Knows nothing of DNS or metrics. What no owner holds any more is gone at once; so whatever leaves the
configuration or DNS takes its values along, without anything that looks for leftovers.
"""

import collections
from collections.abc import Hashable, ItemsView, Iterable, KeysView, ValuesView
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class HeldTable(Generic[K, V]):
    """A mapping whose keys are held by any number of owners; the last one to let go drops the value."""

    def __init__(self) -> None:
        self._values: dict[K, V] = {}
        self._holders: collections.Counter[K] = collections.Counter()
        self._held: dict[Hashable, frozenset[K]] = {}

    def hold(self, owner: Hashable, keys: Iterable[K]) -> None:
        """Let `owner` hold `keys` from now on, and nothing else."""
        after = frozenset(keys)
        before = self._held.pop(owner, frozenset())
        if after:
            self._held[owner] = after
        self._holders.update(after - before)
        for key in before - after:
            self._holders[key] -= 1
            if not self._holders[key]:
                del self._holders[key]
                self._values.pop(key, None)

    def release(self, owner: Hashable) -> None:
        """Let `owner` hold nothing any more."""
        self.hold(owner, ())

    def held_by(self, owner: Hashable) -> frozenset[K]:
        """Tell what `owner` holds."""
        return self._held.get(owner, frozenset())

    def is_shared(self, key: K) -> bool:
        """Tell whether more than one owner holds a key."""
        return self._holders[key] > 1

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
