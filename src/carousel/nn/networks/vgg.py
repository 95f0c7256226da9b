"""VGG: nothing but 3x3 convolutions, pooling by two, and three dense layers.

Simonyan & Zisserman, "Very deep convolutional networks for large-scale image recognition", ICLR 2015: configurations A
(11 layers with weights, 132,863,336 parameters), D (16; 138,357,544) and E (19; 143,667,240) of its table 1. VGG-19
takes 19.6 billion multiply-adds for an image of 224 x 224. The paper trained without batch norm, from weights of its
shallowest net; from He's start, as here, that is not needed.
"""

from __future__ import annotations

from ...errors import UsageError

__all__ = ["vgg"]

STAGES = {11: (1, 1, 2, 2, 2), 16: (2, 2, 3, 3, 3), 19: (2, 2, 4, 4, 4)}
"""Convolutions before each of the five poolings."""
MAPS = (64, 128, 256, 512, 512)


def vgg(
    input_shape: tuple[int, ...],
    outputs: int,
    depth: int,
    hidden_size: int = 4096,
    dropout: float = 0.5,
    batchnorm: bool = False,
) -> str:
    """Convolutions in five stages and three dense layers.

    Args:
        input_shape: (channels, height, width), at least 32 pixels; the paper has (3, 224, 224).
        outputs: number of scores.
        depth: layers with weights: 11, 16 or 19.
        hidden_size: units of the first two dense layers.
        dropout: probability of dropping one of them, while training.
        batchnorm: normalize before each ReLU of the convolutions.
    """
    if len(input_shape) > 1 and min(input_shape[1:]) < 32:
        raise UsageError(f"vgg{depth} halves its input five times and gets {input_shape}; give at least 32 pixels.")
    norm = ", batchnorm" if batchnorm else ""
    drop = f", dropout {dropout}" if dropout else ""
    stages = (
        ", ".join([f"conv {maps} 3 pad 1{norm}, relu"] * count + ["pool 2"])
        for maps, count in zip(MAPS, STAGES[depth], strict=True)
    )
    return ", ".join([*stages, *[f"dense {hidden_size}, relu{drop}"] * 2, "dense"])
