"""What is searched: settings with the values that they may take, as the command line writes them.

learning_rate=1e-4..1e-1:log     a range, evenly on a logarithmic scale
dropout=0..0.5                   a range; of whole numbers where the setting is one
hidden_size=32..256:32           a range in steps of 32
hidden_size=32,64,128            one of these; of values with commas in them: network=mlp|'dense 64, relu, dense'
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ..errors import UsageError
from ..settings import Settings, group, option, types_of
from ..tasks.kind import Kind
from ..tasks.kinds import resolve

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

__all__ = ["Dimension", "checked", "default_space", "parse_space"]

USAGE = "write NAME=LOW..HIGH, NAME=LOW..HIGH:log or NAME=A,B,C, and the data before --search"

NAMES = {field.name for part in dataclasses.fields(Settings) for field in dataclasses.fields(part.default)}  # pyright: ignore

MEASURED = {
    *group("data"),
    *("known", "past", "time_format", "every", "duplicates", "max_gap", "horizon", "intervals", "transform"),
    *("text_column", "word_column", "tag_column", "path_column", "unreadable", "problem", "loss", "class_weights"),
}
"""Settings that change what the dev measure is or on which examples: trials with others can't be compared."""

OF_THE_STUDY = {"minutes", "seed", "precision", "device", "threads", "checkpoint_seconds", "evaluations", "patience"}


