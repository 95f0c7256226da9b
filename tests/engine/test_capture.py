"""Capture: what a step may do and still be compiled, and what is said of one that may not."""

from __future__ import annotations

import math
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from carousel import Cell, weight
from carousel.cells import LSTM
from carousel.engine.capture import Captured, ObstacleError, capture
from carousel.nn import Recurrent

Formula = Callable[[Any, Tensor, Tensor], Any]

LEARNED = nn.Parameter(torch.ones(4, 4))
SHARED = torch.ones(4)


class Base(Cell):
    """h_t = formula(cell, W x_t, h_{t-1})."""

    formula: Formula

    def __init__(self, input_size: int = 3, hidden_size: int = 4):
        super().__init__(input_size, hidden_size)
        self.w, self.u, self.b = weight(hidden_size, input_size), weight(hidden_size, hidden_size), weight(hidden_size)

    def step(self, x: Tensor, state: tuple[Tensor, ...]) -> tuple[Tensor, tuple[Tensor, ...]]:
        (h,) = state
        h = type(self).formula(self, x @ self.w.T, h)
        return h, (h,)


def cell_of(formula: Formula) -> Cell:
    return type("Odd", (Base,), {"formula": staticmethod(formula)})()


def captured(cell: Cell) -> Captured:
    return capture(cell, dtype=torch.float32, device=torch.device("cpu"))


