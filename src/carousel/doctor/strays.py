"""Tensors that are trained with, and that nobody trains: they get a gradient, and are no parameter of any module.

They are the leaves of the graphs of the first backward passes. Inputs may want gradients too, as of physics or of an
attack: those are given to a module, or their gradients are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from .graphs import reached, some

__all__ = ["Stray", "Strays"]

PASSES, LEAST, MOST = 6, 3, 64
"""Backward passes whose graphs are gone through, those in which a leaf must be, and leaves that are kept."""


@dataclass
class Stray:
    """A leaf that no module has registered.

    Attributes:
        tensor: it.
        before: its first numbers when it was first seen.
        name: of the attribute that leads to it.
        passes: in how many it was.
    """

    tensor: Tensor
    before: Tensor
    name: str | None = None
    passes: int = 1

    @property
    def moved(self) -> bool:
        """Whether someone has changed it since."""
        return bool((some(self.tensor) != self.before).any())


@dataclass
class Strays:
    """Gathers them.

    Attributes:
        passes: how many were gone through.
    """

    passes: int = 0
    _found: dict[int, Stray] = field(default_factory=dict)
    _inputs: set[int] = field(default_factory=set)  # and what turned out to be registered

    def before_backward(
        self,
        roots: tuple[Tensor, ...],
        known: dict[int, Any],
        inputs: Iterable[Tensor],
        modules: Callable[[], list[nn.Module]],
    ) -> None:
        """A backward pass is about to begin.

        Args:
            roots: the tensors that it begins from.
            known: by `id`, parameters of called modules.
            inputs: what was given to modules.
            modules: those that there are.
        """
        if self.passes >= PASSES:
            return
        self.passes += 1
        nodes = reached([root.grad_fn for root in roots if root.grad_fn is not None])
        leaves = [node.variable for node in nodes if hasattr(node, "variable")]
        here = {id(p): p for p in leaves if id(p) not in known}
        self._inputs |= {id(t) for t in inputs if id(t) in here and not isinstance(t, nn.Parameter)}
        for number, p in here.items():
            one = self._found.get(number)
            if one is None and len(self._found) < MOST:
                self._found[number] = Stray(p, some(p))
            elif one is not None:
                one.passes += 1
                if one.passes == LEAST:
                    self._name(one, modules())
        self._found = {n: one for n, one in self._found.items() if n in here or one.passes > 1}

    def asked(self, inputs: Iterable[Tensor]) -> None:
        """The script wants to have gradients of these."""
        self._inputs |= {id(t) for t in inputs if id(t) in self._found}

    def _name(self, one: Stray, modules: list[nn.Module]) -> None:
        """While the module is there."""
        if any(p is one.tensor for module in modules for p in module.parameters()):
            self._inputs.add(id(one.tensor))
            return
        one.name = next((name for module in modules for name in _attributes(module, one.tensor)), None)
        if one.name is None and isinstance(one.tensor, nn.Parameter):
            one.name = f"a parameter of {tuple(one.tensor.shape)}"

    def unheld(self, held: set[int]) -> list[Stray]:
        """Those that nobody holds or changes; `held` has the `id` of the parameters of optimizers and modules."""
        return [
            one
            for number, one in self._found.items()
            if one.name and number not in held | self._inputs and 2 * one.passes >= self.passes and not one.moved
        ]


def _attributes(module: nn.Module, leaf: Tensor) -> Iterator[str]:
    """Names of what is the leaf, or was computed from it, and is no output of the module's parameters."""
    for name, value in vars(module).items():
        values = value if isinstance(value, list | tuple) else value.values() if isinstance(value, dict) else [value]
        if name.startswith("_") or not any(isinstance(v, Tensor) and v.requires_grad for v in values):
            continue
        for v in values:
            if v is leaf or (isinstance(v, Tensor) and v.grad_fn is not None and _only(v, leaf)):
                yield f"{type(module).__name__}.{name}"


def _only(t: Tensor, leaf: Tensor) -> bool:
    """Whether a tensor was computed from this leaf alone."""
    leaves = [node.variable for node in reached([t.grad_fn]) if hasattr(node, "variable")]
    return len(leaves) == 1 and leaves[0] is leaf
