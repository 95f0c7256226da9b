"""What makes the first number of a run that is none, or infinite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

__all__ = ["Finiteness", "NonFinite", "tensors_of"]


@dataclass(frozen=True)
class NonFinite:
    """The first value that is no number, and what made it."""

    step: int
    where: str
    what: str


@dataclass
class Finiteness:
    """Gathers it. Outputs are gone through only where a loss is no number: what it does without may be infinite, as the
    scores of masked places.

    Attributes:
        first: what was found.
        outputs: of the present step, up to the backward pass: modules with what they were given and made.
    """

    first: NonFinite | None = None
    outputs: list[tuple[nn.Module, tuple[Any, ...], Any]] = field(default_factory=list)

    def loss(self, value: float, step: int, name: Callable[[nn.Module], str]) -> None:
        """It is no number; the first module of the step made one that is none out of numbers, or the loss itself."""
        for module, args, output in self.outputs:
            bad = _bad(output)
            if bad is None:
                continue
            own = next((p for p in module.parameters(recurse=False) if not _is_finite(p)), None)
            if _bad(args) is not None:
                self.first = NonFinite(step, f"the input of {name(module)}", _what(bad))
            elif own is not None:
                self.first = NonFinite(step, f"the weights of {name(module)}", _what(own))
            else:
                self.first = NonFinite(step, f"the output of {name(module)}", _what(bad))
            return
        self.first = NonFinite(step, "the loss", f"is {value}")

    def gradient(self, gradient: Tensor, step: int, name: str) -> None:
        """Its length is no number; of very large ones that need not mean that one of them is none."""
        if not _is_finite(gradient):
            self.first = NonFinite(step, f"the gradient of {name}", _what(gradient))


def tensors_of(value: Any) -> list[Tensor]:
    """The tensors of what a module is given, or makes."""
    if isinstance(value, Tensor):
        return [value]
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in tensors_of(v)] if isinstance(value, list | tuple) else []


def _bad(value: Any) -> Tensor | None:
    return next((t for t in tensors_of(value) if t.is_floating_point() and not _is_finite(t)), None)


def _is_finite(t: Tensor) -> bool:
    return bool((t._values() if t.is_sparse else t).isfinite().all())


def _what(t: Tensor) -> str:
    nan, count = int(t.isnan().sum()), t.numel()
    infinite = int(t.isinf().sum())
    parts = [f"{n} of {count} are {word}" for n, word in ((nan, "NaN"), (infinite, "infinite")) if n]
    return " and ".join(parts)
