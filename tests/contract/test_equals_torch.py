"""`carousel.nn.LSTM`, `GRU` and `RNN` against `torch.nn`'s: outputs, states, all gradients, through both backends."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence, pack_padded_sequence, pad_packed_sequence

import carousel

from .cases import fill, normal
from .helpers import SUMMED, assert_near, gradients, tensors, weighted_sum

KINDS: dict[str, tuple[type, type, dict[str, Any]]] = {
    "lstm": (nn.LSTM, carousel.nn.LSTM, {}),
    "lstm-proj": (nn.LSTM, carousel.nn.LSTM, {"proj_size": 2}),
    "gru": (nn.GRU, carousel.nn.GRU, {}),
    "rnn-tanh": (nn.RNN, carousel.nn.RNN, {}),
    "rnn-relu": (nn.RNN, carousel.nn.RNN, {"nonlinearity": "relu"}),
}
BACKENDS = ["torch", "reference"]
INPUTS, HIDDEN = 3, 5

kinds = pytest.mark.parametrize("kind", KINDS)
backends = pytest.mark.parametrize("backend", BACKENDS)


def pair(kind: str, backend: str, *args: Any, dtype: torch.dtype = torch.float64, **keywords: Any):
    """PyTorch's layer with random weights, and ours with the same."""
    theirs_class, ours_class, options = KINDS[kind]
    theirs = theirs_class(INPUTS, HIDDEN, *args, **keywords, **options)
    ours = ours_class(INPUTS, HIDDEN, *args, backend=backend, **keywords, **options)
    fill(theirs)
    assert str(ours.load_state_dict(theirs.state_dict())) == "<All keys matched successfully>"
    return theirs.to(dtype), ours.to(dtype)


def state_for(layer: nn.RNNBase, *batch: int, dtype: torch.dtype = torch.float64) -> Any:
    """A random initial state in PyTorch's layout; `batch` is empty for a single sequence."""
    rows = layer.num_layers * (2 if layer.bidirectional else 1)
    h = normal(rows, *batch, layer.proj_size or HIDDEN, seed=11, dtype=dtype).requires_grad_()
    if not isinstance(layer, nn.LSTM):
        return h
    return h, normal(rows, *batch, HIDDEN, seed=12, dtype=dtype).requires_grad_()


def assert_same(theirs: nn.Module, ours: nn.Module, x: Any, state: Any, tolerance: float = SUMMED) -> None:
    """Outputs, final states, and the gradients of a random functional of them."""
    results = []
    for layer in (theirs, ours):
        data = x.data if isinstance(x, PackedSequence) else x
        output, final = layer(x) if state is None else layer(x, state)
        flat = output.data if isinstance(output, PackedSequence) else output
        loss = weighted_sum([flat, final])
        others = [data] if state is None else [data, state]
        results.append((output, final, gradients(loss, layer, *others)))
    (their_output, their_final, their_grads), (our_output, our_final, our_grads) = results
    if isinstance(x, PackedSequence):
        for ours_field, theirs_field in zip(our_output[1:], their_output[1:], strict=True):
            assert (ours_field is None) == (theirs_field is None)
            assert ours_field is None or torch.equal(ours_field, theirs_field)
        their_output, our_output = their_output.data, our_output.data
    assert type(our_final) is type(their_final)
    assert_near(our_output, their_output, tolerance, "output")
    assert_near(our_final, their_final, tolerance, "state")
    assert_near(our_grads, their_grads, tolerance, "gradient")


@backends
@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no-bias"])
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("layers", [1, 2, 3])
@kinds
def test_layers_directions_bias(kind: str, layers: int, bidirectional: bool, bias: bool, backend: str) -> None:
    theirs, ours = pair(kind, backend, layers, bias=bias, bidirectional=bidirectional)
    x = normal(6, 4, INPUTS, seed=1).requires_grad_()
    assert_same(theirs, ours, x, None)
    assert_same(theirs, ours, x, state_for(theirs, 4))


@backends
@kinds
def test_batch_first(kind: str, backend: str) -> None:
    theirs, ours = pair(kind, backend, 2, batch_first=True, bidirectional=True)
    assert_same(theirs, ours, normal(4, 6, INPUTS, seed=1).requires_grad_(), state_for(theirs, 4))


