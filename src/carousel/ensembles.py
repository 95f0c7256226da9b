r"""Several runs used as one: the mean of their answers, and whether that is better than each alone.

.. math:: \bar p(c \mid x) = \frac{1}{M} \sum_m p_m(c \mid x)

The loss of the mean is at most the mean of the losses (Jensen's inequality, -ln being convex; the same holds for the
squared error of a mean). Of accuracy no such thing is sure, so it is measured. Sources: Hansen & Salamon, "Neural
network ensembles", IEEE PAMI 12, 1990; Krogh & Vedelsby, "Neural network ensembles, cross validation, and active
learning", NIPS 1994. The intervals are those of the paired bootstrap: Efron & Tibshirani, "An introduction to the
bootstrap", 1993, chapter 13.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .errors import UsageError
from .runs import RunFolder
from .tasks.averaging import Averaging, check_members
from .tasks.classify import Classify
from .tasks.forecast import SERIES
from .tasks.forecasting import Forecast, averaged
from .tasks.regress import Regress, errors
from .trained import Run, load

__all__ = ["Ensemble", "Gain", "Scores", "ensemble", "members_of"]

SPLITS = ("dev", "test")
DRAWS = 2000
"""Of the bootstrap."""
LEVEL = 0.95

Values = NDArray[np.float64]


def ensemble(runs: str | Path | Sequence[str | Path | Run]) -> Ensemble:
    """Runs whose answers are averaged.

    Args:
        runs: two or more runs, or their folders; or the folder that `cross_validate` filled. Their networks may be of
            any make, but must answer the same question: the same classes (in any order), or the same target.

    Raises:
        UsageError: there are fewer than two, or they don't fit together.
        RunFolderError: there is no such run, or it is damaged.

    Example:
        >>> import carousel
        >>> runs = [carousel.train("birds/", seed=s, split_seed=0, test=0.2) for s in range(5)]     # doctest: +SKIP
        >>> both = carousel.ensemble(runs)                                                          # doctest: +SKIP
        >>> both.predict(["new.jpg"])[0]["label"]                                                   # doctest: +SKIP
        >>> print(both.scores()["test"])                                                            # doctest: +SKIP
    """
    given = [runs] if isinstance(runs, str | Path | Run) else list(runs)
    return Ensemble([member for one in given for member in ([one] if isinstance(one, Run) else members_of(one))])


def members_of(path: str | Path, cell: str | None = None) -> list[Run]:
    """The run of this folder, or the runs of all folds if it holds those.

    Args:
        path: the folder.
        cell: the user's own, if the runs have one.

    Raises:
        UsageError: not all folds are there.
    """
    places = [Path(path)]
    if (Path(path) / "folds.json").is_file():
        folds = RunFolder(Path(path)).read_json("folds.json")["folds"]
        places = [Path(path) / f"fold-{number}" for number in range(1, folds + 1)]
        missing = next((place for place in places if not (place / "model.safetensors").exists()), None)
        if missing is not None:
            raise UsageError(f"{missing} is not trained yet; the same `carousel train --folds` goes on where it was.")
    return [load(place, cell=cell) for place in places]


def predictor_of(
    paths: Sequence[str | Path], *, cell: str | None = None, samples: int | None = None, seed: int = 0
) -> Any:
    """What reads files and predicts: a run as it is, or the mean of several, or of one over dropout's masks."""
    runs = [run for path in paths for run in members_of(path, cell)]
    if len(runs) > 1:
        return Ensemble(runs).averaging(samples, seed)
    (run,) = runs
    return run.predictor if samples is None else run.averaging(samples, seed)


def forecaster_of(paths: Sequence[str | Path], cell: str | None = None) -> Run | Ensemble:
    """What has `forecasts`: a run, or several as one."""
    runs = [run for path in paths for run in members_of(path, cell)]
    return runs[0] if len(runs) == 1 else Ensemble(runs)


@dataclass(frozen=True)
class Gain:
    """By how much the ensemble is better; above 0 is better, in the units of the metric.

    Attributes:
        over: what it is compared with.
        value: on all examples.
        low: end of the interval.
        high: the other.
    """

    over: str
    value: float
    low: float
    high: float

    @property
    def sure(self) -> bool:
        """Whether it is more than noise: the interval does not hold 0."""
        return self.low > 0 or self.high < 0


