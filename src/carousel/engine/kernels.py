"""The fixed kernels: products, packing, threads. What they do stands in `cpu/kernels.cpp`; this file calls them."""

from __future__ import annotations

import ctypes
import functools

import torch
from torch import Tensor

from .build import build_all, instruction_set, kernels_source
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
        library.packed_size.restype = long
        library.packed_size.argtypes = [long, long]
        library.pack_many.argtypes = [pointer, long, long]
        library.product.argtypes = [long, pointer, long, long, pointer, long, long, pointer, long]
        library.outer.argtypes = [long, long, pointer, pointer, pointer, long, long, long]
        library.fma_peak.argtypes = [long, long]
        library.fma_peak.restype = ctypes.c_double
        library.use_gomp.argtypes = [pointer, pointer]
        _join_gomp(library)
        self.runtime = library.runtime()

    def pack(self, matrices: list[Tensor]) -> tuple[list[int], Tensor]:
        """Panels of (k, n) matrices; their addresses, and the tensor to keep alive."""
        sizes = [(self.library.packed_size(*m.shape) + 15) // 16 * 16 for m in matrices]
        panels = empty((sum(sizes),), matrices[0].dtype) if matrices else torch.empty(0)
        jobs = (PackJob * max(1, len(matrices)))()
        addresses, at = [], panels.data_ptr()
        for job, m, size in zip(jobs, matrices, sizes, strict=False):
            job.w, job.stride_k, job.stride_n, job.k, job.n, job.out = m.data_ptr(), *m.stride(), *m.shape, at
            addresses.append(at)
            at += size * panels.element_size()
        if matrices:
            self.library.pack_many(jobs, len(matrices), torch.get_num_threads())
        return addresses, panels


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
