"""What a person sees while settings are tried: a bar for the training that runs, a line for every trial that ended."""

from __future__ import annotations

from typing import Any

from ..training import Trainer
from .progress import Progress

__all__ = ["TrialsProgress"]


class TrialsProgress(Progress):
    """The bar of `carousel train`, without what it prints of a single run."""

    quiet = False

    def on_note(self, text: str) -> None:
        """Print a sentence above the bar, in one line however long."""
        if not self.quiet:
            self.console.print(text, markup=False, soft_wrap=True)

    def on_begin(self, trainer: Trainer) -> None:
        """Show the bar, in place of that of the training before."""
        self.quiet = True
        super().on_begin(trainer)
        self.quiet = False

    def on_evaluation(self, trainer: Trainer, dev_loss: float | None, is_best: bool) -> None:
        """The line behind the trial says it."""

    def on_sample(self, trainer: Trainer, sample: dict[str, Any]) -> None:
        """Not of every trial."""
