"""Images with a class each: a network of layers reads the pixels and names the class.

What images without a need for classes share with them is here, too; the kind of data is in `image_kind.py`.
"""

from __future__ import annotations

import base64
import io
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ..data.augment import Augment
from ..data.images import ImageSet, read_images, read_to_predict
from ..data.splits import on_both_sides
from ..data.tables import in_order
from ..errors import DataError, UsageError
from ..nn.init import initialize
from ..nn.networks import REGISTRY, network
from ..nn.summary import summary
from ..settings import Settings, option
from ..training.task import Shown
from .classify import Classify, balance, class_probabilities, oddities
from .examples import EVALUATION_BATCH, ExampleTask, Problem, Rows, divided
from .kind import FromFiles, Sources, Stored, document
from .repairs import COMMON, Repair
from .scores import judged

__all__ = ["ImageData", "ImagePredictor", "ImageTask", "Plan", "build", "data_uri", "reconstructs"]

MOST_MEASURED = 10_000
"""Training images of which mean and deviation are taken; of more, so many evenly apart."""

CODE_SIZE = 30
"""Of an autoencoder, if nothing is said."""

THUMBNAIL = 96
"""Pixels, at most, of the longer side of an image in the report."""

Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Plan:
    """What turns an image into inputs; stored as `images.json`.

    Args:
        shape: channels, height, width.
        mean: of each channel over the training part, from 0 to 1.
        deviation: the same.
        classes: their names.
        columns: in which a table of training had paths and labels.
        variance: of an image around the mean image, summed over the pixels; of autoencoders only.
    """

    shape: tuple[int, int, int]
    mean: list[float]
    deviation: list[float]
    classes: list[str]
    columns: dict[str, str | None]
    variance: float | None = None

    @classmethod
    def of(cls, stored: Stored) -> Plan:
        """Of a run."""
        found = document(stored, "images.json")
        return cls(**{**found, "shape": tuple(found["shape"])})

    def to_dict(self) -> dict[str, Any]:
        """Plain data."""
        return {**vars(self), "shape": list(self.shape)}

    def standardized(self, images: Tensor) -> Tensor:
        """(n, C, H, W) from 0 to 1 as the network sees them."""
        mean, deviation = (images.new_tensor(v)[:, None, None] for v in (self.mean, self.deviation))
        return (images - mean) / deviation


