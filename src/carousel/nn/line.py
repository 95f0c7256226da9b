"""Networks from one line of layers, such as "conv 20 5, relu, pool 2, dense 500, relu, dropout 0.5, dense".

Every layer is a word, its numbers, and its options with their values; shapes are inferred from the input's. The result
is an `nn.Sequential` of plain layers. What has branches (residual networks) is written in Python: see `networks`.
"""

from __future__ import annotations

import difflib
import re
from collections import Counter, OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

from torch import nn

from ..errors import UsageError
from .arithmetic import PADDINGS, output_size, padding_size, reach
from .units import Gaussians, Highway, Maxout, Threshold

__all__ = ["ACTIVATIONS", "LAYERS", "Shape", "build_line", "check_sizes", "layers_of", "looks_like_a_line"]

Shape = tuple[int, ...]
"""Of one example: (features,), or (channels, length), (channels, height, width), (channels, depth, height, width)."""

ACTIVATIONS: dict[str, Callable[[], nn.Module]] = {
    "elu": nn.ELU,
    "gelu": nn.GELU,
    "hardtanh": nn.Hardtanh,
    "identity": nn.Identity,
    "leaky_relu": nn.LeakyReLU,
    "relu": nn.ReLU,
    "sigmoid": nn.Sigmoid,
    "silu": nn.SiLU,
    "softmax": lambda: nn.Softmax(1),
    "softplus": nn.Softplus,
    "softsign": nn.Softsign,
    "tanh": nn.Tanh,
    "threshold": Threshold,
}


@dataclass
class Words:
    """One layer of a line, taken apart, with what it is given."""

    where: str
    """For messages: 'Layer 3, "conv 50 5",'."""
    kind: str
    numbers: list[str]
    options: dict[str, str]
    shape: Shape
    outputs: int

    def wrong(self, what: str) -> UsageError:
        """An error that names the layer and how it is written."""
        return UsageError(f"{self.where} {what} It is written: {LAYERS[self.kind].usage}.")

    def misfit(self, what: str) -> UsageError:
        """An error that names the layer and what it is given."""
        return UsageError(f"{self.where} is given {self.shape}: {what}.")

    def whole(self, text: str, least: int = 1) -> int:
        """A whole number of at least `least`; the word "outputs" is the number of outputs."""
        if text == "outputs":
            return self.outputs
        if not text.isdecimal() or int(text) < least:
            raise self.wrong(f"has {text!r} where a whole number of at least {least} is expected.")
        return int(text)

    def option(self, name: str, least: int = 1, default: int = 1) -> int:
        """A whole number, or its default where the option is not given."""
        return self.whole(self.options[name], least) if name in self.options else default

    def fraction(self, text: str) -> float:
        """A number."""
        try:
            return float(text)
        except ValueError:
            raise self.wrong(f"has {text!r} where a number is expected.") from None

    def dimensions(self) -> int:
        """Over how many dimensions a layer for maps runs."""
        if not 2 <= len(self.shape) <= 4:
            few = "features without places; put it before the dense layers" if len(self.shape) == 1 else "too much"
            raise self.misfit(
                f"that is {few}; a {self.kind} layer takes (channels, length), (channels, height, width) or "
                "(channels, depth, height, width)"
            )
        return len(self.shape) - 1

    def sizes(self, text: str, least: int = 1) -> Shape:
        """A size per dimension: 5x3, or one number for all."""
        sizes = tuple(self.whole(part, least) for part in text.split("x"))
        dimensions = self.dimensions()
        if len(sizes) not in (1, dimensions):
            raise self.misfit(f"{text} has {len(sizes)} sizes, one or {dimensions} are expected")
        return sizes * dimensions if len(sizes) == 1 else sizes

    def paddings(self, kernel: Shape, dilation: Shape) -> Shape:
        """Zeros on either side, per dimension."""
        text = self.options.get("pad", "none")
        if text in PADDINGS:
            return tuple(padding_size(text, k, d) for k, d in zip(kernel, dilation, strict=True))
        if not re.fullmatch(r"\d+(x\d+)*", text):
            raise self.wrong(f"has the padding {text!r}; give a whole number, {', '.join(PADDINGS)}.")
        return self.sizes(text, least=0)


Made = tuple[nn.Module, Shape]


@dataclass(frozen=True)
class Kind:
    """A word of the language: how it is written and what it makes."""

    usage: str
    make: Callable[[Words], Made]
    numbers: range = range(1)
    """How many numbers may follow the word."""
    options: tuple[str, ...] = ()
    flat: bool = field(default=False, kw_only=True)
    """Whether what it is given is flattened first."""


