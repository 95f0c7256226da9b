"""What a kind of data is to the rest of Carousel: how it is recognized, read, trained on and used.

A new kind is a file with a `Kind` and a row in `kinds.py`; nothing else asks which kind it is.
"""

from __future__ import annotations

import inspect
import math
import textwrap
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import torch
from torch import nn

from ..cells.loading import CellSource, blame
from ..errors import CarouselError, CellError, RunFolderError, UsageError
from ..nn import Recurrent
from ..settings import NetworkSettings, Settings, option
from ..training.task import Task

__all__ = [
    "LAYERED",
    "RECURRENT",
    "Data",
    "FromFiles",
    "Kind",
    "KindTask",
    "Sources",
    "Stored",
    "blamed",
    "document",
    "equations",
    "make_recurrent",
    "recurrent_layer",
]

T = TypeVar("T")

MINUTES = 5.0
"""Of training, at most, if nothing is said of its time."""

UPDATES = 1000
"""At least, in that case, however few the data, if the minutes allow it."""

RECURRENT = ("cell", "cell_options", "hidden_size", "layers", "directions", "embedding_size", "vectors", "skip")
"""Settings of networks that are made of a cell."""

LAYERED = ("network", "network_options", "code_size", "init")
"""Settings of networks that are made of layers."""

Sources = Sequence[str | Path]
"""What the user gave: files, folders, patterns."""

Stored = Callable[[str], Any]
"""A JSON document of the run folder by its name, None where there is none."""


class Data(Protocol):
    """The user's data, read."""

    name: str
    """Short, for the run folder."""
    digest: str
    """Hash of the content: a run is resumed with the same only."""
    notes: list[str]
    """Sentences that the user should read."""
    found: Mapping[str, Any]
    """Settings that were inferred, by name."""

    def about(self) -> str:
        """What it was taken for, in a line, and the options that say otherwise."""
        ...

    def origin(self) -> dict[str, Any]:
        """What the configuration keeps of it, as plain data."""
        ...


class FromFiles:
    """What data know by `read`, which is what was read from the files."""

    read: Any

    @property
    def name(self) -> str:
        """Of the files."""
        return self.read.name

    @property
    def digest(self) -> str:
        """Of their content."""
        return self.read.digest


class KindTask(Task, Protocol):
    """A task as its kind makes it."""

    cell: CellSource | None
    """None where the network has none."""
    batch: int
    """As in the settings; lowered where the data are few."""

    remarks: Sequence[str]
    """Sentences about the network that the user should read, once it is checked."""

    def check(self) -> nn.Module:
        """A network that ran for a step, so that a cell that breaks its contract is found before training begins."""
        ...

    def documents(self) -> dict[str, Any]:
        """JSON documents of the run folder that the trained network needs later, by name."""
        ...

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """The network in words and numbers: `vocabulary`, and `layers` as pairs of a name and what it is; its `title`
        if the cell's name is none.
        """
        ...

    def describe(self, network: nn.Module) -> list[dict[str, Any]]:
        """What the report shows of the trained network: panels as plain data, see `carousel.report.panels`."""
        ...


