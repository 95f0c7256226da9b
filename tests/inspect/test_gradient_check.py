"""The check finds what is wrong, and nothing else."""

from __future__ import annotations

import doctest
import sys
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.cells.registry import REGISTRY
from carousel.errors import UsageError
from carousel.inspect import gradient_check


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


def test_examples() -> None:
    assert doctest.testmod(sys.modules["carousel.inspect.gradient_check"]).failed == 0


@pytest.mark.parametrize("name", ["lstm", "gru", "multi-tap", "leaky"])
def test_cells_on_the_compiled_engine_are_right(name: str) -> None:
    entry = REGISTRY[name]
    layer = carousel.nn.Recurrent(entry.cell_class, 3, 4, **entry.options)
    found = gradient_check(layer, torch.randn(6, 2, 3), most=20)
    assert found.passed, str(found)
    assert {e.name for e in found.entries} == {"input 1", *dict(layer.named_parameters())}
    assert all(e.checked == min(20, torch.Size(e.shape).numel()) for e in found.entries)


def test_a_network_with_batch_norm_and_dropout_is_left_as_it_was() -> None:
    net = nn.Sequential(
        nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(48, 2)
    )
    before = {name: t.clone() for name, t in net.state_dict().items()}
    x, state = torch.randn(5, 1, 6, 6), torch.get_rng_state()
    found = gradient_check(net, x, most=15)
    assert found.passed, str(found)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], t) for name, t in net.state_dict().items())
    assert all(p.grad is None and p.dtype == torch.float32 for p in net.parameters())


class WrongRow(torch.autograd.Function):
    """A product whose weight gradient is wrong in one element."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, w: Tensor) -> Tensor:
        ctx.save_for_backward(x, w)
        return x @ w

    @staticmethod
    def backward(ctx: Any, g: Tensor) -> tuple[Tensor, Tensor]:  # pyright: ignore
        x, w = ctx.saved_tensors
        back = x.T @ g
        back[2, 1] *= 1.1
        return g @ w.T, back


def test_the_worst_element_is_named() -> None:
    found = gradient_check(WrongRow.apply, torch.randn(4, 3), torch.randn(3, 2))
    first, second = found.entries
    assert first.error < 1e-7
    assert second.worst == (2, 1)
    assert second.error == pytest.approx(0.1 / 1.1, rel=1e-4)
    assert second.analytic == pytest.approx(1.1 * second.numeric, rel=1e-4)
    assert not found.passed
    assert str(found).splitlines()[2].endswith("wrong")
    assert "[2, 1]" in str(found)


def test_kinks_are_no_mistakes_but_wrong_slopes_there_are() -> None:
    x = torch.tensor([-1.0, 0.0, 2.0])
    found = gradient_check(torch.relu, x)
    assert found.passed
    assert found.entries[0].kinks == 1

    class TooSteep(torch.autograd.Function):
        @staticmethod
        def forward(ctx: Any, x: Tensor) -> Tensor:
            ctx.save_for_backward(x)
            return x.clamp(min=0)

        @staticmethod
        def backward(ctx: Any, g: Tensor) -> Tensor:  # pyright: ignore
            (x,) = ctx.saved_tensors
            return g * torch.where(x == 0, 3.0, (x > 0).double())

    steep = gradient_check(TooSteep.apply, x)
    assert not steep.passed
    assert steep.entries[0].worst == (1,)


def test_a_kink_within_the_step() -> None:
    found = gradient_check(torch.abs, torch.tensor([3e-7, -2e-8], dtype=torch.float64))
    assert found.passed, str(found)


def test_what_is_refused() -> None:
    with pytest.raises(UsageError, match="nothing to check"):
        gradient_check(lambda: torch.ones(2))
    with pytest.raises(UsageError, match="anything differentiable"):
        gradient_check(Tensor.detach, torch.ones(2))
    with pytest.raises(UsageError, match="is not finite at"):
        gradient_check(torch.log, torch.tensor([-1.0]))
    with pytest.raises(UsageError, match="gave a str"):
        gradient_check(lambda x: "x", torch.ones(2))
    calls = iter(range(1000))
    with pytest.raises(UsageError, match="different values"):
        gradient_check(lambda x: x * next(calls), torch.ones(2))
