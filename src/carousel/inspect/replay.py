"""Recurrent layers while their network runs: what their states are at each step, whoever wrote the network.

Carousel's layers are asked for their trajectory. PyTorch's own, whose kernels let nobody in, are replaced while they
run by Carousel's with the same weights; cells that a loop calls are seen call by call.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from ..cells.base import Cell
from ..nn import Recurrent
from .system import like

__all__ = ["Calls", "watch"]

Calls = list[Any]
"""For each call a layer and its trajectory; or of a cell or other module the list of tensors that it gave."""


@contextlib.contextmanager
def watch(network: nn.Module, of: nn.Module | None = None) -> Iterator[dict[str, Calls]]:
    """While it is entered, the calls of each recurrent part of a network, by its name.

    Args:
        network: holds them.
        of: the one module to watch, whatever it is; its outputs are taken for states.
    """
    seen: dict[str, Calls] = {}
    with contextlib.ExitStack() as stack:
        for name, module in _recurrent_parts(network, of):
            stack.enter_context(_watch(name or type(module).__name__, module, seen, whole=module is of))
        yield seen


def _recurrent_parts(network: nn.Module, of: nn.Module | None) -> list[tuple[str, nn.Module]]:
    """The outermost recurrent parts, or the one that was named."""
    named = dict(network.named_modules())
    if of is not None:
        return [(next((name for name, module in named.items() if module is of), "state"), of)]
    kinds = (Recurrent, nn.RNNBase, nn.RNNCellBase, Cell)
    inner = {id(part) for m in named.values() if isinstance(m, kinds) for part in m.modules() if part is not m}
    return [(name, m) for name, m in named.items() if isinstance(m, kinds) and id(m) not in inner]


@contextlib.contextmanager
def _watch(name: str, module: nn.Module, seen: dict[str, list[Any]], *, whole: bool) -> Iterator[None]:
    """While it is entered, what a module does at each call goes to `seen`."""
    hooks = []
    if isinstance(module, Recurrent) and not whole:

        def ask(_: nn.Module, args: Any, keywords: dict[str, Any]) -> Any:
            return args, {**keywords, "trajectory": True}

        def take(_: nn.Module, __: Any, ___: Any, output: Any) -> Any:
            *rest, trajectory = output
            seen.setdefault(name, []).append((module, trajectory))
            return tuple(rest)

        hooks = [
            module.register_forward_pre_hook(ask, with_kwargs=True),
            module.register_forward_hook(take, with_kwargs=True),
        ]
    elif isinstance(module, nn.RNNBase) and not whole:

        def replay(layer: nn.Module, args: Any, keywords: dict[str, Any], _: Any) -> Any:
            ours = like(layer)
            *output, trajectory = ours(*args, **keywords, trajectory=True)
            seen.setdefault(name, []).append((ours, trajectory))
            return tuple(output)

        hooks = [module.register_forward_hook(replay, with_kwargs=True)]
    else:

        def keep(_: nn.Module, __: Any, output: Any) -> None:
            states = [output] if isinstance(output, Tensor) else [o for o in output if isinstance(o, Tensor)]
            for state in states:
                if state.requires_grad:
                    state.retain_grad()
            seen.setdefault(name, []).append(states)

        hooks = [module.register_forward_hook(keep)]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
