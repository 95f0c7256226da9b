"""Small experiments with copies of the network: what would have come of the run with one thing changed?

A `Lab` keeps the first steps of a run as tapes, and the weights from which it began. An experiment begins from these
weights, trains on the recorded batches with one thing changed, and compares the loss on recorded batches that it has
not trained on. It takes place in a copy of the process (`apart`), so that it can change
nothing in the run.
"""

from __future__ import annotations

import copy
import functools
import math
import os
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from .apart import Apart, Trouble, can_fork
from .lines import line
from .recorder import Recorder
from .tape import Change, Slot, Tape

__all__ = ["Experiment", "Lab", "LearningRates", "Reliance", "far_below", "learning_rates"]

UPDATES = 60
"""Of a trial: enough to see a loss fall, few enough to cost little."""

HELD_OUT = 4
"""Every so many of the tapes is kept for the comparison."""

LEAST_TAPES = 8

SHARE, SECONDS = 0.3, 2.0
"""Of the time of the run, that all experiments together may take by default, and seconds beside it."""

CONFIRMING = 3.0
"""Seconds for an experiment that confirms what another has shown to be likely."""

LADDERS = ((10.0, 100.0, 1000.0), (0.1, 0.01))
"""Factors of the learning rate; the next is tried where the one before was not worse."""

FALLEN = 0.01
"""Of the peak of the learning rate: next to nothing."""

NOISE = 0.03
"""Of a loss: what dropout and the choice of batches make of it."""

PATIENCE = 600.0
"""Seconds of a processor that is free, for experiments beside the run."""

MEANINGFUL = 0.1
"""Of the loss at the start: a fall in an experiment that is more than chance in the choice of batches."""

PROGRESS = 0.5
"""Share of an experiment's progress that a run made in all its updates: less than half means that it was held up."""

T = TypeVar("T")

Work = Callable[[Callable[[], bool]], Any]

Experiment = Callable[["Lab", Callable[[], bool]], Any]


@dataclass(frozen=True)
class LearningRates:
    """What a few updates from the start make of the loss.

    Attributes:
        updates: how many.
        start: the loss on held-out batches at the start.
        after: by factor of the learning rate, the loss behind the updates; infinite where it was no number.
    """

    updates: int
    start: float
    after: dict[float, float]


@dataclass(frozen=True)
class Reliance:
    """The loss at the end of the run, and what it is when the rows of the inputs change places."""

    loss: float
    mixed: float

    @property
    def is_none(self) -> bool:
        """The network says the same whatever it sees: the loss is no better than with the wrong inputs."""
        return self.loss > 0 and self.mixed < 1.05 * self.loss