@dataclass(frozen=True)
class Scores:
    """How good the members and their mean are on one part; `str()` is a table.

    Attributes:
        split: "dev" or "test".
        examples: how many.
        members: of each, by its name, the metrics: of classes accuracy, and as loss the cross-entropy of the
            probabilities in nats, whatever they were trained for; of numbers RMSE, mean absolute error and explained
            variance.
        mean: of the members' metrics.
        ensemble: metrics of the averaged answers.
        metric: the one that gains are told of: "accuracy", or "rmse".
        gains: over the mean of the members, and over the best of them.
    """

    split: str
    examples: int
    members: dict[str, dict[str, float]]
    mean: dict[str, float]
    ensemble: dict[str, float]
    metric: str
    gains: tuple[Gain, Gain]

    def __str__(self) -> str:
        rows = [(name, *map(_number, found.values())) for name, found in self.members.items()]
        rows += [("mean of them", *map(_number, self.mean.values()))]
        rows += [("ensemble", *map(_number, self.ensemble.values()))]
        rows.insert(0, (f"{self.split}, {self.examples:,}", *self.mean))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join((row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:]))) for row in rows]
        return "\n".join([*lines, "", *(self._said(gain) for gain in self.gains)])

    def _said(self, gain: Gain) -> str:
        percent = self.metric == "accuracy"
        value, low, high = (f"{100 * v:.2f}" if percent else f"{v:.4g}" for v in (gain.value, gain.low, gain.high))
        unit = " points of accuracy" if percent else " lower RMSE"
        verdict = "more than noise" if gain.sure else "may be noise"
        return f"Gain over {gain.over}: {value}{unit} ({100 * LEVEL:.0f} % interval {low} to {high}): {verdict}."

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        gains = [{**vars(gain), "sure": gain.sure} for gain in self.gains]
        return {**{k: v for k, v in vars(self).items() if k != "gains"}, "gains": gains}


