"""Pictures of what the other files find: `draw(found)`, whatever was found. They are readable in gray."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from functools import singledispatch
from typing import Any

import matplotlib as mpl
import numpy as np
import torch
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from ..errors import UsageError
from .depth import DepthHistory, Layer
from .dynamics import Lyapunov, Response
from .gates import GATES, Quantity
from .memory import Memory
from .through_time import Carry, Gradients

__all__ = ["draw", "svg_text"]

COLORS = ("#2765a5", "#b84a08", "#246b3c", "#7a4a9e", "#20242a", "#8a6d00")
STYLES = ("-", "--", "-.", ":")
"""Lines differ in color and in dashes, so that gray paper shows them too."""
LIVELY = 4
"""Units of a state that are drawn."""
GRID = {"color": "#e4e2dd", "linewidth": 0.7}


@singledispatch
def draw(found: Any, **_: Any) -> Figure:
    """A picture of a result of this package.

    Args:
        found: `Gradients`, `Carry`, `Memory` (or a dict of name → `Memory`), `Lyapunov`, `Response`, `DepthHistory`, a
            list of `Quantity` or of `Layer`, or a tensor of complex eigenvalues.

    Returns:
        A matplotlib figure; `figure.savefig("picture.svg")` writes it.

    Example:
        >>> import torch
        >>> from carousel.inspect import memory_by_gradient
        >>> draw(memory_by_gradient(torch.nn.GRU(2, 3), torch.randn(20, 4, 2))).axes[0].get_xlabel()
        'steps before the last one'
    """
    raise UsageError(f"There is no picture of a {type(found).__name__}; draw takes what carousel.inspect finds.")


def svg_text(figure: Figure, alternative: str) -> str:
    """The figure as SVG text for a page, with its alternative text."""
    buffer = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": "carousel", "svg.fonttype": "none"}):
        FigureCanvasSVG(figure).print_svg(buffer, metadata={"Date": None, "Creator": None})
    text = buffer.getvalue()
    text = re.sub(r"\s*<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.S)
    used = set(re.findall(r'(?:url\(|href=")#([^)"]+)', text))  # several pictures of a page must not share the others
    text = re.sub(r' id="([^"]+)"', lambda found: found[0] if found[1] in used else "", text)
    label = alternative.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    return re.sub(r"<svg ", f'<svg role="img" aria-label="{label}" style="max-width:100%;height:auto" ', text, count=1)


def _figure(width: float = 7.0, height: float = 3.4, columns: int = 1) -> tuple[Figure, Any]:
    figure = Figure((width, height), layout="constrained")
    axes = figure.subplots(1, columns)
    for axis in np.atleast_1d(axes):
        axis.grid(**GRID)
        axis.set_axisbelow(True)
        axis.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _line(axis: Any, number: int, x: Any, y: Any, label: str | None = None) -> None:
    color, style = COLORS[number % len(COLORS)], STYLES[number % len(STYLES)]
    axis.plot(_array(x), _array(y), color=color, linestyle=style, linewidth=1.4, label=label)


def _array(values: Any) -> NDArray[Any]:
    return values.detach().cpu().numpy() if isinstance(values, Tensor) else np.asarray(values)


def _positive(values: Any) -> Any:
    """Without zeros, which no logarithmic axis shows."""
    values = _array(values)
    return np.where(values > 0, values, np.nan)


@draw.register
def _(found: Gradients) -> Figure:
    figure, axis = _figure()
    for number, (name, norms) in enumerate(found.norms.items()):
        _line(axis, number, np.arange(1, len(norms) + 1), _positive(norms), name)
    axis.set(yscale="log", xlabel="step t", ylabel="‖∂L/∂state‖ at step t", title="The loss's gradient through time")
    axis.legend(fontsize=8)
    return figure


@draw.register
def _(found: Carry) -> Figure:
    figure, axis = _figure()
    steps = np.arange(len(found.frobenius))
    if found.spectral is not None:
        _line(axis, 0, steps, _positive(found.spectral), "largest singular value")
    _line(axis, 1, steps, _positive(found.frobenius), "Frobenius norm")
    if found.bound is not None:
        _line(axis, 3, steps, _positive(found.bound), f"bound {found.factor:.3g}^(T − t)")
    axis.set(yscale="log", xlabel="step t", ylabel="‖∂s_T/∂s_t‖", title="What is left of a change at step t")
    axis.legend(fontsize=8)
    return figure


@draw.register
def _(found: Memory) -> Figure:
    return draw({"": found})


@draw.register
def _(found: Mapping) -> Figure:
    figure, axis = _figure()
    for number, (name, memory) in enumerate(found.items()):
        if not isinstance(memory, Memory):
            raise UsageError("Of a dict, draw takes name → Memory.")
        largest = float(memory.influence.max()) or 1.0
        _line(axis, number, memory.lags, memory.influence / largest, f"{name}: {memory.length()} steps".lstrip(": "))
    axis.axhline(np.exp(-1), color="#5d6570", linewidth=0.8, linestyle=":")
    axis.set(xlabel="steps before the last one", ylabel="influence on the last output, largest = 1", title="Memory")
    axis.set_xscale("symlog", linthresh=10)
    axis.set_xlim(left=0)
    axis.legend(fontsize=8)
    return figure


@draw.register
def _(found: Lyapunov) -> Figure:
    figure, (left, right) = _figure(9, 3.2, 2)
    count = len(found.exponents)
    left.errorbar(
        range(1, count + 1), _array(found.exponents), 2 * _array(found.errors),
        fmt="o", markersize=3, color=COLORS[0], linewidth=0.8,
    )  # fmt: skip
    left.axhline(0, color="#20242a", linewidth=0.8)
    left.set(xlabel="number", ylabel="nats per step", title="Lyapunov exponents")
    steps = found.steps * np.arange(1, len(found.history) + 1) / len(found.history)
    for number in range(min(3, count)):
        _line(right, number, steps, found.history[:, number], f"exponent {number + 1}")
    right.set(xlabel="steps", ylabel="nats per step", title="as they settle")
    right.legend(fontsize=8)
    return figure


@draw.register
def _(found: Response) -> Figure:
    figure, axis = _figure()
    _line(axis, 0, np.arange(1, len(found.norms) + 1), found.norms, "all outputs, ‖·‖")
    for number, unit in enumerate(found.outputs.abs().amax(0).argsort(descending=True)[:3].tolist(), 1):
        _line(axis, number, np.arange(1, len(found.outputs) + 1), found.outputs[:, unit], f"output {unit}")
    axis.set(xlabel="steps since the change", ylabel="changed − unchanged", title="Response")
    axis.legend(fontsize=8)
    return figure


@draw.register
def _(found: Tensor) -> Figure:
    figure = Figure((4.2, 4.2), layout="constrained")
    axis = figure.add_subplot(aspect="equal")
    turn = np.linspace(0, 2 * np.pi, 200)
    axis.plot(np.cos(turn), np.sin(turn), color="#5d6570", linewidth=0.8)
    values = torch.view_as_real(found.flatten().to(torch.complex128))
    axis.plot(_array(values[:, 0]), _array(values[:, 1]), ".", color=COLORS[0], markersize=3)
    axis.grid(**GRID)
    axis.set(xlabel="real", ylabel="imaginary", title="Eigenvalues of ∂s_t/∂s_(t-1)")
    return figure


@draw.register(list)
def _(found: Sequence[Any]) -> Figure:
    if found and all(isinstance(one, Quantity) for one in found):
        return _quantities([one for one in found if one.is_gate or one.is_state])
    if found and all(isinstance(one, Layer) for one in found):
        return _depth(found)
    raise UsageError("Of a list, draw takes Quantity or Layer, and at least one.")


def _quantities(found: Sequence[Quantity]) -> Figure:
    """Of the first sequence: gates as shades, a row for each unit; states as lines of the units that vary most."""
    if not found:
        raise UsageError("The network has neither gates nor states with a name.")
    figure = Figure((8, 1.1 + 1.3 * len(found)), layout="constrained")
    axes = np.atleast_1d(figure.subplots(len(found), 1, sharex=True))
    image = None
    layers = max(one.layer for one in found)
    for axis, one in zip(axes, found, strict=True):
        values = one.values[:, 0].flatten(1)
        meaning = f" ({GATES[one.name]})" if one.is_gate and one.name in GATES else ""
        title = f"{one.name}{meaning}{f', layer {one.layer}' if layers > 1 else ''}"
        if one.is_gate:
            order = values.mean(0).argsort()
            image = axis.imshow(
                _array(values[:, order].T), aspect="auto", cmap="gray", vmin=0, vmax=1, interpolation="nearest"
            )
            title += f": mean {one.openness.mean():.2f}, open {one.open:.0%}, closed {one.closed:.0%}"
            axis.set_ylabel("unit", fontsize=8)
            axis.set_yticks([])
        else:
            for number, unit in enumerate(_liveliest(values)):
                _line(axis, number, np.arange(len(values)), values[:, unit], f"unit {unit}")
            axis.grid(**GRID)
            axis.legend(fontsize=6, ncols=4, loc="upper right")
        axis.set_title(title, fontsize=9, loc="left")
    axes[-1].set_xlabel("step")
    if image is not None:
        gates = [axis for axis, one in zip(axes, found, strict=True) if one.is_gate]
        figure.colorbar(image, ax=gates, label="0 closed, 1 open", shrink=0.8)
    return figure


def _liveliest(values: Tensor) -> list[int]:
    """The units of (time, units) that vary most."""
    return values.std(0, unbiased=False).argsort(descending=True, stable=True)[:LIVELY].tolist()


def _depth(layers: Sequence[Layer]) -> Figure:
    figure, (left, right) = _figure(9, 0.9 + 0.28 * max(4, len(layers)), 2)
    places = np.arange(len(layers))[::-1]
    names = [f"{layer.name} ({layer.kind})" for layer in layers]
    left.errorbar([layer.mean for layer in layers], places, xerr=[layer.deviation for layer in layers], fmt="o",
                  color=COLORS[0], markersize=3, capsize=2)  # fmt: skip
    for place, layer in zip(places, layers, strict=True):
        said = [f"{float(share):.0%} {what}" for what, share in (("dead", layer.dead.double().mean()),
                ("saturated", layer.saturated.double().mean())) if share > 0.005]  # fmt: skip
        left.annotate(", ".join(said), (layer.mean, place), xytext=(4, 4), textcoords="offset points", fontsize=7)
    left.set_yticks(places, names, fontsize=8)
    left.set(xlabel="mean ± standard deviation", title="Activations")
    right.plot(_positive([layer.gradient or 0.0 for layer in layers]), places, "s-", color=COLORS[1], markersize=3)
    right.set_yticks(places, [""] * len(layers))
    right.set(xscale="log", xlabel="root mean square", title="Gradients of the loss")
    return figure


@draw.register
def _(found: DepthHistory) -> Figure:
    figure, (left, right) = _figure(9, 3.4, 2)
    for number, (name, ratios) in enumerate(found.updates.items()):
        _line(left, number, found.steps, _positive(ratios), name if len(found.updates) <= 12 else None)
    left.axhline(1e-3, color="#5d6570", linewidth=0.8, linestyle=":")
    left.set(yscale="log", xlabel="update", ylabel="‖change‖ / ‖weights‖", title="Updates; dotted: a thousandth")
    for number, layer in enumerate(found.layers[0] if found.layers else []):
        shares = [float(torch.maximum(one[number].dead.float(), one[number].saturated).mean()) for one in found.layers]
        if any(share > 0.005 for share in shares):
            _line(right, number, found.steps, shares, layer.name)
    right.set(xlabel="update", ylabel="share of units", title="Dead or saturated", ylim=(0, 1))
    for axis in (left, right):
        if axis.get_legend_handles_labels()[0]:
            axis.legend(fontsize=7)
    return figure
