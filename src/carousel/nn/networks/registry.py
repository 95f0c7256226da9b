"""Networks by name. A new one is a file beside this one and a row here; the tests then cover it."""

from __future__ import annotations

import difflib
import inspect
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from torch import nn

from ...errors import UsageError
from ..init import initialize
from ..line import ACTIVATIONS, Shape, build_line, check_sizes, looks_like_a_line
from .alexnet import alexnet
from .autoencoder import autoencoder, autoencoder_conv, autoencoder_sequence
from .convnet import convnet
from .highway import highway
from .lenet import lenet5
from .maxout import maxout
from .mlp import mlp
from .perceptron import perceptron, threshold
from .rbf import rbf
from .resnet import resnet_cifar, resnet_imagenet
from .sentence_cnn import sentence_cnn
from .vgg import vgg

__all__ = ["REGISTRY", "Entry", "find", "line_of", "network", "options_of"]


@dataclass(frozen=True)
class Entry:
    """A named network: what builds it, one line about it, the options that the name stands for, and its start."""

    build: Callable[..., str | nn.Module]
    """(input_shape, outputs, **options) to a line of layers, or to a module where a line can't say it."""
    about: str
    fixed: dict[str, Any] = field(default_factory=dict)
    start: str | None = None
    """One of `INITIALIZATIONS`; None for PyTorch's own."""
    reconstructs: bool = False
    """Whether it gives back an image, through a code of so many numbers as it is asked for."""


REGISTRY: dict[str, Entry] = {
    "perceptron": Entry(perceptron, "weighted sums, no hidden layer"),
    "threshold": Entry(threshold, "a hidden layer of threshold units"),
    "mlp": Entry(mlp, "dense layers with rectified units"),
    "maxout": Entry(maxout, "dense layers whose units are the largest of k sums, with dropout"),
    "rbf": Entry(rbf, "a hidden layer of Gaussians around centers"),
    "highway": Entry(highway, "deep and dense, with gates around each layer"),
    "convnet": Entry(convnet, "a plain convolutional network in one, two or three dimensions", start="he"),
    "lenet5": Entry(lenet5, "LeNet-5 (LeCun et al. 1998), 61,706 parameters for 10 digits"),
    "alexnet": Entry(alexnet, "AlexNet (Krizhevsky et al. 2012), in two groups as published", start="he"),
    **{
        f"vgg{depth}": Entry(vgg, f"VGG with {depth} layers (Simonyan & Zisserman 2015)", {"depth": depth}, "he")
        for depth in (11, 16, 19)
    },
    **{
        f"plain{depth}": Entry(
            resnet_cifar, f"ResNet-{depth} without its shortcuts", {"depth": depth, "shortcut": "none"}, "he"
        )
        for depth in (20, 32, 44, 56, 110)
    },
    **{
        f"resnet{depth}": Entry(
            resnet_cifar, f"residual, {depth} layers, for small images (He et al. 2016)", {"depth": depth}, "he"
        )
        for depth in (20, 32, 44, 56, 110)
    },
    **{
        f"resnet{depth}": Entry(
            resnet_imagenet, f"residual, {depth} layers, for large images (He et al. 2016)", {"depth": depth}, "he"
        )
        for depth in (18, 34, 50, 101, 152)
    },
    "sentence-cnn": Entry(sentence_cnn, "windows of words, the largest of each map (Kim 2014)"),
    "autoencoder": Entry(
        autoencoder, "dense, through a code of so many numbers as there are outputs", start="he", reconstructs=True
    ),
    "autoencoder-conv": Entry(
        autoencoder_conv, "convolutional; the outputs are the code", start="he", reconstructs=True
    ),
    "autoencoder-sequence": Entry(autoencoder_sequence, "recurrent; the outputs are the code"),
}


