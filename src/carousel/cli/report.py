"""`carousel report RUN`."""

from __future__ import annotations

from typing import Annotated

import tyro

from .parse import parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and write the page."""
    parse("report", _report, arguments)


def _report(run: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN")]) -> None:
    """Write a run's report.html anew: one page that needs no network.

    Args:
        run: The run folder.
    """
    from ..trained import load

    print(load(run).report())