@dataclass(frozen=True)
class ImageData(FromFiles):
    """Images, read and split."""

    read: ImageSet
    plan: Plan
    labels: NDArray[np.int64]
    parts: Mapping[str, Rows]
    found: Mapping[str, Any]
    notes: list[str]

    @classmethod
    def load(cls, sources: Sources, settings: Settings) -> ImageData:
        """Read, split, measure.

        Raises:
            UsageError: there is nothing of a name.
            DataError: the images can't be used.
        """
        data, own, labelled = settings.data, settings.images, not reconstructs(settings)
        read = read_images(
            sources, size=own.size, channels=own.channels, path_column=own.path_column, label_column=data.label_column,
            split_column=data.split_column, group_column=data.group_column, time_column=data.time_column,
            unreadable=own.unreadable, encoding=data.encoding, need_labels=labelled,
        )  # fmt: skip
        names = sorted(set(read.labels), key=in_order)
        number = {name: place for place, name in enumerate(names)}
        labels = np.fromiter((number[label] for label in read.labels), np.int64, len(read.labels))
        parts = divided(
            read.splits, settings, classes=labels, equal=read.equal.tolist(), groups=read.groups, times=read.times
        )
        columns = {name: column for name, column in read.columns.items() if column is not None}
        across = on_both_sides(parts, read.equal, "image") if not any(read.splits) else []
        if not labelled:
            return cls._without_classes(read, names, labels, parts, columns, across, settings)
        if len(np.unique(labels[parts["train"]])) < 2:
            raise DataError(
                f"The training part has {len(parts['train']):,} images of one class; it needs at least two classes. "
                "Give a folder for each class, or a smaller --dev and --test."
            )
        mean, deviation = _moments(read, parts["train"])
        channels, height, width = read.pixels.shape
        plan = Plan((channels, height, width), mean, deviation, names, dict(read.columns))
        balanced = settings.training.class_weights == "balanced"
        odd = oddities(labels[parts["train"]], names, balanced=balanced)
        return cls(read, plan, labels, parts, columns, [*read.notes, *across, *odd])

    @classmethod
    def _without_classes(
        cls,
        read: ImageSet,
        names: list[str],
        labels: NDArray[np.int64],
        parts: Mapping[str, Rows],
        columns: dict[str, str],
        across: list[str],
        settings: Settings,
    ) -> ImageData:
        """For an autoencoder, which sees the pixels as they are, from 0 to 1."""
        if settings.training.loss not in ("cross-entropy", "squared-error"):  # the first if nothing was said
            raise UsageError(f"--loss {settings.training.loss} is about classes; an autoencoder takes squared-error.")
        if len(parts["train"]) < 2:
            held = len(parts["dev"]) + len(parts["test"])
            raise DataError(
                f"An autoencoder needs at least two images to learn from, and has {len(parts['train'])}; {held:,} are "
                "dev or test, by --dev and --test or by the names of files and folders. Give more images, or rename."
            )
        channels, height, width = read.pixels.shape
        classes = names if len(names) > 1 else []
        plan = Plan((channels, height, width), [0.0] * channels, [1.0] * channels, classes, dict(read.columns))
        size = settings.network.code_size or CODE_SIZE
        found = {**columns, "code_size": size, "loss": "squared-error"}
        pixels, notes = channels * height * width, [*read.notes, *across]
        if size >= pixels:
            notes.append(
                f"A code of {size:,} numbers is no bottleneck for images of {pixels:,}: the network may learn to copy. "
                "Take a smaller --code-size."
            )
        return cls(read, plan, labels, parts, found, notes)

    def about(self) -> str:
        """What was found, and the options that say otherwise."""
        channels, height, width = self.plan.shape
        classes = f"{len(self.plan.classes)} classes" if self.plan.classes else "no classes"
        return (
            f"images: {classes}, {len(self.labels):,} images of {width} x {height}, "
            f"{'gray' if channels == 1 else 'color'}, {self.read.where} (--kind, --size, --channels say otherwise)"
        )

    def origin(self) -> dict[str, Any]:
        """Files, layout and sizes."""
        return {
            "files": len(self.read.files),
            "layout": self.read.layout,
            "classes": len(self.plan.classes),
            "images": {split: len(part) for split, part in self.parts.items()},
        }


