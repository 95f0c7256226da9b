"""A network for whatever kind of data, on some of its own training examples: depth, and what is recurrent in it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from .. import inspect
from ..data.ragged import Vocabulary
from ..errors import UsageError
from ..nn import Recurrent
from ..tasks.images import ImageTask
from ..tasks.kind import KindTask
from .depth import look_through_depth
from .recurrent import look_at_dynamics, look_at_gates, look_at_memory, look_through_time, reached
from .words import Symbols, look_at_words

__all__ = ["inspect_any_network"]

Sections = list[tuple[str, str, str]]

EXAMPLES = 256
PICTURED = 64
"""Units whose weights are drawn as images, at most."""


def inspect_any_network(
    model: nn.Module, task: KindTask, words: Sequence[str], progress: Callable[[str], object]
) -> tuple[Sections, dict[str, Any]]:
    """The sections of the page, and the numbers in them.

    Args:
        model: trained.
        task: with the data it was trained on, of any kind.
        words: to be asked about, see `look_at_words`.
        progress: told what is looked at.

    Raises:
        UsageError: there are words, and the network knows none.
    """
    task.batch = max(task.batch, EXAMPLES)  # a feed lowers it to what there is
    feed = task.feed(0, 1)
    sections: Sections = []
    numbers: dict[str, Any] = {"examples": feed.about}

    def loss(network: nn.Module) -> Tensor:
        return feed.loss(network, 0, torch.device("cpu"))[0]

    if isinstance(task, ImageTask):
        _weights_as_images(model, task.plan.shape, sections)
    symbols = _symbols(model, getattr(getattr(task, "data", None), "vocabulary", None))
    if symbols is not None:
        progress("words")
        numbers["words"] = look_at_words(symbols, words, sections)
    elif words:
        raise UsageError("The network has no vectors of words, which is what --words asks about; leave it out.")
    if any(isinstance(part, Recurrent) for part in model.modules()):
        progress("time")
        numbers["time"] = look_through_time(
            model, lambda: loss(model), f"The loss of {feed.about} of the training part, and what of it reaches the "
            "states of each step.", sections,
        )  # fmt: skip
        for found in reached(model, lambda: loss(model))[:1]:
            progress("gates")
            numbers["gates"] = look_at_gates(found.layer, found.longest(), sections)
            progress("memory")
            numbers["memory"] = look_at_memory(
                found.layer, found.even(), "What the input k steps ago does to the output of the recurrent layers: by "
                "gradient, and by putting that of another example in its place.", "another input", sections,
            )  # fmt: skip
            progress("dynamics")
            numbers["dynamics"] = look_at_dynamics(found.layer, found.longest()[:, 0], "an example", sections)
    progress("depth")
    untrained = task.network().to(next(model.parameters()).dtype)
    numbers |= look_through_depth(model, untrained, loss, f"{feed.about} of the training part", sections)
    return sections, numbers


def _symbols(model: nn.Module, vocabulary: Any) -> Symbols | None:
    """The words or characters of a network that reads such, with their vectors; None for any other."""
    if not isinstance(vocabulary, Vocabulary):
        return None
    layers = [part for part in model.modules() if isinstance(part, nn.Embedding)]
    embedding = next((layer for layer in layers if layer.num_embeddings == vocabulary.size), None)
    return None if embedding is None else Symbols(embedding, vocabulary.symbols, vocabulary.unit)


def _weights_as_images(model: nn.Module, shape: tuple[int, ...], sections: Sections) -> None:
    """The weights of a dense first layer: what each unit looks for."""
    first = next((part for part in model.modules() if next(part.parameters(recurse=False), None) is not None), None)
    if isinstance(first, nn.Linear) and shape[0] in (1, 3):
        weight = first.weight.detach().cpu().view(-1, *shape)[:PICTURED]
        picture = inspect.filter_picture(inspect.Filters("first layer", weight, float(weight.abs().max())))
        sections.append(("Weights of the first layer", f"Of the first {len(weight)} units, as images, on one scale.",
                         picture.svg()))  # fmt: skip
