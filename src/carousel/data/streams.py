"""A long sequence of tokens as parallel streams that are read window by window, forward in the text."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

__all__ = ["IGNORED", "Part", "TokenStreams", "Window", "split_by_position"]

IGNORED = -100
"""Target of a position that is only padding; PyTorch's cross-entropy leaves it out."""


class Part(NamedTuple):
    """A contiguous piece of the token sequence."""

    start: int
    stop: int

    @property
    def tokens(self) -> int:
        """Its length."""
        return self.stop - self.start


class Window(NamedTuple):
    """A few steps of all streams, time first."""

    inputs: Tensor
    """(time, batch) token ids."""
    targets: Tensor
    """(time, batch) the tokens that follow; `IGNORED` where there is none."""
    reset: Tensor | None
    """(time, batch) bool: a document begins with this input; None where none does."""


def split_by_position(tokens: int, *, dev: float, test: float, most: int = 200_000) -> dict[str, Part]:
    """Cut [train | dev | test] in the order of the text; dev and test have at most `most` tokens each.

    Example:
        >>> {name: part.tokens for name, part in split_by_position(1000, dev=0.1, test=0.0).items()}
        {'train': 900, 'dev': 100, 'test': 0}
    """
    last = min(int(tokens * test), most)
    middle = min(round(tokens * dev), most)
    first = tokens - middle - last
    return {"train": Part(0, first), "dev": Part(first, first + middle), "test": Part(first + middle, tokens)}


class TokenStreams:
    """`batch` streams side by side; stream b starts at b/batch of the part.

    Args:
        tokens: all token ids; may be memory-mapped, only windows are read.
        documents: positions where a document begins, ascending.
        part: which piece of `tokens`.
        batch: number of streams.
        rows: which of the streams to read; all of them if not given.
        whole: cover every token: streams are rounded up and the last ones padded with `IGNORED` targets. Otherwise
            they are rounded down and all full.
    """

    def __init__(
        self,
        tokens: np.ndarray,
        documents: np.ndarray,
        part: Part,
        batch: int,
        *,
        rows: range | None = None,
        whole: bool = False,
    ):
        self.tokens, self.documents, self.part = tokens, documents, part
        rows = range(batch) if rows is None else rows
        self.batch = len(rows)
        predictions = max(part.tokens - 1, 0)
        self.length = -(-predictions // batch) if whole else predictions // batch
        """Steps of each stream."""
        self._starts = part.start + np.array(rows) * self.length

    def window(self, begin: int, end: int) -> Window:
        """Steps `begin` to `end` of every stream."""
        places = self._starts + np.arange(begin, end)[:, None]
        last = self.part.stop - 1
        inputs = torch.from_numpy(self.tokens[np.minimum(places, last)].astype(np.int64))
        targets = torch.from_numpy(self.tokens[np.minimum(places + 1, last)].astype(np.int64))
        beyond = places >= last
        if beyond.any():
            targets[torch.from_numpy(beyond)] = IGNORED
        reset = np.isin(places, self.documents[self._documents_between(begin, end)])
        return Window(inputs, targets, torch.from_numpy(reset) if reset.any() else None)

    def _documents_between(self, begin: int, end: int) -> np.ndarray:
        """Indices of the documents that begin inside the window of any stream."""
        low = np.searchsorted(self.documents, self._starts + begin)
        high = np.searchsorted(self.documents, self._starts + end)
        return np.concatenate([np.arange(a, b) for a, b in zip(low, high, strict=True)])
