"""Cells as people write them, in plain torch operations: published ones, and tours through what `step` may use."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from carousel import Cell, weight

__all__ = [
    "BareScalar",
    "BlockGRU",
    "BuiltIns",
    "Clamped",
    "CoupledOscillators",
    "ExponentialAverage",
    "FastWeights",
    "HighwayRNN",
    "IgnoresInput",
    "LayerNormPeepholeLSTM",
    "LinearFilter",
    "ManualWeightNorm",
    "Masked",
    "ModeDependent",
    "MultiplicativeRNN",
    "OwnMinGRU",
    "ProjectedLSTM",
    "Reductions",
    "RootMeanSquare",
    "ScalarState",
    "SkipLSTM",
    "Sliced",
    "SmoothUnits",
    "SoftmaxRNN",
    "StraightThrough",
    "Swapped",
    "ThreeTaps",
    "TiedWeights",
    "VariationalDropout",
    "WeightNormed",
    "Zoneout",
]

State = tuple[Tensor, ...]
Result = tuple[Tensor, State]
Begun = tuple[dict[str, Tensor], dict[str, Tensor]]


class _Vanilla(Cell):
    """The matrices `wx`, `wh` and the vector `b` that most of the cells below have."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.wx, self.wh = weight(hidden_size, input_size), weight(hidden_size, hidden_size)
        self.b = weight(hidden_size)


class LayerNormPeepholeLSTM(Cell):
    """An LSTM whose gates see the memory, each pre-activation normalized for itself, and the memory before its tanh."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"h": hidden_size, "c": hidden_size}
        self.w = weight(4 * hidden_size, input_size + hidden_size)
        self.p = weight(3, hidden_size)
        self.gain, self.shift = weight(5, hidden_size, init=1.0), weight(5, hidden_size)

    def step(self, x: Tensor, state: State) -> Result:
        h, c = state
        n = self.hidden_size
        a = F.linear(torch.cat([x, h], dim=1), self.w).chunk(4, dim=1)
        i, f, g, o = (F.layer_norm(v, (n,), self.gain[k], self.shift[k]) for k, v in enumerate(a))
        i, f = torch.sigmoid(i + self.p[0] * c), torch.sigmoid(f + self.p[1] * c)
        c = f * c + i * torch.tanh(g)
        o = torch.sigmoid(o + self.p[2] * c)
        h = o * torch.tanh(F.layer_norm(c, (n,), self.gain[4], self.shift[4]))
        return h, (h, c)


class MultiplicativeRNN(Cell):
    """Sutskever, Martens & Hinton 2011: the input chooses the recurrent matrix, W_hm diag(W_mx x) W_mh."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        factors = hidden_size + 2
        self.wx, self.mx = weight(hidden_size, input_size), weight(factors, input_size)
        self.mh, self.hm = weight(factors, hidden_size), weight(hidden_size, factors)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        h = torch.tanh(x @ self.wx.T + ((x @ self.mx.T) * (h @ self.mh.T)) @ self.hm.T)
        return h, (h,)


class HighwayRNN(Cell):
    """Zilly et al. 2017, depth 2: two highway layers within a step, the input enters the first."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.wx = weight(2 * hidden_size, input_size)
        self.r = nn.ParameterList([weight(2 * hidden_size, hidden_size) for _ in range(2)])
        self.b = nn.ParameterList([weight(2 * hidden_size) for _ in range(2)])

    def step(self, x: Tensor, state: State) -> Result:
        (s,) = state
        for level, (r, b) in enumerate(zip(self.r, self.b, strict=True)):
            a = F.linear(s, r, b) + (x @ self.wx.T if level == 0 else 0)
            h, t = a.chunk(2, dim=-1)
            t = torch.sigmoid(t)
            s = torch.tanh(h) * t + s * (1 - t)
        return s, (s,)


class CoupledOscillators(Cell):
    """Rusch & Mishra 2021: z' = tanh(W y + V z + U x + b) - γ y - ε z and y' = z, in small steps."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"y": hidden_size, "z": hidden_size}
        self.w, self.v, self.u = (weight(hidden_size, n) for n in (hidden_size, hidden_size, input_size))
        self.b = weight(hidden_size)
        self.dt, self.gamma, self.epsilon = 0.3, 1.1, 0.9

    def step(self, x: Tensor, state: State) -> Result:
        y, z = state
        push = torch.tanh(F.linear(y, self.w) + F.linear(z, self.v) + F.linear(x, self.u, self.b))
        z = z + self.dt * (push - self.gamma * y - self.epsilon * z)
        y = y + self.dt * z
        return y, (y, z)