class Twice(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        return 2 * a

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return 2 * gradients[0]


def _without_gradient(cell: Base, a: Tensor, h: Tensor) -> Tensor:
    with torch.no_grad():
        h = 2 * h
    return a + h


def _into_a_view(cell: Base, a: Tensor, h: Tensor) -> Tensor:
    y = a + h
    y[:, 0] = 1
    return y


def _on_another_thread(cell: Base, a: Tensor, h: Tensor) -> Tensor:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(torch.add, a, h).result()


def _hooked(cell: Base, a: Tensor, h: Tensor) -> Tensor:
    y = a + h
    y.register_hook(torch.neg)
    return y


OBSTACLES: dict[str, tuple[Formula, str]] = {
    "branch": (lambda cell, a, h: a if h[0, 0] > 0 else h, "treats the batch elements differently"),
    "branch-parameter": (lambda cell, a, h: a if cell.b.sum() > 0 else h, "looks at a tensor's value"),
    "item": (lambda cell, a, h: a * cell.b[0].item(), "looks at a tensor's value"),
    "tolist": (lambda cell, a, h: a * h.tolist()[0][0], r"could not be followed .*tolist\(\) is not supported"),
    "numpy": (lambda cell, a, h: a * cell.b.detach().numpy()[0], r"could not be followed .*numpy\(\) is not supported"),
    "random": (lambda cell, a, h: a * torch.rand_like(h), r"draws random numbers \(rand_like.default\)"),
    "dropped-weight": (lambda cell, a, h: a + h @ F.dropout(cell.u), "draws random numbers"),
    "function": (lambda cell, a, h: a + Twice.apply(h), "torch.autograd.Function"),
    "no-gradient": (_without_gradient, r"switches gradients off \(torch.no_grad\)"),
    "foreign-gradient": (lambda cell, a, h: a + h @ LEARNED, "a tensor with gradient that is not an attribute"),
    "foreign-product": (lambda cell, a, h: a + h @ (2 * LEARNED), "a tensor with gradient that is not an attribute"),
    "into-a-view": (_into_a_view, r"changes a tensor in place \(fill_\)"),
    "over-the-batch": (lambda cell, a, h: a - a.mean(0), "sums or normalizes over the batch"),
    "no-rule": (lambda cell, a, h: a + h.cumsum(-1), r"there is no rule for torch's cumsum\(\)"),
    "shapes": (lambda cell, a, h: a[:, :2] + h, r"combines tensors of shapes \(11, 2\) and \(11, 4\)"),
    "error": (lambda cell, a, h: a / (1 // 0), r"could not be followed \(ZeroDivisionError"),
    "hook": (_hooked, "registers a hook on a tensor"),
    "thread": (_on_another_thread, "uses its tensors on another thread"),
}


@pytest.mark.parametrize("name", OBSTACLES)
def test_an_obstacle_names_its_line(name: str) -> None:
    formula, words = OBSTACLES[name]
    cell = cell_of(formula)
    parameters = dict(cell.named_parameters())
    with pytest.raises(ObstacleError, match=rf"(?s){words}.* at (test_capture|thread)\.py:\d+$"):
        captured(cell)
    assert all(value is parameters[name] for name, value in cell.named_parameters())
    assert not torch._C._len_torch_dispatch_stack()
    assert torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("formula", "words"),
    [
        (lambda cell, a, h: a * torch.rand(4), "numbers differ from call to call"),
        (lambda cell, a, h: a * SHARED, "not an attribute of the cell; keep it as one"),
        (lambda cell, a, h: a * len(a), "depends on the batch size"),
        (lambda cell, a, h: a.flip(0), "whose batch is not the first dimension"),
        (lambda cell, a, h: None, "does not return a tensor"),
    ],
)
def test_obstacles_seen_afterwards(formula: Formula, words: str) -> None:
    with pytest.raises(ObstacleError, match=words):
        captured(cell_of(formula))


def _in_place(cell: Base, a: Tensor, h: Tensor) -> Tensor:
    y = a + h
    y *= 2
    return y.tanh_()


def _filled(cell: Base, a: Tensor, h: Tensor) -> Tensor:
    factors = torch.zeros(4)
    factors[1] = 3
    factors += 1
    with torch.no_grad():
        factors = factors * 2 if factors.sum().item() > 0 else factors
    return torch.tanh(a + h) * factors


def _checkpointed(cell: Base, a: Tensor, h: Tensor) -> Tensor:
    from torch.utils.checkpoint import checkpoint

    made = checkpoint(lambda p, q: torch.tanh(p + q), a, h, use_reentrant=False)
    assert isinstance(made, Tensor)
    return made


FINE: dict[str, Formula] = {
    "in-place": _in_place,
    "constants-of-its-own": _filled,
    "checkpoint": _checkpointed,
    "vmap": lambda cell, a, h: torch.func.vmap(torch.add)(a, torch.tanh(h)),
    "normed-weight": lambda cell, a, h: torch.tanh(a + h @ (cell.u / cell.u.norm(dim=1, keepdim=True)).T),
    "decomposed": lambda cell, a, h: a + torch.einsum("bi,oi->bo", F.normalize(h + 1), cell.u),
    "numbers": lambda cell, a, h: torch.tanh(1e-50 * a + (a + 0.3 * h).clamp(max=1 / 7) * math.pi),
    "printed": lambda cell, a, h: (repr(a), repr(cell.u), torch.tanh(a + h))[-1],
}


@pytest.mark.parametrize("name", FINE)
def test_what_a_step_may_do(name: str) -> None:
    cell = cell_of(FINE[name])
    x = torch.randn(5, 2, 3)
    results = []
    for backend in ("cpu", "reference"):
        cell.zero_grad()
        output, _ = Recurrent([cell], backend=backend)(x)
        output.square().sum().backward()
        results.append([output, *(p.grad for p in cell.parameters() if p.grad is not None)])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize(
    "context", [torch.no_grad, torch.inference_mode, lambda: torch.autocast("cpu", torch.bfloat16)]
)
def test_the_same_graph_wherever_it_is_made(context: Any) -> None:
    cell = LSTM(3, 4, layer_norm=True)
    expected = captured(cell).text()
    with context():
        assert captured(cell).text() == expected


def test_captures_on_several_threads() -> None:
    cell = LSTM(3, 4, peephole=True)
    expected = captured(cell).text()
    with ThreadPoolExecutor(4) as pool:
        assert {made.text() for made in pool.map(captured, [cell] * 16)} == {expected}
    assert all(type(p) is nn.Parameter for p in cell.parameters())
