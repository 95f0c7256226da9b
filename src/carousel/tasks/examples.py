"""Tasks whose data are independent examples with one answer each: how they are fed, trained on, evaluated and shown.

What an example is (a sequence, an image, a row of a table) is the subclass's; what is asked of it (a class, a number)
is a `Problem`: `Classify` in `classify.py`, `Regress` in `regress.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..data.splits import by_group, by_time, draw, folds, strata
from ..errors import UsageError
from ..nn.heads import fits
from ..settings import Settings, fold_of
from ..training.feeds import ExampleFeed
from ..training.task import Evaluation, Metric
from .repairs import COMMON, Repair

__all__ = ["EVALUATION_BATCH", "SPLITS", "ExampleTask", "Problem", "Rows", "divided"]

SPLITS = ("train", "dev", "test")
EVALUATION_BATCH = 256

Rows = NDArray[np.int64]
"""Numbers of examples."""


def divided(
    said: Sequence[str | None],
    settings: Settings,
    *,
    classes: NDArray[Any],
    equal: Sequence[Any] | None = None,
    groups: Sequence[Any] | None = None,
    times: NDArray[Any] | None = None,
) -> dict[str, Rows]:
    """The examples of each split: as files or a column say, else the last in time, whole groups, or drawn.

    Args:
        said: the split of each example, None where nothing says so: those are for training if others are not.
        settings: with the shares of dev and test.
        classes: (examples,) of every class each part has its share; of numbers, of small and large ones.
        equal: (examples,) what is equal in examples that must not be on both sides.
        groups: (examples,) what lies on one side as a whole.
        times: (examples,) dev and test are the last.
    """
    data, part = settings.data, np.array([split or "train" for split in said])
    classes = strata(classes) if classes.dtype.kind == "f" else classes
    fold = fold_of(data.fold)
    seed = settings.training.seed if data.split_seed is None else data.split_seed
    if fold is not None:
        _hold_out(part, fold, settings, seed, classes, equal, groups, times)
    for split, share in (("test", data.test), ("dev", data.dev)):
        if (part == split).any() or not share:
            continue
        rest = part == "train"
        share = share / (1 - data.test) if split == "dev" and (part == "test").any() else share
        if times is not None:
            held = by_time(times, rest, share)
        elif groups is not None:
            held = by_group(classes, groups, rest, share, seed)
        else:
            held = draw(classes, range(len(part)) if equal is None else equal, rest, share, seed)
        part[held] = split
    return {split: np.flatnonzero(part == split) for split in SPLITS}


def _hold_out(
    part: NDArray[np.str_],
    fold: tuple[int, int],
    settings: Settings,
    seed: int,
    classes: NDArray[Any],
    equal: Sequence[Any] | None,
    groups: Sequence[Any] | None,
    times: NDArray[Any] | None,
) -> None:
    """Make one fold of all that is no test part the test part; what files call test stays out of every part."""
    if times is not None:
        raise UsageError(
            "--time-column puts the last rows aside, and folds are drawn from all; leave out one of the two."
        )
    if settings.data.test:
        raise UsageError("With folds, each fold is the test part once; leave out --test.")
    rows = np.flatnonzero(part != "test")
    some = [None if of is None else [of[row] for row in rows.tolist()] for of in (groups, equal)]
    numbers = folds(classes[rows], fold[1], seed, groups=some[0], equal=some[1])
    part[:] = ""
    part[rows] = np.where(numbers == fold[0] - 1, "test", "train")


class Problem(Protocol):
    """What is asked of every example."""

    outputs: int
    """Numbers that the network gives for an example."""
    criterion: str
    """The loss, by its name in `carousel.nn.losses`."""
    targets: str
    """What is asked for: "classes" or "numbers"."""

    @property
    def loss_in(self) -> str | None:
        """The unit of the loss, where it is not nats."""
        ...

    @property
    def metrics(self) -> Mapping[str, Metric]:
        """How the numbers of an evaluation are written."""
        ...

    def loss(self, outputs: Tensor, rows: Rows) -> Tensor:
        """The mean loss of these examples, (rows, outputs)."""
        ...

    def weights(self, rows: Rows) -> float:
        """What their mean loss divides by."""
        ...

    def evaluation(self, outputs: Tensor, rows: Rows, loss: float) -> Evaluation:
        """How good (rows, outputs) are, on the CPU."""
        ...

    def panels(self, outputs: Tensor, rows: Rows, split: str, example: Callable[[int], Any]) -> list[dict[str, Any]]:
        """What the report shows; `example` gives a cell of a table for an example."""
        ...


class ExampleTask:
    """The task as the training loop sees it, but for `network`, `outputs`, and what is shown of the data.

    Args:
        parts: the examples of each split.
        problem: what is asked of them.
        settings: of the run; `training.batch` may be lowered to fit few examples, see `batch`.
        lengths: (examples,) of sequences: those of similar length share a batch.
    """

    unit: ClassVar[str] = "example"
    repairs: ClassVar[Mapping[str, Repair]] = COMMON
    unasked: ClassVar[Collection[str]] = ()

    def __init__(
        self,
        parts: Mapping[str, Rows],
        problem: Problem,
        settings: Settings,
        lengths: NDArray[np.int64] | None = None,
    ):
        self.parts, self.problem, self.settings, self.lengths = parts, problem, settings, lengths
        assert settings.training.batch is not None
        self.batch = min(settings.training.batch, len(parts["train"]))
        self.remarks: list[str] = []
        self.dtype = torch.float64 if settings.training.precision == "float64" else torch.float32

    def outputs(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """(rows, outputs) of the network for these examples."""
        raise NotImplementedError

    def example(self, row: int) -> Any:
        """An example as a cell of a table."""
        raise NotImplementedError

    def training_loss(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """The mean loss of these training examples."""
        return self.problem.loss(self.outputs(network, rows, device), rows)

    def judge_head(self, network: nn.Module) -> None:
        """Remark on a last layer that the loss does not fit."""
        wrong = fits(network, self.problem.criterion, self.problem.targets)
        self.remarks += [] if wrong is None else [f"Does the network fit its loss? {wrong}"]

    def feed(self, part: int, parts: int) -> ExampleFeed:
        """The training examples."""
        rows = self.parts["train"]
        return ExampleFeed(
            _Chosen(self, rows), self.batch, seed=self.settings.training.seed, unit=self.unit,
            lengths=None if self.lengths is None else self.lengths[rows], part=part, parts=parts,
        )  # fmt: skip

    @torch.no_grad()
    def answers(self, network: nn.Module, split: str) -> tuple[Rows, Tensor, float]:
        """Examples of a split, (examples, outputs) of the network in evaluation mode, and the mean loss."""
        rows = self.parts[split]
        if self.lengths is not None:
            rows = rows[np.argsort(self.lengths[rows], kind="stable")]
        device = next(network.parameters()).device
        network.eval()
        found, total = [], 0.0
        for begin in range(0, len(rows), EVALUATION_BATCH):
            some = rows[begin : begin + EVALUATION_BATCH]
            outputs = self.outputs(network, some, device)
            total += self.problem.loss(outputs, some).item() * self.problem.weights(some)
            found.append(outputs.float().cpu())
        return rows, torch.cat(found), total / self.problem.weights(rows)

    def evaluate(self, network: nn.Module, split: str) -> Evaluation | None:
        """Loss and metrics; None for an empty split."""
        if not len(self.parts[split]):
            return None
        rows, outputs, loss = self.answers(network, split)
        return self.problem.evaluation(outputs, rows, loss)

    def sample(self, network: nn.Module, seed: int) -> None:
        """Nothing while it is trained."""

    def describe(self, network: nn.Module) -> list[dict[str, Any]]:
        """How good the answers are on the test part, or on dev where there is no test part."""
        split = "test" if len(self.parts["test"]) else "dev"
        if not len(self.parts[split]):
            return []
        rows, outputs, _ = self.answers(network, split)
        return self.problem.panels(outputs, rows, split, self.example)


@dataclass(frozen=True)
class _Chosen:
    """Some examples of a task, as a feed reads them."""

    task: ExampleTask
    rows: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def units(self, chosen: Rows) -> int:
        return len(chosen)

    def weights(self, chosen: Rows) -> float:
        return self.task.problem.weights(self.rows[chosen])

    def loss(self, network: Callable[..., Any], chosen: Rows, device: torch.device) -> Tensor:
        return self.task.training_loss(network, self.rows[chosen], device)
