"""`carousel doctor SCRIPT`."""

from __future__ import annotations

import contextlib
import json as json_format
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from ..errors import RunFolderError, UsageError
from .parse import On, parse

if TYPE_CHECKING:
    from ..doctor import Doctor, Finding

__all__ = ["run"]

RUNS_A_SCRIPT = True
"""What the script warns of is shown as Python shows it, and what stands behind its name is its own."""

VALUED = ("--json", "--report", "--steps", "--seconds")
"""Options that are followed by a value."""


def run(arguments: list[str]) -> int:
    """Run the script under watch; the exit code is the script's."""
    own, rest = _split(arguments)
    return parse("doctor", _doctor, [a for a in own if a != "--debug"])(rest)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The doctor's own arguments, the script's name the last of them; and what the script gets."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in VALUED else 1
    return arguments[: at + 1], arguments[at + 1 :]


def _doctor(
    script: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCRIPT [ARGUMENTS …]")],
    module: Annotated[bool, tyro.conf.arg(aliases=["-m"])] = False,
    steps: int | None = None,
    seconds: float | None = None,
    stop: bool = False,
    probe: On = True,
    json: str | None = None,
    report: str | None = None,
) -> Any:
    """Run an ordinary PyTorch training script, watch it, and say what is wrong with it: which fault, where, on what
    evidence, and what to change.

    The script is not edited, and behaves as without the doctor; its exit code is the command's. The findings follow on
    the standard error. Watched are the updates of torch.optim in this process and its main thread; a script that ends
    itself by os._exit() or os.exec…() takes the doctor with it.

    Args:
        script: The script, with its own arguments behind it; options of the doctor stand before it.
        module: SCRIPT is the name of a module or package, as in python -m.
        steps: Judge after so many updates; the script runs on, unwatched.
        seconds: The same, so many seconds after the first update.
        stop: End the script then, as sys.exit() would.
        probe: No experiments with copies of the network, which take at most a third of the time of the run.
        json: File for the findings.
        report: File for an HTML page of the findings and of the pictures that show them.
    """
    for option, name in (("--json", json), ("--report", report)):
        if name is not None and (Path(name).is_dir() or not Path(name).resolve().parent.is_dir()):
            raise UsageError(f"{option} {name} can't be written: it is a folder, or its folder is not there.")
    if json is not None and report is not None and Path(json).resolve() == Path(report).resolve():
        raise UsageError(f"--json and --report both name {json}: give each its own file.")
    if steps is not None and steps < 1:
        raise UsageError(f"--steps {steps}: the updates to watch are 1 or more.")
    if seconds is not None and not 0 < seconds < float("inf"):
        raise UsageError(f"--seconds {seconds:g}: the time to watch is more than 0.")
    if stop and steps is None and seconds is None:
        raise UsageError("--stop needs to know when: give --steps N or --seconds S too.")
    options = {"probe": probe, "steps": steps, "seconds": seconds, "stop": stop}
    return lambda arguments: _Examination(script, arguments, module, json, report, options).run()


