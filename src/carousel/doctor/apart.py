"""Work in a forked copy of the process: it may do anything to the objects of the script, and only results come back.

The copy can write no file, its output goes nowhere, and it ends without running what the script has registered for its
exit. It is no child of the script's process: a script that waits for its own children does not meet it.
"""

from __future__ import annotations

import contextlib
import io
import math
import os
import pickle
import select
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

__all__ = ["Apart", "Trouble", "can_fork", "run_apart"]

Work = Callable[[Callable[[], bool]], Any]
"""A function; its argument says whether there is time left."""


@dataclass(frozen=True)
class Trouble:
    """Why there is no result, in words."""

    why: str


def can_fork() -> bool:
    """Whether this process can be copied: the system must know how, and no device may be in use."""
    return hasattr(os, "fork") and not torch.cuda.is_initialized()


def run_apart(work: Work, seconds: float) -> Any:
    """The result of `work(in_time)`, or the `Trouble` that it had.

    Args:
        work: what to do.
        seconds: processor time that it may take.
    """
    with Apart({"": work}, seconds) as one:
        return one.result("", 2 * seconds + 1)


class Apart:
    """A copy of the process that does one piece of work after the other, and sends each result as soon as it is there.

    Args:
        works: what to do, by name, in this order.
        seconds: processor time that all of it may take.

    Attributes:
        spent: processor seconds of the copy that were waited for.
    """

    def __init__(self, works: Mapping[str, Work], seconds: float):
        self.spent = 0.0
        self._done: dict[str, Any] = {}
        self._rest = b""
        self._reading, writing = os.pipe()
        parent = os.getpid()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of forking while there are threads: they stay behind
            between = os.fork()
        if between == 0:
            try:
                if os.fork() == 0:
                    os.close(self._reading)
                    _work(works, seconds, writing, parent)
            finally:
                os._exit(0)
        os.close(writing)
        with contextlib.suppress(ChildProcessError):  # a handler of the script may have waited for it
            os.waitpid(between, 0)

    def __enter__(self) -> Apart:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def result(self, name: str, seconds: float) -> Any:
        """What came of a piece of work, or the `Trouble` that it had.

        Args:
            name: which.
            seconds: to wait for it; on a busy machine up to `BUSY` times as long, until the copy has had that much of a
                processor.
        """
        began, had = time.monotonic(), self._processor_time()
        try:
            while name not in self._done:
                if select.select([self._reading], [], [], 0.05)[0]:
                    part = os.read(self._reading, 1 << 16)
                    if not part:
                        return Trouble("the copy of the process died")
                    self._take(part)
                elif self._waited(began, had) > seconds or time.monotonic() - began > BUSY * seconds + 1:
                    return Trouble(f"it took more than {seconds:.1f} s")
            return self._done[name]
        finally:
            self.spent += self._waited(began, had)

    def _waited(self, began: float, had: float) -> float:
        """Seconds of a processor since then; where the system does not tell, seconds."""
        now = self._processor_time()
        return time.monotonic() - began if math.isinf(now) or math.isinf(had) else now - had

    def _processor_time(self) -> float:
        """Seconds that the copy has had; infinite where the system does not tell."""
        try:
            fields = Path(f"/proc/{self._done['pid']}/stat").read_text().rpartition(")")[2].split()
            return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        except (OSError, KeyError, ValueError, IndexError):
            return math.inf

    def close(self) -> None:
        """End it."""
        number = self.result("pid", 1.0)
        if not isinstance(number, Trouble) and not self._is_gone():
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        os.close(self._reading)

    def _is_gone(self) -> bool:
        """It stays until it is ended, so that its number is no other process's."""
        while select.select([self._reading], [], [], 0)[0]:
            if not os.read(self._reading, 1 << 16):
                return True
        return False

    def _take(self, part: bytes) -> None:
        self._rest += part
        while len(self._rest) >= SIZE.size and len(self._rest) >= SIZE.size + (n := SIZE.unpack_from(self._rest)[0]):
            name, result = pickle.loads(self._rest[SIZE.size : SIZE.size + n])
            self._rest = self._rest[SIZE.size + n :]
            self._done[name] = result


BUSY = 8.0
"""On a busy machine a result is waited for so many times as long."""

NICE = 5
"""How far the copy stands back for others."""

SIZE = struct.Struct("<q")
"""Before each message: its length."""


def _work(works: Mapping[str, Work], seconds: float, writing: int, parent: int) -> None:
    """In the copy; does not return."""
    pipe = os.fdopen(writing, "wb", buffering=0)
    _send(pipe, "pid", os.getpid())
    _hush()
    end = time.process_time() + seconds
    for name, work in works.items():
        try:
            result = work(lambda: time.process_time() < end and _is_there(parent))
        except Exception:
            result = Trouble(traceback.format_exc())
        _send(pipe, name, result)
    while _is_there(parent):
        time.sleep(0.2)
    os._exit(0)


def _send(pipe: io.FileIO, name: str, result: Any) -> None:
    content = pickle.dumps((name, result))
    message = memoryview(SIZE.pack(len(content)) + content)
    while message:
        message = message[pipe.write(message) :]


def _is_there(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


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
    os.nice(NICE)
    torch.set_num_threads(1)  # the threads of the parent are not here
    torch.set_grad_enabled(True)
    torch.manual_seed(0)
