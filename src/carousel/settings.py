"""Every setting of a training run, with its default and its meaning. The command line's options are these fields.

Nothing here needs PyTorch, so that `carousel train --help` answers at once. `minutes` is turned into `steps` before
training starts; the resolved settings are what `config.yaml` in the run folder holds.
"""

from __future__ import annotations

import dataclasses
import difflib
import types
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from .errors import UsageError

__all__ = [
    "DataSettings",
    "ImageSettings",
    "LabelledSettings",
    "NetworkSettings",
    "SeriesSettings",
    "Settings",
    "TableSettings",
    "TaggedSettings",
    "TrainingSettings",
]


@dataclass(frozen=True)
class DataSettings:
    """What the data is read as."""

    kind: Literal["text", "labelled", "tagged", "series", "images", "table"] | None = None
    """text: learn to write on; labelled: sequences with a label each; tagged: words with a tag each; series: numbers
    over time; images: with a class each; table: rows with a value to tell. Inferred if not given."""
    encoding: str = "utf-8"
    """Encoding of the files."""
    level: Literal["char", "byte", "word", "bpe"] | None = None
    """What one token is: a character, a UTF-8 byte, a word, or (text only) a byte pair, learned from the text: a
    sequence of bytes that is frequent. If not given, text: char; labelled: inferred."""
    vocabulary_size: int | None = None
    """Words: keep this many, the most frequent; the others become <unk>. Byte pairs: learn this many; if not given
    one for every 500 bytes of the text, from 512 to 8000."""
    min_count: int | None = None
    """A word (labelled: or character) seen less often becomes <unk>. If not given, text: 1; labelled: 2; tagged: 2."""
    words: Literal["words", "spaces"] = "words"
    """Words only: cut at word borders and punctuation, or at white space (text that is already tokenized)."""
    target: tuple[str, ...] = ()
    """Series: the columns to forecast; table: the one to tell. If not given, one named target, y or the like, or the
    last."""
    label_column: str | None = None
    """Tables of sequences or images: the column of the labels; found if not given."""
    time_column: str | None = None
    """Series, table: the column of the time stamps; of a series found if not given. Of a table, dev and test are then
    the last rows in time."""
    group_column: str | None = None
    """Series: the column that says to which of several series a row belongs. Table, images: rows with the same value
    stay in the same part."""
    split_column: str | None = None
    """Tables: the column that says train, dev or test; one of the name split is found."""
    fold: str | None = None
    """Hold out one of several equal parts as test: 2/5 is the second of five. `--folds 5` trains them all."""
    dev: float = 0.1
    """Share of the data that measures progress and is never trained on: of a text or series its end (of a text at
    most 200,000 tokens), of others drawn by --seed, unless files or a column say which."""
    test: float = 0.0
    """Share of the data that is evaluated once, when training has ended: of a text or series what follows
    the dev part."""
    split_seed: int | None = None
    """Of the draw of dev, test and folds, --seed if not given: networks of different seeds on the same parts."""


@dataclass(frozen=True)
class LabelledSettings:
    """Labelled sequences only."""

    text_column: str | None = None
    """Tables: the column of the sequences; found if not given."""
    pooling: Literal["last", "mean", "max"] = "max"
    """What is read off the states of a sequence: those at its ends, their mean, or the largest value of each unit."""


@dataclass(frozen=True)
class TaggedSettings:
    """Tagged sequences only."""

    word_column: str | None = None
    """The column of the words, by its name (CoNLL-U: FORM) or its number from 1; the first, in CoNLL-U FORM, if not
    given."""
    tag_column: str | None = None
    """The column of the tags, by its name (CoNLL-U: UPOS, XPOS …) or its number from 1; the last, in CoNLL-U UPOS, if
    not given."""
    spelling_size: int = 32
    """Units, in each direction, of the network that reads the characters of a word; 0 does without."""


