"""`carousel bench`: verify, then time, then show."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from ..cells import LSTM, Cell
from ..cells.loading import CellSource, blame, load_cell
from ..errors import CarouselError, CellError, UsageError
from ..runs import environment
from . import rivals
from .rivals import LSTMWeights, Problem, Rival, Shape
from .timing import interleaved
from .verify import check_cell, check_rivals

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["BASE", "PASSES", "compare", "remarks", "table"]

BASE = "torch.nn.LSTM"
"""The rival that ratios refer to."""
PEERS = ("JAX scan", "onnxruntime")
PASSES = {"training": "forward and backward", "forward": "forward only"}


def compare(
    cell: str | type[Cell] = "lstm-peephole",
    *,
    hidden_size: int = 256,
    length: int = 100,
    batch: int = 32,
    threads: int | None = None,
    seconds: float = 1.0,
    least: int = 7,
    note: Callable[[str], object] = lambda text: None,
) -> dict[str, Any]:
    """Time a cell beside `torch.nn.LSTM`, the loop, and the peers that are installed, at three shapes.

    Every rival does the same work: a forward pass without gradients; and a forward and backward pass with the
    gradients of the input and of all weights. Before a shape is timed, the cell's outputs and gradients are held
    against the plain loop.

    Args:
        cell: a registered name, FILE.py:Class, or a class.
        hidden_size: hidden units and input features; a second shape has half as many.
        length: time steps.
        batch: sequences side by side; a third shape has one.
        threads: CPU threads of all rivals; PyTorch's default if not given.
        seconds: time to spend on a shape and a pass; up to four times as long on a busy machine.
        least: samples that every median is made of.
        note: told what happens, in short sentences.

    Returns:
        Plain data: `cell`, `peer_cell` (what the peers run), `least`, `rows` (each with `shape`, `rival`, `pass`, `ms`,
        `ratio` to `torch.nn.LSTM`, `gflops`, `clean`, `samples`) and `environment`.

    Raises:
        UsageError: a size is impossible, or there is no such cell.
        CellError: the cell breaks its contract.
        CarouselError: the cell's outputs or gradients differ from those of the plain loop.
    """
    sizes = {"hidden-size": hidden_size, "length": length, "batch": batch, "threads": 1 if threads is None else threads}
    for option, value in sizes.items():
        if value < 1:
            raise UsageError(f"--{option} is {value}; it must be a whole number of at least 1.")
    source, before = load_cell(cell), torch.get_num_threads()
    torch.set_num_threads(threads or before)
    rivals.prepare_peers(threads or before)
    shapes = [Shape(length, batch, hidden_size), Shape(length, batch, max(1, hidden_size // 2))]
    shapes.append(Shape(length, 1, hidden_size))
    rows: list[dict[str, Any]] = []
    try:
        for shape in dict.fromkeys(shapes):
            note(f"{_text(shape)}: comparing results, then timing")
            rows += _measure(source, shape, seconds, least)
        about = environment()
    finally:
        torch.set_num_threads(before)
    kept = ("date", "processor", "cpu_flags", "cores", "threads", "python", "versions")
    return {
        "cell": source.name,
        "peer_cell": _peer_cell(source),
        "least": least,
        "rows": rows,
        "environment": {key: about[key] for key in kept},
    }


def _measure(source: CellSource, shape: Shape, seconds: float, least: int) -> list[dict[str, Any]]:
    torch.manual_seed(0)
    problem = Problem(shape)
    try:
        field = _field(source, _make(source, shape.hidden), problem)
    except CarouselError:
        raise
    except Exception as error:
        if source.path is None:
            raise
        raise CellError(f"{blame(source.path, error)}. The cell {source.name} does not run.") from error
    rows = []
    for name in PASSES:
        timed = {rival.name: rival.passes()[name] for rival in field if name in rival.passes()}
        times = interleaved(timed, seconds=seconds, least=least)
        for rival in field:
            if rival.name not in times:
                continue
            took = times[rival.name]
            work = rival.operations * (3 if name == "training" else 1)
            rows.append(
                {
                    "shape": list(shape),
                    "rival": rival.name,
                    "pass": name,
                    "ms": took.seconds * 1e3,
                    "ratio": took.seconds / times[BASE].seconds,
                    "gflops": work / took.seconds / 1e9 if work else None,
                    "clean": took.clean,
                    "samples": took.samples,
                }
            )
    return rows


def _make(source: CellSource, hidden: int) -> Cell:
    try:
        return source.cell_class(hidden, hidden, **source.options)
    except TypeError as error:
        raise CellError(f"{source.name} can't be made with input_size and hidden_size {hidden}: {error}.") from error


def _field(source: CellSource, cell: Cell, problem: Problem) -> list[Rival]:
    """All rivals for one shape, the cell first; those that run the same weights give the same numbers."""
    check_cell(cell, problem.shape)
    weights, fed = LSTMWeights.of(cell), problem
    if cell.input_size != problem.shape.hidden:  # a cell without input, or one with an idea of its own
        fed = Problem(problem.shape, features=cell.input_size)
    own = rivals.of_cell(source.cell_class.__name__ if source.is_own else source.name, cell, fed)
    field = [own, rivals.torch_layer("LSTM", problem, BASE)]
    if weights is None:
        field.append(rivals.of_cell("plain loop", cell, fed, backend="reference", operations=own.operations))
        weights = LSTMWeights.random(problem.shape.hidden)
        check = rivals.eager_loop(weights, problem)
    else:
        check = rivals.eager_loop(weights, problem)
        check_rivals(own, check, gradients=1)
        field.append(check)
    peers = rivals.installed()
    if "jax" in peers:
        field.append(rivals.jax_scan(weights, problem, PEERS[0]))
        check_rivals(field[-1], check)
    if "onnxruntime" in peers:
        field.append(rivals.onnx_session(weights, problem, torch.get_num_threads(), PEERS[1]))
        check_rivals(field[-1], check)
    return field


def _peer_cell(source: CellSource) -> str:
    """What JAX and onnxruntime run beside the cell, in words."""
    return "an LSTM" if source.cell_class is LSTM and not source.options else "an LSTM with peepholes"


def _text(shape: Shape | list[int]) -> str:
    time, batch, hidden = shape
    return f"{time} steps, batch {batch}, {hidden} units"


def table(result: dict[str, Any]) -> Table:
    """What `compare` returned, for the terminal."""
    from rich import box
    from rich.markup import escape
    from rich.table import Table

    shown = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    shown.add_column("\nsteps × batch × units", no_wrap=True)
    for name in PASSES:
        for number, unit in enumerate(("ms", "ratio", "GFLOP/s")):
            shown.add_column(f"{'' if number else name}\n{unit}", justify="right", no_wrap=True)
    for shape in dict.fromkeys(tuple(row["shape"]) for row in result["rows"]):
        shown.add_row(" × ".join(map(str, shape)), style="bold")
        rows = [row for row in result["rows"] if tuple(row["shape"]) == shape]
        for place, rival in enumerate(dict.fromkeys(row["rival"] for row in rows)):
            cells = [f"  {escape(rival)}"]
            for name in PASSES:
                row = next((row for row in rows if (row["rival"], row["pass"]) == (rival, name)), None)
                cells += _cells(row)
            shown.add_row(*cells, style="green" if place == 0 else None)
    return shown


def remarks(result: dict[str, Any]) -> list[str]:
    """What one has to know to read the table, in sentences."""
    about, rows = result["environment"], result["rows"]
    threads = f"{about['threads']} thread" + ("s" if about["threads"] > 1 else "")
    peers = [peer for peer in PEERS if any(row["rival"] == peer for row in rows)]
    said = [f"{about['processor']}, {about['cpu_flags']}, {threads}, torch {about['versions']['torch']}."]
    said.append(f"training: {PASSES['training']}; ratio: to {BASE}; GFLOP/s: of the matrix products.")
    if peers:
        verb = "run" if len(peers) > 1 else "runs"
        said.append(f"{' and '.join(peers)} {verb} {result['peer_cell']}.")
    missing = [peer for peer in PEERS if peer not in peers]
    if missing:
        said.append(f"Not installed: {' and '.join(missing)}; `pip install 'carousel-nn[peers]'` adds them.")
    delayed = dict.fromkeys(row["rival"] for row in rows if row["clean"] < result["least"])
    if delayed:
        said.append(
            f"Medians of {', '.join(delayed)} hold samples that waited for a core, because of other work on the "
            "machine or of more threads of their own than cores."
        )
    return said


def _cells(row: dict[str, Any] | None) -> list[str]:
    if row is None:
        return ["–"] * 3
    return [f"{row['ms']:,.2f}", f"{row['ratio']:.2f}", f"{row['gflops']:,.0f}" if row["gflops"] else "–"]