class _Examination:
    """One run of a script. The doctor comes when the script has imported PyTorch."""

    def __init__(
        self,
        script: str,
        arguments: list[str],
        module: bool,
        json: str | None,
        report: str | None,
        options: dict[str, Any],
    ) -> None:
        self.script, self.arguments, self.module, self.options = script, arguments, module, options
        self.json = None if json is None else Path(json).resolve()  # the script may change the working directory
        self.report = None if report is None else Path(report).resolve()
        self.file, self.process = sys.stderr, os.getpid()  # the script may put another in its place, and may fork
        self.doctor: Doctor | None = None
        self.findings: list[Finding] = []  # those that are not of the training
        self.trouble: Exception | None = None
        self.over = False

    def run(self) -> int:
        from ..doctor.environment import explain
        from ..doctor.script import run_script

        outcome = run_script(self.script, self.arguments, module=self.module, on_torch=self._begin)
        if os.getpid() != self.process:  # a child that the script has forked, at its end
            return outcome.code
        self.over = True
        with contextlib.suppress(Exception):  # the script may have closed it
            sys.stdout.flush()
        wrong = explain(outcome.error)
        self.findings += [wrong] if wrong is not None else []
        doctor = self.doctor
        if doctor is None:
            self._report()
        else:
            early = doctor.judged
            doctor.__exit__(None, outcome.error, None)
            if wrong is not None and early:
                self._say([wrong], "the script could not go on.", self._write())
            if doctor.unstoppable:
                self._say([], "the script caught what was to end it, as a bare `except:` does; it ran on.", [])
        return outcome.code

    def _begin(self) -> None:
        """The script has imported PyTorch."""
        if os.getpid() != self.process:
            return
        try:
            from ..doctor import Doctor

            self.doctor = Doctor(**self.options, then=lambda _: self._report()).__enter__()
        except Exception as error:  # our fault, and no reason to end the script
            self.trouble = error

    def _report(self) -> None:
        """Called once: when the doctor has judged, or at the end of a script without any."""
        from ..doctor.shown import headline

        doctor = self.doctor
        findings, steps = self._result()["findings"], self._result()["steps"]
        notes = self._write()
        elsewhere = 0 if doctor is None else doctor.elsewhere
        if steps and elsewhere:
            notes.append(f"{elsewhere:,} more updates were made in other threads; only one thread is watched.")
        if not self.over:
            notes.append(
                "The script is ended here, as --stop asks."
                if self.options["stop"]
                else "The script runs on, unwatched."
            )
        said = headline(findings, steps) if steps or findings else self._nothing(elsewhere)
        self._say(findings, said, notes)

    def _nothing(self, elsewhere: int) -> str:
        """Why there was nothing to judge."""
        if self.trouble is not None:
            return f"it could not begin to watch ({type(self.trouble).__name__}: {self.trouble})."
        if self.doctor is None:
            return "the script never imported PyTorch; there was nothing to watch."
        if elsewhere:
            return (
                f"the script made {elsewhere:,} updates in other threads than its main one; only the main thread is "
                "watched, so there was nothing to judge."
            )
        where = " in this process" if "multiprocessing" in sys.modules else ""
        return f"the script made no update with an optimizer of torch.optim{where}; there was nothing to judge."

    def _result(self) -> dict[str, Any]:
        """With findings as objects."""
        if self.doctor is None:
            return {"findings": self.findings, "steps": 0}
        return self.doctor.to_dict() | {"findings": self.findings + self.doctor.findings}

    def _write(self) -> list[str]:
        """The files; what is to be said about that."""
        if self.json is None and self.report is None:
            return []
        result = self._result()
        result |= {"findings": [f.to_dict() for f in result["findings"]]}
        return [*self._write_json(result), *self._write_report(result)]

    def _write_json(self, result: dict[str, Any]) -> list[str]:
        if self.json is None:
            return []
        part = self.json.with_name(self.json.name + ".part")
        try:
            part.write_text(json_format.dumps(result, indent=1) + "\n", encoding="utf-8")
            part.replace(self.json)
        except OSError as error:
            return [f"{self.json} could not be written: {error.strerror}."]
        return []

    def _write_report(self, result: dict[str, Any]) -> list[str]:
        if self.report is None:
            return []
        try:
            from ..report import write_doctor_report

            write_doctor_report(result, self.report, self.script if self.module else Path(self.script).name)
        except RunFolderError as error:
            return [str(error)]
        except Exception as error:  # our fault, and no reason to end the script
            return [f"The report could not be written ({type(error).__name__}: {error})."]
        return [f"The report is in {self.report}"]

    def _say(self, findings: list[Finding], said: str, notes: list[str]) -> None:
        from ..doctor.shown import write

        with contextlib.suppress(OSError, ValueError):  # nobody reads it, or the script has closed it
            write(findings, said, notes, self.file)
            self.file.flush()