class SoftmaxRNN(_Vanilla):
    """The units compete: h_t = h_{t-1} / 2 + H softmax(W x + U h) / 4, and the logarithm is shown."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = F.linear(x, self.wx, self.b) + F.linear(h, self.wh)
        h = 0.5 * h + 0.25 * self.hidden_size * torch.softmax(a, dim=-1)
        return F.log_softmax(h, dim=-1), (h,)


class ThreeTaps(Cell):
    """Taps {1, 5, 8}, each with its own matrix, the furthest through a gate."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.delays = {"h": (1, 5, 8)}
        self.wx, self.b = weight(hidden_size, input_size), weight(hidden_size)
        self.u1, self.u5, self.u8 = (weight(hidden_size, hidden_size) for _ in range(3))

    def step(self, x: Tensor, state: tuple[Any, ...]) -> Result:
        ((h1, h5, h8),) = state
        gate = torch.sigmoid(h8 @ self.u8.T)
        h = torch.tanh(x @ self.wx.T + 0.7 * (h1 @ self.u1.T) + gate * (h5 @ self.u5.T) + self.b)
        return h, (h,)


class OwnMinGRU(Cell):
    """Feng et al. 2024, with one matrix for both and the positive candidate of their appendix."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.both = weight(2 * hidden_size, input_size)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        k, v = (x @ self.both.T).split(self.hidden_size, dim=-1)
        candidate = torch.where(v >= 0, v + 0.5, torch.sigmoid(v))
        h = torch.lerp(h, candidate.to(h.dtype), torch.sigmoid(k).to(h.dtype))
        return h, (h,)


class ProjectedLSTM(Cell):
    """Sak et al. 2014: what recurs is a projection of the memory, half as wide."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.output_size = (hidden_size + 1) // 2
        self.state_sizes = {"r": self.output_size, "c": hidden_size}
        self.wx, self.wr = weight(4 * hidden_size, input_size), weight(4 * hidden_size, self.output_size)
        self.b, self.project = weight(4 * hidden_size), weight(self.output_size, hidden_size)

    def step(self, x: Tensor, state: State) -> Result:
        r, c = state
        gates = torch.addmm(self.b, x, self.wx.t()) + torch.mm(r, self.wr.t())
        i, f, o = torch.sigmoid(gates[:, : 3 * self.hidden_size]).chunk(3, dim=1)
        c = f * c + i * torch.tanh(gates[:, 3 * self.hidden_size :])
        r = torch.matmul(o * torch.tanh(c), self.project.t())
        return r, (r, c)


class BlockGRU(Cell):
    """A GRU whose recurrent matrices are block-diagonal: (blocks, k, k)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.blocks = next(b for b in (4, 2, 7, 1) if hidden_size % b == 0)
        k = hidden_size // self.blocks
        self.wx, self.b = weight(3 * hidden_size, input_size), weight(3 * hidden_size)
        self.u = weight(self.blocks, k, 2 * k)
        self.un = weight(self.blocks, k, k)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        xr, xz, xn = F.linear(x, self.wx, self.b).view(len(x), 3, self.blocks, -1).unbind(1)
        cells = h.view(len(x), self.blocks, -1)
        r, z = torch.einsum("bni,nij->bnj", cells, self.u).chunk(2, dim=-1)
        r, z = torch.sigmoid(xr + r), torch.sigmoid(xz + z)
        n = torch.tanh(xn + torch.bmm((r * cells).transpose(0, 1), self.un).transpose(0, 1))
        h = ((1 - z) * n + z * cells).flatten(1)
        return h, (h,)


class ScalarState(_Vanilla):
    """One number beside the vector, a running scale of the state: by it every step is divided."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"s": 1, "h": hidden_size}
        self.rate = weight(1)

    def step(self, x: Tensor, state: State) -> Result:
        s, h = state
        rate = torch.sigmoid(self.rate)
        s = rate * s + (1 - rate) * h.square().mean(dim=1, keepdim=True)
        h = torch.tanh(x @ self.wx.T + (h / torch.sqrt(s.abs() + 0.5)) @ self.wh.T + self.b)
        return h, (s, h)


