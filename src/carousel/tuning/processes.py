"""Several processes at one study: who is alive, who may choose the next trial, and how they are started and stopped."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from ..errors import TrainingError
from ..training import Interrupted

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None

__all__ = ["Locks", "in_processes"]

POLL = 0.5


class Locks:
    """Files that a process holds while it lives: the system lets go of them, however it ends.

    Args:
        path: the study's folder.
    """

    def __init__(self, path: Path):
        self.path = path / ".workers"

    @contextlib.contextmanager
    def study(self) -> Iterator[None]:
        """One process at a time."""
        with self._held("study"):
            yield

    @contextlib.contextmanager
    def worker(self) -> Iterator[str]:
        """This process works under the name it gets."""
        name = uuid.uuid4().hex[:12]
        try:
            with self._held(name):
                yield name
        finally:
            (self.path / name).unlink(missing_ok=True)

    def is_alive(self, name: str) -> bool:
        """Whether the process with this name still works."""
        if fcntl is None:
            return True
        try:
            with (self.path / name).open("r+") as file:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except FileNotFoundError:
            return False
        except OSError:
            return True
        (self.path / name).unlink(missing_ok=True)
        return False

    @contextlib.contextmanager
    def _held(self, name: str) -> Iterator[None]:
        self.path.mkdir(parents=True, exist_ok=True)
        with (self.path / name).open("w") as file:
            if fcntl is not None:
                fcntl.flock(file, fcntl.LOCK_EX)
            yield


def in_processes(
    path: Path, count: int, trials: int, deadline: float | None, threads: int | None, tell: Callable[[], None]
) -> None:
    """Start so many, each `python -m carousel.tuning FOLDER`, and wait; `tell` is called meanwhile.

    Raises:
        TrainingError: one ended with an error.
        Interrupted: Ctrl-C; it is handed on to all of them.
    """
    threads = threads or max(1, (os.cpu_count() or 1) // count)
    words = [sys.executable, "-m", "carousel.tuning", str(path), str(trials), repr(deadline), str(threads)]
    # sessions of their own: Ctrl-C reaches them through us, once
    own = [subprocess.Popen(words, stderr=subprocess.PIPE, text=True, start_new_session=True) for _ in range(count)]
    try:
        while any(process.poll() is None for process in own):
            time.sleep(POLL)
            tell()
    except BaseException as stop:
        for process in own:
            if process.poll() is None:
                process.send_signal(signal.SIGINT)
        for process in own:
            process.communicate()
        if isinstance(stop, KeyboardInterrupt):
            raise Interrupted(f"Stopped; finished trials are kept in {path}, and the same command goes on.") from None
        raise
    tell()
    said = [process.communicate()[1].strip().splitlines() for process in own]
    wrong = [lines for process, lines in zip(own, said, strict=True) if process.returncode]
    if wrong:
        raise TrainingError(
            f"{len(wrong)} of {count} processes ended with an error: {(wrong[0] or ['killed'])[-1]}",
            "The trials so far are kept; the same command goes on.",
        )
