"""Typed functions as command lines."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import tyro

__all__ = ["parse"]

T = TypeVar("T")


def parse(verb: str, function: Callable[..., T], arguments: list[str]) -> T:
    """Call `function` with what the command line says; its docstring is the help."""
    config = (tyro.conf.OmitArgPrefixes, tyro.conf.FlagCreatePairsOff, tyro.conf.OmitSubcommandPrefixes)
    return tyro.cli(function, prog=f"carousel {verb}", args=arguments, config=config)
