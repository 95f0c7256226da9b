r"""From a unit back to the pixels: gradients, guided gradients, deconvolution, saliency.

All go backward through the network and differ only at its rectified units, :math:`y = \max(x, 0)`. With :math:`g` what
arrives from above,

- the gradient passes :math:`g` where :math:`x > 0`: which change of the pixels would raise the unit;
- deconvolution passes :math:`\max(g, 0)`, whatever :math:`x` was (Zeiler & Fergus, "Visualizing and understanding
  convolutional networks", ECCV 2014);
- guided back-propagation passes :math:`\max(g, 0)` where :math:`x > 0` (Springenberg, Dosovitskiy, Brox & Riedmiller,
  "Striving for simplicity: the all convolutional net", ICLR 2015 workshop).

The switches by which Zeiler & Fergus undo max-pooling, putting each value back where the maximum was, are what its
gradient does anyhow, and their transposed filters are the gradient of a convolution. Where pooling windows overlap, a
place that won twice gets the sum. They undo no normalization; here batch norm in evaluation is a factor and stays.
Guided and deconvolved pictures show what the unit could have seen, more than what the output depends on: they change
little when the layers above are drawn anew (Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018).
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .layers import Tap, chosen_classes

__all__ = ["Projection", "Rule", "Saliency", "backproject", "saliency"]

Rule = Literal["gradient", "guided", "deconvolution"]
_ALWAYS = {"Relu", "LeakyRelu", "PreluKernel", "Elu", "Gelu", "Silu"}
_BOUNDED = {"ClampMin": "_saved_min", "Clamp": "_saved_min", "Hardtanh": "_saved_min_val"}
"""Operations that rectify, and those that do if their lower bound is 0, such as ReLU6."""


@dataclass(frozen=True)
class Projection:
    """Pixels that a unit answers to.

    Attributes:
        pixels: (batch, channels, …), of the images' shape; signed.
        values: (batch,) what the unit gave.
        positions: (batch, axes) where in its map the unit is; without axes for a dense layer.
        layer, channel, rule: what was asked for.
        rectifiers: operations on the way at which the rules differ; with 0 all rules give the gradient.
    """

    pixels: Tensor
    values: Tensor
    positions: Tensor
    layer: str
    channel: int
    rule: Rule
    rectifiers: int


def backproject(
    model: nn.Module,
    images: Tensor,
    channel: int,
    *,
    layer: str | nn.Module | None = None,
    position: Sequence[int] | Tensor | None = None,
    rule: Rule = "guided",
) -> Projection:
    r"""What of each image one unit answers to.

    Back from the unit goes a 1; Zeiler & Fergus send the activation itself, which gives the same pixels times it.

    Args:
        model: any network with ReLUs, as modules or as functions. It is left as it was.
        images: (batch, channels, …).
        channel: of the layer; of the network's output the class.
        layer: name or module; None for the network's output.
        position: of the unit in the layer's map: one for all images, or (batch, axes); None for the strongest of each
            image, the first one of equal ones.
        rule: "gradient", "guided" or "deconvolution".

    Returns:
        `Projection`.

    Raises:
        UsageError: there is no such rule, layer, channel or position, or the image does not reach the layer.

    Example:
        >>> net = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 1))
        >>> with torch.no_grad():
        ...     for p, v in zip(net.parameters(), ([[1.0, 0], [0, 1]], [0.0, 0], [[2.0, 3]], [0.0])):
        ...         _ = p.copy_(torch.tensor(v))
        >>> x = torch.tensor([[1.0, -1.0]])         # the second unit is off: deconvolution does not care
        >>> [backproject(net, x, 0, rule=r).pixels.tolist() for r in ("gradient", "guided", "deconvolution")]
        [[[2.0, 0.0]], [[2.0, 0.0]], [[2.0, 3.0]]]
    """
    if rule not in get_args(Rule):
        raise UsageError(f"There is no rule {rule!r}; the rules are {', '.join(get_args(Rule))}.")
    tap = Tap(model, layer)
    with tap.looking(), torch.enable_grad():
        x = _leaf(tap, images)
        output = tap(x.clone())  # a copy, since a network may begin with an operation in place
        if output.ndim < 2 or not 0 <= channel < output.shape[1]:
            raise UsageError(f"The layer's output has the shape {tuple(output.shape)}; there is no channel {channel}.")
        maps = output[:, channel]
        flat = maps.reshape(len(maps), -1)
        places = _places(position, maps)
        values = flat.gather(1, places).squeeze(1)
        with _rectified(values, rule) as count:
            pixels = _pixels(values, x)
        where = torch.stack(torch.unravel_index(places[:, 0], maps.shape[1:]), -1) if maps.ndim > 1 else places[:, :0]
    return Projection(pixels, values.detach(), where, tap.name, channel, rule, count)


@dataclass(frozen=True)
class Saliency:
    """How much each pixel matters for a score.

    Attributes:
        map: (batch, …) the largest |∂score/∂pixel| of the pixel's channels.
        gradient: (batch, channels, …) ∂score/∂pixel.
        classes: (batch,) whose score it is.
        scores: (batch, classes) of all classes.
    """

    map: Tensor
    gradient: Tensor
    classes: Tensor
    scores: Tensor


def saliency(
    model: nn.Module,
    images: Tensor,
    classes: int | Sequence[int] | Tensor | None = None,
    *,
    layer: str | nn.Module | None = None,
) -> Saliency:
    r"""How sensitive the score of a class is to each pixel, :math:`M_{ij} = \max_c |∂S/∂x_{cij}|`.

    Simonyan, Vedaldi & Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop.

    Args:
        model: gives scores (batch, classes), before any softmax. It is left as it was.
        images: (batch, channels, …).
        classes: one for all images, or one per image; None for the class with the highest score.
        layer: the one whose output are the scores, where the network itself ends in a softmax.

    Raises:
        UsageError: there is no such class or layer, or the output is a softmax or has another shape.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 4 * 4, 5))
        >>> found = saliency(net, torch.rand(2, 3, 4, 4), classes=1)
        >>> weight = net[1].weight[1].reshape(3, 4, 4)
        >>> torch.equal(found.map[0], weight.abs().amax(0)), found.classes.tolist()
        (True, [1, 1])
    """
    tap = Tap(model, layer)
    with tap.looking(), torch.enable_grad():
        x = _leaf(tap, images)
        scores = tap.scores(x.clone())
        asked = chosen_classes(classes, scores)
        gradient = _pixels(scores.gather(1, asked[:, None]), x)
    return Saliency(gradient.abs().amax(1), gradient, asked, scores.detach())


def _leaf(tap: Tap, images: Tensor) -> Tensor:
    x = tap.on_device(images)
    if not x.is_floating_point() or x.ndim < 2 or not len(x):
        raise UsageError(
            f"The images are {str(x.dtype).removeprefix('torch.')} of the shape {tuple(x.shape)}; expected "
            "floating-point numbers, (batch, channels, height, width)."
        )
    return x.detach().clone().requires_grad_()


def _places(position: Sequence[int] | Tensor | None, maps: Tensor) -> Tensor:
    """(batch, 1) of each map the number of the unit, counted row by row."""
    sizes = maps.shape[1:]
    if position is None:
        return maps.detach().reshape(len(maps), -1).argmax(1, keepdim=True)
    asked = torch.as_tensor(position, device=maps.device)
    if asked.shape not in ((len(sizes),), (len(maps), len(sizes))):
        raise UsageError(f"The position has the shape {tuple(asked.shape)}; expected {len(sizes)} numbers: {sizes}.")
    limits = torch.tensor(sizes, device=maps.device)
    if ((asked < 0) | (asked >= limits)).any():
        raise UsageError(f"There is no position {asked.tolist()} in a map of {tuple(sizes)}.")
    steps = torch.tensor([sizes[axis + 1 :].numel() for axis in range(len(sizes))], device=maps.device)
    return (asked * steps).sum(-1).expand(len(maps)).unsqueeze(1)


def _pixels(values: Tensor, x: Tensor) -> Tensor:
    if not values.requires_grad:
        raise UsageError("The output does not depend on the image by any differentiable way.")
    (gradient,) = torch.autograd.grad(values.sum(), x, allow_unused=True)
    return torch.zeros_like(x) if gradient is None else gradient


@contextlib.contextmanager
def _rectified(values: Tensor, rule: Rule) -> Iterator[int]:
    """While it is entered, rectifiers in the graph of `values` pass gradients by the rule; gives how many there are."""

    def hook(back: Any, arrived: Any) -> Any:
        if back[0] is None or arrived[0] is None:
            return None
        guided = back[0] * (arrived[0] > 0)
        return (guided if rule == "guided" else arrived[0].clamp_min(0), *back[1:])

    nodes = [node for node in _graph(values) if _rectifies(node)]
    handles = [node.register_hook(hook) for node in nodes] if rule != "gradient" else []
    try:
        yield len(nodes)
    finally:
        for handle in handles:
            handle.remove()


def _graph(values: Tensor) -> list[Any]:
    """All operations behind it."""
    found: dict[Any, None] = {}
    open_: list[Any] = [values.grad_fn]
    while open_:
        node = open_.pop()
        if node is not None and node not in found:
            found[node] = None
            open_ += [source for source, _ in node.next_functions]
    return list(found)


def _rectifies(node: Any) -> bool:
    name = re.sub(r"Backward\d*$", "", type(node).__name__)
    return name in _ALWAYS or (name in _BOUNDED and getattr(node, _BOUNDED[name], None) == 0)
