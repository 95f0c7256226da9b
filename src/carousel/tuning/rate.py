"""The learning-rate range test on the user's data, with the network, loss and optimizer of their run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..api import prepared
from ..cells.base import Cell
from ..errors import UsageError
from ..settings import Settings
from ..training import Callback, RangeTest, Trainer
from ..training.rate_finder import HIGH, LOW, UPDATES, preserved, sweep

__all__ = ["find_rate"]


def find_rate(
    data: str | Path | Sequence[str | Path],
    *,
    low: float = LOW,
    high: float = HIGH,
    updates: int = UPDATES,
    cell: str | type[Cell] | None = None,
    callbacks: Sequence[Callback] = (),
    settings: Settings | None = None,
    **options: Any,
) -> RangeTest:
    """Suggest a learning rate for `train` with the same data and settings; nothing is written.

    The updates are those of the run: its batches, optimizer, clipping and dropout, the state carried from window to
    window of a text; its schedule and warm-up are off. See `carousel.training.range_test` for how the rate is chosen,
    and for the same in a training loop of your own.

    Args:
        data: as in `train`.
        low: the first rate.
        high: the last one.
        updates: how many.
        cell: as in `train`.
        callbacks: told what was inferred from the data.
        settings: all settings at once; or give single ones as `options`.
        options: as in `train`.

    Returns:
        The curve, with `.suggestion` (None from a bad curve), `.reason` and `.figure()`.

    Raises:
        UsageError: an option or the path is wrong.
        DataError: the data can't be used.
        Interrupted: Ctrl-C.

    Example:
        >>> import carousel
        >>> found = carousel.find_rate("corpus.txt", hidden_size=64)     # doctest: +SKIP
        >>> print(found.suggestion, found.reason)                         # doctest: +SKIP
    """
    if settings is None:
        settings = Settings.of(**options)
    elif options:
        raise UsageError(f"find_rate() got settings and also {', '.join(options)}; put all into the settings.")
    sources = [data] if isinstance(data, str | Path) else list(data)
    with preserved():
        ready = prepared(sources, cell, settings, callbacks)
        trainer = Trainer(ready.task, dataclasses.replace(ready.settings.training, steps=10**9), None)
        trainer.network.train()
        constant = _Constant()
        trainer.schedule = constant  # pyright: ignore[reportAttributeAccessIssue]

        def update(rate: float) -> float:
            constant.now = rate
            return trainer.update().loss

        return sweep(update, low=low, high=high, updates=updates)


class _Constant:
    """In place of the schedule: the rate of the test."""

    now = 0.0

    def rate(self, step: int) -> float:
        return self.now

    def momentum(self, step: int) -> None:
        """As the optimizer has it."""
