"""The compiled backend: from a cell and a sequence to a program and its run, with everything before and behind it."""

from __future__ import annotations

import contextlib
import gc
import types
import warnings
import weakref
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ..cells.base import Cell
from .build import BuildError
from .capture import Extra, ObstacleError, replay
from .interpret import interpret
from .program import Program, Variant, compile_step
from .run import Shape, run_loop
from .sequence import Result, Sequence, begin, start_state, state_before

__all__ = ["Obstacle", "fixed", "note_once", "program_for", "run_compiled"]


@dataclass(frozen=True)
class Obstacle:
    """Why there is no compiled code, in words.

    Attributes:
        reason: fits behind "because".
        lasting: it lies in the cell or in the machine, so that the user should know; else in how it is called.
    """

    reason: str
    lasting: bool = False


class _Known:
    """What is known of one cell: programs and obstacles by key; the last one, and the look of its call."""

    def __init__(self) -> None:
        self.found: dict[tuple, Program | Obstacle] = {}
        self.changeable: list[str] = []
        self.look: tuple | None = None
        self.last: Program | Obstacle


_KNOWN: weakref.WeakKeyDictionary[Cell, _Known] = weakref.WeakKeyDictionary()


def program_for(cell: Cell, sequence: Sequence) -> Program | Obstacle:
    """The program for this cell and this kind of sequence, compiled if need be, or why there is none."""
    if torch._C._are_functorch_transforms_active():
        return Obstacle("compiled code does not go through torch.func's transforms")
    if sequence.record:
        return Obstacle("compiled code does not show the states of every step")
    if sequence.x.shape[0] == 0 or sequence.x.shape[1] == 0:
        return Obstacle("the sequence is empty")
    known = _KNOWN.get(cell)
    if known is None:
        known = _KNOWN[cell] = _Known()
    look = _look(cell, known, sequence)
    if look == known.look and look is not None:
        return known.last
    key = _key(cell, sequence)
    found = known.found.get(key)
    if found is None:
        found = known.found[key] = _situation(cell, sequence) or _compiled(cell, sequence)
    known.changeable = [k for k in _own(cell) if not isinstance(vars(cell)[k], _UNCHANGEABLE)]
    known.last, known.look = found, _look(cell, known, sequence)
    return found


def _situation(cell: Cell, sequence: Sequence) -> Obstacle | None:
    """Why compiled code can't run this kind of sequence, whatever the cell does."""
    if sequence.x.device.type != "cpu":
        kind = sequence.x.device.type
        builtin = "; carousel.cells.LSTM, GRU and RNN without further options run on PyTorch's own kernels there"
        return Obstacle(f"there is no compiled code for {kind}{builtin}", lasting=True)
    if sequence.x.dtype not in _COMPUTED:
        return Obstacle(f"there is no compiled code for {sequence.x.dtype}")
    if any(0 in shape for shape in cell.state_shapes.values()):
        return Obstacle("a state is empty")
    for p in cell.parameters():
        if p.device.type != "cpu":
            return Obstacle("the parameters are not where the input is")
        if p.dtype != sequence.x.dtype and not _autocast():
            return Obstacle("the parameters have another type than the input")
    return None


def _compiled(cell: Cell, sequence: Sequence) -> Program | Obstacle:
    collecting = gc.isenabled()
    gc.disable()  # to look through all that PyTorch made costs 0.1 s, and what is made here stays
    try:
        program = compile_step(cell, _variant(cell, sequence, _COMPUTED[sequence.x.dtype]))
    except ObstacleError as obstacle:
        return Obstacle(str(obstacle), lasting=True)
    finally:
        if collecting:
            gc.enable()
    try:
        _ = program.libraries
    except BuildError as obstacle:
        return Obstacle(str(obstacle), lasting=True)
    return program


_COMPUTED = {
    torch.float64: torch.float64,
    torch.float32: torch.float32,
    torch.bfloat16: torch.float32,
    torch.float16: torch.float32,
}
"""Type of the numbers in memory -> type in which the loop computes."""


def _autocast() -> bool:
    return torch.is_autocast_enabled("cpu")


