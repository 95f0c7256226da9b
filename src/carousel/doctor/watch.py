"""Seeing a training run without editing it: PyTorch's own hooks, and patches of the few functions that have none.

While a `Watch` is entered, every call of a module, an activation, a loss function, `backward`, `zero_grad` and an
optimizer becomes an event for its listener. The patches call the original with the same arguments and give back what it
gives; nothing here draws a random number or writes to a tensor.
"""

from __future__ import annotations

import functools
import inspect
import os
import threading
import types
import weakref
from collections.abc import Callable
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch._C._functorch import peek_interpreter_stack
from torch.jit._builtins import _get_builtin_table
from torch.optim.optimizer import register_optimizer_step_post_hook, register_optimizer_step_pre_hook

__all__ = ["LOSSES", "Listener", "Watch"]

LOSSES = (
    "cross_entropy", "nll_loss", "mse_loss", "l1_loss", "smooth_l1_loss", "huber_loss", "binary_cross_entropy",
    "binary_cross_entropy_with_logits", "kl_div", "poisson_nll_loss", "gaussian_nll_loss", "hinge_embedding_loss",
    "multi_margin_loss", "multilabel_margin_loss", "multilabel_soft_margin_loss", "soft_margin_loss", "ctc_loss",
    "cosine_embedding_loss", "margin_ranking_loss", "triplet_margin_loss",
)  # fmt: skip
"""Loss functions of `torch.nn.functional`."""


ACTIVATIONS = {
    **{(owner, name): "relu" for owner in (F, torch, Tensor) for name in ("relu", "relu_")},
    (F, "relu6"): "relu",
    **{(owner, name): kind for owner in (F, torch, Tensor) for kind in ("sigmoid", "tanh") for name in (kind,)},
    **{(owner, f"{kind}_"): kind for owner in (torch, Tensor) for kind in ("sigmoid", "tanh")},
    **{(F, name): name for name in ("elu", "gelu", "leaky_relu", "mish", "selu", "silu", "softplus")},
    **{(F, f"{name}_"): name for name in ("elu", "leaky_relu", "selu")},
    **{(torch, name): "selu" for name in ("selu", "selu_")},
}
"""(where it lives, its name) -> which activation it is."""

CLAMPS = [(owner, name) for owner in (torch, Tensor) for name in ("clamp", "clamp_", "clamp_min", "clamp_min_")]
"""A rectifier by another name, where zero is the lower bound and there is no upper one."""
DROPOUTS = {"dropout": 0.5, "dropout1d": 0.5, "dropout2d": 0.5, "dropout3d": 0.5, "scaled_dot_product_attention": 0.0}
"""Functions of `torch.nn.functional` that drop at random unless they are told not to, and how much by default. The last
one cannot be told."""

COMPARISONS = [
    (Tensor, "__eq__"),
    (Tensor, "__ne__"),
    *((owner, name) for owner in (torch, Tensor) for name in ("eq", "ne")),
]
"""Where they live, their names."""


class Listener(Protocol):
    """What is told of every event, in the order in which they happen. A listener may leave out what it needs not."""

    def enter(self, module: nn.Module, learning: bool) -> bool | None:
        """A module is called.

        Args:
            module: which.
            learning: gradients are wanted.

        Returns:
            False if modules and activations inside of this call are of no interest, which saves most of a watch's time.
        """
        ...

    def activation(self, kind: str, output: Tensor) -> None:
        """A function of `ACTIVATIONS` has made an output."""
        ...

    def dropout(self, kind: str, drops: bool, told: bool, learning: bool) -> None:
        """A function of `DROPOUTS` was called with a share to drop.

        Args:
            kind: its name.
            drops: it has dropped.
            told: whether to do so was among its arguments.
            learning: gradients are wanted.
        """
        ...

    def forward(self, module: nn.Module, args: tuple[Any, ...], output: Any) -> None:
        """A module has made an output."""
        ...

    def loss(self, kind: str, args: tuple[Any, ...], keywords: dict[str, Any], value: Any) -> None:
        """A loss function has made a value."""
        ...

    def compared(self, one: Tensor, other: Tensor) -> None:
        """The script asks where two tensors are equal, or differ."""
        ...

    def before_backward(self, roots: tuple[Tensor, ...], how: str, retain: bool) -> None:
        """Gradients are about to be made.

        Args:
            roots: the tensors that they begin from.
            how: "plain", "weighted" (with gradients given) or "returned" (not left on the parameters).
            retain: the graph stays.
        """
        ...

    def after_backward(self, roots: tuple[Tensor, ...]) -> None:
        """They are made."""
        ...

    def asked(self, inputs: tuple[Tensor, ...]) -> None:
        """Gradients of these tensors are wanted in particular."""
        ...

    def compiles(self) -> None:
        """A part of the network, or all of it, is given to `torch.compile`."""
        ...

    def made(self, optimizer: torch.optim.Optimizer) -> None:
        """An optimizer was made."""
        ...

    def loaded(self, module: nn.Module) -> None:
        """A module was given a state that was kept."""
        ...

    def zero_grad(self) -> None:
        """Gradients are about to be dropped by `zero_grad()` of an optimizer or module."""
        ...

    def before_step(self, optimizer: torch.optim.Optimizer) -> None:
        """An update is about to be made."""
        ...

    def after_step(self, optimizer: torch.optim.Optimizer) -> None:
        """It is made."""
        ...


