"""Pictures of what is inside: drawn by matplotlib, with a sentence for those who hear them, readable without color.

Signed numbers are drawn from black over middle gray, which is 0, to white; amounts from black, 0, to white, or on a
scale whose lightness grows with them. Every picture says its scale.
"""

from __future__ import annotations

import io
import math
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.patheffects import withStroke
from torch import Tensor

from ..errors import UsageError
from .backprojection import Projection, Saliency
from .charts import draw, svg_text
from .circuit import number_text
from .class_image import ClassImage
from .occlusion import Occlusion
from .patches import Filters, TopPatches

__all__ = [
    "MUTED",
    "Picture",
    "blank",
    "class_picture",
    "filter_picture",
    "occlusion_picture",
    "patch_picture",
    "projection_picture",
    "saliency_picture",
]

INK, MUTED = "#20242a", "#5d6570"
STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "carousel",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "axes.titlesize": 9,
    "text.usetex": False,
    "text.parse_math": False,
    "text.color": INK,
    "axes.titlecolor": INK,
    "axes.labelcolor": MUTED,
    "axes.edgecolor": MUTED,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "axes.linewidth": 0.8,
}
Scale = tuple[Sequence[float], Sequence[float]]
"""Mean and standard deviation per channel by which the images were standardized."""


@dataclass(frozen=True)
class Picture:
    """A figure and what it shows, in words.

    Attributes:
        figure: matplotlib's.
        alt: the alternative text; it is part of every file.
    """

    figure: Figure
    alt: str

    def svg(self) -> str:
        """As SVG text, the same bytes every time."""
        with _style(), self._kept():
            return svg_text(self.figure, self.alt)

    def png(self, dpi: int = 150) -> bytes:
        """As a PNG file."""
        buffer = io.BytesIO()
        with _style(), self._kept():
            self.figure.set_dpi(dpi)
            FigureCanvasAgg(self.figure).print_png(buffer, metadata={"Description": self.alt})
        return buffer.getvalue()

    @contextmanager
    def _kept(self) -> Iterator[None]:
        dpi = self.figure.dpi
        try:
            yield
        finally:
            self.figure.set_dpi(dpi)

    def save(self, path: str | Path) -> Path:
        """Write it to a file that ends in .svg or .png.

        Raises:
            UsageError: the name ends otherwise, or the folder is missing.
        """
        path = Path(path)
        if path.suffix.lower() not in (".svg", ".png"):
            raise UsageError(f"The picture's name is {path.name!r}; give one that ends in .svg or .png.")
        if not path.parent.is_dir():
            raise UsageError(f"There is no folder {path.parent}; make it first.")
        path.write_bytes(self.png() if path.suffix.lower() == ".png" else self.svg().encode())
        return path

    def _repr_html_(self) -> str:
        return self.svg()


# -- convolutional nets -----------------------------------------------------------------------------------------------


def filter_picture(filters: Filters, channel: int | None = None) -> Picture:
    """A convolution's filters side by side on one scale: RGB of three channels, gray of one.

    Args:
        filters: of `first_filters`.
        channel: of the input, to see that one alone; needed where there are other than 1 or 3.

    Raises:
        UsageError: there are other than 1 or 3 channels and none is chosen.
    """
    pixels = filters.as_pixels()
    channels = pixels.shape[1]
    if channel is not None:
        if not 0 <= channel < channels:
            raise UsageError(f"The filters have {channels} channels; there is no channel {channel}.")
        pixels = pixels[:, channel : channel + 1]
    elif channels not in (1, 3):
        raise UsageError(f"The filters have {channels} channels, not 1 or 3 as a picture has; choose one, channel=0.")
    color = pixels.shape[1] == 3
    limit = number_text(float(f"{filters.limit:.2g}"))
    ends = f"−{limit} {'dark' if color else 'black'}, 0 gray, {limit} {'bright' if color else 'white'}"
    title = f"{len(pixels)} filters{_of(filters.layer)}, {'in RGB, ' if color else ''}one scale: {ends}"
    columns = math.ceil(math.sqrt(len(pixels) * 1.6))
    with blank() as figure:
        image = _mosaic(list(pixels), columns)
        rows = math.ceil(len(pixels) / columns)
        figure.set_size_inches(7.5, 7.5 * rows / columns * pixels.shape[2] / pixels.shape[3] + 0.4)
        _show(figure.add_subplot(), image, title)
    return Picture(figure, title + ".")