class Lab:
    """A listener for `Watch` that makes experiments possible.

    Args:
        ahead: experiments, by name, that are begun beside the run as soon as there are tapes, if there is a second
            processor: they may be asked for at its end.
        share, seconds: all experiments together may take this share of the time of the run, and so many seconds more.

    Attributes:
        recorder: its tapes.
        paused: no new experiments are made for now; the results of those that were made are there.
        optimizer: the one of the run.
        weights: its parameters, each with what it was at the start.
        peak: the greatest learning rate of each parameter group.
        fell: the update at which all learning rates had fallen below a hundredth of their peak.
        troubles: what went wrong in experiments.
        one_epoch: the tapes hold no sample twice.
        first_epoch: how many tapes come before a sample is seen again.
    """

    def __init__(
        self, ahead: Mapping[str, Experiment] | None = None, *, share: float = SHARE, seconds: float = SECONDS
    ) -> None:
        self.share, self.seconds, self.paused = share, seconds, False
        self.recorder = Recorder()
        self.optimizer: torch.optim.Optimizer | None = None
        self.peak: list[float] = []
        self.fell: int | None = None
        self.troubles: list[str] = []
        self.one_epoch, self.first_epoch = False, 0
        self._lines: dict[int, str | None] = {}
        self._several = False
        self._updates = 0
        self._usable: tuple[int, list[Tape]] | None = None
        self.weights: list[tuple[Tensor, Tensor]] = []
        self._state: dict[str, Any] = {}
        self._began = self._ended = time.monotonic()
        self._spent = 0.0
        self._ahead = dict(ahead or {})
        self._beside: Apart | None = None
        self._is_beside: frozenset[str] = frozenset()
        self._begun_with: list[float] = []
        self._known: dict[str, Any] = {}

    # events

    def compiles(self) -> None:
        """For the recorder."""
        self.recorder.compiles()

    def made(self, optimizer: torch.optim.Optimizer) -> None:
        """Remember the line."""
        self._lines[id(optimizer)] = line()

    def enter(self, module: nn.Module, learning: bool) -> bool:
        """For the recorder."""
        self.recorder.enter(module, learning)
        return False

    def zero_grad(self) -> None:
        """For the recorder."""
        self.recorder.zero_grad()

    def before_backward(self, roots: tuple[Tensor, ...], how: str, retain: bool) -> None:
        """For the recorder."""
        self.recorder.before_backward(roots, how, retain)

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Keep the weights of the start."""
        rates = [float(group["lr"]) for group in optimizer.param_groups if "lr" in group]
        if self.optimizer is None:
            self.optimizer, self.peak, self._began = optimizer, rates, time.monotonic()
            self.weights = [(p, p.detach().clone()) for group in optimizer.param_groups for p in group["params"]]
            self._state = copy.deepcopy(optimizer.state_dict())
        elif optimizer is not self.optimizer:
            self._several = True
        elif len(rates) == len(self.peak):
            self.peak = [max(pair) for pair in zip(self.peak, rates, strict=True)]
        if self.fell is None and rates and max(rates) < FALLEN * max(self.peak):
            self.fell = self._updates
        self._updates += 1
        self.recorder.before_step(optimizer)

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """For the recorder."""
        self._ended = time.monotonic()
        self.recorder.after_step(optimizer)
        if self._ahead and self.recorder.is_done:
            self._go_ahead()

    def _go_ahead(self) -> None:
        """Begin with experiments while the run goes on."""
        works, self._ahead = self._ahead, {}
        self._is_beside = frozenset(works)
        if self.why_not is None and _processors() > 1:
            self._begun_with = self.peak
            self._beside = Apart({n: functools.partial(work, self) for n, work in works.items()}, PATIENCE)

    def close(self) -> None:
        """The watch has ended."""
        self.recorder.close()

    def end(self) -> None:
        """There are no more questions."""
        if self._beside is not None:
            self._beside.close()
            self._beside = None

    # what there is

    @property
    def why_not(self) -> str | None:
        """In words, why no experiment is possible; None if one is."""
        if not can_fork():
            return "the process cannot be copied, on this system or while a device is in use"
        if self._several:
            return "several optimizers update the network"
        if isinstance(self.optimizer, torch.optim.LBFGS):
            return "the optimizer makes several passes an update"
        if len(self.tapes) < LEAST_TAPES:
            return self.recorder.why_not or f"fewer than {LEAST_TAPES} updates were made"
        return None

    @property
    def tapes(self) -> list[Tape]:
        """Those that can be replayed, of the first epoch: what is held out must not come again."""
        if self._usable is None or len(self.recorder.tapes) != self._usable[0]:
            fresh = [tape for tape in self.recorder.tapes if tape.fresh]
            self.first_epoch = first = self._first_epoch(fresh)
            self.one_epoch = first >= LEAST_TAPES
            self._usable = len(self.recorder.tapes), fresh[:first] if self.one_epoch else fresh
        return self._usable[1]

    def _first_epoch(self, tapes: list[Tape]) -> int:
        """How many tapes come before a sample is seen again."""
        seen: set[int] = set()
        for number, tape in enumerate(tapes):
            rows = {hash(row.tobytes()) for x in self.data_slots(tape).values() for row in x.cpu().numpy()}
            if len(rows & seen) * 4 > len(rows):
                return number
            seen |= rows
        return len(tapes)

    @property
    def place(self) -> str:
        """The learning rate, and the line that makes the optimizer."""
        at = self._lines.get(id(self.optimizer))
        return f"the learning rate of {type(self.optimizer).__name__}" + (f" ({at})" if at else "")

    def rate_text(self, factor: float = 1.0) -> str:
        """The peak learning rate, times a factor."""
        return " and ".join(f"lr={factor * rate:g}" for rate in dict.fromkeys(self.peak))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        found = {name: _plain(value) for name, value in self._known.items() if value is not None}
        if self.troubles:
            found["troubles"] = list(self.troubles)
        return {"why_not": self.why_not, "batches": len(self.tapes), "seconds": round(self._spent, 2), **found}

    # experiments

    def learning_rates(self) -> LearningRates | None:
        """Trials with other learning rates."""
        return self.ask("learning_rates", functools.partial(learning_rates, self))

    def long_trial(self, factor: float, updates: int) -> float | None:
        """A trial of more updates, where a shorter one has done far better than the run."""
        return self.ask("longer", lambda in_time: self.trial(in_time, factor=factor, updates=updates), more=CONFIRMING)

    def reliance(self) -> Reliance | None:
        """Whether the network, as it is at the end, makes use of its inputs."""

        def work(in_time: Callable[[], bool]) -> Reliance | None:
            generator = torch.Generator().manual_seed(0)
            losses: list[list[float]] = [[], []]
            for tape in self.tapes:
                given = self.data_slots(tape) | _tokens(tape)
                if not given or not in_time():
                    return None
                orders = {len(x): torch.randperm(len(x), generator=generator) for x in map(_rows, given.values())}
                mixed = {n: _rows(x)[orders[len(_rows(x))]].reshape(x.shape) for n, x in given.items()}
                with torch.no_grad():
                    for values, other in zip(losses, ({}, mixed), strict=True):
                        values += [float(v.detach()) for v in tape.replay(backward=False, given=other)]
            return Reliance(*(sum(values) / len(values) for values in losses))

        return self.ask("reliance", work)

    def ask(
        self, name: str, work: Callable[[Callable[[], bool]], T], share: float = 1.0, more: float = 0.0
    ) -> T | None:
        """Let `work` be done in a copy of the process, once; None where it cannot be.

        Args:
            name: of the result.
            work: is told whether there is time left.
            share: of the time left for all experiments, that this one has.
            more: seconds beside it, for one that is only made where others have shown that something is wrong.
        """
        if name not in self._known:
            if self.paused:
                return None
            self._known[name] = self._done(name, work, share, more)
        return self._known[name]

    def found(self, name: str) -> Any:
        """What came of an experiment, None if it was not made."""
        return self._known.get(name)

    def _done(self, name: str, work: Work, share: float, more: float) -> Any:
        left = more + share * max(0.0, self.share * (self._ended - self._began) + self.seconds - self._spent)
        if self.why_not is not None or left <= 0:
            return None
        if self._beside is not None and name in self._is_beside and self.peak == self._begun_with:
            one, before = self._beside, self._beside.spent
            result = one.result(name, left)
        else:
            one, before = Apart({name: work}, left), 0.0
            with one:
                result = one.result(name, 2 * left + 1)
        self._spent += one.spent - before
        if isinstance(result, Trouble):
            self.troubles.append(f"{name}: {result.why}")
            return None
        return result

    # for the experiments, in the child

    def data_slots(self, tape: Tape) -> dict[int, Tensor]:
        """What a tape is given that goes straight into a layer with weights: the network's inputs."""
        firsts = [call.args[0].number for call in tape.calls if call.weighs]
        given = {n: tape.given[n] for n in firsts if n in tape.given}
        return {n: t for n, t in given.items() if not t.requires_grad and t.is_floating_point() and t.ndim > 1}

    def restore(self, factor: float = 1.0) -> None:
        """As the run began, but for the learning rate."""
        assert self.optimizer is not None
        with torch.no_grad():
            for p, before in self.weights:
                p.copy_(before)
                p.grad = None
        self.optimizer.load_state_dict(copy.deepcopy(self._state))
        self.set_rates(factor)

    def set_rates(self, factor: float = 1.0) -> None:
        """The peak learning rates, times a factor."""
        assert self.optimizer is not None
        for group, rate in zip(self.optimizer.param_groups, self.peak, strict=False):
            if isinstance(group["lr"], Tensor):
                group["lr"].fill_(factor * rate)
            else:
                group["lr"] = factor * rate

    def trial(
        self,
        in_time: Callable[[], bool],
        *,
        factor: float = 1.0,
        change: Change | None = None,
        updates: int = UPDATES,
        starts: Mapping[int, Tensor] | None = None,
    ) -> float | None:
        """Train from the start with something changed; the loss on held-out batches, None when time runs out.

        Args:
            in_time: whether there is time left.
            factor: of the learning rate.
            change: other results of some calls.
            updates: how many.
            starts: by `id` of a parameter, other values for its start.
        """
        assert self.optimizer is not None
        self.restore(factor)
        with torch.no_grad():
            for p, start in self.weights:
                p.copy_((starts or {}).get(id(p), start))
        tapes = self.training_tapes
        for number in range(updates):
            if not in_time():
                return None
            self.update(tapes[number % len(tapes)], change)
        return self.held_out_loss(change)

    def update(self, tape: Tape, change: Change | None = None, clip: float = math.inf) -> None:
        """Train on one tape, with the norm of the gradients clipped."""
        assert self.optimizer is not None
        for p, _ in self.weights:
            p.grad = None
        tape.replay(change=change)
        if math.isfinite(clip):
            nn.utils.clip_grad_norm_([p for p, _ in self.weights], clip)
        self.optimizer.step()

    def from_here(self) -> Callable[[float], None]:
        """Keep the weights and the optimizer as they are; what puts them back, the learning rate times a factor."""
        rule = self.optimizer
        assert rule is not None
        weights = [(p, p.detach().clone()) for group in rule.param_groups for p in group["params"]]
        state = copy.deepcopy(rule.state_dict())

        def back(factor: float = 1.0) -> None:
            rule.load_state_dict(copy.deepcopy(state))
            with torch.no_grad():
                for p, before in weights:
                    p.copy_(before)
            for group in rule.param_groups:
                group["lr"] = factor * group["lr"]

        return back

    def held_out_loss(self, change: Change | None = None) -> float:
        """The mean over the held-out tapes."""
        with torch.no_grad():
            roots = [root for tape in self.held_out_tapes for root in tape.replay(backward=False, change=change)]
        losses = [float(root.detach()) for root in roots]
        mean = sum(losses) / len(losses)
        return mean if math.isfinite(mean) else math.inf

    @property
    def training_tapes(self) -> list[Tape]:
        """Those to train on."""
        return [tape for number, tape in enumerate(self.tapes) if number % HELD_OUT != HELD_OUT - 1]

    @property
    def held_out_tapes(self) -> list[Tape]:
        """Those to compare by."""
        return self.tapes[HELD_OUT - 1 :: HELD_OUT]


