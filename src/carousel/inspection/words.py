"""What a network has learned of words, or of other symbols: neighbors of their vectors, analogies, a map."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import inspect
from ..errors import UsageError

__all__ = ["Symbols", "look_at_words"]

ASKED, NEIGHBORS, MAPPED = 16, 6, 250
COUNTED = 500
"""Whose nearest neighbors are compared with those of random vectors."""
TOLD = 1.15
"""So many times as near as random ones they are no chance."""


class Symbols:
    """What a network's embedding has vectors of.

    Args:
        embedding: the layer.
        names: of its rows.
        unit: what they are: "word".
        order: rows, the most frequent first; as they stand if not given.
    """

    def __init__(self, embedding: nn.Embedding, names: Sequence[str], unit: str, order: Tensor | None = None):
        rows: list[int] = list(range(len(names))) if order is None else order.tolist()
        shown = dict.fromkeys(row for row in rows if not names[row].startswith("<"))
        self.unit = unit
        self.names = [_seen(names[row]) for row in shown]
        twice = {name for number, name in enumerate(self.names) if name in self.names[:number]}
        self.names = [f"{name} {row}" if name in twice else name for name, row in zip(self.names, shown, strict=True)]
        self.vectors = embedding.weight.detach()[list(shown)].float().cpu()

    def usual(self) -> list[str]:
        """Some to be asked about: from among the frequent ones, those with letters only, and long ones."""
        for least in (4, 1):
            some = [name for name in self.names[: 50 * ASKED] if name.isalpha() and len(name) >= least]
            if len(some) >= ASKED:
                return some[:: max(1, len(some) // ASKED)][:ASKED]
        return self.names[:ASKED]


def look_at_words(symbols: Symbols, asked: Sequence[str], sections: list[tuple[str, str, str]]) -> dict[str, Any]:
    """The sections, and their numbers.

    Args:
        symbols: the vectors.
        asked: words, and questions such as "man:woman::king" (man is to woman as king is to what?).
        sections: of the page; grown by two.

    Returns:
        `asked`: for each the nearest ones with their cosines; the mean cosine of a word's nearest one, `nearest`, and
        that of as many random vectors, `random`.

    Raises:
        UsageError: a word has no vector, or a question is none.
    """
    words = [one for one in asked if ":" not in one] or ([] if asked else symbols.usual())
    found = {word: inspect.nearest(symbols.vectors, symbols.names, word, NEIGHBORS) for word in words}
    for question in (one for one in asked if ":" in one):
        match [part.strip() for part in question.replace("::", ":").split(":")]:
            case [a, b, c] if a and b and c:
                found[question] = inspect.analogy(symbols.vectors, symbols.names, a, b, c, NEIGHBORS)
            case _:
                raise UsageError(f"{question!r} is no question; write it as man:woman::king.")
    listed = {
        one: [(name, float(score)) for name, score in zip(some.words, some.similarity, strict=True)]
        for one, some in found.items()
    }
    rows = "".join(
        f"<tr><td>{escape(one)}</td><td>{', '.join(f'{escape(name)} {score:.2f}' for name, score in some)}</td></tr>"
        for one, some in listed.items()
    )
    near, random = (_nearness(vectors) for vectors in (symbols.vectors, _random_like(symbols.vectors)))
    weak = "" if near > TOLD * random else f" That is no more than chance: read nothing into these {symbols.unit}s."
    sections.append((
        f"Which {symbols.unit}s are alike to it",
        f"The nearest of {len(symbols.names):,} {symbols.unit}s, by the cosine of the vectors that were learned; of an "
        "analogy a:b::c those with the largest cosines to b and to c, less that to a. The nearest one of a "
        f"{symbols.unit} has a cosine of {near:.2f} on average; of as many random vectors {random:.2f}.{weak}",
        f"<div class=wide><table><tr><th>{symbols.unit}<th>nearest</tr>{rows}</table></div>",
    ))  # fmt: skip
    if len(symbols.names) > 3 and symbols.vectors.shape[1] > 1:
        some = slice(None, MAPPED)
        picture = inspect.map_picture(inspect.map2d(symbols.vectors[some], symbols.names[some]))
        sections.append((
            f"A map of its {symbols.unit}s",
            f"Their first two principal components, of the {min(MAPPED, len(symbols.names))} that come most often.",
            picture.svg(),
        ))  # fmt: skip
    return {"asked": {one: dict(some) for one, some in listed.items()}, "nearest": near, "random": random}


@torch.no_grad()
def _nearness(vectors: Tensor) -> float:
    """The mean cosine of the first ones to their nearest neighbor."""
    unit = F.normalize(vectors)
    some = unit[:COUNTED]
    cosines = (some @ unit.T).fill_diagonal_(-1.0)
    return float(cosines.amax(1).mean())


def _random_like(vectors: Tensor) -> Tensor:
    return torch.randn(vectors.shape, generator=torch.Generator().manual_seed(0))


def _seen(name: str) -> str:
    """As it can be read."""
    return name if name.isprintable() and name.strip() == name and name else repr(name)[1:-1].replace(" ", "␣")
