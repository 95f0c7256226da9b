"""The doctor as a whole: what it watches by, when it judges, and what it says."""

from __future__ import annotations

import math
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Collection
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from ..errors import UsageError
from .findings import Finding
from .lab import Lab
from .record import Record
from .rules import AHEAD, diagnose
from .signals import signals
from .watch import Watch

__all__ = ["Doctor", "Stopped"]

TRIES = 10
"""How often a script is told to end, if it catches what tells it."""


class Stopped(SystemExit):
    """Ends a script that was watched for long enough, as `sys.exit()` would."""


class Doctor:
    """Watches the training that goes on while it is entered, and says what is wrong with it.

    An error in the doctor itself becomes a finding ("doctor-failed") and never reaches the training.

    Args:
        probe: make small experiments with copies of the network where what was seen cannot decide.
        steps: judge after so many updates, and leave the rest unwatched.
        seconds: the same, so long after the first update.
        stop: end the script then, by a `SystemExit` from the optimizer's step.
        then: called with the doctor when it has judged.
        lab: for the experiments, if it is to be another than by default.
        without: codes of faults that are not asked for.

    Example:
        >>> import torch
        >>> net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.Softmax(dim=1))
        >>> rule = torch.optim.SGD(net.parameters(), lr=0.1)
        >>> with Doctor() as doctor:
        ...     for _ in range(20):
        ...         rule.zero_grad()
        ...         loss = torch.nn.functional.cross_entropy(net(torch.randn(8, 4)), torch.randint(3, (8,)))
        ...         loss.backward()
        ...         rule.step()
        >>> [finding.code for finding in doctor.findings]
        ['double-softmax']

    Attributes:
        record: what was gathered.
        findings: what is wrong, the worst first; made when the watch ends.
        signals: what was seen, as plain data.
        judged: they are made.
        elsewhere: updates in other threads, which are not watched.
        unstoppable: the script has caught what was to end it, again and again.
    """

    def __init__(
        self,
        *,
        probe: bool = True,
        steps: int | None = None,
        seconds: float | None = None,
        stop: bool = False,
        then: Callable[[Doctor], object] | None = None,
        lab: Lab | None = None,
        without: Collection[str] = (),
    ) -> None:
        if steps is not None and steps < 1:
            raise UsageError(f"The updates to watch must be 1 or more; they were given as {steps}.")
        if seconds is not None and not 0 < seconds < math.inf:
            raise UsageError(f"The seconds to watch must be more than 0; they were given as {seconds:g}.")
        if stop and steps is None and seconds is None:
            raise UsageError("To stop the script, say when: after how many updates (steps) or seconds.")
        lab = (lab or Lab(AHEAD)) if probe else None
        self.record = Record(lab=lab)
        self.findings: list[Finding] = []
        self.signals: dict[str, Any] = {}
        self.judged, self.elsewhere, self.unstoppable = False, 0, False
        self._steps, self._seconds, self._stop, self._then = steps, seconds, stop, then
        self._stops, self._without = 0, without
        self._first: float | None = None
        listeners = [self.record, *([] if lab is None else [lab])]
        self._watch = Watch(*listeners, self._clock(), failed=self._fail)

    def __enter__(self) -> Doctor:
        self._home = os.getpid(), threading.get_ident()
        self._counter = register_optimizer_step_post_hook(self._count_elsewhere)
        self._watch.__enter__()
        return self

    def __exit__(self, _: object, error: BaseException | None, trace: object) -> None:
        self._leave()
        if not self.judged:
            self.record.error = self.record.error or error
            self._judge()

    def look(self) -> list[Finding]:
        """What is wrong so far; the watch goes on."""
        if self.judged:
            return self.findings
        try:
            return diagnose(self.record, self._without)
        except Exception:  # ours; it comes again, and is told, at the end
            return []

    def to_dict(self) -> dict[str, Any]:
        """For JSON: the findings, how many updates were watched, and what was seen (`signals.signals`)."""
        return {"findings": [f.to_dict() for f in self.findings], "steps": self.record.steps, "signals": self.signals}

    def _leave(self) -> None:
        self._watch.__exit__()
        self._counter.remove()

    def _judge(self) -> None:
        self.judged = True
        for listener in (self.record, self.record.lab):
            self._watch.forget(listener)
        try:
            if self.record.lab is not None:
                self.record.lab.close()
            self.findings = diagnose(self.record, self._without) + self.findings
            self.signals = signals(self.record)
        except Exception as error:
            self.findings.append(_failed(error, self.record.steps))
        finally:
            if self.record.lab is not None:
                self.record.lab.end()
        if self._then is not None:
            self._then(self)

    def _fail(self, error: Exception) -> None:
        """The watch ends where one of its events fails."""
        self.findings.append(_failed(error, self.record.steps))
        if not self.judged:
            self._judge()

    def _clock(self) -> SimpleNamespace:
        """The listener that ends the watch.

        Hooks of an optimizer can't be removed while PyTorch goes through them, so that it judges behind an update and
        leaves at the next event that is not an optimizer's.
        """

        def after_step(_: torch.optim.Optimizer) -> None:
            now = time.monotonic()
            self._first = now if self._first is None else self._first
            enough = self._steps is not None and self.record.steps >= self._steps
            if not self.judged and (enough or (self._seconds is not None and now - self._first >= self._seconds)):
                self._judge()
            self._tell_to_stop()

        def otherwise(*_: Any) -> None:
            self._tell_to_stop()
            if self.judged and (not self._stop or self.unstoppable):
                self._leave()

        return SimpleNamespace(after_step=after_step, **dict.fromkeys(("zero_grad", "before_backward"), otherwise))

    def _tell_to_stop(self) -> None:
        """Again if the script has caught it, as a bare `except:` does; but not while it cleans up."""
        if not self._stop or not self.judged or self.unstoppable:
            return
        error = sys.exc_info()[1]
        while error is not None:
            if isinstance(error, Stopped):
                return
            error = error.__context__
        self._stops += 1
        self.unstoppable = self._stops > TRIES
        if not self.unstoppable:
            raise Stopped(0)

    def _count_elsewhere(self, *_: Any) -> None:
        process, thread = self._home
        self.elsewhere += os.getpid() == process and threading.get_ident() != thread


def _failed(error: Exception, step: int) -> Finding:
    """A fault of ours."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return Finding(
        "doctor-failed",
        "note",
        "the doctor itself",
        f"{type(error).__name__}: {error} ({Path(frame.filename).name}, line {frame.lineno}). The watch ended there.",
        "Please report it, with what the script does at that place.",
        step=step,
    )
