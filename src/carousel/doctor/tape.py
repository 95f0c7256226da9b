"""A step of training as the calls of PyTorch that made it, so that it can be done again with something changed.

From the end of one update to the next, a `Recorder` notes every call: the function, its arguments, what came out. What
does not depend on a parameter (loading and picking the batch, masks, noise) is not done again: its result stays on the
tape. So a `Tape` is the step as a function of the parameters, at that batch.

Branches and numbers that the script took out of tensors with `item()` stay as they were in the recording.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

__all__ = [
    "MOVING",
    "RECURRENT",
    "Backward",
    "Call",
    "Change",
    "Custom",
    "Shaping",
    "Slot",
    "Tape",
    "mapped",
    "slots_in",
    "tensors_in",
    "version",
]


class Slot(int):  # of its own type, and yet cheap: tens of thousands are made and looked up
    """The number under which the tape holds a tensor."""

    __slots__ = ()

    @property
    def number(self) -> int:
        """As a plain one."""
        return int(self)


@dataclass(slots=True)  # thousands of calls are kept, in what Python's collector need not look into
class Call:
    """One call.

    Attributes:
        function: what was called.
        args, keywords: with a `Slot` in place of each tensor.
        result: the same of what came out; what is no tensor is None.
        changed: (slot after, slot before) of the tensors that the call wrote to.
        gradients: whether gradients were wanted.
        inputs: the tensors that it is given.
        outputs: the tensors that it makes or changes.
    """

    function: Callable[..., Any]
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    result: Any
    changed: tuple[tuple[Slot, Slot], ...]
    gradients: bool
    inputs: tuple[Slot, ...]
    outputs: tuple[Slot, ...]

    @property
    def name(self) -> str:
        """Of the function."""
        return getattr(self.function, "__name__", str(self.function))

    @property
    def weighs(self) -> bool:
        """Whether it multiplies its first argument with a matrix or kernel."""
        return self.name in WEIGHING and bool(self.args) and isinstance(self.args[0], Slot)


@dataclass(frozen=True)
class Backward:
    """A backward pass from a scalar."""

    root: Slot
    retain: bool


@dataclass(frozen=True)
class Shaping:
    """How the input of a recurrent layer got its axes.

    Attributes:
        kind: of the layer.
        batch_first: which axis it takes for the batch.
        axes: its steps and samples.
        sizes: of the tensor that it was made of.
        calls: those that only moved its numbers, in order.
    """

    kind: str
    batch_first: bool
    axes: tuple[int, int]
    sizes: tuple[int, ...]
    calls: list[Call]

    def places(self) -> Tensor | None:
        """For each number of the input, its place in that tensor; None where a call needs other tensors."""
        numel = torch.Size(self.sizes).numel()
        place = torch.arange(numel).reshape(self.sizes)
        for call in self.calls:
            if slots_in((call.args[1:], call.keywords)):
                return None
            place = place if call.name in KEEPING else call.function(place, *call.args[1:], **call.keywords)
        return place if place.numel() == numel else None


RECURRENT = ("lstm", "gru", "rnn_tanh", "rnn_relu")
"""Recurrent layers of PyTorch."""

KEEPING = ("contiguous", "to", "float", "double", "clone", "detach")
"""Functions that leave each number in its place."""

MOVING = (
    *KEEPING, "view", "reshape", "transpose", "permute", "swapaxes", "swapdims", "movedim", "t", "flatten",
    "unflatten", "unsqueeze", "squeeze",
)  # fmt: skip
"""These and functions that only give it another one."""


Change = Callable[[Call, tuple[Any, ...], dict[str, Any]], Any]
"""`change(call, args, keywords)` gives a result in place of the call's own, or None to leave it alone."""


