r"""The image that a network takes most for a class, by gradient ascent.

.. math:: \arg\max_x\; S_c(x) - λ ‖x‖_2^2

with S the score before the softmax: the probability could as well be raised by lowering all other scores. Simonyan,
Vedaldi & Zisserman, "Deep inside convolutional networks", ICLR 2014 workshop, who start from the zero image and add the
mean of the training set after.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .layers import Tap, chosen_classes

__all__ = ["ClassImage", "class_image"]


@dataclass(frozen=True)
class ClassImage:
    """Images that were climbed to.

    Attributes:
        pixels: (classes, channels, …), in the scale of the network's inputs.
        classes: (classes,) which they are.
        scores: (steps + 1, classes) S_c on the way, at the start first.
        objective: (steps + 1, classes) what was maximized.
        probability: (classes,) of the class for its image; of a single output by the sigmoid.
    """

    pixels: Tensor
    classes: Tensor
    scores: Tensor
    objective: Tensor
    probability: Tensor


def class_image(
    model: nn.Module,
    input_shape: Sequence[int],
    classes: int | Sequence[int],
    *,
    steps: int = 200,
    rate: float = 1.0,
    decay: float = 0.01,
    start: Tensor | None = None,
    generator: torch.Generator | None = None,
    layer: str | nn.Module | None = None,
) -> ClassImage:
    r"""Climb from a start to an image with a high score of a class, :math:`x ← x + η (∂S_c/∂x - 2 λ x)`.

    Args:
        model: gives scores (batch, classes), before any softmax. It is left as it was.
        input_shape: (channels, …) of one input, without the batch.
        classes: one, or several at once, an image each.
        steps: of the ascent.
        rate: η. Below 1/λ, or the decay alone diverges.
        decay: λ, per squared unit of the network's inputs.
        start: an image, (channels, …), from which all begin; None for zeros.
        generator: adds noise from N(0, 0.01²) to the start, another for each image; the same generator, the same
            images. None for no noise.
        layer: the one whose output are the scores, where the network itself ends in a softmax.

    Returns:
        `ClassImage`.

    Raises:
        UsageError: there is no such class, the output is a softmax, the start has no slope, or the ascent diverges.

    Example:
        >>> net = nn.Sequential(nn.Flatten(), nn.Linear(4, 3))          # of a linear score it is w / 2λ
        >>> found = class_image(net, (1, 2, 2), 1, steps=200, rate=0.1, decay=0.5)
        >>> torch.allclose(found.pixels.flatten(), net[1].weight[1].detach(), atol=1e-5)
        True
    """
    if steps < 1 or rate <= 0 or decay < 0:
        raise UsageError(f"Got {steps} steps, rate {rate}, decay {decay}; the first two must be positive.")
    shape = tuple(input_shape)
    numbers = [classes] if isinstance(classes, int | str) else list(classes)
    first = torch.zeros(shape) if start is None else start
    if tuple(first.shape) != shape or not numbers:
        raise UsageError(f"The start has the shape {tuple(first.shape)}, the input {shape}; give at least one class.")
    x = first.detach().float().repeat(len(numbers), *[1] * len(shape))
    if generator is not None:
        x = x + 0.01 * torch.randn(x.shape, generator=generator, device=generator.device).to(x.device)
    tap = Tap(model, layer)
    scores, objective = [], []
    with tap.looking(), torch.enable_grad():
        x = tap.on_device(x)
        for step in range(steps + 1):
            x = x.detach().requires_grad_()
            output = tap.scores(x.clone())
            asked = chosen_classes(numbers, output)
            score = output.gather(1, asked[:, None]).squeeze(1)
            value = score - decay * x.square().flatten(1).sum(1)
            if not value.isfinite().all():
                raise UsageError(f"The ascent diverged at step {step}; take a rate below {rate:g}, or more decay.")
            scores.append(score.detach())
            objective.append(value.detach())
            if step < steps:
                (slope,) = torch.autograd.grad(score.sum(), x)
                if not step and not slope.flatten(1).any(1).all():
                    raise UsageError(
                        "The score has no slope at the start, where every ReLU may be off; give generator= for noise, "
                        "or an image as start=."
                    )
                x = x + rate * (slope - 2 * decay * x)
        of_class = score.sigmoid() if output.shape[1] == 1 else output.softmax(1).gather(1, asked[:, None]).squeeze(1)
    return ClassImage(x.detach(), asked, torch.stack(scores), torch.stack(objective), of_class.detach())
