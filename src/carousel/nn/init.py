r"""Starting weights of a whole network, by name.

What is drawn: the weights of dense layers and convolutions (also transposed ones, also in groups); their biases start
at zero. Norms start as the identity (scale 1, shift 0). Embeddings and recurrent cells keep their own start, which
belongs to them; so do parameters of any other module.

Below, n is a unit's number of inputs (channels times places of the kernel, in its group) and m the number of units
that an input reaches in the same sense.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.conv import _ConvNd, _ConvTransposeNd
from torch.nn.utils.parametrize import is_parametrized

from ..errors import UsageError

__all__ = ["INITIALIZATIONS", "Initialization", "initialize", "lsuv"]

Draw = Callable[[Tensor, torch.Generator | None], object]


@dataclass(frozen=True)
class Initialization:
    """A named start: how it fills a weight (units, inputs, *kernel), and one line about it."""

    draw: Draw
    about: str


def _zeros(w: Tensor, generator: torch.Generator | None) -> object:
    return nn.init.zeros_(w)


def _normal(deviation: float) -> Draw:
    return lambda w, generator: nn.init.normal_(w, 0.0, deviation, generator=generator)


INITIALIZATIONS: dict[str, Initialization] = {
    "zeros": Initialization(_zeros, "all 0: all units of a layer stay alike"),
    "small": Initialization(_normal(0.01), "N(0, 0.01²), as AlexNet's (Krizhevsky et al. 2012)"),
    "unit": Initialization(_normal(1.0), "N(0, 1): saturates"),
    "xavier": Initialization(
        lambda w, generator: nn.init.xavier_uniform_(w, generator=generator),
        "uniform on ±√(6 / (n + m)) (Glorot & Bengio 2010)",
    ),
    "xavier-normal": Initialization(
        lambda w, generator: nn.init.xavier_normal_(w, generator=generator), "N(0, 2 / (n + m))"
    ),
    "he": Initialization(
        lambda w, generator: nn.init.kaiming_normal_(w, nonlinearity="relu", generator=generator),
        "N(0, 2 / n), for rectified units (He et al. 2015)",
    ),
    "he-uniform": Initialization(
        lambda w, generator: nn.init.kaiming_uniform_(w, nonlinearity="relu", generator=generator),
        "uniform on ±√(6 / n)",
    ),
    "orthogonal": Initialization(
        lambda w, generator: nn.init.orthogonal_(w, generator=generator),
        "orthonormal rows or columns (Saxe et al. 2014)",
    ),
    "lsuv": Initialization(
        lambda w, generator: nn.init.orthogonal_(w, generator=generator),
        "orthogonal, then each layer scaled to unit variance on a batch (Mishkin & Matas 2016)",
    ),
}


def _layers(model: nn.Module) -> dict[str, nn.Module]:
    return {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear | nn.Bilinear | _ConvNd)}


def _fill(layer: nn.Module, draw: Draw, generator: torch.Generator | None) -> None:
    """Draw a layer's weight group by group, as (units, inputs, *kernel), so that n and m are what they mean."""
    weight = torch.empty_like(layer.weight, memory_format=torch.contiguous_format)  # pyright: ignore[reportArgumentType, reportCallIssue]
    for block in weight.chunk(layer.groups if isinstance(layer, _ConvNd) else 1):
        turned = block.transpose(0, 1) if isinstance(layer, _ConvTransposeNd) else block
        turned = turned.flatten(1) if isinstance(layer, nn.Bilinear) else turned
        drawn = torch.empty_like(turned, memory_format=torch.contiguous_format)
        draw(drawn, generator)
        turned.copy_(drawn)
    _set_weight(layer, weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)  # pyright: ignore[reportArgumentType]


def _set_weight(layer: nn.Module, weight: Tensor) -> None:
    if is_parametrized(layer, "weight"):  # such as by weight norm: through its inverse
        layer.weight = weight
    else:
        layer.weight.copy_(weight)  # pyright: ignore[reportCallIssue]


