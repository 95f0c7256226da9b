"""A recurrent network that reads a window of a series and gives the distribution of the steps that follow, all at once.

Direct multi-step forecasting: one output per step, none fed back. Errors of early steps then do not enter later ones,
and training and use are the same computation (Taieb et al., "A review and comparison of strategies for multi-step
ahead time series forecasting", 2012; the multi-horizon quantile recurrent forecaster of Wen et al. 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .recurrent import Recurrent

__all__ = ["LEVELS", "Forecaster", "tapped"]

LEVELS = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
"""Of the quantiles that are forecast: the first and the last bound the 80 % interval, the middle one is the median."""

POOLED = 1000
"""Values at least by which an interval is calibrated, where there are so many."""

Intervals = Literal["quantile", "normal", "t"]


class Forecaster(nn.Module):
    r"""Distribution of y_{o+1} … y_{o+H} given x_{o-W+1} … x_o and what is known ahead, a_{o+1} … a_{o+H}.

    h = (Recurrent(x)_o, F(t)), z_k = tanh(U h + V a_k + e_k), p_k = A_k h + B z_k, and with p_k the quantiles, or mean
    and spread, of (y_{o+k} - b_k) / s_k. b is a naive forecast (the last value, or that of a season before), s_k the
    usual size of its error: the untrained network is that naive forecast, and what is learned is the difference from
    it. t are taps of the window: lags and means of older stretches, standardized, which the feed-forward network F
    reads. With `linear`, b is the last value plus a fixed linear map of t, a ridge regression that was fitted before.

    Args:
        recurrent: reads the window.
        targets: number of forecast columns.
        horizon: H.
        ahead: features that are known ahead, per step.
        intervals: "quantile": quantiles by the pinball loss (Koenker & Bassett 1978); "normal", "t": the likelihood of
            a normal or a Student distribution.
        dropout: probability of dropping a unit of h, while training.
        spread: (horizon, targets) s.
        taps: of the window, as first and last step and first and last feature.
        beside: units of each of the two layers of F; 0 for none.
        reads: the features that the recurrent layers read.
        linear: whether b holds a linear map.
    """

    spread: Tensor
    center: Tensor
    scale: Tensor
    linear: Tensor | None
    stretch: Tensor
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
        taps: Sequence[tuple[int, int, int, int]] = (),
        beside: int = 0,
        reads: slice = slice(None),
        linear: bool = False,
    ):
        super().__init__()
        self.recurrent, self.dropout, self.intervals = recurrent, dropout, intervals
        self.targets, self.horizon = targets, horizon
        self.parts = {"quantile": len(LEVELS), "normal": 2, "t": 3}[intervals]
        self.reads = reads
        self.taps, inputs = taps, sum(last - first for *_, first, last in taps)
        self.beside = None
        if beside and taps:
            drop = nn.Dropout(dropout)
            self.beside = nn.Sequential(
                nn.Linear(inputs, beside), nn.ReLU(), drop, nn.Linear(beside, beside), nn.ReLU(), drop
            )
        width = recurrent.output_size + (beside if taps else 0)
        self.direct = nn.Linear(width, horizon * targets * self.parts)
        self.state = nn.Linear(width, width)
        self.ahead = nn.Linear(ahead, width, bias=False) if ahead else None
        self.place = nn.Parameter(torch.randn(horizon, 1, width) / math.sqrt(width))
        self.join = nn.Linear(width, targets * self.parts, bias=False)
        levels = torch.tensor(LEVELS)
        self.register_buffer("spread", torch.ones(horizon, targets) if spread is None else spread.float())
        self.register_buffer("center", torch.zeros(inputs))
        self.register_buffer("scale", torch.ones(inputs))
        self.register_buffer("linear", torch.zeros(inputs + 1, horizon * targets) if linear else None)
        self.register_buffer("stretch", torch.ones(horizon, targets))
        self.register_buffer("normal", math.sqrt(2) * torch.erfinv(2 * levels - 1), persistent=False)
        begin = {"quantile": self.normal, "normal": torch.tensor([0.0, 0.54]), "t": torch.tensor([0.0, 0.54, 2.0])}
        with torch.no_grad():
            self.direct.weight.mul_(0.1)
            self.join.weight.mul_(0.1)
            self.direct.bias.copy_(begin[intervals].repeat(horizon * targets))

    @torch.no_grad()
    def begin(self, center: Tensor, scale: Tensor, weights: Tensor) -> None:
        """With these (inputs,) means and deviations of the taps, and (inputs + 1, horizon · targets) linear weights."""
        self.center.copy_(center)
        self.scale.copy_(scale)
        if self.linear is not None:
            self.linear.copy_(weights)

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
        output, _ = self.recurrent(window[..., self.reads])
        h = F.dropout(output[-1], self.dropout, self.training)
        if self.taps:
            taps = (tapped(window, self.taps) - self.center) / self.scale
            if self.linear is not None:
                moved = taps @ self.linear[:-1] + self.linear[-1]
                base = base + moved.unflatten(-1, (self.horizon, self.targets)).transpose(0, 1)
            if self.beside is not None:
                h = torch.cat([h, self.beside(taps)], -1)
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
            found = output.sort(dim=-1).values
        else:
            z = _student(self.normal, output[..., 2:]) if self.intervals == "t" else self.normal
            found = output[..., :1] + output[..., 1:2] * z
        middle = found[..., len(LEVELS) // 2, None]
        return middle + self.stretch[:, None, :, None] * (found - middle)

    def calibrate(self, quantiles: Tensor, truth: Tensor, mask: Tensor, disjoint: int) -> Tensor:
        r"""Stretch the intervals about the median so that the outermost hold what they should on these windows.

        Per step, the factor is the 0.8 (n + 1)/n-quantile of max((m - y) / (m - q_0.1), (y - m) / (q_0.9 - m)):
        conformalized quantile regression with scaled scores (Romano et al. 2019; Sesia & Candès 2020). Windows that
        overlap err alike, so n counts those that do not; of four or fewer nothing can be said, and the intervals stay
        as they are. Steps next to each other are pooled until they hold `POOLED` values.

        Args:
            quantiles: (horizon, windows, targets, levels) as `quantiles` gives them.
            truth: (horizon, windows, targets).
            mask: which of them count.
            disjoint: n.

        Returns:
            The quantiles as they are from now on.
        """
        share = (LEVELS[-1] - LEVELS[0]) * (disjoint + 1) / max(disjoint, 1)
        if share >= 1:
            return quantiles
        middle = quantiles[..., len(LEVELS) // 2]
        above = (truth - middle) / (quantiles[..., -1] - middle).clamp(min=1e-9)
        below = (middle - truth) / (middle - quantiles[..., 0]).clamp(min=1e-9)
        scores = torch.where(mask, torch.maximum(above, below), torch.nan)
        reach = next((r for r in range(self.horizon) if (2 * r + 1) * truth.shape[1] >= POOLED), self.horizon)
        factors = torch.ones_like(self.stretch)
        for step in range(self.horizon):
            near = scores[max(step - reach, 0) : step + reach + 1].flatten(0, 1)
            count = (~near.isnan()).sum(0)
            for target in range(self.targets):
                if count[target] > 0:
                    factors[step, target] = near[:, target].nanquantile(share)
        factors = factors.clamp(min=1e-3)
        self.stretch.mul_(factors)
        middle = middle.unsqueeze(-1)
        return middle + factors[:, None, :, None] * (quantiles - middle)


def tapped(window: Tensor, taps: Sequence[tuple[int, int, int, int]]) -> Tensor:
    """(batch, inputs) means over parts of a (W, batch, features) window, one behind the other."""
    return torch.cat([window[begin:end, :, first:last].mean(0) for begin, end, first, last in taps], -1)


def _student(z: Tensor, freedom: Tensor) -> Tensor:
    """Quantiles of Student's distribution from the normal's (Abramowitz & Stegun 26.7.5), from 3 degrees of freedom."""
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
        (79 * z**9 + 776 * z**7 + 1482 * z**5 - 1920 * z**3 - 945 * z) / 92160,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, 1))