class BareScalar(_Vanilla):
    """A state without any dimension of its own: a step count that slows the cell down, written after the vector."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"h": hidden_size, "n": ()}

    def step(self, x: Tensor, state: State) -> Result:
        h, n = state
        n = n + torch.sigmoid(h.sum(dim=1))
        pace = (1 / (1 + 0.1 * n.abs())).unsqueeze(1)
        h = (1 - pace) * h + pace * torch.tanh(x @ self.wx.T + h @ self.wh.T + self.b)
        return h, (h, n)


class IgnoresInput(Cell):
    """h_t = h_{t-1} + (sin(W h_{t-1} + b) - h_{t-1}) / 2, whatever the input is."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.wh, self.b = weight(hidden_size, hidden_size), weight(hidden_size)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        h = h + (torch.sin(F.linear(h, self.wh, self.b)) - h) / 2
        return h, (h,)


class Clamped(_Vanilla):
    """Clamps, choices, and constants in every way to write them."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = torch.clamp(x @ self.wx.T + h @ self.wh.T + self.b, -1.5, 2.0)
        half = torch.full_like(a, 0.5) + torch.zeros(self.hidden_size, dtype=a.dtype, device=a.device)
        a = torch.where(a > h, a, 0.25 * h) + F.relu6(3 * a + 1) / 6 - F.hardtanh(a, 0.0, 0.5).clamp(min=0.2)
        slope = torch.arange(1, self.hidden_size + 1, dtype=a.dtype, device=a.device) / self.hidden_size
        h = half * a.clamp_max(1.0) + torch.ones_like(h) * slope * 0.1 - torch.tensor(0.125, dtype=a.dtype)
        return 2**0.5 * h, (h,)


class RootMeanSquare(_Vanilla):
    """Zhang & Sennrich 2019: the pre-activation divided by its root mean square."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.gain = weight(hidden_size, init=1.0)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = F.linear(x, self.wx) + F.linear(h, self.wh, self.b)
        h = torch.tanh(self.gain * a * torch.rsqrt(a.pow(2).mean(dim=-1, keepdim=True) + 0.1))
        return h, (h,)


class BuiltIns(Cell):
    """Built from `nn.Linear` and `nn.LayerNorm`."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.enter = nn.Linear(input_size, hidden_size)
        self.recur = nn.Sequential(nn.Linear(hidden_size, hidden_size + 1, bias=False), nn.LayerNorm(hidden_size + 1))
        self.leave = nn.Linear(hidden_size + 1, hidden_size)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        h = torch.tanh(self.enter(x) + self.leave(F.silu(self.recur(h))))
        return h, (h,)


class Masked(_Vanilla):
    """A mask as a buffer: unit j is seen by the units from j on only."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.register_buffer("mask", torch.ones(hidden_size, hidden_size).tril())

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        h = torch.tanh(x @ self.wx.T + h @ (self.wh * self.mask).T + self.b)
        return h, (h,)


class ModeDependent(_Vanilla):
    """Another step in training than in evaluation."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = x @ self.wx.T + h @ self.wh.T
        h = torch.tanh(a + self.b) if self.training else torch.sigmoid(a)
        return h, (h,)


class WeightNormed(_Vanilla):
    """Salimans & Kingma 2016, by PyTorch's parametrization: `wh` is computed at every access."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        nn.utils.parametrizations.weight_norm(self, "wh")

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        h = torch.tanh(x @ self.wx.T + h @ self.wh.T + self.b)
        return h, (h,)


