"""A set of the keys of networks, in a few bytes each."""

from __future__ import annotations

import numpy as np

FIRST = 10  # bits of the first table
FEW = 24  # largest number of keys that are looked up one at a time
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 / golden ratio, for multiplicative hashing (Knuth)


class KeySet:
    """A set of uint64 keys with lookups of many keys at once.

    It is a hash table with linear probing that is at most half full. It takes 16 to 32 bytes per
    key; Python's set takes 64 to 100.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(1 << FIRST, np.uint64)  # 0: empty
        self._bits = FIRST
        self._has_zero = False
        self._count = 0

    def __len__(self) -> int:
        return self._count + self._has_zero

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Return which of the keys uint64 [n] are in the set, bool [n]."""
        if len(keys) <= FEW:
            return np.array([self._has(key) for key in keys.tolist()], bool)
        places, mask = self._places(keys), len(self._slots) - 1
        there = self._slots[places]
        found = (there == keys) & (there != 0)
        rows = np.flatnonzero((there != keys) & (there != 0))
        while len(rows) > FEW:
            keys_left, places_left = keys[rows], (places[rows] + 1) & mask
            there = self._slots[places_left]
            places[rows] = places_left
            found[rows] = there == keys_left
            rows = rows[(there != keys_left) & (there != 0)]
        for row in rows.tolist():
            found[row] = self._has(int(keys[row]), int(places[row]))
        if self._has_zero:
            found |= keys == 0
        return found

    def _has(self, key: int, place: int | None = None) -> bool:
        """Return whether one key is in the set, with a search that starts at `place`."""
        if not key:
            return self._has_zero
        return int(self._slots[self._find(key, place)]) == key

    def _find(self, key: int, place: int | None = None) -> int:
        """Return the slot of a key, or the empty slot where it would be inserted."""
        mask = len(self._slots) - 1
        if place is None:
            place = ((key * int(FACTOR)) & (2**64 - 1)) >> (64 - self._bits)
        while (there := self._slots.item(place)) and there != key:
            place = (place + 1) & mask
        return place

    def update(self, keys: np.ndarray) -> None:
        """Add keys uint64 [n], which may contain duplicates."""
        keys = np.sort(keys)  # faster than np.unique
        if len(keys) and keys[0] == 0:
            self._has_zero = True
        keys = keys[np.diff(keys, prepend=np.uint64(0)) > 0]
        if 2 * (self._count + len(keys)) > len(self._slots):
            self._grow(self._count + len(keys))
        self._count += self._put(keys)

    def _places(self, keys: np.ndarray) -> np.ndarray:
        """Return the slot of each key in an empty table, int64 [n]."""
        return ((keys * FACTOR) >> np.uint64(64 - self._bits)).astype(np.int64)

    def _put(self, keys: np.ndarray) -> int:
        """Insert distinct keys [n] other than 0; return how many of them were not in the table."""
        places, mask, added = self._places(keys), len(self._slots) - 1, 0
        while len(keys) > FEW:
            free = self._slots[places] == 0
            self._slots[places[free]] = keys[free]  # of several keys for a slot, the last one stays
            further = self._slots[places] != keys
            added += int(np.count_nonzero(free & ~further))
            keys, places = keys[further], (places[further] + 1) & mask
        for key, place in zip(keys.tolist(), places.tolist(), strict=True):
            slot = self._find(key, place)
            added += self._slots.item(slot) != key
            self._slots[slot] = key
        return added

    def _grow(self, count: int) -> None:
        """Replace the table by a larger one that `count` keys fill at most half."""
        old = self._slots
        self._bits = max(self._bits + 1, (2 * count - 1).bit_length())
        self._slots = np.zeros(1 << self._bits, np.uint64)
        for start in range(0, len(old), 1 << 18):  # in parts, to limit the memory
            part = old[start : start + (1 << 18)]
            self._put(part[part != 0])
