"""What the training loop has to know about a problem, and nothing more."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any, ClassVar, Literal, NamedTuple, Protocol

import torch
from torch import Tensor, nn

__all__ = ["Evaluation", "Feed", "Metric", "Shown", "Task"]


class Evaluation(NamedTuple):
    """What a network does on a split that it is not trained on."""

    loss: float
    """The loss that is trained, its mean over the split."""
    metrics: Mapping[str, float] = MappingProxyType({})
    """Other numbers by name, such as `accuracy`."""
    kept_by: str | None = None
    """The metric by which weights are kept, the higher the better, and of equal ones by the loss; None: by the loss."""

    @property
    def rank(self) -> tuple[float, float]:
        """The weights with the lowest are kept."""
        return (-self.metrics[self.kept_by] if self.kept_by else self.loss), self.loss


@dataclass(frozen=True)
class Metric:
    """How a number of an `Evaluation` is written.

    Args:
        label: its name for a person, such as "Accuracy".
        note: a sentence for those who meet it for the first time.
        percent: a share, written as a percentage.
    """

    label: str
    note: str = ""
    percent: bool = False

    def within(self) -> str:
        """The label inside a sentence."""
        return self.label if self.label[1:2].isupper() else f"{self.label[:1].lower()}{self.label[1:]}"

    def text(self, value: float) -> str:
        """The number as it is written."""
        return f"{100 * value:.1f} %" if self.percent else f"{value:.4g}"


@dataclass(frozen=True)
class Shown:
    """How the numbers and results of a run are written, as plain data for the progress display and the report.

    Args:
        unit: what the loss is counted over: "character", "word", "sequence".
        measure: the other measure that people know this loss by, beside nats: bits, or perplexity; nats for none.
        choices: among how many the network chooses, so that guessing evenly costs the logarithm of it.
        guesses: what such a choice is: "character", "class".
        facts: sentences about the data and the network.
        metrics: how the numbers of an evaluation are written, by their names.
        commands: what to type after training, as pairs of a command's words, with {run} for the run, and what it does.
        loss_in: the unit of the loss in words, where it is not nats per `unit`.
    """

    unit: str
    measure: Literal["bits", "perplexity", "nats"] = "nats"
    choices: int | None = None
    guesses: str = "class"
    facts: tuple[str, ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict)
    commands: tuple[tuple[str, str], ...] = ()
    loss_in: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return asdict(self)


class Feed(Protocol):
    """Gives the loss of one part of an update after the other; see `carousel.training.feeds`."""

    length: int
    """Parts of updates in an epoch."""
    about: str
    """What a part is, in words: "16 x 64 characters"."""

    def loss(self, network: Callable[..., Any], number: int, device: torch.device) -> tuple[Tensor, int]:
        """The mean loss of part `number`, which counts on from epoch to epoch, and of how many units it is."""
        ...

    def state_dict(self) -> Any:
        """What it carries from part to part, as tensors and tuples; None for nothing."""
        ...

    def load_state_dict(self, state: Any, device: torch.device) -> None:
        """Continue from a checkpoint."""
        ...


class Task(Protocol):
    """A problem: data, network, loss, and how well it is solved."""

    unit: str
    """What the loss is counted over: "character", "word", "sequence"."""
    repairs: ClassVar[Mapping[str, Callable[..., dict[str, Any]]]]
    """By the code of a fault, how settings can repair it; see `carousel.tasks.repairs`."""
    unasked: ClassVar[Collection[str]]
    """Codes of faults that such data can't have."""

    @property
    def shown(self) -> Shown:
        """How its numbers are written."""
        ...

    def network(self) -> nn.Module:
        """A new network; random draws come from torch's global generator."""
        ...

    def feed(self, part: int, parts: int) -> Feed:
        """The training data; process `part` of `parts` gets its share."""
        ...

    def evaluate(self, network: nn.Module, split: str) -> Evaluation | None:
        """How well it does on a whole split, "dev" or "test"; None where there is none."""
        ...

    def sample(self, network: nn.Module, seed: int) -> dict[str, Any] | None:
        """Something to look at while it is trained: `text`, `prompt`, `temperature`; None for nothing."""
        ...
