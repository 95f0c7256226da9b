"""Every error that Carousel raises on purpose.

A message is one or two plain sentences that say what was given, what is expected and what to do. The command line
prints it without a traceback and exits with the class's `exit_code`.
"""

from __future__ import annotations

__all__ = ["CarouselError", "CellError", "DataError", "RunFolderError", "TrainingError", "UsageError"]


class CarouselError(Exception):
    """Base of all errors that are explained to the user instead of shown as a traceback."""

    exit_code = 1


class UsageError(CarouselError):
    """The request itself is wrong: a missing file, an impossible option, an output folder that is taken."""

    exit_code = 2


class DataError(CarouselError):
    """The user's data was read, but cannot be used as asked."""


class CellError(CarouselError):
    """A cell breaks the contract of `carousel.Cell`, or cannot run the way it was asked to."""

    exit_code = 2


class RunFolderError(CarouselError):
    """A run folder is missing, damaged, incomplete or from another version."""


class TrainingError(CarouselError):
    """Training started and could not go on: what was seen, and what to try."""

    def __init__(self, evidence: str, advice: str):
        super().__init__(f"{evidence} {advice}")
        self.evidence, self.advice = evidence, advice
