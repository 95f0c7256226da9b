"""The doctor as a callback of Hugging Face's `Trainer`."""

from __future__ import annotations

import atexit
from typing import Any

from transformers import TrainerCallback  # pyright: ignore[reportMissingImports]

from .doctor import Doctor
from .findings import Finding
from .shown import as_text, headline

__all__ = ["DoctorCallback"]


class DoctorCallback(TrainerCallback):
    """Watches `Trainer.train`, and says at its end what is wrong with the training.

    `Trainer(callbacks=[DoctorCallback()])`. If an error ends the training, the `Trainer` does not tell its callbacks;
    the findings then follow at the end of the script, or when `close()` is called.

    Args:
        **options: of `Doctor`.

    Attributes:
        findings: what is wrong, the worst first; when the training has ended.
    """

    def __init__(self, **options: Any):
        self.findings: list[Finding] = []
        self._options, self._doctor, self._shows = options, None, True

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Begin to watch."""
        self.close()
        self._shows = state.is_world_process_zero
        self._doctor = Doctor(**self._options).__enter__()
        atexit.register(self.close)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Judge."""
        self.close()

    def close(self, error: BaseException | None = None) -> None:
        """End the watch, and judge; `error` is what ended the training."""
        if self._doctor is None:
            return
        doctor, self._doctor = self._doctor, None
        atexit.unregister(self.close)
        doctor.__exit__(None, error, None)
        self.findings = doctor.findings
        if self._shows:
            print(as_text(self.findings, headline(self.findings, doctor.record.steps), []))