def find(name: str) -> Entry:
    """The registered network of that name.

    Raises:
        UsageError: there is none; the message names the nearest and all others.
    """
    if name in REGISTRY:
        return REGISTRY[name]
    near = difflib.get_close_matches(name, REGISTRY, n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise UsageError(
        f"There is no network {name!r}.{hint} The networks are {', '.join(REGISTRY)}; your own is a line of layers, "
        'such as "conv 20 5, relu, pool 2, dense".'
    )


def options_of(name: str) -> dict[str, Any]:
    """The options that a network takes, with their defaults.

    Example:
        >>> options_of("threshold")
        {'hidden_size': 64, 'layers': 1}
    """
    entry = find(name)
    parameters = list(inspect.signature(entry.build).parameters.values())[2:]
    return {p.name: p.default for p in parameters if p.name not in entry.fixed}


def network(spec: str, input_shape: Shape, outputs: int, **options: Any) -> nn.Module:
    """A network by its name, or by a line of layers.

    Args:
        spec: one of `REGISTRY`, such as "lenet5"; or a line, such as "conv 20 5, relu, pool 2, dense 500, relu, dense",
            see `carousel.nn.build_line`.
        input_shape: of one example, without the batch: (features,), (channels, length), (channels, height, width) or
            (channels, depth, height, width).
        outputs: numbers that come out for each example: scores of classes, values; of an autoencoder the size of its
            code.
        options: of the named network, see `options_of`; a line has none.

    Returns:
        A module that takes (batch, *input_shape). Deep networks of rectified units start with He's weights, all others
        with PyTorch's; `carousel.nn.initialize` draws others.

    Raises:
        UsageError: there is no such name or option, an option has no sense, or a layer does not fit its input; the
            message says which, and what would fit.

    Example:
        >>> import torch
        >>> net = network("lenet5", (1, 28, 28), 10)
        >>> sum(p.numel() for p in net.parameters())
        61706
        >>> network("dense 20, tanh, dense", (4,), 3)(torch.zeros(2, 4)).shape
        torch.Size([2, 3])
    """
    name = spec.strip().lower()
    if name not in REGISTRY and looks_like_a_line(spec):
        if options:
            raise UsageError(f"A line of layers takes no option {', '.join(options)}; write it into the line.")
        return build_line(spec, input_shape, outputs)
    made = _made(name, input_shape, outputs, options)
    net = build_line(made, input_shape, outputs) if isinstance(made, str) else made
    start = REGISTRY[name].start
    return net if start is None else initialize(net, start)


def line_of(name: str, input_shape: Shape, outputs: int, **options: Any) -> str | None:
    """The line of layers that a name stands for; None for networks with branches, which no line can say.

    Example:
        >>> line_of("mlp", (784,), 10, hidden_size=100, layers=1, dropout=0.5)
        'dense 100, relu, dropout 0.5, dense'
    """
    made = _made(name, input_shape, outputs, options)
    return made if isinstance(made, str) else None


def _made(name: str, input_shape: Shape, outputs: int, options: dict[str, Any]) -> str | nn.Module:
    entry, known = find(name), options_of(name)
    for option, value in options.items():
        if option not in known:
            raise UsageError(f"The network {name} has no option {option!r}; it has {', '.join(known) or 'none'}.")
        _check(name, option, value, typing.get_type_hints(entry.build)[option])
    check_sizes(input_shape, outputs)
    return entry.build(tuple(input_shape), outputs, **entry.fixed, **options)


ZERO_ALLOWED = ("layers", "blocks")


def _check(name: str, option: str, value: Any, hint: Any) -> None:
    """Raise a UsageError unless `value` is what the annotation and the option's name mean."""
    choices = typing.get_args(hint) if typing.get_origin(hint) is typing.Literal else ()
    if option in ("activation", "output"):
        choices = tuple(ACTIVATIONS)
    if choices:
        right, wanted = value in choices, f"one of {', '.join(choices)}"
    elif hint is bool:
        right, wanted = isinstance(value, bool), "True or False"
    elif hint is int:
        least = 0 if option in ZERO_ALLOWED else 1
        right = isinstance(value, int) and not isinstance(value, bool) and value >= least
        wanted = f"a whole number of at least {least}"
    elif hint is float and "dropout" in option:
        right, wanted = isinstance(value, int | float) and 0 <= value < 1, "a probability from 0 to below 1"
    elif hint is float:
        right, wanted = isinstance(value, int | float), "a number"
    elif hint == tuple[int, ...]:
        right = isinstance(value, tuple | list) and all(isinstance(v, int) and v >= 1 for v in value)
        wanted = "whole numbers of at least 1, such as (500, 250)"
    else:
        right, wanted = True, ""
    if not right:
        raise UsageError(f"The network {name} got {option}={value!r}; give {wanted}.")