@dataclass(frozen=True)
class Dimension:
    """A setting that is searched: `choices`, or from `low` to `high`.

    Attributes:
        name: of the setting.
        choices: its values; empty for a range.
        low: the lowest value.
        high: the highest one.
        log: evenly on a logarithmic scale.
        whole: whole numbers only.
        step: of whole numbers.
    """

    name: str
    choices: tuple[Any, ...] = ()
    low: float = 0.0
    high: float = 0.0
    log: bool = False
    whole: bool = False
    step: int = 1

    def __str__(self) -> str:
        if self.choices:
            mark = "|" if any("," in str(choice) for choice in self.choices) else ","
            return mark.join(str(choice) for choice in self.choices)
        tail = ":log" if self.log else f":{self.step}" if self.step > 1 else ""
        return f"{self.low:g}..{self.high:g}{tail}"

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that are tried on the settings' rules."""
        return self.choices or (self.low, self.high)

    def holds(self, value: Any) -> bool:
        """Whether it is one of the values."""
        if self.choices:
            return value in self.choices
        inside = isinstance(value, int | float) and self.low <= value <= self.high
        return inside and (not self.whole or (value - self.low) % self.step == 0)

    def rounded(self, value: Any) -> Any:
        """Of a range of fractions, to four digits: a command with more is no better, and harder to read."""
        if self.choices or self.whole:
            return value
        return min(max(float(f"{value:.4g}"), self.low), self.high)

    def distribution(self) -> BaseDistribution:
        """As Optuna has it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if self.choices:
            return CategoricalDistribution(self.choices)
        if self.whole:
            return IntDistribution(int(self.low), int(self.high), log=self.log, step=self.step)
        return FloatDistribution(self.low, self.high, log=self.log)


def parse_space(search: Sequence[str] | Mapping[str, Any]) -> dict[str, Dimension]:
    """The dimensions that are written.

    Args:
        search: words as `dropout=0..0.5`; or by name of a setting the same text, or a list of values.

    Raises:
        UsageError: a setting is unknown (the nearest is suggested) or can't be searched, or its values make no sense.

    Example:
        >>> str(parse_space(["hidden-size=32..128:32"])["hidden_size"])
        '32..128:32'
    """
    pairs: list[tuple[str, Any]] = list(search.items()) if isinstance(search, Mapping) else []
    for word in () if isinstance(search, Mapping) else search:
        name, equals, text = word.partition("=")
        if not equals or not text:
            raise UsageError(f"{word!r} is no search: {USAGE}.")
        pairs.append((name, text))
    found = {}
    for name, text in pairs:
        name = name.lstrip("-").replace("-", "_")
        if name in found:
            raise UsageError(f"{option(name)} is searched twice; give it once, with all its values.")
        found[name] = _dimension(name, text)
    return found


def _dimension(name: str, text: Any) -> Dimension:
    if name not in NAMES:
        Settings.of(**{name: text})  # which names the nearest
    if name in MEASURED:
        raise UsageError(
            f"{option(name)} can't be searched: it changes what is measured, so that trials could not be compared."
        )
    if name in OF_THE_STUDY:
        raise UsageError(f"{option(name)} can't be searched; it is the same for all trials.")
    types = types_of(name)
    if dict in types or tuple in types:
        raise UsageError(f"{option(name)} can't be searched, since it holds several values.")
    if not isinstance(text, str):
        choices = tuple(text) if isinstance(text, Sequence) else (text,)
        return _with_choices(name, tuple(_value(name, str(choice), types) for choice in choices))
    low, dots, rest = text.partition("..")
    if not dots or "," in text or "|" in text:
        words = [word.strip() for word in text.split("|" if "|" in text else ",")]
        return _with_choices(name, tuple(_value(name, word, types) for word in words))
    if not set(types) & {int, float}:
        raise UsageError(f"{option(name)} has no range; {_wanted(name, types)}, separated by commas.")
    high, _, how = rest.partition(":")
    low, high = (_value(name, end, types) for end in (low, high))
    if not low < high:
        raise UsageError(f"{name}={text}: the lower end comes first, as in {name}={high:g}..{low:g}.")
    whole = float not in types
    if how == "log":
        if low <= 0:
            raise UsageError(f"{name}={text}: a logarithmic scale begins above 0.")
        return Dimension(name, low=low, high=high, log=True, whole=whole)
    if how and not (whole and how.isdigit() and 0 < int(how) <= high - low):
        steps = " or a step, as :32" if whole else ""
        raise UsageError(f"{name}={text}: behind the colon comes log{steps}.")
    step = int(how or 1)
    return Dimension(name, low=low, high=high - (high - low) % step if whole else high, whole=whole, step=step)


def _with_choices(name: str, choices: tuple[Any, ...]) -> Dimension:
    if len(set(choices)) < len(choices) or len(choices) < 2:
        raise UsageError(f"{name}={','.join(map(str, choices))}: give two or more different values.")
    return Dimension(name, choices)


def _value(name: str, word: str, types: tuple[Any, ...]) -> Any:
    """One value as the setting has it."""
    named = {str(one): one for one in types if not isinstance(one, type) and one is not None}
    if named and word in named:
        return named[word]
    for kind in (bool, int, float, str):
        if kind not in types:
            continue
        if kind is bool:
            if word.lower() in ("true", "false"):
                return word.lower() == "true"
            continue
        try:
            value = kind(word)
        except ValueError:
            continue
        if isinstance(value, str) or math.isfinite(value):
            return value
    raise UsageError(f"{word!r} is no value of {option(name)}; {_wanted(name, types)}.")


def _wanted(name: str, types: tuple[Any, ...]) -> str:
    words = {bool: "true or false", int: "whole numbers", float: "numbers", str: "words"}
    if all(isinstance(one, type) for one in types):
        return "give " + " or ".join(words[one] for one in types)
    return "give some of " + ", ".join(str(one) for one in types if one is not None)


def default_space(kind: Kind, settings: Settings) -> dict[str, Dimension]:
    """What is searched if nothing is said, around what the settings are: those that matter most, and few of them.

    The learning rate from a tenth to ten times itself (the one setting that matters most: Bengio, "Practical
    recommendations for gradient-based training", 2012, section 3.1.1); of recurrent networks the units, half to twice
    as many, and dropout; of networks of layers the batch and weight decay.

    Args:
        kind: of the data.
        settings: with the kind's defaults.
    """
    network, training = settings.network, settings.training
    rate = training.learning_rate or 2e-3
    found = [Dimension("learning_rate", low=rate / 10, high=rate * 10, log=True)]
    if kind.recurrent and network.hidden_size:
        units = network.hidden_size
        found.append(Dimension("hidden_size", tuple(sorted({max(1, units // 2), units, 2 * units}))))
        found.append(Dimension("dropout", low=0.0, high=0.6))
    else:
        batch = training.batch or 64
        found.append(Dimension("batch", tuple(sorted({max(1, batch // 2), batch, 2 * batch}))))
        found.append(Dimension("weight_decay", low=1e-3, high=1.0, log=True))
    return {one.name: one for one in found}


def checked(space: Mapping[str, Dimension], sources: Collection[str], settings: Settings) -> None:
    """Whether every setting means something for these data, with every value.

    Raises:
        UsageError: it does not, or it was given as a fixed one too.
    """
    given = settings.given()
    for name, dimension in space.items():
        if name in given:
            raise UsageError(f"{option(name)} is given and searched; leave out one of the two.")
        for value in dimension.ends:
            resolve(list(sources), settings.changed(**{name: value}))
