"""Lines of layers: what they make, what fits, and what is said where something does not."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from carousel.errors import UsageError
from carousel.nn import LAYERS, build_line
from carousel.nn.line import ACTIVATIONS, looks_like_a_line


def test_the_classic_example_is_plain_torch() -> None:
    line = "conv 20 5x5 pad 2, relu, pool 2, conv 50 5, relu, pool 2, dense 500, dropout 0.5, dense"
    net = build_line(line, (1, 28, 28), 10)
    expected = nn.Sequential(
        nn.Conv2d(1, 20, 5, padding=2), nn.ReLU(), nn.MaxPool2d(2), nn.Conv2d(20, 50, 5), nn.ReLU(), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(50 * 5 * 5, 500), nn.Dropout(0.5), nn.Linear(500, 10),
    )  # fmt: skip
    assert [type(layer) for layer in net] == [type(layer) for layer in expected]
    for ours, theirs in zip(net.parameters(), expected.parameters(), strict=True):
        theirs.data.copy_(ours)
    x = torch.randn(3, 1, 28, 28)
    torch.testing.assert_close(net.eval()(x), expected.eval()(x))


EVERYTHING = (
    "conv 6 3 pad half, batchnorm, relu, maxout 3, pool 3 stride 2 pad 1, conv 4 2 dilation 2 groups 2 nobias, "
    "layernorm, elu, lrn 3, deconv 5 3 stride 2 pad 1 extra 1, avgpool 2, flatten, rbf 7, highway bias -1, "
    "dropout 0.2, dense 6, reshape 6x{ones}, global average, dense nobias"
)


@pytest.mark.parametrize("dimensions", [1, 2, 3])
@pytest.mark.parametrize("batch", [1, 3])
def test_every_kind_of_layer_in_each_dimension(dimensions: int, batch: int) -> None:
    shape = (2, *(11, 13, 9)[:dimensions])
    net = build_line(EVERYTHING.format(ones="x".join("1" * dimensions)), shape, 3).eval()
    x = torch.randn(batch, *shape, requires_grad=True)
    y = net(x)
    assert y.shape == (batch, 3)
    y.sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in net.parameters())
    used = {name.rstrip("0123456789") for name, _ in net.named_children()}
    assert used >= set(LAYERS) - set(ACTIVATIONS)


CONV, POOL, AVERAGE, TURNED = (
    dict(enumerate(kinds, 1))
    for kinds in ((nn.Conv1d, nn.Conv2d, nn.Conv3d), (nn.MaxPool1d, nn.MaxPool2d, nn.MaxPool3d),
                  (nn.AvgPool1d, nn.AvgPool2d, nn.AvgPool3d),
                  (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d))
)  # fmt: skip
MEANT: dict[str, Callable[[int, int], nn.Module]] = {
    "conv 3 3": lambda d, c: CONV[d](c, 3, 3),
    "conv 2 4 stride 2 pad half": lambda d, c: CONV[d](c, 2, 4, stride=2, padding=2),
    "conv 4 2 pad full": lambda d, c: CONV[d](c, 4, 2, padding=1),
    "conv 2 3 dilation 2": lambda d, c: CONV[d](c, 2, 3, dilation=2),
    "deconv 2 3 stride 2": lambda d, c: TURNED[d](c, 2, 3, stride=2),
    "pool 2": lambda d, c: POOL[d](2),
    "pool 3 stride 1 pad 1": lambda d, c: POOL[d](3, stride=1, padding=1),
    "avgpool 2": lambda d, c: AVERAGE[d](2),
    "tanh": lambda d, c: nn.Tanh(),
}
"""What PyTorch has to be told for c channels in d dimensions."""


@given(
    sizes=st.lists(st.integers(5, 12), min_size=1, max_size=3),
    layers=st.lists(st.sampled_from(sorted(MEANT)), max_size=4),
)
def test_shapes_and_refusals_are_those_of_pytorch(sizes: list[int], layers: list[str]) -> None:
    x, fits = torch.zeros(2, 2, *sizes), True
    for layer in layers:
        try:
            x = MEANT[layer](len(sizes), x.shape[1])(x)
        except RuntimeError:
            fits = False
            break
    line = ", ".join([*layers, "dense"])
    if not fits:
        with pytest.raises(UsageError, match="has no place"):
            build_line(line, (2, *sizes), 4)
        return
    net = build_line(line, (2, *sizes), 4).eval()
    assert net[-1].in_features == x[0].numel()
    assert net(torch.zeros(2, 2, *sizes)).shape == (2, 4)


def test_sizes_per_dimension() -> None:
    net = build_line("conv 4 5x3 stride 2x1 pad 2x0, pool 3x2, dense", (1, 21, 10), 2)
    assert net.conv1.kernel_size == (5, 3)
    assert net(torch.zeros(1, 1, 21, 10)).shape == (1, 2)


def test_outputs_as_a_word_and_a_last_activation() -> None:
    net = build_line("conv outputs 1, global max, softmax", (2, 5, 5), 7)
    torch.testing.assert_close(net(torch.randn(3, 2, 5, 5)).sum(1), torch.ones(3))


def test_dropout_has_a_default_and_words_may_be_large() -> None:
    net = build_line("Dense 5, ReLU, Dropout, Dense", (3,), 2)
    assert net.dropout1.p == 0.5


def test_what_is_a_line() -> None:
    assert looks_like_a_line("relu")
    assert looks_like_a_line("no such, thing")
    assert not looks_like_a_line("resnet20")


@pytest.mark.parametrize(
    ("line", "shape", "message"),
    [
        ("conv 20 5, relu, pool 2, conv 50 5, dense", (1, 10, 10),
         r'Layer 4, "conv 50 5", is given \(20, 3, 3\): a kernel that spans 5x5 has no place in 3x3; at most 3x3 fits; '
         r'pad it \("pad 1"\)'),
        ("conv 2 3 dilation 4, dense", (1, 8), r"spans 9 has no place in 8; at most 8 fits"),
        ("pool 2, pool 4, dense", (1, 6, 6), r'Layer 2, "pool 4", is given \(1, 3, 3\).*a smaller window'),
        ("cnov 20 5, dense", (1, 9, 9), "Layer 1, \"cnov 20 5\", begins with 'cnov'.*Did you mean 'conv'.*dense"),
        ("conv 20 5 strid 2, dense", (1, 9, 9), "has 'strid', which is not understood. Did you mean stride?"),
        ("conv 20, dense", (1, 9, 9), "too few numbers behind 'conv': 1. It is written: conv CHANNELS KERNEL"),
        ("conv 20 5 pad same, dense", (1, 9, 9), "the padding 'same'; give a whole number, none, half, full"),
        ("conv 20 5 stride 0, dense", (1, 9, 9), "'0' where a whole number of at least 1"),
        ("conv 20 5 stride, dense", (1, 9, 9), "ends with 'stride' without its value"),
        ("conv 20 5 stride 1 stride 2, dense", (1, 9, 9), "has stride twice"),
        ("conv 20 -5, dense", (1, 9, 9), "'-5' where a whole number"),
        ("conv 20 5x5x5, dense", (1, 9, 9), "5x5x5 has 3 sizes, one or 2 are expected"),
        ("conv 4 3 groups 3, dense", (3, 9, 9), "3 groups divide 3 channels in and 4 out only if both are multiples"),
        ("dense 5, conv 20 5, dense", (1, 9, 9), r'Layer 2, "conv 20 5", is given \(5,\).*put it before the dense'),
        ("conv 2 3, dense", (1, 2, 3, 4, 5), r"is given \(1, 2, 3, 4, 5\)"),
        ("pool 3 pad 2, dense", (1, 9), "padding 2 is more than half of the window 3"),
        ("deconv 2 3 extra 1, dense", (1, 9), "extra 1 must be below the stride or the dilation"),
        ("deconv 2 3 pad 9, dense", (1, 9), "nothing is left"),
        ("global mean, dense", (1, 9), "has 'mean'; choose average or max"),
        ("maxout 3, dense", (4,), "4 features are no multiple of 3"),
        ("maxout 1, dense", (4,), "at least 2"),
        ("reshape 2x3, dense", (4,), "2x3 holds 6 numbers, the input 4"),
        ("dropout 1, dense", (4,), "from 0 to below 1"),
        ("dropout much, dense", (4,), "'much' where a number is expected"),
        ("dense, relu, dense", (4,), "has no number of units; only the last dense"),
        ("dense 4 5, dense", (4,), "has '5', which is not understood"),
        ("dense 4,, dense", (4,), "Layer 2 of the line is empty"),
        ("dense 4", (4,), r"ends with \(4,\) for each example, but 3 outputs are expected; end it with \"dense\""),
        ("dense", (), r"The input's shape is \(\); give that of one example"),
        ("dense", (0, 3), "without the batch"),
    ],
)  # fmt: skip
def test_what_is_said_where_it_does_not_fit(line: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build_line(line, shape, 3)


def test_the_padding_that_is_advised_fits() -> None:
    for size in range(1, 6):
        with pytest.raises(UsageError) as error:
            build_line("conv 1 7 pad 0, dense", (1, size), 1)
        advised = str(error.value).split('("pad ')[1].split('"')[0]
        net = build_line(f"conv 1 7 pad {advised}, dense", (1, size), 1)
        assert net(torch.zeros(1, 1, size)).shape == (1, 1)


def test_no_outputs() -> None:
    with pytest.raises(UsageError, match="The number of outputs is 0"):
        build_line("dense", (3,), 0)
