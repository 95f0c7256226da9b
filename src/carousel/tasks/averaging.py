r"""Answers of several networks, or of one under many dropout masks, averaged; and how far they differ.

.. math::
    \bar p = \frac{1}{M} \sum_m p_m, \qquad
    H(\bar p) = -\sum_c \bar p_c \ln \bar p_c, \qquad
    I = H(\bar p) - \frac{1}{M} \sum_m H(p_m)

H is all that is uncertain about an answer, in nats. I, the mutual information of answer and network, is that part of it
which the networks disagree on, and which more data would settle; the rest is in the data (Houlsby et al., "Bayesian
active learning for classification and preference learning", 2011; Gal & Ghahramani, "Dropout as a Bayesian
approximation", ICML 2016; Lakshminarayanan et al., "Simple and scalable predictive uncertainty estimation using deep
ensembles", NeurIPS 2017). Of numbers the mean and the standard deviation over the networks, which says nothing of the
noise in the data.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..errors import UsageError
from ..nn.monte_carlo import dropout_on, has_dropout
from .classify import class_probabilities
from .scores import listed

__all__ = ["Averaging", "check_members", "entropy"]


class Averaging:
    """Several trained networks, or one with its dropout left on, used as one.

    Args:
        predictors: as `Run.predictor` gives them.
        names: of the members, for messages.
        samples: dropout masks of each network; None leaves dropout out.
        seed: of the masks.

    Raises:
        UsageError: the members do not answer the same question, or a network has no dropout to sample.
    """

    def __init__(self, predictors: Sequence[Any], names: Sequence[str], *, samples: int | None = None, seed: int = 0):
        check_members(predictors, names)
        if samples is not None:
            _check_samples(predictors, names, samples)
        self.predictors, self.names, self.samples, self.seed = list(predictors), list(names), samples, seed
        self.takes_text, self.notes = all(p.takes_text for p in predictors), []

    def predict(self, given: Any) -> list[dict[str, Any]]:
        """As the members' own, of what each of them takes; or of what `read` gave.

        Returns:
            The members' answers with the mean of their `probabilities` or `value`; beside it `deviation`, the standard
            deviation over the members (of the answer's probability), of classes also `deviations` by class, `entropy`
            and `mutual_information` in nats.
        """
        inputs = given.inputs if isinstance(given, _Read) else [given] * len(self.predictors)
        means, first, self.notes = _Means(self.predictors[0].classes), [], []
        for predictor, name, own in zip(self.predictors, self.names, inputs, strict=True):
            with self._masks(predictor):
                for _ in range(self.samples or 1):
                    answers = predictor.predict(own)
                    if answers and not answers[0].keys() & {"probabilities", "value"}:
                        raise UsageError(
                            f"{name} gives neither probabilities nor a number to average; use it as it is."
                        )
                    first = first or answers
                    means.add(answers)
            self.notes += predictor.notes
        kept = [{k: v for k, v in one.items() if k not in ("label", "probability", "probabilities")} for one in first]
        return [{**one, **answer} for one, answer in zip(kept, means.answers(), strict=True)]

    @contextlib.contextmanager
    def _masks(self, predictor: Any) -> Iterator[None]:
        """Dropout stays on, with this seed, if that was asked for."""
        if self.samples is None:
            yield
            return
        with dropout_on(predictor.network), torch.random.fork_rng(devices=range(torch.cuda.device_count())):
            torch.manual_seed(self.seed)
            yield

    def read(self, path: str, encoding: str, **columns: str | None) -> tuple[_Read, Sequence[Any] | None]:
        """What each member reads from the file, and the truth where the file has it; once for all that read alike."""
        found: list[tuple[Any, Any]] = []
        self.notes = []
        for place, predictor in enumerate(self.predictors):
            alike = next((n for n in range(place) if self.predictors[n].reading == predictor.reading), None)
            found.append(predictor.read(path, encoding, **columns) if alike is None else found[alike])
            self.notes += predictor.notes if alike is None else []
        return _Read([inputs for inputs, _ in found]), found[0][1]

    def line(self, answer: Mapping[str, Any]) -> str:
        """An answer for a person."""
        line = self.predictors[0].line(answer)
        if "value" in answer:
            return f"{line} ± {answer['deviation']:.2g}"
        return (
            f"{line} ± {100 * answer['deviation']:.1f}  entropy {answer['entropy']:.3f}  "
            f"mutual information {answer['mutual_information']:.3f}"
        )

    def rows(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers as rows of a table."""
        more = ("deviation", "entropy", "mutual_information")
        rows = self.predictors[0].rows(answers)
        return [
            {**{name: value for name, value in row.items() if name != "deviations"},
             **{name: answer[name] for name in more if name in answer}}
            for row, answer in zip(rows, answers, strict=True)
        ]  # fmt: skip

    def judged(self, answers: Sequence[Mapping[str, Any]], truth: Sequence[Any]) -> list[str]:
        """How good the mean is."""
        return self.predictors[0].judged(answers, truth)


@dataclass(frozen=True)
class _Read:
    """The same file as each member reads it."""

    inputs: list[Any]


class _Means:
    """Sums over answers that come one list after the other.

    Args:
        classes: in the order of the arrays; None for numbers.
    """

    def __init__(self, classes: Sequence[str] | None):
        self.classes = classes
        self._count, self._mean, self._squares, self._entropies = 0, np.zeros(()), np.zeros(()), np.zeros(())

    def add(self, answers: Sequence[Mapping[str, Any]]) -> None:
        """The answers of one more network to the same questions."""
        if self.classes is None:
            values = np.array([[answer["value"]] for answer in answers], float).reshape(-1, 1)
        else:
            rows = [[answer["probabilities"][name] for name in self.classes] for answer in answers]
            values = np.array(rows, float).reshape(-1, len(self.classes))
            self._entropies = self._entropies + entropy(values)
        self._count += 1
        away = values - self._mean
        self._mean = self._mean + away / self._count
        self._squares = self._squares + away * (values - self._mean)

    def answers(self) -> list[dict[str, Any]]:
        """What they say together."""
        spread = np.sqrt(self._squares / max(1, self._count - 1))
        if self.classes is None:
            pairs = zip(self._mean[:, 0].tolist(), spread[:, 0].tolist(), strict=True)
            return [{"value": value, "deviation": deviation} for value, deviation in pairs]
        total = entropy(self._mean)
        information = np.maximum(total - self._entropies / self._count, 0)
        found = class_probabilities(self.classes, self._mean)
        return [
            {
                **answer,
                "deviation": float(own[best]),
                "deviations": dict(zip(self.classes, own.tolist(), strict=True)),
                "entropy": float(h),
                "mutual_information": float(i),
            }
            for answer, own, best, h, i in zip(
                found, spread, self._mean.argmax(1).tolist(), total, information, strict=True
            )
        ]


def entropy(probabilities: NDArray[np.float64]) -> NDArray[np.float64]:
    """-Σ p ln p over the last dimension, in nats; 0 ln 0 is 0.

    Example:
        >>> entropy(np.array([[0.5, 0.5], [1.0, 0.0]])).round(4)
        array([0.6931, 0.    ])
    """
    logs = np.log(probabilities, out=np.zeros_like(probabilities), where=probabilities > 0)
    return -(probabilities * logs).sum(-1) + 0.0


def check_members(predictors: Sequence[Any], names: Sequence[str]) -> None:
    """Raise a UsageError unless all answer the same question."""
    first, name = predictors[0], names[0]
    for predictor, other in zip(predictors, names, strict=True):
        if not hasattr(predictor, "classes"):
            raise UsageError(f"{other} names the tags of words, of which no mean is taken; predict with it as it is.")
        if type(predictor) is not type(first):
            raise UsageError(f"{name} and {other} were trained on different kinds of data; average runs of one kind.")
        if predictor.target != first.target:
            raise UsageError(
                f"{name} tells {first.target!r} and {other} tells {predictor.target!r}; average runs of one target."
            )
        if (predictor.classes is None) != (first.classes is None):
            raise UsageError(f"Of {name} and {other} one names classes and one tells a number; average runs of a kind.")
        if predictor.classes is not None and set(predictor.classes) != set(first.classes):
            lacks = [c for c in first.classes if c not in predictor.classes]
            more = [c for c in predictor.classes if c not in first.classes]
            said = f"knows {listed(more)}, which {name} does not" if more else f"does not know {listed(lacks)}"
            raise UsageError(f"{other} {said}; average runs that were trained on the same classes.")


def _check_samples(predictors: Sequence[Any], names: Sequence[str], samples: int) -> None:
    if samples < 2:
        raise UsageError(f"--samples is {samples}; a mean over dropout's masks takes at least 2.")
    for predictor, name in zip(predictors, names, strict=True):
        if not has_dropout(predictor.network):
            raise UsageError(f"{name} has no dropout, so that all samples would be alike; leave out --samples.")
