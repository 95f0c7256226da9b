"""`carousel doctor SCRIPT`."""

from __future__ import annotations

import json as json_format
import sys
import textwrap
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import UsageError
from .parse import parse

__all__ = ["run"]

RUNS_A_SCRIPT = True
"""What the script warns of is shown as Python shows it."""

VALUED = ("--json",)
"""Options that are followed by a value."""


def run(arguments: list[str]) -> int:
    """Run the script under watch; the exit code is the script's."""
    own, rest = _split(arguments)
    return parse("doctor", _doctor, own)(rest)


def _split(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The doctor's own arguments, the script's name the last of them; and what the script gets."""
    at = 0
    while at < len(arguments) and arguments[at].startswith("-"):
        at += 2 if arguments[at] in VALUED else 1
    return arguments[: at + 1], arguments[at + 1 :]


def _doctor(
    script: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="SCRIPT [ARGUMENTS …]")],
    module: Annotated[bool, tyro.conf.arg(aliases=["-m"])] = False,
    json: str | None = None,
) -> Any:
    """Run an ordinary PyTorch training script, watch it, and say what is wrong with it: which fault, where, on what
    evidence, and what to change.

    The script is not edited, and behaves as without the doctor; its exit code is the command's. The findings follow on
    the standard error.

    Args:
        script: The script, with its own arguments behind it; options of the doctor stand before it.
        module: SCRIPT is the name of a module or package, as in python -m.
        json: File for the findings.
    """
    if json is not None and (Path(json).is_dir() or not Path(json).resolve().parent.is_dir()):
        raise UsageError(f"--json {json} can't be written: it is a folder, or its folder is not there.")
    return lambda arguments: _examine(script, arguments, module, json)


def _examine(script: str, arguments: list[str], module: bool, json: str | None) -> int:
    from ..doctor import Doctor, run_script

    doctor = Doctor()
    target = None if json is None else Path(json).resolve()  # the script may change the working directory
    with doctor:
        outcome = run_script(script, arguments, module=module)
        doctor.record.error = outcome.error
    sys.stdout.flush()
    if target is not None:
        part = target.with_name(target.name + ".part")
        part.write_text(json_format.dumps(doctor.to_dict(), indent=1) + "\n", encoding="utf-8")
        part.replace(target)
    print(_report(doctor.findings, doctor.record.steps), file=sys.stderr)
    return outcome.code


def _report(findings: list[Any], steps: int) -> str:
    if not steps and not findings:
        return (
            "\ncarousel doctor: the script made no update with an optimizer of torch.optim; there was nothing to judge."
        )
    if not findings:
        return f"\ncarousel doctor: nothing found in {steps:,} updates."
    lines = [f"\ncarousel doctor: {len(findings)} finding{'s' * (len(findings) > 1)} in {steps:,} updates"]
    for f in findings:
        lines += ["", f"{f.severity}: {f.code}, {f.where}"]
        lines += textwrap.wrap(f.evidence, 100, initial_indent="  ", subsequent_indent="  ")
        lines += textwrap.wrap(f"What to do: {f.advice}", 100, initial_indent="  ", subsequent_indent="  ")
        if f.consequences:
            lines.append(f"  It explains {', '.join(f.consequences)} too.")
    return "\n".join(lines)
