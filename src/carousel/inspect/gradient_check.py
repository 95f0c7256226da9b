r"""Is a gradient right: the analytic one beside differences of the function itself.

For a random direction v in the outputs and every number θ_i of a parameter or an input,

.. math:: \frac{∂}{∂θ_i} v^⊤ f(θ) \quad\text{against}\quad \frac{v^⊤ f(θ + h e_i) - v^⊤ f(θ - h e_i)}{2 h}

in float64, where the difference has about ten true digits. At a kink (a rectifier at zero) the two sides have different
slopes; a gradient between them is as right as one can be, and is counted as a kink, not as a mistake.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError

__all__ = ["Checked", "GradientCheck", "gradient_check"]

STEP = 1e-6
TOLERANCE = 1e-5


@dataclass(frozen=True)
class Checked:
    """A parameter or input whose gradient was checked.

    Attributes:
        name: of a parameter; "input 1" of the first argument.
        shape: of it.
        checked: how many of its numbers, drawn at random where there are more.
        kinks: of these, where the slope is another on each side and the gradient between both.
        error: the largest relative error |a - n| / max(|a|, |n|, scale), where scale is a millionth of the largest
            gradient of all.
        worst: index of the number with that error.
        analytic, numeric: the two gradients there.
    """

    name: str
    shape: tuple[int, ...]
    checked: int
    kinks: int
    error: float
    worst: tuple[int, ...]
    analytic: float
    numeric: float


@dataclass(frozen=True)
class GradientCheck:
    """What came of a gradient check; `str()` is a table.

    Attributes:
        entries: for every parameter and input that is differentiable.
        tolerance: relative error up to which a gradient counts as right.
    """

    entries: list[Checked]
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether every gradient is right."""
        return all(entry.error <= self.tolerance for entry in self.entries)

    @property
    def error(self) -> float:
        """The largest relative error of all."""
        return max(entry.error for entry in self.entries)

    def __str__(self) -> str:
        head = ("name", "shape", "checked", "kinks", "error", "worst", "analytic", "numeric")
        rows = [
            (e.name, "x".join(map(str, e.shape)) or "1", f"{e.checked:,}", f"{e.kinks or ''}", f"{e.error:.1e}",
             str(list(e.worst)), f"{e.analytic:.6g}", f"{e.numeric:.6g}" + "  wrong" * (e.error > self.tolerance))
            for e in self.entries
        ]  # fmt: skip
        widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
        lines = ["  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)) for row in [head, *rows]]
        return "\n".join(line.rstrip() for line in lines)


def gradient_check(
    function: Callable[..., Any],
    *inputs: Any,
    most: int = 100,
    tolerance: float = TOLERANCE,
    generator: torch.Generator | None = None,
) -> GradientCheck:
    r"""Check the gradients of a module, a function, or an own `torch.autograd.Function` (give its `apply`).

    Works on a copy of the module in float64, which must therefore be able to compute in it; random numbers (dropout)
    are the same at each evaluation.

    Args:
        function: gives a tensor, or a tuple of tensors.
        inputs: its arguments; those with floating-point numbers are checked as well.
        most: numbers checked of each parameter and input, drawn at random where it has more.
        tolerance: relative error up to which a gradient counts as right.
        generator: for the direction and the draw.

    Returns:
        `GradientCheck`.

    Raises:
        UsageError: the function does not give the same twice, nothing is differentiable, or a value is not finite.

    Example:
        >>> class Wrong(torch.autograd.Function):
        ...     @staticmethod
        ...     def forward(ctx, x):
        ...         ctx.save_for_backward(x)
        ...         return x**3
        ...     @staticmethod
        ...     def backward(ctx, g):
        ...         return 2 * ctx.saved_tensors[0] ** 2 * g                        # 3 x² is right
        >>> found = gradient_check(Wrong.apply, torch.tensor([1.0, 2.0]))
        >>> found.passed, round(found.error, 4)
        (False, 0.3333)
    """
    generator = generator or torch.Generator().manual_seed(0)
    function = copy.deepcopy(function).double() if isinstance(function, nn.Module) else function
    given = [_double(value) for value in inputs]
    targets = {f"input {number}": t for number, t in enumerate(given, 1) if isinstance(t, Tensor) and t.requires_grad}
    if isinstance(function, nn.Module):
        targets |= {name: p for name, p in function.named_parameters() if p.requires_grad}
    if not targets:
        raise UsageError("There is nothing to check: no parameter, and no input of floating-point numbers.")
    buffers = dict(function.named_buffers()) if isinstance(function, nn.Module) else {}
    kept = {name: buffer.clone() for name, buffer in buffers.items()}
    directions: list[Tensor] = []

    def value() -> Tensor:
        """V · f."""
        with torch.no_grad():
            for name, buffer in buffers.items():
                buffer.copy_(kept[name])
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = function(*given)
        made = [t for t in _flat(made) if t.is_floating_point()]
        if not directions:
            directions.extend(torch.randn(t.shape, generator=generator, dtype=torch.float64) for t in made)
        total = torch.zeros((), dtype=torch.float64)
        for direction, t in zip(directions, made, strict=True):
            total = total + (direction.to(t.device) * t).sum().cpu()
        return total

    with torch.enable_grad():
        first = value()
    if not bool(first.isfinite()):
        raise UsageError("The function is not finite at these inputs, so it has no gradient there.")
    if not first.requires_grad:
        raise UsageError("The output does not depend on the parameters and inputs through anything differentiable.")
    found = torch.autograd.grad(first, list(targets.values()), allow_unused=True, materialize_grads=True)
    with torch.no_grad():
        if float(value()) != float(first.detach()):
            raise UsageError(
                "The function gives different values for the same inputs, so its gradient cannot be checked; draw "
                "random numbers from PyTorch's generator, and keep no state between calls."
            )
    scale = 1e-6 * max(float(g.abs().max()) for g in found if g.numel()) or 1e-12
    entries = []
    with torch.no_grad():
        for (name, tensor), gradient in zip(targets.items(), found, strict=True):
            if tensor.numel():
                entries.append(_checked(name, tensor, gradient, value, most, tolerance, scale, generator))
    return GradientCheck(entries, tolerance)


def _checked(
    name: str,
    tensor: Tensor,
    gradient: Tensor,
    value: Callable[[], Tensor],
    most: int,
    tolerance: float,
    scale: float,
    generator: torch.Generator,
) -> Checked:
    if tensor.numel() <= most:
        places = list(range(tensor.numel()))
    else:
        places = torch.randperm(tensor.numel(), generator=generator)[:most].tolist()
    worst, kinks = (-1.0, 0, 0.0, 0.0), 0
    flat = gradient.reshape(-1)
    for place in places:
        analytic = float(flat[place])
        numeric, is_kink = _slope(tensor, place, analytic, value, tolerance, scale)
        kinks += is_kink
        error = 0.0 if is_kink else _relative(analytic, numeric, scale)
        worst = max(worst, (error, place, analytic, numeric), key=lambda found: found[0])
    error, place, analytic, numeric = worst
    index = tuple(int(i) for i in torch.unravel_index(torch.tensor(place), tensor.shape)) if tensor.ndim else ()
    return Checked(name, tuple(tensor.shape), len(places), kinks, error, index, analytic, numeric)


def _slope(
    tensor: Tensor, place: int, analytic: float, value: Callable[[], Tensor], tolerance: float, scale: float
) -> tuple[float, bool]:
    """The numeric derivative, and whether there is a kink whose slopes enclose the analytic one.

    A step that crosses a kink nearby is mended by a smaller step; one that sits on a kink is not.
    """
    index = tuple(torch.unravel_index(torch.tensor(place), tensor.shape)) if tensor.ndim else ()
    middle, numeric, sides = float(tensor[index]), 0.0, (0.0, 0.0)
    for step in (STEP, STEP / 10, STEP / 100):
        h = step * max(1.0, abs(middle))
        values = []
        for at in (middle - h, middle, middle + h):
            tensor[index] = at
            values.append(float(value()))
        tensor[index] = middle
        numeric = (values[2] - values[0]) / (2 * h)
        sides = ((values[1] - values[0]) / h, (values[2] - values[1]) / h)
        if _relative(analytic, numeric, scale) <= tolerance:
            return numeric, False
    slack = tolerance * max(abs(side) for side in sides) + scale
    differ = abs(sides[0] - sides[1]) > 100 * slack
    return numeric, differ and min(sides) - 100 * slack <= analytic <= max(sides) + 100 * slack


def _relative(analytic: float, numeric: float, scale: float) -> float:
    return abs(analytic - numeric) / max(abs(analytic), abs(numeric), scale)


def _double(value: Any) -> Any:
    if not isinstance(value, Tensor):
        return value
    if value.is_floating_point():
        return value.detach().double().clone().requires_grad_()
    return value


def _flat(made: Any) -> list[Tensor]:
    if isinstance(made, Tensor):
        return [made]
    if isinstance(made, tuple | list):
        return [t for part in made for t in _flat(part)]
    raise UsageError(f"The function gave a {type(made).__name__}; expected a tensor, or a tuple of tensors.")
