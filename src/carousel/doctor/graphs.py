"""Whether the graphs of backward passes grow into each other: each holds the one before it, across an update or in one.

Only graphs that the script keeps (`retain_graph=True`) are walked through, and of these the first few. An update is
known by the numbers of the parameters, whoever made it.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

from torch import Tensor

__all__ = ["Graphs", "makers", "reached", "some", "squashings"]

ENOUGH = 6
"""Passes in a row."""

LOOKED_AT = 20
"""Passes of a run."""

LARGEST = 20_000
"""Nodes."""

NUMBERS = 16
"""Of a parameter, that are compared."""


@dataclass
class Graphs:
    """Gathers it.

    Attributes:
        sizes: nodes of the graphs of successive passes, each larger than the one before, and holding most of it though
            parameters have changed since.
        again: the same of those between which no parameter has changed, the most of them in a row; without those whose
            gradients are given to the script, as in learning to learn.
    """

    sizes: list[int] = field(default_factory=list)
    again: list[int] = field(default_factory=list)
    _within: list[int] = field(default_factory=list)
    _looked: int = 0
    _nodes: set[Any] = field(default_factory=set)
    _leaves: list[tuple[Tensor, Tensor]] = field(default_factory=list)

    @property
    def grow(self) -> bool:
        """For long enough."""
        return len(self.sizes) >= ENOUGH

    def before_backward(self, roots: tuple[Tensor, ...], retain: bool, plain: bool = True) -> None:
        """A backward pass is about to begin."""
        if self.grow or not (retain or self._nodes or self._leaves or len(self.sizes) > 1 or len(self._within) > 1):
            return
        nodes = set[Any]()
        if retain and self._looked < LOOKED_AT:
            self._looked += 1
            nodes = reached([root.grad_fn for root in roots if root.grad_fn is not None])
        inner = {node for node in nodes if not hasattr(node, "variable")}
        held = 2 * len(inner & self._nodes) > len(self._nodes) > 0
        changed = any(bool((some(p) != before).any()) for p, before in self._leaves)
        longer = held and len(inner) > len(self._nodes)
        self.sizes = [*self.sizes, len(inner)] if longer and changed else [len(inner)]
        self._within = [*self._within, len(inner)] if longer and not changed and plain else [len(inner)]
        self.again = max(self.again, self._within, key=len)
        self._nodes = inner if not self.grow else set()
        leaves = [node.variable for node in nodes if hasattr(node, "variable")]
        self._leaves = [(p, some(p)) for p in leaves] if not self.grow else []


def reached(nodes: list[Any]) -> set[Any]:
    """All nodes behind these; none where there are too many."""
    seen = set(nodes)
    while nodes:
        for node, _ in nodes.pop().next_functions:
            if node is not None and node not in seen:
                seen.add(node)
                nodes.append(node)
        if len(seen) > LARGEST:
            return set()
    return seen


def some(p: Tensor) -> Tensor:
    """The first numbers of a parameter."""
    return p.detach().flatten()[:NUMBERS].clone()


VIEWS = (
    "Alias", "Clone", "Expand", "Index", "Permute", "ReshapeAlias", "Select", "Slice", "Split", "Squeeze", "T",
    "ToCopy", "Transpose", "Unbind", "UnsafeView", "Unsqueeze", "View",
)  # fmt: skip
"""Nodes of a graph, by their names, that hand values on as they are."""

LONGEST = 20
"""Nodes that are gone through."""


def makers(t: Tensor) -> Iterator[str]:
    """The functions that have made a tensor, the last first, each of the first argument of that before; no views."""
    node = t.grad_fn
    for _ in range(LONGEST):
        if node is None:
            return
        name = node.name().partition("Backward")[0]
        if name not in VIEWS:
            yield name
        node = node.next_functions[0][0] if node.next_functions else None


def squashings(t: Tensor) -> int:
    """How many sigmoids or softmaxes have made a tensor directly, one of the other."""
    return sum(1 for _ in takewhile(lambda name: name in ("Sigmoid", "Softmax"), makers(t)))
