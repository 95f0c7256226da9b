"""The vector functions of the generated C++ against wider arithmetic: error in ulp, special values, lanes, tails."""

from __future__ import annotations

import ctypes
import functools
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

import carousel.engine

INCLUDE = Path(carousel.engine.__file__).parent / "cpu"
FLAGS = "-O2 -ffp-contract=fast -fno-math-errno -fno-trapping-math -shared -fPIC".split()
ISAS = {
    "avx512": ("AVX512", "-mavx512f -mavx512dq -mavx512bw -mavx512vl".split()),
    "avx2": ("AVX2", "-mavx2 -mfma".split()),
    "plain": ("DEFAULT", []),
}
CAPABILITIES = ["DEFAULT", "AVX2", "AVX512"]
VECTORIZED = "exp expm1 log log1p sigmoid tanh".split()
UNARY = [*VECTORIZED, *"sqrt rsqrt abs floor ceil trunc round sign sin cos erf atan".split()]
BINARY = "max min pow".split()

HARNESS = """
#include "math.h"
using namespace carousel;
#define EACH(NAME, CALL, ...) extern "C" void run_##NAME(const real* x, const real* y, real* z, long n) { \\
  (void)y; \\
  for (long i = 0; i < n; i += VL) { \\
    int lanes = n - i < VL ? int(n - i) : VL; \\
    if (lanes == VL) { auto at = [&](const real* p) { return load(p + i); }; store(z + i, CALL); } \\
    else { auto at = [&](const real* p) { return load_part(p + i, lanes); }; store_part(z + i, CALL, lanes); } \\
  } \\
}
#define UNARY(NAME) EACH(NAME, v##NAME(at(x)))
#define BINARY(NAME) EACH(NAME, v##NAME(at(x), at(y)))
EACH(isnan, from_mask(visnan(at(x))))
EACH(softplus, vsoftplus(at(x), y[0], y[1]))
extern "C" real max_of_lanes(const real* x, int lanes) { return max_of(load_part(x, lanes), lanes); }
extern "C" real min_of_lanes(const real* x, int lanes) { return min_of(load_part(x, lanes), lanes); }
extern "C" int width() { return VL; }
""" + "\n".join([*(f"UNARY({name})" for name in UNARY), *(f"BINARY({name})" for name in BINARY)])


class Functions:
    """The harness built for one instruction set and one type."""

    def __init__(self, library: ctypes.CDLL, dtype: type) -> None:
        self.library, self.dtype = library, dtype
        self.width: int = library.width()

    def __call__(self, name: str, x: np.ndarray, y: np.ndarray | None = None) -> np.ndarray:
        x = np.ascontiguousarray(x, self.dtype)
        y = x if y is None else np.ascontiguousarray(y, self.dtype)
        z = np.full(len(x) + 1, 77, self.dtype)
        pointers = [ctypes.c_void_p(a.ctypes.data) for a in (x, y, z)]
        getattr(self.library, f"run_{name}")(*pointers, ctypes.c_long(len(x)))
        assert z[-1] == 77, "wrote past the end"
        return z[:-1]

    def reduce(self, name: str, x: np.ndarray, lanes: int) -> float:
        function = getattr(self.library, name)
        function.restype = ctypes.c_float if self.dtype is np.float32 else ctypes.c_double
        return function(ctypes.c_void_p(x.ctypes.data), lanes)


@functools.cache
def build(isa: str, real: str, folder: Path) -> Functions:
    source, library = folder / "harness.cpp", folder / f"{isa}_{real}.so"
    source.write_text(HARNESS)
    subprocess.run(
        ["g++", *FLAGS, *ISAS[isa][1], f"-DREAL={real}", f"-I{INCLUDE}", str(source), "-o", str(library)], check=True
    )
    return Functions(ctypes.CDLL(str(library)), np.float32 if real == "float" else np.float64)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vector_math")


@pytest.fixture(scope="session", params=[(isa, real) for real in ("float", "double") for isa in ISAS], ids="-".join)
def functions(request: pytest.FixtureRequest, folder: Path) -> Functions:
    isa, real = request.param
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    capability = torch.backends.cpu.get_cpu_capability()
    rank = CAPABILITIES.index(capability) if capability in CAPABILITIES else 0
    if CAPABILITIES.index(ISAS[isa][0]) > rank:
        pytest.skip(f"this CPU has no {isa}")
    if real == "double" and np.finfo(np.longdouble).nmant < 63:
        pytest.skip("NumPy's long double is no wider than double here")
    return build(isa, real, folder)