def _look(cell: Cell, known: _Known, sequence: Sequence) -> tuple | None:
    """What shows at little cost that a key is still the same; None for cells with other modules in them."""
    if cell._modules:
        return None
    return (
        cell._version,
        [None if p is None else (p.shape, p.dtype, p.is_cpu, p.requires_grad) for p in cell._parameters.values()],
        [_frozen(vars(cell).get(k)) for k in known.changeable],
        _of_sequence(sequence),
    )


def _of_sequence(sequence: Sequence) -> tuple:
    x = sequence.x
    return (
        (x.dtype, x.device, x.requires_grad, x.shape[2], sequence.reset is None, sequence.lengths is None),
        torch.is_autocast_enabled("cpu"),
        torch.is_grad_enabled(),
    )


def _key(cell: Cell, sequence: Sequence) -> tuple:
    """Everything that a program depends on besides the numbers in tensors."""
    modules = []
    for module in cell.modules():
        tensors = tuple([(n, _frozen(p)) for n, p in module._parameters.items()])
        own = tuple([(k, _frozen(vars(module)[k])) for k in _own(module)])
        modules.append((type(module), tensors, tuple(module._buffers), own))
    return (*modules, _of_sequence(sequence))


def _own(module: torch.nn.Module) -> list[str]:
    """The names of its attributes that a step could read, besides parameters, buffers and modules."""
    return [k for k in vars(module) if k not in _OF_EVERY_MODULE]


def _each_extra(extras: tuple[dict[str, Tensor], dict[str, Tensor]]) -> list[tuple[int, str, Tensor]]:
    constants, per_step = extras
    return [(0, k, v) for k, v in constants.items()] + [(1, k, v) for k, v in per_step.items()]


_OF_EVERY_MODULE = (set(vars(torch.nn.Module())) | {"_stepping", "_version"}) - {"training"}
"""Attributes of `nn.Module` itself, which no step reads."""

_UNCHANGEABLE = (type(None), int, float, str, bytes, types.FunctionType, types.BuiltinFunctionType, type, torch.dtype)
"""Types of values that can't change but by setting the attribute anew."""


def _frozen(value: Any, depth: int = 0) -> Any:
    """A hashable picture of an attribute's value."""
    if value is None or isinstance(value, int | float | str | bytes):
        return value
    if isinstance(value, Tensor):
        return (value.shape, value.dtype, value.device, value.requires_grad)
    if isinstance(value, types.FunctionType | types.BuiltinFunctionType | type | torch.dtype | torch.device):
        return value
    if depth > 4:
        return id(value)
    if isinstance(value, dict):
        return tuple([(k, _frozen(v, depth + 1)) for k, v in value.items()])
    if isinstance(value, list | tuple):
        return tuple([_frozen(v, depth + 1) for v in value])
    if isinstance(value, torch.nn.Module):
        return id(value)
    if isinstance(value, set | frozenset):
        return frozenset(_frozen(v, depth + 1) for v in value)
    return (id(value), _frozen(vars(value), depth + 1) if hasattr(value, "__dict__") else None)


def _variant(cell: Cell, sequence: Sequence, dtype: torch.dtype) -> Variant:
    differentiable: set[tuple] = set()
    if sequence.x.requires_grad:
        differentiable.add(("x",))
    extras = None
    if hasattr(cell, "begin"):
        extras = _describe_extras(cell, dtype)
        differentiable |= {("extra", e.name) for e in extras if e.requires_grad}
    if sequence.reset is not None:
        differentiable |= {("initial", k) for k in range(len(cell.state_sizes))}
    delayed = [k for k, name in enumerate(cell.state_sizes) if name in cell.delays]
    collect = tuple(delayed) if sequence.lengths is not None else ()
    return Variant(
        dtype,
        sequence.reset is not None,
        sequence.lengths is not None,
        collect,
        extras,
        frozenset(differentiable) if torch.is_grad_enabled() else frozenset(),
        torch.is_grad_enabled(),
    )