@dataclass(frozen=True)
class SeriesSettings:
    """Series of numbers only."""

    known: tuple[str, ...] = ()
    """Columns whose values are known ahead, such as holidays or prices that are set."""
    past: tuple[str, ...] | None = None
    """Columns that are read and not forecast; all others with numbers if not given; none: none."""
    time_format: str | None = None
    """How stamps are written, as '%d.%m.%Y %H:%M', where it is not recognized."""
    every: str | None = None
    """A step, as 15m, 1h, 1d or 1mo: the rows in each are averaged."""
    duplicates: Literal["refuse", "mean"] = "refuse"
    """Rows with the same time stamp: refuse them, or take their mean."""
    max_gap: int | None = None
    """Missing values of a target in a row that are filled in; a longer gap cuts the series. 6 if not given."""
    horizon: int | None = None
    """Steps to forecast; if not given, a season from 4 to 48 steps, or 24."""
    season: int | None = None
    """Steps after which the series repeats, 1 for none; found by autocorrelation if not given."""
    transform: Literal["auto", "none", "log"] = "auto"
    """log: learn the logarithm, for series that swing in proportion to their level."""
    residual: Literal["auto", "last", "season", "ridge", "none"] = "auto"
    """Learn the difference from the last value, from that of a season before, or from a ridge regression on the same
    window; auto: the best on the training part."""
    beside: int | None = None
    """Units of a feed-forward network that reads lags and means of the window beside the recurrent layers, 0 for none;
    if not given, 64 where there are ten windows per lag."""
    calendar: Literal["auto", "none"] = "auto"
    """auto: hour, weekday and month are inputs, where the data are long enough to teach them."""
    intervals: Literal["quantile", "normal", "t"] = "quantile"
    """What is forecast: quantiles, or a normal or Student distribution."""


@dataclass(frozen=True)
class ImageSettings:
    """Images only."""

    size: int | None = None
    """Height and width in pixels to which images are brought; theirs if not given and all are alike."""
    channels: Literal[1, 3] | None = None
    """1: gray, 3: color; as they are if not given."""
    path_column: str | None = None
    """Tables: the column of the images' files; found if not given."""
    unreadable: Literal["stop", "skip"] = "stop"
    """What to do about an image that can't be read."""
    flip: bool = False
    """While training, mirror every second image, left to right."""
    rotate: float = 0.0
    """While training, turn images by up to so many degrees."""
    zoom: float = 0.0
    """While training, enlarge or shrink by up to this share."""
    crop: int = 0
    """While training, move the picture by up to so many pixels."""
    contrast: float = 0.0
    """While training, change contrast by up to this share."""
    color: float = 0.0
    """While training, change brightness of each color by up to this share."""
    erase: float = 0.0
    """While training, the probability of erasing a rectangle (Zhong et al. 2020)."""
    noise: float = 0.0
    """Autoencoders: while training, add normal noise of this deviation to the input, pixels being from 0 to 1; what is
    to come out is the image without it (Vincent et al. 2008)."""
    mixup: float = 0.0
    """While training, mix pairs of images and labels with weights from Beta(mixup, mixup) (Zhang et al. 2018)."""


@dataclass(frozen=True)
class TableSettings:
    """Tables of rows only."""

    problem: Literal["classify", "regress"] | None = None
    """classify: the target is a class; regress: a number. Inferred if not given."""
    drop: tuple[str, ...] = ()
    """Columns that are left out."""
    categories: tuple[str, ...] = ()
    """Columns that hold categories even if they look like numbers or free text."""


@dataclass(frozen=True)
class NetworkSettings:
    """Embedding, recurrent layers, output; for images and tables a network of layers."""

    network: str | None = None
    """Images, table: a network's name, such as mlp, lenet5 or resnet20, or its layers in a line:
    'conv 20 5, pool 2, dense 100, relu, dense'. Labelled: recurrent, or sentence-cnn (windows of words, Kim 2014).
    If not given, images: convnet; table: mlp; labelled: recurrent."""
    network_options: dict[str, str] = field(default_factory=dict)  # as the command line gives them
    """Options of a named network, as pairs: --network-options filters 8."""
    code_size: int | None = None
    """Images, autoencoders: the numbers that an image has to go through; 30 if not given."""
    init: str | None = None
    """Images, table: initial weights: zeros, small, unit, xavier, he, orthogonal or lsuv; PyTorch's own if not
    given."""
    cell: str | None = None
    """A cell's name, or FILE.py:Class for your own. If not given, text: lstm-coupled-layernorm; labelled, tagged
    and series: lstm."""
    cell_options: dict[str, str] = field(default_factory=dict)  # as the command line gives them; from Python any value
    """Options of the cell, as pairs: --cell-options activation relu bias false."""
    hidden_size: int | None = None
    """Units per layer and direction. If not given, text: 448; labelled, tagged: 128; series: 32."""
    layers: int = 1
    """Recurrent layers."""
    directions: Literal[1, 2] | None = None
    """2: a second network reads every sequence from its end. If not given, labelled: 2; tagged: 2; others have one."""
    embedding_size: int | None = None
    """Size of the learned vector of a token; 0 feeds one-hot vectors. If not given, text: 64; labelled: 64;
    sentence-cnn: 128; tagged: 100."""
    vectors: str | None = None
    """Labelled, tagged: a file of word vectors (word2vec's formats, GloVe's) with which the embedding begins;
    --embedding-size follows it."""
    dropout: float | None = None
    """Probability of dropping an element between layers, and a unit before the output. If not given, text: 0.2;
    labelled: 0.5; tagged: 0.5; series: 0.3."""
    skip: bool = False
    """Connect the input to every layer and every layer to the output."""


