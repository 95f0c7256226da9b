"""Counts of parameters, activations and multiply-adds: published ones, by hand, and what is said of the rest."""

from __future__ import annotations

from math import prod

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import carousel
from carousel.errors import UsageError
from carousel.nn import SentenceCNN, network, summary


def on_nothing(name: str, **options: object) -> carousel.nn.Summary:
    with torch.device("meta"):
        return summary(network(name, (3, 224, 224), 1000, **options), (3, 224, 224))


@pytest.mark.parametrize(
    ("name", "options", "billions", "digits"),
    [("vgg16", {}, 15.470, 3), ("vgg19", {}, 19.6, 1), ("resnet34", {"shortcut": "pad"}, 3.6, 1),
     ("resnet18", {}, 1.8, 1), ("resnet152", {}, 11.3, 1), ("alexnet", {}, 0.724, 3)],
)  # fmt: skip
def test_multiply_adds_as_published(name: str, options: dict, billions: float, digits: int) -> None:
    found = on_nothing(name, **options)
    assert round(found.multiply_adds / 1e9, digits) == billions
    assert found.notes == []


def test_vgg16_line_by_line() -> None:
    found = on_nothing("vgg16")
    assert found.parameters == found.trainable == sum(row.parameters for row in found.rows) == 138_357_544
    rows = {row.name: row for row in found.rows}
    assert rows["conv1"].output == (1, 64, 224, 224)
    assert rows["conv1"].activations == 224 * 224 * 64
    assert rows["conv1"].parameters == 3 * 3 * 3 * 64 + 64
    assert rows["dense1"].parameters == 102_760_448 + 4096
    assert rows["dense1"].multiply_adds == 102_760_448
    assert rows["flatten1"].activations == 0
    assert rows["dropout1"].activations == 4096
    counted = sum(row.activations for row in found.rows if row.kind in ("Conv2d", "MaxPool2d", "Linear"))
    assert counted + found.input_numbers == 15_237_608


BATCH = 2
CASES = [
    (nn.Linear(5, 7), (3, 5), 3 * 5 * 7),
    (nn.Conv1d(4, 6, 3, stride=2, groups=2), (4, 11), 5 * 3 * 2 * 6),
    (nn.Conv2d(4, 6, (3, 2), padding=1, dilation=2), (4, 7, 8), 5 * 8 * 6 * 4 * 6),
    (nn.Conv3d(2, 3, 2), (2, 4, 5, 3), 3 * 4 * 2 * 8 * 2 * 3),
    (nn.ConvTranspose1d(4, 6, 3, stride=2), (4, 5), 5 * 3 * 4 * 6),
    (nn.ConvTranspose2d(4, 6, 3, stride=2, groups=2), (4, 5, 3), 15 * 9 * 4 * 3),
    (nn.ConvTranspose3d(2, 3, 2, padding=1), (2, 4, 3, 3), 36 * 8 * 2 * 3),
    (nn.BatchNorm2d(4), (4, 5, 5), 0),
    (nn.LayerNorm(5), (3, 5), 0),
    (nn.MaxPool1d(2), (3, 8), 0),
    (carousel.nn.Gaussians(5, 7), (5,), 35),
    (nn.RNN(3, 5, 2, batch_first=True), (7, 3), 7 * (5 * 3 + 5 * 5 + 2 * 5 * 5)),
    (nn.GRU(3, 5, bidirectional=True, batch_first=True), (7, 3), 7 * 2 * 3 * (5 * 3 + 25)),
    (nn.LSTM(3, 5, proj_size=2, batch_first=True), (7, 3), 7 * (20 * 3 + 20 * 2 + 2 * 5)),
    (nn.LSTMCell(3, 5), (3,), 20 * 3 + 20 * 5),
    (carousel.nn.LSTM(3, 5, 2, batch_first=True), (7, 3), 7 * (20 * 3 + 3 * 20 * 5)),
    (carousel.nn.Recurrent(carousel.cells.GRU, 3, 5, bidirectional=True, batch_first=True), (7, 3),
     7 * 2 * 3 * (5 * 3 + 25)),
    (nn.MultiheadAttention(8, 2, batch_first=True), None, 6 * 4 * 64 + 2 * 2 * 4 * 36),
]  # fmt: skip


