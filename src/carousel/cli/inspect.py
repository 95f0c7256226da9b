"""`carousel inspect RUN`, and `carousel inspect "(x + y) * z" x=-2 y=5 z=-4`."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import tyro

from ..errors import UsageError
from .outputs import check_outputs, write_json
from .parse import parse

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and look."""
    parse("inspect", _inspect, arguments)


def _inspect(
    what: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RUN|FORMULA")],
    values: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="[NAME=NUMBER …]")] = (),
    /,
    cell: str | None = None,
    text: str | None = None,
    words: tuple[str, ...] = (),
    tokens: int = 20_000,
    out: str | None = None,
    json: str | None = None,
) -> None:
    """Look inside a trained network. Or draw the circuit of a formula.

    Args:
        what: A run folder; or a formula such as "(x + y) * z", to be drawn with values and gradients on each edge.
        values: Of the formula's names, as x=-2.
        cell: FILE.py:Class again, if the run was trained with your own cell.
        text: A file to read with a language model; the run's dev part if not given.
        words: Whose neighbors to show, as king queen; and analogies, as man:woman::king.
        tokens: Of the text, at most.
        out: The page (.html), or of a formula also the picture (.svg). If not given: inspect.html in the run folder,
            circuit.html.
        json: Also write the numbers to this file.
    """
    check_outputs(out=out, json=json)
    if tokens < 1:
        raise UsageError(f"--tokens is {tokens}; give a number of at least 1.")
    if not Path(what).exists() and (values or re.search(r"[()*+^]|\w\s*[-/]\s*\w", what)):
        _circuit(what, values, out or "circuit.html", json)
        return
    if values:
        raise UsageError(f"{values[0]!r} is no option; values such as x=-2 belong to a formula.")
    from ..inspection import inspect_run

    found = inspect_run(what, cell=cell, text=text, words=words, out=out, tokens=tokens, progress=_say)
    print("\n".join(_lines(found.numbers)))
    print(f"The page is {found.page}")
    if json is not None:
        write_json(found.numbers, json)


def _lines(numbers: dict[str, Any]) -> list[str]:
    """What was found, in short."""
    lines = [f"{one['score']:.3f} (control {one['control']:.2f})  {one['property']}: {one['name']}"
             for one in numbers.get("units", [])[:8]]  # fmt: skip
    lines += [f"{one['layer']}: a unit sees {' x '.join(map(str, one['receptive_field']))} pixels"
              for one in numbers.get("layers", [])]  # fmt: skip
    if "words" in numbers:
        lines += [f"{asked}: {', '.join(near)}" for asked, near in list(numbers["words"]["asked"].items())[:8]]
        lines.append("cosine to the nearest: {nearest:.2f}, of random vectors {random:.2f}".format(**numbers["words"]))
    for name, rate in numbers.get("time", {"rates": {}})["rates"].items():
        lines.append(f"gradient through time, {name}: times {rate:.3f} per step back")
    if "memory" in numbers:
        said = ", ".join(f"{steps} steps {name}" for name, steps in numbers["memory"]["length"].items())
        lines.append(f"memory: {said}")
    if numbers.get("dynamics"):
        lines.append(f"largest Lyapunov exponent: {numbers['dynamics']['lyapunov'][0]:+.4f} nats a step")
    dead = sum(layer["dead"] for layer in numbers["depth"])
    return [*lines, f"dead units: {dead or 'none'}"]


def _say(what: str) -> None:
    print(f"looking at {what} …", flush=True)


def _circuit(formula: str, values: tuple[str, ...], out: str, json: str | None) -> None:
    from ..inspect.circuit_drawing import sentences
    from ..inspect.expression import circuit_of

    given: dict[str, float] = {}
    for value in values:
        name, equals, number = value.partition("=")
        try:
            given[name] = float(number)
        except ValueError:
            raise UsageError(f"{value!r} is no value; write it as x=-2.") from None
        if not equals:
            raise UsageError(f"{value!r} is no value; write it as x=-2.")
    found = circuit_of(formula, given)
    if Path(out).suffix not in (".html", ".svg"):
        raise UsageError(f"--out {out}: a circuit is written as .html or .svg.")
    try:
        Path(out).write_text(found.svg() if out.endswith(".svg") else found.html(formula), "utf-8")
    except OSError as error:
        raise UsageError(f"{out} can't be written: {error.strerror or error}. Choose another --out.") from error
    for text, _ in sentences(found):
        print(text)
    print(f"The picture is {out}")
    if json is not None:
        nodes = [{"label": n.label, "name": n.name, "value": float(n.value),
                  "gradient": None if n.gradient is None else float(n.gradient)} for n in found.nodes]  # fmt: skip
        write_json({"formula": formula, "nodes": nodes}, json)