@dataclass(frozen=True)
class TrainingSettings:
    """How it is trained: a text by truncated backpropagation through time over parallel streams, others by batches."""

    minutes: float | None = None
    """Time for training and evaluation, at most; turned into a number of steps by a short calibration. 5 if none of
    --minutes, --steps and --epochs is given."""
    steps: int | None = None
    """Number of updates, instead of --minutes."""
    epochs: float | None = None
    """Passes over the training data, at most. If nothing is said of the time, labelled: 12; tagged: 10; series: 4;
    images: 8; table: 20, or more for 1,000 updates; a text is read for as long as --minutes allows."""
    batch: int | None = None
    """Text: parallel streams, as many positions are read side by side; others: examples per update. If not given,
    text: 16; labelled: 32; tagged: 16; series: 128; images: 64; table: 64."""
    window: int | None = None
    """Text, k1: tokens between two updates; series: past steps that are read. If not given, text: 64; series: four
    seasons (two of more than 48 steps) or two horizons, 336 at most."""
    backward: int | None = None
    """Text only, k2: tokens that the gradient goes back, at least --window; the same if not given."""
    optimizer: Literal["adamw", "adagrad", "rmsprop", "sgd", "momentum", "nesterov"] = "adamw"
    """Update rule; sgd with --momentum keeps the rate out of the velocity, momentum has it inside."""
    learning_rate: float | None = None
    """Step size at its highest. If not given, text: 0.006; labelled: 0.002; tagged: 0.004;
    series: 0.002; images: 0.002; table: 0.002."""
    loss: Literal["cross-entropy", "hinge", "hinge-worst", "squared-error"] = "cross-entropy"
    """Of classes: minus the logarithm of the probability of the right one; by how far wrong scores, or the worst of
    them, come too near; or the squared distance of the scores from 1 for the right class and 0 for the others."""
    class_weights: Literal["none", "balanced"] = "none"
    """balanced: errors on rare classes count more, so that every class has the same weight in the loss."""
    momentum: float | None = None
    """Of sgd (0 if not given), momentum and nesterov (0.9)."""
    momentum_end: float | None = None
    """Momentum at the end of the run, to which it rises or falls in a line; the same if not given."""
    weight_decay: float = 0.1
    """Of adamw (decoupled); of sgd, momentum, nesterov and rmsprop (L2: part of the gradient)."""
    l1: float = 0.0
    """Added to each derivative: this times the sign of the weight."""
    clip: float = 1.0
    """Largest global norm of the gradient; 0 does not clip."""
    schedule: Literal["linear", "cosine", "constant", "plateau"] = "linear"
    """Learning rate over the steps: falling to zero, the same, or halved when the dev loss stalls."""
    warmup: int | None = None
    """Steps over which the learning rate rises from zero first; if not given 100, at most a tenth of all."""
    accumulate: int = 1
    """Windows or batches whose gradients are averaged for one update."""
    evaluations: int = 8
    """How often the dev loss is measured over the run."""
    checkpoint_seconds: float = 30.0
    """How often everything is saved for `carousel resume`, besides at every evaluation."""
    patience: int | None = None
    """Stop after this many evaluations in a row that are no better than the best before."""
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
    """All settings of a run, in groups whose fields all have different names.

    A field whose good value depends on the kind of data is None until `resolved` by the kind; a group of a single kind
    is left as it is by the others.
    """

    data: DataSettings = DataSettings()
    labelled: LabelledSettings = LabelledSettings()
    tagged: TaggedSettings = TaggedSettings()
    series: SeriesSettings = SeriesSettings()
    images: ImageSettings = ImageSettings()
    table: TableSettings = TableSettings()
    network: NetworkSettings = NetworkSettings()
    training: TrainingSettings = TrainingSettings()

    def __post_init__(self) -> None:
        for name, (holds, wanted) in _RULES.items():
            value = self.value(name)
            if value is not None and not (isinstance(value, int | float) and holds(value)):
                raise UsageError(f"{option(name)} is {value!r}; it must be {wanted}.")
        for name, choices in _CHOICES.items():
            value = self.value(name)
            if value not in choices:
                shown = ", ".join(str(choice) for choice in choices if choice is not None)
                raise UsageError(f"{option(name)} is {value!r}; it is one of {shown}.")
        fold_of(self.data.fold)
        if self.data.dev + self.data.test >= 1:
            raise UsageError(f"--dev {self.data.dev} and --test {self.data.test} leave nothing to train on.")
        training = self.training
        if training.backward is not None and training.window is not None and training.backward < training.window:
            raise UsageError(
                f"--backward {training.backward} is shorter than --window {training.window}; the gradient must go back "
                "at least over the tokens since the last update."
            )

    def value(self, name: str) -> Any:
        """The value of a field, whatever its group."""
        return getattr(getattr(self, _HOMES[name]), name)

    def given(self) -> list[str]:
        """The fields that differ from what they are when nothing is said."""
        return [name for name, default in _DEFAULTS.items() if self.value(name) != default]

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
        """Plain nested dicts, for `config.yaml`, without the groups of other kinds of data."""
        others = set() if self.data.kind is None else {*_CHOICES["kind"]} - {self.data.kind}
        return {name: values for name, values in dataclasses.asdict(self).items() if name not in others}

    @classmethod
    def from_dict(cls, config: dict[str, Any]) -> Settings:
        """The inverse of `to_dict`; other sections of `config` are left alone."""
        return cls.of(**{key: value for group in _GROUPS for key, value in config.get(group, {}).items()})

    def changed(self, **options: Any) -> Settings:
        """The same with some fields replaced, whatever their group."""
        groups = dataclasses.asdict(self)
        for name, value in options.items():
            groups[_HOMES[name]][name] = value
        return self.from_dict(groups)

    def resolved(self, defaults: Mapping[str, Any] = types.MappingProxyType({}), **options: Any) -> Settings:
        """The same with some fields replaced, and with these defaults where nothing was given."""
        return self.changed(**{n: v for n, v in defaults.items() if self.value(n) is None}, **options)


