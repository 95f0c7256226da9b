"""Building: C++ text to a loaded library, with the system's compiler and a cache on disk.

The name of a build is the hash of all that goes into it: text, headers, compiler, flags. It is written under another
name and renamed, so that two processes that build the same thing at once do no harm.

Half the time of a small build goes into reading headers. A process that builds much has g++ read them once and keep
what it made of them (a precompiled header, 40 MB, beside the builds and named like them); all others use it.
"""

from __future__ import annotations

import ctypes
import functools
import hashlib
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import torch

from ..errors import CarouselError

__all__ = ["HEADERS", "BuildError", "build_all", "compiler", "instruction_set", "kernels_source"]

FOLDER = Path(__file__).parent / "cpu"

FLAGS = "-std=c++17 -O3 -fPIC -shared -pthread -ffp-contract=fast -fno-math-errno -fno-trapping-math".split()

HEADERS = '#include "math.h"\n#include "frame.h"\n'
"""How generated code begins; what is read once."""

MANY = 3
"""From this build on a process has the headers read once."""

INSTRUCTION_SETS = {
    "avx512": ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mavx2", "-mfma"],
    "avx2": ["-mavx2", "-mfma"],
    "portable": [],
}


class BuildError(CarouselError):
    """The system's compiler is missing or failed."""


def instruction_set() -> str:
    """The kernels that this processor runs best; the environment variable CAROUSEL_CPU asks for others."""
    able = {"AVX512": "avx512", "AVX2": "avx2"}.get(torch.backends.cpu.get_cpu_capability(), "portable")
    asked = os.environ.get("CAROUSEL_CPU", able)
    if asked not in INSTRUCTION_SETS:
        raise BuildError(f"CAROUSEL_CPU is {asked!r}; it can be {', '.join(INSTRUCTION_SETS)}.")
    order = list(INSTRUCTION_SETS)
    return asked if order.index(asked) >= order.index(able) else able


@functools.cache
def compiler() -> str | None:
    """The path of a C++ compiler ($CXX, or the usual ones), or None."""
    for name in (os.environ.get("CXX"), "g++", "clang++", "c++"):
        path = shutil.which(name) if name else None
        if path:
            return path
    return None


def _fixed() -> bytes:
    """What is the same for all builds: headers (read anew each time: someone may be editing them), compiler."""
    path = compiler()
    if path is None:
        raise BuildError("no C++ compiler was found; install one (Debian, Ubuntu: apt install g++)")
    real = Path(path).resolve().stat()
    headers = b"".join(p.read_bytes() for p in sorted(FOLDER.glob("*.h")))
    return headers + f"{path} {real.st_size} {real.st_mtime_ns}".encode()


def cache_folder() -> Path:
    """Where builds are kept: $CAROUSEL_CACHE, or the user's cache folder."""
    chosen = os.environ.get("CAROUSEL_CACHE")
    if chosen:
        return Path(chosen)
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Caches" / "carousel"
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "carousel"


@functools.cache
def kernels_source() -> str:
    """The fixed kernels that generated code calls."""
    return (FOLDER / "kernels.cpp").read_text(encoding="utf-8")


def build_all(texts: list[str], real: str) -> list[ctypes.CDLL]:
    """Each text as a loaded library for `real` ("float" or "double"), built at the same time where they are not yet.

    Raises:
        BuildError: there is no compiler, or it fails; the message has its first error.
    """
    with ThreadPoolExecutor(len(texts)) as pool:
        paths = list(pool.map(lambda text: _built(text, real), texts))
    return [_loaded(path) for path in paths]


@functools.cache
def _loaded(path: Path) -> ctypes.CDLL:
    return ctypes.CDLL(str(path))


def _built(text: str, real: str) -> Path:
    flags = [*FLAGS, *INSTRUCTION_SETS[instruction_set()], *os.environ.get("CAROUSEL_CXXFLAGS", "").split()]
    flags.append(f"-DREAL={real}")
    folder = cache_folder() / "kernels"
    path = folder / f"{_key(flags, text)}.so"
    if path.exists():
        return path
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as work:
            source, made = Path(work) / "cell.cpp", Path(work) / "cell.so"
            source.write_text(text, encoding="utf-8")
            header = _precompiled(folder, flags) if text.startswith(HEADERS) else None
            error = _compile(flags, source, made, header)
            if error and header:  # there are systems on which g++ can't read what it wrote
                error = _compile(flags, source, made)
            if error:
                raise BuildError(f"the compiler {compiler()} failed: {error}")
            made.replace(path)
    except OSError as error:
        raise BuildError(
            f"the cache folder {folder} can't be written ({error.strerror}); set CAROUSEL_CACHE"
        ) from error
    return path


def _key(flags: list[str], text: str) -> str:
    return hashlib.sha256(b"\0".join([_fixed(), " ".join(flags).encode(), text.encode()])).hexdigest()[:32]


def _compile(flags: list[str], source: Path, made: Path, header: Path | None = None) -> str | None:
    """Compile; the first error, or None."""
    first = ["-include", str(header)] if header else []
    command = [str(compiler()), *flags, f"-I{FOLDER}", *first, str(source), "-o", str(made)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode == 0:
        return None
    errors = [line for line in result.stderr.splitlines() if "error" in line] or [result.stderr[-300:]]
    return errors[0].strip()


_BUILDS = itertools.count(1)


def _precompiled(folder: Path, flags: list[str]) -> Path | None:
    """A header with `HEADERS` in it, and beside it what g++ made of it; None where that is not to be had.

    g++ takes what it made only for the same flags and by the same compiler, and reads the header where it does not.
    """
    many = next(_BUILDS) >= MANY
    key = _key(flags, HEADERS)
    header = folder / f"{key}.h"
    read = header.with_suffix(".h.gch")
    if read.exists():
        return header
    if not many or not _is_gcc():
        return None
    with tempfile.TemporaryDirectory(dir=folder) as work:
        source, made = Path(work) / "headers.h", Path(work) / "headers.h.gch"
        source.write_text(HEADERS, encoding="utf-8")
        if _compile([*flags, "-x", "c++-header"], source, made) or _key(flags, HEADERS) != key:
            return None
        source.replace(header)
        made.replace(read)
    return header


@functools.cache
def _is_gcc() -> bool:
    result = subprocess.run([str(compiler()), "--version"], capture_output=True, text=True, check=False)
    return "Free Software Foundation" in result.stdout