@dataclass
class Tape:
    """A step as a function of the parameters.

    Attributes:
        step: how many updates were made before it.
        entries: calls and backward passes, in order.
        given: what it starts from, by number of slot: parameters, and what depends on none.
        values: of the scalars that the backward passes began from, as recorded.
        carried: the slots of running statistics, which the step writes to.
        shapings: how the inputs of recurrent layers got their axes.
    """

    step: int
    entries: list[Call | Backward]
    given: dict[int, Tensor]
    values: list[float]
    carried: frozenset[int] = frozenset()
    shapings: list[Shaping] = field(default_factory=list)
    _versions: dict[int, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        fixed = [n for n, t in self.given.items() if not t.requires_grad and n not in self.carried]
        self._versions = {n: version(self.given[n]) for n in fixed}

    @property
    def calls(self) -> list[Call]:
        """Without the backward passes."""
        return [entry for entry in self.entries if isinstance(entry, Call)]

    @property
    def parameters(self) -> dict[int, Tensor]:
        """The slots that hold parameters."""
        return {n: t for n, t in self.given.items() if t.requires_grad}

    @property
    def fresh(self) -> bool:
        """Whether what it starts from was not written to since."""
        return all(version(self.given[n]) == then for n, then in self._versions.items())

    @property
    def clips(self) -> bool:
        """Whether it changes its gradients before the update."""
        return isinstance(self.entries[-1], Call)

    @property
    def draws(self) -> bool:
        """Whether it draws random numbers."""
        return any(word in call.name for call in self.calls for word in DRAWING) or any(
            keyword in call.keywords for call in self.calls for keyword in ("dropout_p",)
        )

    def replay(
        self,
        *,
        backward: bool = True,
        change: Change | None = None,
        given: dict[int, Tensor] | None = None,
        keep: dict[int, Tensor] | None = None,
    ) -> list[Tensor]:
        """Do the step again, without the update.

        Args:
            backward: make the gradients too; they are added to those that are there.
            change: asked at every call.
            given: other tensors to start from, by number of slot.
            keep: gets every tensor by number of slot.

        Returns:
            The scalars that the backward passes begin from.
        """
        now = self.given | (given or {})
        if keep is not None:
            keep.update(now)
            now = keep
        roots: list[Tensor] = []
        entries = self.entries
        while not backward and entries and not isinstance(entries[-1], Backward):  # what is behind is about gradients
            entries = entries[:-1]
        for entry in entries:
            if isinstance(entry, Backward):
                root = now[entry.root.number]
                roots.append(root)
                if backward:
                    torch.autograd.backward(root, retain_graph=entry.retain or keep is not None)
                continue
            with torch.set_grad_enabled(entry.gradients):
                args, keywords = _filled(entry.args, now), _filled(entry.keywords, now)
                result = None if change is None else change(entry, args, keywords)
                if result is None:
                    result = entry.function(*args, **keywords)
            for after, before in entry.changed:
                now[after.number] = now[before.number]
            _bind(entry.result, result, now)
        return roots


WEIGHING = (
    "linear", "bilinear", "matmul", "__matmul__", "mm", "bmm", "conv1d", "conv2d", "conv3d", "conv_transpose1d",
    "conv_transpose2d", "conv_transpose3d", "lstm", "gru", "rnn_tanh", "rnn_relu", "lstm_cell", "gru_cell",
    "rnn_tanh_cell", "rnn_relu_cell",
)  # fmt: skip
"""Functions that take data and weights, the data first."""

DRAWING = ("dropout", "rand", "bernoulli", "multinomial", "normal_", "uniform_", "poisson", "exponential_", "rrelu")
"""Parts of the names of functions that draw random numbers."""


@dataclass(frozen=True)
class Custom:
    """The `apply` of a hand-written function."""

    owner: type[torch.autograd.Function]

    @property
    def __name__(self) -> str:
        return self.owner.__name__

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self.owner.apply(*args, **keywords)


LISTS, CONTAINERS = (list, tuple), (list, tuple, dict, slice)


def slots_in(value: Any) -> list[Slot]:
    """All slots of nested containers."""
    found: list[Slot] = []
    _gather(value, Slot, found)
    return found


def tensors_in(value: Any) -> list[Tensor]:
    """All tensors of nested containers."""
    found: list[Tensor] = []
    _gather(value, Tensor, found)
    return found


def _gather(value: Any, kind: type, into: list[Any]) -> None:
    if isinstance(value, kind):
        into.append(value)
    elif isinstance(value, LISTS):
        for v in value:
            if isinstance(v, kind):
                into.append(v)
            elif isinstance(v, CONTAINERS):
                _gather(v, kind, into)
    elif isinstance(value, dict):
        for v in value.values():
            _gather(v, kind, into)
    elif isinstance(value, slice):
        for v in (value.start, value.stop, value.step):
            _gather(v, kind, into)


def mapped(value: Any, function: Callable[[Any], Any]) -> Any:
    """The same containers with other contents."""
    if isinstance(value, dict):
        return {key: function(v) for key, v in value.items()}
    if isinstance(value, list):
        return [function(v) for v in value]
    if isinstance(value, tuple):
        parts = [function(v) for v in value]
        return type(value)(*parts) if hasattr(value, "_fields") else tuple(parts)
    if isinstance(value, slice):
        return slice(function(value.start), function(value.stop), function(value.step))
    return value


def _filled(value: Any, now: dict[int, Tensor]) -> Any:
    kind = type(value)
    if kind is Slot:
        return now[value]
    if kind is tuple:  # most are short, and this is done for every call of every replay
        return tuple([_filled(v, now) for v in value])
    return mapped(value, lambda v: _filled(v, now)) if isinstance(value, CONTAINERS) else value


def _bind(pattern: Any, result: Any, now: dict[int, Tensor]) -> None:
    if isinstance(pattern, Slot):
        now[pattern.number] = result
    elif isinstance(pattern, dict):
        for key, inner in pattern.items():
            _bind(inner, result[key], now)
    elif isinstance(pattern, list | tuple):
        for inner, value in zip(pattern, result, strict=True):
            _bind(inner, value, now)


def version(t: Tensor) -> int:
    return 0 if t.is_inference() else t._version
