"""Recording the first steps of a run as tapes."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from .lines import line
from .tape import MOVING, RECURRENT, Backward, Call, Custom, Shaping, Slot, Tape, mapped, slots_in, version

__all__ = ["DIFFERENCES", "Broadcast", "Recorder", "makes_table"]

CARRIERS = ("batch_norm", "instance_norm")
"""They write to running statistics that live outside of the step, and do not read them while training."""

TELLING = frozenset(
    "shape dtype device requires_grad ndim is_cpu is_cuda is_sparse is_leaf _version __len__ size numel stride dim "
    "data_ptr is_contiguous is_floating_point backward requires_grad_ _set_grad_enabled".split()
)
"""Names of what is asked again and again, or noted otherwise, and leaves no trace on a tape."""

TAPES = 40
"""Steps that are recorded, from the first."""

MEMORY = 256 * 2**20
"""Bytes that the tapes of a run may hold."""


DIFFERENCES = ("sub", "__sub__", "__rsub__", "rsub", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss")


@dataclass(frozen=True)
class Broadcast:
    """Sizes of two tensors, and the line that takes their difference."""

    first: tuple[int, ...]
    second: tuple[int, ...]
    line: str | None


CALLS, TIMES = 200_000, 4
"""Of a step while it is recorded: calls, and the memory of its tensors over that of the tapes."""


PLAIN = frozenset({int, float, bool, str, type(None), torch.dtype, torch.device})
"""Types of arguments that hold no tensor."""


class Recorder(TorchFunctionMode):
    """A listener for `Watch` that records the first steps of a run.

    Args:
        tapes: how many steps.
        memory: bytes that they may hold.

    Attributes:
        tapes: the recorded steps.
        why_not: in words, why there is no (further) tape.
        broadcast: sizes and line of a difference of a column (n, 1) and a row (n), which is a table (n, n).
    """

    def __init__(self, tapes: int = TAPES, memory: int = MEMORY):
        super().__init__()
        self.tapes: list[Tape] = []
        self.why_not: str | None = None
        self.broadcast: Broadcast | None = None
        self._wanted, self._memory = tapes, memory
        self._storages: dict[int, int] = {}
        self._steps = 0
        self._on = self._pushed = False
        self._home = os.getpid(), threading.get_ident()
        self._undo: Callable[[], None] | None = None
        self._clear()

    # events

    def compiles(self) -> None:
        """The compiler would follow a mode, and what it has compiled does not tell one of its calls."""
        self._give_up("parts of the network are compiled")
        self._leave()

    def enter(self, module: nn.Module, learning: bool) -> None:
        """The first step may begin here."""
        if type(module).__name__ == "OptimizedModule":  # compiled before the watch began
            self.compiles()
        self._begin(first=True)

    def zero_grad(self) -> None:
        """Or here."""
        self._begin(first=True)

    def before_backward(self, roots: tuple[Tensor, ...], how: str, retain: bool) -> None:
        """Note it."""
        if not self._on:
            return
        if how != "plain" or len(roots) != 1 or roots[0].numel() != 1:
            self._give_up("a backward pass does not begin from one number, or gives its gradients to the script")
            return
        self._busy = True
        self._entries.append(Backward(self._slot(roots[0]), retain))
        self._values.append(float(roots[0].detach()))
        self._busy = False

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The tape ends here."""
        if not self._on:
            return
        self._on = False
        self._leave()
        if not self._values:
            self._give_up("an update makes its gradients inside of step()")
            return
        tape = self._finished()
        if tape is not None:
            self.tapes.append(tape)
            if self._weigh(tape) > self._memory:
                self.why_not = f"{len(self.tapes)} batches take more than {self._memory >> 20} MiB"
        self._clear()

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """The next one begins."""
        self._steps += 1
        self._leave()
        if self._steps < 2 * self._wanted and len(self.tapes) < self._wanted:
            self._begin(first=False)

    def close(self) -> None:
        """Record no more."""
        self._on = False
        self._leave()
        self._clear()

    @property
    def is_done(self) -> bool:
        """No more tapes will come."""
        return not self._on and self._steps > 0

    # the mode

    def __torch_function__(
        self, func: Callable[..., Any], types: Iterable[type], args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        keywords = kwargs or {}
        if not self._on or self._busy or _leaves_no_trace(func):
            return func(*args, **keywords)
        if (os.getpid(), threading.get_ident()) != self._home:
            return func(*args, **keywords)
        return self._recorded(func, args, keywords)

    def _recorded(self, function: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call it, and note the call where it can matter for the gradients."""
        wanted = torch.is_grad_enabled()
        if not (wanted or self._values):  # an evaluation between two updates
            return function(*args, **keywords)
        self._busy = True  # what it calls in turn is no call of its own
        inputs: list[Slot] = []
        given, versions = ((), {}), list[int]()
        try:
            try:
                given = self._marked(args, inputs), self._marked(keywords, inputs) if keywords else {}
                versions = [version(self._held[slot]) for slot in inputs]
            except Exception as error:  # ours, and no affair of the script
                self._not_noted(function, error)
            result = function(*args, **keywords)
            if self._on:
                try:
                    held = [self._held[slot] for slot in inputs]
                    written = [t for t, before in zip(held, versions, strict=True) if version(t) != before]
                    if self.broadcast is None and wanted:
                        self.broadcast = _broadcast(function, args)
                    self._note(function, given, inputs, result, written, wanted)
                except Exception as error:
                    self._not_noted(function, error)
        finally:
            self._busy = False
        return result

    def _not_noted(self, function: Callable[..., Any], error: Exception) -> None:
        self._give_up(f"a call of {getattr(function, '__name__', function)} could not be noted ({error})")

    def _note(
        self,
        function: Callable[..., Any],
        given: tuple[Any, Any],
        inputs: list[Slot],
        result: Any,
        written: list[Tensor],
        wanted: bool,
    ) -> None:
        if torch.is_autocast_enabled("cpu"):
            self._give_up("the step runs under autocast")
            return
        changed = []
        for t in [*written, *(t._base for t in written if t._base is not None and id(t._base) in self._slots)]:
            before = self._slot(t)
            changed.append((self._new(t), before))
        outputs: list[Slot] = []
        made = self._made(result, outputs)
        self._size += sum(self._held[slot].nbytes for slot in outputs)
        outputs += [after for after, _ in changed]
        self._entries.append(Call(function, *given, made, tuple(changed), wanted, tuple(inputs), tuple(outputs)))
        if len(self._entries) > CALLS or self._size > TIMES * self._memory:
            self._give_up("a step, or an evaluation with gradients, makes too many calls or too large tensors")

    def _slot(self, t: Tensor) -> Slot:
        known = self._slots.get(id(t))
        if known is None:
            known = self._new(t)
            self._given[known.number] = t
        return known

    def _new(self, t: Tensor) -> Slot:
        self._held.append(t)  # so that no other tensor gets its id
        slot = self._slots[id(t)] = Slot(len(self._held) - 1)
        return slot

    def _marked(self, value: Any, inputs: list[Slot]) -> Any:
        """The value with slots for tensors, which are added to `inputs`."""
        kind = type(value)
        if kind in PLAIN:
            return value
        if isinstance(value, Tensor):
            slot = self._slot(value)
            inputs.append(slot)
            return slot
        if kind is tuple:
            return tuple([self._marked(v, inputs) for v in value])
        return mapped(value, lambda v: self._marked(v, inputs))

    def _made(self, value: Any, outputs: list[Slot]) -> Any:
        """Of what came out: the same, and None for what is no tensor."""
        if isinstance(value, Tensor):
            slot = self._new(value)
            outputs.append(slot)
            return slot
        return mapped(value, lambda v: self._made(v, outputs)) if isinstance(value, list | tuple | dict) else None

    # beginning and end

    def _clear(self, *, busy: bool = False) -> None:
        self._entries: list[Call | Backward] = []
        self._held: list[Tensor] = []
        self._slots: dict[int, Slot] = {}
        self._given: dict[int, Tensor] = {}
        self._values: list[float] = []
        self._size = 0
        self._busy = busy

    def _begin(self, *, first: bool) -> None:
        if self._on or self.why_not is not None or (first and self._steps):
            return
        if torch._C._len_torch_function_stack():
            self._give_up("the script runs under a torch function mode of its own")
            return
        self._clear()
        self._on = self._pushed = True
        self.__enter__()
        self._patch()

    def _leave(self) -> None:
        """Take the mode off, once it is on top."""
        if self._pushed and torch.overrides._get_current_function_mode() is self:
            self._pushed = False
            self.__exit__(None, None, None)
            if self._undo is not None:
                self._undo()

    def _patch(self) -> None:
        """Hand-written functions do not tell the mode of their calls."""
        owner = torch.autograd.Function
        original = vars(owner)["apply"]
        call = original.__func__

        def apply(cls: type, *args: Any, **keywords: Any) -> Any:
            if not self._on or self._busy or (os.getpid(), threading.get_ident()) != self._home:
                return call(cls, *args, **keywords)
            return self._recorded(Custom(cls), args, keywords)

        def undo() -> None:
            owner.apply = original
            self._undo = None

        owner.apply = classmethod(apply)  # pyright: ignore[reportAttributeAccessIssue]
        self._undo = undo

    def _give_up(self, why: str) -> None:
        self.why_not = why
        self._on = False
        self._clear(busy=self._busy)

    def _weigh(self, tape: Tape) -> int:
        """Bytes that the tapes hold with this one, besides parameters."""
        for t in tape.given.values():
            if not t.requires_grad:
                storage = t.untyped_storage()
                self._storages[storage.data_ptr()] = storage.nbytes()
        return sum(self._storages.values())

    def _finished(self) -> Tape | None:
        """What the gradients depend on and what changes them, of that what depends on a parameter."""
        moving = {Slot(n) for n, t in self._given.items() if t.requires_grad and t.is_leaf}
        of_gradients: set[Slot] = set()
        for entry in self._entries:
            if isinstance(entry, Call) and not moving.isdisjoint(entry.inputs):
                moving.update(entry.outputs)
                if _reads_gradient(entry) or not of_gradients.isdisjoint(entry.inputs):
                    of_gradients.update(entry.outputs)
        wanted, anew, carried = set[Slot](), set[Slot](), set[Slot]()
        kept: list[Call | Backward] = []
        for entry in reversed(self._entries):
            if isinstance(entry, Backward):
                wanted.add(entry.root)
                kept.append(entry)
                continue
            used = not (wanted.isdisjoint(entry.outputs) or moving.isdisjoint(entry.outputs))
            acts = any(before in of_gradients for _, before in entry.changed)
            made_anew = not anew.isdisjoint(entry.outputs)
            if not (used or acts or made_anew):
                continue
            kept.append(entry)
            wanted.update(entry.inputs)
            if made_anew:  # and what it is made of, of which it may be a part
                anew.update(entry.inputs)
            constants = [before for _, before in entry.changed if before not in moving]
            (carried if entry.name in CARRIERS else anew).update(constants)
        kept.reverse()
        made = {slot for entry in kept if isinstance(entry, Call) for slot in entry.outputs}
        given = {slot.number: self._held[slot.number] for slot in wanted - made}
        written = anew - made
        if any(slot.number in self._given for slot in written if self._is_written(slot, kept)):
            self._give_up("the step writes to a tensor that was made before it")
            return None
        if any(t.requires_grad and not t.is_leaf for t in given.values()):
            if self._steps == 0:  # it began before the recording, as where no module is called before `zero_grad`
                return None
            self._give_up("a step uses what was computed before it, with its gradients")
            return None
        values = {n: t if t.requires_grad else t.detach() for n, t in given.items()}
        shapings = self._shapings() if not self.tapes else []
        return Tape(self._steps, kept, values, self._values, frozenset(slot.number for slot in carried), shapings)

    def _shapings(self) -> list[Shaping]:
        """Of the recurrent layers, also where no parameter comes in."""
        made = {slot: entry for entry in self._entries if isinstance(entry, Call) for slot in slots_in(entry.result)}
        found = []
        for call in self._entries:
            if not isinstance(call, Call) or call.name not in RECURRENT:
                continue
            if len(call.args) != 9 or not isinstance(call.args[0], Slot):
                continue
            slot, calls = call.args[0], list[Call]()
            sizes = self._held[slot.number].shape
            while (before := made.get(slot)) is not None and before.name in MOVING and not before.changed:
                if not before.args or not isinstance(before.args[0], Slot):
                    break
                slot = before.args[0]
                calls.insert(0, before)
            if calls and len(sizes) == 3:
                steps, samples = reversed(sizes[:2]) if call.args[8] else sizes[:2]
                from_ = tuple(self._held[slot.number].shape)
                found.append(Shaping(call.name, bool(call.args[8]), (steps, samples), from_, calls))
        return found

    def _is_written(self, slot: Slot, kept: list[Call | Backward]) -> bool:
        return any(isinstance(entry, Call) and any(slot == before for _, before in entry.changed) for entry in kept)


@functools.lru_cache(4096)
def _leaves_no_trace(function: Callable[..., Any]) -> bool:
    """Whether it says something about a tensor that is none itself."""
    name = getattr(function, "__name__", "")
    return (getattr(getattr(function, "__self__", None), "__name__", "") if name == "__get__" else name) in TELLING


def _reads_gradient(call: Call) -> bool:
    return call.name == "__get__" and getattr(getattr(call.function, "__self__", None), "__name__", "") == "grad"


def _broadcast(function: Callable[..., Any], args: tuple[Any, ...]) -> Broadcast | None:
    """Of an output of the network and what it is compared with."""
    if getattr(function, "__name__", "") not in DIFFERENCES or len(args) < 2:
        return None
    a, b = args[:2]
    if not isinstance(a, Tensor) or not isinstance(b, Tensor) or a.requires_grad == b.requires_grad:
        return None
    return Broadcast(tuple(a.shape), tuple(b.shape), line()) if makes_table(a, b) else None


def makes_table(a: Tensor, b: Tensor) -> bool:
    """Whether one is a column (n, 1), and the other a row (n)."""
    column, row = (a, b) if a.ndim == 2 else (b, a)
    return row.ndim == 1 and column.ndim == 2 and column.shape[1] == 1 and len(column) == len(row) >= 3