class Ensemble:
    """Runs whose answers are averaged: `.predict()` and `.forecasts()` as of a `Run`, `.scores()`.

    Args:
        runs: two or more that fit together.
    """

    def __init__(self, runs: Sequence[Run]):
        self.runs = list(runs)
        paths = [str(run.path) for run in self.runs]
        if len({run.path.resolve() for run in self.runs}) < len(self.runs):
            raise UsageError(f"Of {', '.join(paths)} two are the same run; each counts once.")
        if len(self.runs) < 2:
            raise UsageError(f"An ensemble takes two runs or more; {', '.join(paths) or 'none'} was given.")
        short = [run.path.name for run in self.runs]
        self.names = short if len(set(short)) == len(short) else paths
        self._forecast = all(run.config["data"].get("kind") == SERIES.name for run in self.runs)
        self._predictors = [] if self._forecast else [run.predictor for run in self.runs]
        if self._predictors:
            check_members(self._predictors, self.names)

    def averaging(self, samples: int | None = None, seed: int = 0) -> Averaging:
        """What reads, predicts and writes answers, as `Run.predictor`."""
        self._asked(forecast=False)
        return Averaging(self._predictors, self.names, samples=samples, seed=seed)

    @property
    def predictor(self) -> Averaging:
        """The same without samples of dropout."""
        return self.averaging()

    def predict(self, given: Any, *, samples: int | None = None, seed: int = 0) -> list[dict[str, Any]]:
        """The members' answers to new data, averaged.

        Args:
            given: as in `Run.predict`.
            samples: dropout masks of each member to average over too; None leaves dropout out.
            seed: of the masks.

        Returns:
            A dict each, as of `Run.predict`; with `deviation` over the members, and of classes `deviations`, `entropy`
            and `mutual_information`.
        """
        return self.averaging(samples, seed).predict(given)

    def forecasts(
        self, horizon: int | None = None, *, data: str | Path | None = None, begin: str | None = None
    ) -> list[Forecast]:
        """The members' forecasts of each series, averaged quantile by quantile; the arguments are those of
        `Run.forecasts`.
        """
        self._asked(forecast=True)
        return averaged([run.forecasts(horizon, data=data, begin=begin) for run in self.runs], self.names)

    def _asked(self, *, forecast: bool) -> None:
        """Raise a UsageError unless the members do that."""
        if forecast != self._forecast:
            does, other = ("forecast", "predict") if self._forecast else ("predict", "forecast")
            raise UsageError(f"{', '.join(self.names)} {does}, and do not {other}; use `carousel {does}`.")

    def scores(
        self, split: str | None = None, *, data: str | Path | Sequence[str | Path] | None = None
    ) -> dict[str, Scores]:
        """How good members and mean are on the dev and test parts of the data that they were trained on.

        A part counts if all members have it and none was trained on any of it. The intervals are about the choice of
        the examples, not of the seeds: those of the paired bootstrap over examples.

        Args:
            split: "dev" or "test"; both if not given, as far as they are there.
            data: where the data are now, if they were moved.

        Raises:
            UsageError: the members were trained on different data, or on each other's parts, or none has such a part.
        """
        if split not in (None, *SPLITS):
            raise UsageError(f"There are scores on dev and test, not on {split!r}.")
        if self._forecast:
            raise UsageError("Runs that forecast are not scored together; `carousel forecast --with` averages them.")
        found = [_Judged.of(run, data) for run in self.runs]
        if not all(isinstance(one.task.problem, Classify | Regress) for one in found):
            raise UsageError(
                f"{', '.join(self.names)} name no classes and tell no number, so there is nothing to score."
            )
        _check_same_data(found, self.names)
        wanted = SPLITS if split is None else (split,)
        scored, reasons = {}, []
        for part in wanted:
            rows, reason = _shared(found, self.names, part)
            if reason is None:
                scored[part] = _scores(part, found, self.names, rows)
            else:
                reasons.append(reason)
        if not scored:
            raise UsageError(" ".join(dict.fromkeys(reasons)))
        return scored

    def __repr__(self) -> str:
        return f"Ensemble of {len(self.runs)}: {', '.join(self.names)}"


# -- scores -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Judged:
    """A run with its data as it was trained on them."""

    run: Run
    digest: str
    task: Any

    @classmethod
    def of(cls, run: Run, data: str | Path | Sequence[str | Path] | None) -> _Judged:
        return cls(run, run.config["corpus"]["digest"], run.task(data))

    @property
    def classes(self) -> Sequence[str] | None:
        return getattr(self.task.problem, "names", None)

    @property
    def truth(self) -> NDArray[Any]:
        """Of all examples, classes by their names."""
        if self.classes is None:
            return self.task.problem.truth
        return np.array(self.classes)[self.task.problem.labels]

    def answers(self, split: str, rows: NDArray[np.int64], classes: Sequence[str] | None) -> Values:
        """(rows, classes) probabilities, or (rows, 1) numbers in their units; the classes in this order."""
        own, outputs, _ = self.task.answers(self.run.model, split)
        place = np.argsort(own)[np.searchsorted(np.sort(own), rows)]
        if classes is None:
            return self.task.problem.told(outputs)[place, None]
        order = [list(self.classes or ()).index(name) for name in classes]
        return torch.softmax(outputs.double(), 1).numpy()[place][:, order]


def _check_same_data(found: Sequence[_Judged], names: Sequence[str]) -> None:
    first = found[0]
    for one, name in zip(found, names, strict=True):
        if one.digest != first.digest or not np.array_equal(one.truth, first.truth):
            raise UsageError(
                f"{names[0]} and {name} were trained on different data, so they share no dev and test part; predict "
                "a file with labels instead: `carousel predict` says how many answers are right."
            )


