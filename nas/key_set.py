"""A set of the keys of networks, in a few bytes each."""

from __future__ import annotations

import numpy as np

FIRST = 10  # bits of the first table
FEW = 24  # keys that are looked for one at a time
FACTOR = np.uint64(0x9E3779B97F4A7C15)  # 2^64 by the golden ratio: multiplicative hashing (Knuth)


class KeySet:
    """A set of uint64 keys that is asked for many keys at once.

    A table with linear probing, at most half full: 16 to 32 bytes a key, where Python's set takes
    64 to 100.
    """

    def __init__(self) -> None:
        self._slots = np.zeros(1 << FIRST, np.uint64)  # 0: empty
        self._bits = FIRST
        self._has_zero = False
        self._count = 0

    def __len__(self) -> int:
        return self._count + self._has_zero

    def contains(self, keys: np.ndarray) -> np.ndarray:
        """Which keys uint64 [n] are in the set, bool [n]."""
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
        """Whether one key is in the set, looked for from a place on."""
        if not key:
            return self._has_zero
        return int(self._slots[self._find(key, place)]) == key

    def _find(self, key: int, place: int | None = None) -> int:
        """Return the slot of a key, or the empty slot where it would be."""
        mask = len(self._slots) - 1
        if place is None:
            place = ((key * int(FACTOR)) & (2**64 - 1)) >> (64 - self._bits)
        while (there := self._slots.item(place)) and there != key:
            place = (place + 1) & mask
        return place

    def update(self, keys: np.ndarray) -> None:
        """Add keys uint64 [n]; they may occur several times."""
        keys = np.unique(keys)
        if len(keys) and keys[0] == 0:
            self._has_zero, keys = True, keys[1:]
        keys = keys[~self.contains(keys)]
        self._count += len(keys)
        if 2 * self._count > len(self._slots):
            self._grow()
        self._put(keys)

    def _places(self, keys: np.ndarray) -> np.ndarray:
        """Where each key would be if no other key were there, int64 [n]."""
        return ((keys * FACTOR) >> np.uint64(64 - self._bits)).astype(np.int64)

    def _put(self, keys: np.ndarray) -> None:
        """Put keys [n] into the table, which are not in it and not 0."""
        places, mask = self._places(keys), len(self._slots) - 1
        while len(keys) > FEW:
            free = self._slots[places] == 0
            self._slots[places[free]] = keys[free]  # where several fit, the last one stays
            further = self._slots[places] != keys
            keys, places = keys[further], (places[further] + 1) & mask
        for key, place in zip(keys.tolist(), places.tolist(), strict=True):
            self._slots[self._find(key, place)] = key

    def _grow(self) -> None:
        """Replace the table by a larger one, which `_count` keys fill at most by half."""
        old = self._slots
        self._bits = max(self._bits + 1, int(2 * self._count - 1).bit_length())
        self._slots = np.zeros(1 << self._bits, np.uint64)
        for start in range(0, len(old), 1 << 18):  # parts, for little memory
            part = old[start : start + (1 << 18)]
            self._put(part[part != 0])
