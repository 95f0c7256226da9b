"""Work in a forked child: it may do anything to the objects of the script, and nothing of it comes back but its result.

The child has a copy of the whole process. It can write no file, its output goes nowhere, and it ends without running
what the script has registered for its exit.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import select
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

__all__ = ["Trouble", "can_fork", "run_apart"]


@dataclass(frozen=True)
class Trouble:
    """Why there is no result, in words."""

    why: str


def can_fork() -> bool:
    """Whether this process can be copied: the system must know how, and no device may be in use."""
    return hasattr(os, "fork") and not torch.cuda.is_initialized()


def run_apart(work: Callable[[Callable[[], bool]], Any], seconds: float) -> Any:
    """The result of `work(in_time)`, or the `Trouble` that it had.

    Args:
        work: a function; its argument says whether there is time left.
        seconds: how long it may take; after twice that long it is ended.
    """
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forking while there are threads: they stay behind
        child = os.fork()
    if child == 0:
        _work(work, seconds, writing, reading)
    os.close(writing)
    try:
        content = _read(reading, time.monotonic() + 2 * seconds + 1)
    finally:
        os.close(reading)
        with contextlib.suppress(ProcessLookupError, ChildProcessError):  # the script may have waited for it
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    if content is None:
        return Trouble(f"it took more than {2 * seconds + 1:.0f} s")
    return pickle.loads(content) if content else Trouble("the copy of the process died")


def _work(work: Callable[[Callable[[], bool]], Any], seconds: float, writing: int, reading: int) -> None:
    """In the child; does not return."""
    try:
        os.close(reading)
        _hush()
        end = time.monotonic() + seconds
        parent = os.getppid()
        try:
            result = work(lambda: time.monotonic() < end and os.getppid() == parent)
        except Exception:
            result = Trouble(traceback.format_exc())
        with os.fdopen(writing, "wb") as pipe:
            pipe.write(pickle.dumps(result))
    finally:
        os._exit(0)


def _hush() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in range(3):
        os.dup2(nowhere, stream)
    sys.stdout = sys.stderr = os.fdopen(os.dup(nowhere), "w")  # they may have gone elsewhere
    import resource

    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))
    warnings.simplefilter("ignore")  # the script may have made errors of them
    os.nice(5)
    torch.set_num_threads(1)  # the threads of the parent are not here
    torch.manual_seed(0)


def _read(pipe: int, until: float) -> bytes | None:
    """All that comes, None if it does not end in time."""
    parts = []
    while True:
        ready, _, _ = select.select([pipe], [], [], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        part = os.read(pipe, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)
