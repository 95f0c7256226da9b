"""Drawing tokens: against the probabilities they should have."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import carousel
from carousel.cells.loading import load_cell
from carousel.data.tokenizers import ByteTokenizer, CharTokenizer, WordTokenizer
from carousel.errors import DataError, UsageError
from carousel.settings import Settings
from carousel.tasks.language_model import build_network
from carousel.tasks.sampling import Sampler, choose

SCORES = np.log(np.array([0.1, 0.4, 0.2, 0.3]))


def frequencies(**options: object) -> np.ndarray:
    """Every quantile of a fine grid once: the frequencies are exact up to one grid step each."""
    grid = (np.arange(4000) + 0.5) / 4000
    return np.bincount([choose(SCORES, u, **options) for u in grid], minlength=4) / 4000


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [0.1, 0.4, 0.2, 0.3]),
        ({"temperature": 0.5}, np.array([0.01, 0.16, 0.04, 0.09]) / 0.30),
        ({"temperature": 2.0}, np.sqrt([0.1, 0.4, 0.2, 0.3]) / np.sqrt([0.1, 0.4, 0.2, 0.3]).sum()),
        ({"top_k": 2}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_k": 1}, [0, 1, 0, 0]),
        ({"top_k": 100}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_p": 0.4}, [0, 1, 0, 0]),
        ({"top_p": 0.41}, [0, 4 / 7, 0, 3 / 7]),
        ({"top_p": 1.0}, [0.1, 0.4, 0.2, 0.3]),
        ({"top_k": 3, "top_p": 0.75}, [0, 4 / 7, 0, 3 / 7]),
        ({"temperature": 0}, [0, 1, 0, 0]),
    ],
)
def test_frequencies(options: dict, expected: list[float]) -> None:
    np.testing.assert_allclose(frequencies(**options), expected, atol=4 / 4000)


def test_large_scores_do_not_overflow() -> None:
    assert choose(np.array([1e4, 0.0, -1e4], dtype=np.float32), 0.999) == 0


@pytest.fixture(params=["lstm", "gru", "multi-tap", "min-gru"])
def sampler(request: pytest.FixtureRequest) -> Sampler:
    settings = Settings.of(hidden_size=16, embedding_size=8, layers=2, dropout=0.5).network
    tokenizer = CharTokenizer("abcdefgh \n")
    return Sampler(build_network(settings, load_cell(request.param), tokenizer.size), tokenizer)


def test_step_by_step_equals_the_whole_sequence(sampler: Sampler) -> None:
    """What is written greedily is what the network, given all of it at once, finds likeliest at each place."""
    text = "".join(sampler.stream(40, prompt="abc", temperature=0))
    ids = torch.tensor(sampler.tokenizer.encode("abc" + text)).unsqueeze(1)
    with torch.no_grad():
        scores, _ = sampler.network(ids)
    best = scores[2:-1, 0].argmax(-1)
    assert sampler.tokenizer.decode(best.numpy()) == text


def test_seed_gives_the_same_text(sampler: Sampler) -> None:
    one, again, other = ("".join(sampler.stream(60, seed=s)) for s in (1, 1, 2))
    assert one == again != other
    assert len(one) == 60


def test_unknown_prompt(sampler: Sampler) -> None:
    with pytest.raises(DataError, match="'Q'"):
        "".join(sampler.stream(3, prompt="abQ"))


@pytest.mark.parametrize("option", [{"temperature": -1.0}, {"top_k": 0}, {"top_p": 1.5}, {"temperature": float("nan")}])
def test_impossible_options(sampler: Sampler, option: dict) -> None:
    with pytest.raises(UsageError):
        "".join(sampler.stream(3, **option))


@pytest.mark.parametrize("tokenizer", [ByteTokenizer(), WordTokenizer(("<unk>", "the", "cell", ".", "\n"))])
def test_bytes_and_words(tokenizer: ByteTokenizer | WordTokenizer) -> None:
    settings = Settings.of(hidden_size=8, embedding_size=0).network
    sampler = Sampler(build_network(settings, load_cell("gru"), tokenizer.size), tokenizer)
    text = "".join(sampler.stream(50, prompt="the cell", seed=0))
    assert text
    text.encode()


def test_words_go_on_from_the_prompt_with_a_space() -> None:
    tokenizer = WordTokenizer(("<unk>", "the", "cell", "."))
    network = build_network(Settings.of(hidden_size=4, embedding_size=8).network, load_cell("gru"), tokenizer.size)
    with torch.no_grad():
        network.scores.bias[:] = torch.tensor([0.0, 0.0, 100.0, 0.0])
    assert "".join(Sampler(network, tokenizer).stream(2, prompt="the")) == " cell cell"
    with torch.no_grad():
        network.scores.bias[3] = 200.0
    assert "".join(Sampler(network, tokenizer).stream(1, prompt="the")) == "."
    assert "".join(Sampler(network, tokenizer).stream(1, prompt="  ")) == "."


def test_stepper_refuses_both_directions() -> None:
    layer = carousel.nn.GRU(2, 3, bidirectional=True)
    with pytest.raises(carousel.CarouselError, match="both directions"):
        carousel.nn.Stepper(layer, 1)
