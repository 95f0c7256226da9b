"""A recurrent network that reads a window of a series and gives the distribution of the steps that follow, all at once.

Direct multi-step forecasting: one output per step, none fed back. Errors of early steps then do not enter later ones,
and training and use are the same computation (Taieb et al., "A review and comparison of strategies for multi-step
ahead time series forecasting", 2012; the multi-horizon quantile recurrent forecaster of Wen et al. 2017).
"""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recurrent import Recurrent

__all__ = ["LEVELS", "Forecaster"]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the quantiles that are forecast: the first and the last bound the 80 % interval, the middle one is the median."""

Intervals = Literal["quantile", "normal", "t"]


class Forecaster(nn.Module):
    r"""Distribution of y_{o+1} … y_{o+H} given x_{o-W+1} … x_o and what is known ahead, a_{o+1} … a_{o+H}.

    h = Recurrent(x)_o, z_k = tanh(U h + V a_k + e_k), p_k = A_k h + B z_k, and with p_k the quantiles, or mean and
    spread, of (y_{o+k} - b_k) / s_k. b is a naive forecast (the last value, or that of a season before), s_k the usual
    size of its error: the untrained network is that naive forecast, and what is learned is the difference from it.

    Args:
        recurrent: reads the window.
        targets: number of forecast columns.
        horizon: H.
        ahead: features that are known ahead, per step.
        intervals: "quantile": quantiles by the pinball loss (Koenker & Bassett 1978); "normal", "t": the likelihood of
            a normal or a Student distribution.
        dropout: probability of dropping a unit of h, while training.
        spread: (horizon, targets) s.
    """

    spread: Tensor
    normal: Tensor

    def __init__(
        self,
        recurrent: Recurrent,
        targets: int,
        horizon: int,
        *,
        ahead: int,
        intervals: Intervals = "quantile",
        dropout: float = 0.0,
        spread: Tensor | None = None,
    ):
        super().__init__()
        self.recurrent, self.dropout, self.intervals = recurrent, dropout, intervals
        self.targets, self.horizon = targets, horizon
        self.parts = {"quantile": len(LEVELS), "normal": 2, "t": 3}[intervals]
        width = recurrent.output_size
        self.direct = nn.Linear(width, horizon * targets * self.parts)
        self.state = nn.Linear(width, width)
        self.ahead = nn.Linear(ahead, width, bias=False) if ahead else None
        self.place = nn.Parameter(torch.randn(horizon, 1, width) / math.sqrt(width))
        self.join = nn.Linear(width, targets * self.parts, bias=False)
        levels = torch.tensor(LEVELS)
        self.register_buffer("spread", torch.ones(horizon, targets) if spread is None else spread.float())
        self.register_buffer("normal", math.sqrt(2) * torch.erfinv(2 * levels - 1), persistent=False)
        begin = {"quantile": self.normal, "normal": torch.tensor([0.0, 0.54]), "t": torch.tensor([0.0, 0.54, 2.0])}
        with torch.no_grad():
            self.direct.weight.mul_(0.1)
            self.join.weight.mul_(0.1)
            self.direct.bias.copy_(begin[intervals].repeat(horizon * targets))

    def forward(self, window: Tensor, ahead: Tensor, base: Tensor) -> Tensor:
        """Parameters of the distributions.

        Args:
            window: (W, batch, features).
            ahead: (horizon, batch, features known ahead).
            base: (horizon, batch, targets) the naive forecast.

        Returns:
            (horizon, batch, targets, parts): quantiles; or mean and standard deviation; or center, scale and degrees of
            freedom.
        """
        output, _ = self.recurrent(window)
        h = F.dropout(output[-1], self.dropout, self.training)
        z = self.state(h) + self.place
        if self.ahead is not None:
            z = z + self.ahead(ahead)
        p = self.join(torch.tanh(z)).unflatten(-1, (self.targets, self.parts))
        direct = self.direct(h).unflatten(-1, (self.horizon, self.targets, self.parts)).transpose(0, 1)
        p, spread = p + direct, self.spread[:, None, :, None]
        if self.intervals == "quantile":
            return base.unsqueeze(-1) + spread * p
        center = base.unsqueeze(-1) + spread * p[..., :1]
        scale = spread * (F.softplus(p[..., 1:2]) + 1e-3)
        return torch.cat([center, scale, *([3 + F.softplus(p[..., 2:])] if self.intervals == "t" else [])], dim=-1)

    def loss(self, output: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
        """Mean pinball loss, or negative log-likelihood in nats, of (horizon, batch, targets) true values in `mask`."""
        if self.intervals == "quantile":
            levels = output.new_tensor(LEVELS)
            short = truth.unsqueeze(-1) - output
            losses = torch.maximum(levels * short, (levels - 1) * short).mean(-1)
        elif self.intervals == "normal":
            losses = -torch.distributions.Normal(output[..., 0], output[..., 1], validate_args=False).log_prob(truth)
        else:
            student = torch.distributions.StudentT(output[..., 2], output[..., 0], output[..., 1], validate_args=False)
            losses = -student.log_prob(truth)
        return torch.where(mask, losses, 0.0).sum() / mask.sum().clamp(min=1)

    def quantiles(self, output: Tensor) -> Tensor:
        """(horizon, batch, targets, levels) ascending quantiles at `LEVELS`, of the parameters that `forward` gave."""
        if self.intervals == "quantile":
            return output.sort(dim=-1).values
        z = self.normal
        if self.intervals == "t":
            z = _student(z, output[..., 2:])
        return output[..., :1] + output[..., 1:2] * z


def _student(z: Tensor, freedom: Tensor) -> Tensor:
    """Quantiles of Student's distribution from the normal's (Abramowitz & Stegun 26.7.5), from 3 degrees of freedom."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
