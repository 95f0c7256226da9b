"""`carousel ensemble RUN RUN …`."""

from __future__ import annotations

from typing import Annotated

import tyro

from .outputs import check_outputs, write_json
from .parse import parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and score."""
    parse("ensemble", _ensemble, arguments)


def _ensemble(
    runs: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    data: tuple[str, ...] = (),
    json: str | None = None,
    cell: str | None = None,
) -> None:
    """Score several runs, and the mean of their answers, on the dev and test parts that none of them was trained on.

    `carousel predict RUN FILE --with RUN` uses the mean on new data.

    Args:
        runs: Two run folders or more, of the same data: as of networks with different --seed and one --split-seed.
        data: Where the data are now, if they were moved.
        json: Write all scores to this JSON file.
        cell: FILE.py:Class again, for runs that have your own cell: stored code is never executed.
    """
    from ..ensembles import Ensemble, members_of

    check_outputs(json=json)
    found = Ensemble([member for path in runs for member in members_of(path, cell)])
    scores = found.scores(data=data or None)
    print("\n\n".join(map(str, scores.values())))
    if json is not None:
        write_json({split: one.to_dict() for split, one in scores.items()}, json)
