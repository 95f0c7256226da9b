"""For all tests: one seed, one thread, and hypothesis that draws the same examples in every run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("carousel", derandomize=True, deadline=None, max_examples=25, database=None)
settings.load_profile("carousel")


def pytest_configure(config: pytest.Config) -> None:
    """PyTorch says once per process, and so in whichever test comes first, that oneDNN has no projections."""
    config.addinivalue_line("filterwarnings", "ignore:LSTM with projections is not supported with oneDNN")


@pytest.fixture(autouse=True)
def _seed() -> None:
    import torch

    torch.manual_seed(0)
    if torch.get_num_threads() > 1:  # sums in one order; and on shared cores, threads that wait for each other are slow
        torch.set_num_threads(1)


@pytest.fixture(scope="session")
def cache_in() -> Callable[[Path], Path]:
    """`cache_in(folder)`: a cache in that folder that shares nothing with all others but the compiled cells."""
    from carousel.engine.build import cache_folder

    kernels = cache_folder() / "kernels"

    def cache_in(folder: Path) -> Path:
        cache = folder / "cache"
        if not cache.exists():
            cache.mkdir()
            kernels.mkdir(parents=True, exist_ok=True)
            (cache / "kernels").symlink_to(kernels)
        return cache

    return cache_in


@pytest.fixture
def own_cache(cache_in: Callable[[Path], Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, as the one that this test uses."""
    cache = cache_in(tmp_path)
    monkeypatch.setenv("CAROUSEL_CACHE", str(cache))
    return cache


@pytest.fixture(scope="session")
def start(cache_in: Callable[[Path], Path]) -> Callable[..., subprocess.Popen[str]]:
    """`start(folder, *arguments)`: Python as another process in that folder, with one thread and a cache of its own."""

    def start(folder: Path, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, *arguments],
            cwd=folder,
            env={**os.environ, "CAROUSEL_CACHE": str(cache_in(folder)), "OMP_NUM_THREADS": "1"},
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    return start


@pytest.fixture(scope="session")
def finish() -> Callable[[subprocess.Popen[str]], str]:
    """Wait for a process, which must succeed, and return what it printed."""

    def finish(process: subprocess.Popen[str]) -> str:
        output, _ = process.communicate(timeout=200)
        assert process.returncode == 0, output
        return output

    return finish
