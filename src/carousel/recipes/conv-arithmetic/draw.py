"""Pictures of where a kernel lies."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

import carousel

INPUT, ZERO, KERNEL, OUTPUT = "#9ecae1", "#f2f2f2", "#08519c", "#a1d99b"


def row(ax: Axes, title: str, size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    """One dimension: the input with its zeros on top, and a line below for each position, with the output's element."""
    out = carousel.nn.output_size(size, kernel, stride=stride, padding=padding, dilation=dilation)
    for i in range(-padding, size + padding):
        ax.add_patch(Rectangle((i, 0.3), 1, 0.8, facecolor=INPUT if 0 <= i < size else ZERO, edgecolor="gray", lw=0.8))
    for place in range(out):
        begin = place * stride - padding
        for k in range(kernel):
            ax.add_patch(Rectangle((begin + k * dilation + 0.08, -place - 0.85), 0.84, 0.7, facecolor=KERNEL))
        ax.add_patch(Rectangle((size + padding + 1, -place - 0.95), 1, 0.9, facecolor=OUTPUT, edgecolor="gray", lw=0.8))
    ax.set_title(f"{title}\n{size} → {out}", fontsize=9)
    ax.set_xlim(-2.3, 9.6)  # the same for all, so that they are drawn in one scale
    ax.set_ylim(-7.2 if out > 3 else -3.2, 1.4)
    ax.set_aspect("equal", anchor="N")
    ax.axis("off")


def square(ax: Axes, title: str, size: int, kernel: int, stride: int, padding: int, dilation: int) -> None:
    """Two dimensions: the input with its zeros, the kernel's first place in full, a dot in the middle of each place."""
    out = carousel.nn.output_size(size, kernel, stride=stride, padding=padding, dilation=dilation)
    for i in range(-padding, size + padding):
        for j in range(-padding, size + padding):
            inside = 0 <= i < size and 0 <= j < size
            ax.add_patch(Rectangle((j, i), 1, 1, facecolor=INPUT if inside else ZERO, edgecolor="gray", lw=0.6))
    for i in range(kernel):
        for j in range(kernel):
            corner = (j * dilation - padding + 0.12, i * dilation - padding + 0.12)
            ax.add_patch(Rectangle(corner, 0.76, 0.76, facecolor="none", edgecolor=KERNEL, lw=1.8))
    middle = (dilation * (kernel - 1) + 1) / 2 - padding
    centers = [middle + stride * place for place in range(out)]
    ax.plot([x for x in centers for _ in centers], [y for _ in centers for y in centers], "o", color="black", ms=3.5)
    ax.set_title(f"{title}\n{size} x {size} → {out} x {out}", fontsize=9)
    ax.set_xlim(-padding - 0.2, size + padding + 0.2)
    ax.set_ylim(size + padding + 0.2, -padding - 0.2)
    ax.set_aspect("equal")
    ax.axis("off")
