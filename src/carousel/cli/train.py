"""`carousel train DATA`."""

from __future__ import annotations

import ast
import dataclasses
from typing import Annotated

import tyro

from ..settings import DataSettings, NetworkSettings, Settings, TrainingSettings
from .parse import parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and train."""
    parse("train", _train, arguments)


def _train(
    data: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="DATA")],
    reading: DataSettings = DataSettings(),
    network: NetworkSettings = NetworkSettings(),
    training: TrainingSettings = TrainingSettings(),
    out: str | None = None,
) -> None:
    """Train a recurrent network on your own text.

    Args:
        data: Files, folders, glob patterns of text; or python-stdlib, the source code of Python's standard library.
        reading: How the text is read.
        network: What is trained.
        training: How it is trained.
        out: Run folder to make; by default a new one under runs/.
    """
    from ..api import train
    from ..errors import UsageError
    from .progress import Progress

    if not data:
        raise UsageError("No data was given. Write `carousel train FILE_OR_FOLDER`, or `carousel train python-stdlib`.")
    options = {name: _literal(value) for name, value in network.cell_options.items()}
    settings = Settings(reading, dataclasses.replace(network, cell_options=options), training)
    with Progress() as progress:
        finished = train(data, settings=settings, out=out, callbacks=[progress])
    progress.close(finished)


def _literal(value: object) -> object:
    """`1,5,8` and `true` as Python values; other words as they are."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(value.lower(), value))
    except (ValueError, SyntaxError):
        return value
