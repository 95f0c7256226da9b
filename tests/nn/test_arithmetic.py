"""Sizes of convolutions against PyTorch's layers and against counting."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from carousel.errors import UsageError
from carousel.nn import output_size, padding_size

GRID = list(itertools.product((1, 2, 5, 8, 13), (1, 2, 3, 5), (1, 2, 3), (0, 1, 2), (1, 2)))


@pytest.mark.parametrize("dimensions", [1, 2, 3])
def test_sizes_are_those_of_torch(dimensions: int) -> None:
    layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[dimensions - 1]
    back = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[dimensions - 1]
    for size, kernel, stride, padding, dilation in GRID:
        x = torch.zeros(1, 1, *[size] * dimensions, device="meta")
        options = {"stride": stride, "padding": padding, "dilation": dilation}
        expected = output_size(size, kernel, **options)
        if expected > 0:
            assert layer(1, 1, kernel, **options, device="meta")(x).shape[2:] == (expected,) * dimensions
        else:
            with pytest.raises(RuntimeError):
                layer(1, 1, kernel, **options, device="meta")(x)
        larger = output_size(size, kernel, **options, transposed=True)
        if larger > 0:
            assert back(1, 1, kernel, **options, device="meta")(x).shape[2:] == (larger,) * dimensions


def test_sizes_are_numbers_of_places() -> None:
    for size, kernel, stride, padding, dilation in GRID:
        ends = range(-padding, size + padding)
        places = [i for i in ends[::stride] if i + dilation * (kernel - 1) in ends]
        found = output_size(size, kernel, stride=stride, padding=padding, dilation=dilation)
        assert max(found, 0) == len(places)


def test_transposed_undoes_with_the_right_extra() -> None:
    for size, kernel, stride, padding, dilation in GRID:
        small = output_size(size, kernel, stride=stride, padding=padding, dilation=dilation)
        if small > 0:
            options = {"stride": stride, "padding": padding, "dilation": dilation, "transposed": True}
            sizes = [output_size(small, kernel, **options, extra=extra) for extra in range(stride)]
            assert size in sizes


@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 7])
@pytest.mark.parametrize("dilation", [1, 2, 3])
def test_named_paddings(kernel: int, dilation: int) -> None:
    sizes = {name: output_size(20, kernel, padding=name, dilation=dilation) for name in ("none", "half", "full")}
    span = dilation * (kernel - 1) + 1
    assert sizes["none"] == 20 - span + 1
    assert sizes["full"] == 20 + span - 1  # as many as there are places with any overlap
    assert sizes["half"] == (20 if span % 2 else 21)


def test_what_is_no_size() -> None:
    for wrong in ("same", -1, 1.5):
        with pytest.raises(UsageError, match="give a whole number of at least 0, or none, half, full"):
            padding_size(wrong, 3)
    with pytest.raises(UsageError, match="The stride is 0; give a whole number of at least 1"):
        output_size(5, 3, stride=0)
