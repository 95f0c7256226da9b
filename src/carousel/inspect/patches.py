"""What the channels of a convolutional net look for: filters of its first layer, and what activates the others most.

Zeiler & Fergus, "Visualizing and understanding convolutional networks", ECCV 2014, show the nine strongest patches.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .layers import Tap, find_layer
from .receptive_field import ReceptiveFields, receptive_fields

__all__ = ["Filters", "TopPatches", "first_filters", "top_patches"]


@dataclass(frozen=True)
class Filters:
    """The filters of a convolution.

    Attributes:
        layer: its name.
        weight: (filters, channels, height, width).
        limit: the largest |weight| of all: one scale for the whole layer, from -limit to limit.
    """

    layer: str
    weight: Tensor
    limit: float

    def as_pixels(self) -> Tensor:
        """In [0, 1], of the shape of `weight`; a weight of 0 is a half in every filter."""
        return 0.5 + self.weight / (2 * self.limit) if self.limit else torch.full_like(self.weight, 0.5)


def first_filters(model: nn.Module, layer: str | nn.Module | None = None) -> Filters:
    """The filters of a network's first convolution, as they would be seen.

    Args:
        model: any network.
        layer: another 2-D convolution of it.

    Raises:
        UsageError: there is none, or the layer is another thing, or its weights are not finite.

    Example:
        >>> first_filters(nn.Sequential(nn.Conv2d(3, 8, 5), nn.ReLU(), nn.Conv2d(8, 4, 3))).weight.shape
        torch.Size([8, 3, 5, 5])
    """
    if layer is None:
        find_layer(model, None)
        layer = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
        if layer is None:
            raise UsageError(f"{type(model).__name__} has no 2-D convolution; it has no filters to show.")
    name, found = find_layer(model, layer)
    if not isinstance(found, nn.Conv2d):
        raise UsageError(f"The layer {name!r} is a {type(found).__name__}; name a 2-D convolution.")
    weight = found.weight.detach().cpu().clone()
    if not weight.isfinite().all():
        raise UsageError(f"The weights of {name!r} are not all finite; training has failed before.")
    return Filters(name, weight, float(weight.abs().max()))


@dataclass(frozen=True)
class TopPatches:
    """For each channel the images and places that activate it most, one place of an image.

    Attributes:
        layer: its name.
        channels: (channels,) which they are.
        values: (channels, n) the activations, the largest first.
        images: (channels, n) numbers of the images, counted through all batches.
        positions: (channels, n, axes) where in the layer's map.
        begin, end: (channels, n, axes) where in the image: the exact receptive field, cut at the border.
        patches: per channel n tensors (channels of the image, …), cut out there.
    """

    layer: str
    channels: Tensor
    values: Tensor
    images: Tensor
    positions: Tensor
    begin: Tensor
    end: Tensor
    patches: list[list[Tensor]]

    def cut(self, channel: int, pixels: Tensor) -> list[Tensor]:
        """The same places of other tensors, such as of what `backproject` makes of these images.

        Args:
            channel: one of `channels`.
            pixels: (n, channels of the image, …), in the order of `images`.
        """
        row = self._row(channel)
        if len(pixels) != self.values.shape[1]:
            raise UsageError(f"Got {len(pixels)} images for the {self.values.shape[1]} patches of channel {channel}.")
        boxes = zip(pixels, self.begin[row].tolist(), self.end[row].tolist(), strict=True)
        return [_cut(image, begin, end) for image, begin, end in boxes]

    def of(self, channel: int) -> list[Tensor]:
        """The patches of a channel, the strongest first."""
        return self.patches[self._row(channel)]

    def _row(self, channel: int) -> int:
        found = (self.channels == channel).nonzero()
        if not len(found):
            raise UsageError(f"There are no patches of channel {channel}; there are those of {self.channels.tolist()}.")
        return int(found[0, 0])


@torch.no_grad()
def top_patches(
    model: nn.Module,
    layer: str | nn.Module,
    images: Tensor | Iterable[Any],
    n: int = 9,
    *,
    channels: int | Sequence[int] | None = None,
    batch: int = 32,
    fields: ReceptiveFields | None = None,
) -> TopPatches:
    """The n images whose strongest activation in a channel is largest, and what the channel sees of each.

    One pass over the images; kept are n patches per channel, no more. Among equal activations the earlier image counts,
    and in an image the earlier place, row by row: batches of any size give the same.

    Args:
        model: takes a tensor (batch, channels, …). It is left as it was.
        layer: name or module; its output is (batch, channels, …).
        images: (images, channels, …), as the network takes them; or an iterable of such batches, or of tuples that
            begin with one, such as a `DataLoader`.
        n: patches per channel; fewer where there are fewer images.
        channels: which of the layer's, one or several; None for all.
        batch: images of a pass, where they are one tensor.
        fields: of this layer and size of image, where `receptive_fields` has found them already.

    Raises:
        UsageError: there are no images, they differ in size, a channel does not exist, an activation is NaN.

    Example:
        >>> net = nn.Conv2d(1, 1, 3)
        >>> with torch.no_grad():
        ...     _ = net.weight.fill_(1.0)
        >>> images = torch.zeros(4, 1, 6, 6)
        >>> images[2, 0, 3, 4] = 5.0
        >>> found = top_patches(net, net, images, n=2)
        >>> found.images.tolist(), found.positions[0, 0].tolist(), found.patches[0][0].shape
        ([[2, 0]], [1, 2], torch.Size([1, 3, 3]))
    """
    if n < 1:
        raise UsageError(f"Asked for {n} patches per channel; give at least 1.")
    tap, best, seen, shape = Tap(model, layer), None, 0, None
    with tap.looking():
        for some in _batches(images, batch):
            if shape is not None and tuple(some.shape[1:]) != shape:
                raise UsageError(f"Images of the shapes {shape} and {tuple(some.shape[1:])}; give images of one size.")
            output = tap(tap.on_device(some))
            if shape is None:
                shape = tuple(some.shape[1:])
                best = _Best(tap, output, shape, n, channels, fields)
            assert best is not None
            best.add(some, output, seen)
            seen += len(some)
    if best is None or not seen:
        raise UsageError("There are no images; give at least one.")
    return best.found()


class _Best:
    """The strongest so far."""

    def __init__(
        self,
        tap: Tap,
        output: Tensor,
        shape: tuple[int, ...],
        n: int,
        channels: int | Sequence[int] | None,
        fields: ReceptiveFields | None,
    ):
        count = output.shape[1] if output.ndim > 1 else 0
        wanted = range(count) if channels is None else channels
        self.channels = [wanted] if isinstance(wanted, int) else list(wanted)
        if not self.channels or not all(0 <= channel < count for channel in self.channels):
            raise UsageError(f"The layer has channels 0 to {count - 1}; got {self.channels}.")
        self.tap, self.n, self.maps = tap, n, tuple(output.shape[2:])
        self.fields = receptive_fields(tap.model, tap.layer, shape) if fields is None else fields
        if tuple(self.fields.begin.shape[1:]) != tuple(output.shape[1:]) or self.fields.input_shape != shape:
            raise UsageError(f"The fields are of another layer or size of image; find them for images of {shape}.")
        rows = len(self.channels)
        self.values = torch.empty(rows, 0, dtype=output.dtype)
        self.images = torch.empty(rows, 0, dtype=torch.long)
        self.places = torch.empty(rows, 0, dtype=torch.long)
        self.patches: list[list[Tensor]] = [[] for _ in self.channels]

    def add(self, images: Tensor, output: Tensor, seen: int) -> None:
        flat = output[:, self.channels].flatten(2) if output.ndim > 2 else output[:, self.channels].unsqueeze(2)
        places = flat.argmax(2, keepdim=True)  # the first of equal ones, as PyTorch promises
        values = flat.gather(2, places).squeeze(2).T.cpu()
        if values.isnan().any():
            raise UsageError(f"Activations of the layer {self.tap.name!r} are NaN; no patch can be the strongest.")
        kept = self.values.shape[1]
        numbers = torch.arange(seen, seen + len(images)).expand(len(values), -1)
        together = torch.cat([self.values, values], 1)
        order = together.sort(dim=1, descending=True, stable=True).indices[:, : self.n]
        self.values = together.gather(1, order)
        self.images = torch.cat([self.images, numbers], 1).gather(1, order)
        self.places = torch.cat([self.places, places.squeeze(2).T.cpu()], 1).gather(1, order)
        for row, chosen in enumerate(order.tolist()):
            old = self.patches[row]
            self.patches[row] = [
                old[index] if index < kept else self._patch(images[index - kept], row, rank)
                for rank, index in enumerate(chosen)
            ]

    def _box(self, row: int, rank: int) -> tuple[list[int], list[int]]:
        place = torch.unravel_index(self.places[row, rank], self.maps) if self.maps else ()
        unit = (slice(None), self.channels[row], *place)
        return self.fields.begin[unit].tolist(), self.fields.end[unit].tolist()

    def _patch(self, image: Tensor, row: int, rank: int) -> Tensor:
        return _cut(image, *self._box(row, rank)).detach().cpu().clone()

    def found(self) -> TopPatches:
        boxes = torch.tensor(
            [[self._box(row, rank) for rank in range(self.values.shape[1])] for row in range(len(self.channels))]
        )
        shape = (*self.places.shape, len(self.maps))
        positions = torch.stack(torch.unravel_index(self.places, self.maps), -1) if self.maps else torch.zeros(shape)
        return TopPatches(
            self.tap.name,
            torch.tensor(self.channels),
            self.values,
            self.images,
            positions.long(),
            boxes[:, :, 0],
            boxes[:, :, 1],
            self.patches,
        )


def _cut(image: Tensor, begin: list[int], end: list[int]) -> Tensor:
    return image[(slice(None), *[slice(b, e) for b, e in zip(begin, end, strict=True)])]


def _batches(images: Tensor | Iterable[Any], batch: int) -> Iterator[Tensor]:
    for some in images.split(batch) if isinstance(images, Tensor) else images:
        one = some[0] if isinstance(some, tuple | list) and some else some
        if not isinstance(one, Tensor) or one.ndim < 3:
            got = f"the shape {tuple(one.shape)}" if isinstance(one, Tensor) else f"a {type(one).__name__}"
            raise UsageError(f"A batch of images is {got}; expected (batch, channels, height, width).")
        if len(one):
            yield one
