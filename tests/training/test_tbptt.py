"""Truncated backpropagation through time against brute force: gradients in float64, one loss term at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import carousel
from carousel.errors import UsageError

LENGTH, BATCH = 24, 3


class Model(nn.Module):
    """A recurrent layer and a readout, as a network that TruncatedBPTT can run."""

    def __init__(self, cell: type[carousel.Cell], **options: object):
        super().__init__()
        self.layer = carousel.nn.Recurrent(cell, 4, 5, num_layers=2, **options)
        self.readout = nn.Linear(5, 2)

    def forward(self, x: Tensor, state: object = None, *, reset: Tensor | None = None) -> tuple[Tensor, object]:
        y, state = self.layer(x, state, reset=reset)
        return self.readout(y), state


@pytest.fixture(params=["rnn", "lstm", "gru", "multi-tap"])
def model(request: pytest.FixtureRequest) -> Model:
    entry = carousel.cells.find(request.param)
    return Model(entry.cell_class, **entry.options).double()


@pytest.fixture
def data() -> tuple[Tensor, Tensor]:
    return torch.randn(LENGTH, BATCH, 4, dtype=torch.float64), torch.randn(LENGTH, BATCH, 2, dtype=torch.float64)


def losses(output: Tensor, targets: Tensor) -> Tensor:
    return (output - targets).square().mean((1, 2))


def gradients(model: nn.Module, loss: Tensor) -> list[Tensor]:
    found = torch.autograd.grad(loss, list(model.parameters()), allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(model.parameters(), found, strict=True)]


def truncated(model: Model, x: Tensor, y: Tensor, k1: int, k2: int | None, reset: Tensor | None = None) -> list:
    """The gradient of every update, the weights held fixed."""
    bptt, state, result = carousel.TruncatedBPTT(k1, k2), None, []
    for span in bptt.spans(len(x)):
        part = slice(span.begin, span.end)
        given = None if reset is None else reset[part]
        output, state = bptt.run(model, span, x[part], state, reset=given)
        result.append(gradients(model, losses(output, y[span.score : span.end]).sum()))
    return result


def brute_force(model: Model, x: Tensor, y: Tensor, k1: int, k2: int) -> list:
    """Each update's gradient from its definition: step by step, with the state before step e - k2 made a constant."""
    result = []
    for end in range(k1, len(x) + 1, k1):
        state, total = None, torch.zeros((), dtype=x.dtype)
        for t in range(end):
            if t == max(0, end - k2) and state is not None:
                state = tuple(s.detach() for s in state)
            output, state = model(x[t : t + 1], state)
            if t >= end - k1:
                total = total + losses(output, y[t : t + 1]).sum()
        result.append(gradients(model, total))
    return result


def assert_equal(found: list, expected: list) -> None:
    assert len(found) == len(expected)
    for ours, theirs in zip(found, expected, strict=True):
        for a, b in zip(ours, theirs, strict=True):
            # both sum at most a few hundred float64 terms of order one, in another order
            torch.testing.assert_close(a, b, rtol=0, atol=1e-12)


@pytest.mark.parametrize(("k1", "k2"), [(1, 1), (4, 4), (4, 8), (4, 6), (3, 7), (1, 24), (5, 13), (24, 24)])
def test_equals_brute_force(model: Model, data: tuple[Tensor, Tensor], k1: int, k2: int) -> None:
    assert_equal(truncated(model, *data, k1, k2), brute_force(model, *data, k1, k2))


@pytest.mark.parametrize("k1", [1, 6, 24])
@pytest.mark.parametrize("k2", [24, 100])
def test_long_enough_k2_is_full_backpropagation(model: Model, data: tuple[Tensor, Tensor], k1: int, k2: int) -> None:
    x, y = data
    output, _ = model(x)
    full = gradients(model, losses(output, y).sum())
    summed = [sum(parts) for parts in zip(*truncated(model, x, y, k1, k2), strict=True)]
    assert_equal([summed], [full])


def test_shorter_k2_differs_from_full_backpropagation(model: Model, data: tuple[Tensor, Tensor]) -> None:
    x, y = data
    full = gradients(model, losses(model(x)[0], y).sum())
    cut = [sum(parts) for parts in zip(*truncated(model, x, y, 4, 4), strict=True)]
    assert max((a - b).abs().max().item() for a, b in zip(full, cut, strict=True)) > 1e-4


@pytest.mark.parametrize(("k1", "k2"), [(4, None), (4, 12), (3, 5)])
def test_carried_state_equals_one_long_pass(model: Model, data: tuple[Tensor, Tensor], k1: int, k2: int | None) -> None:
    x, _ = data
    bptt, state, outputs = carousel.TruncatedBPTT(k1, k2), None, []
    for span in bptt.spans(len(x)):
        output, state = bptt.run(model, span, x[span.begin : span.end], state)
        outputs.append(output)
    whole, _ = model(x)
    torch.testing.assert_close(torch.cat(outputs), whole, rtol=0, atol=1e-13)


def test_carried_state_has_no_graph(model: Model, data: tuple[Tensor, Tensor]) -> None:
    bptt = carousel.TruncatedBPTT(4, 8)
    span = bptt.span(0)
    _, state = bptt.run(model, span, data[0][: span.end], None)
    assert state is None  # the window of the second update still begins at the stream's start
    _, state = bptt.run(model, bptt.span(1), data[0][:8], state)
    assert state
    assert all(not s.requires_grad for s in state)


def test_resets_inside_the_windows(model: Model, data: tuple[Tensor, Tensor]) -> None:
    """With a reset at every document's first step, nothing of the document before has an influence."""
    x, y = data
    reset = torch.zeros(LENGTH, BATCH, dtype=torch.bool)
    reset[0], reset[7, 1], reset[15] = True, True, True
    found = truncated(model, x, y, 4, 12, reset)
    changed = x.clone()
    changed[:15] += 1.0
    again = truncated(model, changed, y, 4, 12, reset)
    assert_equal(again[4:], found[4:])  # updates that begin at step 16
    assert max((a - b).abs().max().item() for a, b in zip(again[2], found[2], strict=True)) > 1e-6


def test_every_step_is_scored_once() -> None:
    for k1, k2 in [(1, 1), (3, 7), (4, 4), (5, 100)]:
        spans = carousel.TruncatedBPTT(k1, k2).spans(23)
        scored = [t for span in spans for t in range(span.score, span.end)]
        assert scored == list(range(len(spans) * k1))
        assert all(span.end - span.begin <= max(k2, k1) for span in spans)
        assert [s.keep for s in spans[:-1]] == [s.begin for s in spans[1:]]


@pytest.mark.parametrize(("k1", "k2"), [(0, None), (4, 3), (-1, 5)])
def test_refuses_impossible_lengths(k1: int, k2: int | None) -> None:
    with pytest.raises(UsageError, match="1 <= k1 <= k2"):
        carousel.TruncatedBPTT(k1, k2)