def _moments(read: ImageSet, train: Rows) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel of the training images, from 0 to 1."""
    some = train[np.linspace(0, len(train) - 1, min(len(train), MOST_MEASURED)).round().astype(np.int64)]
    sums, squares, count = np.zeros(read.pixels.shape[0]), np.zeros(read.pixels.shape[0]), 0
    for begin in range(0, len(some), EVALUATION_BATCH):
        pixels = read.pixels.read(some[begin : begin + EVALUATION_BATCH]).astype(np.float64) / 255
        sums, squares = sums + pixels.sum((0, 2, 3)), squares + (pixels**2).sum((0, 2, 3))
        count += pixels[:, 0].size
    mean = sums / count
    deviation = np.sqrt(np.maximum(squares / count - mean**2, 0))
    return mean.tolist(), np.where(deviation > 1e-6, deviation, 1.0).tolist()


class ImageTask(ExampleTask):
    """The task as the training loop sees it.

    Args:
        data: the images.
        settings: of the run; `training.batch` may be lowered to fit few images, see `batch`.
        cell: None; the network is made of layers.
    """

    unit: ClassVar[str] = "image"
    repairs: ClassVar[Mapping[str, Repair]] = {**COMMON, "class-imbalance": balance}

    def __init__(self, data: ImageData, settings: Settings, cell: None = None):
        training, own = settings.training, settings.images
        self.data, self.plan, self.cell = data, data.plan, None
        super().__init__(data.parts, self.asked(settings), settings)
        self.augment = Augment(
            flip=own.flip, rotate=own.rotate, scale=own.zoom, crop=own.crop, contrast=own.contrast, color=own.color,
            erase=own.erase, mixup=own.mixup,
        )  # fmt: skip
        if own.mixup and (training.class_weights != "none" or training.loss != "cross-entropy"):
            raise UsageError(
                "--mixup mixes labels, for which there is cross-entropy without weights; leave it out, or "
                "--class-weights and --loss."
            )

    def asked(self, settings: Settings) -> Problem:
        """What is asked of every image.

        Raises:
            UsageError: settings that go with no such network, or not together.
        """
        for name in ("code_size", "noise"):
            if settings.value(name):
                raise UsageError(f"{option(name)} is about autoencoders; leave it out, or say --network autoencoder.")
        train, labels = self.data.parts["train"], self.data.labels
        return Classify(self.plan.classes, labels, train, settings.training, unit=self.unit)

    @property
    def shown(self) -> Shown:
        """Accuracy, over all and as the mean of the classes."""
        data, (channels, height, width) = self.data, self.plan.shape
        facts = (
            f"{len(self.plan.classes)} classes.",
            f"Images of {width} x {height} pixels, {channels} channel{'s' if channels > 1 else ''}.",
            ", ".join(f"{len(part):,} images in the {split} part" for split, part in data.parts.items()) + ".",
        )
        commands = (("predict {run} IMAGE_OR_FOLDER --out answers.csv", "name the class of new images"),)
        return Shown(self.unit, "nats", len(self.plan.classes), "class", facts, self.problem.metrics, commands,
                     loss_in=self.problem.loss_in)  # fmt: skip

    def network(self) -> nn.Module:
        """A new network with random weights."""
        made = build(self.settings, self.plan).to(self.dtype)
        if self.settings.network.init:
            rows = self.parts["train"][:EVALUATION_BATCH]
            initialize(made, self.settings.network.init, batch=self.pixels(rows, torch.device("cpu")))
        return made

    def pixels(self, rows: Rows, device: torch.device) -> Tensor:
        """(rows, C, H, W) as the network sees them."""
        return self.plan.standardized(self.raw(rows, device))

    def raw(self, rows: Rows, device: torch.device) -> Tensor:
        """(rows, C, H, W) from 0 to 1."""
        return torch.from_numpy(self.data.read.pixels.read(rows)).to(device, self.dtype) / 255

    def outputs(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """(rows, classes) scores."""
        return network(self.pixels(rows, device))

    def training_loss(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """Of augmented images; the draws come from a generator that torch's global one seeds, which is checkpointed."""
        if not self.augment:
            return super().training_loss(network, rows, device)
        generator = torch.Generator(device).manual_seed(int(torch.randint(1 << 62, ())))
        images = self.augment(self.raw(rows, device), generator)
        if not self.augment.mixup:
            return self.problem.loss(network(self.plan.standardized(images)), rows)
        targets = F.one_hot(torch.from_numpy(self.data.labels[rows]), self.problem.outputs).to(images)
        images, targets = self.augment.mix(images, targets, generator)
        return F.cross_entropy(network(self.plan.standardized(images)), targets)

    def example(self, row: int) -> dict[str, str]:
        """A small picture, and the image's name."""
        pixels = self.data.read.pixels.read(np.array([row]))[0]
        return {"image": data_uri(pixels), "text": self.data.read.names[row]}

    def check(self) -> nn.Module:
        """A network that ran for one image."""
        made = self.network()
        with torch.no_grad():
            made.eval()(self.pixels(self.parts["train"][:1], torch.device("cpu")))
        self.judge_head(made)
        return made

    def documents(self) -> dict[str, Any]:
        """The plan."""
        return {"images.json": self.plan.to_dict()}

    def layers(self, network: nn.Module) -> dict[str, Any]:
        """Every layer with its output's shape and its parameters."""
        return {"vocabulary": None, "title": title(self.settings), "layers": described(network, self.plan.shape)}


def build(settings: Settings, plan: Plan) -> nn.Module:
    """The network that the settings describe."""
    of = settings.network
    assert of.network is not None
    if not reconstructs(settings):
        return network(of.network, plan.shape, len(plan.classes), **of.network_options)
    assert of.code_size is not None
    return network(of.network, plan.shape, of.code_size, **{"output": "sigmoid", **of.network_options})


def reconstructs(settings: Settings) -> bool:
    """Whether the network gives back images, so that it needs no classes."""
    entry = REGISTRY.get((settings.network.network or "").strip().lower())
    return entry is not None and entry.reconstructs


