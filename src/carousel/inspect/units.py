r"""Cells that mean something: which single units of a trained network track a property of its text.

For every unit and every property (inside quotes, deep in brackets, late in the line; see `text_properties`) the score
is the area under the ROC curve, the probability that the unit is higher where the property is true than elsewhere,

.. math:: \mathrm{AUC} = P(u_s > u_t \mid p_s, ¬p_t) + ½ P(u_s = u_t \mid p_s, ¬p_t)

The unit (and its sign) is chosen on the first half of the text and scored on the second, which had no say. Since the
best of many units is good by chance on the half that chose it, and since both change slowly along a text, the same is
done with the property moved along the text by a random distance: that is the control, and it should be near ½.
Karpathy, Johnson & Fei-Fei, "Visualizing and understanding recurrent networks", 2015.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import UsageError
from ..nn import Recurrent
from .replay import watch
from .system import evaluating, like

__all__ = ["Ablation", "UnitFound", "UnitValues", "ablated", "ablation", "search_units", "unit_values"]

LEAST = 50
"""Characters of each kind that each half must have."""


# -- values -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnitValues:
    """The values of all units after each token of a text.

    Attributes:
        names: of the units, such as "recurrent: c of layer 2, unit 117".
        values: (tokens, units).
        places: of each unit the module's name, the state, the layer from 0, and its number.
    """

    names: list[str]
    values: NDArray[np.float32]
    places: list[tuple[str, str, int, int]]

    def __getitem__(self, name: str) -> NDArray[np.float32]:
        """(tokens,) of one unit."""
        if name not in self.names:
            raise UsageError(f"There is no unit {name!r}; they are called as {self.names[0]!r}.")
        return self.values[:, self.names.index(name)]


def unit_values(
    network: nn.Module,
    tokens: Tensor,
    *,
    call: Callable[[Tensor], Any] | None = None,
    segments: int = 32,
    warm_up: int = 200,
) -> UnitValues:
    """The states of every recurrent unit after each token of a text, in evaluation mode.

    The text is cut into pieces that run side by side; each reads some tokens of the piece before it first, so that its
    memory is filled.

    Args:
        network: takes tokens (time, batch).
        tokens: (tokens,) whole numbers.
        call: runs the network on tokens (time, batch), where `network(tokens)` does not.
        segments: pieces; fewer for a short text.
        warm_up: tokens that each piece reads before its own.

    Returns:
        `UnitValues`, forward layers only.

    Raises:
        UsageError: the network has no recurrent layer, or no tokens are given.

    Example:
        >>> net = nn.Sequential(nn.Embedding(10, 4), nn.LSTM(4, 3))
        >>> found = unit_values(net, torch.arange(100) % 10)
        >>> found.values.shape, found.names[3]
        ((100, 6), '1: c, unit 0')
    """
    if tokens.ndim != 1 or not len(tokens):
        raise UsageError(f"unit_values got tokens of {tuple(tokens.shape)}; give one sequence of whole numbers.")
    pieces = max(1, min(segments, len(tokens) // max(warm_up, 1) - 1))
    head = warm_up if pieces > 1 else 0
    length = -(-(len(tokens) - head) // pieces)  # each piece reads `head` tokens before these; the first keeps them too
    padded = torch.cat([tokens, tokens[-1:].expand(head + pieces * length - len(tokens))])
    batch = torch.stack([padded[i * length : (i + 1) * length + head] for i in range(pieces)], 1)
    with torch.no_grad(), evaluating(network), watch(network) as seen:
        (call or network)(batch)
    names, places, values = [], [], []
    for module, calls in seen.items():
        if not isinstance(calls[0], tuple):
            raise UsageError(f"The layer {module!r} is stepped by a loop; give a network of recurrent layers.")
        layer, trajectory = calls[0]
        for depth in range(layer.num_layers):
            for state in layer._bound_cells()[depth * layer.directions].state_sizes:
                found = trajectory.states(state, depth).flatten(2)
                flat = torch.cat([found[:head, 0], found[head:].transpose(0, 1).flatten(0, 1)])[: len(tokens)]
                of = f" of layer {depth + 1}" if layer.num_layers > 1 else ""
                values.append(flat.float().cpu().numpy())
                names += [f"{module}: {state}{of}, unit {number}" for number in range(flat.shape[1])]
                places += [(module, state, depth, number) for number in range(flat.shape[1])]
    if not names:
        raise UsageError(f"No recurrent layer of {type(network).__name__} ran.")
    return UnitValues(names, np.concatenate(values, 1), places)


# -- search -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class UnitFound:
    """The unit that tracks a property best.

    Attributes:
        property: its name.
        unit: number among all units, and its name.
        name: of the unit.
        sign: 1 if the unit is high where the property is true, -1 if low.
        chosen: area under the ROC curve on the first half, where it was chosen.
        score: on the second half.
        control: mean of what comes of the same search with the property moved along the text.
        highest_control: the largest of these.
        share: of characters where the property is true.
    """

    property: str
    unit: int
    name: str
    sign: int
    chosen: float
    score: float
    control: float
    highest_control: float
    share: float


def search_units(
    values: UnitValues, properties: Mapping[str, NDArray[np.bool_]], *, controls: int = 20, seed: int = 0
) -> list[UnitFound]:
    """The best unit for each property, the best-tracked property first.

    Args:
        values: of the units.
        properties: name → (tokens,) bool, see `text_properties`.
        controls: random distances by which the properties are moved, each at least a quarter of a half.
        seed: of these.

    Returns:
        One `UnitFound` for each property of which both halves have at least 50 tokens where it is true and 50 where
        not.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> p = np.repeat(rng.random(200) < 0.4, 10)
        >>> units = rng.normal(size=(2000, 30)).astype(np.float32)
        >>> units[:, 7] -= 5 * p
        >>> (found,) = search_units(UnitValues([str(i) for i in range(30)], units, []), {"p": p})
        >>> found.unit, found.sign, found.score > 0.99, abs(found.control - 0.5) < 0.1
        (7, -1, True, True)
    """
    half = len(values.values) // 2
    parts = (slice(0, half), slice(len(values.values) - half, None))
    kept = [name for name, p in properties.items() if all(LEAST <= p[part].sum() <= half - LEAST for part in parts)]
    if not kept:
        return []
    truth = np.stack([properties[name] for name in kept], 1)
    ranks = [_ranks(values.values[part]) for part in parts]
    first, second = (_areas(r, truth[part]) for r, part in zip(ranks, parts, strict=True))
    best, sign, scores = _chosen(first, second)
    rng = np.random.default_rng(seed)
    moved = []
    for _ in range(controls):
        shift = int(rng.integers(half // 4, half - half // 4))
        areas = [_areas(r, np.roll(truth[part], shift, 0)) for r, part in zip(ranks, parts, strict=True)]
        moved.append(_chosen(*areas)[2])
    control = np.array(moved)
    found = [
        UnitFound(
            name, int(best[i]), values.names[best[i]], int(sign[i]),
            float(max(first[best[i], i], 1 - first[best[i], i])), float(scores[i]), float(control[:, i].mean()),
            float(control[:, i].max()), float(truth[:, i].mean()),
        )
        for i, name in enumerate(kept)
    ]  # fmt: skip
    return sorted(found, key=lambda one: -one.score)


def _ranks(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Ranks from 1 of each column; equal values share the mean of theirs."""
    count = len(values)
    ranks = np.empty(values.shape, np.float32)
    for column in range(values.shape[1]):
        order = np.argsort(values[:, column], kind="stable")
        ordered = values[order, column]
        begins = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        ends = np.r_[begins[1:], count]
        mean = (begins + ends + 1) / 2
        ranks[order, column] = np.repeat(mean, ends - begins)
    return ranks


