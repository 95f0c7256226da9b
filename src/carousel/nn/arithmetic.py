r"""How large the output of a convolution or a pooling is, and how much padding a name stands for.

Dumoulin & Visin, "A guide to convolution arithmetic for deep learning", arXiv:1603.07285 (2016).
"""

from __future__ import annotations

from ..errors import UsageError

__all__ = ["PADDINGS", "output_size", "padding_size", "reach"]

PADDINGS = ("none", "half", "full")


def reach(kernel: int, dilation: int = 1) -> int:
    """How many elements a kernel spans when `dilation - 1` are left out between its own: d (F - 1) + 1.

    Example:
        >>> reach(3), reach(3, dilation=2)
        (3, 5)
    """
    return dilation * (kernel - 1) + 1


def padding_size(padding: int | str, kernel: int, dilation: int = 1) -> int:
    """The number of zeros on either side.

    Args:
        padding: that number; or "none"; or "half", ⌊F'/2⌋, which keeps the size where the kernel's reach F' is odd
            and the stride 1; or "full", F' - 1, so that every position with any overlap counts.
        kernel: F, elements of the kernel.
        dilation: d; the reach is F' = d (F - 1) + 1.

    Raises:
        UsageError: another word, or a negative number.

    Example:
        >>> [padding_size(p, 5) for p in ("none", "half", "full", 1)]
        [0, 2, 4, 1]
    """
    if isinstance(padding, int) and padding >= 0:
        return padding
    sizes = {"none": 0, "half": reach(kernel, dilation) // 2, "full": reach(kernel, dilation) - 1}
    if padding not in sizes:
        raise UsageError(f"The padding is {padding!r}; give a whole number of at least 0, or {', '.join(PADDINGS)}.")
    return sizes[padding]


def output_size(
    size: int,
    kernel: int,
    *,
    stride: int = 1,
    padding: int | str = 0,
    dilation: int = 1,
    transposed: bool = False,
    extra: int = 0,
) -> int:
    r"""The output's size along one dimension, as PyTorch's layers round it; 0 or less where the kernel does not fit.

    .. math:: W' = ⌊(W - F' + 2P) / S⌋ + 1, \qquad F' = d (F - 1) + 1

    A transposed convolution is the other way round, :math:`W' = S (W - 1) + F' - 2P + a`: `extra`, a, chooses between
    the S sizes that a convolution maps to the same W. Groups and channels change nothing here.

    Args:
        size: W, elements of the input.
        kernel: F, elements of the kernel or the pooling window.
        stride: S, elements from one position to the next.
        padding: P, zeros on either side, or a name, see `padding_size`.
        dilation: d, elements from one of the kernel's elements to the next.
        transposed: of a transposed convolution.
        extra: a, elements more at the end; PyTorch's `output_padding`, only if transposed.

    Raises:
        UsageError: the kernel, stride or dilation is below 1, or the padding is no size.

    Example:
        >>> output_size(5, 3, stride=2, padding=1)      # cs231n's example
        3
        >>> output_size(3, 3, stride=2, padding=1, transposed=True)
        5
    """
    for name, value in (("kernel", kernel), ("stride", stride), ("dilation", dilation)):
        if value < 1:
            raise UsageError(f"The {name} is {value}; give a whole number of at least 1.")
    padded, span = padding_size(padding, kernel, dilation), reach(kernel, dilation)
    if transposed:
        return stride * (size - 1) + span - 2 * padded + extra
    return (size - span + 2 * padded) // stride + 1
