"""Small training runs, watched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from carousel.doctor import Finding, Record, Watch, diagnose


@pytest.fixture
def findings() -> Callable[[Callable[[], object]], list[Finding]]:
    """`findings(train)`: what the doctor says of a function that trains or makes one; errors and warnings only."""

    def watched(train: Callable[[], object]) -> list[Finding]:
        torch.manual_seed(0)
        record = Record()
        with Watch(record):
            made = train()
            if callable(made):
                made()
        return [f for f in diagnose(record) if f.severity != "note"]

    return watched
