"""Updates that a script makes itself, without an optimizer of PyTorch: `p -= lr * p.grad`.

They are known by the numbers of a few parameters, which differ from what they were in the last backward pass.
"""

from __future__ import annotations

import math
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
        scales: of the matrices in the first backward pass, sizes and root mean square over sqrt(2 / inputs); which of
            the sizes is that of the inputs is not known, and the smaller one is taken.
    """

    off: bool = False
    scales: list[tuple[tuple[int, ...], float]] = field(default_factory=list)
    _leaves: list[Tensor] = field(default_factory=list)
    _waits: list[tuple[Tensor, int, Tensor]] = field(default_factory=list)

    def after_backward(self, roots: tuple[Tensor, ...]) -> None:
        """Gradients were made; an update may follow."""
        if self.off:
            return
        if not self._leaves:
            nodes = reached([root.grad_fn for root in roots if root.grad_fn is not None])
            leaves = sorted((node.variable for node in nodes if hasattr(node, "variable")), key=id)
            self.scales = [(tuple(p.shape), _scale(p)) for p in leaves if p.ndim == 2 and p.numel()]
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


def _scale(p: Tensor) -> float:
    return float(p.detach().float().square().mean().sqrt()) * math.sqrt(min(p.shape) / 2)