def fold_of(text: str | None) -> tuple[int, int] | None:
    """Which fold of how many, from "2/5".

    Raises:
        UsageError: it is no such text.
    """
    if text is None:
        return None
    number, _, count = text.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count) and int(count) >= 2):
        raise UsageError(f"--fold is {text!r}; write 2/5 for the second of five.")
    return int(number), int(count)


def option(name: str) -> str:
    """A field as the command line spells it."""
    return "--" + name.replace("_", "-")


def group(name: str) -> Collection[str]:
    """The fields of a group."""
    return [f.name for f in dataclasses.fields(_GROUPS[name])]


_GROUPS: dict[str, type] = {
    "data": DataSettings,
    "labelled": LabelledSettings,
    "tagged": TaggedSettings,
    "series": SeriesSettings,
    "images": ImageSettings,
    "table": TableSettings,
    "network": NetworkSettings,
    "training": TrainingSettings,
}
_HOMES = {f.name: group for group, cls in _GROUPS.items() for f in dataclasses.fields(cls)}
_DEFAULTS = {name: getattr(_GROUPS[home](), name) for name, home in _HOMES.items()}


def _choices(annotation: Any) -> tuple[Any, ...]:
    """The values that a field may have, None for none that may be left out; empty where it is no choice."""
    if get_origin(annotation) is Literal:
        return get_args(annotation)
    if get_origin(annotation) in (Union, types.UnionType):
        inner = [_choices(part) for part in get_args(annotation) if part is not type(None)]
        return (None, *inner[0]) if len(inner) == 1 and inner[0] else ()
    return ()


_CHOICES = {
    f.name: choices
    for cls in _GROUPS.values()
    for f in dataclasses.fields(cls)
    if (choices := _choices(get_type_hints(cls)[f.name]))
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
    "split_seed": _at_least(0),
    "spelling_size": _at_least(0),
    "max_gap": _at_least(0),
    "size": _at_least(1),
    "rotate": _NOT_NEGATIVE,
    "zoom": _SHARE,
    "crop": _at_least(0),
    "contrast": _SHARE,
    "color": _SHARE,
    "erase": _SHARE,
    "noise": _NOT_NEGATIVE,
    "mixup": _NOT_NEGATIVE,
    "beside": _at_least(0),
    "horizon": _at_least(1),
    "season": _at_least(1),
    "hidden_size": _at_least(1),
    "code_size": _at_least(1),
    "layers": _at_least(1),
    "embedding_size": _at_least(0),
    "dropout": _SHARE,
    "minutes": _ABOVE_ZERO,
    "steps": _at_least(1),
    "epochs": _ABOVE_ZERO,
    "batch": _at_least(1),
    "window": _at_least(1),
    "backward": _at_least(1),
    "learning_rate": _ABOVE_ZERO,
    "momentum": _SHARE,
    "momentum_end": _SHARE,
    "l1": _NOT_NEGATIVE,
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
