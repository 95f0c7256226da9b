"""`carousel resume RUN`."""

from __future__ import annotations

from typing import Annotated

import tyro

from .parse import On, parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and continue."""
    parse("resume", _resume, arguments)


def _resume(
    run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")],
    cell: str | None = None,
    data: str | None = None,
    doctor: On = True,
) -> None:
    """Continue a run that was stopped or killed; it ends with the weights it would have had without.

    Args:
        run: The run folder.
        cell: FILE.py:Class again, if the run has your own cell: stored code is never executed.
        data: Where the data are now, if they were moved.
        doctor: Nobody watches the run and says what is wrong with it.
    """
    from ..api import resume
    from ..trained import load
    from .progress import Progress
    from .run_doctor import watching

    status = load(run).status
    if status.get("status") == "finished":
        command, about = load(run).next_commands()[0]
        print(f"{run} is finished: all {status['steps']:,} steps are done. To {about}: `{command}`.")
        return
    with Progress() as progress, watching(progress, doctor=doctor) as callbacks:
        finished = resume(run, cell=cell, data=data, callbacks=callbacks)
    progress.close(finished)