def _shared(found: Sequence[_Judged], names: Sequence[str], split: str) -> tuple[NDArray[np.int64], str | None]:
    """The examples that are in this part of every member, or why they can't be scored."""
    parts = [one.task.parts[split] for one in found]
    none = np.zeros(0, np.int64)
    lacking = next((name for name, part in zip(names, parts, strict=True) if not len(part)), None)
    if lacking is not None:
        return none, f"{lacking} has no {split} part."
    for one, name in zip(found, names, strict=True):
        for part, other in zip(parts, names, strict=True):
            seen = np.intersect1d(one.task.parts["train"], part)
            if len(seen):
                folds = one.run.config["data"].get("fold") is not None
                advice = "predict new files with it" if folds else "train all with the same --split-seed"
                return none, (
                    f"{name} was trained on {len(seen):,} of the {len(part):,} examples of the {split} part of {other}"
                    f", so their mean can't be judged by it; {advice}."
                )
    rows = parts[0]
    for part in parts[1:]:
        rows = np.intersect1d(rows, part)
    return np.sort(rows), None if len(rows) else f"The members have no example of the {split} part in common."


def _scores(split: str, found: Sequence[_Judged], names: Sequence[str], rows: NDArray[np.int64]) -> Scores:
    classes, truth = found[0].classes, found[0].truth[rows]
    answers = np.stack([one.answers(split, rows, classes) for one in found])  # (members, rows, ·)
    both = np.concatenate([answers, answers.mean(0, keepdims=True)])
    if classes is None:
        metric, measured = "rmse", _of_numbers(both[..., 0], truth.astype(float))
        single = (both[..., 0] - truth.astype(float)) ** 2

        def of_sample(means: Values) -> Values:
            return -np.sqrt(means)
    else:
        number = found[0].task.problem.labels[rows]
        metric, measured = "accuracy", _of_classes(both, number)
        single = (both.argmax(2) == number).astype(float)

        def of_sample(means: Values) -> Values:
            return means

    members = dict(zip(names, measured[:-1], strict=True))
    mean = {name: float(np.mean([one[name] for one in measured[:-1]])) for name in measured[0]}
    gains = _gains(single, names, of_sample)
    return Scores(split, len(rows), members, mean, measured[-1], metric, gains)


def _of_classes(answers: Values, truth: NDArray[np.int64]) -> list[dict[str, float]]:
    """Accuracy, and cross-entropy in nats, of (members, rows, classes)."""
    right = (answers.argmax(2) == truth).mean(1)
    share = np.maximum(answers[:, np.arange(len(truth)), truth], np.finfo(float).tiny)
    losses = -np.log(share).mean(1)
    return [{"accuracy": a, "loss": b} for a, b in zip(right.tolist(), losses.tolist(), strict=True)]


def _of_numbers(answers: Values, truth: Values) -> list[dict[str, float]]:
    """RMSE, mean absolute error and explained variance of (members, rows)."""
    return [errors(one, truth) for one in answers]


def _gains(single: Values, names: Sequence[str], of_sample: Callable[[Values], Values]) -> tuple[Gain, Gain]:
    r"""How much better the last row of `single` is than the mean of the others, and than the best of them.

    The paired bootstrap: examples are drawn with replacement, the same ones for all networks, and what is left between
    the quantiles (1 ± 0.95)/2 of the differences is the interval. Which member is best is chosen once, on all examples,
    which favors it.

    Args:
        single: (members + 1, rows) what each example contributes.
        names: of the members.
        of_sample: from the means (…, members + 1) of the contributions to scores, larger ones better.
    """
    rows = single.shape[1]
    rng = np.random.default_rng(0)
    counts = (np.bincount(rng.integers(rows, size=rows), minlength=rows) for _ in range(DRAWS))
    drawn = of_sample(np.stack([single @ count for count in counts]) / rows)  # (draws, members + 1)
    whole = of_sample(single.mean(1))
    best = int(whole[:-1].argmax())

    def gain(over: str, of: Callable[[Values], Values]) -> Gain:
        low, high = np.quantile(of(drawn), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
        return Gain(over, float(of(whole)), float(low), float(high))

    return (
        gain("the mean of the members", lambda scores: scores[..., -1] - scores[..., :-1].mean(-1)),
        gain(f"the best of them, {names[best]}", lambda scores: scores[..., -1] - scores[..., best]),
    )


def _number(value: float) -> str:
    return f"{value:.4f}"
