"""Networks by name: published numbers of parameters, what they compute, and what they refuse."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from carousel.errors import UsageError
from carousel.nn import NETWORKS, Autoencoder, SentenceCNN, SequenceAutoencoder, line_of, network, options_of

LARGE = ("alexnet", "vgg", "resnet18", "resnet34", "resnet50", "resnet101", "resnet152")


def parameters(net: nn.Module) -> int:
    return sum(p.numel() for p in net.parameters())


@pytest.mark.parametrize(
    ("name", "shape", "outputs", "count"),
    [
        ("perceptron", (784,), 10, 7_850),
        ("lenet5", (1, 28, 28), 10, 61_706),
        ("lenet5", (1, 32, 32), 10, 61_706),
        ("alexnet", (3, 224, 224), 1000, 60_965_224),
        ("vgg11", (3, 224, 224), 1000, 132_863_336),
        ("vgg16", (3, 224, 224), 1000, 138_357_544),
        ("vgg19", (3, 224, 224), 1000, 143_667_240),
        ("resnet20", (3, 32, 32), 10, 269_722),
        ("resnet32", (3, 32, 32), 10, 464_154),
        ("resnet44", (3, 32, 32), 10, 658_586),
        ("resnet56", (3, 32, 32), 10, 853_018),
        ("resnet110", (3, 32, 32), 10, 1_727_962),
        ("plain56", (3, 32, 32), 10, 853_018),
        ("resnet18", (3, 224, 224), 1000, 11_689_512),
        ("resnet34", (3, 224, 224), 1000, 21_797_672),
        ("resnet50", (3, 224, 224), 1000, 25_557_032),
        ("resnet101", (3, 224, 224), 1000, 44_549_160),
        ("resnet152", (3, 224, 224), 1000, 60_192_808),
    ],
)
def test_parameters_as_published(name: str, shape: tuple[int, ...], outputs: int, count: int) -> None:
    with torch.device("meta"):
        assert parameters(network(name, shape, outputs)) == count


def test_the_first_dense_layer_of_vgg16() -> None:
    with torch.device("meta"):
        assert network("vgg16", (3, 224, 224), 1000).dense1.weight.numel() == 102_760_448


@pytest.mark.parametrize("name", NETWORKS)
def test_every_network_runs(name: str) -> None:
    shape = {"sentence-cnn": (7,), "autoencoder-sequence": (7, 3)}.get(name, (3, 64, 64))
    options = {"vocabulary": 11} if name == "sentence-cnn" else {}
    device = "meta" if name.startswith(LARGE) else "cpu"
    with torch.device(device):
        net = network(name, shape, 5, **options).eval()
        x = torch.randint(11, (2, *shape)) if name == "sentence-cnn" else torch.rand(2, *shape)
        y = net(x)
        assert y.shape == (x.shape if name.startswith("auto") else (2, 5))
        if name.startswith("auto"):
            assert net.encode(x).shape == (2, 5)
    assert 0 < len(NETWORKS[name].about) < 80


@pytest.mark.parametrize("name", ["perceptron", "threshold", "mlp", "maxout", "rbf", "highway", "convnet", "lenet5"])
def test_a_line_stands_for_the_name(name: str) -> None:
    shape = (1, 28, 28)
    line = line_of(name, shape, 10)
    assert line is not None
    assert str(network(line, shape, 10)) == str(network(name, shape, 10))
    assert line_of("resnet20", shape, 10) is None


@pytest.mark.parametrize("shape", [(2, 33), (2, 9, 17), (1, 8, 8, 11)])
def test_convnets_in_each_dimension(shape: tuple[int, ...]) -> None:
    net = network("convnet", shape, 3, filters=2, hidden_size=4)
    assert net(torch.randn(2, *shape)).shape == (2, 3)
    net = network("autoencoder-conv", shape, 3, filters=2)
    assert net(torch.randn(2, *shape)).shape == (2, *shape)


def test_a_residual_block_is_its_input_where_the_rest_is_zero() -> None:
    net = network("resnet20", (3, 8, 8), 10).eval()
    for block in net.layer1:
        nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 16, 8, 8)
    torch.testing.assert_close(net.layer1(x), x)
    plain = network("plain20", (3, 8, 8), 10).eval()
    for block in plain.layer1:
        nn.init.zeros_(block.bn2.weight)
    assert not plain.layer1(x).detach().any()


def test_padding_shortcuts_take_every_second_place_and_zeros() -> None:
    block = network("resnet20", (3, 9, 9), 10).layer2[0].eval()
    nn.init.zeros_(block.bn2.weight)
    x = torch.rand(2, 16, 9, 9)
    y = block(x)
    torch.testing.assert_close(y[:, :16], x[:, :, ::2, ::2])
    assert not y[:, 16:].detach().any()


def test_thin_nets_and_projections() -> None:
    assert network("resnet20", (3, 32, 32), 10, filters=8).fc.in_features == 32
    assert parameters(network("resnet20", (3, 32, 32), 10, shortcut="project")) == 272_474


def test_bottlenecks_have_their_stride_where_it_is_asked_for() -> None:
    with torch.device("meta"):
        strides = [
            [block.conv1.stride[0], block.conv2.stride[0]]
            for block in (network("resnet50", (3, 64, 64), 10, stride_at=at).layer2[0] for at in ("1x1", "3x3"))
        ]
    assert strides == [[2, 1], [1, 2]]


def test_modules_are_named_as_in_torchvision() -> None:
    with torch.device("meta"):
        names = set(network("resnet50", (3, 64, 64), 10).state_dict())
    assert {"conv1.weight", "bn1.running_mean", "layer1.0.downsample.0.weight", "layer1.0.downsample.1.bias",
            "layer4.2.conv3.weight", "fc.bias"} <= names  # fmt: skip
    assert len(names) == 320


def test_he_start_keeps_the_signal_in_a_deep_network() -> None:
    net = network("vgg16", (3, 32, 32), 10, hidden_size=64).eval()
    x = torch.randn(4, 3, 32, 32)
    assert 0.05 < float(net(x).detach().std()) / float(x.std()) < 20
    assert all(not layer.bias.any() for layer in net if isinstance(layer, nn.Conv2d))


# -- sentences --------------------------------------------------------------------------------------------------------


def test_sentence_cnn_is_its_formula() -> None:
    net = SentenceCNN(20, 3, embedding_size=4, widths=(2, 3), maps=5).double().eval()
    words = torch.randint(20, (6, 1))
    x = F.pad(net.embeddings[0](words[:, 0]), (0, 0, 2, 2))
    found = []
    for convolution in net.convolutions:
        width = convolution.kernel_size[0]
        windows = [x[t : t + width] for t in range(2 - (width - 1), 2 + 6)]
        sums = torch.stack([torch.einsum("mek,ke->m", convolution.weight, w) + convolution.bias for w in windows])
        found.append(sums.relu().amax(0))
    torch.testing.assert_close(net(words)[0], net.scores(torch.cat(found)))


@pytest.mark.parametrize("variant", ["random", "static", "non-static", "multichannel"])
def test_sentence_cnn_ignores_padding(variant: str) -> None:
    vectors = None if variant == "random" else torch.randn(9, 6)
    net = SentenceCNN(9, 4, embedding_size=6, maps=5, variant=variant, vectors=vectors).double().eval()
    tokens, lengths = torch.randint(9, (7, 3)), torch.tensor([7, 3, 1])
    scores = net(tokens, lengths)
    tokens[3:, 1] = tokens[1:, 2] = 8
    torch.testing.assert_close(net(tokens, lengths), scores)
    for place, length in enumerate(lengths.tolist()):
        torch.testing.assert_close(net(tokens[:length, place : place + 1]), scores[place : place + 1])


def test_which_vectors_learn() -> None:
    vectors = torch.randn(9, 6)
    learns = {
        variant: [e.weight.requires_grad for e in SentenceCNN(9, 2, variant=variant, vectors=vectors).embeddings]
        for variant in ("static", "non-static", "multichannel")
    }
    assert learns == {"static": [False], "non-static": [True], "multichannel": [False, True]}


def test_shorten() -> None:
    net = SentenceCNN(9, 2, embedding_size=3, maps=2)
    with torch.no_grad():
        net.scores.weight[0] *= 100
        short = net.scores.weight[1].clone()
    net.shorten(3.0)
    assert float(net.scores.weight[0].detach().norm()) == pytest.approx(3, rel=1e-5)
    torch.testing.assert_close(net.scores.weight[1], short)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"variant": "static"}, "The variant static takes word vectors; give vectors="),
        ({"vectors": torch.zeros(9, 3)}, "The variant random takes no vectors"),
        ({"variant": "static", "vectors": torch.zeros(8, 3)}, r"are \(8, 3\); expected \(9, size\)"),
        ({"variant": "both"}, "no variant 'both'; choose random, static"),
        ({"widths": ()}, "has no windows; give their widths"),
    ],
)
def test_options_that_do_not_fit(options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        SentenceCNN(9, 2, **options)


# -- autoencoders -----------------------------------------------------------------------------------------------------


def test_a_linear_autoencoder_reaches_the_principal_components() -> None:
    x = torch.randn(200, 6) @ torch.randn(6, 6)
    x = x - x.mean(0)
    net = network("autoencoder", (6,), 2, hidden_sizes=(), output="identity")
    rule = torch.optim.LBFGS(net.parameters(), max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        rule.zero_grad()
        loss = F.mse_loss(net(x), x)
        loss.backward()
        return loss

    rule.step(closure)
    left = torch.linalg.svdvals(x)[2:].square().sum() / x.numel()
    assert float(closure().detach()) == pytest.approx(float(left), rel=1e-3)


def test_a_sequence_autoencoder_ignores_padding() -> None:
    net, x, lengths = SequenceAutoencoder(3, 4, 5), torch.randn(2, 9, 3), torch.tensor([9, 4])
    code = net.encode(x, lengths)
    torch.testing.assert_close(net.encode(x[1:, :4]), code[1:])
    torch.testing.assert_close(net.decode(code, 4), net(x, lengths)[:, :4])


def test_autoencoder_joins_two_parts() -> None:
    net = Autoencoder(nn.Linear(3, 1), nn.Linear(1, 3))
    x = torch.randn(2, 3)
    torch.testing.assert_close(net(x), net.decode(net.encode(x)))


# -- what is refused --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "options", "message"),
    [
        ("lenet", (1, 28, 28), {}, "There is no network 'lenet'. Did you mean 'lenet5'?.*a line of layers"),
        ("vgg-16", (3, 32, 32), {}, "Did you mean 'vgg16'"),
        ("vgg16", (3, 28, 28), {}, r"vgg16 halves its input five times and gets \(3, 28, 28\); give at least 32"),
        ("alexnet", (3, 32, 32), {}, "at least 63 pixels"),
        ("lenet5", (1, 8, 8), {}, "at least 12 pixels"),
        ("convnet", (1, 6, 6), {}, r"\(1, 6, 6\) is too small for that. Give blocks=2 or fewer"),
        ("resnet20", (784,), {}, r"takes images, \(channels, height, width\), and gets inputs of \(784,\)"),
        ("lenet5", (784,), {}, r"is given \(784,\)"),
        ("autoencoder-conv", (784,), {}, r"is given \(784,\)"),
        ("autoencoder-sequence", (784,), {}, r"takes \(time, features\)"),
        ("resnet50", (3, 64, 64), {"shortcut": "none"}, "no plain network of bottlenecks"),
        ("mlp", (4,), {"units": 3}, "The network mlp has no option 'units'; it has hidden_size, layers"),
        ("vgg16", (3, 32, 32), {"depth": 11}, "has no option 'depth'"),
        ("perceptron", (4,), {"layers": 3}, "it has none"),
        ("mlp", (4,), {"hidden_size": 0}, "hidden_size=0; give a whole number of at least 1"),
        ("mlp", (4,), {"hidden_size": True}, "give a whole number"),
        ("mlp", (4,), {"dropout": 1.0}, "a probability from 0 to below 1"),
        ("mlp", (4,), {"batchnorm": "yes"}, "give True or False"),
        ("mlp", (4,), {"activation": "rleu"}, "give one of elu,"),
        ("resnet20", (3, 8, 8), {"shortcut": "zero"}, "give one of pad, project, none"),
        ("autoencoder", (4,), {"hidden_sizes": 5}, "give whole numbers of at least 1"),
        ("highway", (4,), {"gate_bias": "low"}, "give a number"),
        ("sentence-cnn", (4,), {}, "give vocabulary="),
        ("mlp", (0,), {}, "The input's shape is"),
        ("dense 3, dense", (4,), {"layers": 3}, "A line of layers takes no option layers"),
    ],
)
def test_what_is_refused(name: str, shape: tuple[int, ...], options: dict, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        network(name, shape, 3, **options)


def test_options_have_defaults() -> None:
    for name in NETWORKS:
        assert "depth" not in options_of(name)
        assert all(isinstance(option, str) for option in options_of(name))
    assert options_of("vgg16") == {"hidden_size": 4096, "dropout": 0.5, "batchnorm": False}


@pytest.mark.parametrize(
    ("name", "shape", "options"),
    [
        ("perceptron", (20,), {}),
        ("threshold", (20,), {}),
        ("mlp", (20,), {"hidden_size": 30, "batchnorm": True}),
        ("maxout", (20,), {"hidden_size": 10, "dropout": 0.0}),
        ("rbf", (20,), {}),
        ("highway", (20,), {}),
        ("convnet", (2, 12), {"filters": 4, "blocks": 2, "dropout": 0.0}),
        ("lenet5", (1, 12, 12), {}),
        ("plain20", (1, 6, 6), {"filters": 4}),
        ("resnet20", (1, 6, 6), {"filters": 4}),
        ("sentence-cnn", (9,), {"vocabulary": 15, "embedding_size": 8, "maps": 5}),
    ],
)
def test_networks_learn_a_few_examples_by_heart(name: str, shape: tuple[int, ...], options: dict) -> None:
    x = torch.randint(15, (24, *shape)) if name == "sentence-cnn" else torch.randn(24, *shape)
    target = torch.arange(24) % 3
    net = network(name, shape, 3, **options)
    rule = torch.optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(80):
        loss = F.cross_entropy(net(x), target)
        rule.zero_grad()
        loss.backward()
        rule.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 4
