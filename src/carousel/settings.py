"""Every setting of a training run, with its default and its meaning. The command line's options are these fields.

Nothing here needs PyTorch, so that `carousel train --help` answers at once. `minutes` is turned into `steps` before
training starts; the resolved settings are what `config.yaml` in the run folder holds.
"""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, get_args, get_origin, get_type_hints

from .errors import UsageError

__all__ = ["DataSettings", "NetworkSettings", "Settings", "TrainingSettings"]


@dataclass(frozen=True)
class DataSettings:
    """What the text is read as."""

    level: Literal["char", "byte", "word"] = "char"
    """What one token is: a character, a UTF-8 byte, or a word."""
    encoding: str = "utf-8"
    """Encoding of the files."""
    vocabulary_size: int | None = None
    """Words only: keep this many, the most frequent; the others become <unk>."""
    min_count: int = 1
    """Words only: a word seen less often becomes <unk>."""
    words: Literal["words", "spaces"] = "words"
    """Words only: cut at word borders and punctuation, or at white space (text that is already tokenized)."""
    dev: float = 0.1
    """Share of the text, from its end, that measures progress and is never trained on (at most 200,000 tokens)."""
    test: float = 0.0
    """Share of the text after the dev part, evaluated once, when training has ended."""


@dataclass(frozen=True)
class NetworkSettings:
    """Embedding, recurrent layers, output."""

    cell: str = "lstm-coupled-layernorm"
    """A cell's name, or FILE.py:Class for your own."""
    cell_options: dict[str, str] = field(default_factory=dict)  # as the command line gives them; from Python any value
    """Options of the cell, as pairs: --cell-options activation relu bias false."""
    hidden_size: int = 448
    """Units per layer."""
    layers: int = 1
    """Recurrent layers."""
    embedding_size: int = 64
    """Size of the learned vector of a token; 0 feeds one-hot vectors."""
    dropout: float = 0.2
    """Probability of dropping an element between layers, and a unit before the output."""
    skip: bool = False
    """Connect the input to every layer and every layer to the output."""


@dataclass(frozen=True)
class TrainingSettings:
    """How it is trained: truncated backpropagation through time over parallel streams."""

    minutes: float | None = None
    """Time for training and evaluation; turned into a number of steps by a short calibration. 5 if neither is given."""
    steps: int | None = None
    """Number of updates, instead of --minutes."""
    batch: int = 16
    """Parallel streams: as many positions of the text are read side by side."""
    window: int = 64
    """k1: tokens between two updates."""
    backward: int | None = None
    """k2: tokens that the gradient goes back, at least --window; the same if not given."""
    optimizer: Literal["adamw", "adagrad", "sgd"] = "adamw"
    """Update rule."""
    learning_rate: float = 6e-3
    """Step size at its highest."""
    momentum: float = 0.0
    """Of sgd."""
    weight_decay: float = 0.1
    """Of adamw (decoupled) and sgd (L2)."""
    clip: float = 1.0
    """Largest global norm of the gradient; 0 does not clip."""
    schedule: Literal["linear", "cosine", "constant", "plateau"] = "linear"
    """Learning rate over the steps: falling to zero, the same, or halved when the dev loss stalls."""
    warmup: int | None = None
    """Steps over which the learning rate rises from zero first; if not given 100, at most a tenth of all."""
    accumulate: int = 1
    """Windows whose gradients are averaged for one update."""
    evaluations: int = 8
    """How often the dev loss is measured over the run."""
    checkpoint_seconds: float = 30.0
    """How often everything is saved for `carousel resume`, besides at every evaluation."""
    patience: int | None = None
    """Stop after this many evaluations without a better dev loss."""
    seed: int = 0
    """Of the initial weights and all random draws."""
    precision: Literal["float32", "bfloat16", "float64"] = "float32"
    """bfloat16: matrix products in bfloat16, weights in float32."""
    device: str = "auto"
    """cpu, cuda, mps; auto takes what is there."""
    threads: int | None = None
    """CPU threads; PyTorch's default if not given. Part of the run: equal threads give equal bits."""


