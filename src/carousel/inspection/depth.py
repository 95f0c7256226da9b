"""Activations and gradients through depth, of the trained network and of the same one before training."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from .. import inspect

__all__ = ["look_through_depth"]

Loss = Callable[[nn.Module], Tensor]


def look_through_depth(
    model: nn.Module, untrained: nn.Module, loss: Loss, of: str, sections: list[tuple[str, str, str]]
) -> dict[str, Any]:
    """The section, and its numbers.

    Args:
        model: as it was trained.
        untrained: the same network with new random weights.
        loss: of a network, on the same data each time.
        of: what the loss is of, in words: "128 images".
        sections: of the page; grown by one.

    Returns:
        `depth`, and `depth_before` of the untrained network: for each layer its name, kind, the mean, deviation and
        gradient (root mean square) of its activations, and how many units are dead.
    """
    untrained.eval()
    for part in untrained.modules():  # its running statistics know nothing yet
        if isinstance(part, _BatchNorm):
            part.train()
    looks = {name: inspect.through_depth(net, lambda net=net: loss(net))
             for name, net in (("depth", model), ("depth_before", untrained))}  # fmt: skip
    dead = [(one.name, int(one.dead.sum()), len(one.dead)) for one in looks["depth"] if bool(one.dead.any())]
    said = ", ".join(f"{count} of {units} in {name}" for name, count, units in dead) or "none"
    titles = {"depth": "After training", "depth_before": "Before, with new random weights"}
    pictures = [
        f"<h3>{title}</h3>\n"
        + inspect.svg_text(inspect.draw(looks[name]), f"Activations and gradients by layer. {title}")
        for name, title in titles.items()
    ]
    sections.append(("Through depth", f"Each layer's activations, and the gradient that reaches them, for {of}. Dead "
                     f"units (zero for all of these): {said}.", "\n".join(pictures)))  # fmt: skip
    return {
        name: [{"name": one.name, "kind": one.kind, "mean": one.mean, "deviation": one.deviation,
                "gradient": one.gradient, "dead": int(one.dead.sum())} for one in layers]
        for name, layers in looks.items()
    }  # fmt: skip
