"""The doctor as a callback of Lightning's `Trainer`, of the package `lightning` as of `pytorch_lightning`."""

from __future__ import annotations

import importlib
import sys
from typing import Any

from .doctor import Doctor
from .findings import Finding
from .shown import as_text, headline

__all__ = ["DoctorCallback"]


def _bases() -> tuple[type, ...]:
    """The `Callback` of each of the two packages that the script uses; else of the first that is installed."""
    names = ("lightning.pytorch", "pytorch_lightning")
    used = [name for name in names if name in sys.modules]
    for name in used or names:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name is None or not name.startswith(error.name):
                raise
        else:
            return tuple(sys.modules[n].Callback for n in used or [name])
    raise ModuleNotFoundError("DoctorCallback needs Lightning: pip install lightning", name="lightning")


class DoctorCallback(*_bases()):
    """Watches `Trainer.fit`, and says at its end what is wrong with the training.

    `Trainer(callbacks=[DoctorCallback()])`. An error that ends the training counts as evidence.

    Args:
        **options: of `Doctor`.

    Attributes:
        findings: what is wrong, the worst first; when the training has ended.
    """

    def __init__(self, **options: Any):
        super().__init__()
        self.findings: list[Finding] = []
        self._options, self._doctor = options, None

    def on_fit_start(self, trainer: Any, pl_module: Any) -> None:
        """Begin to watch."""
        self._doctor = Doctor(**self._options).__enter__()

    def on_fit_end(self, trainer: Any, pl_module: Any) -> None:
        """Judge."""
        self._end(trainer, None)

    def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
        """Judge what there is."""
        self._end(trainer, exception)

    def _end(self, trainer: Any, error: BaseException | None) -> None:
        if self._doctor is None:
            return
        doctor, self._doctor = self._doctor, None
        doctor.__exit__(None, error, None)
        self.findings = doctor.findings
        if trainer.is_global_zero:
            print(as_text(self.findings, headline(self.findings, doctor.record.steps), []))