@dataclass(frozen=True)
class Settings:
    """All settings of a run, in three groups whose fields all have different names."""

    data: DataSettings = DataSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()

    def __post_init__(self) -> None:
        for name, (holds, wanted) in _RULES.items():
            value = getattr(getattr(self, _HOMES[name]), name)
            if value is not None and not (isinstance(value, int | float) and holds(value)):
                raise UsageError(f"{_option(name)} is {value!r}; it must be {wanted}.")
        for name, choices in _CHOICES.items():
            value = getattr(getattr(self, _HOMES[name]), name)
            if value not in choices:
                raise UsageError(f"{_option(name)} is {value!r}; it is one of {', '.join(choices)}.")
        if self.data.dev + self.data.test >= 1:
            raise UsageError(f"--dev {self.data.dev} and --test {self.data.test} leave nothing to train on.")
        training = self.training
        if training.backward is not None and training.backward < training.window:
            raise UsageError(
                f"--backward {training.backward} is shorter than --window {training.window}; the gradient must go back "
                "at least over the tokens since the last update."
            )

    @classmethod
    def of(cls, **options: Any) -> Settings:
        """From the fields' names, whatever their group.

        Raises:
            UsageError: a name is unknown (the nearest is suggested), or a value is impossible.

        Example:
            >>> Settings.of(hidden_size=256, minutes=3).network.hidden_size
            256
        """
        groups: dict[str, dict[str, Any]] = {name: {} for name in _GROUPS}
        for name, value in options.items():
            if name not in _HOMES:
                near = difflib.get_close_matches(name, _HOMES, n=1)
                hint = f"Did you mean {near[0]!r}?" if near else f"The options are {', '.join(_HOMES)}."
                raise UsageError(f"There is no option {name!r}. {hint}")
            groups[_HOMES[name]][name] = value
        return cls(**{name: _GROUPS[name](**values) for name, values in groups.items()})

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain nested dicts, for `config.yaml`."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Settings:
        """The inverse of `to_dict`; other sections of `config` are left alone."""
        return cls.of(**{key: value for group in _GROUPS for key, value in config[group].items()})

    def changed(self, **options: Any) -> Settings:
        """The same with some fields replaced, whatever their group."""
        groups = self.to_dict()
        for name, value in options.items():
            groups[_HOMES[name]][name] = value
        return self.from_dict(groups)

    def resolved(self, **training: Any) -> Settings:
        """The same with some training settings replaced."""
        return dataclasses.replace(self, training=dataclasses.replace(self.training, **training))


def _option(name: str) -> str:
    return "--" + name.replace("_", "-")


_GROUPS = {"data": DataSettings, "network": NetworkSettings, "training": TrainingSettings}
_HOMES = {f.name: group for group, cls in _GROUPS.items() for f in dataclasses.fields(cls)}
_CHOICES = {
    f.name: get_args(annotation)
    for cls in _GROUPS.values()
    for f in dataclasses.fields(cls)
    if get_origin(annotation := get_type_hints(cls)[f.name]) is Literal
}


def _at_least(least: int) -> tuple[Callable[[float], bool], str]:
    return lambda v: isinstance(v, int) and v >= least, f"a whole number of at least {least}"


_ABOVE_ZERO = (lambda v: 0 < v < float("inf"), "above 0")
_NOT_NEGATIVE = (lambda v: 0 <= v < float("inf"), "0 or more")
_SHARE = (lambda v: 0 <= v < 1, "a share from 0 to below 1")

_RULES: dict[str, tuple[Callable[[float], bool], str]] = {
    "vocabulary_size": _at_least(2),
    "min_count": _at_least(1),
    "dev": _SHARE,
    "test": _SHARE,
    "hidden_size": _at_least(1),
    "layers": _at_least(1),
    "embedding_size": _at_least(0),
    "dropout": _SHARE,
    "minutes": _ABOVE_ZERO,
    "steps": _at_least(1),
    "batch": _at_least(1),
    "window": _at_least(1),
    "backward": _at_least(1),
    "learning_rate": _ABOVE_ZERO,
    "momentum": _SHARE,
    "weight_decay": _NOT_NEGATIVE,
    "clip": _NOT_NEGATIVE,
    "warmup": _at_least(0),
    "accumulate": _at_least(1),
    "evaluations": _at_least(1),
    "checkpoint_seconds": _NOT_NEGATIVE,
    "patience": _at_least(1),
    "seed": _at_least(0),
    "threads": _at_least(1),
}
