"""Running a user's script as `python SCRIPT` or `python -m MODULE` would, inside this process."""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
import types
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError

__all__ = ["Outcome", "run_script"]


@dataclass(frozen=True)
class Outcome:
    """How a script ended.

    Attributes:
        code: the exit code that Python would have given.
        error: what it raised and did not catch, if not `SystemExit`.
    """

    code: int
    error: BaseException | None = None


def run_script(target: str, arguments: list[str], *, module: bool = False) -> Outcome:
    """Run a script as `__main__`, with its own `sys.argv` and `sys.path[0]`; an uncaught error is shown as Python does.

    Args:
        target: a path, or the dotted name of a module or package.
        arguments: what follows it in `sys.argv`.
        module: `target` is a name, as in `python -m`.

    Raises:
        UsageError: there is no such script, or it is not Python.
    """
    path, package, first = _found(target, module)
    try:
        code = compile(path.read_bytes(), str(path), "exec")
    except SyntaxError as error:
        raise UsageError(
            f"{target}, line {error.lineno}: {error.msg}. Python can't read the script; mend it first."
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is not a Python script ({error}); give one, as train.py.") from error
    main = types.ModuleType("__main__")
    main.__dict__.update(__file__=str(path), __builtins__=__builtins__, __package__=package, __cached__=None)
    if module:
        main.__spec__ = importlib.util.spec_from_file_location(target, path)
    with _as_main(main, [str(path) if module else target, *arguments], first):
        return _outcome(code, main)


def _found(target: str, module: bool) -> tuple[Path, str | None, str]:
    """The file, its package, and what Python would put first on the path."""
    if not module:
        path = Path(target)
        if path.is_dir():
            raise UsageError(f"{target} is a folder; give the script in it that trains, as {path / 'train.py'}.")
        if not path.is_file():
            raise UsageError(f"There is no script {target} in {Path.cwd()}.")
        return path.absolute(), None, str(path.resolve().parent)
    sys.path.insert(0, str(Path.cwd()))
    try:
        spec = importlib.util.find_spec(target)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(f"{target}.__main__")
    except (ImportError, ValueError):
        spec = None
    finally:
        del sys.path[0]
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        raise UsageError(
            f"There is no module {target} that can be run from {Path.cwd()}; a script is given by its path."
        )
    return Path(spec.origin), spec.name.rpartition(".")[0], str(Path.cwd())


@contextmanager
def _as_main(main: types.ModuleType, argv: list[str], first: str) -> Iterator[None]:
    """While entered, the process looks to the script like its own. `__main__` stays, for what runs at exit."""
    before = sys.argv, sys.path[:]
    sys.modules["__main__"] = main
    sys.argv = argv
    sys.path[0:1] = [first]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before


def _outcome(code: types.CodeType, main: types.ModuleType) -> Outcome:
    try:
        exec(code, main.__dict__)
    except SystemExit as stop:
        if stop.code is None:
            return Outcome(0)
        if isinstance(stop.code, int):
            return Outcome(stop.code & 0xFF)
        print(stop.code, file=sys.stderr)
        return Outcome(1)
    except KeyboardInterrupt as stop:
        _show(stop)
        return Outcome(130, stop)
    except BaseException as error:
        _show(error)
        return Outcome(1, error)
    return Outcome(0)


def _show(error: BaseException) -> None:
    """The traceback, without the frames of this file and of the doctor's patches."""
    sys.stdout.flush()
    trace = traceback.TracebackException.from_exception(error)
    here = os.fspath(Path(__file__).parent)
    shown: traceback.TracebackException | None = trace
    while shown is not None:
        shown.stack = traceback.StackSummary.from_list([f for f in shown.stack if not f.filename.startswith(here)])
        shown = shown.__cause__ or shown.__context__
    print("".join(trace.format()), end="", file=sys.stderr)