@dataclass(frozen=True)
class Kind:
    """A kind of data.

    Args:
        name: as `--kind` has it.
        about: what the data are, in words: "labelled sequences".
        recognizes: whether sources are of this kind, by a look at them, as a reason; None if they are not.
        read: the data of the sources.
        task: the problem that they pose.
        network: a network with the sizes of a stored run.
        user: what a trained network is used through; it has the method `verb`.
        example: what such a network takes, for `carousel.nn.summary`: the shape of one example, or arguments without
            content; of sequences one step.
        verb: what such a network can do: "sample", "predict".
        defaults: values of the settings that nothing was said about.
        epochs: passes over the data after which training ends, if nothing was said of its time.
        without: settings of the common groups that mean nothing here.
        shows: a heading and lines that show a person what the trained network does, or None.
        recurrent: whether the network is made of a cell, which `task` and `network` get; None otherwise.
        unused: settings that mean nothing to the network that is its default.
        variants: by the name of another network, the same kind with that.
    """

    name: str
    about: str
    recognizes: Callable[[Sources], str | None]
    read: Callable[[Sources, Settings], Any]
    task: Callable[[Any, Settings, Any], Any]
    network: Callable[[Stored, Settings, Any], nn.Module]
    user: Callable[[Stored, Settings, nn.Module], Any]
    example: Callable[[Stored, Settings], tuple[int, ...] | tuple[torch.Tensor, ...]]
    verb: str
    defaults: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    without: Collection[str] = ()
    shows: Callable[[Any, Stored], tuple[str, str] | None] = lambda user, stored: None
    recurrent: bool = True
    unused: Collection[str] = ()
    variants: Mapping[str, Kind] = field(default_factory=dict)

    def variant(self, network: str | None) -> Kind:
        """This kind with the network of that name; kinds without variants take any.

        Raises:
            UsageError: there is none.
        """
        own = self.defaults.get("network")
        if not self.variants or network in (None, own):
            return self
        if network not in self.variants:
            names = ", ".join(map(str, (own, *self.variants)))
            raise UsageError(f"--network is {network!r}; for {self.about} it is one of {names}.")
        return self.variants[network]

    @property
    def with_network(self) -> str:
        """The kind in words, with its network where there are several."""
        return f"{self.about} with the network {self.defaults['network']}" if self.unused else self.about

    def resolved(self, settings: Settings, foreign: Collection[str]) -> Settings:
        """The settings with this kind's defaults.

        Args:
            settings: as they were given.
            foreign: settings of other kinds.

        Raises:
            UsageError: an option is about another kind of data.
        """
        wrong = [option(name) for name in settings.given() if name in self.without or name in foreign]
        if wrong:
            several = len(wrong) > 1
            raise UsageError(
                f"{' and '.join(wrong)} {'mean' if several else 'means'} nothing for {self.about}, which is what the "
                f"data were taken for; leave {'them' if several else 'it'} out, or say with --kind what the data are."
            )
        if unused := [option(name) for name in settings.given() if name in self.unused]:
            raise UsageError(
                f"{' and '.join(unused)} {'mean' if len(unused) > 1 else 'means'} nothing for {self.with_network}; "
                f"leave {'them' if len(unused) > 1 else 'it'} out, or choose another --network."
            )
        if settings.network.vectors is not None and settings.network.embedding_size is not None:
            raise UsageError("--embedding-size follows the file of --vectors; leave it out.")
        return settings.resolved(self.defaults, kind=self.name)

    def timed(self, settings: Settings, length: int) -> Settings:
        """The settings with a limit of time, if they have none; `length` is that of the feed."""
        training = settings.training
        if training.minutes is not None or training.steps is not None or training.epochs is not None:
            return settings
        least = math.ceil(UPDATES * training.accumulate / length)
        return settings.resolved(minutes=MINUTES, epochs=None if self.epochs is None else max(self.epochs, least))


def make_recurrent(settings: NetworkSettings, cell: CellSource, width: int) -> Recurrent:
    """The recurrent layers that the settings describe, for inputs of this width.

    Raises:
        CellError: the cell does not take the sizes or options it is given.
    """
    options = {**cell.options, **settings.cell_options}
    assert settings.hidden_size is not None
    try:
        return Recurrent(
            cell.cell_class, width, settings.hidden_size, settings.layers, bidirectional=settings.directions == 2,
            dropout=settings.dropout or 0.0, skip=settings.skip, **options,
        )  # fmt: skip
    except TypeError as error:
        raise CellError(
            f"{cell.name} can't be made with input_size={width}, hidden_size={settings.hidden_size}"
            + "".join(f", {k}={v!r}" for k, v in options.items())
            + f": {error}."
        ) from error


def blamed(cell: CellSource, run: Callable[[], T]) -> T:
    """What `run` returns, without gradient; what a user's own cell does wrong is said with the line in its file."""
    try:
        with torch.no_grad():
            return run()
    except CarouselError:
        raise
    except Exception as error:
        if cell.path is None:
            raise
        raise CellError(f"{blame(cell.path, error)}. The cell {cell.name} does not run.") from error


def document(stored: Stored, name: str) -> Any:
    """A document that the trained network needs.

    Raises:
        RunFolderError: it is not there.
    """
    found = stored(name)
    if found is None:
        raise RunFolderError(f"The run was stopped before it began (no {name}); train again.")
    return found


def recurrent_layer(recurrent: Recurrent, cell: CellSource) -> str:
    """The recurrent layers in words."""
    both = ", in both directions" if recurrent.directions == 2 else ""
    return f"{cell.cell_class.__name__}, {recurrent.num_layers} layer(s) of {recurrent.cells[0].hidden_size}{both}"


def equations(cell: CellSource) -> str:
    """One step of the cell, as it is written."""
    return textwrap.dedent(inspect.getsource(cell.cell_class.step))
