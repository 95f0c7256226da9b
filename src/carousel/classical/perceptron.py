r"""One unit that learns from its mistakes, example by example: the perceptron, LMS, the delta rule.

All three are :math:`w ← w + η (d - y)\, s\, x`, with output :math:`y = g(w^T x + b)` and target d; g and s differ.
Rosenblatt, "The perceptron", Psychological Review 65 (1958); Widrow & Hoff, "Adaptive switching circuits", IRE WESCON
(1960); Rumelhart, Hinton & Williams, "Learning internal representations by error propagation" (1986) for smooth units.
"""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor, nn

from ..errors import DataError, TrainingError, UsageError

__all__ = ["DeltaRule", "Perceptron", "Unit", "WidrowHoff"]


class Unit(nn.Module):
    r"""A weighted sum and a function of it, :math:`y = g(w^T x + b)`, with all weights zero at first.

    Subclasses say what the function is: `output`, and `slope`, the factor s of the rule.

    Args:
        inputs: elements of an input.
    """

    def __init__(self, inputs: int):
        super().__init__()
        if inputs < 1:
            raise UsageError(f"A unit needs at least one input; it was given {inputs}.")
        self.weight = nn.Parameter(torch.zeros(inputs))
        self.bias = nn.Parameter(torch.zeros(()))

    @abstractmethod
    def output(self, net: Tensor) -> Tensor:
        """G(net), element by element."""

    @abstractmethod
    def slope(self, y: Tensor) -> Tensor | float:
        """The factor s of the rule, where the output is y."""

    def net(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…,): w·x + b."""
        if x.ndim < 1 or x.shape[-1] != len(self.weight):
            raise DataError(f"Inputs are (…, {len(self.weight)}), one row per example; they are {tuple(x.shape)}.")
        return x @ self.weight + self.bias

    def forward(self, x: Tensor) -> Tensor:
        """(…, inputs) → (…,): what the unit says."""
        return self.output(self.net(x))

    @torch.no_grad()
    def fit(
        self,
        x: Tensor,
        targets: Tensor,
        *,
        rate: float = 1.0,
        epochs: int = 100,
        tolerance: float = 0.0,
        generator: torch.Generator | None = None,
    ) -> list[float]:
        r"""Learn from one example after the other, from the present weights.

        .. math:: w ← w + η (d - y)\, s\, x, \quad b ← b + η (d - y)\, s

        Args:
            x: (examples, inputs).
            targets: (examples,): d.
            rate: η.
            epochs: at most so many passes over the examples.
            tolerance: stop behind a pass whose error is not above it.
            generator: of the order of the examples, anew for each pass; in the order given where there is none.

        Returns:
            The error of each pass, ½ Σ (d - y)², each term taken before the example is learned from. Where the outputs
            are -1 and 1, that is twice the number of mistakes.

        Raises:
            DataError: the examples and targets don't fit, or are not numbers.
            TrainingError: the weights left the numbers, as the rate is too large.

        Example:
            >>> unit = Perceptron(2)
            >>> x = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
            >>> unit.fit(x, torch.tensor([-1.0, -1.0, -1.0, 1.0]))[-1]     # AND
            0.0
            >>> unit(x).tolist()
            [-1.0, -1.0, -1.0, 1.0]
        """
        x, targets = self._examples(x, targets)
        course: list[float] = []
        for _ in range(epochs):
            order = torch.arange(len(x)) if generator is None else torch.randperm(len(x), generator=generator)
            error = 0.0
            for row, target in zip(x[order], targets[order], strict=True):
                y = self.output(self.net(row))
                away = target - y
                error += float(away) ** 2 / 2
                step = rate * away * self.slope(y)
                self.weight += step * row
                self.bias += step
            course.append(error)
            if not bool(self.weight.isfinite().all()):
                largest = float(x.square().sum(1).max()) + 1
                raise TrainingError(
                    f"The weights left the numbers in pass {len(course)}, at rate {rate:g}.",
                    f"A rate below 2/(1 + ‖x‖²) can't do that; for the longest input that is {2 / largest:.3g}.",
                )
            if error <= tolerance:
                break
        return course

    def _examples(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Both as the weights' kind of number."""
        if x.ndim != 2 or x.shape[1] != len(self.weight) or not len(x):
            raise DataError(
                f"Examples are (examples, {len(self.weight)}), at least one; they have the shape {tuple(x.shape)}."
            )
        if targets.shape != x.shape[:1]:
            raise DataError(f"{len(x)} examples need targets of shape ({len(x)},); they are {tuple(targets.shape)}.")
        x, targets = x.to(self.weight), targets.to(self.weight)
        if not bool(x.isfinite().all() and targets.isfinite().all()):
            raise DataError("Some examples or targets are NaN or infinite; leave them out, or fill them in.")
        return x, targets


