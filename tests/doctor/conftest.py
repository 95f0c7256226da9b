"""Small training runs, watched."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from carousel.doctor import Doctor, Finding


@pytest.fixture
def findings() -> Callable[..., list[Finding]]:
    """`findings(train)`: what the doctor says of a function that trains or makes one; errors and warnings only."""

    def watched(train: Callable[[], object], *, probe: bool = True) -> list[Finding]:
        torch.manual_seed(0)
        with Doctor(probe=probe) as doctor:
            made = train()
            if callable(made):
                made()
        assert doctor.record.lab is None or doctor.record.lab.troubles == []
        return [f for f in doctor.findings if f.severity != "note"]

    return watched
