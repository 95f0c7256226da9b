"""`carousel train DATA`."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import tyro

from ..settings import Settings
from .parse import AllSettings, On, parse, with_literals

if TYPE_CHECKING:
    from ..training import Callback

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and train."""
    parse("train", _train, arguments)


def _train(
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    settings: AllSettings = Settings(),
    out: str | None = None,
    folds: int | None = None,
    doctor: On = True,
    fix: bool = False,
) -> None:
    """Train a network on your own data.

    Args:
        data: Files, folders, glob patterns: of text; of sequences with a label each; of words with a tag each; of
            numbers over time; of images in a folder for each class (or, for --network autoencoder, in any); a
            table. Or python-stdlib, the source code of Python's standard library.
        settings: What is read, what is trained, and how.
        out: Run folder to make; by default a new one under runs/.
        folds: Cross-validation: train so many times, each time with another part of the data as test part.
        doctor: Nobody watches the run and says what is wrong with it.
        fix: Where the doctor finds a fault that a setting repairs (learning rate, clipping), begin anew with that
            setting, at most three times.
    """
    from ..api import train
    from ..errors import UsageError
    from .progress import Progress
    from .run_doctor import watching

    if not data:
        raise UsageError("No data was given. Write `carousel train FILE_OR_FOLDER`, or `carousel train python-stdlib`.")
    settings = with_literals(settings)
    if fix and not doctor:
        raise UsageError("--fix needs the doctor; leave out --no-doctor.")
    if folds is not None:
        _cross_validate(data, folds, settings, out, doctor=doctor, fix=fix)
        return
    with Progress() as progress, watching(progress, doctor=doctor, fix=fix) as callbacks:
        finished = train(data, settings=settings, out=out, callbacks=callbacks)
    progress.close(finished)


def _cross_validate(
    data: tuple[str, ...], folds: int, settings: Settings, out: str | None, *, doctor: bool, fix: bool
) -> None:
    from ..cross_validation import cross_validate
    from .progress import Progress
    from .run_doctor import watching

    numbers = itertools.count(1)

    @contextlib.contextmanager
    def watched() -> Iterator[Sequence[Callback]]:
        print(f"Fold {next(numbers)} of {folds}")
        with Progress() as progress, watching(progress, doctor=doctor, fix=fix) as callbacks:
            yield callbacks

    found = cross_validate(data, folds, out=out, watched=watched, settings=settings)
    print(f"\nOn the test part of each fold:\n\n{found.table()}\n\nThe runs are in {found.path}.")
