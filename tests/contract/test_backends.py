"""PyTorch's kernels agree with the plain loop wherever they are used, and are refused where they can't be."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import carousel
from carousel import Cell
from carousel.cells import GRU, LSTM
from carousel.errors import CellError
from carousel.nn import Recurrent

from .cases import CASES, REGISTERED, SIZES, Case, fill, names, normal
from .helpers import SUMMED, assert_near, gradients, random_state, tensors, weighted_sum


def _has_kernel(case: Case) -> bool:
    return case.layer(2, 4).cells[0].aten() is not None and case.name != "learned-start"


WITH = [case for case in CASES if _has_kernel(case)]
WITHOUT = [case for case in CASES if case.layer(2, 4).cells[0].aten() is None]


def test_who_has_a_kernel() -> None:
    assert {case.name for case in WITH} == {
        "rnn", "rnn-relu", "lstm", "gru", "RNN-bias=False", "GRU-bias=False", "LSTM-bias=False", "LSTM-projection",
    }  # fmt: skip


def _both(case: Case, inputs: int, hidden: int, layers: int, **keywords: Any) -> list[Recurrent]:
    return [case.layer(inputs, hidden, layers, backend=name, **keywords) for name in ("torch", "reference")]


@pytest.mark.parametrize("bidirectional", [False, True], ids=["one-way", "both-ways"])
@pytest.mark.parametrize("what", ["plain", "lengths", "reset", "skip"])
@pytest.mark.parametrize("case", WITH, ids=names(WITH))
def test_values_and_gradients(case: Case, what: str, bidirectional: bool) -> None:
    time, batch = 9, 4
    keywords: dict[str, Any] = {
        "plain": {},
        "skip": {},
        "lengths": {"lengths": torch.tensor([4, 9, 4, 1])},
        "reset": {"reset": torch.rand(time, batch, generator=torch.Generator().manual_seed(5)) < 0.3},
    }[what]
    x = normal(time, batch, 3, seed=1).requires_grad_()
    results = []
    for layer in _both(case, 3, 5, 2, bidirectional=bidirectional, skip=what == "skip"):
        state = random_state(layer, batch, seed=2)
        got = layer(x, state, **keywords)
        results.append([*tensors(got), *gradients(weighted_sum(got), layer, x, state)])
    assert_near(results[0], results[1], SUMMED)


@pytest.mark.parametrize("size", SIZES, ids=lambda s: f"{str(s[0])[6:]}-batch{s[1]}-hidden{s[2]}-time{s[3]}")
@pytest.mark.parametrize("case", WITH, ids=names(WITH))
def test_odd_sizes(case: Case, size: tuple[torch.dtype, int, int, int]) -> None:
    dtype, batch, hidden, time = size
    x = normal(time, batch, 5, seed=1, dtype=dtype).requires_grad_()
    results = []
    for layer in _both(case, 5, hidden, 1, dtype=dtype):
        got = layer(x)
        results.append([*tensors(got), *gradients(weighted_sum(got), layer, x)])
    # Gradients are sums over steps, rows and units in another order: that many roundings at most.
    assert_near(results[0], results[1], (hidden + 5 + time * batch) * torch.finfo(dtype).eps)


def test_a_learned_initial_state_learns_through_the_kernel() -> None:
    case = next(case for case in CASES if case.name == "learned-start")
    x = normal(6, 3, 2, seed=1)
    reset = torch.zeros(6, 3, dtype=torch.bool)
    reset[2, 0] = reset[4, :2] = True
    results = []
    for layer in _both(case, 2, 4, 2):
        got = layer(x, reset=reset)
        results.append([*tensors(got), *gradients(weighted_sum(got), layer)])
    assert_near(results[0], results[1], SUMMED)


@pytest.mark.parametrize("case", WITHOUT, ids=names(WITHOUT))
def test_a_cell_without_kernel_is_refused(case: Case) -> None:
    layer = case.layer(2, 4, backend="torch")
    with pytest.raises(CellError, match=r'backend="torch".*no kernel.*Use backend="auto"'):
        layer(torch.zeros(3, 2, case.features(2), dtype=torch.float64))


@pytest.mark.parametrize("case", REGISTERED, ids=names(REGISTERED))
def test_auto_runs_everything(case: Case) -> None:
    layers = [case.layer(2, 4, 2, backend=name, bidirectional=True) for name in ("auto", "reference")]
    x = normal(5, 3, case.features(2), seed=1).requires_grad_()  # as elsewhere, so that what is compiled there serves
    lengths = torch.tensor([5, 0, 2])
    reset = torch.zeros(5, 3, dtype=torch.bool)
    reset[1, 0] = True
    for keywords in ({}, {"lengths": lengths}, {"reset": reset}, {"lengths": lengths, "reset": reset}):
        a, b = (layer(x, generator=torch.Generator().manual_seed(1), **keywords) for layer in layers)
        assert_near(a, b, SUMMED)


@pytest.mark.parametrize(
    ("keywords", "reason"),
    [
        ({"trajectory": True}, "states of every step"),
        ({"lengths": torch.tensor([3, 0])}, "length 0"),
        (
            {"lengths": torch.tensor([3, 2]), "reset": torch.zeros(3, 2, dtype=torch.bool)},
            "resets together with lengths",
        ),
    ],
)
def test_what_the_kernels_cannot_do_is_refused_by_name_and_done_by_auto(keywords: dict[str, Any], reason: str) -> None:
    x = torch.zeros(3, 2, 2)
    with pytest.raises(CellError, match=reason):
        Recurrent(LSTM, 2, 4, backend="torch")(x, **keywords)
    Recurrent(LSTM, 2, 4)(x, **keywords)


def test_a_subclass_with_its_own_step_does_not_run_on_the_kernel_of_its_parent() -> None:
    class Doubled(LSTM):
        def step(self, x, state):
            h, state = super().step(x, state)
            return 2 * h, state

    class DoubledFurther(Doubled):
        pass

    class Renamed(LSTM):
        pass

    x = normal(4, 2, 3, seed=1)
    for cell, factor in ((Doubled, 2), (DoubledFurther, 2), (Renamed, 1)):
        layer, plain = Recurrent(cell, 3, 5).double(), Recurrent(LSTM, 3, 5, backend="reference").double()
        fill(plain)
        layer.load_state_dict(plain.state_dict())
        assert_near(layer(x)[0], factor * plain(x)[0], SUMMED)
    with pytest.raises(CellError, match=r"Doubled has a step\(\) of its own"):
        Recurrent(Doubled, 3, 5, backend="torch").double()(x)
    assert Recurrent(Renamed, 3, 5, backend="torch").double()(x)[0].shape == (4, 2, 5)


def test_a_subclass_that_adds_begin_does_not_run_on_the_kernel() -> None:
    class Begun(GRU):
        def begin(self, time, batch, generator):
            return {}, {}

        def step(self, x, state, extra):
            return super().step(x, state)

        def aten(self):
            return super().aten()

    with pytest.raises(CellError, match=r"Begun defines begin\(\)"):
        Recurrent(Begun, 2, 3, backend="torch")(torch.zeros(2, 1, 2))
    assert Recurrent(Begun, 2, 3)(torch.zeros(2, 1, 2))[0].shape == (2, 1, 3)


def test_unknown_backend() -> None:
    for make in (lambda: Recurrent(LSTM, 2, 3, backend="gpuu"), lambda: carousel.nn.LSTM(2, 3, backend="gpuu")):
        with pytest.raises(CellError, match="no backend 'gpuu'; the backends are auto, reference, torch"):
            make()
    layer = Recurrent(LSTM, 2, 3)
    layer.backend = "fast"
    with pytest.raises(CellError, match="no backend 'fast'"):
        layer(torch.zeros(2, 1, 2))


def test_kernels_in_train_and_eval_mode_and_without_gradient() -> None:
    layer = Recurrent(LSTM, 2, 3, backend="torch")
    x = normal(4, 2, 2, seed=1, dtype=torch.float32)
    expected, _ = layer(x)
    layer.eval()
    output, _ = layer(x)
    assert torch.equal(output, expected)
    output.sum().backward()  # PyTorch's own layer can, in eval mode too
    assert all(p.grad is not None for p in layer.parameters())
    with torch.no_grad():
        assert_near(layer(x)[0], expected, 4 * 1.2e-7)  # oneDNN takes other code when no gradient is asked: float32


def test_cells_are_cells() -> None:
    assert all(issubclass(case.cell_class, Cell) for case in CASES)
