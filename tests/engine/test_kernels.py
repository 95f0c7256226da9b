"""The fixed kernels, compiled for each kind of processor that this one can be, against numpy in double precision."""

from __future__ import annotations

import ctypes
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import carousel

SOURCE = Path(carousel.__file__).parent / "engine" / "cpu"
FLAGS = "-std=c++17 -O3 -fPIC -shared -ffp-contract=fast -fno-math-errno -fno-trapping-math -pthread".split()
ISAS = {
    "baseline": "",
    "avx2": "-mavx2 -mfma",
    "avx512": "-mavx512f -mavx512dq -mavx512bw -mavx512vl -mavx2 -mfma",
}
REALS = {"float": np.float32, "double": np.float64}

ROWS = (1, 3, 6, 33, 257)
DEPTHS = (1, 7, 64, 130)
COLUMNS = (1, 7, 16, 63, 64, 65, 130)

pytestmark = pytest.mark.skipif(shutil.which("g++") is None, reason="there is no g++ here to compile the kernels")


def runs_here(isa: str) -> bool:
    try:
        flags = set(Path("/proc/cpuinfo").read_text(encoding="utf-8").split())
    except OSError:
        flags = set()
    return {"fma" if flag == "-mfma" else flag.removeprefix("-m") for flag in ISAS[isa].split()} <= flags


BUILDS = [(isa, real) for isa in ISAS for real in REALS if runs_here(isa)]

# A task with a barrier, as generated code has it: each thread must see what all others wrote before it.
BARRIERS = """
#include "runtime.h"
using namespace carousel;
struct Job { const Runtime* runtime; Barrier* barrier; long phases; long seen[64]; std::atomic<long> wrong, ran; };
static void work(void* p, long id, long threads) {
  Job& job = *(Job*)p;
  job.ran++;
  for (long phase = 1; phase <= job.phases; phase++) {
    job.seen[id] = phase;
    job.runtime->barrier_wait(job.barrier);
    for (long i = 0; i < threads; i++) job.wrong += job.seen[i] != phase;
    job.runtime->barrier_wait(job.barrier);
  }
}
extern "C" long barriers(const Runtime* runtime, long threads, long phases) {
  Barrier barrier(runtime->team(threads));
  Job job{runtime, &barrier, phases, {}, {0}, {0}};
  runtime->parallel(barrier.threads, work, &job);
  return job.wrong ? -1 : job.ran.load();
}
"""


class Term(ctypes.Structure):
    _fields_ = [("a", ctypes.c_void_p), ("lda", ctypes.c_long), ("panel", ctypes.c_void_p), ("k", ctypes.c_long)]


class Block(ctypes.Structure):
    _fields_ = [("p", ctypes.c_void_p), ("ld", ctypes.c_long), ("n", ctypes.c_long)]


class Column(ctypes.Structure):
    _fields_ = [
        ("p", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("ld", "n")),
        ("c", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("ldc", "accumulate")),
    ]


class PackJob(ctypes.Structure):
    _fields_ = [
        ("w", ctypes.c_void_p),
        *((name, ctypes.c_long) for name in ("stride_k", "stride_n", "k", "n")),
        ("out", ctypes.c_void_p),
    ]


def load(path: Path) -> ctypes.CDLL:
    library = ctypes.CDLL(str(path))
    library.runtime.restype = ctypes.c_void_p
    library.fma_peak.restype = ctypes.c_double
    for name in ("team", "packed_size", "vector_length", "panel_width"):
        getattr(library, name).restype = ctypes.c_long
    return library


