"""Sentences whose words have tags: CoNLL-U, CoNLL, and files of a word and a tag on each line.

Words stand one on a line, their columns separated by tabs or, where there are none, by blanks; an empty line ends a
sentence. Lines that begin with `#` are comments where they stand before a sentence. Of CoNLL-U, ranges of words (`1-2`)
and empty words (`1.1`) are left out.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import CarouselError, DataError
from .splits import in_name
from .tables import TABLE_SUFFIXES
from .text_files import STDLIB, PathLike, common_name, digest_of, find_files, head_of, read_whole

__all__ = ["CONLLU", "TaggedSentences", "is_tagged", "read_sentences", "read_tagged"]

CONLLU = ("ID", "FORM", "LEMMA", "UPOS", "XPOS", "FEATS", "HEAD", "DEPREL", "DEPS", "MISC")
"""The columns of CoNLL-U."""

MOST_TAGS = 200
MOST_FILES = 100


@dataclass
class TaggedSentences:
    """What was read.

    Attributes:
        name: of the files.
        where: where the words and tags stand, in words.
        words: of each sentence.
        tags: of each word of each sentence.
        splits: train, dev or test for each sentence, None where nothing says so.
        files: all that were read.
        digest: hash of their content.
        word_column: of the words, its name or number.
        tag_column: of the tags, its name or number.
        notes: sentences that the user should read.
    """

    name: str
    where: str
    words: list[list[str]]
    tags: list[list[str]]
    splits: list[str | None]
    files: list[Path]
    digest: str
    word_column: str
    tag_column: str
    notes: list[str] = field(default_factory=list)


def is_tagged(sources: Sequence[PathLike]) -> str | None:
    """Why these sources are tagged sentences; None where they may be anything else."""
    if STDLIB in map(str, sources):
        return None
    try:
        files = [path for path, _ in find_files(sources)]
    except CarouselError:
        return None
    wanted = [path for path in files if path.suffix.lower() == ".conllu"]
    if wanted:
        return "CoNLL-U"
    if not files or any(path.suffix.lower() in TABLE_SUFFIXES.keys() - {".tsv"} for path in files):
        return None
    return "columns" if all(_looks_tagged(path) for path in files[:MOST_FILES]) else None


def _looks_tagged(path: Path) -> bool:
    """Sentences of several lines of as many columns, the last of few different values."""
    blocks = [block.split("\n") for block in re.split(r"\n[ \t\r]*\n", (head_of(path) or "").strip()) if block]
    lines = [line for block in blocks for line in block if line.strip() and not line.startswith("#")]
    if len(blocks) < 2 or len(lines) < 2 * len(blocks):
        return False
    cells = [_cells(line) for line in lines]
    widths, last = {len(row) for row in cells}, {row[-1] for row in cells}
    alike = len(widths) == 1 and next(iter(widths)) >= 2
    return alike and len(last) <= min(MOST_TAGS, len(lines) / 3)


def read_tagged(
    sources: Sequence[PathLike], *, encoding: str = "utf-8", word: str | None = None, tag: str | None = None
) -> TaggedSentences:
    """Read them all; of a folder with files of the suffix `.conllu` only these.

    Args:
        sources: files, folders, patterns.
        encoding: of the files.
        word: column of the words; found if not given.
        tag: column of the tags; found if not given.

    Raises:
        UsageError: there is nothing of a name.
        DataError: a line has no such column, a word has no tag, or there is one tag only.
    """
    found = find_files(sources)
    conllu = [path for path, _ in found if path.suffix.lower() == ".conllu"]
    files = conllu or [path for path, _ in found]
    words: list[list[str]] = []
    tags: list[list[str]] = []
    splits: list[str | None] = []
    names = ("", "")
    for path in files:
        names, sentences = _read(path, encoding, word, tag)
        for rows in sentences:
            for line, form, of_word in rows:
                if of_word in ("", "_") or not form:
                    raise DataError(
                        f'"{path}", line {line}: {form!r} has no tag in the column {names[1]}; name another '
                        "with --tag-column, or give the word a tag."
                    )
            words.append([form for _, form, _ in rows])
            tags.append([of_word for *_, of_word in rows])
            splits.append(in_name(path.name))
    counts = Counter(of_word for sentence in tags for of_word in sentence)
    if len(counts) == 1:
        raise DataError(
            f"All {counts.total():,} words have the tag {next(iter(counts))!r}: there is nothing to tell apart. Name "
            "another column with --tag-column."
        )
    paths = files[0].name if len(files) == 1 else f"{len(files)} files"
    where = f"{paths}, word in column {names[0]}, tag in {names[1]}"
    return TaggedSentences(common_name(sources, files), where, words, tags, splits, files, digest_of(files), *names)


def read_sentences(path: Path, encoding: str, word: str, tag: str) -> tuple[list[list[str]], list[list[str]] | None]:
    """Words and tags of a file to predict for; the tags are None where it has none, and plain text is cut at blanks.

    Args:
        path: the file.
        encoding: of it.
        word: column of the words in training.
        tag: column of the tags in training.
    """
    text = read_whole(path, encoding)
    lines = [line for line in text.split("\n") if line.strip()]
    if path.suffix.lower() == ".conllu" or _looks_tagged(path):
        conllu = path.suffix.lower() == ".conllu"
        _, sentences = _read(path, encoding, word if conllu or word not in CONLLU else None, tag if conllu else None)
        tags = [[of_word for *_, of_word in rows] for rows in sentences]
        return [[form for _, form, _ in rows] for rows in sentences], tags
    return [line.split() for line in lines], None


def _read(
    path: Path, encoding: str, word: str | None, tag: str | None
) -> tuple[tuple[str, str], list[list[tuple[int, str, str]]]]:
    """The names of the two columns, and the sentences: line, word and tag."""
    lines = read_whole(path, encoding).split("\n")
    conllu = path.suffix.lower() == ".conllu" or any(line.count("\t") == 9 for line in lines[:50])
    first = next((line for line in lines if line.strip() and not line.startswith("#")), None)
    if first is None:
        raise DataError(
            f'"{path}" is empty: there is no sentence in it. Give a file with a word and its tag on each line.'
        )
    width = 10 if conllu else len(_cells(first))
    if width < 2:
        raise DataError(
            f'"{path}": the line {first[:60]!r} has one column; there must be a word and a tag on each line, with a '
            "tab or a blank between them, and an empty line after each sentence."
        )
    columns = CONLLU if conllu else tuple(str(number) for number in range(1, width + 1))
    at = _place(word, columns, "FORM" if conllu else "1", path, "--word-column")
    of = _place(tag, columns, "UPOS" if conllu else str(width), path, "--tag-column")
    sentences: list[list[tuple[int, str, str]]] = []
    rows: list[tuple[int, str, str]] = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            if rows:
                sentences.append(rows)
            rows = []
            continue
        if line.startswith("#") and not rows and (conllu or len(_cells(line)) != width):
            continue
        cells = line.rstrip("\r").split("\t") if conllu else _cells(line)
        if len(cells) != width:
            raise DataError(
                f'"{path}", line {number}: {line[:60]!r} has {len(cells)} column{"s" * (len(cells) > 1)}; '
                f"{'CoNLL-U has' if conllu else 'the lines before have'} {width}, with "
                f"{'a tab' if conllu or chr(9) in first else 'a blank'} between them."
            )
        if conllu and not re.fullmatch(r"\d+([-.]\d+)?", cells[0]):
            raise DataError(
                f'"{path}", line {number}: {cells[0][:20]!r} is no word number; a line of CoNLL-U begins with 1, 2 … '
                "within its sentence."
            )
        if not conllu or cells[0].isdigit():
            rows.append((number, cells[at], cells[of]))
    if rows:
        sentences.append(rows)
    return (columns[at], columns[of]), sentences


def _cells(line: str) -> list[str]:
    line = line.rstrip("\r")
    return line.split("\t") if "\t" in line else line.split()


def _place(name: str | None, columns: Sequence[str], usual: str, path: Path, option: str) -> int:
    """The place of a column by its name or number.

    Raises:
        DataError: there is none.
    """
    name = usual if name is None else name
    if name in columns:
        return columns.index(name)
    if name.upper() in columns:
        return columns.index(name.upper())
    if name.isdigit() and 1 <= int(name) <= len(columns):
        return int(name) - 1
    near = difflib.get_close_matches(name.upper(), columns, n=1)
    hint = f"Did you mean {near[0]}?" if near else f"Its columns are {', '.join(columns)}."
    raise DataError(f'"{path}" has no column {name!r} ({option}). {hint}')
