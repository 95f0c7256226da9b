r"""Residual networks for CIFAR and ImageNet, and the plain ones beside them.

He, Zhang, Ren & Sun, "Deep residual learning for image recognition", CVPR 2016. A block learns what is to be added to
its input, :math:`y = \mathrm{ReLU}(x + F(x))`; without the "x +" it is a block of a plain network.

Parameters for 10 classes on CIFAR (the paper's table 6 has millions): ResNet-20 269,722; 32: 464,154; 44: 658,586; 56:
853,018; 110: 1,727,962; a plain network has as many, since its shortcuts have no weights. On ImageNet: ResNet-18
11,689,512; 34: 21,797,672; 50: 25,557,032; 101: 44,549,160; 152: 60,192,808. Modules are named as in torchvision, whose
weights for ImageNet can be loaded (those of 50 and deeper want `stride_at="3x3"`).
"""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UsageError

__all__ = ["Bottleneck", "ResNet", "TwoLayers", "resnet_cifar", "resnet_imagenet"]

Shortcut = Literal["pad", "project", "none"]

IMAGENET = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3), 50: (3, 4, 6, 3), 101: (3, 4, 23, 3), 152: (3, 8, 36, 3)}
"""Blocks of each stage; from 50 on they are bottlenecks."""


def _conv(taken: int, made: int, kernel: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(taken, made, kernel, stride, kernel // 2, bias=False)


class _Pad(nn.Module):
    """Every `stride`-th place, and maps of zeros behind those that are there: the paper's option A."""

    def __init__(self, stride: int, more: int):
        super().__init__()
        self.stride, self.more = stride, more

    def forward(self, x: Tensor) -> Tensor:
        return F.pad(x[:, :, :: self.stride, :: self.stride], (0, 0, 0, 0, 0, self.more))

    def extra_repr(self) -> str:
        return f"stride={self.stride}, more={self.more}"


def _shortcut(taken: int, made: int, stride: int, how: Shortcut) -> nn.Module | None:
    if how == "none" or (taken == made and stride == 1):
        return None
    if how == "pad":
        return _Pad(stride, made - taken)
    return nn.Sequential(_conv(taken, made, 1, stride), nn.BatchNorm2d(made))


class TwoLayers(nn.Module):
    """ReLU(x + F(x)) with two 3x3 convolutions, each with batch norm; the first takes the stride.

    Args:
        taken: maps of the input.
        width: maps of the output.
        stride: of the block.
        shortcut: where sizes differ, "pad" (zeros, no weights) or "project" (a 1x1 convolution with batch norm);
            "none" leaves out "x +".
    """

    widening = 1

    def __init__(self, taken: int, width: int, stride: int, shortcut: Shortcut):
        super().__init__()
        self.conv1, self.bn1 = _conv(taken, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3), nn.BatchNorm2d(width)
        self.relu = nn.ReLU()
        self.residual = shortcut != "none"
        self.downsample = _shortcut(taken, width, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, maps, height, width)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        if self.residual:
            y = y + (x if self.downsample is None else self.downsample(x))
        return self.relu(y)


class Bottleneck(nn.Module):
    """ReLU(x + F(x)) with 1x1, 3x3 and 1x1 convolutions; the last has four times as many maps.

    Args:
        taken: maps of the input.
        width: maps inside; the output has 4 x width.
        stride: of the block.
        shortcut: as of `TwoLayers`.
        stride_at: which convolution takes the stride; "1x1" as published, "3x3" as in most later code.
    """

    widening = 4

    def __init__(
        self, taken: int, width: int, stride: int, shortcut: Shortcut, stride_at: Literal["1x1", "3x3"] = "1x1"
    ):
        super().__init__()
        first, second = (stride, 1) if stride_at == "1x1" else (1, stride)
        self.conv1, self.bn1 = _conv(taken, width, 1, first), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _conv(width, width, 3, second), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.relu = nn.ReLU()
        self.downsample = _shortcut(taken, 4 * width, stride, shortcut)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, maps, height, width)."""
        y = self.relu(self.bn1(self.conv1(x)))
        y = self.bn3(self.conv3(self.relu(self.bn2(self.conv2(y)))))
        return self.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """A convolution, stages of blocks, the mean over all places, and the scores.

    From the second stage on the first block of each halves the size and doubles the maps.

    Args:
        input_shape: (channels, height, width).
        outputs: number of scores.
        stages: blocks of each stage.
        filters: maps of the first stage.
        wide_start: begin with a 7x7 convolution of stride 2 and pooling, as for ImageNet, instead of a 3x3.
        shortcut: as of `TwoLayers`.
        bottleneck: None for blocks of two layers, or where bottlenecks have their stride.

    Raises:
        UsageError: the inputs are no images.

    Example:
        >>> net = ResNet((3, 32, 32), 10, (3, 3, 3), filters=16, wide_start=False, shortcut="pad")
        >>> sum(p.numel() for p in net.parameters())
        269722
    """

    def __init__(
        self,
        input_shape: tuple[int, ...],
        outputs: int,
        stages: tuple[int, ...],
        *,
        filters: int,
        wide_start: bool,
        shortcut: Shortcut,
        bottleneck: Literal["1x1", "3x3"] | None = None,
    ):
        super().__init__()
        if len(input_shape) != 3:
            raise UsageError(
                f"A residual network takes images, (channels, height, width), and gets inputs of {input_shape}."
            )
        channels = input_shape[0]
        self.conv1 = nn.Conv2d(channels, filters, 7, 2, 3, bias=False) if wide_start else _conv(channels, filters, 3)
        self.bn1, self.relu = nn.BatchNorm2d(filters), nn.ReLU()
        self.maxpool = nn.MaxPool2d(3, 2, 1) if wide_start else nn.Identity()
        taken, names = filters, []
        for number, count in enumerate(stages):
            blocks = []
            for place in range(count):
                width, stride = filters * 2**number, 2 if number and not place else 1
                if bottleneck is None:
                    blocks.append(TwoLayers(taken, width, stride, shortcut))
                else:
                    blocks.append(Bottleneck(taken, width, stride, shortcut, bottleneck))
                taken = width * blocks[-1].widening
            names.append(f"layer{number + 1}")
            self.add_module(names[-1], nn.Sequential(*blocks))
        self.stages = tuple(names)
        self.avgpool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Linear(taken, outputs)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to (batch, outputs)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        for name in self.stages:
            x = getattr(self, name)(x)
        return self.fc(torch.flatten(self.avgpool(x), 1))


def resnet_cifar(
    input_shape: tuple[int, ...],
    outputs: int,
    depth: int,
    filters: int = 16,
    shortcut: Literal["pad", "project", "none"] = "pad",
) -> nn.Module:
    """Section 4.2: 6n + 2 layers, three stages of n blocks, of 16, 32 and 64 maps.

    Args:
        input_shape: (channels, height, width); the paper has (3, 32, 32).
        outputs: number of scores.
        depth: 6n + 2.
        filters: maps of the first stage; 8 makes a thin net.
        shortcut: where sizes differ, "pad" as in the paper or "project"; "none" makes the plain network.
    """
    stages = ((depth - 2) // 6,) * 3
    return ResNet(input_shape, outputs, stages, filters=filters, wide_start=False, shortcut=shortcut)


def resnet_imagenet(
    input_shape: tuple[int, ...],
    outputs: int,
    depth: int,
    filters: int = 64,
    shortcut: Literal["pad", "project", "none"] = "project",
    stride_at: Literal["1x1", "3x3"] = "1x1",
) -> nn.Module:
    """Table 1 of the paper: 18 and 34 layers with blocks of two, 50, 101 and 152 with bottlenecks.

    Args:
        input_shape: (channels, height, width); the paper has (3, 224, 224).
        outputs: number of scores.
        depth: 18, 34, 50, 101 or 152.
        filters: maps of the first stage.
        shortcut: where sizes differ, "project" (option B) or "pad" (option A, with which the paper's ResNet-34 has
            3.6 billion multiply-adds); "none" makes 18 and 34 plain networks.
        stride_at: which convolution of a bottleneck takes the stride.
    """
    if shortcut == "none" and depth >= 50:
        raise UsageError(f"There is no plain network of bottlenecks; resnet{depth} takes the shortcut pad or project.")
    bottleneck = stride_at if depth >= 50 else None
    stages = IMAGENET[depth]
    return ResNet(
        input_shape, outputs, stages, filters=filters, wide_start=True, shortcut=shortcut, bottleneck=bottleneck
    )
