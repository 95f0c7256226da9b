"""Updates that a script makes itself, without an optimizer of PyTorch: `p -= lr * p.grad`.

They are known by the numbers of a few parameters, which differ from what they were in the last backward pass.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from torch import Tensor

from .graphs import reached, some

__all__ = ["ByHand"]

LOOKED_AT = 4
"""Parameters whose numbers are compared: one of them may have no gradient."""


@dataclass
class ByHand:
    """Gathers it, until there is an optimizer.

    Attributes:
        off: an optimizer makes updates.
    """

    off: bool = False
    _leaves: list[Tensor] = field(default_factory=list)
    _waits: list[tuple[Tensor, int, Tensor]] = field(default_factory=list)

    def after_backward(self, roots: tuple[Tensor, ...]) -> None:
        """Gradients were made; an update may follow."""
        if self.off:
            return
        if not self._leaves:
            nodes = reached([root.grad_fn for root in roots if root.grad_fn is not None])
            leaves = sorted((node.variable for node in nodes if hasattr(node, "variable")), key=id)
            self._leaves = leaves[:: -(-len(leaves) // LOOKED_AT)] if leaves else []
        self._waits = [(p, p._version, some(p)) for p in self._leaves]

    def moved(self) -> bool:
        """An update was made since the last backward pass; says so once."""
        changed = not self.off and any(
            p._version != version or bool((some(p) != before).any()) for p, version, before in self._waits
        )
        if changed:
            self._waits = []
        return changed
