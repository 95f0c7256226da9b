"""The learning-rate range test: let the rate rise from update to update, watch the loss, and go back to where it was.

Smith, "Cyclical learning rates for training neural networks", WACV 2017, section 3.3: good rates lie between the one
where the loss begins to fall well and the one where it no longer does. Two rules are in use to read one rate off the
curve: where the loss falls fastest (fast.ai's `lr_find`), and a tenth of the rate where it is lowest (Gugger, "How do
you find a good learning rate", 2018). The suggestion here is another one, see `judged`. The test sees the first updates
only: it says at which rate training starts well, not which one ends best; for that there is `carousel tune`.
"""

from __future__ import annotations

import contextlib
import copy
import math
import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..errors import TrainingError, UsageError
from .interrupt import Interrupted, interruptible

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["RangeTest", "preserved", "range_test", "sweep"]

LOW, HIGH, UPDATES = 1e-6, 10.0, 200

SMOOTHING = 0.9
"""Weight of a neighbor relative to that of the point itself; of the next neighbor its square, and so on."""

LEAST = 10
"""Points on the way down to the lowest loss, for a slope to be read off."""

SPREADS = 1.5
"""A fall below so many standard deviations of the loss from batch to batch may be chance: the smoothed loss has a
standard error of 0.23 of them at its ends, and its lowest point is the lowest of many."""

Ended = Literal["highest rate", "diverged", "not finite"]


@dataclass(frozen=True, eq=False)
class RangeTest:
    """What was seen, and what to make of it.

    Attributes:
        rates: (points,) learning rates, rising.
        losses: (points,) the loss of the batch behind the update with that rate.
        smoothed: (points,) the same smoothed, `smooth`.
        ended: why it ended: at the highest rate, or before, since the loss had risen above its start by as much as it
            had fallen, or was no longer finite.
        steepest: the rate at which the smoothed loss fell fastest against the logarithm of the rate; None if the curve
            is bad.
        lowest: the rate at which the smoothed loss was lowest; None if the curve is bad.
        suggestion: between them, see `judged`; None if the curve is bad.
        reason: a sentence: why this rate, or what is bad about the curve and what to do.
    """

    rates: NDArray[np.float64]
    losses: NDArray[np.float64]
    smoothed: NDArray[np.float64]
    ended: Ended
    steepest: float | None
    lowest: float | None
    suggestion: float | None
    reason: str

    def figure(self) -> Figure:
        """The curve with the suggestion, as a figure of matplotlib: `.savefig("rate.png")`."""
        from matplotlib.figure import Figure

        figure = Figure(figsize=(8, 4.2), dpi=150, layout="constrained")
        ax = figure.add_subplot()
        ax.set_xscale("log")
        ax.set_xlabel("learning rate")
        ax.set_ylabel("loss of the batch behind the update")
        ax.plot(self.rates, self.losses, color="#2765a5", alpha=0.35, linewidth=0.8, label="loss")
        ax.plot(self.rates, self.smoothed, color="#2765a5", linewidth=1.9, label="smoothed")
        if len(self.losses):
            low, start = float(self.smoothed.min()), float(self.smoothed[0])
            top = max(start, float(np.quantile(self.losses, 0.8)))
            ax.set_ylim(low - 0.15 * (top - low or 1.0), top + 0.6 * (top - low or 1.0))
        marks = {"fastest fall": (self.steepest, "#246b3c", ":"), "lowest": (self.lowest, "#5d6570", ":"),
                 "suggestion": (self.suggestion, "#b84a08", "-")}  # fmt: skip
        for name, (rate, color, style) in marks.items():
            if rate is not None:
                ax.axvline(rate, color=color, linestyle=style, linewidth=1.4, label=f"{name}: {rate:.2g}")
        ax.set_title("no suggestion" if self.suggestion is None else f"suggestion: {self.suggestion:.2g}", loc="left")
        ax.legend(frameon=False)
        ax.spines[["top", "right"]].set_visible(False)
        return figure


