"""Typed functions as command lines."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import functools
import io
import re
import sys
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

import tyro

from ..errors import UsageError
from ..settings import Settings

__all__ = ["On", "With", "literal", "parse", "with_literals"]

T = TypeVar("T")

On = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
"""What an option --no-… turns off; that its default is True would read as if it were off."""

With = Annotated[
    tyro.conf.UseAppendAction[tuple[tuple[str, ...], ...]], tyro.conf.arg(name="with", metavar="RUN [RUN ...]")
]
"""Other runs, as `--with A B` or `--with A --with B`."""


def parse(verb: str, function: Callable[..., T], arguments: list[str]) -> T:
    """Call `function` with what the command line says; its docstring is the help.

    Raises:
        UsageError: an option is unknown; the message suggests the nearest.
        SystemExit: tyro has shown the help, or said what is wrong with a value.
    """

    @functools.wraps(function)
    def later(*values: Any, **named: Any) -> Callable[[], T]:
        return functools.partial(function, *values, **named)

    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)
    command = functools.partial(tyro.cli, later, prog=f"carousel {verb}", config=config)
    refusal = io.StringIO()
    try:
        with contextlib.redirect_stderr(refusal):
            call = command(args=arguments)
    except SystemExit as stop:
        if stop.code:
            _suggest(verb, command, arguments)
        sys.stderr.write("".join(line for line in refusal.getvalue().splitlines(keepends=True) if not _is_noise(line)))
        raise
    return call()


def _is_noise(line: str) -> bool:
    """What tyro says of an option that may be left out: that the value is not None."""
    return "Got errors:" in line or "NoneType" in line or line.strip() == "" or line.strip(" \n│|") == ""


def _suggest(verb: str, command: Callable[..., Any], arguments: list[str]) -> None:
    """Raise a UsageError if an option is not one of those that the help names."""
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown), contextlib.suppress(SystemExit):
        command(args=["--help"])
    known = set(re.findall(r"--[a-z][a-z-]*", shown.getvalue()))
    for argument in arguments:
        option = argument.split("=")[0].replace("_", "-")
        if option.startswith("--") and option not in known:
            near = difflib.get_close_matches(option, known, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"`carousel {verb} --help` lists them."
            raise UsageError(f"There is no option {option}. {hint}")


def with_literals(settings: Settings) -> Settings:
    """The settings with the values of cells' and networks' own options as Python's."""
    own = {
        name: {option: literal(value) for option, value in settings.value(name).items()}
        for name in ("cell_options", "network_options")
    }
    return dataclasses.replace(settings, network=dataclasses.replace(settings.network, **own))


def literal(value: object) -> object:
    """`1,5,8` and `true` as Python values; other words as they are."""
    if not isinstance(value, str):
        return value
    try:
        return ast.literal_eval({"true": "True", "false": "False", "none": "None"}.get(value.lower(), value))
    except (ValueError, SyntaxError):
        return value
