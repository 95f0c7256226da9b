"""Which line of the user's own files is at work."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import torch

__all__ = ["line"]

OTHERS = (os.fspath(Path(torch.__file__).parent), os.fspath(Path(__file__).parent.parent), "<frozen")
"""What a file of PyTorch, of ours, or of Python's import system begins with."""


def line() -> str | None:
    """The innermost line that is neither PyTorch's nor ours, as "train.py, line 12"; None if there is none."""
    frame = sys._getframe(1)
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith(OTHERS):
            return f"{Path(name).name}, line {frame.f_lineno}"
        frame = frame.f_back
    return None