def _areas(ranks: NDArray[np.float32], truth: NDArray[np.bool_]) -> NDArray[np.float64]:
    """(units, properties) areas under the ROC curve (Mann & Whitney's U over its largest value)."""
    positive = truth.sum(0).astype(np.float64)
    negative = len(truth) - positive
    sums = ranks.T.astype(np.float64) @ truth.astype(np.float64)
    return (sums - positive * (positive + 1) / 2) / (positive * negative)


def _chosen(
    first: NDArray[np.float64], second: NDArray[np.float64]
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """Of each property the unit that is farthest from one half in the first, its sign, and its area in the second."""
    best = np.abs(first - 0.5).argmax(0)
    columns = np.arange(first.shape[1])
    sign = np.where(first[best, columns] >= 0.5, 1, -1)
    score = second[best, columns]
    return best, sign, np.where(sign > 0, score, 1 - score)


# -- without it -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Ablation:
    """What goes wrong without a unit.

    Attributes:
        name: of the unit.
        before, after: nats per token, with the unit and held at its mean.
        rises: (tokens - 1,) how much more each token costs.
        by_property: property → mean rise where it is true of the token before, and where it is not.
    """

    name: str
    before: float
    after: float
    rises: NDArray[np.float32]
    by_property: dict[str, tuple[float, float]]

    def worst(self, count: int = 10) -> list[int]:
        """The tokens whose cost rises most."""
        return (np.argsort(-self.rises, kind="stable")[:count] + 1).tolist()


def ablation(
    network: nn.Module,
    tokens: Tensor,
    values: UnitValues,
    unit: int,
    properties: Mapping[str, NDArray[np.bool_]] | None = None,
    *,
    call: Callable[[Tensor], Any] | None = None,
    segments: int = 16,
) -> Ablation:
    """Hold one unit at its mean over the text, and see what the network predicts worse.

    Args:
        network: gives scores (time, batch, tokens), alone or first in a tuple, for tokens (time, batch).
        tokens: (tokens,) the text.
        values: of its units on this text.
        unit: number among them.
        properties: of the text, to see where it matters.
        call: see `unit_values`.
        segments: pieces that run side by side.

    Returns:
        `Ablation`.
    """
    module, state, layer, number = values.places[unit]
    length = (len(tokens) - 1) // segments
    if length < 1:
        segments, length = 1, len(tokens) - 1
    inputs = tokens[: segments * length].reshape(segments, length).T
    targets = tokens[1 : segments * length + 1].reshape(segments, length).T

    def costs() -> NDArray[np.float32]:
        with torch.no_grad(), evaluating(network):
            scores = (call or network)(inputs)
        scores = scores[0] if isinstance(scores, tuple) else scores
        nats = torch.nn.functional.cross_entropy(scores.flatten(0, 1), targets.flatten(), reduction="none")
        return nats.reshape(length, segments).T.reshape(-1).float().cpu().numpy()

    before = costs()
    with ablated(network, module, layer, state, number, float(values.values[:, unit].mean())):
        after = costs()
    rises = after - before
    where = {}
    for name, truth in (properties or {}).items():
        on = truth[: len(rises)]
        if on.any() and not on.all():
            where[name] = (float(rises[on].mean()), float(rises[~on].mean()))
    return Ablation(values.names[unit], float(before.mean()), float(after.mean()), rises, where)


@contextlib.contextmanager
def ablated(
    network: nn.Module, module: str, layer: int, state: str, unit: int | Sequence[int], value: float = 0.0
) -> Iterator[None]:
    """While it is entered, units of a recurrent layer hold a value, whatever the cell says.

    Args:
        network: holds the layer.
        module: the layer's name in the network.
        layer: its depth, from 0, in the forward direction.
        state: name of the state, such as "c"; where the output is this state, it is changed too.
        unit: its number, or several.
        value: what it holds.

    Raises:
        UsageError: there is no such layer or state.
    """
    whole = type(network).__name__  # as `watch` calls a network that is itself the layer
    found = network if module == whole else dict(network.named_modules()).get(module)
    if not isinstance(found, Recurrent | nn.RNNBase):
        raise UsageError(f"{module!r} is no recurrent layer of the network.")
    theirs = isinstance(found, nn.RNNBase)
    ours = like(found) if isinstance(found, nn.RNNBase) else found
    cell = ours._bound_cells()[layer * ours.directions]
    if state not in cell.state_sizes:
        raise UsageError(f"{type(cell).__name__} has no state {state!r}; it has {', '.join(cell.state_sizes)}.")
    place = list(cell.state_sizes).index(state)
    step, backend = cell.step, ours.backend

    def held(x: Tensor, before: tuple[Any, ...], *extra: Any) -> tuple[Tensor, tuple[Tensor, ...]]:
        before = tuple(_with(s, unit, value) if i == place else s for i, s in enumerate(before))
        output, new = step(x, before, *extra)
        changed = tuple(_with(n, unit, value) if i == place else n for i, n in enumerate(new))
        return (changed[place] if output is new[place] else output), changed

    hook = None
    try:
        cell.__dict__["step"] = held
        ours.backend = "reference"
        if theirs:
            hook = found.register_forward_hook(lambda _, args, kw, __: ours(*args, **kw), with_kwargs=True)
        yield
    finally:
        del cell.__dict__["step"]
        ours.backend = backend
        if hook is not None:
            hook.remove()


def _with(state: Any, unit: int | Sequence[int], value: float) -> Any:
    if isinstance(state, tuple):
        return tuple(_with(s, unit, value) for s in state)
    changed = state.clone()
    changed.flatten(1)[:, unit] = value
    return changed