@pytest.mark.parametrize(
    ("module", "shape", "work"), CASES, ids=lambda v: type(v).__name__ if isinstance(v, nn.Module) else ""
)
def test_counts_by_hand(module: nn.Module, shape: tuple[int, ...] | None, work: int) -> None:
    x = torch.zeros(BATCH, *(shape or (6, 8)))
    given = (x, x, x) if shape is None else x
    found = summary(module, given)
    assert found.multiply_adds == BATCH * work
    assert found.parameters == sum(p.numel() for p in module.parameters())
    assert [row.kind for row in found.rows] == [type(module).__name__]
    assert found.notes == []
    if shape is not None:
        assert summary(module, shape).multiply_adds == work
        output = module.eval()(x)
        tensors = [output] if isinstance(output, Tensor) else [output[0], *torch.utils._pytree.tree_leaves(output[1])]
        assert found.activations == sum(t.numel() for t in tensors)
        assert found.rows[0].output == tuple(tensors[0].shape)


class Odd(nn.Module):
    """Shared layers, products outside of layers, a layer that never runs, frozen parameters."""

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(10, 4)
        self.shared = nn.Linear(4, 4)
        self.never = nn.Linear(100, 100)
        self.own = nn.Parameter(torch.zeros(4, 3))
        self.shared.bias.requires_grad_(False)

    def forward(self, tokens: Tensor, scale: Tensor) -> Tensor:
        x = self.shared(torch.tanh(self.shared(self.words(tokens))))
        return torch.einsum("bte,ek->btk", x, self.own) * scale + torch.mv(self.own.T, self.own[:, 0])


def test_an_odd_model() -> None:
    found = summary(Odd(), (torch.zeros(2, 5, dtype=torch.int64), torch.ones(1)))
    assert [row.name for row in found.rows] == ["words", "shared", "shared", "Odd"]
    assert [row.parameters for row in found.rows] == [40, 20, 0, 12]
    assert [row.multiply_adds for row in found.rows] == [0, 160, 160, 10 * 12 + 12]
    assert found.parameters == 40 + 20 + 12 + 10_100
    assert found.trainable == found.parameters - 4
    assert found.notes == ["10,100 parameters belong to modules that did not run."]
    assert "For an input of 2 x 5 and 1, numbers of 4 bytes. 4 parameters are frozen." in str(found)