def _times(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


def _placed(words: Words, kernel: Shape, stride: Shape, pad: Shape, dilation: Shape) -> Shape:
    """The spatial sizes behind a kernel.

    Raises:
        UsageError: it has no place.
    """
    places = zip(words.shape[1:], kernel, stride, pad, dilation, strict=True)
    sizes = tuple(output_size(w, k, stride=s, padding=p, dilation=d) for w, k, s, p, d in places)
    if min(sizes) < 1:
        spans = tuple(map(reach, kernel, dilation))
        lacks = max(-((w + 2 * p - f) // 2) for w, p, f in zip(words.shape[1:], pad, spans, strict=True))
        room = tuple(w + 2 * p for w, p in zip(words.shape[1:], pad, strict=True))
        more = max(pad) + lacks
        pooling = "a smaller window, or fewer pooling layers before it"
        padding = f'at most {_times(room)} fits; pad it ("pad {more}"), or pool less before it'
        raise words.misfit(
            f"a {'kernel' if words.kind == 'conv' else 'window'} that spans {_times(spans)} has no place in "
            f"{_times(room)}; {padding if words.kind == 'conv' else pooling}"
        )
    return sizes


def _conv(words: Words) -> Made:
    channels, kernel = words.whole(words.numbers[0]), words.sizes(words.numbers[1])
    stride, dilation = (words.sizes(words.options.get(name, "1")) for name in ("stride", "dilation"))
    pad, groups = words.paddings(kernel, dilation), words.option("groups")
    taken = words.shape[0]
    if taken % groups or channels % groups:
        raise words.misfit(f"{groups} groups divide {taken} channels in and {channels} out only if both are multiples")
    bias = "nobias" not in words.options
    if words.kind == "conv":
        sizes = _placed(words, kernel, stride, pad, dilation)
        layer = (nn.Conv1d, nn.Conv2d, nn.Conv3d)[len(kernel) - 1]
        return layer(taken, channels, kernel, stride, pad, dilation, groups, bias), (channels, *sizes)  # pyright: ignore[reportArgumentType]
    extra = words.sizes(words.options.get("extra", "0"), least=0)
    if any(e >= max(s, d) for e, s, d in zip(extra, stride, dilation, strict=True)):
        raise words.misfit(f"extra {_times(extra)} must be below the stride or the dilation")
    places = zip(words.shape[1:], kernel, stride, pad, dilation, extra, strict=True)
    sizes = tuple(
        output_size(w, k, stride=s, padding=p, dilation=d, extra=e, transposed=True) for w, k, s, p, d, e in places
    )
    if min(sizes) < 1:
        raise words.misfit(f"with so much padding nothing is left ({_times(sizes)}); pad less")
    layer = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)[len(kernel) - 1]
    return layer(taken, channels, kernel, stride, pad, extra, groups, bias, dilation), (channels, *sizes)  # pyright: ignore[reportArgumentType]


def _pool(words: Words) -> Made:
    kernel = words.sizes(words.numbers[0])
    stride = words.sizes(words.options.get("stride", words.numbers[0]))
    ones = (1,) * len(kernel)
    pad = words.paddings(kernel, ones)
    if any(2 * p > k for p, k in zip(pad, kernel, strict=True)):
        raise words.misfit(f"padding {_times(pad)} is more than half of the window {_times(kernel)}")
    shape = (words.shape[0], *_placed(words, kernel, stride, pad, ones))
    layers = {"pool": (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d), "avgpool": (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d)}
    return layers[words.kind][len(kernel) - 1](kernel, stride, pad), shape  # pyright: ignore[reportArgumentType]


def _global(words: Words) -> Made:
    dimensions, how = words.dimensions(), words.numbers[0]
    layers = {
        "average": (nn.AdaptiveAvgPool1d, nn.AdaptiveAvgPool2d, nn.AdaptiveAvgPool3d),
        "max": (nn.AdaptiveMaxPool1d, nn.AdaptiveMaxPool2d, nn.AdaptiveMaxPool3d),
    }
    if how not in layers:
        raise words.wrong(f"has {how!r}; choose average or max.")
    return nn.Sequential(layers[how][dimensions - 1](1), nn.Flatten()), (words.shape[0],)


def _dense(words: Words) -> Made:
    units = words.whole(words.numbers[0]) if words.numbers else words.outputs
    return nn.Linear(words.shape[0], units, bias="nobias" not in words.options), (units,)


def _rbf(words: Words) -> Made:
    units = words.whole(words.numbers[0])
    return Gaussians(words.shape[0], units), (units,)


def _highway(words: Words) -> Made:
    bias = words.fraction(words.options.get("bias", "-2"))
    return Highway(words.shape[0], bias), words.shape


def _maxout(words: Words) -> Made:
    pieces = words.whole(words.numbers[0], least=2)
    if words.shape[0] % pieces:
        raise words.misfit(f"{words.shape[0]} features are no multiple of {pieces}; let the layer before have one")
    return Maxout(pieces), (words.shape[0] // pieces, *words.shape[1:])


def _batchnorm(words: Words) -> Made:
    dimensions = 1 if len(words.shape) == 1 else words.dimensions()
    return (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)[dimensions - 1](words.shape[0]), words.shape


def _layernorm(words: Words) -> Made:
    features = words.shape[0]
    return nn.LayerNorm(features) if len(words.shape) == 1 else nn.GroupNorm(1, features), words.shape


def _lrn(words: Words) -> Made:
    size = words.whole(words.numbers[0])
    words.dimensions()
    return nn.LocalResponseNorm(size, alpha=1e-4 * size, beta=0.75, k=2.0), words.shape  # PyTorch divides alpha by size


def _dropout(words: Words) -> Made:
    p = words.fraction(words.numbers[0]) if words.numbers else 0.5
    if not 0 <= p < 1:
        raise words.wrong(f"has {words.numbers[0]}; the probability of dropping goes from 0 to below 1.")
    return nn.Dropout(p), words.shape


def _flatten(words: Words) -> Made:
    return nn.Flatten(), (prod(words.shape),)


def _reshape(words: Words) -> Made:
    shape = tuple(words.whole(part) for part in words.numbers[0].split("x"))
    if prod(shape) != prod(words.shape):
        raise words.misfit(f"{_times(shape)} holds {prod(shape)} numbers, the input {prod(words.shape)}")
    return nn.Sequential(nn.Flatten(), nn.Unflatten(1, shape)), shape


def _activation(words: Words) -> Made:
    return ACTIVATIONS[words.kind](), words.shape


_PLACES = ("stride", "pad", "dilation", "groups", "nobias")
_FLAGS = ("nobias",)
LAYERS: dict[str, Kind] = {
    "conv": Kind(
        "conv CHANNELS KERNEL [stride S] [pad P|none|half|full] [dilation D] [groups G] [nobias], sizes as 5 or 5x3",
        _conv, range(2, 3), _PLACES,
    ),
    "deconv": Kind(
        "deconv CHANNELS KERNEL [stride S] [pad P] [dilation D] [groups G] [extra E] [nobias], transposed conv",
        _conv, range(2, 3), (*_PLACES, "extra"),
    ),
    "pool": Kind("pool SIZE [stride S] [pad P], the largest; the stride is the size by default",
                 _pool, range(1, 2), ("stride", "pad")),
    "avgpool": Kind("avgpool SIZE [stride S] [pad P], the mean", _pool, range(1, 2), ("stride", "pad")),
    "global": Kind("global average, or global max, over all places", _global, range(1, 2)),
    "dense": Kind("dense UNITS [nobias]; the last one goes without number", _dense, range(2), ("nobias",), flat=True),
    "rbf": Kind("rbf UNITS, radial basis functions", _rbf, range(1, 2), flat=True),
    "highway": Kind("highway [bias B], as many units as it is given", _highway, options=("bias",), flat=True),
    "maxout": Kind("maxout PIECES, the largest of each PIECES neighboring features", _maxout, range(1, 2)),
    "batchnorm": Kind("batchnorm", _batchnorm),
    "layernorm": Kind("layernorm, over all features or maps of an example", _layernorm),
    "lrn": Kind("lrn N, AlexNet's local response normalization over N neighboring maps", _lrn, range(1, 2)),
    "dropout": Kind("dropout P", _dropout, range(2)),
    "flatten": Kind("flatten (before dense it goes without saying)", _flatten),
    "reshape": Kind("reshape SHAPE, as 32x7x7", _reshape, range(1, 2)),
    **{name: Kind(name, _activation) for name in ACTIVATIONS},
}  # fmt: skip
"""The words that a line is made of."""


def looks_like_a_line(text: str) -> bool:
    """Whether `text` is a line of layers, rather than a network's name.

    Example:
        >>> [looks_like_a_line(text) for text in ("dense", "conv 20 5, dense", "vgg16")]
        [True, True, False]
    """
    return bool(re.search(r"[\s,]", text.strip())) or text.strip().lower() in LAYERS


def _taken_apart(text: str, number: int, shape: Shape, outputs: int) -> Words:
    where = f'Layer {number}, "{" ".join(text.split())}",'
    kind, *rest = text.lower().split() or [""]
    if not kind:
        raise UsageError(f"Layer {number} of the line is empty: there are two commas in a row, or one at an end.")
    if kind not in LAYERS:
        near = difflib.get_close_matches(kind, LAYERS, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise UsageError(f"{where} begins with {kind!r}, which is no layer.{hint} The layers are {', '.join(LAYERS)}.")
    known, numbers, options = LAYERS[kind], [], {}
    words = Words(where, kind, numbers, options, shape, outputs)
    while rest:
        word = rest.pop(0)
        if word in options:
            raise words.wrong(f"has {word} twice.")
        if word in known.options and (word in _FLAGS or rest):
            options[word] = "" if word in _FLAGS else rest.pop(0)
        elif word in known.options:
            raise words.wrong(f"ends with {word!r} without its value.")
        elif options or len(numbers) + 1 not in range(known.numbers.stop):
            near = difflib.get_close_matches(word, known.options, n=1)
            raise words.wrong(f"has {word!r}, which is not understood.{f' Did you mean {near[0]}?' if near else ''}")
        else:
            numbers.append(word)
    if len(numbers) not in known.numbers:
        raise words.wrong(f"has too few numbers behind {kind!r}: {len(numbers)}.")
    return words


def check_sizes(input_shape: Shape, outputs: int) -> None:
    """Raise a UsageError unless these are the shape of an example and a number of outputs."""
    if not input_shape or any(not isinstance(size, int) or size < 1 for size in input_shape):
        raise UsageError(
            f"The input's shape is {input_shape!r}; give that of one example, without the batch, such as (1, 28, 28)."
        )
    if not isinstance(outputs, int) or outputs < 1:
        raise UsageError(f"The number of outputs is {outputs!r}; give a whole number of at least 1.")


def layers_of(line: str, input_shape: Shape, outputs: int) -> tuple[OrderedDict[str, nn.Module], Shape]:
    """The layers by their names, such as conv1, relu1, and the shape that comes out, which may be any."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    shape, counts, texts = tuple(input_shape), Counter[str](), line.split(",")

    def add(words: Words) -> Shape:
        module, after = LAYERS[words.kind].make(words)
        counts[words.kind] += 1
        layers[f"{words.kind}{counts[words.kind]}"] = module
        return after

    last = max((n for n, text in enumerate(texts) if text.lower().split()[:1] == ["dense"]), default=-1)
    for number, text in enumerate(texts):
        words = _taken_apart(text, number + 1, shape, outputs)
        if words.kind == "dense" and not words.numbers and number != last:
            raise words.wrong("has no number of units; only the last dense layer goes without.")
        if LAYERS[words.kind].flat and len(shape) > 1:
            words.shape = add(_taken_apart("flatten", number + 1, shape, outputs))
        shape = add(words)
    return layers, shape


def build_line(line: str, input_shape: Shape, outputs: int) -> nn.Sequential:
    """The network that a line of layers describes.

    `carousel.nn.LAYERS` lists the words: conv, deconv, pool, avgpool, global average, dense, rbf, highway, maxout,
    batchnorm, layernorm, lrn, dropout, flatten, reshape, and the activations. Layers for maps run over one, two or
    three dimensions, as the input has them. Starting weights are PyTorch's; `carousel.nn.initialize` draws others.

    Args:
        line: layers with commas between them. The last `dense` without a number has as many units as there are
            outputs, and so has the word "outputs" in place of a number, as in "conv outputs 1, global average".
        input_shape: of one example: (features,), (channels, length), (channels, height, width) or
            (channels, depth, height, width).
        outputs: numbers that come out for each example.

    Returns:
        (batch, *input_shape) to (batch, outputs).

    Raises:
        UsageError: a layer is not understood or does not fit what it is given (both are named), or what comes out is
            not (outputs,).

    Example:
        >>> net = build_line("conv 6 5x5 pad half, tanh, pool 2, dense 20, relu, dropout 0.5, dense", (1, 28, 28), 10)
        >>> list(dict(net.named_children()))
        ['conv1', 'tanh1', 'pool1', 'flatten1', 'dense1', 'relu1', 'dropout1', 'dense2']
        >>> net.dense1
        Linear(in_features=1176, out_features=20, bias=True)
    """
    check_sizes(input_shape, outputs)
    layers, shape = layers_of(line, input_shape, outputs)
    if shape != (outputs,):
        raise UsageError(
            f'The line ends with {shape} for each example, but {outputs} outputs are expected; end it with "dense".'
        )
    return nn.Sequential(layers)
