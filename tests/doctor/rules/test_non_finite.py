"""Numbers that are no numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch.nn.functional as F

from ..planted import Run, blobs, mlp

FAULTS: dict[str, Callable[[], Any]] = {
    "non-finite": lambda: Run(mlp(), *blobs(), loss=lambda s, y: F.cross_entropy((s - s.detach()).sqrt(), y)),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])