def far_below(start: float, after: float, end: float) -> bool:
    """Whether an experiment brought the loss from `start` so far down that a run that ended at `end` was held up."""
    fall = start - after
    return fall > MEANINGFUL * abs(start) and start - end < PROGRESS * fall


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def learning_rates(lab: Lab, in_time: Callable[[], bool]) -> LearningRates:
    """Trials with larger rates as long as they are no worse, then with smaller ones."""
    lab.restore()
    start, after = lab.held_out_loss(), dict[float, float]()
    for ladder in ((1.0,), *LADDERS):
        if ladder[0] > 1 and after.get(1.0, start) > start + MEANINGFUL * abs(start):  # still larger ones do no better
            continue
        best = after.get(1.0, math.inf)
        for factor in ladder:
            loss = lab.trial(in_time, factor=factor)
            if loss is None:
                break
            after[factor] = loss
            if loss > best + NOISE * abs(best) and math.isfinite(best):
                break
            best = min(best, loss)
    return LearningRates(UPDATES, start, after)


def _rows(x: Tensor) -> Tensor:
    return x.flatten(0, -2) if x.is_floating_point() else x.flatten()


def _tokens(tape: Tape) -> dict[int, Tensor]:
    """What is looked up in a table of vectors."""
    numbers = [c.args[0].number for c in tape.calls if c.name == "embedding" and isinstance(c.args[0], Slot)]
    return {n: tape.given[n] for n in numbers if n in tape.given}


def _plain(value: Any) -> Any:
    """For JSON: what is no number is None."""
    if is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in fields(value)}
    if isinstance(value, dict):
        return {str(key): _plain(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
