"""A convolutional network seen from within: filters, what channels look for, what decides, depth."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from .. import inspect
from ..tasks.images import ImageTask
from .depth import look_through_depth

__all__ = ["inspect_image_network", "is_convolutional"]

Sections = list[tuple[str, str, str]]

IMAGES = 512
CHANNELS = 12
"""Of a layer whose patches are drawn."""


def is_convolutional(model: nn.Module, task: Any) -> bool:
    """Whether it names the class of images, by convolutions."""
    convolutions = any(isinstance(module, nn.Conv2d) for module in model.modules())
    return isinstance(task, ImageTask) and task.problem.targets == "classes" and convolutions


def inspect_image_network(
    model: nn.Module, task: ImageTask, progress: Callable[[str], object]
) -> tuple[Sections, dict[str, Any]]:
    """The sections of the page, and the numbers in them."""
    classes = task.plan.classes
    convolutions = [name for name, module in model.named_modules() if isinstance(module, nn.Conv2d)]
    rows = task.parts["dev"][:IMAGES] if len(task.parts["dev"]) else task.parts["train"][:IMAGES]
    images = task.pixels(rows, torch.device("cpu"))
    labels = torch.from_numpy(task.data.labels[rows])
    scale = (task.plan.mean, task.plan.deviation)
    sections: Sections = []
    numbers: dict[str, Any] = {"images": len(rows)}
    progress("filters")
    _filters(model, sections)
    progress("patches")
    numbers["layers"] = [
        _patches(model, name, images, scale, sections)
        for name in dict.fromkeys((convolutions[0], convolutions[len(convolutions) // 2], convolutions[-1]))
    ]
    progress("decisions")
    numbers["examples"] = _decisions(model, images, labels, classes, scale, sections)
    progress("classes")
    ideal = inspect.class_image(
        model, tuple(images.shape[1:]), list(range(min(len(classes), 10))), generator=torch.Generator().manual_seed(0)
    )
    picture = inspect.class_picture(ideal, names=classes)
    sections.append(("The ideal image of each class", "By gradient ascent on its score.", picture.svg()))
    progress("depth")
    some, truth = images[:128], labels[:128]

    def loss(network: nn.Module) -> Tensor:
        return nn.functional.cross_entropy(network(some), truth)

    untrained = task.network().to(images.dtype)
    return sections, numbers | look_through_depth(model, untrained, loss, f"{len(some)} images", sections)


def _filters(model: nn.Module, sections: Sections) -> None:
    found = inspect.first_filters(model)
    if found.weight.shape[1] in (1, 3):
        sections.append(("Filters of the first layer", "All on one scale.", inspect.filter_picture(found).svg()))


def _patches(model: nn.Module, layer: str, images: Tensor, scale: Any, sections: Sections) -> dict[str, Any]:
    """What the channels of a layer look for, and how much of the image one of its units can see."""
    fields = inspect.receptive_fields(model, layer, tuple(images.shape[1:]))
    top = inspect.top_patches(model, layer, images, fields=fields)
    strongest = top.values[:, 0].argsort(descending=True)[:CHANNELS].tolist()
    picture = inspect.patch_picture(top, [int(top.channels[row]) for row in strongest], scale=scale)
    size = " x ".join(map(str, fields.size))
    sections.append((
        f"What the channels of {layer} look for",
        f"A unit of this layer sees {size} pixels. Of each channel the nine images of {len(images)} that activate it "
        "most, cut to what the unit sees.",
        picture.svg(),
    ))  # fmt: skip
    return {"layer": layer, "receptive_field": list(fields.size), "channels": len(top.channels)}


def _decisions(
    model: nn.Module, images: Tensor, labels: Tensor, classes: list[str], scale: Any, sections: Sections
) -> list[dict[str, Any]]:
    """Two images that are named right and two that are not, the surest of each."""
    with torch.no_grad():
        scores = torch.cat([model(part) for part in images.split(64)])
    probability, answer = scores.softmax(1).max(1)
    chosen: list[int] = []
    for wanted in (answer == labels, answer != labels):
        places = wanted.nonzero()[:, 0]
        chosen += places[probability[places].argsort(descending=True)[:2]].tolist()
    some = images[chosen]
    sections.append((
        "Which pixels matter",
        "Of the surest right answers and the surest wrong ones the slope of the score on each pixel.",
        inspect.saliency_picture(some, inspect.saliency(model, some), scale=scale, names=classes).svg(),
    ))  # fmt: skip
    examples = []
    for place in chosen:
        found = inspect.occlusion(model, images[place])
        name, truth = classes[int(answer[place])], classes[int(labels[place])]
        said = f"{name}, {'which is right' if name == truth else f'in truth {truth}'}"
        sections.append((
            f"What it needs to say {name}",
            f"A gray square is slid over the image: said is {said}.",
            inspect.occlusion_picture(found, names=classes, scale=scale).svg(),
        ))  # fmt: skip
        examples.append({"answer": name, "truth": truth, "probability": float(probability[place])})
    return examples
