"""Backward passes that are wrong, and those that differ from the derivative on purpose."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ..planted import Run, blobs, mlp, names


def function(forward: Callable[[Tensor], Tensor], backward: Callable[[Tensor, Tensor], Tensor]) -> nn.Module:
    """A network with a hand-written function in its middle."""

    class Own(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return forward(x)

        @staticmethod
        def backward(ctx: Any, grad: Tensor) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
            return backward(ctx.saved_tensors[0], grad)

    class Calls(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return Own.apply(x)  # pyright: ignore[reportReturnType]

    return mlp(Calls())


FAULTS: dict[str, Callable[[], Any]] = {
    "wrong-gradient": lambda: Run(
        function(lambda x: (-x * x).exp(), lambda x, g: 2 * x * (-x * x).exp() * g), *blobs()
    ),
}

HEALTHY: dict[str, Callable[[], Any]] = {
    "a right gradient": lambda: Run(function(torch.sin, lambda x, g: x.cos() * g), *blobs()),
    "straight through": lambda: Run(function(torch.round, lambda x, g: g), *blobs(), epochs=8),
    "straight through, scaled": lambda: Run(
        function(lambda x: x.abs().mean() * x.sign(), lambda x, g: g), *blobs(), epochs=8
    ),
    "gradient scaling": lambda: Run(function(lambda x: x.clone(), lambda x, g: 0.5 * g), *blobs()),
    "clamp, with a gradient outside": lambda: Run(function(lambda x: x.clamp(-1, 1), lambda x, g: g), *blobs()),
}


@pytest.mark.parametrize("name", names(FAULTS))
def test_a_planted_fault_is_named(name: str, is_named: Callable) -> None:
    is_named(name, FAULTS[name])


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_is_left_in_peace(name: str, is_left_in_peace: Callable) -> None:
    is_left_in_peace(HEALTHY[name])
