"""Running a user's script as `python SCRIPT` or `python -m MODULE` would, inside this process."""

from __future__ import annotations

import builtins
import contextlib
import importlib.abc
import importlib.machinery
import importlib.util
import itertools
import os
import sys
import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


def run_script(
    target: str, arguments: list[str], *, module: bool = False, on_torch: Callable[[], object] | None = None
) -> Outcome:
    """Run a script as `__main__`, with its own `sys.argv` and `sys.path[0]`; an uncaught error is shown as Python does.

    Args:
        target: a path, or the dotted name of a module or package.
        arguments: what follows it in `sys.argv`.
        module: `target` is a name, as in `python -m`.
        on_torch: called when the script has imported PyTorch, or now if it was imported before.

    Raises:
        UsageError: there is no such script, or it is not Python.
    """
    finder = _TorchFinder(on_torch or (lambda: None))
    if "torch" in sys.modules:
        finder.then()
    else:
        sys.meta_path.insert(0, finder)
    try:
        return _run_module(target, arguments) if module else _run_path(target, arguments)
    finally:
        finder.remove()


def _run_path(target: str, arguments: list[str]) -> Outcome:
    path = Path(target)
    if path.is_dir():
        raise UsageError(f"{target} is a folder; give the script in it that trains, as {path / 'train.py'}.")
    if not path.is_file():
        raise UsageError(f"There is no script {target} in {Path.cwd()}.")
    code = _compiled(path.absolute(), target)
    main = _main(path.absolute())
    with _as_main([target, *arguments], str(path.resolve().parent)):
        return _outcome(code, main)


def _run_module(target: str, arguments: list[str]) -> Outcome:
    absent = UsageError(
        f"There is no module {target} that can be run from {Path.cwd()}; a script is given by its path."
    )
    with _as_main(["-m", *arguments], str(Path.cwd())):
        try:
            spec = importlib.util.find_spec(target)
            if spec is not None and spec.submodule_search_locations is not None:
                spec = importlib.util.find_spec(f"{target}.__main__")
        except SystemExit as stop:
            return _left(stop)
        except BaseException as error:  # the package that the module is in is imported
            if isinstance(error, ValueError) or (isinstance(error, ImportError) and _is_part(error.name, target)):
                raise absent from error
            return _failed(error)
        if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
            raise absent
        path = Path(spec.origin)
        code = _compiled(path, target)
        main = _main(path)
        main.__dict__.update(__package__=spec.parent, __spec__=spec, __loader__=spec.loader, __cached__=spec.cached)
        sys.argv[0] = spec.origin
        return _outcome(code, main)


def _is_part(name: str | None, target: str) -> bool:
    return name is not None and (target == name or target.startswith(f"{name}."))


def _compiled(path: Path, target: str) -> types.CodeType:
    try:
        return compile(path.read_bytes(), str(path), "exec", dont_inherit=True)
    except SyntaxError as error:
        raise UsageError(
            f"{target}, line {error.lineno}: {error.msg}. Python can't read the script; mend it first."
        ) from error
    except ValueError as error:
        raise UsageError(f"{path} is not a Python script ({error}); give one, as train.py.") from error


def _main(path: Path) -> types.ModuleType:
    main = types.ModuleType("__main__")
    loader = importlib.machinery.SourceFileLoader("__main__", str(path))
    main.__dict__.update(
        __file__=str(path), __builtins__=builtins, __cached__=None, __loader__=loader, __annotations__={}
    )
    return main


@contextmanager
def _as_main(argv: list[str], first: str) -> Iterator[None]:
    """While entered, the process looks to the script like its own."""
    before = sys.argv, sys.path[:]
    sys.argv = argv
    sys.path[0:1] = [first]
    try:
        yield
    finally:
        sys.argv, sys.path[:] = before


def _outcome(code: types.CodeType, main: types.ModuleType) -> Outcome:
    sys.modules["__main__"] = main  # and stays, for what runs at exit
    try:
        exec(code, main.__dict__)
    except SystemExit as stop:
        return _left(stop)
    except BaseException as error:
        return _failed(error)
    return Outcome(0)


