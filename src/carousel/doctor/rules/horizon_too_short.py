"""The window of truncated backpropagation is shorter than the dependency: no gradient ever links cause and effect.

Seen on the data. The recorded windows follow each other; over all of them, how well does the input k steps ago alone
predict the target? If lags beyond the window predict it far better than all lags within, the window is too short.

Where the target depends on inputs within the window too, the squared error tells: all lags within the window together
leave far more of it than they do with the best lag beyond, and the run has stayed above that.

A forecaster is given windows of a series as its samples, in any order. Windows that overlap tell which value comes
behind which, and so the series can be put together again. There all lags within a window must do worse together, as
the network is given them together, than one lag beyond it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from statistics import mode

import torch
from torch import Tensor

from ..findings import Finding
from ..joined import Changed, cuts, fresh, joined
from ..lab import Lab
from ..pairs import targets
from ..record import Record
from ..tape import Slot, Tape, slots_in
from ..through_time import CELLS, LAYERS
from ..watch import LOSSES

CODE = "horizon-too-short"
EXPLAINS = ("vanishing-gradient-time",)

WINDOWS = 8
"""Lags are looked at up to so many windows."""

BETTER = 3.0
"""Of the explained shares of the target's variance, beyond the window over within it; and of squared errors, what the
lags within leave, and the run, over what is left with one beyond."""

LEAST = 0.05
"""Share that the lag beyond the window must explain by itself."""

OVERLAP, AGREED = 2, 0.95
"""Windows in which a value stands, on the average, and the share of values behind which all see the same."""

FEW = 10
"""Samples for each number of a window."""

UNREACHED = 0.25
"""Of the positions in a window that begins with an empty state: those for which the input that matters lies before."""

SHARE = 0.7
"""Of the time left for experiments: where this one says nothing, others may."""


@dataclass(frozen=True)
class Lags:
    """The window, and the best share of the target's variance that one lag explains, within and beyond it.

    Attributes:
        emptied: each window begins with an empty state; `beyond` is of inputs that lie in a window before.
        unreached: of the positions in such a window, the share for which `lag` is the one that matters, and lies there;
            `within` is the most that a lag within it explains for these.
        given: the windows are the samples, and `within` is the share that all lags within one explain together.
        left: the squared error that the best lag beyond the window leaves, in a stream with those within it; 0 where
            the loss is another one.
        left_within: the squared error that all lags within the window of a stream leave.
    """

    window: int
    within: float
    beyond: float
    lag: int
    samples: int
    given: bool = False
    left: float = 0.0
    left_within: float = 0.0
    emptied: bool = False
    unreached: float = 0.0


def findings(record: Record) -> list[Finding]:
    """Where the best lag lies beyond the window, or where a network with its states handed on does far better."""
    lab = record.lab
    if lab is None or not lab.tapes:
        return []
    return _beyond(lab, record) or _interrupted(lab, record)


def _beyond(lab: Lab, record: Record) -> list[Finding]:
    found: Lags | None = lab.ask("lags", lambda in_time: experiment(lab, in_time))
    chance = 20.0 / found.samples if found else 0.0
    if found is not None and found.emptied:
        return [_of_emptied(found)] if found.unreached >= UNREACHED else []
    if found is None or found.beyond < LEAST + chance:
        return []
    if found.beyond < BETTER * (found.within + chance):
        return _together(found, record)
    if found.given:
        return [_of_samples(found)] if record.last_loss() > found.left else []  # what is not linear may do better
    return [
        Finding(
            CODE,
            "error",
            f"the window of {found.window} steps",
            f"The input {found.lag} steps before explains {found.beyond:.0%} of the target's variance, the best of the "
            f"{found.window} lags within a window {found.within:.1%}: no gradient links the two.",
            f"Use windows of more than {found.lag} steps (2 to 4 times as many is better), and carry the detached "
            "state from one window to the next.",
        )
    ]


def _together(found: Lags, record: Record) -> list[Finding]:
    """Where the lags within the window say something, and far more with one beyond it."""
    end = record.last_loss()
    if not 0 < BETTER * found.left < min(found.left_within, end):
        return []
    return [
        Finding(
            CODE,
            "error",
            f"the window of {found.window} steps",
            f"A linear function of the inputs at the {found.window} lags within a window leaves a squared error of "
            f"{found.left_within:.3g}, with the input {found.lag} steps before in addition {found.left:.3g}; the run "
            f"was at {end:.3g}: no gradient links that input and the target.",
            f"Use windows of more than {found.lag} steps (2 to 4 times as many is better), and carry the detached "
            "state from one window to the next.",
        )
    ]


def _of_emptied(found: Lags) -> Finding:
    return Finding(
        CODE,
        "error",
        f"the state at the start of each window of {found.window} steps",
        f"Each window begins with an empty state, though it continues the one before: the input {found.lag} steps "
        f"before explains {found.beyond:.0%} of the target's variance also where it lies in a window before. At "
        f"{found.unreached:.0%} of the steps it does, and there what is in the window explains {found.within:.1%} at "
        "most.",
        "Carry the state from one window to the next: keep what the layer returns, detach it, and pass it with the "
        "next batch (state = state.detach()).",
    )


def _interrupted(lab: Lab, record: Record) -> list[Finding]:
    """Of a state that is detached on its way, or forgotten from call to call."""
    end, run = record.lowest_loss(), [loss for _, loss in record.course()]
    for name, which, what, without, fix in (
        (
            "detached inside",
            cuts,
            "The state is detached on its way to the loss",
            "without that",
            "Detach the state between updates only, not inside of the sequence that a loss is made of; to save memory, "
            "use shorter sequences or torch.utils.checkpoint.",
        ),
        (
            "empty again",
            fresh,
            "A recurrent layer is called again and again with an empty state",
            "with the state handed on from call to call",
            "Keep the state that a call returns and pass it to the next: state = cell(x[t], state).",
        ),
    ):
        calls = which(lab.tapes[0])
        if not calls:
            continue
        work = partial(joined, lab, which, run=run, end=end)
        found: Changed | None = lab.ask(name, work, SHARE)
        if found is None:
            continue
        return [
            Finding(
                CODE,
                "error",
                f"the state, {len(calls)} times in a step of training",
                f"{what}. From the same start, {found.updates} updates {without} brought the loss from "
                f"{found.start:.3g} to {found.after:.3g} (on batches that were held out); the run, in {record.steps} "
                f"updates, came to {end:.3g}.",
                fix,
            )
        ]
    return []


def _of_samples(found: Lags) -> Finding:
    return Finding(
        CODE,
        "error",
        f"the window of {found.window} steps",
        f"With the series put together again from the overlapping windows, the value {found.lag} steps before the end "
        f"of a window, which is not in it, explains {found.beyond:.0%} of the target's variance by itself; the "
        f"{found.window} values in the window explain {found.within:.1%} together.",
        f"Cut windows of more than {found.lag + 1} steps, or add the value of that time as an input.",
    )


@dataclass(frozen=True)
class Window:
    """What one tape holds of the stream.

    Attributes:
        kind: of the loss.
        x: inputs, or identities of tokens (time, batch, features).
        y: targets (time, batch, columns), of the steps that have one.
        told: which these are.
        begins: the state before it is zero: a new sequence.
    """

    kind: str
    x: Tensor
    y: Tensor
    told: Tensor
    begins: bool = False


def experiment(lab: Lab, in_time: Callable[[], bool]) -> Lags | None:
    """How well inputs explain targets by their lag; None where neither steps nor samples are windows of a sequence."""
    found = [_window(tape) or _loop(tape) for tape in lab.recorder.tapes]
    windows = [w for w in found if w is not None]
    if len(windows) < max(WINDOWS, len(found)) or len({(w.kind, w.x.shape[1:], w.y.shape[1:]) for w in windows}) != 1:
        return _stitched(lab, in_time)
    if all(w.begins for w in windows) and len({w.x.shape for w in windows}) == 1 and all(w.told.all() for w in windows):
        return _emptied(windows, in_time)
    kind, x = windows[0].kind, torch.cat([w.x for w in windows])
    x = _columns(x, kind if x.is_floating_point() else "cross_entropy")
    y, told = _columns(torch.cat([w.y for w in windows]), kind), torch.cat([w.told for w in windows])
    where = told.long().cumsum(0) - 1
    sequence = torch.cat([torch.arange(len(w.x)).eq(0) & w.begins for w in windows]).long().cumsum(0)
    length = mode(len(w.x) for w in windows)
    shares = []
    for lag in range(min(WINDOWS * length, len(x) // 2)):
        if not in_time():
            return None
        at = (told[lag:] & (sequence[lag:] == sequence[: len(x) - lag])).nonzero().flatten()
        shares.append(_explained(x[at], y[where[at + lag]]) if len(at) else 0.0)
    within, beyond = max(shares[:length]), max(shares[length:], default=0.0)
    lag = length + shares[length:].index(beyond) if shares[length:] else 0
    lags = Lags(length, within, beyond, lag, y[..., 0].numel())
    if kind != "mse_loss" or not lag or not told.all() or length * x.shape[-1] * FEW > lags.samples:
        return lags
    at = torch.arange(lag, len(x))[sequence[lag:] == sequence[: len(x) - lag]]
    near = torch.cat([x[at - k] for k in range(length)], -1)
    left, both = _left(near, y[at]), _left(torch.cat([near, x[at - lag]], -1), y[at])
    return replace(lags, left_within=left, left=both)


def _emptied(windows: list[Window], in_time: Callable[[], bool]) -> Lags | None:
    """Of windows that begin with an empty state: what says more than all that is in the window, and lies before it.

    Positions in a window may each have a mean of their own. Without these, windows that do not continue each other say
    nothing about each other.
    """
    kind, length = windows[0].kind, len(windows[0].x)
    x = torch.cat([w.x for w in windows])
    x = _columns(x, kind if x.is_floating_point() else "cross_entropy")
    y = _columns(torch.cat([w.y for w in windows]), kind)
    position = torch.arange(len(x)) % length
    apart = [_by_position(v, length) for v in (x, y)]
    inside, before = list[float](), list[float]()
    for lag in range(min(WINDOWS * length, len(x) // 2)):
        if not in_time():
            return None
        same, other = (position >= lag).nonzero().flatten(), (position < lag).nonzero().flatten()
        other = other[other >= lag]
        inside.append(_explained(x[same - lag], y[same]) if len(same) else 0.0)
        enough = len(other) * x.shape[1] >= FEW * x.shape[2]
        before.append(_explained(apart[0][other - lag], apart[1][other]) if len(other) and enough else 0.0)
    beyond = max(before)
    lag = before.index(beyond)
    chance = 20.0 / (sum(1 for t in position.tolist() if t < lag) * x.shape[1] or 1)
    reached = [max(inside[: t + 1]) for t in range(length)]
    without = [t for t in range(min(lag, length)) if beyond > max(LEAST + chance, BETTER * (reached[t] + chance))]
    within = max((reached[t] for t in without), default=0.0)
    return Lags(length, within, beyond, lag, y[..., 0].numel(), emptied=True, unreached=len(without) / length)


def _by_position(values: Tensor, length: int) -> Tensor:
    """Less the mean of each position in a window."""
    by = values.unflatten(0, (-1, length))
    return (by - by.mean((0, 2), keepdim=True)).flatten(0, 1)


def _stitched(lab: Lab, in_time: Callable[[], bool]) -> Lags | None:
    """Where the samples are windows of a series."""
    found = targets(lab)
    xs = [x for tape in lab.tapes for x in lab.data_slots(tape).values()]
    if found is None or len({x.shape[1:] for x in xs}) != 1 or xs[0].ndim not in (2, 3):
        return None
    x, y = torch.cat(xs).cpu(), _columns(torch.cat(found[1]).cpu()[:, None], found[0])
    for rows in (x.unsqueeze(-1),) if x.ndim == 2 else (x, x.transpose(1, 2)):  # (windows, steps, features)
        chain = _chain(rows)
        if chain is not None:
            lags = _by_place(rows, y, *chain, in_time)
            if lags is None or found[0] != "mse_loss":
                return lags
            return replace(lags, left=(1 - lags.beyond) * float(y.var()))
    return None


def _chain(rows: Tensor) -> tuple[Tensor, Tensor, Tensor] | None:
    """For each window the place of its end in the series, and the rows of that and where they begin.

    None where the windows do not overlap, or do not agree about what comes behind a row.
    """
    count, steps, features = rows.shape
    if steps < 2:
        return None
    values, names = rows.reshape(-1, features).unique(dim=0, return_inverse=True)
    names = names.reshape(count, steps)
    if len(values) * OVERLAP > names.numel():
        return None
    behind = torch.full((len(values),), -1)
    now, following = names[:, :-1].flatten(), names[:, 1:].flatten()
    behind[now] = following
    first = torch.ones(len(values), dtype=torch.bool)
    first[following] = False
    if float((behind[now] == following).float().mean()) < AGREED:
        return None
    successor, order, begins = behind.tolist(), list[int](), list[int]()
    seen = set[int]()
    for name in first.nonzero().flatten().tolist():
        begin = len(order)
        while name >= 0 and name not in seen:
            seen.add(name)
            order.append(name)
            begins.append(begin)
            name = successor[name]
    place = torch.full((len(values),), -1)
    place[order] = torch.arange(len(order))
    return place[names[:, -1]], values[order], torch.tensor(begins)


def _by_place(
    rows: Tensor, y: Tensor, ends: Tensor, series: Tensor, begins: Tensor, in_time: Callable[[], bool]
) -> Lags | None:
    inside, steps = ends >= 0, rows.shape[1]
    rows, y, ends = rows[inside], y[inside], ends[inside]
    if rows[0].numel() * FEW > len(rows):  # so many numbers explain anything
        return None
    within, shares = _explained(rows.flatten(1).double()[None], y[None]), list[float]()
    for lag in range(steps, min(WINDOWS * steps, len(series) // 2)):
        if not in_time():
            return None
        there = ends - lag >= begins[ends]
        enough = int(there.sum()) * 2 > len(ends)
        shares.append(_explained(series[ends[there] - lag].double()[None], y[there][None]) if enough else 0.0)
    beyond = max(shares, default=0.0)
    return Lags(steps, within, beyond, steps + shares.index(beyond) if shares else 0, len(y), given=True)


def _window(tape: Tape) -> Window | None:
    """Of a recurrent layer."""
    layers = [call for call in tape.calls if call.name in LAYERS and len(call.args) == 9]
    losses = [call for call in tape.calls if call.name in LOSSES and len(call.args) > 1]
    if not layers or len(losses) != 1 or not isinstance(losses[0].args[1], Slot):
        return None
    batch_first = bool(layers[0].args[8])
    x, y = _given(tape, layers[0].args[0]), tape.given.get(losses[0].args[1].number)
    if x is None or y is None or x.ndim != 3:
        return None
    x = x.transpose(0, 1) if batch_first else x
    time, batch = x.shape[:2]
    if y.numel() % (time * batch):
        return None
    if y.shape[:2] == (batch, time) and (batch_first or batch != time):
        y = y.transpose(0, 1)
    elif y.shape[:2] != (time, batch):  # made flat
        y = y.reshape(batch, time, -1).transpose(0, 1) if batch_first else y.reshape(time, batch, -1)
    state = [tape.given.get(slot.number) for slot in slots_in(layers[0].args[1])]
    told = torch.ones(time, dtype=torch.bool)
    return Window(losses[0].name, x, y.reshape(time, batch, -1), told, _is_zero(state))


def _loop(tape: Tape) -> Window | None:
    """Of a loop over a cell, with a loss at each step or at some."""
    steps: list[Tensor] = []
    targets: dict[int, tuple[str, Tensor]] = {}
    begins = False
    for call in tape.calls:
        if call.name in CELLS:
            x, state = _given(tape, call.args[0]), [tape.given.get(slot.number) for slot in slots_in(call.args[1])]
            if x is None or x.ndim != 2:  # a layer on top of another
                continue
            begins = begins or (not steps and _is_zero(state))
            steps.append(x)
        elif call.name in LOSSES and steps and len(call.args) > 1 and isinstance(call.args[1], Slot):
            y = tape.given.get(call.args[1].number)
            if y is None or len(steps) in targets or not y.ndim or len(y) != len(steps[-1]):
                return None
            targets[len(steps)] = call.name, y.reshape(len(y), -1)
    if not targets or len({x.shape for x in steps}) != 1 or len({kind for kind, _ in targets.values()}) != 1:
        return None
    told = torch.tensor([step + 1 in targets for step in range(len(steps))])
    y = torch.stack([y for _, y in targets.values()])
    if not y.is_floating_point() and y.shape[2] > 1:  # classes of all steps at once (batch, time)
        if y.shape[0] > 1 or y.shape[2] != len(steps):
            return None
        y, told = y.permute(2, 1, 0), torch.ones_like(told)
    return Window(next(iter(targets.values()))[0], torch.stack(steps), y, told, begins)


def _is_zero(state: list[Tensor | None]) -> bool:
    return all(s is not None and not bool(s.any()) for s in state)


def _given(tape: Tape, slot: Slot) -> Tensor | None:
    """The data that is read, or the identities of the tokens whose vectors are read."""
    x = tape.given.get(slot.number)
    if x is not None:
        return None if x.requires_grad else x
    for call in tape.calls:
        if call.name == "embedding" and slot in call.outputs and isinstance(call.args[0], Slot):
            ids = tape.given.get(call.args[0].number)
            return None if ids is None else ids.unsqueeze(-1)
    return None


def _columns(y: Tensor, loss: str) -> Tensor:
    """Classes as columns of zeros and ones: the commonest sixteen."""
    if loss not in ("cross_entropy", "nll_loss") or y.is_floating_point():
        return y.double()
    classes, counts = y.unique(return_counts=True)
    common = classes[counts.argsort(descending=True)][:16]
    return (y == common).double()


def _left(x: Tensor, y: Tensor) -> float:
    """The mean squared error of the best linear function."""
    x, y = x.flatten(0, 1), y.flatten(0, 1)
    x, y = x - x.mean(0), y - y.mean(0)
    return float((y - x @ torch.linalg.lstsq(x, y).solution).square().mean())


def _explained(x: Tensor, y: Tensor) -> float:
    """The share of the variance of y that a linear function of x explains, at its best column."""
    x, y = x.flatten(0, 1), y.flatten(0, 1)
    x, y = x - x.mean(0), y - y.mean(0)
    solution = torch.linalg.lstsq(x, y).solution
    left = (y - x @ solution).square().sum(0)
    total = y.square().sum(0).clamp_min(1e-12)
    return float((1 - left / total).max())
