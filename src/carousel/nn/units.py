"""Layers of units that PyTorch has none of: threshold, maxout, Gaussian (radial basis), highway."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError

__all__ = ["Gaussians", "Highway", "Maxout", "Threshold"]


class _Step(torch.autograd.Function):
    """1 where a ≥ 0, else 0; the gradient passes where |a| ≤ 1."""

    @staticmethod
    def forward(ctx: Any, a: Tensor) -> Tensor:
        ctx.save_for_backward(a)
        return (a >= 0).to(a.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        (a,) = ctx.saved_tensors
        return gradients[0] * (a.abs() <= 1)


class Threshold(nn.Module):
    r"""Threshold units: 1 where a ≥ 0, else 0.

    The derivative is zero wherever there is one, so nothing below the unit would learn. With `through` the backward
    pass takes that of a clipped line instead, :math:`∂/∂a := 1` for |a| ≤ 1 and 0 elsewhere: a biased estimate that
    lets such nets be trained.

    McCulloch & Pitts, "A logical calculus of the ideas immanent in nervous activity", 1943; the straight-through
    estimator: Bengio, Léonard & Courville, arXiv:1308.3432 (2013), clipped as in Hubara et al., "Binarized neural
    networks", NeurIPS 2016.

    Args:
        through: False keeps the true derivative, zero.

    Example:
        >>> Threshold()(torch.tensor([-0.5, 0.0, 2.0])).tolist()
        [0.0, 1.0, 1.0]
    """

    def __init__(self, through: bool = True):
        super().__init__()
        self.through = through

    def forward(self, a: Tensor) -> Tensor:
        """Zeros and ones, of the input's shape and dtype."""
        return _Step.apply(a) if self.through else (a >= 0).to(a.dtype)  # pyright: ignore[reportReturnType]

    def extra_repr(self) -> str:
        return "" if self.through else "through=False"


class Maxout(nn.Module):
    r"""The largest of each k neighboring features: :math:`y_j = \max_{i<k} a_{jk+i}`.

    After a dense layer or a convolution of n k features it leaves n, each a convex piecewise linear function of that
    layer's input. Goodfellow et al., "Maxout networks", ICML 2013.

    Args:
        pieces: k.

    Raises:
        UsageError: k is below 2, or (when called) the number of features is no multiple of k.

    Example:
        >>> Maxout(2)(torch.tensor([[1.0, 3.0, -2.0, -4.0]])).tolist()
        [[3.0, -2.0]]
    """

    def __init__(self, pieces: int):
        super().__init__()
        if pieces < 2:
            raise UsageError(f"Maxout got {pieces} pieces; give at least 2.")
        self.pieces = pieces

    def forward(self, a: Tensor) -> Tensor:
        """(batch, n k, …) to (batch, n, …)."""
        if a.shape[1] % self.pieces:
            raise UsageError(f"Maxout({self.pieces}) got {a.shape[1]} features; give a multiple of {self.pieces}.")
        return a.unflatten(1, (-1, self.pieces)).amax(2)

    def extra_repr(self) -> str:
        return str(self.pieces)


class Gaussians(nn.Module):
    r"""Radial basis functions: :math:`φ_j(x) = \exp(-‖x - c_j‖² / 2σ_j²)`, each with its own center and width.

    Centers start as draws from N(0, 1), widths so that the distance of two such draws, √(2 n), is 2σ. Data of another
    scale need `place`. Broomhead & Lowe, "Multivariable functional interpolation and adaptive networks", 1988; Moody &
    Darken, "Fast learning in networks of locally-tuned processing units", 1989, who place them by the data.

    Args:
        features: n, numbers of an input.
        units: number of functions.

    Example:
        >>> layer = Gaussians(2, 3).place(torch.tensor([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]]))
        >>> sorted(layer.width.tolist())        # half the distance to the nearest other center
        [1.5, 1.5, 2.0]
        >>> sorted(round(v, 4) for v in layer(torch.zeros(1, 2))[0].tolist())       # exp(-9/4.5), exp(-16/8), 1
        [0.1353, 0.1353, 1.0]
    """

    def __init__(self, features: int, units: int):
        super().__init__()
        self.center = nn.Parameter(torch.randn(units, features))
        self.log_width = nn.Parameter(torch.full((units,), 0.5 * math.log(features / 2)))

    @property
    def width(self) -> Tensor:
        """σ, (units,)."""
        return self.log_width.exp()

    @torch.no_grad()
    def place(self, x: Tensor, generator: torch.Generator | None = None) -> Gaussians:
        """Put the centers on different rows of `x`, each as wide as half the way to the nearest other center.

        Args:
            x: (examples, features).
            generator: for the draw of the rows.

        Returns:
            This layer.

        Raises:
            UsageError: `x` has fewer different rows than there are units, or another number of features.
        """
        units, features = self.center.shape
        rows = torch.unique(x, dim=0) if x.ndim == 2 and x.shape[1] == features else x
        if rows.shape[1:] != (features,) or len(rows) < max(2, units):
            raise UsageError(
                f"Centers are placed on rows of a tensor of {tuple(x.shape)}; expected (examples, {features}) with at "
                f"least {max(2, units)} different ones."
            )
        device = None if generator is None else generator.device
        drawn = torch.randperm(len(rows), generator=generator, device=device)[:units]
        self.center.copy_(rows[drawn.to(rows.device)])
        away = torch.cdist(self.center, self.center if units > 1 else rows)
        away[away == 0] = math.inf
        self.log_width.copy_((away.amin(1) / 2).log())
        return self

    def forward(self, x: Tensor) -> Tensor:
        """(…, features) to (…, units), in (0, 1]."""
        squared = x.square().sum(-1, keepdim=True) - 2 * x @ self.center.T + self.center.square().sum(-1)
        return torch.exp(-squared.clamp_min(0) / (2 * self.width.square()))

    def extra_repr(self) -> str:
        return f"{self.center.shape[1]}, {self.center.shape[0]}"


class Highway(nn.Module):
    r"""A highway layer: a gate per unit chooses between a new value and the old one.

    .. math:: y = T ⊙ φ(W x + b) + (1 - T) ⊙ x, \qquad T = σ(W_T x + b_T)

    The gate's bias starts below zero, so that a deep stack starts near the identity and gradients come through.
    Srivastava, Greff & Schmidhuber, "Training very deep networks", NeurIPS 2015.

    Args:
        features: numbers in and out.
        gate_bias: where each b_T starts; the paper takes -1 to -10, lower for deeper nets.

    Example:
        >>> layer, x = Highway(4, gate_bias=-30.0), torch.randn(2, 4)
        >>> torch.allclose(layer(x), x)
        True
    """

    def __init__(self, features: int, gate_bias: float = -2.0):
        super().__init__()
        self.new = nn.Linear(features, features)
        self.gate = nn.Linear(features, features, bias=False)
        self.gate_bias = nn.Parameter(torch.full((features,), float(gate_bias)))

    def forward(self, x: Tensor) -> Tensor:
        """(…, features) to the same shape."""
        gate = torch.sigmoid(self.gate(x) + self.gate_bias)
        return gate * torch.relu(self.new(x)) + (1 - gate) * x
