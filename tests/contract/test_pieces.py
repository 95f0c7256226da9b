"""Lengths and resets: a batch of ragged sequences with new beginnings equals every piece run alone."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from carousel.cells import GRU, LSTM, REGISTRY
from carousel.nn import Recurrent

from .cases import CASES, Case, by_name, fill, names, normal
from .helpers import SUMMED, assert_near, gradients, like, random_state, run_alone, start, tensors, weighted_sum

PIECEWISE = [case for case in CASES if not case.draws]  # noise is drawn for the whole sequence at once
REGISTERED = [case for case in PIECEWISE if case.name in REGISTRY]

TIME, BATCH = 10, 4
LENGTHS = [10, 7, 0, 1]
RESET = torch.zeros(TIME, BATCH, dtype=torch.bool)
RESET[0, 0] = RESET[4, 0] = RESET[5, 0] = RESET[6, 0] = True  # at once, and three in a row
RESET[3, 1] = RESET[6, 1] = True  # the second before the last step of the row
RESET[8, 1] = RESET[0, 2] = RESET[5, 2] = RESET[1, 3] = True  # beyond the row's length: must do nothing


def _compare(layer: Recurrent, x: Tensor, state: Any, lengths: list[int] | None, reset: Tensor | None) -> None:
    """Outputs, final states and gradients of one call against those of the pieces."""
    time, batch = x.shape[:2]
    keywords: dict[str, Tensor] = {}
    if lengths is not None:
        keywords["lengths"] = torch.tensor(lengths)
    if reset is not None:
        keywords["reset"] = reset
    got = layer(x, state, **keywords)
    resets = torch.zeros(time, batch, dtype=torch.bool) if reset is None else reset

    def alone(layer: Recurrent, x: Tensor, state: Any) -> Any:
        return run_alone(layer, x, state, lengths or [time] * batch, resets)

    def moved() -> Any:
        """The gradients of the pieces where every number is off by a few ε."""
        noise = 4 * torch.finfo(torch.float64).eps
        other, one, start = copy.deepcopy(layer), like(x, x.dtype, noise), like(state, x.dtype, noise)
        with torch.no_grad():
            for p in other.parameters():
                p.copy_(like(p, p.dtype, noise))
        return gradients(weighted_sum(alone(other, one, start)), other, one, start)

    expected = alone(layer, x, state)
    if lengths is not None:
        for b, length in enumerate(lengths):
            assert not got[0][length:, b].any(), "the output beyond a row's length is not zero"
    assert_near(got, expected, SUMMED, "output and states")
    others = [x, state]
    assert_near(
        gradients(weighted_sum(got), layer, *others),
        gradients(weighted_sum(expected), layer, *others),
        SUMMED,
        "gradient",
        moved,
    )


def _inputs(case: Case, layers: int, **keywords: Any) -> tuple[Recurrent, Tensor, Any]:
    layer = case.layer(2, 3, layers, **keywords)
    x = normal(TIME, BATCH, case.features(2), seed=1).requires_grad_()
    return layer, x, random_state(layer, BATCH, seed=2)


@pytest.mark.parametrize("case", PIECEWISE, ids=names(PIECEWISE))
def test_lengths_and_resets(case: Case) -> None:
    layer, x, state = _inputs(case, 1)
    _compare(layer, x, state, LENGTHS, RESET)


@pytest.mark.parametrize("case", PIECEWISE, ids=names(PIECEWISE))
def test_lengths_and_resets_in_two_layers_and_directions(case: Case) -> None:
    layer, x, state = _inputs(case, 2, bidirectional=True)
    _compare(layer, x, state, LENGTHS, RESET)


@pytest.mark.parametrize("case", REGISTERED, ids=names(REGISTERED))
def test_lengths_only(case: Case) -> None:
    layer, x, state = _inputs(case, 2, bidirectional=True, skip=True)
    _compare(layer, x, state, LENGTHS, None)


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("case", REGISTERED, ids=names(REGISTERED))
def test_resets_only(case: Case, backend: str) -> None:
    layer, x, state = _inputs(case, 2, bidirectional=True, backend=backend)
    _compare(layer, x, state, None, RESET)


@pytest.mark.parametrize("case", PIECEWISE, ids=names(PIECEWISE))
def test_a_reset_at_the_first_step_forgets_the_given_state(case: Case) -> None:
    layer, x, state = _inputs(case, 1)
    reset = torch.zeros(TIME, BATCH, dtype=torch.bool)
    reset[0] = True
    got, expected = layer(x, state, reset=reset), layer(x, start(layer, BATCH))
    assert all(torch.equal(g, e) for g, e in zip(tensors(got), tensors(expected), strict=True))
    for gradient in gradients(weighted_sum(got), torch.nn.Module(), state):
        assert not gradient.any()


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("case", PIECEWISE, ids=names(PIECEWISE))
def test_length_zero_returns_the_given_state(case: Case, backend: str) -> None:
    layer, x, state = _inputs(case, 1, backend=backend)
    reset = torch.zeros(TIME, BATCH, dtype=torch.bool)
    output, final = layer(x, state, lengths=torch.zeros(BATCH, dtype=torch.int64), reset=reset)
    assert not output.any()
    assert all(torch.equal(f, s) for f, s in zip(final, state, strict=True))


@pytest.mark.parametrize("backend", ["reference", "auto"])
@pytest.mark.parametrize("name", ["lstm", "gru", "rnn-relu", "cec", "lstm-layernorm", "multi-tap"])
def test_what_stands_in_the_padding_does_not_matter(name: str, backend: str) -> None:
    layer, x, state = _inputs(by_name(name), 2, bidirectional=True, backend=backend)
    lengths = torch.tensor([10, 7, 3, 1])
    beyond = torch.arange(TIME)[:, None, None] >= lengths[:, None]
    results = []
    for filling in (0.0, float("nan"), float("inf")):
        padded = x.detach().masked_fill(beyond, filling).requires_grad_()
        got = layer(padded, state, lengths=lengths)
        results.append([*tensors(got), *gradients(weighted_sum(got), layer, padded, state)])
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@pytest.mark.parametrize("backend", ["reference", "auto"])
def test_batch_first_and_a_single_sequence(backend: str) -> None:
    layer = Recurrent(GRU, 2, 3, bidirectional=True, backend=backend).double()
    turned = Recurrent(GRU, 2, 3, bidirectional=True, backend=backend, batch_first=True).double()
    fill(layer)
    turned.load_state_dict(layer.state_dict())
    x = normal(TIME, BATCH, 2, seed=1)
    output, (h,) = layer(x, reset=RESET)
    their_output, (their_h,) = turned(x.transpose(0, 1), reset=RESET.T)
    assert_near([output, h], [their_output.transpose(0, 1), their_h], SUMMED)
    lengths = torch.tensor([10, 7, 2, 1])
    assert_near(layer(x, lengths=lengths)[0], turned(x.transpose(0, 1), lengths=lengths)[0].transpose(0, 1), SUMMED)
    for one in (layer, turned):
        alone, (last,) = one(x[:, 1], reset=RESET[:, 1])
        assert_near([alone, last], [output[:, 1], h[:, 1]], SUMMED)
        alone, (last,) = one(x[:, 1], lengths=torch.tensor([7]))
        output_7, (h_7,) = layer(x[:7, 1:2])
        assert_near([alone[:7], last], [output_7[:, 0], h_7[:, 0]], SUMMED)


@given(data=st.data())
def test_any_pattern(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["multi-tap", "delay-on-one-of-two", "learned-start", "lstm", "two-states"]))
    time, batch = data.draw(st.integers(1, 11)), data.draw(st.integers(1, 3))
    lengths = data.draw(st.lists(st.integers(0, time), min_size=batch, max_size=batch))
    rows = st.lists(st.booleans(), min_size=batch, max_size=batch)
    reset = torch.tensor(data.draw(st.lists(rows, min_size=time, max_size=time)))
    layer = by_name(name).layer(2, 2, bidirectional=True)
    x = normal(time, batch, 2, seed=1).requires_grad_()
    _compare(layer, x, random_state(layer, batch, seed=2), lengths, reset)


def test_a_learned_start_gets_its_gradient_from_every_reset() -> None:
    layer = by_name("learned-start").layer(2, 3)
    (cell,) = layer.cells
    x = normal(TIME, 1, 2, seed=1)
    reset = torch.zeros(TIME, 1, dtype=torch.bool)
    reset[[0, 3, 7]] = True
    output, _ = layer(x, random_state(layer, 1, seed=2), reset=reset)
    total = torch.autograd.grad(weighted_sum(output[:, 0]), cell.h0)[0]
    weights = normal(TIME, 3, seed=77)
    parts = []
    for begin, end in ((0, 3), (3, 7), (7, TIME)):
        alone, _ = layer(x[begin:end])
        parts.append(torch.autograd.grad((alone[:, 0] * weights[begin:end]).sum(), cell.h0)[0])
        assert parts[-1].any()
    assert_near(total, torch.stack(parts).sum(0), SUMMED)


@pytest.mark.parametrize("cell", [LSTM, GRU])
def test_a_reset_stops_the_gradient_in_both_directions(cell: type) -> None:
    layer = Recurrent(cell, 2, 3, bidirectional=True, backend="reference").double()
    x = normal(8, 1, 2, seed=1).requires_grad_()
    reset = torch.zeros(8, 1, dtype=torch.bool)
    reset[4] = True
    output, _ = layer(x, reset=reset)
    for part, other in ((slice(0, 4), slice(4, 8)), (slice(4, 8), slice(0, 4))):
        (g,) = torch.autograd.grad(output[part].sum(), x, retain_graph=True)
        assert g[part].all()
        assert not g[other].any()
