"""A set of the keys of networks, in a few bytes each."""

from __future__ import annotations

import numpy as np

FIRST = 10  # bits of the first table
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
        found = np.zeros(len(keys), bool)
        if self._has_zero:
            found[keys == 0] = True
        rows = np.flatnonzero(keys)
        keys = keys[rows]
        places, mask = self._places(keys), len(self._slots) - 1
        while len(rows):
            there = self._slots[places]
            same = there == keys
            found[rows[same]] = True
            further = ~same & (there != 0)
            rows, keys, places = rows[further], keys[further], (places[further] + 1) & mask
        return found

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
        while len(keys):
            free = self._slots[places] == 0
            self._slots[places[free]] = keys[free]  # where several fit, the last one stays
            further = self._slots[places] != keys
            keys, places = keys[further], (places[further] + 1) & mask

    def _grow(self) -> None:
        """A table that is at most half full of `_count` keys, with the keys of the old one."""
        old = self._slots
        self._bits = max(self._bits + 1, int(2 * self._count - 1).bit_length())
        self._slots = np.zeros(1 << self._bits, np.uint64)
        for start in range(0, len(old), 1 << 18):  # parts, for little memory
            part = old[start : start + (1 << 18)]
            self._put(part[part != 0])
