"""Images through an autoencoder: the same pixels come back, through a code of few numbers."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..nn.networks import Autoencoder
from ..settings import Settings, option
from ..training.task import Shown
from .examples import EVALUATION_BATCH, Rows
from .images import ImagePredictor, ImageTask, Pixels, Plan, data_uri
from .reconstruct import Reconstruct
from .repairs import COMMON, Repair

__all__ = ["CodingTask", "ImageCoder"]

SHOWN = 4
"""Images of each sort in the report."""
MOST_WRONG = 30
MEANINGLESS = {"class_weights": "none", "mixup": 0.0}
"""Settings about classes, and what they are when nothing is said."""


class CodingTask(ImageTask):
    """The task of an autoencoder; the network sees pixels from 0 to 1, and they are what is to come out.

    With `--noise` it sees them with noise, and what is to come out is without (P. Vincent et al., "Extracting and
    composing robust features with denoising autoencoders", ICML 2008).
    """

    repairs: ClassVar[Mapping[str, Repair]] = COMMON
    problem: Reconstruct

    def asked(self, settings: Settings) -> Reconstruct:
        """The image itself."""
        wrong = [name for name, nothing in MEANINGLESS.items() if settings.value(name) != nothing]
        if wrong:
            raise UsageError(f"{option(wrong[0])} is about classes, and an autoencoder has none; leave it out.")
        assert settings.network.code_size is not None
        cpu = torch.device("cpu")
        self.dtype = torch.float32
        problem = Reconstruct(
            lambda rows: self.raw(rows, cpu).flatten(1).float(), self.data.parts["train"], settings.network.code_size,
            names=self.plan.classes, labels=self.data.labels, unit=self.unit,
        )  # fmt: skip
        self.plan = replace(self.plan, variance=problem.components.variance)
        return problem

    @property
    def shown(self) -> Shown:
        """The share of the variance that is lost, beside PCA's."""
        data, (channels, height, width) = self.data, self.plan.shape
        pixels = channels * height * width
        facts = (
            f"Images of {width} x {height} pixels, {channels} channel{'s' if channels > 1 else ''}: {pixels:,} numbers "
            f"through {self.problem.code:,}.",
            ", ".join(f"{len(part):,} images in the {split} part" for split, part in data.parts.items()) + ".",
        )
        commands = (
            ("predict {run} IMAGE_OR_FOLDER --out codes.csv", "the code of new images, and what is lost of each"),
        )
        return Shown(self.unit, "nats", None, "class", facts, self.problem.metrics, commands,
                     loss_in=self.problem.loss_in)  # fmt: skip

    def judge_head(self, network: nn.Module) -> None:
        """A sigmoid fits, as pixels are from 0 to 1."""
        if self.settings.network.network_options.get("output", "sigmoid") != "sigmoid":
            super().judge_head(network)

    def outputs(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """(rows, 1 + code) what is lost of each image, and its code."""
        assert isinstance(network, Autoencoder)
        images = self.raw(rows, device)
        codes = network.encode(images)
        return torch.cat([self.problem.lost(images, network.decode(codes)).unsqueeze(1), codes], 1)

    def training_loss(self, network: Callable[..., Any], rows: Rows, device: torch.device) -> Tensor:
        """Of images that are changed if that is asked for, and of noise on the input only."""
        images, noise = self.raw(rows, device), self.settings.images.noise
        seen = images
        if self.augment or noise:
            generator = torch.Generator(device).manual_seed(int(torch.randint(1 << 62, ())))
            seen = images = self.augment(images, generator) if self.augment else images
            if noise:
                drawn = torch.randn(images.shape, generator=generator, device=device, dtype=images.dtype)
                seen = images + noise * drawn
        return F.mse_loss(network(seen), images) * (images[0].numel() / self.problem.components.variance)

    @torch.no_grad()
    def describe(self, network: nn.Module) -> list[dict[str, Any]]:
        """The error beside PCA's, images as they come back, the errors, and the map of the codes."""
        split = "test" if len(self.parts["test"]) else "dev"
        if not len(self.parts[split]):
            return []
        rows, outputs, _ = self.answers(network, split)
        beside, *charts = self.problem.panels(outputs, rows, split, self.example)
        return [beside, *self._pictures(network, outputs, rows, split), *charts]

    def _pictures(self, network: nn.Module, outputs: Tensor, rows: Rows, split: str) -> list[dict[str, Any]]:
        """Images beside what comes back: the best, the middle ones, the worst; then more of the worst."""
        assert isinstance(network, Autoencoder)
        order = torch.argsort(outputs[:, 0], stable=True).tolist()
        few, middle = min(SHOWN, len(order)), max(0, len(order) // 2 - SHOWN // 2)
        device = next(network.parameters()).device

        def pictured(places: list[int]) -> list[list[Any]]:
            back = network.decode(outputs[places, 1:].to(device, self.dtype))
            return [
                [
                    self.example(int(rows[at])),
                    {"image": data_uri(bytes_of(one)), "text": "given back"},
                    float(outputs[at, 0]),
                ]
                for at, one in zip(places, back, strict=True)
            ]

        sorts = {"best": order[:few], "in the middle": order[middle : middle + few], "worst": order[: -few - 1 : -1]}
        columns = [self.unit, "given back", "variance lost"]
        return [
            {
                "panel": "table",
                "title": f"Images given back, {split} part",
                "columns": ["", *columns],
                "rows": [[sort, *row] for sort, places in sorts.items() for row in pictured(places)],
            },
            {
                "panel": "table",
                "title": f"Least like the others, {split} part",
                "note": "The images of which most is lost: odd ones, or of a sort that the training part has few of.",
                "columns": columns,
                "rows": pictured(order[: -MOST_WRONG - 1 : -1]),
            },
        ]


def bytes_of(image: Tensor) -> Pixels:
    """(C, H, W) from 0 to 1 as bytes."""
    return (image.clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy()


class ImageCoder(ImagePredictor):
    """A trained autoencoder: the code of images, and what is lost of them.

    Args:
        network: in evaluation mode.
        plan: of its training.
        panels: of its evaluation, to tell how usual an error is.
    """

    def __init__(self, network: nn.Module, plan: Plan, panels: Sequence[Mapping[str, Any]] = ()):
        super().__init__(network, plan)
        found = next((panel["values"] for panel in panels if panel["panel"] == "histogram"), [])
        self.usual = np.array(found, np.float64)

    @torch.no_grad()
    def predict(self, images: Sequence[str | Path | tuple[str, Pixels]]) -> list[dict[str, Any]]:
        """For each image `name`, the `error` (share of the variance that is lost), `code`, and `above`: the share of
        the held-out images of which less is lost, None where none were held out.

        Args:
            images: files; or pairs of a name and (C, H, W) bytes, as `read` gives them.

        Raises:
            DataError: an image can't be read.
        """
        assert isinstance(self.network, Autoencoder)
        assert self.plan.variance is not None
        pairs, like, answers = self.pairs(images), next(self.network.parameters()), []
        for begin in range(0, len(pairs), EVALUATION_BATCH):
            names, pixels = zip(*pairs[begin : begin + EVALUATION_BATCH], strict=True)
            inputs = torch.from_numpy(np.stack(pixels)).to(like) / 255
            codes = self.network.encode(inputs)
            errors = (self.network.decode(codes) - inputs).square().flatten(1).sum(1) / self.plan.variance
            for name, error, code in zip(names, errors.tolist(), codes.tolist(), strict=True):
                above = float(np.mean(self.usual < error)) if len(self.usual) else None
                answers.append({"name": name, "error": error, "above": above, "code": code})
        return answers

    def line(self, answer: Mapping[str, Any]) -> str:
        """An answer for a person."""
        above = answer["above"]
        usual = "" if above is None else f", more than of {100 * above:.0f} % of the held-out images"
        return f"{answer['name']}  {answer['error']:.4f} of the variance lost{usual}"

    def rows(self, answers: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
        """Answers as rows of a table, a column for each number of the code."""
        return [
            {
                "name": answer["name"],
                "error": answer["error"],
                "above": answer["above"],
                **{f"code_{number}": value for number, value in enumerate(answer["code"], 1)},
            }
            for answer in answers
        ]

    def judged(self, answers: Sequence[Mapping[str, Any]], truth: Sequence[str]) -> list[str]:
        """Nothing of labels."""
        return []