class Kernels:
    """One build of the kernels, called with numpy arrays."""

    def __init__(self, path: Path, real: str):
        self.library = load(path)
        self.type = REALS[real]
        self.eps = np.finfo(self.type).eps
        self.lanes: int = self.library.vector_length()
        self.panel: int = self.library.panel_width()
        self.random = np.random.default_rng(0)
        self.guarded: list[np.ndarray] = []

    def __call__(self, name: str, *arguments: Any) -> int:
        """Calls a kernel; afterwards the memory around all arrays and between their rows must be as it was."""

        def convert(x: Any) -> Any:
            if isinstance(x, np.ndarray):
                return ctypes.c_void_p(x.ctypes.data)
            return ctypes.c_long(x) if isinstance(x, int) else x

        result = getattr(self.library, name)(*map(convert, arguments))
        assert all(np.isnan(around).all() for around in self.guarded), f"{name} wrote outside of an array"
        self.guarded = []
        return result

    def empty(self, rows: int, columns: int, ld: int = 0) -> np.ndarray:
        """NaNs, as are the padding of its rows and the memory around it."""
        ld = ld or columns
        guard = 2 * self.panel + 3
        memory = np.full(guard + rows * ld + guard, np.nan, self.type)
        inside = memory[guard : guard + rows * ld].reshape(rows, ld)
        self.guarded += [memory[:guard], memory[guard + rows * ld :], inside[:, columns:]]
        return inside[:, :columns]

    def array(self, rows: int, columns: int, ld: int = 0) -> np.ndarray:
        out = self.empty(rows, columns, ld)
        out[...] = self.random.standard_normal((rows, columns))
        return out

    def packed(self, w: np.ndarray) -> np.ndarray:
        """What packing must give: panels of whole vectors, with zeros."""
        w = np.pad(w, ((0, 0), (0, -w.shape[1] % self.lanes)))
        out = self.empty(1, w.size)
        out[0] = np.concatenate([w[:, j : j + self.panel].ravel() for j in range(0, w.shape[1], self.panel)])
        return out

    def check(self, out: np.ndarray, pairs: Sequence[tuple[np.ndarray, np.ndarray]], *added: np.ndarray) -> None:
        """`out` is Σ a @ b + Σ added, up to rounding."""
        # einsum, because it has no threads that would compete for the cores
        doubles = [(a.astype(np.float64), b.astype(np.float64)) for a, b in pairs]
        wanted = sum((np.einsum("mk,kn->mn", a, b) for a, b in doubles), sum(added, np.zeros(out.shape)))
        scale = sum((np.einsum("mk,kn->mn", abs(a), abs(b)) for a, b in doubles), sum(map(abs, added), 0.0))
        depth = sum(a.shape[1] for a, _ in doubles) + 2
        assert (abs(out - wanted) <= self.eps * depth * scale).all()


def terms_of(pairs: Sequence[tuple[np.ndarray, np.ndarray]]) -> Any:
    """Terms from pairs of A and packed panels, both of which must be kept alive."""
    return (Term * max(len(pairs), 1))(
        *(Term(a.ctypes.data, a.strides[0] // a.itemsize, panel.ctypes.data, a.shape[1]) for a, panel in pairs)
    )


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], Path]:
    """Every build, and the task with barriers under ("", "")."""
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "barriers.cpp").write_text(BARRIERS, encoding="utf-8")
    commands = {("", ""): ["g++", *FLAGS, f"-I{SOURCE}", str(folder / "barriers.cpp")]}
    for isa, real in reversed(BUILDS):  # the slowest first
        commands[isa, real] = ["g++", *FLAGS, *ISAS[isa].split(), f"-DREAL={real}", str(SOURCE / "kernels.cpp")]
    out = {key: folder / f"{'-'.join(key)}.so" for key in commands}
    with ThreadPoolExecutor(2) as pool:
        results = pool.map(
            lambda key: subprocess.run([*commands[key], "-o", out[key]], capture_output=True, text=True, check=False),
            commands,
        )
    for result in results:
        assert result.returncode == 0, result.stderr
    return out


@pytest.fixture(scope="module", params=BUILDS, ids="-".join)
def kernels(request: pytest.FixtureRequest, paths: dict[tuple[str, str], Path]) -> Kernels:
    build = Kernels(paths[request.param], request.param[1])
    gomp = libgomp()
    if gomp is not None:
        build.library.use_gomp(*pointers(gomp))
    return build


def libgomp() -> Path | None:
    """The OpenMP runtime that torch brought."""
    try:
        maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return None
    return next((Path(line.split()[-1]) for line in maps.splitlines() if "libgomp" in line), None)


def pointers(gomp: Path) -> tuple[ctypes.c_void_p, ctypes.c_void_p]:
    library = ctypes.CDLL(str(gomp))
    parallel, number = library.GOMP_parallel, library.omp_get_thread_num
    return ctypes.cast(parallel, ctypes.c_void_p), ctypes.cast(number, ctypes.c_void_p)


def test_tile(kernels: Kernels) -> None:
    vectors = kernels.panel // kernels.lanes
    depths = itertools.cycle([(), (7,), (64,), (130,), (1,), (2, 3), (64, 1, 7, 5, 9, 16, 3, 130)])
    for rows, v, _ in itertools.product(range(1, 7), range(1, vectors + 1), range(3)):
        width = v * kernels.lanes
        pairs = [(kernels.array(rows, k, k + 3), kernels.array(k, width)) for k in next(depths)]
        out = kernels.empty(rows, width, width + 5)
        kernels("tile", rows, v, terms_of(pairs), len(pairs), out, width + 5)
        kernels.check(out, pairs)