def wide(dtype: type) -> type:
    return np.float64 if dtype is np.float32 else np.longdouble


def ulps(got: np.ndarray, exact: np.ndarray) -> np.ndarray:
    """Error in units of the last place of the exact value; infinity counts as the power of two after the largest."""
    assert np.array_equal(np.isnan(got), np.isnan(exact))
    information = np.finfo(got.dtype)
    least, most = np.log2(information.smallest_normal), information.maxexp
    limit = np.ldexp(exact.dtype.type(1), most)
    exact, got = np.clip(exact, -limit, limit), np.clip(got.astype(exact.dtype), -limit, limit)
    _, exponent = np.frexp(exact)
    exponent = np.clip(exponent - 1, int(least), most - 1)
    error = np.ldexp(np.abs(got - exact), information.nmant - exponent)
    return np.where(np.isnan(exact), 0, error).astype(np.float64)


def sigmoid(x: np.ndarray) -> np.ndarray:
    z = np.exp(-np.abs(x))
    return np.where(x >= 0, 1, z) / (1 + z)


EXACT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "exp": np.exp,
    "expm1": np.expm1,
    "log": np.log,
    "log1p": np.log1p,
    "sigmoid": sigmoid,
    "tanh": np.tanh,
}


@functools.cache
def arguments(dtype: type) -> np.ndarray:
    """Every exponent, denormal ones too, with either sign; and more points where the functions are not constant."""
    generator = np.random.default_rng(0)
    if dtype is np.float32:
        bits = np.arange(0, 0x7F800000, 3001, dtype=np.uint32)  # an odd step, so all low bits occur
        every = bits.view(np.float32)
        count = 300_000
    else:
        bits = generator.integers(0, 0x7FF0000000000000, 60_000, dtype=np.uint64)
        every = bits.view(np.float64)
        count = 20_000
    low = -110 if dtype is np.float32 else -750
    middle = [generator.uniform(a, b, count) for a, b in ((low, -low), (-20, 20), (-2, 2), (0.5, 2))]
    small = generator.uniform(-1, 1, count) * 2.0 ** generator.integers(-30, 1, count)
    return np.concatenate([every, -every, *(a.astype(dtype) for a in [*middle, small])])


@functools.cache
def reference(name: str, dtype: type) -> np.ndarray:
    with np.errstate(all="ignore"):
        return EXACT[name](arguments(dtype).astype(wide(dtype)))


@pytest.mark.parametrize("name", VECTORIZED)
def test_at_most_two_ulp(functions: Functions, name: str) -> None:
    got = functions(name, arguments(functions.dtype))
    with np.errstate(all="ignore"):
        error = ulps(got, reference(name, functions.dtype))
    worst = int(error.argmax())
    assert error[worst] <= 2, f"{name}({arguments(functions.dtype)[worst]!r}) = {got[worst]!r}: {error[worst]:.3f} ulp"


def same(got: np.ndarray, expected: np.ndarray) -> None:
    """Equal with the signs of zeros; any NaN is like any other."""
    np.testing.assert_array_equal(got, expected)
    number = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(got[number]), np.signbit(expected[number]))


def test_special_values(functions: Functions) -> None:
    dtype = functions.dtype
    inf, nan, tiny, least = np.inf, np.nan, np.finfo(dtype).tiny, np.finfo(dtype).smallest_subnormal
    odd = 1_000_003 * least
    unchanged = [0.0, -0.0, least, -least, odd, -odd, tiny, -tiny, nan]
    cases: dict[str, tuple[list[float], list[float]]] = {
        "exp": ([0.0, -0.0, least, -tiny, inf, -inf, nan, 1e4, -1e4], [1, 1, 1, 1, inf, 0, nan, inf, 0]),
        "expm1": ([*unchanged, inf, -inf, 1e4, -1e4], [*unchanged, inf, -1, inf, -1]),
        "log": ([1.0, 0.0, -0.0, inf, -inf, nan, -1.0, -least], [0.0, -inf, -inf, inf, nan, nan, nan, nan]),
        "log1p": ([*unchanged, -1.0, inf, -inf, -2.0], [*unchanged, -inf, inf, nan, nan]),
        "sigmoid": ([0.0, -0.0, least, inf, -inf, nan, 1e4, -1e4], [0.5, 0.5, 0.5, 1, 0, nan, 1, 0]),
        "tanh": ([*unchanged, inf, -inf, 1e4, -1e4], [*unchanged, 1, -1, 1, -1]),
    }
    for name, (x, expected) in cases.items():
        same(functions(name, np.array(x, dtype)), np.array(expected, dtype))
    for name in ("exp", "sigmoid"):  # denormal results
        x = np.array([-100, -95, -90, -103] if dtype is np.float32 else [-745, -740, -720, -710], dtype)
        got = functions(name, x)
        assert ((got > 0) & (got < tiny)).all()


