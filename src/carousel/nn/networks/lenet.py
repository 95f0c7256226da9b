"""LeNet-5, the convolutional network that read checks.

LeCun, Bottou, Bengio & Haffner, "Gradient-based learning applied to document recognition", Proc. IEEE 86 (1998). This
is the variant that is usually meant today: every map of C3 sees all maps of S2 (in the paper most see some), pooling
is a plain mean without weights, units are tanh (there 1.7159 tanh(2a/3)), and the output is a dense layer (there
distances to drawings of the digits). For 10 classes in gray it has 61,706 parameters; the original trains 60,000.
"""

from __future__ import annotations

from ...errors import UsageError

__all__ = ["lenet5"]


def lenet5(input_shape: tuple[int, ...], outputs: int, activation: str = "tanh") -> str:
    """C1 of 6 maps, S2, C3 of 16, S4, then 120, 84 and the outputs.

    Args:
        input_shape: (channels, height, width); below 32 pixels two are added on each side, which makes MNIST's 28
            the paper's 32.
        outputs: number of scores.
        activation: one of `carousel.nn.line.ACTIVATIONS`.
    """
    if len(input_shape) > 1 and min(input_shape[1:]) < 12:
        raise UsageError(f"lenet5 gets inputs of {input_shape}; give at least 12 pixels on each side.")
    pad = 2 if min(input_shape[1:], default=0) < 32 else 0
    return (
        f"conv 6 5 pad {pad}, {activation}, avgpool 2, conv 16 5, {activation}, avgpool 2, "
        f"dense 120, {activation}, dense 84, {activation}, dense"
    )