def test_pack(kernels: Kernels) -> None:
    for k, n in itertools.product((*DEPTHS, 33), COLUMNS):
        by_n, by_k, by_both = kernels.array(k, n, n + 3), kernels.array(n, k, k + 5).T, kernels.array(k, 2 * n)[:, ::2]
        for w in (by_n, by_k, by_both):
            size = kernels("packed_size", k, n)
            wanted, out = kernels.packed(w), kernels.empty(1, size)
            kernels("pack", w, *(s // w.itemsize for s in w.strides), k, n, out)
            assert np.array_equal(out, wanted)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_pack_many(kernels: Kernels, threads: int) -> None:
    sources = [kernels.array(k, n) for k, n in ((64, 130), (7, 1), (130, 257), (3, 64))]
    sources = [w.T if i % 2 else w for i, w in enumerate(sources)]
    wanted = [kernels.packed(w) for w in sources]
    out = [kernels.empty(1, w.size) for w in wanted]
    jobs = (PackJob * 4)(
        *(
            PackJob(w.ctypes.data, *(s // w.itemsize for s in w.strides), *w.shape, packed.ctypes.data)
            for w, packed in zip(sources, out, strict=True)
        )
    )
    kernels("pack_many", jobs, 4, threads)
    for a, b in zip(out, wanted, strict=True):
        assert np.array_equal(a, b)


def product(kernels: Kernels, m: int, depths: Sequence[int], n: int, accumulate: int, bias: int, threads: int) -> None:
    pairs = [(kernels.array(m, k, k + 3), kernels.random.standard_normal((k, n)).astype(kernels.type)) for k in depths]
    packed = [(a, kernels.packed(w)) for a, w in pairs]
    make = kernels.array if accumulate else kernels.empty
    c, b = make(m, n, n + 5), kernels.array(1, n)
    added = [c.astype(np.float64)] * accumulate + [b.astype(np.float64)] * bias
    kernels("product", m, terms_of(packed), len(pairs), n, c, n + 5, accumulate, b if bias else None, threads)
    kernels.check(c, pairs, *added)


def test_product(kernels: Kernels) -> None:
    for i, (m, k, n) in enumerate(itertools.product(ROWS, DEPTHS, COLUMNS)):
        product(kernels, m, [k], n, i % 2, i // 2 % 2, i % 3 + 1)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_product_of_several_terms(kernels: Kernels, threads: int) -> None:
    for m, n, depths in (
        (33, 130, []),
        (130, 65, [700, 5, 550]),  # terms longer than a block of the sum
        (6, 64, [7] * 10),
        (129, 130, [0, 64, 130, 0]),
        (1, 1030, [256]),  # panels, not rows, are shared
        (16, 700, [130, 1]),
    ):
        product(kernels, m, depths, n, threads % 2, 1, threads)
        product(kernels, m, depths, n, 1 - threads % 2, 0, threads)


def outer(
    kernels: Kernels, rows: int, sizes: Sequence[int], widths: Sequence[int], accumulate: int, threads: int
) -> None:
    """With `accumulate` the second, fourth, … target is added to, without it the others."""
    a = [kernels.array(rows, size, size + 2) for size in sizes]
    b = [kernels.array(rows, n, n + 3) for n in widths]
    blocks = (Block * len(a))(*(Block(x.ctypes.data, x.shape[1] + 2, x.shape[1]) for x in a))
    adds = [int(i % 2 == accumulate) for i in range(len(b))]
    c = [(kernels.array if add else kernels.empty)(sum(sizes), n, n + 5) for n, add in zip(widths, adds, strict=True)]
    added = [[out.astype(np.float64)] * add for out, add in zip(c, adds, strict=True)]
    targets = (Column * len(b))(
        *(
            Column(x.ctypes.data, n + 3, n, out.ctypes.data, n + 5, add)
            for x, n, out, add in zip(b, widths, c, adds, strict=True)
        )
    )
    kernels("outer", rows, len(a), blocks, len(b), targets, threads)
    for x, out, before in zip(b, c, added, strict=True):
        kernels.check(out, [(np.concatenate(a, 1).T, x)], *before)


def test_outer(kernels: Kernels) -> None:
    for i, (rows, m, n) in enumerate(itertools.product((*ROWS, 0), (1, 6, 7, 65), COLUMNS)):
        outer(kernels, rows, [m], [n], i % 2, i % 3 + 1)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_outer_of_blocks(kernels: Kernels, threads: int) -> None:
    for rows, sizes, widths in (
        (600, [7, 1, 64, 1, 1, 13], [130]),
        (520, [300, 290], [33]),
        (257, [3] * 20, [1]),
        (70, [1], [1000]),
        (0, [6], [5]),
        (600, [64, 20], [130, 64, 1, 65]),
        (33, [130], [3, 257]),
    ):
        for accumulate in (0, 1):
            outer(kernels, rows, sizes, widths, accumulate, threads)


@pytest.mark.parametrize("threads", [1, 2])
def test_copy_rows(kernels: Kernels, threads: int) -> None:
    for rows, n in ((0, 3), (1, 1), (5, 7), (300, 130), (1, 40000)):
        source = kernels.array(rows, n, n + 3)
        copy, zeros = kernels.empty(rows, n, n + 5), kernels.empty(rows, n, n + 1)
        kernels("copy_rows", copy, n + 5, source, n + 3, rows, n, threads)
        assert np.array_equal(copy, source)
        kernels("copy_rows", zeros, n + 1, None, 0, rows, n, threads)
        assert not zeros.any()


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_column_sums(kernels: Kernels, threads: int) -> None:
    for i, (rows, n) in enumerate(itertools.product((0, *ROWS), (*COLUMNS, 1100))):
        p = kernels.array(rows, n, n + 3)
        out = (kernels.array if i % 2 else kernels.empty)(1, n)
        added = [out.astype(np.float64)] * (i % 2)
        kernels("column_sums", rows, p, n + 3, n, out, i % 2, threads)
        kernels.check(out, [(np.ones((1, rows)), p)], *added)


def test_results_do_not_depend_on_threads(kernels: Kernels) -> None:
    """For whole panels, that is; in narrow tiles the order of a sum depends on the number of rows."""
    n = 3 * kernels.panel
    a, b, w = kernels.array(300, 130), kernels.array(300, n), kernels.packed(kernels.array(130, n))
    block = ctypes.byref(Block(a.ctypes.data, a.shape[1], a.shape[1]))
    results: list[list[np.ndarray]] = []
    for threads in (1, 2, 3):
        c, gradient, sums = kernels.empty(300, n), kernels.empty(130, n), kernels.empty(1, n)
        kernels("product", 300, terms_of([(a, w)]), 1, n, c, n, 0, None, threads)
        column = ctypes.byref(Column(b.ctypes.data, n, n, gradient.ctypes.data, n, 0))
        kernels("outer", 300, 1, block, 1, column, threads)
        kernels("column_sums", 300, b, n, n, sums, 0, threads)
        results.append([c, gradient, sums])
    for one, two, three in zip(*results, strict=True):
        assert np.array_equal(one, two)
        assert np.array_equal(one, three)


def test_peak(kernels: Kernels) -> None:
    assert kernels.library.fma_peak(ctypes.c_long(1000), ctypes.c_long(2)) > 0


THREADS = """
import ctypes, os, signal, sys

signal.alarm(40)
kernels, barriers, gomp = map(ctypes.CDLL, sys.argv[1:4])
kernels.runtime.restype = ctypes.c_void_p
barriers.barriers.restype = ctypes.c_long

def passes():
    for threads in (1, 2, 3, 1, 4):
        runtime = ctypes.c_void_p(kernels.runtime())
        ran = barriers.barriers(runtime, ctypes.c_long(threads), ctypes.c_long(200))
        assert ran == threads, (ran, threads)

passes()
kernels.use_gomp(*(ctypes.cast(f, ctypes.c_void_p) for f in (gomp.GOMP_parallel, gomp.omp_get_thread_num)))
passes()
child = os.fork()
if not child:
    signal.alarm(20)
    try:
        passes()
    finally:
        os._exit(sys.exc_info()[0] is not None)
assert os.waitpid(child, 0)[1] == 0
passes()
print("passed")
"""


@pytest.mark.parametrize("environment", [{}, {"OMP_THREAD_LIMIT": "2"}, {"OMP_DYNAMIC": "true"}], ids=str)
def test_threads(paths: dict[tuple[str, str], Path], environment: dict[str, str]) -> None:
    """Barriers are passed with and without OpenMP, after a fork, and where OpenMP gives fewer threads than asked."""
    gomp = libgomp()
    if gomp is None:
        pytest.skip("this torch does not use libgomp")
    result = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", THREADS, paths[BUILDS[0]], paths["", ""], gomp],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.stdout == "passed\n", result.stderr
