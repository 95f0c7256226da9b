"""`carousel sample RUN`."""

from __future__ import annotations

import sys
from typing import Annotated

import tyro

from .parse import parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and write."""
    parse("sample", _sample, arguments)


def _sample(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    chars: int = 500,
    prompt: str = "",
    temperature: float = 0.8,
    top_k: int | None = None,
    top_p: float | None = None,
    greedy: bool = False,
    seed: int | None = None,
    cell: str | None = None,
) -> None:
    r"""Let a trained network write; the text appears as it is generated.

    Args:
        run: The run folder.
        chars: How many tokens (characters, bytes, words or byte pairs, as the run has them) to write.
        prompt: Text to go on from.
        temperature: Below 1 more careful, above 1 more daring, 0 always the likeliest.
        top_k: Draw only from the K likeliest tokens.
        top_p: Draw only from the likeliest tokens that together reach this probability.
        greedy: Always the likeliest token.
        seed: Gives the same text again.
        cell: FILE.py:Class again, if the run has your own cell: stored code is never executed.
    """
    import torch

    from ..trained import load

    torch.set_num_threads(1)  # one character at a time is too little work to share
    pieces = load(run, cell=cell).stream(
        chars, prompt=prompt, temperature=0.0 if greedy else temperature, top_k=top_k, top_p=top_p, seed=seed
    )
    sys.stdout.write(prompt)
    for piece in pieces:
        sys.stdout.write(piece)
        sys.stdout.flush()
    sys.stdout.write("\n")