def patch_picture(
    top: TopPatches,
    channels: Sequence[int] | None = None,
    *,
    scale: Scale | None = None,
    beside: dict[int, list[Tensor]] | None = None,
    most: int = 24,
) -> Picture:
    """For each channel its strongest patches in a square, the strongest first.

    Args:
        top: of `top_patches`.
        channels: which; None for all.
        scale: to undo the standardization of images; None stretches the range of all patches to black and white.
        beside: per channel other pixels of the same places, such as `top.cut(channel, backproject(…).pixels)`; drawn
            to the right, each on its own scale around gray.
        most: channels drawn at most; the title says how many are left out.
    """
    wanted = top.channels.tolist() if channels is None else list(channels)
    shown = wanted[:most]
    if not shown:
        raise UsageError("There is no channel to draw; give at least one.")
    side = math.ceil(math.sqrt(top.values.shape[1]))
    all_of_them = [patch for channel in shown for patch in top.of(channel)]
    if all_of_them[0].ndim != 3:
        raise UsageError(
            f"A patch has the shape {tuple(all_of_them[0].shape)}; a picture takes images in two dimensions."
        )
    limits = _range(all_of_them)
    cell = max(patch.shape[1] for patch in all_of_them), max(patch.shape[2] for patch in all_of_them)
    columns = min(len(shown), 3 if beside else 6)
    rows = math.ceil(len(shown) / columns)
    left = f", {len(wanted) - len(shown)} more channels left out" if len(wanted) > len(shown) else ""
    title = f"The {top.values.shape[1]} patches that activate each channel{_of(top.layer)} most{left}"
    with blank() as figure:
        figure.set_size_inches(7.5, (7.5 / columns * (0.5 if beside else 1) + 0.25) * rows + 0.3)
        figure.suptitle(title, fontsize=9)
        for number, channel in enumerate(shown):
            patches = [_pixels(patch, scale, limits) for patch in top.of(channel)]
            axes = figure.add_subplot(rows, columns, number + 1)
            image = _mosaic(patches, side, cell)
            if beside:
                signed = [_signed(patch) for patch in beside.get(channel, [])]
                gap = np.ones((image.shape[0], 3, 3))
                other = _mosaic(signed, side, cell) if signed else np.ones_like(image)
                image = np.concatenate([image, gap, other], 1)
            _show(axes, image, _channel_title(top, channel))
    largest = ", ".join(_channel_title(top, channel) for channel in shown)
    return Picture(figure, f"{title}. Largest activations: {largest}.")


def projection_picture(images: Tensor, projections: Sequence[Projection], *, scale: Scale | None = None) -> Picture:
    """Images, and beside each what `backproject` made of it, one column for each rule.

    Args:
        images: (batch, channels, height, width), those that were given to `backproject`.
        projections: of the same images.
        scale: as of `patch_picture`.
    """
    names = [f"{one.rule}, channel {one.channel}" + _of(one.layer) for one in projections]
    columns = [[_signed(pixels) for pixels in one.pixels] for one in projections]
    title = "Images and what a unit answers to; each on its own scale, 0 is gray"
    return _beside(images, scale, title, names, columns)


def saliency_picture(
    images: Tensor, found: Saliency, *, names: Sequence[str] | None = None, scale: Scale | None = None
) -> Picture:
    """Images, and beside each how much its pixels matter for the class: black not at all, white the most of the image.

    Args:
        images: those that were given to `saliency`.
        found: its result.
        names: of the classes.
        scale: as of `patch_picture`.
    """
    maps = [(one / one.max().clamp_min(1e-30)).unsqueeze(0) for one in found.map]
    said = [_name(number, names) for number in found.classes.tolist()]
    title = "Images and the size of ∂score/∂pixel; 0 is black, the largest of each image white"
    return _beside(images, scale, title, ["saliency"], [maps], said)


def occlusion_picture(found: Occlusion, *, names: Sequence[str] | None = None, scale: Scale | None = None) -> Picture:
    """The image, the probability of the class for each place of the square, and the class that wins there.

    Args:
        found: of `occlusion`.
        names: of the classes.
        scale: as of `patch_picture`.
    """
    height, width = found.image.shape[1:]
    of = _name(found.target, names)
    across, down = _edges(found.columns, found.size[1]), _edges(found.rows, found.size[0])
    winners = sorted(set(found.predicted.flatten().tolist()))
    with blank() as figure:
        figure.set_size_inches(9, 3.1 * height / width + 0.6)
        image, chance, winner = (figure.add_subplot(1, 3, place) for place in (1, 2, 3))
        _show(image, _rgb(_pixels(found.image, scale, _range([found.image]))), f"the image: {of}")
        shades: dict[str, Any] = {"rasterized": True, "linewidth": 0}
        drawn = chance.pcolormesh(across, down, found.probability.numpy(), cmap="cividis", vmin=0, vmax=1, **shades)
        figure.colorbar(drawn, ax=chance, shrink=0.8)
        chance.set_title(f"P({of}) with the square here")
        ranks = torch.zeros_like(found.predicted)
        for rank, number in enumerate(winners):
            ranks[found.predicted == number] = rank
        winner.pcolormesh(across, down, ranks.numpy(), cmap="gray", vmin=-1, vmax=len(winners), **shades)
        left = _name_areas(winner, found, across, down, names)
        winner.set_title(f"the class that wins{f' ({left} not named)' if left else ''}")
        for axes in (chance, winner):
            axes.set(xlim=(-0.5, width - 0.5), ylim=(height - 0.5, -0.5), xticks=[], yticks=[], aspect="equal")
    low, high = float(found.probability.min()), float(found.probability.max())
    row, column = divmod(int(found.probability.argmin()), len(found.columns))
    alt = (
        f"A square of {found.size[0]} by {found.size[1]} pixels is slid over an image. The probability of {of}, "
        f"{number_text(found.whole[1])} for the whole image, is between {number_text(low)} and {number_text(high)}; it "
        f"is lowest with the square at row {found.rows[row]}, column {found.columns[column]}. Winners: "
        f"{', '.join(_name(number, names) for number in winners)}."
    )
    return Picture(figure, alt)


