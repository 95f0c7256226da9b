"""Tables for C: one array of 8-byte words, in which the addresses are filled in at every call.

What C is given for a sequence of one size is the same at every call but for where the buffers are. So its tables are
written once, with every address as a buffer and an offset, and a call is a copy and an addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

__all__ = ["OWN", "At", "Filled", "Tables"]

TABLES, OWN = ("tables",), ("own",)
"""The names of two buffers: the tables themselves, and memory that only lasts for the call."""


@dataclass(frozen=True)
class At:
    """An address: bytes behind the start of a buffer."""

    buffer: tuple
    offset: int = 0

    def __add__(self, more: int) -> At:
        return At(self.buffer, self.offset + more)


class Tables:
    """Tables being written.

    Attributes:
        own_bytes: how much of the buffer `OWN` is reserved.
    """

    def __init__(self) -> None:
        self.own_bytes = 0
        self._words: list[int] = []
        self._places: list[tuple[int, int]] = []
        self._buffers: dict[tuple, int] = {TABLES: 0}

    def table(self, *words: int | At) -> At:
        """Add a table; where it is."""
        at = At(TABLES, 8 * len(self._words))
        for word in words:
            if isinstance(word, At):
                self._places.append((len(self._words), self._buffers.setdefault(word.buffer, len(self._buffers))))
                word = word.offset
            self._words.append(word)
        return at

    def data(self, content: bytes) -> At:
        """Add a table of anything else."""
        words = np.frombuffer(content.ljust((len(content) + 7) // 8 * 8, b"\0"), dtype=np.int64)
        return self.table(*words.tolist())

    def reserve(self, nbytes: int) -> At:
        """Memory of the buffer `OWN`, at a multiple of 64 bytes."""
        at = At(OWN, self.own_bytes)
        self.own_bytes += (nbytes + 63) // 64 * 64
        return at

    def done(self, buffers: Sequence[tuple]) -> Filled:
        """The tables, ready for calls that give the addresses of these buffers in this order."""
        return Filled(
            self._words, self._places, [(TABLES, OWN, *buffers).index(b) for b in self._buffers], self.own_bytes
        )


class Filled:
    """Finished tables.

    Attributes:
        own_bytes: the size of the buffer `OWN`.
    """

    def __init__(self, words: list[int], places: list[tuple[int, int]], order: list[int], own_bytes: int):
        self.own_bytes = own_bytes
        self._words = np.array(words, dtype=np.int64)
        self._at = np.array([at for at, _ in places], dtype=np.int64)
        self._buffer = np.array([order[buffer] for _, buffer in places], dtype=np.int64)

    def filled(self, own: int, addresses: Sequence[int]) -> tuple[np.ndarray, int]:
        """A copy with the addresses of the buffers, and where it begins; it must be kept as long as it is used."""
        words = self._words.copy()
        start = words.__array_interface__["data"][0]
        words[self._at] += np.array([start, own, *addresses], dtype=np.int64)[self._buffer]
        return words, start
