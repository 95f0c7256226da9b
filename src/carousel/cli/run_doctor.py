"""The doctor beside `carousel train`: it watches the run, says at once what it sees, and repairs it if asked to."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import fields, replace
from types import TracebackType
from typing import Any

from ..doctor import Doctor, Finding, Record
from ..doctor.lab import Lab
from ..errors import TrainingError, UsageError
from ..settings import Settings
from ..training import Callback, Restart, Step, Trainer
from ..training.processes import several
from .progress import Progress

__all__ = ["RunDoctor", "watching"]

EVERY = 5.0
"""Seconds between two looks, besides one at each evaluation."""

SHARE = 100
"""A look may take one part in so many of the time until the next."""

LEAST = 120
"""Updates before experiments: with fewer, no rule judges by them."""

BY_TRIALS = ("lr-too-high", "lr-too-low")
"""What trials with other learning rates decide."""

COUNTED = 200
"""Updates at which losses are counted one by one; of a script it is more."""

MOST_RESTARTS = 3


@contextlib.contextmanager
def watching(progress: Progress, *, doctor: bool, fix: bool = False) -> Iterator[list[Callback]]:
    """The callbacks of a run: what shows its progress and, if wanted, the doctor.

    Raises:
        UsageError: a run of several processes can't be restarted.
    """
    if fix and several():
        raise UsageError("--fix restarts the run, which works in a single process only; leave it out with torchrun.")
    if not doctor:
        yield [progress]
        return
    with RunDoctor(progress.on_finding, progress.on_note, fix=fix) as watch:
        yield [progress, watch]


class RunDoctor(Callback):
    """Watches a run; `findings.json` holds what is wrong with it, as of the last look, and in the end as judged.

    A look in the middle of a run can be premature. So a finding counts when two looks in a row agree on it, and is
    taken back when the last judgment does not. One that trials decided counts at once, and stands as long as the run is
    behind them: a schedule that lowers the rate lets a run learn late what it could have learned early. Trials are made
    in the middle only where the loss is no lower than that of whoever knows the frequencies of the tokens and nothing
    else.

    Args:
        show: called with each error or warning, once.
        say: called with sentences.
        fix: restart the run with changed settings, where these repair what was found.
    """

    def __init__(self, show: Callable[[Finding], object], say: Callable[[str], object], *, fix: bool = False):
        self._show, self._say, self._fix = show, say, fix
        self._doctor: Doctor | None = None
        self._restarts = 0

    def __enter__(self) -> RunDoctor:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(error)

    # -- events -------------------------------------------------------------------------------------------------------

    def on_begin(self, trainer: Trainer) -> None:
        """Begin to watch."""
        assert trainer.folder is not None
        self._first, self._began = trainer.step, trainer.seconds
        self._before = [_finding(f) for f in trainer.folder.findings["findings"]] if trainer.step else []
        """Of the part of a run that was stopped and is resumed."""
        self._suspected: set[str] = set()
        self._by_trials: dict[str, Finding] = {}
        self._shown: set[str] = {f.code for f in self._before}
        self._written: set[str] = set(self._shown)
        self._next = time.monotonic() + EVERY
        # a process that shares the work with others, or uses a device, can't be copied for experiments
        alone = trainer.accelerator.device.type == "cpu" and not several()
        self._lab = Lab(share=0.0, seconds=0.0) if alone else None
        if self._lab is not None:
            self._lab.paused = True
        self._doctor = Doctor(probe=alone, lab=self._lab, without=trainer.task.unasked)
        self._doctor.record.prior_suffices, self._doctor.record.counted = True, COUNTED
        self._doctor.__enter__()

    def on_step(self, trainer: Trainer, step: Step) -> None:
        """Look every few seconds."""
        if time.monotonic() >= self._next:
            self._look(trainer)

    def on_evaluation(self, trainer: Trainer, dev_loss: float | None, is_best: bool) -> None:
        """Look; at the last step the judgment follows."""
        if trainer.step < trainer.steps:
            self._look(trainer)

    def on_end(self, trainer: Trainer) -> None:
        """Judge."""
        self._allow_experiments(trainer)
        self._judge(trainer, None)

    def on_error(self, trainer: Trainer, error: BaseException) -> None:
        """Judge what there is, without experiments if a person waits."""
        if isinstance(error, TrainingError):
            self._allow_experiments(trainer)
        self._judge(trainer, error)

    # -- looking and judging ------------------------------------------------------------------------------------------

    def _look(self, trainer: Trainer) -> None:
        if self._doctor is None or self._doctor.judged:
            return
        begun, lab, record = time.monotonic(), self._lab, self._doctor.record
        early = record.steps < LEAST or trainer.step < trainer.schedule.warmup + LEAST // 6
        if lab is not None and lab.paused and not early and not record.has_learned():
            self._allow_experiments(trainer)
            if lab.why_not is None:
                shown = trainer.task.shown
                over = "more than a twentieth of what it was at first"
                alone = f"no lower than the frequencies of the {_plural(shown.guesses)} alone allow"
                self._say(
                    f"The loss is {over if shown.loss_in else alone}; the doctor "
                    f"tries other learning rates on a copy, for {lab.seconds:.0f} s at most."
                )
        found = self._doctor.look()
        agreed = self._in_settings(trainer, [f for f in found if f.code in (*self._suspected, *BY_TRIALS)])
        agreed += self._standing(record, agreed)
        self._suspected = {f.code for f in found}
        self._repair(trainer, agreed)
        self._tell(agreed)
        if {f.code for f in agreed} != self._written:
            self._write(trainer, agreed, record.steps)
        self._next = time.monotonic() + max(EVERY, SHARE * min(1.0, time.monotonic() - begun))

    def _judge(self, trainer: Trainer, error: BaseException | None) -> None:
        doctor = self._doctor
        if doctor is None:
            return
        self._leave(error)
        found = list(doctor.findings)
        if isinstance(error, TrainingError):
            if not any("non-finite" in (f.code, *f.consequences) for f in found):
                where = f"update {trainer.step + 1}"
                found.insert(0, Finding("non-finite", "error", where, error.evidence, "", trainer.step - self._first))
            found = [replace(f, advice=error.advice) if f.code == "non-finite" else f for f in found]
        found = self._in_settings(trainer, found)
        found += self._standing(doctor.record, found)
        if error is None or isinstance(error, TrainingError):
            self._repair(trainer, found)
        self._tell(found)
        self._write(trainer, found, doctor.record.steps, doctor.signals)
        held = {code for f in (*found, *self._before) for code in (f.code, *f.consequences)}
        if self._shown - held:
            self._say(f"By the whole run, the doctor takes back: {', '.join(sorted(self._shown - held))}.")

    def _leave(self, error: BaseException | None) -> None:
        """Watch no more; judge without experiments if a person waits."""
        doctor, self._doctor = self._doctor, None
        if doctor is None:
            return
        if self._lab is not None and error is not None and not isinstance(error, TrainingError):
            self._lab.paused = True
        doctor.__exit__(None, error, None)

    def _allow_experiments(self, trainer: Trainer) -> None:
        """For as long as a few hundred updates take, but no longer than a part of a run that is long."""
        if self._lab is None:
            return
        update = (trainer.seconds - self._began) / max(1, trainer.step - self._first)
        self._lab.paused = False
        self._lab.seconds = 2.0 + min(600 * update, max(20.0, 0.15 * update * trainer.steps))

    # -- findings -----------------------------------------------------------------------------------------------------

    def _change(self, trainer: Trainer, code: str) -> dict[str, Any]:
        """The settings that repair a fault."""
        assert trainer.folder is not None
        repair = trainer.task.repairs.get(code)
        rates = None if self._lab is None else self._lab.found("learning_rates")
        return {} if repair is None else repair(Settings.from_dict(trainer.folder.config), rates.after if rates else {})

    def _in_settings(self, trainer: Trainer, found: list[Finding]) -> list[Finding]:
        """With the advice in options of the command, where they can repair it, and steps counted as the run does."""
        said = []
        for f in found:
            options = " ".join(f"--{n.replace('_', '-')} {_value(v)}" for n, v in self._change(trainer, f.code).items())
            advice = f"Train with {options}; --fix does so by itself." if options else f.advice
            said.append(replace(f, advice=advice, step=f.step + self._first))
        return said

    def _repair(self, trainer: Trainer, found: list[Finding]) -> None:
        """Restart with other settings, if asked to."""
        for f in found if self._fix and self._restarts < MOST_RESTARTS else ():
            change = self._change(trainer, f.code) if f.severity != "note" else {}
            if change:
                self._leave(None)
                self._restarts += 1
                before = Settings.from_dict(trainer.folder.config).to_dict() if trainer.folder is not None else {}
                old = {name: value for group in before.values() for name, value in group.items()}
                new = {f"--{name.replace('_', '-')}": (value, old[name]) for name, value in change.items()}
                what = " and ".join(f"{n} {_value(v)} instead of {_value(before)}" for n, (v, before) in new.items())
                self._say(f"{f.code}: {f.evidence} Training begins anew with {what}.")
                raise Restart(change, {"code": f.code, "step": trainer.step, "evidence": f.evidence})

    def _standing(self, record: Record, found: list[Finding]) -> list[Finding]:
        """What was shown and is not found any more, though the run is behind the trials that decided it."""
        rates = None if self._lab is None else self._lab.found("learning_rates")
        if rates is None or min(rates.after.values(), default=math.inf) >= record.last_loss():
            return []
        codes = {code for f in found for code in (f.code, *f.consequences)}
        return [f for code, f in self._by_trials.items() if code not in codes]

    def _tell(self, found: list[Finding]) -> None:
        """Show what is new."""
        for f in found:
            if f.code in BY_TRIALS:
                self._by_trials[f.code] = f
            if f.severity != "note" and f.code not in self._shown:
                self._show(f)
                self._shown.add(f.code)

    def _write(self, trainer: Trainer, found: list[Finding], steps: int, signals: Any = None) -> None:
        assert trainer.folder is not None
        codes = {f.code for f in found}
        self._written = codes
        kept = [*found, *(f for f in self._before if f.code not in codes)]
        trainer.folder.write_findings([f.to_dict() for f in kept], self._first + steps, signals)


def _value(value: Any) -> str:
    return f"{value:g}" if isinstance(value, int | float) else str(value)


def _plural(noun: str) -> str:
    return f"{noun}es" if noun.endswith("s") else f"{noun}s"


def _finding(of: dict[str, Any]) -> Finding:
    """From `findings.json`."""
    known: dict[str, Any] = {field.name: of[field.name] for field in fields(Finding) if field.name in of}
    known["consequences"] = tuple(of.get("consequences", ()))
    return Finding(**known)
