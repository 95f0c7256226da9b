"""`carousel predict RUN INPUT`."""

from __future__ import annotations

from typing import Annotated

import tyro

from .outputs import check_outputs, write_csv, write_json
from .parse import parse

__all__ = ["run"]

SHOWN = 20
"""Answers that are printed where they also go to a file."""


def run(arguments: list[str]) -> None:
    """Parse and predict."""
    parse("predict", _predict, arguments)


def _predict(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    given: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="INPUT")] = (),
    text: str | None = None,
    out: str | None = None,
    json: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    encoding: str = "utf-8",
    cell: str | None = None,
) -> None:
    """Name the labels of sequences, or the tags of words, with a trained network.

    Args:
        run: The run folder.
        given: A file with a sequence on each line, or a table; for tags, sentences on the lines of a file, or a file as
            in training. Where labels or tags stand beside, the share of right answers is told.
        text: A single sequence, instead of a file.
        out: Write all answers to this CSV file.
        json: Write all answers, with all probabilities, to this JSON file.
        text_column: Of a table, the column of the sequences; as in training if not given.
        label_column: Of a table, the column of the labels; as in training if not given.
        encoding: Of the file.
        cell: FILE.py:Class again, if the run has your own cell: stored code is never executed.
    """
    from ..api import load
    from ..errors import UsageError

    if (text is None) == (not given):
        raise UsageError('Give a file, or a text with --text "…", and not both.')
    if len(given) > 1:
        raise UsageError(f"predict takes one file; {len(given)} were given.")
    check_outputs(out=out, json=json)
    predictor = load(run, cell=cell).predictor
    inputs, truth = [text], None
    if given:
        inputs, truth = predictor.read(given[0], encoding, text_column=text_column, label_column=label_column)
    answers = predictor.predict(inputs)
    shown = answers[:SHOWN] if out is not None or json is not None else answers
    for answer in shown:
        print(predictor.line(answer))
    if len(shown) < len(answers):
        print(f"… and {len(answers) - len(shown):,} more.")
    for sentence in predictor.judged(answers, truth) if truth is not None else ():
        print(sentence)
    if out is not None:
        write_csv(predictor.rows(answers), out)
    if json is not None:
        write_json(answers, json)
