"""Circuits as pictures: an SVG, and a page on which both passes can be played step by step.

The layers of the graph are ordered and placed by igraph (Sugiyama's method). The numbers at an edge are vertices of
that layout, as the boxes are, so that no two of them can overlap.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape
from importlib.resources import files
from itertools import accumulate, pairwise
from string import Template
from typing import Any

import torch
from torch import Tensor

from ..errors import UsageError
from .circuit import Circuit, Edge, Node, number_text

__all__ = ["page", "sentences", "svg"]

CHARACTER, LINE, PADDING = 7.2, 15.0, 9.0
"""Pixels: the width of a character, the height of a line, the space inside a box."""
GAP, BEND = 14.0, 22.0
"""Pixels between rows, and between columns, where the lines bend."""


@dataclass
class _Spot:
    """A vertex of the layout: a box (`node`), the numbers at an edge (`edge`), or a bend of one (neither)."""

    layer: int
    node: Node | None = None
    edge: Edge | None = None
    x: float = 0.0
    y: float = 0.0
    left: float = 0.0
    right: float = 0.0
    """Where its column begins and ends."""


def svg(circuit: Circuit) -> str:
    """The whole picture."""
    spots, lines = _placed(circuit)
    boxes = {spot.node.number: spot for spot in spots if spot.node is not None}
    last = circuit.nodes[circuit.output]
    out = boxes[last.number]
    x, room = out.x + _width(_texts(circuit, last)) / 2, _width(_at_edge(last, None))
    stub = _Spot(0, edge=Edge(last.number, -1, None, last.gradient), x=x + room / 2, y=out.y)
    body = [_line([boxes[edge.source], *route, boxes[edge.target]], edge, circuit) for edge, route in lines]
    body.append(_path([(x, out.y), (x + room, out.y)], last.number, -1))
    for spot in (*spots, stub):
        if spot.edge is not None:
            body.append(_numbers(circuit, spot.edge, spot))
        elif spot.node is not None:
            body.append(_box(circuit, spot.node, spot))
    width = max(x + room, *(spot.right for spot in spots)) + GAP
    height = max(spot.y for spot in spots) + 3 * LINE + GAP
    said = "; ".join(text for text, _ in sentences(circuit))
    role = f'role="img" aria-label="A computation as a graph. {escape(said, quote=True)}"'
    style = files("carousel.inspect").joinpath("circuit.css").read_text("utf-8")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="circuit" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" {role}>\n<style>{style}</style>\n{"".join(body)}</svg>\n'
    )


def page(circuit: Circuit, title: str = "") -> str:
    """The picture with buttons, and every step as a sentence."""
    steps = sentences(circuit)
    listed = "".join(f"<li>{escape(text)}</li>" for text, _ in steps)
    values = {
        "title": escape(title or "A computation, forward and backward"),
        "svg": svg(circuit),
        "steps": listed,
        "count": str(len(circuit.nodes)),
        "order": json.dumps([number for _, number in steps]),
    }
    return Template(files("carousel.inspect").joinpath("circuit.html").read_text("utf-8")).substitute(values)


def sentences(circuit: Circuit) -> list[tuple[str, int]]:
    """What happens at each step, forward and then backward, with the number of the node where it happens."""
    steps = []
    called = [node.name or (node.label if not node.operation else f"#{node.number + 1}") for node in circuit.nodes]
    into: dict[int, list[Edge]] = {node.number: [] for node in circuit.nodes}
    for edge in circuit.edges:
        into[edge.target].append(edge)
    for node in circuit.nodes:
        if not node.operation:
            steps.append((f"{called[node.number]} is given: {_short(node.value)}", node.number))
            continue
        names = [called[edge.source] for edge in into[node.number]]
        values = [_short(circuit.nodes[edge.source].value) for edge in into[node.number]]
        text = f"{called[node.number]} = {_applied(node.label, names)}"
        single = all(circuit.nodes[edge.source].value.numel() == 1 for edge in into[node.number])
        result, applied = _short(node.value), _applied(node.label, values)
        text += f" = {applied}" if single and values != names and applied != result else ""
        steps.append((f"{text} = {result}", node.number))
    for node in reversed(circuit.nodes):
        if node.gradient is None:
            continue
        own = called[node.number]
        if node.number == circuit.output:
            text = f"backward: the gradient of {own} is {_short(node.gradient)}"
        else:
            back = [e.gradient for e in circuit.edges if e.source == node.number and e.gradient is not None]
            total = " + ".join(_short(part) for part in back)
            summed = f" = {total}" if len(back) > 1 and node.value.numel() == 1 else ""
            text = f"backward: the gradient of {own} is {_short(node.gradient)}{summed}"
        slopes = [
            f"{_short(edge.gradient)} to {called[edge.source]} (local derivative {number_text(edge.local)})"
            if edge.local is not None else f"{_short(edge.gradient)} to {called[edge.source]}"
            for edge in into[node.number] if edge.gradient is not None
        ]  # fmt: skip
        steps.append((text + (f"; it hands {', '.join(slopes)}" if slopes else ""), node.number))
    return steps


# -- places -----------------------------------------------------------------------------------------------------------


def _placed(circuit: Circuit) -> tuple[list[_Spot], list[tuple[Edge, list[_Spot]]]]:
    """All vertices with their places, and for each edge the vertices between its boxes."""
    igraph = _igraph()
    depth = [0] * len(circuit.nodes)
    for node in circuit.nodes:
        sources = [depth[edge.source] for edge in circuit.edges if edge.target == node.number]
        depth[node.number] = max(sources, default=-1) + 1
    for node in reversed(circuit.nodes):  # what is given stands just before its first use
        targets = [depth[edge.target] for edge in circuit.edges if edge.source == node.number]
        if not node.operation and targets:
            depth[node.number] = min(targets) - 1
    spots = [_Spot(2 * depth[node.number], node=node) for node in circuit.nodes]
    lines: list[tuple[Edge, list[_Spot]]] = []
    links: list[tuple[int, int]] = []
    for edge in circuit.edges:
        begin, end = 2 * depth[edge.source], 2 * depth[edge.target]
        route = [_Spot(layer, edge=edge if layer == end - 1 else None) for layer in range(begin + 1, end)]
        chain = [edge.source, *range(len(spots), len(spots) + len(route)), edge.target]
        spots += route
        links += pairwise(chain)
        lines.append((edge, route))
    layout = igraph.Graph(n=len(spots), edges=links, directed=True).layout_sugiyama(
        layers=[spot.layer for spot in spots], hgap=1, vgap=1, maxiter=200
    )
    heights = [_height(_texts_of(circuit, spot)) for spot in spots]
    pitch = max(heights) + GAP
    widths: dict[int, float] = {}
    for spot in spots:
        widths[spot.layer] = max(widths.get(spot.layer, 0.0), _width(_texts_of(circuit, spot)))
    columns, x = {}, GAP
    for layer in sorted(widths):
        columns[layer] = (x, x + widths[layer])
        x += widths[layer] + BEND
    for spot, (row, _) in zip(spots, layout.coords, strict=True):
        spot.left, spot.right = columns[spot.layer]
        spot.x, spot.y = (spot.left + spot.right) / 2, row
    for layer in columns:  # igraph keeps the order in a layer, but not always the distance
        own = sorted((spot for spot in spots if spot.layer == layer), key=lambda spot: spot.y)
        apart = list(accumulate((spot.y - i for i, spot in enumerate(own)), max))
        back = sum(y + i - spot.y for i, (y, spot) in enumerate(zip(apart, own, strict=True))) / len(own)
        for i, (y, spot) in enumerate(zip(apart, own, strict=True)):
            spot.y = y + i - back
    top = min(spot.y for spot in spots)
    for spot in spots:
        spot.y = (spot.y - top) * pitch + max(heights) / 2 + GAP
    return spots, lines


def _igraph() -> Any:
    try:
        import igraph
    except ImportError:
        raise UsageError(
            'Circuits are laid out by igraph, which is not installed: pip install "carousel-nn[inspect]".'
        ) from None
    return igraph


# -- texts ------------------------------------------------------------------------------------------------------------


def _texts_of(circuit: Circuit, spot: _Spot) -> list[str]:
    if spot.node is not None:
        return _texts(circuit, spot.node)
    return [] if spot.edge is None else _at_edge(circuit.nodes[spot.edge.source], spot.edge)


def _texts(circuit: Circuit, node: Node) -> list[str]:
    """What stands in a box: what it is, its name, and the sum of gradients where there are several."""
    lines = [node.label]
    if node.operation and node.name:
        lines.append(node.name)
    several = sum(edge.source == node.number and edge.gradient is not None for edge in circuit.edges) > 1
    if several and node.gradient is not None and node.value.numel() == 1:
        lines.append(f"Σ {_short(node.gradient)}")
    return lines


def _at_edge(source: Node, edge: Edge | None) -> list[str]:
    """Above the line the value, below the gradient and the local derivative."""
    gradient = source.gradient if edge is None else edge.gradient
    lines = [_short(source.value), "" if gradient is None else _short(gradient)]
    if edge is not None and edge.local is not None and edge.gradient is not None:
        lines.append(f"∂ {number_text(edge.local)}")
    return lines


def _short(tensor: Tensor | None) -> str:
    """A number; of several, their shape and norm."""
    if tensor is None:
        return ""
    if tensor.numel() == 1:
        return number_text(float(tensor.detach()))
    shape = "×".join(map(str, tensor.shape))
    if not tensor.is_floating_point():
        return shape
    return f"{shape} ‖{number_text(float(torch.linalg.vector_norm(tensor.detach().double())))}‖"


def _applied(label: str, names: list[str]) -> str:
    if "( )" in label:
        return label.replace("( )", names[0] if not names[0].startswith("−") else f"({names[0]})")
    if label in ("+", "−", "×", "÷", "^") and len(names) == 2:
        second = f"({names[1]})" if names[1].startswith("−") else names[1]
        return f"{names[0]} {label} {second}"
    if label.split(" ")[0] in ("+", "−", "×", "÷", "^") and len(names) == 1:
        return f"{names[0]} {label}"
    return f"{label}({', '.join(names)})"


def _width(lines: list[str]) -> float:
    return max(map(len, lines), default=0) * CHARACTER + 2 * PADDING if lines else 0.0


def _height(lines: list[str]) -> float:
    return len(lines) * LINE + PADDING


# -- drawing ----------------------------------------------------------------------------------------------------------


def _line(spots: list[_Spot], edge: Edge, circuit: Circuit) -> str:
    """Level through each column, where texts are, and bent between columns."""
    first, last = spots[0], spots[-1]
    corners = [(first.x + _width(_texts(circuit, circuit.nodes[edge.source])) / 2, first.y), (first.right, first.y)]
    for spot in spots[1:-1]:
        corners += [(spot.left, spot.y), (spot.right, spot.y)]
    corners += [(last.left, last.y), (last.x - _width(_texts(circuit, circuit.nodes[edge.target])) / 2, last.y)]
    return _path(corners, edge.source, edge.target)


def _path(corners: list[tuple[float, float]], source: int, target: int) -> str:
    path = f"M{corners[0][0]:.1f} {corners[0][1]:.1f}"
    for (x0, y0), (x1, y1) in pairwise(corners):
        middle = (x0 + x1) / 2
        path += f"C{middle:.1f} {y0:.1f} {middle:.1f} {y1:.1f} {x1:.1f} {y1:.1f}" if y0 != y1 else f"H{x1:.1f}"
    return f'<path class="wire" d="{path}" data-from="{source}" data-to="{target}"/>\n'


def _box(circuit: Circuit, node: Node, spot: _Spot) -> str:
    lines = _texts(circuit, node)
    width, height = _width(lines), _height(lines)
    kind = "operation" if node.operation else "parameter" if node.parameter else "given"
    texts = []
    for number, text in enumerate(lines):
        y = spot.y + (number - (len(lines) - 1) / 2) * LINE + 4.5
        role = "symbol" if number == 0 else "gradient" if text.startswith("Σ") else "name"
        texts.append(f'<text class="{role}" x="{spot.x:.1f}" y="{y:.1f}">{escape(text)}</text>')
    radius = 4 if node.operation else height / 2
    return (
        f'<g class="{kind}" data-node="{node.number}"><rect x="{spot.x - width / 2:.1f}" '
        f'y="{spot.y - height / 2:.1f}" width="{width:.1f}" height="{height:.1f}" rx="{radius:.1f}"/>'
        f"{''.join(texts)}</g>\n"
    )


def _numbers(circuit: Circuit, edge: Edge, spot: _Spot) -> str:
    lines = _at_edge(circuit.nodes[edge.source], edge)
    places = ((-5.0, "value"), (LINE - 2, "gradient"), (2 * LINE - 2, "local"))
    texts = [
        f'<text class="{role}" x="{spot.x:.1f}" y="{spot.y + below:.1f}" data-from="{edge.source}" '
        f'data-to="{edge.target}">{escape(text)}</text>'
        for text, (below, role) in zip(lines, places, strict=False) if text
    ]  # fmt: skip
    return "".join(texts) + "\n"
