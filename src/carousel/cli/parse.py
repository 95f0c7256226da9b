"""Typed functions as command lines."""

from __future__ import annotations

import ast
import contextlib
import dataclasses
import difflib
import functools
import inspect
import io
import itertools
import re
import sys
import types
from collections.abc import Callable
from typing import Annotated, Any, TypeVar, Union, get_args

import tyro

from .. import settings
from ..errors import UsageError
from ..settings import Settings

__all__ = ["AllSettings", "On", "With", "literal", "parse", "with_literals"]

T = TypeVar("T")

On = Annotated[bool, tyro.conf.arg(help_behavior_hint="")]
"""What an option --no-… turns off; that its default is True would read as if it were off."""

AllSettings = Annotated[Settings, tyro.conf.arg(name="")]
"""All settings as options, under the names of their groups."""

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
    command = functools.partial(tyro.cli, later, prog=f"carousel {verb}", config=config, registry=_REGISTRY)
    refusal = io.StringIO()
    with contextlib.suppress(OSError):  # installed without its source
        _explain_settings()
    try:
        with contextlib.redirect_stderr(refusal):
            call = command(args=arguments)
    except SystemExit as stop:
        if stop.code:
            _suggest(verb, command, arguments)
        sys.stderr.write(refusal.getvalue())
        raise
    return call()


def _explain_settings() -> None:
    """Hand tyro the texts of the settings without their line breaks, which it would keep."""
    classes = {
        node.name: node for node in ast.parse(inspect.getsource(settings)).body if isinstance(node, ast.ClassDef)
    }
    defaults = Settings()
    for name in (group.name for group in dataclasses.fields(defaults)):
        group = getattr(defaults, name)
        body = classes[type(group).__name__].body
        texts = {
            one.target.id: " ".join(text.value.value.split())
            for one, text in itertools.pairwise(body)
            if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name)
            if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
        }
        for field in dataclasses.fields(group):
            field.metadata = types.MappingProxyType({**field.metadata, "help": texts[field.name]})


_REGISTRY = tyro.constructors.ConstructorRegistry()


@_REGISTRY.primitive_rule
def _number(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """Numbers, refused in the words of a person."""
    words = {int: "whole number", float: "number"}
    kind = info.type
    if kind not in words:
        return None

    def read(given: list[str]) -> int | float:
        try:
            return kind(given[0])
        except ValueError:
            raise ValueError(f"{given[0]!r} is no {words[kind]}.") from None

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar=kind.__name__.upper(),
        instance_from_str=read,
        is_instance=lambda value: isinstance(value, (int, kind)) and not isinstance(value, bool),
        str_from_instance=lambda value: [str(value)],
    )


@_REGISTRY.primitive_rule
def _optional(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Any] | None:
    """What may be None is written like what it is otherwise; it is None by leaving it out."""
    kinds = [kind for kind in get_args(info.type) if kind is not type(None)]
    if info.type_origin not in (Union, types.UnionType) or len(kinds) != 1 or len(get_args(info.type)) != 2:
        return None
    inner = tyro.constructors.ConstructorRegistry.get_primitive_spec(
        tyro.constructors.PrimitiveTypeInfo.make(kinds[0], info.markers)
    )
    if not isinstance(inner, tyro.constructors.PrimitiveConstructorSpec):
        return None
    return dataclasses.replace(
        inner,
        is_instance=lambda value: value is None or inner.is_instance(value),
        str_from_instance=lambda value: ["none"] if value is None else inner.str_from_instance(value),
    )


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
