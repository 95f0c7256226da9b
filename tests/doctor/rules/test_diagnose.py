"""The rules together: what explains what, and that none is without a test."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from carousel.doctor import RULES, Record, Watch, diagnose

from ..planted import Run, blobs, codes, deep, mlp, scaled

HEALTHY: dict[str, Callable[[], Any]] = {
    "plain": lambda: Run(mlp(), *blobs(), dev=blobs(100)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])


def test_a_consequence_is_listed_under_its_cause() -> None:
    record = Record()
    torch.manual_seed(0)
    with Watch(record):
        Run(scaled(deep(nn.Tanh), 60), *blobs())()
    found = diagnose(record)
    assert codes(found) == ["saturated-activations"]


def test_every_rule_has_a_planted_fault() -> None:
    files = [importlib.import_module(f".test_{rule.CODE.replace('-', '_')}", __package__) for rule in RULES]
    planted = {name.split(",")[0] for file in files for name in getattr(file, "FAULTS", ())}
    assert {rule.CODE for rule in RULES} - planted == {"state-not-detached"}  # has tests of its own, and in test_script
