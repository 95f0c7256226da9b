"""A cell by what the user wrote: a registered name, or FILE.py:Class."""

from __future__ import annotations

import difflib
import hashlib
import importlib.util
import inspect
import sys
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from ..errors import CellError, UsageError
from .base import Cell
from .registry import REGISTRY, find

__all__ = ["CellSource", "blame", "load_cell"]


@dataclass(frozen=True)
class CellSource:
    """A cell class, the options that its name stands for, and for a user's own cell the text it came from."""

    name: str
    cell_class: type[Cell]
    options: dict[str, Any]
    path: Path | None = None
    text: str | None = None
    is_own: bool = False
    """Not one of the registry's."""

    @property
    def short_name(self) -> str:
        """For folder names."""
        return self.cell_class.__name__.lower() if self.is_own else self.name

    @property
    def digest(self) -> str | None:
        """SHA-256 of the source file, for the record in the run folder."""
        return None if self.text is None else hashlib.sha256(self.text.encode()).hexdigest()


def load_cell(spec: str | type[Cell]) -> CellSource:
    """The cell for a registered name, for FILE.py:Class, or for a class as it is.

    Raises:
        UsageError: no such name, file or class.
        CellError: the file does not import, or the class is not a `carousel.Cell`.
    """
    if isinstance(spec, type):
        if not issubclass(spec, Cell):
            raise CellError(f"{spec.__name__} is not a subclass of carousel.Cell.")
        return _from_class(spec)
    path_text, colon, class_name = spec.rpartition(":")
    if not colon or not path_text.endswith(".py"):
        if spec.endswith(".py"):
            raise UsageError(f"The cell {spec} names a file but no class; write it as {spec}:ClassName.")
        entry = find(spec)
        return CellSource(spec, entry.cell_class, dict(entry.options))
    path = Path(path_text).expanduser()
    if not path.is_file():
        raise UsageError(f"The cell {spec}: there is no file {path}.")
    module = _import(path)
    cell_class = getattr(module, class_name, None)
    if cell_class is None:
        classes = [n for n, v in vars(module).items() if isinstance(v, type) and v.__module__ == module.__name__]
        near = difflib.get_close_matches(class_name, classes, n=1)
        hint = f"Did you mean {near[0]}?" if near else f"It has {', '.join(classes) or 'no class'}."
        raise UsageError(f"The cell {spec}: {path} has no class {class_name}. {hint}")
    if not isinstance(cell_class, type) or not issubclass(cell_class, Cell):
        raise CellError(f"The cell {spec}: {class_name} is not a subclass of carousel.Cell; derive it from that.")
    return CellSource(spec, cell_class, {}, path, path.read_text(encoding="utf-8"), is_own=True)


def _from_class(cell_class: type[Cell]) -> CellSource:
    for name, entry in REGISTRY.items():
        if entry.cell_class is cell_class and not entry.options:
            return CellSource(name, cell_class, {})
    try:
        text = inspect.getsource(cell_class)
    except (OSError, TypeError):  # defined where no file is, as at the prompt
        text = None
    return CellSource(f"{cell_class.__module__}:{cell_class.__qualname__}", cell_class, {}, None, text, is_own=True)


def _import(path: Path) -> ModuleType:
    name = f"carousel_cell_{path.stem}_{hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # so that the class pickles and its source is found
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[name]
        raise CellError(f"{blame(path, error)}. The file does not import; mend it and try again.") from error
    return module


def blame(path: Path, error: BaseException) -> str:
    """`FILE, line N: KIND: message`: the last line of the user's file that an error came through."""
    line, trace = error.lineno if isinstance(error, SyntaxError) else None, error.__traceback__
    while trace is not None:
        if Path(trace.tb_frame.f_code.co_filename).resolve() == path.resolve():
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"{path}{f', line {line}' if line else ''}: {type(error).__name__}: {error}"
