"""What a training run tells to whoever listens: the progress display, the doctor, the user's own code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from .loop import Trainer

__all__ = ["Callback", "Restart", "Step"]


class Step(NamedTuple):
    """One update."""

    step: int
    """Updates made so far, this one included."""
    loss: float
    """Mean training loss of its windows, in nats per token, before the update."""
    learning_rate: float
    grad_norm: float
    """Global norm of the gradient before clipping."""
    tokens: int
    """Tokens it was trained on."""
    seconds: float
    """Training time so far, evaluations included."""


class Restart(BaseException):
    """Raised by a callback: the run begins anew with other settings.

    Args:
        changes: by name of a setting, its new value.
        about: why, as plain data; it is kept in the run's configuration, with the old values.
    """

    def __init__(self, changes: dict[str, Any], about: dict[str, Any]):
        super().__init__(changes)
        self.changes, self.about = changes, about


class Callback:
    """Derive from it and override what you need; nothing here changes the run, but that it may raise a `Restart`."""

    def on_note(self, text: str) -> None:
        """A sentence for the person in front: what was inferred, what is being done."""

    def on_begin(self, trainer: Trainer) -> None:
        """Before the first step of this process; `trainer.step` is above zero when the run is resumed."""

    def on_step(self, trainer: Trainer, step: Step) -> None:
        """After every update."""

    def on_evaluation(self, trainer: Trainer, dev_loss: float | None, is_best: bool) -> None:
        """After the dev loss was measured; None where there is no dev part."""

    def on_sample(self, trainer: Trainer, sample: dict[str, Any]) -> None:
        """After the network wrote something: `step`, `text`, `prompt`, `temperature`."""

    def on_end(self, trainer: Trainer) -> None:
        """After the last step, or when the dev part is done no better."""

    def on_error(self, trainer: Trainer, error: BaseException) -> None:
        """Training can't go on (a `TrainingError`), or was interrupted (`Interrupted`)."""
