"""`carousel.nn.LSTM`, `GRU` and `RNN` against `torch.nn`'s on random sizes and options: all values, every gradient.

The systematic comparison, option by option, is in tests/contract/test_equals_torch.py.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence

import carousel

PAIRS = {"lstm": (nn.LSTM, carousel.nn.LSTM), "gru": (nn.GRU, carousel.nn.GRU), "rnn": (nn.RNN, carousel.nn.RNN)}


class Drawn(NamedTuple):
    """A random case."""

    kind: str
    options: dict[str, Any]
    time: int
    batch: int
    single: bool
    """A sequence without batch dimension."""
    lengths: list[int] | None
    """Then the input is packed."""
    given: bool
    """An initial state is given."""
    dtype: torch.dtype
    backend: str
    frozen: bool
    """The weights of the first layer ask for no gradient."""
    seed: int


@st.composite
def cases(draw: st.DrawFn) -> Drawn:
    """All arguments of the layers and of the call."""
    kind = draw(st.sampled_from(sorted(PAIRS)))
    hidden = draw(st.sampled_from([1, 2, 3, 5, 8, 17, 40]))
    options = {
        "input_size": draw(st.sampled_from([1, 2, 3, 7, 16])),
        "hidden_size": hidden,
        "num_layers": draw(st.integers(1, 3)),
        "bias": draw(st.booleans()),
        "batch_first": draw(st.booleans()),
        "bidirectional": draw(st.booleans()),
    }
    if kind == "lstm" and hidden > 1 and draw(st.booleans()):
        options["proj_size"] = draw(st.integers(1, hidden - 1))
    if kind == "rnn":
        options["nonlinearity"] = draw(st.sampled_from(["tanh", "relu"]))
    time, batch = draw(st.integers(1, 12)), draw(st.sampled_from([1, 2, 3, 5, 9, 33]))
    form = draw(st.sampled_from(["plain", "packed", "single"]))
    lengths = None
    if form == "packed":
        lengths = draw(st.lists(st.integers(1, time), min_size=batch, max_size=batch))
    return Drawn(
        kind,
        options,
        time,
        batch,
        form == "single",
        lengths,
        draw(st.booleans()),
        draw(st.sampled_from([torch.float32, torch.float64])),
        draw(st.sampled_from(["auto", "auto", "reference"])),
        draw(st.booleans()),
        draw(st.integers(0, 2**31)),
    )


def _results(layer: nn.Module, x: Tensor, state: tuple[Tensor, ...] | None, lengths: list[int] | None) -> list[Tensor]:
    """Output, states, and the gradients of the parameters, of x and of the initial state."""
    signal: Tensor | PackedSequence = x
    if lengths is not None:
        signal = pack_padded_sequence(x, torch.tensor(lengths), layer.batch_first, enforce_sorted=False)
    given = None if state is None else state if isinstance(layer, nn.LSTM | carousel.nn.LSTM) else state[0]
    output, final = layer(signal, given)
    made = [output.data if isinstance(output, PackedSequence) else output, *([final] if given is None else [])]
    made = [made[0], *(final if isinstance(final, tuple) else (final,))]
    weights = [torch.randn(m.shape, generator=torch.Generator().manual_seed(n)).to(m.dtype) for n, m in enumerate(made)]
    wanted = [p for p in layer.parameters() if p.requires_grad] + [x, *(state or ())]
    return [*made, *torch.autograd.grad(made, wanted, weights)]


def _check(case: Drawn) -> None:
    """Float32 results differ from PyTorch's by no more than PyTorch's own float64 differ from its float32."""
    theirs_class, ours_class = PAIRS[case.kind]
    torch.manual_seed(case.seed)
    theirs = theirs_class(**case.options).to(case.dtype)
    ours = ours_class(**case.options, backend=case.backend).to(case.dtype)
    ours.load_state_dict(theirs.state_dict())
    exact = theirs_class(**case.options).double()
    exact.load_state_dict(theirs.state_dict())
    shape = [case.time] if case.single else [case.time, case.batch]
    shape = shape[::-1] if case.options["batch_first"] else shape
    x = torch.randn(*shape, case.options["input_size"], dtype=case.dtype)
    rows = case.options["num_layers"] * (2 if case.options["bidirectional"] else 1)
    sizes = [case.options.get("proj_size") or case.options["hidden_size"], case.options["hidden_size"]]
    batch = [] if case.single else [case.batch]
    states = tuple(torch.randn(rows, *batch, size, dtype=case.dtype) for size in sizes[: 1 + (case.kind == "lstm")])
    runs = []
    for layer, dtype in ((ours, case.dtype), (theirs, case.dtype), (exact, torch.float64)):
        for name, p in layer.named_parameters():
            p.requires_grad_(not (case.frozen and name.endswith("_l0")))
        leaves = [t.to(dtype, copy=True).requires_grad_() for t in (x, *states)]
        runs.append(_results(layer, leaves[0], tuple(leaves[1:]) if case.given else None, case.lengths))
    eps = torch.finfo(case.dtype).eps
    terms = case.time * case.batch + case.options["hidden_size"]
    for got, other, true in zip(*runs, strict=True):
        assert got.shape == other.shape
        assert got.dtype == other.dtype
        scale = max(1.0, true.abs().max().item())
        usual = (other.double() - true).abs().max().item()  # for float64 zero: the same computation
        # Three layers of two dozen roundings each, and sums of so many terms in another order.
        allowed = 4 * usual + eps * (100 + terms) * scale
        assert (got.double() - true).abs().max().item() <= allowed


@settings(max_examples=100)
@given(case=cases())
def test_random_layers(case: Drawn) -> None:
    _check(case)


@pytest.mark.slow
@settings(max_examples=600)
@given(case=cases())
def test_hundreds_of_random_layers(case: Drawn) -> None:
    _check(case)
