"""What becomes of a gradient on its way back through the steps of a recurrent network.

The recurrence is found on the tape: PyTorch's recurrent layers are run step by step in their own equations; in a loop
written by hand it is the parameter that is used again and again, each time on what the time before made.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from .lab import Lab
from .tape import Call, Slot, Tape

__all__ = ["CELLS", "LAYERS", "ThroughTime", "is_packed", "of_tape", "recurrent_matrices", "rounds", "through_time"]

LEAST_STEPS = 6
"""Uses of a parameter that make a recurrence."""

LAYERS = {"lstm": 4, "gru": 3, "rnn_tanh": 1, "rnn_relu": 1}
"""Recurrent layers of PyTorch, with the number of their gates."""

CELLS = ("lstm_cell", "gru_cell", "rnn_tanh_cell", "rnn_relu_cell")
"""A single step of each."""

PLAIN, PLAIN_CELLS = ("rnn_tanh", "rnn_relu"), ("rnn_tanh_cell", "rnn_relu_cell")
"""Those without gates."""

PRODUCTS = ("linear", "matmul", "__matmul__", "mm")

States = list[tuple[Tensor, ...]]


@dataclass(frozen=True)
class ThroughTime:
    """Norms of gradients by step, the earliest first; means over samples and tapes.

    Attributes:
        kind: the recurrent function, such as "lstm".
        loss: of the loss, to the states.
        last: of a random projection of the last state, to the states, as a share of that to the last.
    """

    kind: str
    loss: list[float]
    last: list[float]


def through_time(lab: Lab, *, at_start: bool) -> ThroughTime | None:
    """Of the longest recurrence, with the weights of the start or of the end; None where there is none."""
    if not lab.tapes or not _recurs(lab.tapes[0]):
        return None
    name = f"through time, {'start' if at_start else 'end'}"
    return lab.ask(name, lambda in_time: from_start(lab, in_time) if at_start else _measured(lab, in_time))


def from_start(lab: Lab, in_time: Callable[[], bool]) -> ThroughTime | None:
    """With the weights of the start."""
    if not lab.tapes or not _recurs(lab.tapes[0]):
        return None
    lab.restore()
    return _measured(lab, in_time)


def _measured(lab: Lab, in_time: Callable[[], bool]) -> ThroughTime | None:
    found = [of_tape(tape) for tape in lab.tapes[:4] if in_time()]
    kept = [f for f in found if f is not None and len(f.last) == len(found[0].last if found[0] else [])]
    if not kept:
        return None
    means = [torch.tensor([getattr(f, which) for f in kept]).mean(0).tolist() for which in ("loss", "last")]
    return ThroughTime(kept[0].kind, *means)


def _recurs(tape: Tape) -> bool:
    """Whether there may be a recurrence."""
    return any(call.name in LAYERS for call in tape.calls) or rounds(tape) > 0


def rounds(tape: Tape) -> int:
    """How often a loop written by hand uses the same parameter; 0 where that is no recurrence."""
    parameters = tape.parameters
    uses = Counter(slot for call in tape.calls for slot in set(call.inputs) if slot.number in parameters)
    most = max(uses.values(), default=0)
    return most if most >= LEAST_STEPS else 0


def recurrent_matrices(tape: Tape) -> list[Tensor]:
    """The square parameters that lead from a state to the next one, of recurrences without gates."""
    parameters, found = tape.parameters, dict[int, Tensor]()
    for call in tape.calls:
        slots: list[Any] = []
        if call.name in PLAIN and len(call.args) == 9:
            weights, biased = call.args[3:5] if is_packed(call.args) else call.args[2:4]
            slots = list(weights)[1 :: 4 if biased else 2]  # of the inputs, of the state, and their biases
        elif call.name in PLAIN_CELLS and len(call.args) > 3:
            slots = [call.args[3]]
        found |= {s.number: parameters[s.number] for s in slots if isinstance(s, Slot) and s.number in parameters}
    by_hand = (n for n, p in parameters.items() if n not in found and p.ndim == 2 and p.shape[0] == p.shape[1])
    found |= {n: parameters[n] for n in by_hand if _follows_itself(tape.calls, Slot(n))}
    return list(found.values())


def _follows_itself(calls: list[Call], matrix: Slot) -> bool:
    """Whether it multiplies, again and again, what depends on its product before."""
    times, behind = 0, set[Slot]()
    for call in calls:
        if call.weighs and call.name in PRODUCTS and matrix in call.inputs:
            others = [slot for slot in call.inputs if slot != matrix]
            if times and not any(slot in behind for slot in others):
                return False
            times += 1
            behind = set(call.outputs)
        elif any(slot in behind for slot in call.inputs):
            behind.update(call.outputs)
    return times >= LEAST_STEPS


def of_tape(tape: Tape) -> ThroughTime | None:
    """With the weights as they are."""
    fused: list[tuple[str, States]] = []

    def change(call: Call, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if call.name not in LAYERS or not isinstance(args[1], Tensor | tuple | list) or len(args) != 9:
            return None
        result, states = (_packed if is_packed(args) else _step_by_step)(call.name, *args)
        fused.extend((call.name, of) for of in states)
        return result

    keep: dict[int, Tensor] = {}
    with torch.enable_grad():
        roots = tape.replay(backward=False, change=change, keep=keep)
        chains = fused or _by_hand(tape, keep)
        if not chains:
            return None
        kind, states = max(chains, key=lambda chain: len(chain[1]))
        flat = [s for step in states for s in step]
        if len(states) < LEAST_STEPS or not all(s.requires_grad for s in flat):
            return None
        of_loss = torch.autograd.grad(torch.stack(roots).sum(), flat, retain_graph=True, allow_unused=True)
        last = states[-1][0]
        direction = torch.randn(last.shape, generator=torch.Generator().manual_seed(0)).to(last)
        of_last = torch.autograd.grad((direction * last).sum(), flat, allow_unused=True)
    by_step = [_norms(grads, [len(step) for step in states]) for grads in (of_loss, of_last)]
    own = max(by_step[1][-1], 1e-30)
    return ThroughTime(kind, by_step[0], [norm / own for norm in by_step[1]])


def is_packed(args: tuple[Any, ...]) -> bool:
    """Whether a recurrent layer is called with a packed sequence: the sizes of its steps come behind the data."""
    return isinstance(args[3], tuple | list)


def _norms(grads: tuple[Tensor | None, ...], sizes: list[int]) -> list[float]:
    norms, at = [], 0
    for size in sizes:
        norms.append(sum(float(g.square().sum()) for g in grads[at : at + size] if g is not None) ** 0.5)
        at += size
    return norms


def _step_by_step(
    kind: str,
    x: Tensor,
    state: Any,
    weights: list[Tensor],
    biased: bool,
    layers: int,
    dropout: float,
    training: bool,
    bidirectional: bool,
    batch_first: bool,
    there: Tensor | None = None,
) -> tuple[Any, list[States]]:
    """A recurrent layer of PyTorch, one step after the other, and the states of each layer and direction.

    Where a sequence is not `there` (steps, samples, 1), its state stays as it is.
    """
    rows = x.transpose(0, 1) if batch_first else x
    first = state if isinstance(state, tuple | list) else [state]
    directions, per = 1 + bidirectional, len(weights) // (layers * (1 + bidirectional))
    all_states: list[States] = []
    ends: list[tuple[Tensor, ...]] = []
    for layer in range(layers):
        outputs = []
        for direction in range(directions):
            which = layer * directions + direction
            own = weights[which * per : (which + 1) * per]
            now = tuple(s[which] for s in first)
            states: States = []
            order = range(len(rows))
            for number in reversed(order) if direction else order:
                then = _step(kind, rows[number], now, own, biased)
                pairs = zip(then, now, strict=True)
                now = then if there is None else tuple(torch.where(there[number], new, old) for new, old in pairs)
                states.append(now)
            all_states.append(states)
            ends.append(now)
            projected = torch.stack([s[0] for s in states])
            outputs.append(projected.flip(0) if direction else projected)
        rows = torch.cat(outputs, -1)
    last = [torch.stack([end[i] for end in ends]) for i in range(len(first))]
    return (rows.transpose(0, 1) if batch_first else rows, *last), all_states


def _packed(kind: str, data: Tensor, sizes: Tensor, *others: Any) -> tuple[Any, list[States]]:
    """The same of sequences of several lengths, the longest first; `sizes` says how many are there at each step."""
    there = torch.arange(int(sizes[0])) < sizes[:, None].cpu()
    there = there.to(data.device)
    rows = data.new_zeros(*there.shape, data.shape[1]).masked_scatter(there[..., None], data)
    (out, *last), states = _step_by_step(kind, rows, *others, batch_first=False, there=there[..., None])
    return (out[there], *last), states


def _step(kind: str, x: Tensor, state: tuple[Tensor, ...], weights: list[Tensor], biased: bool) -> tuple[Tensor, ...]:
    """PyTorch's equations (torch.nn.LSTM, GRU, RNN), gates in its order."""
    w_x, w_h = weights[:2]
    b_x, b_h = weights[2:4] if biased else (None, None)
    h = state[0]
    from_x, from_h = torch.nn.functional.linear(x, w_x, b_x), torch.nn.functional.linear(h, w_h, b_h)
    if kind == "lstm":
        i, f, g, o = (from_x + from_h).chunk(4, -1)
        c = torch.sigmoid(f) * state[1] + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return (h if len(weights) in (2, 4) else h @ weights[-1].T, c)
    if kind == "gru":
        (r_x, z_x, n_x), (r_h, z_h, n_h) = from_x.chunk(3, -1), from_h.chunk(3, -1)
        z = torch.sigmoid(z_x + z_h)
        return ((1 - z) * torch.tanh(n_x + torch.sigmoid(r_x + r_h) * n_h) + z * h,)
    return (torch.tanh(from_x + from_h) if kind == "rnn_tanh" else torch.relu(from_x + from_h),)


