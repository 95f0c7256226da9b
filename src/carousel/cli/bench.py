"""`carousel bench CELL`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import tyro

from ..errors import UsageError
from .parse import parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and measure."""
    parse("bench", _bench, arguments)


def _bench(
    cell: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="[CELL]")] = "lstm-peephole",
    hidden_size: int = 256,
    length: int = 100,
    batch: int = 32,
    threads: int | None = None,
    out: str = "runs/bench",
    json: str | None = None,
) -> None:
    """Time a cell on this machine, beside PyTorch's LSTM, the loop, and JAX and onnxruntime where installed.

    First the cell's outputs and gradients are held against the plain loop; a minute at most.

    Args:
        cell: A cell's name, or FILE.py:Class for your own.
        hidden_size: Hidden units and input features; a second shape has half as many.
        length: Time steps.
        batch: Sequences side by side; a third shape has one.
        threads: CPU threads of all; PyTorch's default if not given.
        out: Folder for the bar chart, bench.svg and bench.png.
        json: File for the numbers.
    """
    for folder in (out, *([] if json is None else [Path(json).parent])):
        _make_folder(Path(folder))
    from json import dumps

    from rich.console import Console

    if json is not None and Path(json).is_dir():
        raise UsageError(f"--json {json} is a folder; name a file, as --json {Path(json) / 'bench.json'}.")
    from ..bench import compare, remarks, table, write_chart

    console = Console(highlight=False)
    result = compare(
        cell,
        hidden_size=hidden_size,
        length=length,
        batch=batch,
        threads=threads,
        note=lambda text: console.print(text, style="dim"),
    )
    console.print(table(result))
    for sentence in remarks(result):
        console.print(sentence, markup=False)
    written = write_chart(result, out)
    if json is not None:
        Path(json).write_text(dumps(result, indent=1) + "\n")
        written.append(Path(json))
    console.print(f"Written: {', '.join(map(str, written))}", soft_wrap=True, markup=False)


def _make_folder(folder: Path) -> None:
    """Before the measurement, so that it is not lost for want of a place to write it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"The folder {folder} can't be made: {error.strerror}. Choose another.") from error
    if not os.access(folder, os.W_OK):
        raise UsageError(f"The folder {folder} can't be written. Choose another.")