EVENTS = tuple(name for name in vars(Listener) if not name.startswith("_"))


class Watch:
    """While entered, tells its listeners what a training run in this process does.

    Worker processes of data loaders, which inherit the patches by fork, are left alone, and so are calls inside calls
    (a loss function that calls another), other threads than the one that entered, and what PyTorch compiles, traces or
    transforms (there are no numbers to look at). An optimizer with a closure makes its update when the closure has made
    the gradients.

    Args:
        listeners: the ones to tell, in this order; events that one has no method for are not its own.
        failed: is given the exceptions that listeners raise, which go to the script otherwise.

    Example:
        >>> class Count:
        ...     steps = 0
        ...     def after_step(self, optimizer): self.steps += 1
        >>> w = torch.nn.Parameter(torch.ones(1)); rule = torch.optim.SGD([w], 0.1)
        >>> count = Count()
        >>> with Watch(count):
        ...     (2 * w).sum().backward(); rule.step()
        >>> count.steps
        1
    """

    def __init__(self, *listeners: Any, failed: Callable[[Exception], object] | None = None):
        self._failed = failed
        self._tell = {
            name: [getattr(listener, name) for listener in listeners if hasattr(listener, name)] for name in EVENTS
        }
        self._undo: list[Callable[[], None]] = []
        self._local = threading.local()
        self._busy = False
        self._skips = False  # in a call whose inside is of no interest

    def __enter__(self) -> Watch:
        self._thread = threading.get_ident()
        ENTERED.add(self)
        self._undo += [
            register_optimizer_step_pre_hook(self._before_step).remove,
            register_optimizer_step_post_hook(self._after_step).remove,
        ]
        self._patch(nn.Module, "__call__", self._module)  # global hooks take PyTorch's slow path
        for name in LOSSES:
            self._patch(F, name, functools.partial(self._loss, name))
        for (owner, name), kind in ACTIVATIONS.items():
            self._patch(owner, name, functools.partial(self._activation, kind))
        for owner, name in CLAMPS:
            self._patch(owner, name, self._clamped)
        for name in DROPOUTS:
            self._patch(F, name, functools.partial(self._dropout, name))
        for owner, name in COMPARISONS:
            self._patch(owner, name, self._compared)
        for owner in (torch.optim.Optimizer, nn.Module):
            self._patch(owner, "zero_grad", self._zero_grad)
        self._patch(nn.Module, "load_state_dict", self._loaded)
        self._patch(torch, "compile", self._compiles)
        self._patch(torch.optim.Optimizer, "__init__", self._made)
        for name in ("backward", "grad"):
            self._patch(torch.autograd, name, functools.partial(self._backward, name))
        return self

    def __exit__(self, *_: object) -> None:
        self._thread = None
        while self._undo:
            self._undo.pop()()

    def forget(self, listener: object) -> None:
        """Tell this one no more."""
        for event, told in self._tell.items():
            self._tell[event] = [tell for tell in told if getattr(tell, "__self__", self) is not listener]

    def _module(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self._skips or threading.get_ident() != self._thread:
            return original(*args, **keywords)
        self._skips = self._say("enter", args[0], torch.is_grad_enabled())
        try:
            output = original(*args, **keywords)
        finally:
            self._skips = False
        self._say("forward", args[0], args[1:], output)
        return output

    def _say(self, event: str, *args: Any) -> bool:
        """Tell all, and whether none of them wants to hear of what is inside.

        This is done for every module and function of a step: a few microseconds here are a tenth of a small network's.
        """
        if self._busy or threading.get_ident() != self._thread or not _sees():
            return False
        self._busy, wanted, bored = True, torch.is_grad_enabled(), True
        try:
            with torch._C.DisableTorchFunction():  # modes are not to see what the listeners do
                torch._C._set_grad_enabled(False)
                try:
                    for tell in self._tell[event]:
                        bored = tell(*args) is False and bored
                except Exception as error:
                    if self._failed is None:
                        raise
                    self._failed(error)
                finally:
                    torch._C._set_grad_enabled(wanted)
            return bored
        finally:
            self._busy = False

    def _before_step(self, rule: torch.optim.Optimizer, args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if torch.compiler.is_compiling():
            return None
        closure = args[1] if len(args) > 1 else keywords.get("closure")
        self._local.told = not callable(closure)
        if not callable(closure):
            self._say("before_step", rule)
            return None

        @functools.wraps(closure)
        def with_gradients() -> Any:
            loss = closure()
            self._tell_before_step(rule)
            return loss

        if len(args) > 1:
            return (args[0], with_gradients, *args[2:]), keywords
        return args, {**keywords, "closure": with_gradients}

    def _after_step(self, rule: torch.optim.Optimizer, *_: Any) -> None:
        if torch.compiler.is_compiling():
            return
        self._tell_before_step(rule)
        self._say("after_step", rule)

    def _tell_before_step(self, rule: torch.optim.Optimizer) -> None:
        """Once in an update."""
        if not getattr(self._local, "told", True):
            self._local.told = True
            self._say("before_step", rule)

    def _patch(self, owner: Any, name: str, around: Callable[..., Any]) -> None:
        original, own = getattr(owner, name), name in vars(owner)

        def call(*args: Any, **keywords: Any) -> Any:
            if torch.compiler.is_compiling():  # the compiler follows the original
                return original(*args, **keywords)
            return around(original, args, keywords)

        if owner is F and isinstance(original, types.FunctionType) and original.__closure__ is None:
            function, original = original, _copied(original)
            self._undo.append(_redirected(function, call))
            return
        patched = (
            functools.wraps(original)(call) if isinstance(original, types.FunctionType) else _Builtin(original, call)
        )

        def undo() -> None:
            _get_builtin_table().pop(id(patched), None)
            setattr(owner, name, original) if own else delattr(owner, name)

        setattr(owner, name, patched)
        if id(original) in _get_builtin_table():
            _get_builtin_table()[id(patched)] = _get_builtin_table()[id(original)]  # for torch.jit.script
        self._undo.append(undo)

    def _loss(self, kind: str, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if getattr(self._local, "inside", False):
            return original(*args, **keywords)
        value = self._alone(original, args, keywords)
        self._say("loss", kind, args, keywords, value)
        return value

    def _activation(
        self, kind: str, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        if self._skips or getattr(self._local, "inside", False):
            return original(*args, **keywords)
        output = self._alone(original, args, keywords)
        if isinstance(output, Tensor):
            self._say("activation", kind, output)
        return output

    def _clamped(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        low = args[1] if len(args) > 1 else keywords.get("min")
        above = args[2] if len(args) > 2 else keywords.get("max")
        if above is None and isinstance(low, int | float) and low == 0:
            return self._activation("relu", original, args, keywords)
        return original(*args, **keywords)

    def _dropout(self, kind: str, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        if self._skips or getattr(self._local, "inside", False):
            return original(*args, **keywords)
        output = self._alone(original, args, keywords)
        at, name = (4, "dropout_p") if DROPOUTS[kind] == 0 else (1, "p")
        if (args[at] if len(args) > at else keywords.get(name, DROPOUTS[kind])) > 0:
            told = at == 1 and (len(args) > 2 or "training" in keywords)
            drops = bool(args[2] if len(args) > 2 else keywords["training"]) if told else True
            self._say("dropout", kind, drops, told, torch.is_grad_enabled())
        return output

    def _compared(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        result = original(*args, **keywords)
        if len(args) == 2 and isinstance(args[1], Tensor) and not getattr(self._local, "inside", False):
            self._say("compared", *args)
        return result

    def _alone(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        """Call a function; what it calls in turn is no event of its own."""
        self._local.inside = True
        try:
            return original(*args, **keywords)
        finally:
            self._local.inside = False

    def _compiles(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        self._say("compiles")
        return original(*args, **keywords)

    def _loaded(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        result = original(*args, **keywords)
        self._say("loaded", args[0])
        return result

    def _made(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        original(*args, **keywords)
        self._say("made", args[0])

    def _zero_grad(self, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]) -> Any:
        self._say("zero_grad")
        return original(*args, **keywords)

    def _backward(
        self, name: str, original: Callable[..., Any], args: tuple[Any, ...], keywords: dict[str, Any]
    ) -> Any:
        given = args[0] if args else keywords.get("tensors", keywords.get("outputs", ()))
        roots = (given,) if isinstance(given, Tensor) else tuple(given)
        weights = args[1] if len(args) > 1 else keywords.get("grad_tensors")
        how = "returned" if name == "grad" else "plain" if _is_nothing(weights) else "weighted"
        at = 3 if name == "grad" else 2
        create = (args[at + 1] if len(args) > at + 1 else keywords.get("create_graph")) or False
        retain = args[at] if len(args) > at else keywords.get("retain_graph")
        self._say("before_backward", roots, how, create if retain is None else bool(retain))
        result = original(*args, **keywords)
        self._say("after_backward", roots)
        inputs = args[1] if name == "grad" and len(args) > 1 else keywords.get("inputs")
        if inputs is not None:
            self._say("asked", (inputs,) if isinstance(inputs, Tensor) else tuple(inputs))
        return result


def _sees() -> bool:
    """There are numbers to look at, and nothing that sees what listeners do."""
    return not (
        torch._C._is_tracing()
        or torch._C._len_torch_dispatch_stack()
        or peek_interpreter_stack() is not None  # as in vmap
    )


ENTERED: weakref.WeakSet[Watch] = weakref.WeakSet()


def _asleep() -> None:
    """In a forked process nothing is watched."""
    for watch in ENTERED:
        watch._thread = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_asleep)


def _is_nothing(weights: Any) -> bool:
    return weights is None or (isinstance(weights, list | tuple) and all(w is None for w in weights))


def _copied(function: types.FunctionType) -> types.FunctionType:
    copy = types.FunctionType(function.__code__, function.__globals__, function.__name__, function.__defaults__)
    copy.__kwdefaults__ = function.__kwdefaults__
    return copy


def _redirected(function: types.FunctionType, call: Callable[..., Any]) -> Callable[[], None]:
    """Let a function call another; it stays the same object, which others may hold, compare, and pickle by its name.

    Returns:
        What puts it back.
    """
    code, signature = function.__code__, inspect.signature(function)
    consts = tuple(call if const == "CALL" else const for const in _redirect.__code__.co_consts)
    names = {name: getattr(code, name) for name in ("co_filename", "co_firstlineno", "co_name", "co_qualname")}
    own = vars(function).get("__signature__")
    function.__signature__ = signature  # pyright: ignore[reportFunctionMemberAccess]
    function.__code__ = _redirect.__code__.replace(co_consts=consts, **names)

    def undo() -> None:
        function.__code__ = code
        del function.__signature__  # pyright: ignore[reportFunctionMemberAccess]
        if own is not None:
            vars(function)["__signature__"] = own

    return undo


def _redirect(*args: Any, **keywords: Any) -> Any:
    call: Any = "CALL"
    __carousel__: Any = call(*args, **keywords)  # the name tells these frames from others
    return __carousel__


class _Builtin:
    """A patch of a function that is not written in Python; it is pickled as the original, and equal to it: the compiler
    looks it up in tables of functions.
    """

    def __init__(self, original: Any, call: Callable[..., Any]):
        self._original, self._call = original, call
        functools.update_wrapper(self, original)

    def __call__(self, *args: Any, **keywords: Any) -> Any:
        return self._call(*args, **keywords)

    def __eq__(self, other: object) -> bool:
        return other is self or other is self._original

    def __hash__(self) -> int:
        return hash(self._original)

    def __get__(self, instance: Any, owner: Any) -> Any:
        return self if instance is None else types.MethodType(self, instance)

    def __reduce__(self) -> Any:
        return self._original.__reduce__()