@backends
@pytest.mark.parametrize("batch_first", [False, True])
@kinds
def test_a_single_sequence_without_batch(kind: str, batch_first: bool, backend: str) -> None:
    theirs, ours = pair(kind, backend, 2, batch_first=batch_first, bidirectional=True)
    x = normal(6, INPUTS, seed=1).requires_grad_()
    assert_same(theirs, ours, x, None)
    assert_same(theirs, ours, x, state_for(theirs))


@backends
@pytest.mark.parametrize("lengths", [[5, 3, 3, 1], [2, 5, 2, 4], [4, 4, 4, 4], [1, 1, 1, 1]], ids=str)
@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@kinds
def test_packed(kind: str, bidirectional: bool, lengths: list[int], backend: str) -> None:
    theirs, ours = pair(kind, backend, 2, bidirectional=bidirectional)
    padded = normal(5, 4, INPUTS, seed=1).requires_grad_()
    for is_sorted in {False, lengths == sorted(lengths, reverse=True)}:
        packed = pack_padded_sequence(padded, torch.tensor(lengths), enforce_sorted=is_sorted)
        assert_same(theirs, ours, packed, None)
        assert_same(theirs, ours, packed, state_for(theirs, 4))


@backends
@kinds
def test_lengths_do_what_packing_does(kind: str, backend: str) -> None:
    theirs, ours = pair(kind, backend, 2, bidirectional=True)
    x, lengths, state = normal(6, 4, INPUTS, seed=1), torch.tensor([2, 5, 2, 4]), state_for(theirs, 4)
    packed, their_final = theirs(pack_padded_sequence(x, lengths, enforce_sorted=False), state)
    their_output, _ = pad_packed_sequence(packed, total_length=6)
    for dtype in (torch.int64, torch.int32):
        our_output, our_final = ours(x, state, lengths=lengths.to(dtype))
        assert_near(our_output, their_output, SUMMED, "output")
        assert_near(our_final, their_final, SUMMED, "state")


@backends
@pytest.mark.parametrize("p", [0.4, 1.0])
@kinds
def test_dropout_draws_the_same_masks(kind: str, p: float, backend: str) -> None:
    theirs, ours = pair(kind, backend, 3, dropout=p, bidirectional=True)
    x = normal(6, 4, INPUTS, seed=1)
    torch.manual_seed(3)
    expected, _ = theirs(x)
    torch.manual_seed(3)
    got, _ = ours(x)
    assert_near(got, expected, SUMMED)
    theirs.eval()
    ours.eval()
    assert_near(ours(x)[0], theirs(x)[0], SUMMED)
    assert not torch.equal(ours(x)[0], got)


@backends
@pytest.mark.parametrize(("batch", "hidden", "time"), [(1, 1, 257), (3, 130, 2), (33, 7, 1), (1, 130, 1), (33, 1, 2)])
@pytest.mark.parametrize("kind", ["lstm", "gru", "rnn-tanh"])
def test_float32_at_odd_sizes(kind: str, batch: int, hidden: int, time: int, backend: str) -> None:
    theirs_class, ours_class, _ = KINDS[kind]
    theirs, ours = theirs_class(INPUTS, hidden), ours_class(INPUTS, hidden, backend=backend)
    ours.load_state_dict(theirs.state_dict())
    x = normal(time, batch, INPUTS, seed=1, dtype=torch.float32).requires_grad_()
    # Sums of up to 130 products, and gradients summed over steps and rows, in another order: that many roundings.
    assert_same(theirs, ours, x, None, tolerance=(hidden + time * batch) * 1.2e-7)


@kinds
@pytest.mark.parametrize("keywords", [{}, {"bias": False}, {"bidirectional": True}])
def test_the_same_seed_gives_the_same_starting_weights(kind: str, keywords: dict[str, bool]) -> None:
    theirs_class, ours_class, options = KINDS[kind]
    torch.manual_seed(9)
    theirs = theirs_class(INPUTS, HIDDEN, 2, **keywords, **options)
    after_theirs = torch.rand(1)
    torch.manual_seed(9)
    ours = ours_class(INPUTS, HIDDEN, 2, **keywords, **options)
    after_ours = torch.rand(1)
    assert [name for name, _ in ours.named_parameters()] == [name for name, _ in theirs.named_parameters()]
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    assert torch.equal(after_ours, after_theirs), "the random numbers that follow are others"


