"""For all tests: one seed, one thread, and hypothesis that draws the same examples in every run."""

from __future__ import annotations

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