class ManualWeightNorm(_Vanilla):
    """The same written out in `step`; and a gain that is positive by an exponential."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        w = 0.7 * torch.tanh(self.b).exp().unsqueeze(1) * self.wh / self.wh.norm(dim=1, keepdim=True)
        h = torch.tanh(x @ self.wx.T + F.linear(h, w))
        return h, (h,)


class FastWeights(Cell):
    """A memory M = λ M + v k', written by an outer product and read by M q (Ba et al. 2016; Schlag et al. 2021)."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        k = min(hidden_size, 6)
        self.state_sizes = {"h": hidden_size, "m": (k, k)}
        self.write, self.query = weight(2 * k, input_size), weight(k, hidden_size)
        self.read, self.wx, self.wh = weight(hidden_size, k), weight(hidden_size, input_size), weight(hidden_size)

    def step(self, x: Tensor, state: State) -> Result:
        h, m = state
        k, v = torch.tanh(x @ self.write.T).chunk(2, dim=1)
        m = 0.8 * m + 0.4 * torch.einsum("bi,bj->bij", v, k)
        found = torch.bmm(m, torch.sigmoid(h @ self.query.T).unsqueeze(2)).squeeze(2)
        h = torch.tanh(x @ self.wx.T + torch.tanh(found) @ self.read.T + self.wh * h)
        return h, (h, m)


class Sliced(Cell):
    """Units pushed around: slices, strides, chunks, concatenation, stacking, a single column."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"h": 2 * hidden_size}
        self.wx, self.wh = weight(2 * hidden_size, input_size), weight(2 * hidden_size, 2 * hidden_size)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        n = self.hidden_size
        a = x @ self.wx.T + torch.cat([h[:, n:], h[:, :n]], dim=1) @ self.wh.T
        left, right = a.chunk(2, dim=1)
        even, odd = a[:, ::2], a[:, 1::2]
        mixed = torch.stack([even * torch.sigmoid(odd), odd + h[:, :1]], dim=2).reshape(len(x), 2 * n)
        h = torch.tanh(torch.cat([left - right.narrow(1, 0, n), right], dim=1) + 0.5 * mixed)
        return h[:, n // 2 : n // 2 + n], (h,)


class Reductions(_Vanilla):
    """Mean, variance, largest, sum and norm over the units of a row."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = F.linear(x, self.wx, self.b) + F.linear(h, self.wh)
        centered = (a - a.mean(dim=-1, keepdim=True)) / torch.sqrt(a.var(dim=-1, correction=0, keepdim=True) + 0.2)
        level = 0.3 * a.amax(dim=1, keepdim=True) - 0.2 * a.sum(dim=1).unsqueeze(1) / self.hidden_size
        h = torch.tanh(centered + level / (1 + h.norm(dim=1, keepdim=True) + a.amin(dim=1, keepdim=True).abs()))
        return h, (h,)


class SmoothUnits(_Vanilla):
    """One after the other, most element-wise functions."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = x @ self.wx.T + h @ self.wh.T + self.b
        b = F.gelu(a) + F.silu(a - 0.5) - F.softplus(0.3 - a) + F.gelu(-a, approximate="tanh")
        c = F.elu(a) + F.mish(b) + F.softsign(b) + F.logsigmoid(b) + torch.erf(a) + torch.atan(b)
        d = torch.exp(-c * c) + torch.log1p(c.square()) + torch.expm1(-c.abs()) + torch.cos(a) / torch.cosh(0.2 * a)
        h = torch.tanh(0.25 * d - torch.sqrt(a**2 + 1) * torch.reciprocal(2 + torch.sin(b)) + (1 + b * b) ** -1.5)
        return h, (h,)


class ExponentialAverage(Cell):
    """h_t = a h_{t-1} + (1 - a) W x_t, one a per unit; what is shown is its tanh."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.w, self.decay = weight(hidden_size, input_size), weight(hidden_size)

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = torch.sigmoid(self.decay)
        h = a * h + (1 - a) * (x @ self.w.T)
        return torch.tanh(h), (h,)


