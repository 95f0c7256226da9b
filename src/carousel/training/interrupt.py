"""Ctrl-C and SIGTERM between two steps instead of in the middle of one."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator

__all__ = ["Interrupted", "interruptible"]


class Interrupted(KeyboardInterrupt):
    """Training was stopped by the user, after a checkpoint was written."""


class _Interruption:
    asked = False


@contextlib.contextmanager
def interruptible() -> Iterator[_Interruption]:
    """Within the block the first signal only sets `asked`; a second one acts at once, as it would without us."""
    interruption = _Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return
    before = {}

    def ask(number: int, frame: object) -> None:
        interruption.asked = True
        restore()

    def restore() -> None:
        for number, handler in before.items():
            signal.signal(number, handler)

    for number in (signal.SIGINT, signal.SIGTERM):
        before[number] = signal.signal(number, ask)
    try:
        yield interruption
    finally:
        restore()