def title(settings: Settings) -> str:
    """The network's name; of one in a line of layers, so."""
    name = settings.network.network or ""
    return name if re.fullmatch(r"[\w-]+", name) else "layers"


def described(made: nn.Module, shape: tuple[int, ...]) -> list[tuple[str, str]]:
    """The layers in words, from the input on."""
    rows = []
    for row in summary(made, shape).rows:
        size = " x ".join(map(str, row.output[1:]))
        rows.append((row.name, f"{size}, {row.parameters:,} parameters" if row.parameters else size))
    return [("input", " x ".join(map(str, shape))), *rows]


def data_uri(pixels: Pixels) -> str:
    """A (C, H, W) image as a PNG in a data URI, made smaller if it is large."""
    picture = Image.fromarray(pixels[0] if len(pixels) == 1 else pixels.transpose(1, 2, 0))
    picture.thumbnail((THUMBNAIL, THUMBNAIL))
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()


class ImagePredictor:
    """A trained network that names the classes of images.

    Args:
        network: in evaluation mode.
        plan: of its training.
    """

    notes: Sequence[str] = ()
    takes_text: ClassVar[bool] = False

    def __init__(self, network: nn.Module, plan: Plan):
        self.network, self.plan = network, plan
        self.classes, self.target, self.reading = plan.classes, None, (plan.shape, plan.columns)

    @torch.no_grad()
    def predict(self, images: Sequence[str | Path | tuple[str, Pixels]]) -> list[dict[str, Any]]:
        """For each image `name`, `label`, `probability`, and `probabilities` by class.

        Args:
            images: files; or pairs of a name and (C, H, W) bytes, as `read` gives them.

        Raises:
            DataError: an image can't be read.
        """
        pairs, like = self.pairs(images), next(self.network.parameters())
        answers = []
        for begin in range(0, len(pairs), EVALUATION_BATCH):
            names, pixels = zip(*pairs[begin : begin + EVALUATION_BATCH], strict=True)
            inputs = torch.from_numpy(np.stack(pixels)).to(like) / 255
            shares = self.network(self.plan.standardized(inputs)).double().softmax(1).cpu().numpy()
            found = class_probabilities(self.plan.classes, shares)
            answers += [{"name": name, **answer} for name, answer in zip(names, found, strict=True)]
        return answers

    def pairs(self, images: Sequence[str | Path | tuple[str, Pixels]]) -> list[tuple[str, Pixels]]:
        """Names and pixels of images; files are read."""
        if isinstance(images, str | Path):
            raise UsageError("predict() got one name; give a list of image files.")
        return [pair for one in images for pair in ([one] if isinstance(one, tuple) else self._read(one)[0])]

    def read(
        self, path: str, encoding: str, *, text_column: str | None = None, label_column: str | None = None
    ) -> tuple[list[tuple[str, Pixels]], list[str] | None]:
        """The images of a file, folder or table, and their labels where it has them.

        Raises:
            UsageError: there is no such file.
            DataError: an image can't be read, or a column is missing.
        """
        return self._read(path, encoding, text_column, label_column)

    def _read(
        self, path: str | Path, encoding: str = "utf-8", paths: str | None = None, labels: str | None = None
    ) -> tuple[list[tuple[str, Pixels]], list[str] | None]:
        channels, height, width = self.plan.shape
        columns = self.plan.columns
        names, pixels, truth = read_to_predict(
            path, size=(height, width), channels=channels, path_column=paths or columns.get("path_column"),
            label_column=labels or columns.get("label_column"), encoding=encoding,
        )  # fmt: skip
        return list(zip(names, pixels, strict=True)), truth

    def line(self, answer: Mapping[str, Any]) -> str:
        """An answer for a person."""
        return f"{answer['name']}  {answer['label']} {100 * answer['probability']:.1f} %"

    def rows(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers as rows of a table."""
        return [{name: answer[name] for name in ("name", "label", "probability")} for answer in answers]

    def judged(self, answers: Sequence[Mapping[str, Any]], truth: Sequence[str]) -> list[str]:
        """How many are right, and which classes the network does not know."""
        pairs = [(answer["label"], label) for answer, label in zip(answers, truth, strict=True)]
        return judged(pairs, self.plan.classes, " images", "labels")