def _describe_extras(cell: Cell, dtype: torch.dtype) -> tuple[Extra, ...]:
    """What `begin` gives; a batch dimension is one that follows the batch."""
    method: Any = cell.begin  # pyright: ignore[reportAttributeAccessIssue]
    with torch.random.fork_rng(devices=[]):
        made = [{(p, k): v for p, k, v in _each_extra(method(2, batch, torch.Generator()))} for batch in (11, 13)]
    described = []
    for (p, name), value in made[0].items():
        other = made[1].get((p, name))
        if other is None:
            raise ObstacleError(f"begin() gives {name!r} only sometimes")
        first, second = tuple(value.shape[p:]), tuple(other.shape[p:])
        batched = first != second
        if batched and (first[:1], second[:1], first[1:]) != ((11,), (13,), second[1:]):
            raise ObstacleError(f"begin() gives {name!r} whose batch is not the first dimension")
        if value.dtype == torch.float64 != dtype:
            raise ObstacleError(f"begin() gives {name!r} in {value.dtype}")
        shape = first[1:] if batched else first
        described.append(Extra(name, bool(p), batched, shape, value.dtype, value.requires_grad))
    return tuple(described)


def run_compiled(program: Program, cell: Cell, sequence: Sequence) -> Result:
    """Run a cell's program over a sequence.

    In bfloat16 and float16 the loop computes in float32, between steps too, and what it gives is rounded. Under
    autocast the input and the parameters are rounded to the type of autocast, and all else is as without it.
    """
    rounded = torch.get_autocast_dtype("cpu") if _autocast() and sequence.x.dtype != torch.float64 else None
    with torch.autocast("cpu", enabled=False) if _autocast() else contextlib.nullcontext():
        result = _run(program, cell, sequence, rounded)
    if sequence.x.dtype == program.variant.dtype:
        return result
    return Result(result.output.to(sequence.x.dtype), tuple(s.to(sequence.x.dtype) for s in result.state))


def fixed(
    program: Program, cell: Cell, extras: list[tuple[int, str, Tensor]], rounded: torch.dtype | None
) -> tuple[list[Tensor], list[Tensor]]:
    """The program's vectors, and its matrices as (out, in)."""
    dtype, (numbers, plain) = program.variant.dtype, program.fixed_values
    if plain is not None and all(path == "" for path, _ in plain):
        own: dict[str, Any] = cell._parameters
        values = [own[name] if name in own else getattr(cell, name) for _, name in plain]
    else:
        values = replay(program.captured.recipe, numbers, cell, {k: v for _, k, v in extras}, dtype)
    values = [v if v.dtype == dtype else v.to(dtype) for v in values]
    if rounded is not None:
        values = [v.to(rounded).to(dtype) for v in values]
    count = len(program.captured.vectors)
    vectors = [v if v.ndim == 1 and v.is_contiguous() else v.contiguous().view(-1) for v in values[:count]]
    matrices = zip(values[count:], program.matrix_values, strict=True)
    return vectors, [v if turned else v.t() for v, (_, turned) in matrices]


