"""`carousel predict RUN INPUT`."""

from __future__ import annotations

import itertools
from typing import Annotated

import tyro

from .outputs import check_outputs, write_csv, write_json
from .parse import With, parse

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
    with_: With = (),
    samples: int | None = None,
    seed: int = 0,
    out: str | None = None,
    json: str | None = None,
    text_column: str | None = None,
    label_column: str | None = None,
    encoding: str = "utf-8",
    cell: str | None = None,
) -> None:
    """Name the labels of sequences or images, the tags of words, the targets of rows, or the codes of images, with a
    trained network.

    Args:
        run: The run folder; or the folder that --folds made: then the answers of all folds are averaged.
        given: Files or folders as in training, without labels or with them: then the share of right answers is told.
            Sequences, and sentences to tag, may stand on the lines of a file.
        text: A single sequence, instead of files.
        with_: Other runs: answers are the mean of them all, with the standard deviation beside it.
        samples: Leave dropout on, and average over so many of its masks.
        seed: Of the masks, with --samples.
        out: Write all answers to this CSV file.
        json: Write all answers, with all probabilities, to this JSON file.
        text_column: Of a table, the column of the sequences or of the images' files; as in training if not given.
        label_column: Of a table, the column of the labels; as in training if not given.
        encoding: Of the file.
        cell: FILE.py:Class again, if the run has your own cell: stored code is never executed.
    """
    from ..ensembles import predictor_of
    from ..errors import UsageError

    if (text is None) == (not given):
        raise UsageError('Give a file, or a text with --text "…", and not both.')
    check_outputs(out=out, json=json)
    predictor = predictor_of((run, *itertools.chain(*with_)), cell=cell, samples=samples, seed=seed)
    if text is not None and not predictor.takes_text:
        raise UsageError(f"--text means nothing for {run}, which was not trained on text; give a file.")
    answers, truth, notes = [] if text is None else predictor.predict([text]), [], []
    for path in given:
        inputs, labels = predictor.read(path, encoding, text_column=text_column, label_column=label_column)
        notes += predictor.notes
        answers += predictor.predict(inputs)
        notes += predictor.notes
        truth += [None] * (len(answers) - len(truth)) if labels is None else labels
    shown = answers[:SHOWN] if out is not None or json is not None else answers
    for answer in shown:
        print(predictor.line(answer))
    if len(shown) < len(answers):
        print(f"… and {len(answers) - len(shown):,} more.")
    known = [(answer, label) for answer, label in zip(answers, truth, strict=bool(given)) if label is not None]
    judged = predictor.judged(*zip(*known, strict=True)) if known else ()
    for sentence in (*dict.fromkeys(notes), *judged):
        print(sentence)
    if out is not None:
        write_csv(predictor.rows(answers), out)
    if json is not None:
        write_json(answers, json)