@kinds
def test_state_dict_both_ways(kind: str) -> None:
    theirs_class, ours_class, options = KINDS[kind]
    make = [
        lambda: theirs_class(INPUTS, HIDDEN, 2, bidirectional=True, **options),
        lambda: ours_class(INPUTS, HIDDEN, 2, bidirectional=True, **options),
    ]
    x = normal(4, 2, INPUTS, seed=1, dtype=torch.float32)
    for source, target in (make, make[::-1]):
        a, b = source(), target()
        assert list(a.state_dict()) == list(b.state_dict())
        b.load_state_dict(a.state_dict())
        assert all(torch.equal(v, b.state_dict()[k]) for k, v in a.state_dict().items())
        assert_near(b(x)[0], a(x)[0], 10 * 1.2e-7)  # a dozen products per sum, in float32


@kinds
def test_assigned_parameters_are_used(kind: str) -> None:
    theirs, ours = pair(kind, "reference", 2)
    double = {name: 0.5 * p for name, p in theirs.state_dict().items()}
    theirs.load_state_dict(double)
    ours.load_state_dict(double, assign=True)
    x = normal(4, 2, INPUTS, seed=1)
    assert_near(ours(x)[0], theirs(x)[0], SUMMED)


def test_attributes_that_code_reads_from_torchs_layers() -> None:
    for theirs_class, ours_class, options in KINDS.values():
        keywords = {"bidirectional": True, "batch_first": True, "dropout": 0.25, "bias": False, **options}
        theirs, ours = theirs_class(3, 5, 2, **keywords), ours_class(3, 5, 2, **keywords)
        for name in ("input_size", "hidden_size", "num_layers", "bias", "batch_first", "dropout", "bidirectional"):
            assert getattr(ours, name) == getattr(theirs, name), name
        assert getattr(ours, "proj_size", 0) == theirs.proj_size
        assert [[tuple(w.shape) for w in ws] for ws in ours.all_weights] == [
            [tuple(w.shape) for w in ws] for ws in theirs.all_weights
        ]
        assert ours.flatten_parameters() is None


def test_every_argument_of_torch_in_the_same_place() -> None:
    x = normal(2, 4, 3, seed=1)
    positional, rest = (3, 5, 2, True, True, 0.0, True), {"device": "cpu", "dtype": torch.float64}
    for theirs, ours in [
        (nn.LSTM(*positional, 2, **rest), carousel.nn.LSTM(*positional, 2, **rest)),
        (nn.GRU(*positional, **rest), carousel.nn.GRU(*positional, **rest)),
        (nn.RNN(3, 5, 2, "relu", *positional[3:], **rest), carousel.nn.RNN(3, 5, 2, "relu", *positional[3:], **rest)),
    ]:
        ours.load_state_dict(theirs.state_dict())
        assert_near(ours(x)[0], theirs(x)[0], SUMMED)
        hx = state_for(theirs, 2)
        assert_near(tensors(ours(x, hx=hx)), tensors(theirs(x, hx=hx)), SUMMED)


def test_the_mode_reaches_the_cells() -> None:
    layer = carousel.nn.LSTM(3, 5, 2)
    assert all(cell.training for cell in layer._bound_cells())
    layer.eval()
    assert not any(cell.training for cell in layer._bound_cells())


def test_parametrized_weights() -> None:
    theirs, ours = pair("lstm", "reference")
    for layer in (theirs, ours):
        nn.utils.parametrizations.weight_norm(layer, "weight_hh_l0")
    x = normal(4, 2, INPUTS, seed=1)
    assert_near(ours(x)[0], theirs(x)[0], SUMMED)
    loss_theirs, loss_ours = weighted_sum(theirs(x)), weighted_sum(ours(x))
    assert_near(gradients(loss_ours, ours), gradients(loss_theirs, theirs), SUMMED)


def test_recurrent_runs_torchs_cells_too() -> None:
    cell, layer = nn.LSTMCell(3, 5).double(), carousel.nn.LSTM(3, 5).double()
    layer.load_state_dict({name + "_l0": p for name, p in cell.state_dict().items()})
    x = normal(6, 2, 3, seed=1)
    state: tuple[Tensor, Tensor] = (normal(2, 5, seed=2), normal(2, 5, seed=3))
    output, (h, c) = layer(x, tuple(s[None] for s in state))
    for t, x_t in enumerate(x):
        state = cell(x_t, state)
        assert_near(output[t], state[0], SUMMED)
    assert_near([h[0], c[0]], list(state), SUMMED)
