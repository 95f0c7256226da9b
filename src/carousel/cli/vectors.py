"""`carousel vectors TEXTS --out FILE`."""

from __future__ import annotations

import time
from typing import Annotated, Literal

import tyro

from .outputs import check_outputs
from .parse import parse

__all__ = ["run"]

SHOWN = 6
"""Words whose neighbors are printed if none are named: of the middle of the thousand most frequent."""


def run(arguments: list[str]) -> None:
    """Parse and make vectors."""
    parse("vectors", _vectors, arguments)


def _vectors(
    texts: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="TEXT")],
    out: str | None = None,
    size: int = 100,
    window: int = 5,
    epochs: int = 10,
    min_count: int = 5,
    negative: int = 5,
    words: Literal["words", "spaces"] = "words",
    show: tuple[str, ...] = (),
    encoding: str = "utf-8",
    seed: int = 0,
    threads: int | None = None,
) -> None:
    """Make vectors of the words of your texts: words with similar neighbors get similar ones (skip-gram).

    Args:
        texts: Files, folders, glob patterns, or python-stdlib. Each line is read as a sentence.
        out: The file to write, in word2vec's text format: for `carousel train --vectors FILE`, and for other programs.
        size: Numbers of a vector.
        window: Words on either side that count as neighbors, at most.
        epochs: Passes over the texts.
        min_count: Words that come less often are left out.
        negative: Noise words for each pair of neighbors.
        words: Cut at word borders and punctuation, or at white space (text that is already tokenized).
        show: Words whose nearest others are printed at the end.
        encoding: Encoding of the files.
        seed: Of all random draws.
        threads: CPU threads; PyTorch's default if not given.
    """
    import torch
    from rich.progress import Progress

    from ..errors import UsageError
    from ..vectors import word_vectors

    if not texts:
        raise UsageError("No text was given. Write `carousel vectors FILE_OR_FOLDER --out vectors.txt`.")
    if out is None:
        raise UsageError("Say where the vectors go: --out vectors.txt.")
    check_outputs(out=out)
    if threads is not None:
        torch.set_num_threads(threads)
    begun = time.monotonic()
    with Progress(transient=True) as bar:
        task = bar.add_task("skip-gram", total=epochs)
        made = word_vectors(
            texts, size=size, window=window, epochs=epochs, min_count=min_count, negative=negative, words=words,
            encoding=encoding, seed=seed, progress=lambda done, total: bar.update(task, completed=done),
        )  # fmt: skip
    made.save(out)
    print(f"{len(made):,} words, vectors of {made.size} numbers, {time.monotonic() - begun:.0f} s: {out}\n")
    shown = [word for word in show if word in made] if show else _some(made.words)
    for word in shown:
        print(f"  {word:<14} {', '.join(other for other, _ in made.nearest(word, 6))}")
    missing = [repr(word) for word in show if word not in made]
    if missing:
        print(f"  Without a vector: {', '.join(missing)}.")
    print(f"\nNext:\n  carousel train DATA --vectors {out}{' --words spaces' if words == 'spaces' else ''}")


def _some(words: tuple[str, ...]) -> list[str]:
    """Words evenly apart among the frequent, of four letters or more where there are such."""
    frequent = words[:1000]
    some = [word for word in frequent if len(word) >= 4 and word.isalpha()] or [*frequent]
    return some[len(some) // (2 * SHOWN) :: max(1, len(some) // SHOWN)][:SHOWN]
