"""Files that commands write their answers to."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..errors import UsageError

__all__ = ["check_outputs", "write_csv", "write_json"]


def check_outputs(**paths: str | None) -> None:
    """Before anything is computed: whether there can be such files, by their options.

    Raises:
        UsageError: one is a folder, or in a folder that is not there.
    """
    for option, path in paths.items():
        if path is not None and Path(path).is_dir():
            raise UsageError(f"--{option} {path} is a folder; give the name of a file.")
        if path is not None and not Path(path).absolute().parent.is_dir():
            raise UsageError(f"--{option} {path}: there is no folder {Path(path).absolute().parent}; make it first.")


def write_csv(rows: Sequence[dict[str, Any]], path: str) -> None:
    """A table with the columns of all rows.

    Raises:
        UsageError: it can't be written.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    try:
        with Path(path).open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, columns)
            writer.writeheader()
            writer.writerows(rows)
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}. Choose another --out.") from error


def write_json(document: Any, path: str) -> None:
    """Plain data.

    Raises:
        UsageError: it can't be written.
    """
    try:
        Path(path).write_text(json.dumps(document, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path} can't be written: {error.strerror or error}. Choose another --json.") from error