def class_picture(found: ClassImage, *, names: Sequence[str] | None = None) -> Picture:
    """The image that was climbed to for each class, each on its own scale around gray, which is 0.

    Args:
        found: of `class_image`, with 1 or 3 channels.
        names: of the classes.
    """
    columns = min(5, len(found.pixels))
    rows = math.ceil(len(found.pixels) / columns)
    said = [
        f"{_name(number, names)}, score {number_text(score)}"
        for number, score in zip(found.classes.tolist(), found.scores[-1].tolist(), strict=True)
    ]
    with blank() as figure:
        figure.set_size_inches(1.7 * columns + 0.3, 1.95 * rows + 0.3)
        figure.suptitle("Images with a high score, each on its own scale, 0 is gray", fontsize=9)
        for number, (pixels, label) in enumerate(zip(found.pixels, said, strict=True)):
            _show(figure.add_subplot(rows, columns, number + 1), _rgb(_signed(pixels)), label)
    return Picture(figure, f"Images with a high score of a class, by gradient ascent: {'; '.join(said)}.")


def _beside(
    images: Tensor,
    scale: Scale | None,
    title: str,
    names: list[str],
    columns: list[list[Tensor]],
    said: list[str] | None = None,
) -> Picture:
    """A row for each image, the image first."""
    if any(len(column) != len(images) for column in columns) or not columns or not len(images):
        raise UsageError(f"There are {len(images)} images and results of {[len(c) for c in columns]}; give the same.")
    limits = _range(list(images))
    with blank() as figure:
        side = min(1.9, 7.5 / (len(columns) + 1))
        tall = (side * images.shape[-2] / images.shape[-1] + 0.1) * len(images) + 0.7
        figure.set_size_inches(side * (len(columns) + 1), tall)
        figure.suptitle(title, fontsize=9, wrap=True)
        for row, image in enumerate(images):
            pictures = [_pixels(image, scale, limits), *[column[row] for column in columns]]
            heads = ["image", *names] if row == 0 else [""] * len(pictures)
            for place, (pixels, head) in enumerate(zip(pictures, heads, strict=True)):
                axes = figure.add_subplot(len(images), len(pictures), row * len(pictures) + place + 1)
                _show(axes, _rgb(pixels), head)
                if place == 0 and said:
                    axes.set_ylabel(said[row])
    listed = f" The images: {', '.join(said)}." if said else ""
    return Picture(figure, f"{title}. Columns: image, {', '.join(names)}.{listed}")


draw.register(Filters, lambda found, **options: filter_picture(found, **options).figure)
draw.register(TopPatches, lambda found, **options: patch_picture(found, **options).figure)
draw.register(Occlusion, lambda found, **options: occlusion_picture(found, **options).figure)
draw.register(ClassImage, lambda found, **options: class_picture(found, **options).figure)


# -- pixels -----------------------------------------------------------------------------------------------------------


@contextmanager
def _style() -> Iterator[None]:
    with warnings.catch_warnings(), matplotlib.rc_context(STYLE):
        warnings.filterwarnings("ignore", message="Glyph .* missing from")  # the reader's fonts have more letters
        yield


@contextmanager
def blank(*, constrained: bool = True) -> Iterator[Figure]:
    """A figure to draw on; where things are is settled when it is left."""
    with _style():
        figure = Figure(dpi=150, facecolor="white", layout="constrained" if constrained else None)
        yield figure
        FigureCanvasAgg(figure).draw()
        figure.set_layout_engine("none")  # each drawing would move things a little further


def _show(axes: Axes, image: np.ndarray, title: str = "") -> None:
    axes.imshow(image, interpolation="none", cmap="gray", vmin=0, vmax=1)
    axes.set(xticks=[], yticks=[])
    axes.spines[:].set_visible(False)
    if title:
        axes.set_title(title, wrap=True)