@pytest.mark.parametrize("name", VECTORIZED)
def test_every_lane_and_every_tail(functions: Functions, name: str) -> None:
    width, dtype = functions.width, functions.dtype
    x = np.resize(np.array([0.3, -0.7, 5.0, -90.0, 1e-40, 0.0, np.inf, -np.inf, np.nan, 80.0, 2.5], dtype), 3 * width)
    whole = functions(name, x)
    for shift in range(width):
        same(functions(name, np.roll(x, shift)), np.roll(whole, shift))
    for count in range(2 * width + 1):
        same(functions(name, x[:count]), whole[:count])


@pytest.mark.parametrize("name", "sqrt rsqrt sin cos erf atan".split())
def test_other_functions(functions: Functions, name: str) -> None:
    generator = np.random.default_rng(1)
    x = np.concatenate([generator.uniform(-20, 20, 2000), [0.0, -0.0, np.nan]]).astype(functions.dtype)
    expected = getattr(torch, name)(torch.from_numpy(x).double()).numpy()
    got = functions(name, x)
    if functions.dtype is np.float32:
        with np.errstate(all="ignore"):
            assert ulps(got, expected).max() <= 2
    else:  # torch.float64 is not exact itself
        np.testing.assert_allclose(got, expected, rtol=1e-15, atol=0)


@pytest.mark.parametrize("name", "abs floor ceil trunc round sign isnan".split())
def test_exact_functions(functions: Functions, name: str) -> None:
    x = np.array([0.0, -0.0, 0.5, -0.5, 1.5, 2.5, -2.5, -0.3, 1e6 + 0.5, 3e9, -3e9, np.inf, -np.inf, np.nan] * 3)
    x = x.astype(functions.dtype)
    expected = getattr(torch, name)(torch.from_numpy(x)).numpy()
    np.testing.assert_array_equal(functions(name, x), expected)


def test_functions_of_two(functions: Functions) -> None:
    values = [0.0, 1.5, -2.0, 3.0, np.inf, -np.inf, np.nan]
    a, b = (g.ravel().astype(functions.dtype) for g in np.meshgrid(values, values))
    for name, peer in (("max", torch.maximum), ("min", torch.minimum)):
        np.testing.assert_array_equal(functions(name, a, b), peer(torch.from_numpy(a), torch.from_numpy(b)).numpy())
    x, y = np.linspace(0.1, 3, 50, dtype=functions.dtype), np.linspace(-4, 4, 50, dtype=functions.dtype)
    wider = wide(functions.dtype)
    assert ulps(functions("pow", x, y), np.power(x.astype(wider), y.astype(wider))).max() <= 2


def test_softplus(functions: Functions) -> None:
    x = np.concatenate([np.linspace(-100, 100, 4001), [np.inf, -np.inf, np.nan]]).astype(functions.dtype)
    for beta, threshold in ((1.0, 20.0), (2.5, 20.0), (0.5, 3.0)):
        y = np.resize(np.array([beta, threshold], functions.dtype), len(x))
        expected = torch.nn.functional.softplus(torch.from_numpy(x).double(), beta, threshold).numpy()
        # beta x is rounded, so a result that is exp(beta x) has |beta x| / 2 ulp more; denormal results have an atol.
        epsilon, tiny = np.finfo(functions.dtype).eps, np.finfo(functions.dtype).tiny
        rtol = 6 * epsilon if beta == 1 else 200 * epsilon
        np.testing.assert_allclose(functions("softplus", x, y), expected, rtol=rtol, atol=tiny * 4 * epsilon)


def test_reductions_of_lanes(functions: Functions) -> None:
    width = functions.width
    x = np.random.default_rng(2).normal(size=width).astype(functions.dtype)
    for lanes in range(1, width + 1):
        assert functions.reduce("max_of_lanes", x, lanes) == x[:lanes].max()
        assert functions.reduce("min_of_lanes", x, lanes) == x[:lanes].min()
        for place in range(lanes):
            y = x.copy()
            y[place] = np.nan
            assert np.isnan(functions.reduce("max_of_lanes", y, lanes))
            assert np.isnan(functions.reduce("min_of_lanes", y, lanes))
            assert functions.reduce("max_of_lanes", y, place) == (x[:place].max() if place else -np.inf)