class Perceptron(Unit):
    r"""A threshold unit: y = 1 where the net input is not negative, else -1; s = ½, so that a mistake adds η d x.

    If some w* of length one has d w*·x ≥ γ for all examples (x with a one for the bias), the rule makes at most (R/γ)²
    mistakes, R the largest ‖x‖, whatever the order (Novikoff 1962). If there is none, it never stops.

    Example:
        >>> xor = torch.tensor([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> min(Perceptron(2).fit(xor, torch.tensor([-1.0, 1.0, 1.0, -1.0]))) > 0
        True
    """

    def output(self, net: Tensor) -> Tensor:
        """-1 or 1."""
        return torch.where(net >= 0, 1.0, -1.0).to(net)

    def slope(self, y: Tensor) -> float:
        """½."""
        return 0.5

    def _examples(self, x: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        x, targets = super()._examples(x, targets)
        if not bool((targets.abs() == 1).all()):
            raise DataError(
                f"The targets of a perceptron are -1 and 1; there are {sorted(set(targets.tolist()))[:5]}. "
                "Classes 0 and 1 become so by 2 * targets - 1."
            )
        return x, targets


class WidrowHoff(Unit):
    r"""A linear unit, y = w·x + b, and s = 1: LMS, gradient descent on ½ (d - y)² of one example at a time.

    An example learned from leaves (1 - η(1 + ‖x‖²)) of its own error, so that η below 2/(1 + ‖x‖²) lowers it. Where the
    targets are linear in the inputs the weights become exact; else they keep moving about the least squares solution,
    the closer the smaller η.

    Example:
        >>> unit, x = WidrowHoff(1), torch.tensor([[0.0], [1.0], [2.0]])
        >>> error = unit.fit(x, 3 * x[:, 0] - 1, rate=0.2, epochs=200)
        >>> [round(float(p.detach()), 4) for p in (unit.weight[0], unit.bias)]
        [3.0, -1.0]
    """

    def output(self, net: Tensor) -> Tensor:
        """The net input itself."""
        return net

    def slope(self, y: Tensor) -> float:
        """1."""
        return 1.0


class DeltaRule(Unit):
    r"""A smooth unit, and s = g'(net): gradient descent on ½ (d - y)² of one example at a time.

    The slope is known from the output: y (1 - y) of the sigmoid, 1 - y² of tanh. Where the unit is surely wrong it is
    nearly zero, and little is learned.

    Args:
        inputs: elements of an input.
        function: "sigmoid", outputs from 0 to 1, or "tanh", from -1 to 1.
    """

    def __init__(self, inputs: int, function: str = "sigmoid"):
        super().__init__(inputs)
        if function not in ("sigmoid", "tanh"):
            raise UsageError(f"The function is 'sigmoid' or 'tanh'; it was given as {function!r}.")
        self.function = function

    def output(self, net: Tensor) -> Tensor:
        """Sigmoid or tanh."""
        return net.sigmoid() if self.function == "sigmoid" else net.tanh()

    def slope(self, y: Tensor) -> Tensor:
        """Of the function, where it is y."""
        return y * (1 - y) if self.function == "sigmoid" else 1 - y.square()
