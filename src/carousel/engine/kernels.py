"""The fixed kernels: products, packing, threads. What they do stands in `cpu/kernels.cpp`."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

from .build import build_all, instruction_set, kernels_source

__all__ = ["Kernels", "cpu_peak", "instruction_set", "kernels"]


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
        library.panel_width.restype = long
        library.perform.argtypes = [long, long, long]
        library.perform.restype = None
        library.fma_peak.argtypes = [long, long]
        library.fma_peak.restype = ctypes.c_double
        library.use_gomp.argtypes = [pointer, pointer]
        _join_gomp(library)
        self.runtime = library.runtime()
        self.vector, self.panel = library.vector_length(), library.panel_width()

    def address(self, function: Any) -> int:
        """Of a function of a library."""
        return ctypes.cast(function, ctypes.c_void_p).value or 0

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