def _run(program: Program, cell: Cell, sequence: Sequence, rounded: torch.dtype | None) -> Result:
    analyzed, dtype = program.analyzed, program.variant.dtype
    x = sequence.x.to(dtype) if rounded is None else sequence.x.to(rounded).to(dtype)
    time, batch = x.shape[:2]
    active = None
    if sequence.lengths is not None:
        active = torch.arange(time, device=x.device).unsqueeze(1) < sequence.lengths
        x = x.masked_fill(~active.unsqueeze(2), 0.0)  # NaN in the padding would reach the gradients as 0 · NaN

    given = begin(cell, sequence)
    vectors, matrices = fixed(program, cell, [] if given is None else _each_extra(given), rounded)

    leaves: dict[tuple, Tensor] = {("x",): x}
    if active is not None:
        leaves["active",] = active.to(dtype).unsqueeze(2)
    if sequence.reset is not None:
        reset = sequence.reset if active is None else sequence.reset & active
        _add_resets(leaves, cell, reset, dtype)
    for p, name, value in [] if given is None else _each_extra(given):
        if ("extra", name) not in program.leaves:
            continue
        flat = value.to(dtype).reshape(*value.shape[: p + 1], -1) if value.ndim > p else value
        leaves["extra", name] = flat if p else flat.unsqueeze(0).expand(time, *flat.shape)

    def leaf(name: tuple) -> Tensor:
        if name[0] == "vector":
            return vectors[name[1]]
        value = leaves[name]
        return value.reshape(time * batch, value.shape[2])

    if analyzed.before:
        for i, value in enumerate(interpret(analyzed.before, leaf, [m.t() for m in matrices])):
            leaves["before", i] = value.to(dtype).expand(time * batch, -1).reshape(time, batch, -1)
    rows = {name: _rows(leaves[name]) for name in leaves if name in program.loop_leaves}
    states: list[Tensor] = []
    usual = type(cell).initial_state is Cell.initial_state and (active is None or not cell.delays)
    if sequence.state is not None or not usual:
        states = [
            (s if s.dtype == dtype else s.to(dtype)).reshape(depth, batch, -1)
            for s, (depth, _) in zip(state_before(cell, sequence), program.lines, strict=True)
        ]
    shape = Shape(time, batch, tuple(rows), len(vectors), len(matrices), bool(states))
    collected, lines = run_loop(program, shape, [*rows.values(), *vectors, *matrices, *states], sequence.recompute)

    if analyzed.behind is None:
        output = collected[0]
    else:

        def late(name: tuple) -> Tensor:
            return collected[name[1]].reshape(time * batch, -1) if name[0] == "collected" else leaf(name)

        (output,) = interpret([analyzed.behind], late, [m.t() for m in matrices])
        output = output.expand(time * batch, -1).reshape(time, batch, -1)
    final = []
    for k, (name, of_state) in enumerate(cell.state_shapes.items()):
        if name in cell.delays:
            line = lines[k] if lines[k].ndim == 3 else lines[k].unsqueeze(0)
            if sequence.lengths is not None:
                after = collected[analyzed.collected.index(analyzed.states[k])]
                line = _line_at_end(states[k], after, sequence.lengths)
            if sequence.reset is not None:
                ends = torch.full((batch,), time) if sequence.lengths is None else sequence.lengths
                line = _since_reset(line, ends, sequence.reset, leaves["initial", k][0])
            final.append(line.reshape(-1, batch, *of_state))
        else:
            final.append(lines[k] if len(of_state) == 1 else lines[k].reshape(batch, *of_state))
    return Result(output, tuple(final))


def _line_at_end(before: Tensor, after: Tensor, lengths: Tensor) -> Tensor:
    """The last values of every row at its own end, the newest first."""
    depth = len(before)
    history = torch.cat([before.flip(0), after])
    index = lengths.to(history.device) + depth - 1 - torch.arange(depth, device=history.device).unsqueeze(1)
    return history.gather(0, index.unsqueeze(2).expand(-1, -1, history.shape[2]))


def _since_reset(line: Tensor, ends: Tensor, reset: Tensor, initial: Tensor) -> Tensor:
    """The line with what lies before a row's last reset replaced by the initial state."""
    steps = torch.arange(len(reset), device=reset.device).unsqueeze(1)
    last = torch.where(reset & (steps < ends), steps, -1).amax(0)
    at = ends - 1 - torch.arange(len(line), device=reset.device).unsqueeze(1)
    return torch.where(((last >= 0) & (at < last)).unsqueeze(2), initial, line)


def _rows(value: Tensor) -> Tensor:
    """With features side by side."""
    return value if value.stride(2) == 1 or value.shape[2] == 1 else value.contiguous()


def _add_resets(leaves: dict[tuple, Tensor], cell: Cell, reset: Tensor, dtype: torch.dtype) -> None:
    """("reset", tap): whether the value `tap` steps back is older than the last reset; ("initial", k): its stead."""
    time, batch = reset.shape
    initial = start_state(cell, batch, dtype=dtype, device=reset.device)
    for k, (value, name) in enumerate(zip(initial, cell.state_sizes, strict=True)):
        first = value[0] if name in cell.delays else value
        leaves["initial", k] = first.reshape(1, batch, -1).expand(time, -1, -1)
    steps = torch.arange(time, device=reset.device).unsqueeze(1)
    last = torch.where(reset, steps, torch.full_like(steps, -1)).cummax(0).values
    for tap in {tap for taps in cell.taps.values() for tap in taps}:
        mask = (last >= 0) & (steps - last < tap)
        leaves["reset", tap] = mask.to(dtype).unsqueeze(2)


def note_once(cell: Cell, reason: str) -> None:
    """Say, once per class and reason, that a cell runs on the slow loop, and why."""
    key = (type(cell), reason)
    if key not in _NOTED:
        _NOTED.add(key)
        text = f"{type(cell).__name__} runs on the reference loop, which is slower: {reason}."
        warnings.warn(text, UserWarning, stacklevel=2)


_NOTED: set[tuple[type, str]] = set()
