"""`inspect_run`: what `carousel.inspect` finds in a trained network, on its own data, as one page."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from .. import inspect
from ..cells.base import Cell
from ..errors import UsageError
from ..nn import LanguageModel
from ..tasks.kinds import of_run
from ..trained import Run, load
from .convolutional import inspect_image_network
from .language import TOKENS, inspect_language_model

__all__ = ["Inspection", "inspect_run"]


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        numbers: what the page says in numbers, as plain data: of a language model `units`, `gates`, `time`, `memory`,
            `dynamics`, `depth`; of a network for images `layers`, `examples`, `depth`.
        page: where it is.
    """

    numbers: dict[str, Any]
    page: Path


def inspect_run(
    run: str | Path | Run,
    *,
    cell: str | type[Cell] | None = None,
    text: str | Path | None = None,
    out: str | Path | None = None,
    tokens: int = TOKENS,
    progress: Callable[[str], object] = lambda said: None,
) -> Inspection:
    """Look inside a trained network, with its own dev part.

    Of a language model: what its units track, its gates, gradients through time, memory, dynamics. Of a network for
    images: filters, what channels look for, what decides, ideal images. Of both, activations through depth.

    Args:
        run: a run that was trained on a text or on images.
        cell: your own cell again, if the run has one.
        text: a file to read with a language model, instead of the dev part.
        out: the page; `inspect.html` in the run folder if not given.
        tokens: of the text, at most.
        progress: told what is looked at.

    Returns:
        `Inspection`.

    Raises:
        UsageError: the run is of another kind of data, or the page can't be written.
        DataError: the data have changed, or the text is too short.
    """
    run = run if isinstance(run, Run) else load(run, cell=cell)
    kind = of_run(run.config).name
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(run.model, LanguageModel):
            sections, numbers = inspect_language_model(run, text, tokens, progress)
        elif kind == "images":
            if text is not None:
                raise UsageError(f"{run.path} was trained on images, and --text is about texts; leave it out.")
            sections, numbers = inspect_image_network(run, progress)
        else:
            raise UsageError(
                f"{run.path} was trained on neither a text nor images, which is what `carousel inspect` reads; in "
                "Python, carousel.inspect works on its run.model."
            )
    page = Path(out) if out is not None else run.path / "inspect.html"
    try:
        page.write_text(inspect.sections_page(f"Inside {run.path.name}", sections), "utf-8")
    except OSError as error:
        raise UsageError(f"{page} can't be written: {error.strerror or error}. Choose another --out.") from error
    return Inspection(numbers, page)