@torch.no_grad()
def initialize(model: nn.Module, name: str, generator: torch.Generator | None = None, batch: Any = None) -> nn.Module:
    r"""Draw all weights of a network anew.

    For a unit :math:`a = \sum_{i=1}^n w_i x_i` with independent weights of mean zero,
    :math:`\mathrm{Var}\,a = n \, \mathrm{Var}(w) \, E[x^2]`, and backward
    :math:`\mathrm{Var}\,∂_x = m \, \mathrm{Var}(w) \, \mathrm{Var}\,∂_a`. So what goes through a layer keeps its size

    - forward and backward at once, as well as n ≠ m allows, for Var(w) = 2 / (n + m), if units are near linear (tanh):
      "xavier" (Glorot & Bengio, "Understanding the difficulty of training deep feedforward neural networks", 2010);
    - forward, for Var(w) = 2 / n, if units are rectified, since then E[x²] is half the variance of what it was made
      of: "he" (He et al., "Delving deep into rectifiers", 2015);
    - exactly, if the matrix is orthogonal and the network linear: "orthogonal" (Saxe, McClelland & Ganguli, "Exact
      solutions to the nonlinear dynamics of learning in deep linear neural networks", 2014);
    - whatever the units are, if it is measured: "lsuv", see `lsuv`.

    "zeros", "small" (0.01) and "unit" are there to see what goes wrong. Where a layer's units are as many as its
    inputs, "xavier-normal" is the 1/√n of many courses.

    Args:
        model: changed in place.
        name: one of `INITIALIZATIONS`.
        generator: random numbers; it must be on the weights' device.
        batch: inputs for "lsuv", as the model takes them (a tuple for several arguments).

    Returns:
        The model.

    Raises:
        UsageError: there is no such name, the model has no layer whose weights are drawn, or "lsuv" has no batch.

    Example:
        >>> net = initialize(nn.Sequential(nn.Linear(200, 300), nn.ReLU(), nn.Linear(300, 10)), "he")
        >>> round(net[0].weight.std().item() * 200**0.5, 1), net[0].bias.any().item()
        (1.4, False)
    """
    if name not in INITIALIZATIONS:
        near = difflib.get_close_matches(name, INITIALIZATIONS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"There is no initialization {name!r}.{hint} There are {', '.join(INITIALIZATIONS)}.")
    if name == "lsuv" and batch is None:
        raise UsageError("The initialization lsuv measures; give it a batch of inputs as batch=.")
    layers = _layers(model)
    if not layers:
        raise UsageError(f"{type(model).__name__} has no dense layer and no convolution whose weights could be drawn.")
    for layer in layers.values():
        _fill(layer, INITIALIZATIONS[name].draw, generator)
    for module in model.modules():
        if isinstance(module, _NormBase | nn.LayerNorm | nn.GroupNorm):
            module.reset_parameters()
    return lsuv(model, batch) if name == "lsuv" else model


class _ReachedError(Exception):
    """The layer that was waited for has given its output."""

    def __init__(self, output: Tensor):
        self.output = output


@torch.no_grad()
def lsuv(model: nn.Module, batch: Any, tolerance: float = 0.1, tries: int = 10) -> nn.Module:
    r"""Scale the weights of each layer, in the order in which they run, until its output on `batch` has variance 1.

    :math:`W ← W / \sqrt{\mathrm{Var}(W x + b)}`, over all elements of the output, until that variance is within the
    tolerance. Mishkin & Matas, "All you need is a good init", ICLR 2016, algorithm 1; `initialize(model, "lsuv",
    batch=x)` begins with orthogonal weights, as there. The model runs in evaluation mode meanwhile (no dropout; batch
    norm with its stored statistics). A layer that runs twice is scaled for its first run.

    Args:
        model: changed in place.
        batch: inputs as the model takes them (a tuple for several arguments).
        tolerance: how far from 1 a variance may stay.
        tries: how often a layer is scaled at most.

    Returns:
        The model.

    Raises:
        UsageError: the output of a layer is constant or not finite, so that no factor helps.

    Example:
        >>> x, net = torch.rand(500, 20), nn.Sequential(nn.Linear(20, 30), nn.ReLU(), nn.Linear(30, 5))
        >>> round(lsuv(net, x)(x).var().item(), 1)
        1.0
    """
    arguments = batch if isinstance(batch, tuple) else (batch,)
    training = {module: module.training for module in model.modules()}
    model.eval()
    try:
        names, order = {layer: name for name, layer in _layers(model).items()}, []
        hooks = [layer.register_forward_hook(lambda m, _, __: order.append(m)) for layer in names]
        try:
            model(*arguments)
        finally:
            for hook in hooks:
                hook.remove()
        for layer in dict.fromkeys(order):
            for _ in range(tries):
                variance = float(_output(model, layer, arguments).var())
                if not 0 < variance < math.inf:
                    raise UsageError(
                        f"The output of layer {names[layer] or type(layer).__name__} has the variance {variance} on "
                        "this batch, which no factor makes 1; give a batch of different, finite inputs."
                    )
                if abs(variance - 1) <= tolerance:
                    break
                _set_weight(layer, layer.weight / math.sqrt(variance))  # pyright: ignore[reportOperatorIssue, reportArgumentType]
    finally:
        for module, flag in training.items():
            module.training = flag
    return model


def _output(model: nn.Module, layer: nn.Module, arguments: tuple) -> Tensor:
    """What the layer gives, without running what follows it."""

    def stop(module: nn.Module, inputs: Any, output: Tensor) -> None:
        raise _ReachedError(output)

    hook = layer.register_forward_hook(stop)
    try:
        model(*arguments)
    except _ReachedError as reached:
        return reached.output
    finally:
        hook.remove()
    raise AssertionError("a layer that ran once did not run again")
