"""Images as a kind of data: named by their class, or given back by an autoencoder, as the network has it."""

from __future__ import annotations

from typing import Any

from torch import nn

from ..data.images import looks_like_images
from ..settings import Settings
from .classify import answer_lines
from .image_codes import CodingTask, ImageCoder
from .images import ImageData, ImagePredictor, ImageTask, Plan, build, reconstructs
from .kind import RECURRENT, Kind, Stored
from .reconstruct import reconstruction_lines

__all__ = ["IMAGES"]


def _task(data: ImageData, settings: Settings, cell: None) -> ImageTask:
    return (CodingTask if reconstructs(settings) else ImageTask)(data, settings)


def _user(stored: Stored, settings: Settings, network: nn.Module) -> ImagePredictor:
    if not reconstructs(settings):
        return ImagePredictor(network, Plan.of(stored))
    return ImageCoder(network, Plan.of(stored), (stored("evaluation.json") or {}).get("panels", []))


def _shows(user: Any, stored: Stored) -> tuple[str, str] | None:
    panels = (stored("evaluation.json") or {}).get("panels", [])
    return reconstruction_lines(panels) if isinstance(user, ImageCoder) else answer_lines(panels)


IMAGES = Kind(
    name="images",
    about="images",
    recognizes=looks_like_images,
    read=ImageData.load,
    task=_task,
    network=lambda stored, settings, cell: build(settings, Plan.of(stored)),
    user=_user,
    example=lambda stored, settings: Plan.of(stored).shape,
    verb="predict",
    recurrent=False,
    defaults={"network": "convnet", "batch": 64, "learning_rate": 2e-3},
    epochs=8,
    without=(
        "level",
        "vocabulary_size",
        "min_count",
        "words",
        "target",
        "window",
        "backward",
        "dropout",
        *RECURRENT,
    ),
    shows=_shows,
)
