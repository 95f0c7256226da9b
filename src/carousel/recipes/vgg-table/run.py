r"""VGG-16's table, line by line: memory and parameters of each layer, counted on the network itself.

A 3x3 convolution from C to C' maps of W x W has :math:`9 C C'` weights and :math:`W^2 C'` activations, and takes
:math:`9 C C' W^2` multiply-adds. Sources: the lecture's slides on VGG (from Stanford's cs231n, 2017) and on residual
networks; Simonyan & Zisserman 2015; Krizhevsky et al. 2012; He et al. 2016.
"""

from __future__ import annotations

import torch
from matplotlib.figure import Figure

import carousel

IMAGE, CLASSES = (3, 224, 224), 1000
SLIDE = [  # what it writes, the product for memory, the product for parameters (without biases)
    ("CONV3-64", 224 * 224 * 64, 3 * 3 * 3 * 64), ("CONV3-64", 224 * 224 * 64, 3 * 3 * 64 * 64),
    ("POOL2", 112 * 112 * 64, 0),
    ("CONV3-128", 112 * 112 * 128, 3 * 3 * 64 * 128), ("CONV3-128", 112 * 112 * 128, 3 * 3 * 128 * 128),
    ("POOL2", 56 * 56 * 128, 0),
    ("CONV3-256", 56 * 56 * 256, 3 * 3 * 128 * 256), *[("CONV3-256", 56 * 56 * 256, 3 * 3 * 256 * 256)] * 2,
    ("POOL2", 28 * 28 * 256, 0),
    ("CONV3-512", 28 * 28 * 512, 3 * 3 * 256 * 512), *[("CONV3-512", 28 * 28 * 512, 3 * 3 * 512 * 512)] * 2,
    ("POOL2", 14 * 14 * 512, 0), *[("CONV3-512", 14 * 14 * 512, 3 * 3 * 512 * 512)] * 3, ("POOL2", 7 * 7 * 512, 0),
    ("FC", 4096, 7 * 7 * 512 * 4096), ("FC", 4096, 4096 * 4096), ("FC", 1000, 4096 * 1000),
]  # fmt: skip
PUBLISHED = {  # millions of parameters, billions of multiply-adds; None: not said there
    "alexnet": ("60", None), "vgg11": ("133", None), "vgg16": ("138", None), "vgg19": ("144", "19.6"),
    "resnet18": (None, "1.8"), "resnet34": (None, "3.6"), "resnet50": (None, "3.8"), "resnet101": (None, "7.6"),
    "resnet152": (None, "11.3"),
}  # fmt: skip
UNITS = [186_624, 64_896, 64_896, 43_264, 4096, 4096, 1000]
"""Of AlexNet's layers 2 to 8, as its paper says; for the first it says 253,440, but 55 x 55 x 96 are 290,400."""
LECTURE = "CMU 11-785, the VGG slide (cs231n 2017)"


def counted(name: str) -> carousel.nn.Summary:
    """Of a network without data; residual ones have the shortcuts without weights wherever the paper has them."""
    options = {"shortcut": "pad"} if name == "resnet34" else {}
    with torch.device("meta"):
        return carousel.nn.summary(carousel.nn.network(name, IMAGE, CLASSES, **options), IMAGE)


