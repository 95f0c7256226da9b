"""`carousel summary RUN`, `carousel summary DATA`, `carousel summary --network NAME --input 3,32,32 --classes 10`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from ..settings import (
    DataSettings,
    ImageSettings,
    LabelledSettings,
    NetworkSettings,
    SeriesSettings,
    Settings,
    TableSettings,
    TaggedSettings,
    option,
)
from .outputs import check_outputs, write_json
from .parse import parse, with_literals

if TYPE_CHECKING:
    from ..nn.summary import Summary

__all__ = ["run"]


def run(arguments: list[str]) -> None:
    """Parse and print."""
    parse("summary", _show, arguments)


def _show(
    given: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN_OR_DATA")] = (),
    input: str | None = None,
    classes: int | None = None,
    json: str | None = None,
    reading: DataSettings = DataSettings(),
    labelled: LabelledSettings = LabelledSettings(),
    tagged: TaggedSettings = TaggedSettings(),
    series: SeriesSettings = SeriesSettings(),
    images: ImageSettings = ImageSettings(),
    table: TableSettings = TableSettings(),
    network: NetworkSettings = NetworkSettings(),
) -> None:
    """Print a network layer by layer: shape of the output, parameters, activations, memory, multiply-adds.

    Of a run; of the network that `carousel train DATA` would make with the same options; or, without either, of
    --network with --input and --classes.

    Args:
        given: A run folder, or files and folders as in training.
        input: Shape of one example, as 3,224,224 for color images; with --network alone.
        classes: Outputs of the network; with --network alone.
        json: Write all numbers to this JSON file.
        reading: How the data are read.
        labelled: Labelled sequences only.
        tagged: Tagged sequences only.
        series: Series of numbers only.
        images: Images only.
        table: Tables of rows only.
        network: What would be trained.
    """
    from ..errors import UsageError

    check_outputs(json=json)
    settings = with_literals(Settings(reading, labelled, tagged, series, images, table, network))
    if given and (input is not None or classes is not None):
        raise UsageError("--input and --classes follow from the run or the data; leave them out.")
    if not given:
        found = _named(settings, input, classes)
    elif len(given) == 1 and (Path(given[0]) / "config.yaml").is_file():
        found = _of_run(given[0], settings)
    else:
        from ..api import preview

        about, found = preview(given, settings=settings)
        print(about, end="\n\n")
    print(found)
    if json is not None:
        write_json(found.to_dict(), json)


def _of_run(path: str, settings: Settings) -> Summary:
    from ..errors import UsageError
    from ..trained import load

    more = [option(name) for name in settings.given() if name != "cell"]
    if more:
        raise UsageError(f"{path} is a run, whose network is what it is; leave out {' and '.join(more)}.")
    return load(path, cell=settings.network.cell).summary()


def _named(settings: Settings, shape: str | None, classes: int | None) -> Summary:
    from ..errors import UsageError
    from ..nn import network, summary

    name = settings.network.network
    if name is None or shape is None or classes is None:
        raise UsageError(
            "Give a run folder, or data, or a network with the shape of its input: "
            "--network vgg16 --input 3,224,224 --classes 1000."
        )
    more = [option(one) for one in settings.given() if one not in ("network", "network_options")]
    if more:
        raise UsageError(f"{' and '.join(more)} means nothing without data; leave it out.")
    sizes = [part.strip() for part in shape.replace("x", ",").split(",")]
    if not all(part.isdecimal() and int(part) > 0 for part in sizes):
        raise UsageError(f"--input is {shape!r}; write the shape of one example, as 3,224,224.")
    sizes = tuple(map(int, sizes))
    return summary(network(name, sizes, classes, **settings.network.network_options), sizes)
