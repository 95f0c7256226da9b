"""A plain convolutional network for inputs of one, two or three dimensions.

Blocks of a 3-wide convolution, batch norm, ReLU and pooling by two, each with twice as many maps as the one before, and
a hidden dense layer: the pattern of VGG (Simonyan & Zisserman 2015) with the batch norm of Ioffe & Szegedy (2015).
"""

from __future__ import annotations

from ...errors import UsageError

__all__ = ["convnet"]


def convnet(
    input_shape: tuple[int, ...],
    outputs: int,
    filters: int = 32,
    blocks: int = 3,
    hidden_size: int = 128,
    activation: str = "relu",
    dropout: float = 0.5,
    batchnorm: bool = True,
) -> str:
    """So many blocks, a dense layer, and the scores.

    Args:
        input_shape: (channels, length), (channels, height, width) or (channels, depth, height, width).
        outputs: number of scores.
        filters: maps of the first block; each further block has twice as many.
        blocks: how many; each halves all sizes.
        hidden_size: units of the dense layer.
        activation: one of `carousel.nn.line.ACTIVATIONS`.
        dropout: probability of dropping a hidden unit, while training.
        batchnorm: normalize before each non-linearity.
    """
    if len(input_shape) > 1 and min(input_shape[1:]) < 2**blocks:
        raise UsageError(
            f"convnet halves its input {blocks} times; {input_shape} is too small for that. Give blocks="
            f"{min(input_shape[1:]).bit_length() - 1} or fewer, or larger inputs."
        )
    norm = ", batchnorm" if batchnorm else ""
    drop = f", dropout {dropout}" if dropout else ""
    maps = [f"conv {filters * 2**n} 3 pad 1{norm}, {activation}, pool 2" for n in range(blocks)]
    return ", ".join([*maps, f"dense {hidden_size}{norm}, {activation}{drop}", "dense"])