class LinearFilter(Cell):
    """Every unit a linear filter of its input with taps {1, 2, 6}; the coefficients sum to less than one."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.delays = {"h": (1, 2, 6)}
        self.w, self.a = weight(hidden_size, input_size), weight(3, hidden_size)

    def step(self, x: Tensor, state: tuple[Any, ...]) -> Result:
        (taps,) = state
        a = torch.tanh(self.a) / 3
        h = sum((a_d * h_d for a_d, h_d in zip(a.unbind(0), taps, strict=True)), x @ self.w.T)
        return h, (h,)


class Zoneout(_Vanilla):
    """Krueger et al. 2017: at every step each unit keeps its old value with probability 0.3."""

    def begin(self, time: int, batch: int, generator: torch.Generator | None) -> Begun:
        return {}, {"keep": torch.rand(time, batch, self.hidden_size, generator=generator) < 0.3}

    def step(self, x: Tensor, state: State, extra: dict[str, Tensor]) -> Result:
        (h,) = state
        new = torch.tanh(x @ self.wx.T + h @ self.wh.T + self.b)
        h = torch.where(extra["keep"], h, new)
        return h, (h,)


class VariationalDropout(_Vanilla):
    """Gal & Ghahramani 2016: one mask on the state for all steps of a sequence."""

    def begin(self, time: int, batch: int, generator: torch.Generator | None) -> Begun:
        kept = torch.rand(batch, self.hidden_size, generator=generator) < 0.75
        return {"mask": kept.to(self.wh.dtype) / 0.75}, {}

    def step(self, x: Tensor, state: State, extra: dict[str, Tensor]) -> Result:
        (h,) = state
        h = torch.tanh(x @ self.wx.T + (h * extra["mask"]) @ self.wh.T + self.b)
        return h, (h,)


class SkipLSTM(Cell):
    """A memory that is seen one and four steps late, beside an ordinary h."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"h": hidden_size, "c": hidden_size}
        self.delays = {"c": (1, 4)}
        self.wx, self.wh = weight(4 * hidden_size, input_size), weight(4 * hidden_size, hidden_size)
        self.b = weight(4 * hidden_size)

    def step(self, x: Tensor, state: tuple[Any, ...]) -> Result:
        h, (c1, c4) = state
        f, s, o, g = F.linear(x, self.wx, self.b).add(F.linear(h, self.wh)).chunk(4, dim=1)
        share = torch.sigmoid(s)
        c = torch.sigmoid(f) * (share * c1 + (1 - share) * c4) + torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        return h, (h, c)


class TiedWeights(_Vanilla):
    """One matrix three times: on the state, transposed, and on what that gave."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        a = torch.tanh(h @ self.wh + x @ self.wx.T)
        h = torch.tanh(a @ self.wh.T + 0.5 * (h @ self.wh) + self.b)
        return F.linear(h, self.wh, self.b), (h,)


class Swapped(Cell):
    """Two states that change places: the new b is the old a itself; and the output is the old b."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.state_sizes = {"a": hidden_size, "b": hidden_size}
        self.wx, self.wa, self.wb = (weight(hidden_size, n) for n in (input_size, hidden_size, hidden_size))

    def step(self, x: Tensor, state: State) -> Result:
        a, b = state
        return b, (torch.tanh(x @ self.wx.T + a @ self.wa.T + b @ self.wb.T), a)


class StraightThrough(_Vanilla):
    """Bengio, Léonard & Courville 2013: the forward value is a step function, the gradient that of the sigmoid."""

    def step(self, x: Tensor, state: State) -> Result:
        (h,) = state
        soft = torch.sigmoid(x @ self.wx.T + h @ self.wh.T + self.b)
        h = soft + ((soft > 0.5).to(soft.dtype) - soft).detach()
        return h, (h,)
