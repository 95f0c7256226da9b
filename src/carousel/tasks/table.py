"""Tables: a network reads a row and names its class, or tells a number."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import polars as pl
import torch
from torch import Tensor, nn

from ..data.row_encoding import Encoding, read_rows_to_predict
from ..data.rows import Rows as Table
from ..data.rows import looks_like_rows, read_rows
from ..data.splits import on_both_sides
from ..data.text_files import find_files
from ..errors import DataError, UsageError
from ..nn.init import initialize
from ..nn.table import TableNetwork
from ..settings import Settings, option
from ..training.task import Shown
from .classify import Classify, answer_lines, balance, class_probabilities
from .examples import EVALUATION_BATCH, ExampleTask, Rows, divided
from .images import reconstructs, title
from .kind import RECURRENT, FromFiles, Kind, Sources, Stored, document
from .regress import METRICS, Regress, errors, told_lines
from .repairs import COMMON, Repair
from .scores import judged

__all__ = ["TABLE", "TableData", "TablePredictor", "TableTask"]

SHOWN_COLUMNS = 6
"""Of a row, in the report and on the terminal."""


@dataclass(frozen=True)
class TableData(FromFiles):
    """A table, read, split and encoded."""

    read: Table
    encoding: Encoding
    numbers: Tensor
    categories: Tensor
    parts: Mapping[str, Rows]
    found: Mapping[str, Any]
    notes: list[str]

    @classmethod
    def load(cls, sources: Sources, settings: Settings) -> TableData:
        """Read, split, learn the encoding from the training part.

        Raises:
            UsageError: there is nothing of a name.
            DataError: the table can't be used.
        """
        data, own = settings.data, settings.table
        if len(data.target) > 1:
            raise UsageError(f"--target names {len(data.target)} columns; a table has one target.")
        read = read_rows(
            sources, target=data.target[0] if data.target else None, problem=own.problem, drop=own.drop,
            categories=own.categories,
            split_column=data.split_column, group_column=data.group_column, time_column=data.time_column,
            encoding=data.encoding,
        )  # fmt: skip
        parts = divided(
            read.splits, settings, classes=read.labels, equal=read.equal.tolist(), groups=read.groups, times=read.times
        )
        if not len(parts["train"]):
            raise DataError("No rows are left to train on; give a smaller --dev or --test.")
        encoding = Encoding.learn(read, parts["train"])
        numbers, categories, _ = encoding.inputs(read.frame)
        across = on_both_sides(parts, read.equal, "row") if not any(read.splits) else []
        found = {"target": (read.target,), "problem": read.problem}
        return cls(
            read, encoding, torch.from_numpy(numbers), torch.from_numpy(categories), parts, found,
            [*read.notes, *across, *encoding.notes],
        )  # fmt: skip

    def about(self) -> str:
        """What was found, and the options that say otherwise."""
        return f"table: {self.read.where}; {self.read.why} (--kind, --target, --problem, --drop say otherwise)"

    def origin(self) -> dict[str, Any]:
        """Files and sizes."""
        return {
            "files": len(self.read.files),
            "columns": len(self.read.inputs),
            "rows": {split: len(part) for split, part in self.parts.items()},
        }


class TableTask(ExampleTask):
    """The task as the training loop sees it.

    Args:
        data: the table.
        settings: of the run; `training.batch` may be lowered to fit few rows, see `batch`.
        cell: None; the network is made of layers.
    """

    unit: ClassVar[str] = "row"
    repairs: ClassVar[Mapping[str, Repair]] = {**COMMON, "class-imbalance": balance}

    def __init__(self, data: TableData, settings: Settings, cell: None = None):
        train = data.parts["train"]
        if data.read.problem == "classify":
            targets = data.encoding.targets(data.read.frame).astype(np.int64)
            problem = Classify(data.encoding.classes, targets, train, settings.training, unit=self.unit)
        elif wrong := [name for name in ("class_weights", "loss") if name in settings.given()]:
            raise UsageError(f"{option(wrong[0])} means nothing for a target that is a number; leave it out.")
        else:
            problem = Regress(data.read.target, data.read.labels, train, unit=self.unit)
        super().__init__(data.parts, problem, settings)
        self.data, self.cell = data, None

    @property
    def shown(self) -> Shown:
        """Accuracy, or errors in the target's units."""
        data = self.data
        facts = (
            f"Target: {data.read.why}.",
            f"{len(data.read.inputs)} columns are read.",
            ", ".join(f"{len(part):,} rows in the {split} part" for split, part in data.parts.items()) + ".",
        )
        commands = (("predict {run} FILE --out answers.csv", f"tell {data.read.target} for every row of a file"),)
        classes = len(data.encoding.classes) if data.read.problem == "classify" else None
        return Shown(
            self.unit, "nats", classes, "class", facts, self.problem.metrics, commands, loss_in=self.problem.loss_in
        )  # fmt: skip

    def network(self) -> TableNetwork:
        """A new network with random weights."""
        made = build(self.settings, self.data.encoding).to(self.dtype)
        if self.settings.network.init:
            initialize(made, self.settings.network.init, batch=self._inputs(self.parts["train"][:EVALUATION_BATCH]))
        return made

    def _inputs(self, rows: Rows, device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        return self.data.numbers[rows].to(device, self.dtype), self.data.categories[rows].to(device)

    def outputs(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """(rows, outputs)."""
        return network(*self._inputs(rows, device))

    def example(self, row: int) -> str:
        """Its place and its first columns."""
        read = self.data.read
        return f"{read.place(row)}: {shown(read.frame.select(read.inputs).row(row, named=True))}"

    def check(self) -> TableNetwork:
        """A network that ran for one row."""
        made = self.network()
        with torch.no_grad():
            made.eval()(*self._inputs(self.parts["train"][:1]))
        self.judge_head(made)
        return made

    def documents(self) -> dict[str, Any]:
        """The encoding."""
        return {"table.json": self.data.encoding.to_dict()}

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """Inputs and layers."""
        assert isinstance(network, TableNetwork)
        encoding = self.data.encoding
        rows = [("row", f"{self.data.numbers.shape[1]} numbers, {self.data.categories.shape[1]} categories")]
        rows += [(category.name, f"{table.num_embeddings} values as vectors of {table.embedding_dim}")
                 for category, table in zip(encoding.categories, network.embeddings, strict=True)]  # fmt: skip
        rows += [(name, str(layer)) for name, layer in network.layers.named_children()]
        return {"vocabulary": None, "title": title(self.settings), "layers": rows}


def shown(values: Mapping[str, Any]) -> str:
    """A row in a line."""
    some = list(values.items())[:SHOWN_COLUMNS]
    cells = [f"{k}={'?' if v is None else f'{v:.4g}' if isinstance(v, float) else v}" for k, v in some]
    return ", ".join(cells) + (" …" if len(values) > SHOWN_COLUMNS else "")


def build(settings: Settings, encoding: Encoding) -> TableNetwork:
    """The network that the settings describe."""
    of = settings.network
    assert of.network is not None
    if reconstructs(settings):
        raise UsageError(
            f"--network {of.network} gives back its input and is for images; for the target of a table take mlp, or a "
            "line of layers."
        )
    outputs = len(encoding.classes) if encoding.problem == "classify" else 1
    return TableNetwork(len(encoding.names), encoding.slots, of.network, outputs, of.network_options)


class TablePredictor:
    """A trained network that names the class of a row, or tells its number.

    Args:
        network: in evaluation mode.
        encoding: of its training.
    """

    takes_text: ClassVar[bool] = False

    def __init__(self, network: nn.Module, encoding: Encoding):
        self.network, self.encoding, self.notes = network, encoding, []
        self.classes = encoding.classes if encoding.problem == "classify" else None
        self.target, self.reading = encoding.target, encoding.columns

    @torch.no_grad()
    def predict(self, rows: pl.DataFrame | Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """For each row its number `row`, from 1; of classes `label`, `probability`, `probabilities`, else `value`.

        Args:
            rows: a table as `read` gives it, or for each row a dict of its columns' values; what is missing is None.

        Raises:
            DataError: a column is missing, or holds what it can't.
        """
        frame = rows if isinstance(rows, pl.DataFrame) else self._frame(rows)
        numbers, categories, self.notes = self.encoding.inputs(frame)
        like = next(self.network.parameters())
        outputs = []
        for begin in range(0, len(numbers), EVALUATION_BATCH):
            some = slice(begin, begin + EVALUATION_BATCH)
            given = torch.from_numpy(numbers[some]).to(like), torch.from_numpy(categories[some]).to(like.device)
            outputs.append(self.network(*given).double().cpu())
        found = torch.cat(outputs) if outputs else torch.zeros(0, 1)
        if self.encoding.problem == "classify":
            answers = class_probabilities(self.encoding.classes, found.softmax(1).numpy())
        else:
            answers = [{"value": value} for value in self.encoding.restored(found[:, 0].numpy()).tolist()]
        return [{"row": number, **answer} for number, answer in enumerate(answers, 1)]

    def _frame(self, rows: Sequence[Mapping[str, Any]]) -> pl.DataFrame:
        """Their cells as a file would have them, read as in training."""
        columns, used = (
            self.encoding.columns[:-1],
            {c.column for c in (*self.encoding.numbers, *self.encoding.categories)},
        )
        read = []
        for column in (column for column in columns if column.name in used):
            without = next((n for n, row in enumerate(rows, 1) if column.name not in row), None)
            if without is not None:
                raise DataError(f"Row {without} lacks {column.name!r}, which the network was trained on.")
            cells = [None if row[column.name] is None else str(row[column.name]) for row in rows]
            read.append(column.read(pl.Series(column.name, cells, pl.String), lambda row: f"row {row + 1}"))
        return pl.DataFrame(read)

    def read(
        self, path: str, encoding: str, *, text_column: str | None = None, label_column: str | None = None
    ) -> tuple[pl.DataFrame, list[Any] | None]:
        """The rows of a file, and their targets where it has them.

        Raises:
            UsageError: there is no such file.
            DataError: it can't be read, or a column is missing.
        """
        ((file, _), *_) = find_files([path])
        frame, truth, self.notes = read_rows_to_predict(file, self.encoding, encoding)
        return frame, None if truth is None else list(truth)

    def line(self, answer: Mapping[str, Any]) -> str:
        """An answer for a person."""
        told = (
            f"{answer['label']} {100 * answer['probability']:.1f} %" if "label" in answer else f"{answer['value']:.5g}"
        )
        return f"row {answer['row']}  {self.encoding.target} {told}"

    def rows(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers as rows of a table."""
        return [{name: value for name, value in answer.items() if name != "probabilities"} for answer in answers]

    def judged(self, answers: Sequence[Mapping[str, Any]], truth: Sequence[Any]) -> list[str]:
        """How many are right, or how far off they are."""
        pairs = [(a, t) for a, t in zip(answers, truth, strict=True) if t == t]  # not NaN
        if self.encoding.problem == "classify":
            return judged([(a["label"], t) for a, t in pairs], self.encoding.classes, " rows", "classes")
        told, true = np.array([a["value"] for a, _ in pairs]), np.array([t for _, t in pairs], float)
        found = errors(told, true)
        return [
            f"Over {len(pairs):,} rows: " + ", ".join(METRICS[k].label + f" {v:.4g}" for k, v in found.items()) + "."
        ]


def _shows(user: Any, stored: Stored) -> tuple[str, str] | None:
    panels = (stored("evaluation.json") or {}).get("panels", [])
    return answer_lines(panels) if user.encoding.problem == "classify" else told_lines(panels)


def _example(stored: Stored, settings: Settings) -> tuple[Tensor, Tensor]:
    encoding = _encoding(stored)
    return torch.zeros(1, len(encoding.names)), torch.zeros(1, len(encoding.slots), dtype=torch.int64)


def _encoding(stored: Stored) -> Encoding:
    return Encoding.from_dict(document(stored, "table.json"))


TABLE = Kind(
    name="table",
    about="a table",
    recognizes=looks_like_rows,
    read=TableData.load,
    task=TableTask,
    network=lambda stored, settings, cell: build(settings, _encoding(stored)),
    user=lambda stored, settings, network: TablePredictor(network, _encoding(stored)),
    example=_example,
    verb="predict",
    recurrent=False,
    defaults={
        "network": "mlp",
        "batch": 64,
        "learning_rate": 2e-3,
    },
    epochs=20,
    without=(
        "level",
        "vocabulary_size",
        "min_count",
        "words",
        "label_column",
        "window",
        "backward",
        "dropout",
        "code_size",
        *RECURRENT,
    ),
    shows=_shows,
)
