"""Schedules are functions of the step; update rules are the textbook's."""

from __future__ import annotations

import math

import pytest
import torch

from carousel.errors import UsageError
from carousel.settings import Settings
from carousel.training.optim import Momentum, Schedule, add_l1, optimizer


def schedule(**options: object) -> Schedule:
    return Schedule(Settings.of(**{"steps": 100, "learning_rate": 0.5, "warmup": 0, **options}).training)


def test_linear_falls_to_zero() -> None:
    s = schedule(schedule="linear")
    assert s.rate(0) == 0.5
    assert s.rate(50) == pytest.approx(0.25)
    assert s.rate(99) == pytest.approx(0.005)


def test_cosine_is_half_a_cosine() -> None:
    s = schedule(schedule="cosine")
    assert [s.rate(t) for t in (0, 25, 50)] == pytest.approx([0.5, 0.25 * (1 + math.cos(math.pi / 4)), 0.25])


def test_warmup_rises_linearly_then_hands_over() -> None:
    s = schedule(schedule="constant", warmup=10)
    assert [s.rate(t) for t in (0, 4, 9, 10, 99)] == pytest.approx([0.05, 0.25, 0.5, 0.5, 0.5])


@pytest.mark.parametrize(("steps", "rising"), [(100, 10), (5000, 100), (9, 0)])
def test_warmup_if_not_given(steps: int, rising: int) -> None:
    s = schedule(schedule="constant", warmup=None, steps=steps)
    assert [s.rate(t) < 0.5 for t in range(steps)].count(True) == max(0, rising - 1)


def test_plateau_halves_after_two_evaluations_without_progress() -> None:
    s = schedule(schedule="plateau")
    rates = []
    for loss in (2.0, 1.5, 1.6, 1.5, 1.4, 1.45, 1.45, 1.45, 1.45):
        s.evaluated(loss)
        rates.append(s.rate(10))
    assert rates == [0.5, 0.5, 0.5, 0.25, 0.25, 0.25, 0.125, 0.125, 0.0625]


def test_schedule_continues_from_its_state() -> None:
    s = schedule(schedule="plateau")
    for loss in (1.0, 1.1, 1.2, 1.3):
        s.evaluated(loss)
    again = schedule(schedule="plateau")
    again.load_state_dict(s.state_dict())
    for one in (s, again):
        one.evaluated(1.4)
    assert again.rate(0) == s.rate(0) == 0.125


@pytest.mark.parametrize("kind", ["sgd", "adagrad", "adamw", "rmsprop", "momentum", "nesterov"])
def test_update_rules_against_their_equations(kind: str) -> None:
    momentum = 0.9 if kind in ("sgd", "momentum", "nesterov") else None
    settings = Settings.of(optimizer=kind, learning_rate=0.1, momentum=momentum, weight_decay=0.01, steps=1).training
    w = torch.nn.Parameter(torch.tensor([1.0, -2.0], dtype=torch.float64))
    rule = optimizer([w], settings)
    expected, memory, second = w.detach().clone(), torch.zeros(2).double(), torch.zeros(2).double()
    for t, g in enumerate(([0.3, -0.1], [0.2, 0.4], [-0.5, 0.1]), start=1):
        gradient = torch.tensor(g, dtype=torch.float64)
        w.grad = gradient.clone()
        rule.step()
        if kind == "sgd":
            gradient = gradient + 0.01 * expected
            memory = gradient if t == 1 else 0.9 * memory + gradient
            expected = expected - 0.1 * memory
        elif kind == "nesterov":
            gradient = gradient + 0.01 * expected
            memory = gradient if t == 1 else 0.9 * memory + gradient
            expected = expected - 0.1 * (gradient + 0.9 * memory)
        elif kind == "momentum":
            memory = 0.9 * memory - 0.01 * 0.1 * expected - 0.1 * gradient
            expected = expected + memory
        elif kind == "rmsprop":
            gradient = gradient + 0.01 * expected
            second = 0.9 * second + 0.1 * gradient**2
            expected = expected - 0.1 * gradient / (second.sqrt() + 1e-8)
        elif kind == "adagrad":
            second = second + gradient**2
            expected = expected - 0.1 * gradient / (second.sqrt() + 1e-10)
        else:
            expected = expected * (1 - 0.1 * 0.01)
            memory, second = 0.9 * memory + 0.1 * gradient, 0.99 * second + 0.01 * gradient**2
            corrected = memory / (1 - 0.9**t), second / (1 - 0.99**t)
            expected = expected - 0.1 * corrected[0] / (corrected[1].sqrt() + 1e-8)
        torch.testing.assert_close(w.detach(), expected, rtol=1e-12, atol=0)


def test_frozen_parameters_are_left_out() -> None:
    frozen = torch.nn.Parameter(torch.zeros(1), requires_grad=False)
    rule = optimizer([frozen, torch.nn.Parameter(torch.zeros(1))], Settings.of(steps=1, learning_rate=0.1).training)
    assert sum(len(group["params"]) for group in rule.param_groups) == 1


def test_momentum_keeps_the_rate_of_steps_already_taken() -> None:
    """Without a gradient after the first step, a rate that falls changes nothing; in torch's SGD it does."""
    ends = []
    for rule in (Momentum, torch.optim.SGD):
        w = torch.nn.Parameter(torch.zeros(1))
        one = rule([w], lr=0.1, momentum=0.5, weight_decay=0.0)
        w.grad = torch.ones(1)
        one.step()
        one.param_groups[0]["lr"] = 0.001
        w.grad = torch.zeros(1)
        one.step()
        ends.append(w.item())
    assert ends == pytest.approx([-0.1 - 0.05, -0.1 - 0.0005])


def test_momentum_rises_in_a_line() -> None:
    settings = Settings.of(optimizer="momentum", learning_rate=0.1, momentum=0.5, momentum_end=0.99, steps=50).training
    schedule = Schedule(settings)
    assert [schedule.momentum(step) for step in (0, 49)] == [0.5, 0.99]
    assert schedule.momentum(7) == pytest.approx(0.5 + 0.49 * 7 / 49)
    assert Schedule(Settings.of(learning_rate=0.1, steps=5).training).momentum(3) is None


def test_l1_is_the_derivative_of_the_sum_of_moduli() -> None:
    w = torch.nn.Parameter(torch.tensor([2.0, -3.0, 0.0], dtype=torch.float64))
    w.grad = torch.full((3,), 0.5, dtype=torch.float64)
    add_l1([w, torch.nn.Parameter(torch.ones(2))], 0.1)
    assert w.grad.tolist() == [0.6, 0.4, 0.5]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"optimizer": "adamw", "momentum": 0.9}, "--momentum means nothing for adamw"),
        ({"optimizer": "rmsprop", "momentum_end": 0.9}, "--momentum means nothing for rmsprop"),
        ({"optimizer": "nesterov", "momentum": 0.0}, "needs a --momentum above 0"),
    ],
)
def test_momentum_where_there_is_none(options: dict, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        optimizer([torch.nn.Parameter(torch.zeros(1))], Settings.of(learning_rate=0.1, **options).training)