def _range(images: Sequence[Tensor]) -> tuple[float, float]:
    return min(float(one.min()) for one in images), max(float(one.max()) for one in images)


def _pixels(image: Tensor, scale: Scale | None, limits: tuple[float, float]) -> Tensor:
    """In [0, 1], of the image's shape."""
    image = image.detach().float().cpu()
    if scale is not None:
        mean, std = (torch.as_tensor(part, dtype=torch.float32).reshape(-1, 1, 1).cpu() for part in scale)
        if {len(mean), len(std)} - {1, len(image)}:
            raise UsageError(
                f"The scale is of {len(mean)} channels, the image has {len(image)}; give one pair for each."
            )
        return (image * std + mean).clamp(0, 1)
    low, high = limits
    return (image - low) / (high - low) if high > low else torch.full_like(image, 0.5)


def _signed(image: Tensor) -> Tensor:
    """In [0, 1], zero at a half."""
    image = image.detach().float().cpu()
    limit = image.abs().max() if image.numel() else torch.zeros(())
    return 0.5 + image / (2 * limit) if limit > 0 else torch.full_like(image, 0.5)


def _rgb(image: Tensor) -> np.ndarray:
    """(height, width, 3)"""
    if image.ndim != 3 or image.shape[0] not in (1, 3):
        raise UsageError(f"A picture takes (1 or 3 channels, height, width); got {tuple(image.shape)}.")
    return image.detach().float().cpu().permute(1, 2, 0).expand(-1, -1, 3).numpy()


def _mosaic(images: Sequence[Tensor], columns: int, cell: tuple[int, int] = (1, 1)) -> np.ndarray:
    """Images in [0, 1] side by side on white, a pixel apart; smaller ones stand at the upper left of their place."""
    pictures = [_rgb(image) for image in images]
    tall, wide = (max(least, *(picture.shape[axis] for picture in pictures)) for axis, least in enumerate(cell))
    rows = math.ceil(len(pictures) / columns)
    whole = np.ones((rows * (tall + 1) - 1, columns * (wide + 1) - 1, 3), dtype=np.float32)
    for number, picture in enumerate(pictures):
        top, left = number // columns * (tall + 1), number % columns * (wide + 1)
        whole[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return whole


def _edges(starts: Sequence[int], size: int) -> np.ndarray:
    """Where the cells of the squares' middles meet, in pixels; the last step may be shorter than the others."""
    middles = np.array(starts) + (size - 1) / 2
    between = (middles[1:] + middles[:-1]) / 2
    first, last = (between[0], between[-1]) if len(between) else (middles[0] + 0.5, middles[0] - 0.5)
    return np.array([2 * middles[0] - first, *between, 2 * middles[-1] - last])


def _name_areas(axes: Axes, found: Occlusion, across: np.ndarray, down: np.ndarray, names: Sequence[str] | None) -> int:
    """Names the winners where they are farthest from others, the largest area first; how many found no room."""
    rows, columns = found.predicted.shape
    numbers, counts = found.predicted.unique(return_counts=True)
    taken: list[tuple[float, float, float]] = []
    letter, line = found.image.shape[2] * 0.03, found.image.shape[1] * 0.07
    for number in numbers[counts.argsort(descending=True)].tolist():
        here, away = ((found.predicted == number) == inside for inside in (True, False))
        places, others = here.nonzero().float(), away.nonzero().float()
        far = torch.stack([places, torch.tensor([rows, columns]) - 1 - places]).amin((0, 2)) + 1  # to the border
        far = torch.minimum(far, torch.cdist(places, others).amin(1)) if len(others) else far
        row, column = places[far.argmax()].tolist()
        x, y = (float(edges[int(i)] + edges[int(i) + 1]) / 2 for edges, i in ((across, column), (down, row)))
        name = _name(number, names)
        half = letter * len(name) / 2
        if any(abs(x - other) < half + wide and abs(y - below) < line for other, below, wide in taken):
            continue
        taken.append((x, y, half))
        outline = [withStroke(linewidth=2.5, foreground="white")]  # leaves to be seen what is below
        axes.text(x, y, name, ha="center", va="center", fontsize=8, path_effects=outline)
    return len(numbers) - len(taken)


def _of(layer: str) -> str:
    return f" of layer {layer}" if layer else ""


def _channel_title(top: TopPatches, channel: int) -> str:
    row = top.channels.tolist().index(channel)
    value = float(top.values[row, 0])
    return f"channel {channel}: {'never above 0' if value <= 0 else number_text(value)}"


def _name(number: int, names: Sequence[str] | None) -> str:
    return f"class {number}" if names is None or number >= len(names) else str(names[number])