class ByHand(nn.Module):
    """Has weights that meet the input element by element, and asks for a value."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Linear(3, 3)
        self.weight = nn.Parameter(torch.ones(3, 3))

    def forward(self, x: Tensor) -> Tensor:
        x = self.inner(x)
        return x if x.sum().item() > 1e9 else F.relu((x.unsqueeze(-1) * self.weight).sum(1), inplace=True)


def test_what_can_not_be_counted_is_said() -> None:
    class Elementwise(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = nn.Parameter(torch.ones(3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return (x.unsqueeze(-1) * self.weight).sum(1)

    found = summary(nn.Sequential(nn.Linear(3, 3), Elementwise()), (3,))
    assert found.multiply_adds == 9
    assert found.notes == [
        "Not counted: the multiply-adds of 1 (Elementwise), which have weights but neither multiply matrices nor "
        "convolve."
    ]


def test_a_model_that_refuses_tensors_without_data_is_run() -> None:
    found = summary(ByHand(), (3,))
    assert [(row.name, row.parameters, row.multiply_adds) for row in found.rows] == [("inner", 12, 9), ("ByHand", 9, 0)]


def test_layers_that_pass_on_what_they_get_hold_nothing() -> None:
    net = nn.Sequential(nn.Conv1d(1, 2, 3), nn.ReLU(inplace=True), nn.Identity(), nn.Flatten(), nn.Tanh())
    assert [row.activations for row in summary(net, (1, 7)).rows] == [10, 0, 0, 0, 10]


def test_nothing_changes() -> None:
    net = nn.Sequential(
        nn.Linear(4, 4), nn.BatchNorm1d(4), nn.Dropout(0.5), carousel.nn.Recurrent([carousel.cells.GRU(4, 2)])
    )
    net[0].eval()
    modes = [module.training for module in net.modules()]
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.random.get_rng_state()
    summary(net, torch.randn(3, 4, generator=torch.Generator().manual_seed(0)))
    assert [module.training for module in net.modules()] == modes
    assert net[3].backend == "auto"
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in net.modules())
    assert torch.backends.mha.get_fastpath_enabled()


def test_sentences_and_double_precision() -> None:
    tokens = torch.zeros(7, 3, dtype=torch.int64)
    found = summary(SentenceCNN(9, 2, embedding_size=4, widths=(2, 3), maps=5), tokens)
    places = [7 + width - 1 for width in (2, 3)]
    assert found.multiply_adds == 3 * (sum(n * w * 4 * 5 for n, w in zip(places, (2, 3), strict=True)) + 10 * 2)
    assert summary(nn.Linear(3, 2).double(), (3,)).multiply_adds == 6


def test_the_table() -> None:
    lines = str(summary(network("lenet5", (1, 28, 28), 10), (1, 28, 28))).splitlines()
    assert lines[0].split() == ["layer", "kind", "output", "parameters", "activations", "memory", "multiply-adds"]
    assert lines[2].split() == "conv1 Conv2d 6 x 28 x 28 156 4,704 18.8 kB 117,600".split()
    assert lines[-3].split() == "all 61,706 14,602 58.4 kB 416,520".split()
    assert lines[-1] == "For one example of 1 x 28 x 28, numbers of 4 bytes."
    assert len({len(line) for line in lines[1:2] + lines[-4:-3]}) == 1


@pytest.mark.parametrize(
    ("module", "given", "message"),
    [
        (
            nn.Linear(3, 2),
            (4,),
            r"Linear cannot run on an input of \(1, 4\): mat1 and mat2 shapes cannot be multiplied",
        ),
        (nn.Linear(3, 2), (), r"the input shape \(\); give that of one example"),
        (nn.Linear(3, 2), (3, -1), "give that of one example"),
        (nn.Bilinear(3, 2, 2), (3,), "missing 1 required positional argument"),
        (nn.LazyLinear(3), (3,), "LazyLinear has layers without a size yet; run it once before"),
    ],
)
def test_what_can_not_be_run(module: nn.Module, given: tuple, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        summary(module, given)


def test_activations_are_those_of_the_shapes() -> None:
    found = on_nothing("resnet50")
    assert found.activation_bytes == 4 * found.activations
    assert all(row.activations in (0, prod(row.output)) for row in found.rows)


def test_tied_weights_are_counted_once() -> None:
    net = nn.Sequential(nn.Embedding(11, 6), nn.Linear(6, 11, bias=False))
    net[1].weight = net[0].weight
    found = summary(net, torch.zeros(2, 5, dtype=torch.int64))
    assert [row.parameters for row in found.rows] == [66, 0]
    assert (found.parameters, found.multiply_adds, found.notes) == (66, 10 * 66, [])


def test_a_network_that_looks_at_its_lengths() -> None:
    recurrent = carousel.nn.Recurrent(carousel.cells.LSTM, 4, 3, bidirectional=True)
    net = carousel.nn.SequenceClassifier(9, recurrent, 2, embedding_size=4)
    found = summary(net, (torch.zeros(7, 2, dtype=torch.int64), torch.tensor([7, 3])))
    assert [row.name for row in found.rows] == ["embedding", "recurrent", "scores"]
    assert found.multiply_adds == 2 * (7 * 2 * 12 * (4 + 3) + 6 * 2)


def test_weights_under_a_parametrization() -> None:
    net = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), nn.ReLU())
    found = summary(net, (4,))
    assert found.multiply_adds == 12
    assert found.parameters == sum(row.parameters for row in found.rows) == 12 + 3 + 3
    assert found.notes == []