def range_test(
    network: nn.Module,
    optimizer: torch.optim.Optimizer,
    loss: Callable[[], Tensor],
    *,
    low: float = LOW,
    high: float = HIGH,
    updates: int = UPDATES,
    smoothing: float = SMOOTHING,
    clip: float | None = None,
    generators: Sequence[torch.Generator | np.random.Generator | random.Random] = (),
) -> RangeTest:
    r"""Train with rates that rise from `low` to `high`, and suggest one; afterwards everything is as it was.

    Update i has the rate ε_i = low · (high / low)^(i / (updates - 1)). Groups of parameters with different rates keep
    their ratios; ε is the largest. What is put back, bit for bit, also after an exception or Ctrl-C: parameters,
    buffers (statistics of batch norm), gradients, the optimizer's state and settings, training mode, and the generators
    of Python, NumPy and PyTorch (CPU, and the devices that there are). What is yours is not: an iterator over a data
    loader has moved on.

    Args:
        network: what is trained; its lazy layers have seen a batch.
        optimizer: of its parameters, new or used; not one that needs a closure.
        loss: gives the loss of the next batch, a scalar with gradient.
        low: the first rate.
        high: the last one.
        updates: how many; with the default 28 for each tenfold.
        smoothing: see `smooth`, from 0 (none) to below 1.
        clip: largest global norm of the gradient.
        generators: others that `loss` or the network draw from; they are put back too.

    Raises:
        UsageError: impossible rates; `loss` gives no scalar with gradient.
        Interrupted: Ctrl-C; everything is put back first.

    Example:
        >>> net = nn.Linear(4, 1)
        >>> x, rule = torch.randn(64, 4), torch.optim.SGD(net.parameters(), lr=0.1)
        >>> y = x.sum(1, keepdim=True)
        >>> found = range_test(net, rule, lambda: (net(x) - y).square().mean())
        >>> bool(0.001 < found.suggestion < 1), rule.param_groups[0]["lr"]
        (True, 0.1)
    """
    if isinstance(optimizer, torch.optim.LBFGS):
        raise UsageError("LBFGS needs a closure, and chooses its steps itself; take another optimizer.")
    before = [float(group["lr"]) for group in optimizer.param_groups]
    ratios = [rate / max(before) if max(before) > 0 else 1.0 for rate in before]
    parameters = [p for group in optimizer.param_groups for p in group["params"]]

    def update(rate: float) -> float:
        for group, ratio in zip(optimizer.param_groups, ratios, strict=True):
            group["lr"] = rate * ratio
        for parameter in parameters:
            parameter.grad = None
        value = loss()
        if not isinstance(value, Tensor) or value.numel() != 1 or not value.requires_grad:
            got = f"a tensor of shape {tuple(value.shape)}" if isinstance(value, Tensor) else type(value).__name__
            raise UsageError(f"loss() gave {got}; it must give the loss of a batch, a scalar tensor with gradient.")
        number = value.item()
        if math.isfinite(number):
            value.backward()
            if clip is not None:
                nn.utils.clip_grad_norm_(parameters, clip)
            optimizer.step()
        return number

    with preserved(network, optimizer, generators):
        network.train()
        return sweep(update, low=low, high=high, updates=updates, smoothing=smoothing)


def sweep(
    update: Callable[[float], float],
    *,
    low: float = LOW,
    high: float = HIGH,
    updates: int = UPDATES,
    smoothing: float = SMOOTHING,
) -> RangeTest:
    """The test with any kind of update: `update(rate)` makes one and returns the loss before it.

    Raises:
        UsageError: impossible rates.
        Interrupted: Ctrl-C.
    """
    if not 0 < low < high < math.inf:
        raise UsageError(f"The rates are to rise from {low:g} to {high:g}; give a lower one above 0 and a higher one.")
    if updates < 2 * LEAST:
        raise UsageError(f"{updates} updates are too few to see a curve; {UPDATES} are usual, {2 * LEAST} the least.")
    if not 0 <= smoothing < 1:
        raise UsageError(f"The smoothing is {smoothing:g}; it is 0 for none, or below 1.")
    rates = np.geomspace(low, high, updates)
    watch, losses, ended = _Watch(smoothing), [], "highest rate"
    with interruptible() as interruption:
        for rate in [*rates.tolist(), high]:  # the loss behind an update is that before the next
            try:
                loss = update(rate)
            except TrainingError:  # the training loop says so itself
                loss = math.nan
            if not math.isfinite(loss):
                ended = "not finite"
                break
            losses.append(loss)
            if watch.diverged(loss):
                ended = "diverged"
                break
            if interruption.asked:
                raise Interrupted("Stopped; everything is as it was before.")
    return judged(rates[: max(len(losses) - 1, 0)], np.array(losses[1:]), ended, smoothing)


