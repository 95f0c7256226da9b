"""AlexNet, which won ImageNet in 2012.

Krizhevsky, Sutskever & Hinton, "ImageNet classification with deep convolutional neural networks", NeurIPS 2012. As
published: layers 2, 4 and 5 in two groups (they lay on two GPUs), local response normalization behind the first two,
pooling windows of 3 that overlap. 60,965,224 parameters ("60 million") and 724 million multiply-adds. The paper's
224 pixels give its 55 x 55 maps with a padding of 2; what frameworks call AlexNet is mostly the later one tower net
with fewer maps (Krizhevsky 2014; 61.1 million).
"""

from __future__ import annotations

from ...errors import UsageError

__all__ = ["alexnet"]


def alexnet(
    input_shape: tuple[int, ...], outputs: int, groups: int = 2, hidden_size: int = 4096, dropout: float = 0.5
) -> str:
    """Five convolutions and three dense layers.

    Args:
        input_shape: (channels, height, width), at least 63 pixels; the paper has (3, 224, 224).
        outputs: number of scores.
        groups: 2 as published, 1 for one tower.
        hidden_size: units of the two dense layers.
        dropout: probability of dropping one of them, while training.
    """
    if len(input_shape) > 1 and min(input_shape[1:]) < 63:
        raise UsageError(f"alexnet gets inputs of {input_shape}; give at least 63 pixels on each side.")
    drop = f"dropout {dropout}, " if dropout else ""
    return (
        "conv 96 11 stride 4 pad 2, relu, lrn 5, pool 3 stride 2, "
        f"conv 256 5 pad 2 groups {groups}, relu, lrn 5, pool 3 stride 2, "
        f"conv 384 3 pad 1, relu, conv 384 3 pad 1 groups {groups}, relu, "
        f"conv 256 3 pad 1 groups {groups}, relu, pool 3 stride 2, "
        f"{drop}dense {hidden_size}, relu, {drop}dense {hidden_size}, relu, dense"
    )