def line_by_line(recipe: carousel.recipes.Recipe) -> str:
    """The slide's lines beside the layers that are counted."""
    found = counted("vgg16")
    rows = [row for row in found.rows if row.kind in ("Conv2d", "MaxPool2d", "Linear")]
    head = ("slide", "layer", "output", "activations", "weights", "biases", "multiply-adds")
    lines = ["{:10} {:8} {:>15} {:>12} {:>12} {:>7} {:>15}".format(*head)]
    lines.append(f"{'INPUT':10} {'':8} {'3 x 224 x 224':>15} {found.input_numbers:12,}")
    right, weights = 0, 0
    for row, (what, memory, parameters) in zip(rows, SLIDE, strict=True):
        biases = row.output[1] if row.parameters else 0
        own, shape = row.parameters - biases, " x ".join(map(str, row.output[1:]))
        right, weights = right + ((row.activations, own) == (memory, parameters)), weights + own
        lines.append(f"{what:10} {row.name:8} {shape:>15} {row.activations:12,} {own:12,} {biases:7,} "
                     f"{row.multiply_adds:15,}")  # fmt: skip
    activations = found.input_numbers + sum(row.activations for row in rows)
    apart = found.input_numbers + found.activations
    lines.append(
        f"{'all':35} {activations:12,} {weights:12,} {found.parameters - weights:7,} {found.multiply_adds:15,}"
    )
    lines.append(f"{'ReLU and dropout stored apart':35} {apart:12,}")
    recipe.claim(
        "VGG-16: lines with the slide's memory and parameters", len(SLIDE), right, right == len(SLIDE), LECTURE
    )
    recipe.claim("VGG-16: parameters", 138_357_544, found.parameters, found.parameters == 138_357_544,
                 "configuration D, with biases")  # fmt: skip
    first = next(row for row in rows if row.kind == "Linear")
    recipe.claim("VGG-16: weights of the first dense layer", 102_760_448, first.multiply_adds,
                 first.multiply_adds == 102_760_448, LECTURE)  # fmt: skip
    recipe.claim("VGG-16: activations (the slide says 24M)", 15_237_608, activations, activations == 15_237_608,
                 "the slide's own lines, added; 24M is not their sum")  # fmt: skip
    figure = Figure((9, 4.8))
    axes = figure.subplots(1, 3, sharey=True)
    columns = {"activations": [row.activations for row in rows], "parameters": [row.parameters for row in rows],
               "multiply-adds": [row.multiply_adds for row in rows]}  # fmt: skip
    for ax, (title, values) in zip(axes, columns.items(), strict=True):
        ax.barh(range(len(rows)), [value / 1e6 for value in values], color="tab:blue")
        ax.set(title=title, xlabel="millions")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_yticks(range(len(rows)), [what for what, *_ in SLIDE], fontsize=8)
    axes[0].invert_yaxis()
    figure.tight_layout()
    recipe.figure(figure, "vgg16.svg")
    return "\n".join(lines)


def beside(recipe: carousel.recipes.Recipe) -> str:
    """All networks, what is published beside what is counted."""
    lines = [f"{'network':10} {'parameters':>12} {'published':>11} {'multiply-adds':>15} {'published':>11}"]
    for name, (millions, billions) in PUBLISHED.items():
        found = counted(name)
        shown = (f"{millions} M" if millions else "-", f"{billions} G" if billions else "-")
        lines.append(f"{name:10} {found.parameters:12,} {shown[0]:>11} {found.multiply_adds:15,} {shown[1]:>11}")
        if name in ("vgg19", "resnet34"):
            measured = round(found.multiply_adds / 1e9, 3)
            recipe.claim(f"{name}: billions of multiply-adds", float(billions), measured,
                         f"{measured:.1f}" == billions, "He et al. 2016, figure 3")  # fmt: skip
        if name == "alexnet":
            recipe.claim("alexnet in two groups: parameters", "60 million", found.parameters,
                         found.parameters // 10**6 == 60, "Krizhevsky et al. 2012")  # fmt: skip
            units = [row.activations for row in found.rows if row.kind in ("Conv2d", "Linear")][1:]
            recipe.claim("alexnet: units in layers 2 to 8", ", ".join(map(str, UNITS)), ", ".join(map(str, units)),
                         units == UNITS, "Krizhevsky et al. 2012")  # fmt: skip
    return "\n".join(lines)


def run(recipe: carousel.recipes.Recipe) -> None:
    """Both tables; nothing is computed but numbers of numbers, so it takes seconds."""
    table = line_by_line(recipe)
    if not recipe.smoke:
        table += "\n\n" + beside(recipe)
    recipe.text(table + "\n", "table.txt")
    recipe.say(table)
