"""Memory that is used again: fresh pages from the system cost up to half of the time of a training step."""

from __future__ import annotations

import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor

__all__ = ["Pool", "empty", "reshaped", "scratch"]

SMALL = 1 << 16
"""Bytes below which the system's allocator is as good."""


_NUMPY = {torch.float32: np.float32, torch.float64: np.float64, torch.uint8: np.uint8}


class _Loan(np.ndarray):
    """A view of a pooled block; a tensor made of it keeps it alive, and when the last is gone the block is free."""

    pool: Pool | None = None
    block: np.ndarray

    def __del__(self) -> None:
        if self.pool is not None:
            self.pool._take_back(self.block)


class Pool:
    """Blocks of memory by size, the free ones kept for the next request.

    Args:
        limit: bytes of free blocks to keep at most.
    """

    def __init__(self, limit: int = 2 << 30):
        self.limit, self.free_bytes = limit, 0
        self.lent_bytes, self.most_lent = 0, 0
        self._free: dict[int, list[np.ndarray]] = defaultdict(list)
        self._lock = threading.RLock()

    def empty(self, shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
        """An uninitialized tensor whose memory returns to the pool when nothing refers to it any more."""
        count = 1
        for size in shape:
            count *= size
        nbytes = count * dtype.itemsize
        if nbytes < SMALL:
            return torch.empty(shape, dtype=dtype)
        step = 1 << max(12, nbytes.bit_length() - 4)  # sizes in sixteenths of a power of two: at most 1/8 is wasted
        size = (nbytes + step - 1) // step * step
        with self._lock:
            blocks = self._free[size]
            block = blocks.pop() if blocks else None
            self.free_bytes -= size if block is not None else 0
            self.lent_bytes += size
            self.most_lent = max(self.most_lent, self.lent_bytes)
        if block is None:
            block = torch.empty(size, dtype=torch.uint8).numpy()
        loan = _Loan(shape, _NUMPY[dtype], block)  # pyright: ignore[reportArgumentType]
        loan.pool, loan.block = self, block
        return torch.from_numpy(loan)

    def _take_back(self, block: np.ndarray) -> None:
        with self._lock:
            self.lent_bytes -= block.nbytes
            if self.free_bytes + block.nbytes <= self.limit:
                self._free[block.nbytes].append(block)
                self.free_bytes += block.nbytes

    def clear(self) -> None:
        """Give all free blocks back to the system."""
        with self._lock:
            self._free.clear()
            self.free_bytes = 0


_POOL = Pool()


def empty(shape: tuple[int, ...], dtype: torch.dtype) -> Tensor:
    """From the process's pool."""
    return _POOL.empty(shape, dtype)


@contextmanager
def scratch(nbytes: int) -> Iterator[int]:
    """The address of memory that lasts for a `with` block."""
    try:
        block = _SPARE.pop()
    except IndexError:
        block = torch.empty(0, dtype=torch.uint8)
    if block.nbytes < nbytes:
        block = empty((nbytes,), torch.uint8)
    try:
        yield block.data_ptr()
    finally:
        if len(_SPARE) < 2 and block.nbytes <= 1 << 26:
            _SPARE.append(block)


_SPARE: list[Tensor] = []
"""Scratch memory that is not in use."""


def reshaped(base: Tensor, offset: int, shape: tuple[int, ...]) -> Tensor:
    """A contiguous tensor on the same memory that is no view for autograd, so that a caller may change it in place."""
    memory = base.numpy()
    return torch.from_numpy(np.ndarray(shape, memory.dtype, memory, offset * memory.itemsize))