def _left(stop: SystemExit) -> Outcome:
    """As Python reads the argument of `sys.exit`."""
    if stop.code is None:
        return Outcome(0)
    if isinstance(stop.code, int):
        return Outcome(stop.code & 0xFF)
    _flush()
    print(stop.code, file=sys.stderr)
    return Outcome(1)


def _failed(error: BaseException) -> Outcome:
    """Tell `sys.excepthook` as Python does, without the frames of this file and of the doctor's patches."""
    _flush()
    _hide(error, set())
    try:
        sys.excepthook(type(error), error, error.__traceback__)
    except SystemExit as stop:
        return Outcome(_left(stop).code, error)
    except BaseException as wrong:
        print("Error in sys.excepthook:", file=sys.stderr)
        _hide(wrong, set())
        wrong.__context__ = None
        sys.__excepthook__(type(wrong), wrong, wrong.__traceback__)
        print("\nOriginal exception was:", file=sys.stderr)
        sys.__excepthook__(type(error), error, error.__traceback__)
    return Outcome(130 if isinstance(error, KeyboardInterrupt) else 1, error)


def _flush() -> None:
    with contextlib.suppress(Exception):  # it may be closed, or be a pipe that nobody reads
        sys.stdout.flush()


def _hide(error: BaseException | None, done: set[int]) -> None:
    """Drop our frames from its traceback, and from those of the errors that it came from."""
    if error is None or id(error) in done:
        return
    done.add(id(error))
    traces, trace = [], error.__traceback__
    while trace is not None:
        traces.append(trace)
        trace = trace.tb_next
    files = [trace.tb_frame.f_code.co_filename for trace in traces]
    here = os.fspath(Path(__file__).parent) + os.sep
    ours = {
        i
        for i, trace in enumerate(traces)
        if files[i].startswith(here) or "__carousel__" in trace.tb_frame.f_code.co_varnames
    }
    for i, trace in enumerate(traces):  # of an import, Python hides its own frames too, where they are neighbors
        if i in ours and trace.tb_frame.f_code.co_name == "exec_module":
            for way in (range(i - 1, -1, -1), range(i + 1, len(traces))):
                ours.update(itertools.takewhile(lambda j: files[j].startswith("<frozen importlib"), way))
    for i in [i for i in ours if traces[i].tb_frame.f_code.co_name == "__torch_function__"]:
        ours.update(_detour(traces, i))
    made = None
    for trace in (traces[i] for i in reversed(range(len(traces))) if i not in ours):
        made = types.TracebackType(made, trace.tb_frame, trace.tb_lasti, trace.tb_lineno)
    error.__traceback__ = made
    for other in (error.__cause__, error.__context__, *getattr(error, "exceptions", ())):
        _hide(other, done)


def _detour(traces: list[types.TracebackType], at: int) -> set[int]:
    """The frames by which a function of PyTorch asks a mode, at frame `at`, which then calls it again."""
    way = set()
    while at > 0 and Path(traces[at - 1].tb_frame.f_code.co_filename).match("torch/overrides.py"):
        at -= 1
        way.add(at)
    code = traces[at - 1].tb_frame.f_code if way and at > 0 else None
    return way | ({at - 1} if any(trace.tb_frame.f_code is code for trace in traces[at:]) else set())


class _TorchFinder(importlib.abc.MetaPathFinder):
    """Waits for the first import of PyTorch, and tells when it is done."""

    def __init__(self, then: Callable[[], object]):
        self.then = then
        self.asking = False

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: types.ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name != "torch" or self.asking:
            return None
        self.asking = True
        try:
            spec = importlib.util.find_spec(name)
        finally:
            self.asking = False
        loader: Any = None if spec is None else spec.loader
        if loader is not None:

            def exec_module(module: types.ModuleType) -> None:
                del loader.exec_module
                loader.exec_module(module)
                self.remove()
                self.then()

            with contextlib.suppress(AttributeError):  # a loader of some other kind: then nothing is watched
                loader.exec_module = exec_module
        return spec

    def remove(self) -> None:
        with contextlib.suppress(ValueError):
            sys.meta_path.remove(self)
