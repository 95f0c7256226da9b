"""What experiments do to the run that they are made of: nothing; and what is found where they are turned off."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from carousel.doctor import Doctor
from carousel.doctor.apart import can_fork
from carousel.doctor.lab import Lab
from carousel.doctor.rules import AHEAD

from .planted import codes
from .rules import test_lr_too_high, test_lr_too_low, test_underfitting

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot copy a process")

FAULTS = test_lr_too_high.FAULTS | test_lr_too_low.FAULTS | test_underfitting.FAULTS


@pytest.mark.parametrize("name", ["lr-too-high", "underfitting"])
def test_experiments_change_nothing(name: str) -> None:
    def trained(watch: bool) -> tuple[list[Tensor], dict[str, Any], Tensor]:
        torch.manual_seed(3)
        run = FAULTS[name]()
        if watch:
            with Doctor(lab=Lab(AHEAD, seconds=60.0)) as doctor:  # some begin beside the run
                run()
            assert [f.code for f in doctor.findings] == [name]
        else:
            run()
        return list(copy.deepcopy(run.net).state_dict().values()), {}, torch.random.get_rng_state()

    (weights, _, state), (others, _, other) = trained(True), trained(False)
    assert all(torch.equal(a, b) for a, b in zip(weights, others, strict=True))
    assert torch.equal(state, other)


def test_without_experiments_only_what_was_seen(findings: Callable) -> None:
    assert codes(findings(FAULTS["lr-too-low"], probe=False)) == []