class _Watch:
    """Has the loss risen above its start by as much as it had fallen, and by more than chance?

    An exponential moving average e_t = β e_{t-1} + (1-β) loss, over 1 - β^t, is compared. Unlike four times the lowest
    loss, as fast.ai has it, this holds for losses below zero too.
    """

    def __init__(self, smoothing: float):
        self.smoothing, self.mean = smoothing, 0.0
        self.losses: list[float] = []
        self.best = math.inf

    def diverged(self, loss: float) -> bool:
        self.losses.append(loss)
        self.mean = self.smoothing * self.mean + (1 - self.smoothing) * loss
        now = self.mean / (1 - self.smoothing ** len(self.losses))
        self.best = min(self.best, now)
        if len(self.losses) < LEAST:
            return False
        start = float(np.mean(self.losses[: LEAST // 2]))
        chance = 4 * _spread(np.diff(self.losses)) / math.sqrt(2)
        return now > start + max(start - self.best, chance, 0.1 * abs(start))


def smooth(losses: NDArray[np.float64], smoothing: float = SMOOTHING) -> NDArray[np.float64]:
    r"""s_i = Σ_j β^|i-j| losses_j / Σ_j β^|i-j|.

    An exponential moving average that looks forward as far as back, so that a falling loss is not drawn late, as one
    that looks back is by β / (1-β) points. Dividing by the weights that there are corrects the bias at both ends.

    Example:
        >>> smooth(np.array([1.0, 1.0, 4.0]), 0.5).round(3).tolist()
        [1.429, 1.75, 2.714]
    """
    place = np.arange(len(losses))
    weights = smoothing ** np.abs(place[:, None] - place).astype(np.float64)
    return weights @ losses / weights.sum(1)


def judged(
    rates: NDArray[np.float64], losses: NDArray[np.float64], ended: Ended, smoothing: float = SMOOTHING
) -> RangeTest:
    """What to make of a curve.

    Where the loss is lowest the rate is too high for a run: it is about to diverge. Where it falls fastest the rate is
    often too low: with AdamW the first thing that is learned is how often each class or character comes, which takes
    little. Suggested is their geometric mean, the middle of Smith's range on a logarithmic axis, and at most a third of
    the rate where the loss is lowest. Measured in docs/tuning.md beside both rules.
    """
    smoothed = smooth(_cut(losses), smoothing) if len(losses) else losses
    bad = _bad(rates, losses, smoothed, ended)
    if bad is not None:
        return RangeTest(rates, losses, smoothed, ended, None, None, None, bad)
    bottom = int(smoothed.argmin())
    fallen = (smoothed[0] - smoothed[: bottom + 1]) / (smoothed[0] - smoothed[bottom])
    slopes = np.gradient(smoothed[: bottom + 1], np.log(rates[: bottom + 1]))
    # before a twentieth of the fall, and behind the rest but a twentieth, a slope is chance
    slopes[(fallen < 0.05) | (fallen > 0.95)] = math.inf
    steepest, lowest = float(rates[slopes.argmin()]), float(rates[bottom])
    suggestion = min(math.sqrt(steepest * lowest), lowest / 3)
    reason = (
        f"The loss fell from {smoothed[0]:.4g} to {smoothed[bottom]:.4g}, fastest at the rate {steepest:.2g}, and was "
        f"lowest at {lowest:.2g}, where it is about to rise; {suggestion:.2g} lies between."
    )
    return RangeTest(rates, losses, smoothed, ended, steepest, lowest, suggestion, reason)


def _cut(losses: NDArray[np.float64]) -> NDArray[np.float64]:
    """Behind the lowest point not above the start: the last losses may be hundreds of times the others, and would be
    all that is seen of those before them.
    """
    bottom, start = int(losses.argmin()), float(losses[: LEAST // 2].mean())
    if bottom < LEAST:
        return losses
    return np.concatenate([losses[:bottom], np.minimum(losses[bottom:], start)])


def _bad(
    rates: NDArray[np.float64], losses: NDArray[np.float64], smoothed: NDArray[np.float64], ended: Ended
) -> str | None:
    """What is bad about the curve, and what to do; None if nothing is."""
    count = len(losses)
    early = "not finite" if ended == "not finite" else "far above its start"
    if count < LEAST:
        return f"The loss was {early} within {count + 1} updates; check the data, or begin with a much lower rate."
    bottom = int(smoothed.argmin())
    start, end, low = float(smoothed[0]), float(smoothed[-1]), float(smoothed[bottom])
    spread = _spread((losses - smoothed)[: max(bottom + 1, LEAST)])
    least = max(SPREADS * spread, 0.01 * abs(start))
    path = f"from {start:.4g} at the rate {rates[0]:.2g}"
    if start - low < least:
        if ended != "highest rate" or end - start > least:
            return f"The loss only rose, {path} to {end:.4g} at {rates[-1]:.2g}; begin with a lower rate."
        if SPREADS * spread > 0.01 * abs(start):
            return (
                f"The loss is too noisy: it fell by {start - low:.2g} and differs by {spread:.2g} from batch to batch; "
                "take larger batches or more updates."
            )
        return f"The loss is flat: {path} it fell by {start - low:.2g} only; end with a higher rate, or let it learn."
    if bottom < LEAST:
        return (
            f"The loss was lowest after {bottom + 1} updates, at the rate {rates[bottom]:.2g}: too few points to read "
            "a slope off; begin with a lower rate or take more updates."
        )
    if ended == "highest rate" and bottom >= count - max(3, count // 20):
        return f"The loss was still falling at the highest rate, {rates[-1]:.2g}; end with a higher one."
    return None


def _spread(values: NDArray[np.float64]) -> float:
    """A standard deviation that outliers don't change: 1.4826 times the median distance from the median."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))


@contextlib.contextmanager
def preserved(
    network: nn.Module | None = None,
    optimizer: torch.optim.Optimizer | None = None,
    generators: Sequence[torch.Generator | np.random.Generator | random.Random] = (),
) -> Iterator[None]:
    """Behind the block, however it ends, the network, the optimizer and all generators are as before, bit for bit.

    Raises:
        UsageError: a lazy layer has not seen a batch yet.
    """
    restore: list[Callable[[], Any]] = [_random(), *(_generator(one) for one in generators)]
    trained = [] if optimizer is None else [p for group in optimizer.param_groups for p in group["params"]]
    restore.append(_tensors([] if network is None else list(network.modules()), trained))
    if optimizer is not None:
        restore.append(_optimizer(optimizer))
    try:
        yield
    finally:
        with interruptible() as interruption:
            for put_back in restore:
                put_back()
        if interruption.asked:
            raise Interrupted("Stopped; everything is as it was before.")


def _random() -> Callable[[], None]:
    python, numpy, cpu = random.getstate(), np.random.get_state(), torch.get_rng_state()
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_available() else None
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None

    def put_back() -> None:
        random.setstate(python)
        np.random.set_state(numpy)
        torch.set_rng_state(cpu)
        if cuda is not None:
            torch.cuda.set_rng_state_all(cuda)
        if mps is not None:
            torch.mps.set_rng_state(mps)

    return put_back


def _generator(one: torch.Generator | np.random.Generator | random.Random) -> Callable[[], Any]:
    if isinstance(one, random.Random):
        drawn = one.getstate()
        return lambda: one.setstate(drawn)
    if isinstance(one, np.random.Generator):
        bits = copy.deepcopy(one.bit_generator.state)
        return lambda: setattr(one.bit_generator, "state", bits)
    state = one.get_state()
    return lambda: one.set_state(state)


def _tensors(modules: list[nn.Module], trained: list[Tensor]) -> Callable[[], None]:
    """The tensors themselves are kept, so that whoever refers to one refers to the right one behind."""
    modes = [module.training for module in modules]
    homes: list[dict[str, Any]] = [home for module in modules for home in (module._parameters, module._buffers)]
    held = [dict(home) for home in homes]
    tensors = {id(t): t for t in [*trained, *(t for home in held for t in home.values())] if t is not None}
    if any(nn.parameter.is_lazy(t) for t in tensors.values()):
        raise UsageError("A lazy layer of the network has no weights yet; run the network on a batch first.")
    values = {name: t.detach().clone() for name, t in tensors.items()}
    gradients = {name: t.grad for name, t in tensors.items() if t.is_leaf}
    for name in gradients:
        tensors[name].grad = None  # the block makes new ones and leaves these alone

    @torch.no_grad()
    def put_back() -> None:
        for home, before in zip(homes, held, strict=True):
            home.clear()
            home.update(before)
        for name, tensor in tensors.items():
            tensor.copy_(values[name])
        for name, gradient in gradients.items():
            tensors[name].grad = gradient
        for module, mode in zip(modules, modes, strict=True):
            module.training = mode

    return put_back


def _optimizer(optimizer: torch.optim.Optimizer) -> Callable[[], None]:
    """The block works on a copy of the state; the state itself comes back."""
    state, groups = optimizer.state, [dict(group) for group in optimizer.param_groups]
    optimizer.state = defaultdict(dict, {parameter: copy.deepcopy(own) for parameter, own in state.items()})

    def put_back() -> None:
        optimizer.state = state
        for group, before in zip(optimizer.param_groups, groups, strict=True):
            group.clear()
            group.update(before)

    return put_back
