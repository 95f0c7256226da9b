"""Means of answers against closed forms, and what does not fit together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from torch import nn

from carousel.errors import UsageError
from carousel.tasks.averaging import Averaging, entropy


class Says:
    """A predictor with fixed answers."""

    takes_text = False
    target: str | None = None
    notes: Sequence[str] = ()

    def __init__(self, classes: Sequence[str] | None, values: Sequence[Any], network: nn.Module | None = None):
        self.classes, self.values, self.network = classes, values, network or nn.Linear(1, 1)

    def predict(self, given: Sequence[str]) -> list[dict[str, Any]]:
        if self.classes is None:
            return [{"name": name, "value": value} for name, value in zip(given, self.values, strict=True)]
        return [
            {"name": name, "label": "?", "probability": 0, "probabilities": dict(zip(self.classes, row, strict=True))}
            for name, row in zip(given, self.values, strict=True)
        ]


class Other(Says):
    """Of another kind of data."""


def mean(*predictors: Says, **options: Any) -> Averaging:
    return Averaging(predictors, [f"run-{n}" for n in range(len(predictors))], **options)


def test_two_networks_that_contradict_and_two_that_agree() -> None:
    both = mean(Says("ab", [[1.0, 0.0], [0.5, 0.5]]), Says("ab", [[0.0, 1.0], [0.5, 0.5]])).predict(["x", "y"])
    contradict, agree = both
    for answer in both:
        assert answer["probabilities"] == {"a": 0.5, "b": 0.5}
        assert answer["entropy"] == pytest.approx(math.log(2))
    assert contradict["mutual_information"] == pytest.approx(math.log(2))
    assert contradict["deviation"] == pytest.approx(math.sqrt(0.5))
    assert (agree["mutual_information"], agree["deviation"]) == (pytest.approx(0), 0)
    assert [answer["name"] for answer in both] == ["x", "y"]


def test_classes_are_matched_by_name_and_the_formulas_hold() -> None:
    rng = np.random.default_rng(0)
    shares = rng.dirichlet(np.ones(3), (4, 7))  # members, examples, classes
    orders = ([0, 1, 2], [2, 0, 1], [1, 0, 2], [2, 1, 0])
    members = [Says([("a", "b", "c")[n] for n in order], shares[m][:, order]) for m, order in enumerate(orders)]
    answers = mean(*members).predict(list("1234567"))
    for row, answer in enumerate(answers):
        middle = shares[:, row].mean(0)
        assert list(answer["probabilities"].values()) == pytest.approx(middle.tolist())
        assert answer["label"] == "abc"[middle.argmax()]
        assert answer["probability"] == pytest.approx(middle.max())
        assert list(answer["deviations"].values()) == pytest.approx(shares[:, row].std(0, ddof=1).tolist())
        assert answer["deviation"] == answer["deviations"][answer["label"]]
        total = -(middle * np.log(middle)).sum()
        own = -(shares[:, row] * np.log(shares[:, row])).sum(1).mean()
        assert answer["entropy"] == pytest.approx(total)
        assert answer["mutual_information"] == pytest.approx(total - own)


def test_numbers_have_mean_and_deviation() -> None:
    (answer,) = mean(*(Says(None, [value]) for value in (1.0, 2.0, 6.0))).predict(["x"])
    assert answer == {"name": "x", "value": 3.0, "deviation": pytest.approx(np.std([1, 2, 6], ddof=1))}


def test_no_examples() -> None:
    assert mean(Says("ab", []), Says("ba", [])).predict([]) == []
    assert mean(Says(None, []), Says(None, [])).predict([]) == []


def test_entropy_of_certain_and_uniform_answers() -> None:
    assert entropy(np.array([[1.0, 0.0, 0.0], [1 / 3] * 3])).tolist() == pytest.approx([0, math.log(3)])


def test_what_does_not_fit_is_said() -> None:
    numbers, named = Says(None, []), Says("ab", [])
    other = Says(None, [])
    other.target = "price"
    for members, said in (
        ((named, Other("ab", [])), "run-0 and run-1 were trained on different kinds of data"),
        ((named, numbers), "one names classes and one tells a number"),
        ((numbers, other), "run-0 tells None and run-1 tells 'price'"),
        ((named, Says("abc", [])), "run-1 knows 'c', which run-0 does not"),
        ((Says("abc", []), named), "run-1 does not know 'c'"),
        ((SimpleNamespace(takes_text=True),), "run-0 names the tags of words"),
    ):
        with pytest.raises(UsageError, match=said):
            mean(*members)  # pyright: ignore[reportArgumentType]
    coder = Says("ab", [])
    coder.predict = lambda given: [{"error": 0.1}]
    with pytest.raises(UsageError, match="run-0 gives neither probabilities nor a number"):
        mean(coder).predict(["x"])
    with pytest.raises(UsageError, match="run-0 has no dropout"):
        mean(named, samples=5)
    with pytest.raises(UsageError, match="--samples is 1"):
        mean(Says("ab", [], nn.Dropout(0.5)), samples=1)