def _by_hand(tape: Tape, keep: dict[int, Tensor]) -> list[tuple[str, States]]:
    """The recurrence of a loop: between two uses of a parameter, what was made before and is used behind."""
    parameters = tape.parameters
    calls = [c for c in itertools.takewhile(lambda entry: isinstance(entry, Call), tape.entries) if isinstance(c, Call)]
    uses: dict[int, list[int]] = {}
    for at, call in enumerate(calls):
        for slot in call.inputs:
            if slot.number in parameters:
                uses.setdefault(id(parameters[slot.number]), []).append(at)
    made = {slot: at for at, call in enumerate(calls) for slot in call.outputs}
    best: list[tuple[str, States]] = []
    for of in uses.values():
        if len(of) < LEAST_STEPS:
            continue
        states: list[tuple[Slot, ...]] = []
        for number in range(1, len(of)):
            until = of[number + 1] if number + 1 < len(of) else len(calls)
            within = {slot for call in calls[of[number] : until] for slot in call.inputs}
            states.append(tuple(s for s in within if of[number - 1] <= made.get(s, -1) < of[number]))
        tensors = [tuple(keep[s.number] for s in step if keep[s.number].is_floating_point()) for step in states]
        if all(tensors) and (not best or len(tensors) > len(best[0][1])):
            best = [(calls[of[0]].name, tensors)]
    return best
