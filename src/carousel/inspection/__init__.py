"""`inspect_run`: what `carousel.inspect` finds in a trained network, on its own data, as one page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch

from .. import inspect
from ..cells.base import Cell
from ..errors import UsageError
from ..nn import LanguageModel
from ..tasks.images import ImageTask
from ..trained import Run, load
from .any_network import inspect_any_network
from .convolutional import inspect_image_network, is_convolutional
from .language import TOKENS, inspect_language_model

__all__ = ["Inspection", "inspect_run"]


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        numbers: what the page says in numbers, as plain data. Of each network `depth` and, before training,
            `depth_before`; of a language model also `units`, of a convolutional one `layers` and `examples`, of a
            recurrent one `time`, `gates`, `memory` and `dynamics`, of one with vectors of words `words`.
        page: where it is.
    """

    numbers: dict[str, Any]
    page: Path


def inspect_run(
    run: str | Path | Run,
    *,
    cell: str | type[Cell] | None = None,
    text: str | Path | None = None,
    words: Sequence[str] = (),
    out: str | Path | None = None,
    tokens: int = TOKENS,
    progress: Callable[[str], object] = lambda said: None,
) -> Inspection:
    """Look inside a trained network, with its own data.

    Of a language model: what its units track. Of a convolutional network: filters, what channels look for, what
    decides, ideal images. Of recurrent layers: gates, gradients through time, memory, dynamics. Of words: neighbors,
    analogies, a map. Of every network: activations and gradients through depth, before and after training.

    Args:
        run: a run of any kind of data.
        cell: your own cell again, if the run has one.
        text: a file to read with a language model, instead of the dev part.
        words: whose neighbors to show, and analogies as "man:woman::king"; some that come often if not given.
        out: the page; `inspect.html` in the run folder if not given.
        tokens: of the text, at most.
        progress: told what is looked at.

    Returns:
        `Inspection`.

    Raises:
        UsageError: something is asked for that such a network does not have, or the page can't be written.
        DataError: the data have changed, or the text is too short.
    """
    run = run if isinstance(run, Run) else load(run, cell=cell)
    model = run.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if isinstance(model, LanguageModel):
            sections, numbers = inspect_language_model(run, text, tokens, words, progress)
        else:
            if text is not None:
                raise UsageError(f"{run.path} is no language model, and --text is what one is to read; leave it out.")
            task = run.task()
            if is_convolutional(model, task):
                if words:
                    raise UsageError("The network knows no words, which is what --words asks about; leave it out.")
                sections, numbers = inspect_image_network(model, cast(ImageTask, task), progress)
            else:
                sections, numbers = inspect_any_network(model, task, words, progress)
    page = Path(out) if out is not None else run.path / "inspect.html"
    try:
        page.write_text(inspect.sections_page(f"Inside {run.path.name}", sections), "utf-8")
    except OSError as error:
        raise UsageError(f"{page} can't be written: {error.strerror or error}. Choose another --out.") from error
    return Inspection(numbers, page)
