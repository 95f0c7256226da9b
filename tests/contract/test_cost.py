"""The cost of a gradient grows with the length, not with its square. Counted, not timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from .cases import CASES, Case, by_name, names, normal
from .helpers import tensors, weighted_sum


class _Written(TorchDispatchMode):
    """Counts the numbers that operations write."""

    def __init__(self) -> None:
        super().__init__()
        self.numbers = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        if not function.is_view:
            self.numbers += sum(t.numel() for t in _flat(result))
        return result


def _flat(value: Any) -> list[Tensor]:
    if isinstance(value, Tensor):
        return [value]
    return [t for v in value for t in _flat(v)] if isinstance(value, tuple | list) else []


def _graph_nodes(loss: Tensor) -> int:
    seen, waiting = set(), [loss.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [n for n, _ in node.next_functions]
    return len(seen)


def _costs(run: Callable[[Tensor], Any], time: int, inputs: int) -> tuple[int, int]:
    """Nodes of the graph, and numbers written by the backward pass, for a sequence of that length."""
    x = normal(time, 2, inputs, seed=1).requires_grad_()
    loss = weighted_sum(run(x))
    with _Written() as written:
        loss.backward()
    return _graph_nodes(loss), written.numbers


def _bends(counts: list[int]) -> int:
    """The second difference: zero for a straight line."""
    a, b, c = counts
    return (c - b) - (b - a)


def _assert_straight(run: Callable[[Tensor], Any], inputs: int) -> None:
    nodes, numbers = zip(*(_costs(run, time, inputs) for time in (20, 40, 60)), strict=True)
    assert nodes[2] > nodes[1] > nodes[0]
    assert _bends(nodes) == 0
    assert _bends(numbers) == 0


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_the_gradient_of_a_long_loop_is_linear_in_its_length(case: Case) -> None:
    def run(x: Tensor) -> Any:
        return case.layer(3, 4)(x, generator=torch.Generator().manual_seed(1))

    _assert_straight(run, case.features(3))


@pytest.mark.parametrize("case", CASES, ids=names(CASES))
def test_and_with_lengths_and_resets(case: Case) -> None:
    reset = torch.rand(60, 2, generator=torch.Generator().manual_seed(1)) < 0.5

    def run(x: Tensor) -> Any:
        keywords = {"reset": reset[: len(x)], "lengths": torch.tensor([len(x), len(x) // 2])}
        return case.layer(3, 4)(x, generator=torch.Generator().manual_seed(1), **keywords)

    _assert_straight(run, case.features(3))


def test_two_layers_in_both_directions() -> None:
    def run(x: Tensor) -> Any:  # a new layer each time: the first gradient of a parameter is stored, later ones added
        return by_name("lstm").layer(3, 4, 2, bidirectional=True)(x)

    _assert_straight(run, 3)


def test_the_count_finds_a_loop_that_indexes_its_input() -> None:
    def naive(x: Tensor) -> Any:
        layer = by_name("rnn").layer(3, 4)
        (cell,) = layer.cells
        state: Any = (torch.zeros(2, 4, dtype=x.dtype),)
        outputs = []
        for t in range(len(x)):
            output, state = cell.step(x[t], state)  # its backward pass writes a tensor as large as x
            outputs.append(output)
        return torch.stack(outputs)

    nodes, numbers = zip(*(_costs(naive, time, 3) for time in (20, 40, 60)), strict=True)
    assert _bends(nodes) == 0
    assert _bends(numbers) > 0


def test_no_graph_outlives_its_loss() -> None:
    layer = by_name("lstm").layer(3, 4)
    freed = []

    class Marker(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x: Tensor) -> Tensor:
            ctx.marker = _Marker(freed)
            return x.clone()

        @staticmethod
        def backward(ctx, g: Tensor) -> Tensor:
            return g

    x = normal(5, 2, 3, seed=1).requires_grad_()
    result = layer(Marker.apply(x))
    assert not freed
    assert tensors(result)
    del result
    assert freed == [True]


class _Marker:
    def __init__(self, freed: list[bool]):
        self.freed = freed

    def __del__(self) -> None:
        self.freed.append(True)
