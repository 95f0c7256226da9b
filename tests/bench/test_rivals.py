"""All rivals of one set of weights compute the same numbers; their operations are counted as the literature does."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import torch

import carousel
from carousel.bench import Problem, Rival, Shape, rivals
from carousel.bench.rivals import LSTMWeights
from carousel.bench.verify import check_cell, check_equal, check_rivals
from carousel.errors import CarouselError, CellError

SHAPE = Shape(5, 3, 7)


@pytest.mark.parametrize("options", [{}, {"peephole": True}], ids=str)
def test_eager_loop_equals_the_cell(options: dict[str, bool]) -> None:
    cell = carousel.cells.LSTM(7, 7, **options)
    with torch.no_grad():
        for p in cell.parameters():
            p.uniform_(-0.5, 0.5)
    problem, weights = Problem(SHAPE), LSTMWeights.of(cell)
    assert weights is not None
    ours, loop = rivals.of_cell("ours", cell, problem), rivals.eager_loop(weights, problem)
    check_rivals(ours, loop, gradients=1)
    assert ours.train is not None
    assert loop.train is not None
    by_name = dict(zip(["x", *(name for name, _ in cell.named_parameters())], ours.train(), strict=True))
    expected = [by_name["x"], by_name["weight_ih"].T, by_name["weight_hh"].T, by_name["bias_ih"]]
    expected += [by_name[f"weight_c{gate}"] for gate in "ifo" if options]
    for found, gradient in zip(loop.train(), expected, strict=True):
        torch.testing.assert_close(found, gradient, rtol=1e-4, atol=1e-5)  # float32, sums in another order


def test_only_an_lstm_has_its_weights() -> None:
    assert LSTMWeights.of(carousel.cells.GRU(3, 4)) is None
    assert LSTMWeights.of(carousel.cells.LSTM(3, 4, layer_norm=True)) is None
    assert LSTMWeights.of(carousel.cells.LSTM(3, 4, coupled=True)) is None


@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3), ("RNN", 1)])
def test_operations(kind: str, gates: int) -> None:
    problem = Problem(SHAPE)
    theirs = rivals.torch_layer(kind, problem)
    ours = rivals.of_cell(kind, getattr(carousel.cells, kind)(7, 7), problem)
    assert theirs.operations == ours.operations == 2 * gates * 5 * 3 * 7 * (7 + 7)


def test_every_call_does_the_same_work() -> None:
    problem = Problem(SHAPE)
    rival = rivals.torch_layer("LSTM", problem)
    assert rival.train is not None
    first, second = (tuple(g.clone() for g in rival.train()) for _ in range(2))
    assert len(first) == 5
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert not rival.forward().requires_grad
    assert sorted(rival.passes()) == ["forward", "training"]
    assert list(Rival("a", lambda: None, None).passes()) == ["forward"]


def test_the_same_seed_gives_the_same_problem() -> None:
    one, other = Problem(SHAPE), Problem(SHAPE)
    assert torch.equal(one.x, other.x)
    assert torch.equal(one.gradient(7), other.gradient(7))
    assert not torch.equal(one.gradient(7), one.x)
    assert Problem(SHAPE, features=0).x.shape == (5, 3, 0)


class Odd(carousel.Cell):
    """h + 1 while it learns, else h: not what `Recurrent` promises, so that the check has something to find."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.gain = carousel.weight(hidden_size, init=1.0)

    def step(self, x: torch.Tensor, state: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
        h = self.gain * x / 0.0
        return h, (h,)


def test_cell_that_is_not_finite() -> None:
    with pytest.raises(CellError, match="Odd gives NaN or infinity"):
        check_cell(Odd(7, 7), SHAPE)


def test_difference_is_named() -> None:
    one, other = torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.1])
    names = ["the output", "the gradient of w"]
    check_equal("A and B", names, [one, one], [one, one + 1e-6])
    with pytest.raises(CarouselError, match=r"A and B differ: the gradient of w by 0\.1, .* Nothing was timed"):
        check_equal("A and B", names, [one, one], [one, other])
    with pytest.raises(CarouselError, match="the output"):
        check_equal("A and B", names, [one * float("nan"), one], [one, one])
    with pytest.raises(CarouselError, match="the shape of the output"):
        check_equal("A and B", names, [one[:1]], [one])


def test_rivals_with_other_weights_are_found_out() -> None:
    problem = Problem(SHAPE)
    one, other = (rivals.eager_loop(LSTMWeights.random(7), problem, name) for name in ("one", "other"))
    with pytest.raises(CarouselError, match="one and other differ: the output"):
        check_rivals(one, other)


def test_threads_of_jax(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PJRT_NPROC", "JAX_PLATFORMS", "XLA_FLAGS"):
        monkeypatch.setenv(name, "")  # so that it is put back after the test
    monkeypatch.setenv("XLA_FLAGS", "--mine --xla_cpu_multi_thread_eigen=true")
    rivals.prepare_peers(1)
    assert os.environ["PJRT_NPROC"] == "1"
    assert os.environ["XLA_FLAGS"].split() == ["--mine", "--xla_cpu_multi_thread_eigen=false"]


PEERS = """
import torch
torch.set_num_threads(1)
from carousel.bench import Problem, Shape, rivals
from carousel.bench.verify import check_rivals
rivals.prepare_peers(1)
for peephole in (True, False):
    problem = Problem(Shape(9, 3, 7))
    weights = rivals.LSTMWeights.random(7, peephole=peephole)
    loop = rivals.eager_loop(weights, problem)
    assert len(weights.tensors()) == (6 if peephole else 3)
    if "{peer}" == "jax":
        peer = rivals.jax_scan(weights, problem)
        assert len(peer.train()) == len(loop.train()) == 1 + len(weights.tensors())
    else:
        peer = rivals.onnx_session(weights, problem, 1)
        assert peer.train is None
    check_rivals(peer, loop)
    assert peer.operations == loop.operations
"""


@pytest.mark.peers
@pytest.mark.parametrize("peer", ["jax", "onnxruntime"])
def test_peers_equal_the_eager_loop(peer: str) -> None:
    """In a process of its own: JAX reads its number of threads once, and does not like forks."""
    pytest.importorskip(peer)
    code = PEERS.replace("{peer}", peer)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120)
    assert result.returncode == 0, result.stderr
