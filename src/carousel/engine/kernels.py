"""The fixed kernels: products, packing, threads. What they do stands in `cpu/kernels.cpp`; this file calls them."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from .build import build_all, instruction_set, kernels_source
from .graph import Block
from .pool import empty

__all__ = ["Kernels", "PackJob", "Piece", "Term", "cpu_peak", "instruction_set", "kernels"]


class Term(ctypes.Structure):
    _fields_ = [("a", ctypes.c_void_p), ("lda", ctypes.c_long), ("panel", ctypes.c_void_p), ("k", ctypes.c_long)]


class Piece(ctypes.Structure):
    _fields_ = [("p", ctypes.c_void_p), ("ld", ctypes.c_long), ("n", ctypes.c_long)]


class PackJob(ctypes.Structure):
    _fields_ = [
        ("w", ctypes.c_void_p),
        ("stride_k", ctypes.c_long),
        ("stride_n", ctypes.c_long),
        ("k", ctypes.c_long),
        ("n", ctypes.c_long),
        ("out", ctypes.c_void_p),
    ]


class Kernels:
    """The fixed kernels, for one number type.

    Args:
        library: the built library.
    """

    def __init__(self, library: ctypes.CDLL):
        long, pointer = ctypes.c_long, ctypes.c_void_p
        self.library = library
        library.runtime.restype = pointer
        library.vector_length.restype = long
        library.pack_many.argtypes = [pointer, long, long]
        library.product.argtypes = [long, pointer, long, long, pointer, long, long, pointer, long]
        library.outer.argtypes = [long, long, pointer, pointer, pointer, long, long, long]
        library.fma_peak.argtypes = [long, long]
        library.fma_peak.restype = ctypes.c_double
        library.use_gomp.argtypes = [pointer, pointer]
        _join_gomp(library)
        self.runtime = library.runtime()
        self.vector = library.vector_length()

    def pack(self, blocks: list[Block], matrices: list[Tensor]) -> tuple[list[int], Tensor]:
        """Blocks of matrices as panels; their addresses, and the tensor to keep alive."""
        if not blocks:
            return [], torch.empty(0)
        item = matrices[0].element_size()
        where = [(m.data_ptr(), *m.stride()) for m in matrices]
        jobs = (PackJob * len(blocks))()
        at, addresses = 0, []
        for job, b in zip(jobs, blocks, strict=True):
            base, rows, columns = where[b.matrix]
            job.w = base + (b.row * rows + b.col * columns) * item
            job.stride_k, job.stride_n = (columns, rows) if b.transposed else (rows, columns)
            job.k, job.n = b.k, b.n
            addresses.append(at)
            at += (self.packed_size(b.k, b.n) + 15) // 16 * 16 * item
        panels = empty((at // item,), matrices[0].dtype)
        addresses = [a + panels.data_ptr() for a in addresses]
        for job, address in zip(jobs, addresses, strict=True):
            job.out = address
        self.library.pack_many(jobs, len(jobs), torch.get_num_threads())
        return addresses, panels

    def packed_size(self, k: int, n: int) -> int:
        """Numbers of a packed (k, n) matrix."""
        return k * ((n + self.vector - 1) // self.vector * self.vector)


def _join_gomp(library: ctypes.CDLL) -> None:
    """Run on PyTorch's own team of threads: a second one, spinning, would take its cores."""
    try:
        with open("/proc/self/maps", encoding="utf-8") as maps:  # noqa: PTH123
            found = next((line.split()[-1] for line in maps if "libgomp" in line), None)
        if found is not None:
            gomp = ctypes.CDLL(found)
            library.use_gomp(
                ctypes.cast(gomp.GOMP_parallel, ctypes.c_void_p), ctypes.cast(gomp.omp_get_thread_num, ctypes.c_void_p)
            )
    except (OSError, AttributeError):
        return


@functools.cache
def kernels(library: ctypes.CDLL) -> Kernels:
    """The kernels in this library."""
    return Kernels(library)


def cpu_peak(threads: int) -> float:
    """Multiply-adds on registers only, float32, in GFLOP/s: what no product can exceed. Takes about 0.1 s."""
    (library,) = build_all([kernels_source()], "float")
    return max(kernels(library).library.fma_peak(10_000_000, threads) for _ in range(3))
