"""The hand-written backward pass of min-char-rnn against autograd and against differences, both in float64."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch

carousel_rnn = importlib.import_module("carousel.recipes.min-char-rnn.carousel_rnn")
numpy_rnn = importlib.import_module("carousel.recipes.min-char-rnn.numpy_rnn")


@pytest.fixture(params=[(5, 3, 1), (7, 4, 2), (3, 1, 6), (11, 8, 25)], ids=str)
def case(request: pytest.FixtureRequest):
    vocabulary, hidden, steps = request.param
    random = np.random.default_rng(steps)
    weights = numpy_rnn.starting_weights(vocabulary, hidden)
    network = numpy_rnn.NumpyRNN({name: w + 0.5 * random.standard_normal(w.shape) for name, w in weights.items()})
    network.h = np.tanh(random.standard_normal(hidden))
    return network, random.integers(vocabulary, size=steps), random.integers(vocabulary, size=steps)


def loss_in_torch(weights: dict[str, torch.Tensor], h: torch.Tensor, x, target) -> tuple[torch.Tensor, torch.Tensor]:
    loss = torch.zeros((), dtype=torch.float64)
    for i, t in zip(x, target, strict=True):
        h = torch.tanh(weights["Wx"][:, i] + weights["Wh"] @ h + weights["b"])
        loss = loss - torch.log_softmax(weights["Wy"] @ h + weights["c"], 0)[t]
    return loss, h


def test_gradients_are_those_of_autograd(case) -> None:
    network, x, target = case
    weights = {name: torch.tensor(w, requires_grad=True) for name, w in network.weights.items()}
    expected, last = loss_in_torch(weights, torch.tensor(network.h), x, target)
    expected.backward()
    loss, gradients, h = network.loss_and_gradients(x, target)
    assert loss == pytest.approx(expected.item(), rel=1e-13)
    np.testing.assert_allclose(h, last.detach().numpy(), rtol=1e-13)
    for name, weight in weights.items():
        np.testing.assert_allclose(gradients[name], weight.grad, rtol=1e-11, atol=1e-13, err_msg=name)


def test_gradients_are_the_limits_of_differences(case) -> None:
    network, x, target = case
    _, gradients, _ = network.loss_and_gradients(x, target)
    random, step = np.random.default_rng(0), 1e-5
    for name, weight in network.weights.items():
        direction = random.standard_normal(weight.shape)
        losses = []
        for sign in (1, -1):
            network.weights[name] = weight + sign * step * direction
            losses.append(network.loss_and_gradients(x, target)[0])
        network.weights[name] = weight
        slope = (losses[0] - losses[1]) / (2 * step)
        assert slope == pytest.approx((gradients[name] * direction).sum(), rel=1e-7, abs=1e-8), name


def test_large_scores_do_not_overflow() -> None:
    network = numpy_rnn.NumpyRNN(numpy_rnn.starting_weights(4, 2))
    network.weights["c"] = np.array([2000.0, 0.0, -2000.0, 0.0])
    loss, gradients, _ = network.loss_and_gradients(np.array([0, 1]), np.array([0, 2]))
    assert loss == pytest.approx(4000)
    assert all(np.isfinite(g).all() for g in gradients.values())


def test_an_update_is_adagrad_with_clipped_gradients() -> None:
    ids = np.random.default_rng(1).integers(6, size=3 * numpy_rnn.STEPS + 1)
    network = numpy_rnn.NumpyRNN(numpy_rnn.starting_weights(6, 5))
    squares = {name: np.zeros_like(w) for name, w in network.weights.items()}
    for update in range(3):
        before = {name: w.copy() for name, w in network.weights.items()}
        here = ids[update * numpy_rnn.STEPS :][: numpy_rnn.STEPS + 1]
        _, gradients, _ = network.loss_and_gradients(here[:-1], here[1:])
        network.step(ids, update)
        for name, g in gradients.items():
            g = np.minimum(np.maximum(g, -5), 5)
            squares[name] += g**2
            expected = before[name] - 0.1 * g / np.sqrt(squares[name] + 1e-8)
            np.testing.assert_allclose(network.weights[name], expected, rtol=1e-12, atol=1e-15)


def test_the_state_is_carried_and_begins_anew_with_the_text() -> None:
    ids = np.random.default_rng(2).integers(6, size=2 * numpy_rnn.STEPS + 1)
    network = numpy_rnn.NumpyRNN(numpy_rnn.starting_weights(6, 5))
    first = network.step(ids, 0)
    carried = network.h.copy()
    assert abs(carried).max() > 0
    network.step(ids, 1)
    anew = numpy_rnn.NumpyRNN(network.weights)
    assert network.step(ids, 0) == anew.step(ids, 0) != first


def test_carousel_makes_the_same_updates_past_the_end_of_the_text() -> None:
    ids = np.random.default_rng(3).integers(6, size=3 * numpy_rnn.STEPS + 1)
    weights = numpy_rnn.starting_weights(6, 5)
    ours, theirs = carousel_rnn.CarouselRNN(weights), numpy_rnn.NumpyRNN(weights)
    for update in (0, 1, 2, 0, 1):
        theirs.restore(ours.arrays())
        assert ours.step(ids, update) == pytest.approx(theirs.step(ids, update), rel=1e-13)
        for name, expected in theirs.arrays().items():
            np.testing.assert_allclose(ours.arrays()[name], expected, rtol=1e-9, atol=1e-12, err_msg=name)


def test_carousel_goes_on_from_the_numbers_of_another() -> None:
    ids = np.random.default_rng(4).integers(6, size=3 * numpy_rnn.STEPS + 1)
    first = carousel_rnn.CarouselRNN(numpy_rnn.starting_weights(6, 5))
    first.step(ids, 0)
    second = carousel_rnn.CarouselRNN(numpy_rnn.starting_weights(6, 5, seed=1))
    second.restore(first.arrays())
    assert [first.step(ids, u) for u in (1, 2)] == [second.step(ids, u) for u in (1, 2)]
