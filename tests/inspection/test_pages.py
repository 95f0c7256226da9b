"""`inspect_run` on networks of every kind of data: what its page has, and that its numbers are those of the network."""

from __future__ import annotations

import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import carousel
from carousel import inspect
from carousel.errors import UsageError
from carousel.inspection.words import Symbols, look_at_words

FEW: dict[str, Any] = {"steps": 3, "threads": 1, "device": "cpu"}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)


def page_of(found: carousel.Inspection) -> str:
    page = found.page.read_text("utf-8")
    assert page.count("aria-label") >= page.count("<svg")
    return page


def opinions() -> list[tuple[str, str]]:
    draw = random.Random(0)
    words = ["film", "plot", "actor", "music", "scene", "story", "light", "sound"]
    return [
        (" ".join([*draw.choices(words, k=draw.randint(3, 9)), draw.choice([label, "thing"])]), label)
        for label in ("good", "poor")
        for _ in range(60)
    ]


def test_labelled_sequences_in_one_direction_have_words_gates_memory_and_depth() -> None:
    Path("opinions.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in opinions()))
    run = carousel.train("opinions.csv", out="run", cell="lstm", directions=1, hidden_size=8, level="word", **FEW)
    said: list[str] = []
    found = carousel.inspect_run(run, words=["film", "film:plot::actor"], progress=said.append)
    assert said == ["words", "time", "gates", "memory", "dynamics", "depth"]
    page, numbers = page_of(found), found.numbers
    for heading in ("Which words are alike to it", "A map of its words", "Gradient through time", "Gates and states",
                    "Memory", "Through depth", "Before, with new random weights"):  # fmt: skip
        assert heading in page
    assert {gate["name"] for gate in numbers["gates"]} >= {"i", "f", "o"}
    assert numbers["dynamics"] is None  # too short
    vocabulary = run.task().data.vocabulary  # pyright: ignore[reportAttributeAccessIssue]
    near = inspect.nearest(run.model.embedding.weight[1:], vocabulary.symbols[1:], "film", 6)  # pyright: ignore
    assert list(numbers["words"]["asked"]["film"]) == near.words
    assert set(numbers["words"]["asked"]["film:plot::actor"]).isdisjoint({"film", "plot", "actor"})
    with pytest.raises(UsageError, match="There is no vector of the word 'flim'; did you mean 'film'"):
        carousel.inspect_run(run, words=["flim"])
    with pytest.raises(UsageError, match="'film:plot' is no question; write it as man:woman::king"):
        carousel.inspect_run(run, words=["film:plot"])
    with pytest.raises(UsageError, match="is no language model, and --text"):
        carousel.inspect_run(run, text="opinions.csv")


def test_tagged_sequences_are_read_in_both_directions() -> None:
    lines = []
    for text, _ in opinions():
        lines += [f"{word}\t{'NAME' if word in ('film', 'plot') else 'OTHER'}" for word in text.split()] + [""]
    Path("tags.conll").write_text("\n".join(lines))
    run = carousel.train("tags.conll", out="run", hidden_size=8, **FEW)
    found = carousel.inspect_run(run)
    assert "gates" not in found.numbers
    assert any(name.endswith("backward") for name in found.numbers["time"]["rates"])
    assert "Which words are alike to it" in page_of(found)


def test_a_series_has_dynamics() -> None:
    rows = [f"2020-{1 + d // 28:02}-{1 + d % 28:02},{10 + math.sin(d / 3):.4f}\n" for d in range(330)]
    Path("series.csv").write_text("date,value\n" + "".join(rows))
    run = carousel.train("series.csv", out="run", window=130, horizon=2, hidden_size=6, **FEW)
    found = carousel.inspect_run(run)
    assert len(found.numbers["dynamics"]["lyapunov"]) == 8
    assert "Along an example, a small change of the state" in page_of(found)
    first = next(iter(found.numbers["time"]["norms"].values()))
    assert len(first) == 130


def test_a_table_has_depth_before_and_after(tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [f"{a:.3f},{b:.3f},{'yes' if a > b else 'no'}\n" for a, b in draw.normal(size=(200, 2))]
    Path("table.csv").write_text("a,b,answer\n" + "".join(rows))
    run = carousel.train("table.csv", out="run", network="dense 6, relu, dense", **FEW)
    with torch.no_grad():
        layer = next(m for m in run.model.modules() if isinstance(m, nn.Linear))
        layer.bias[2] = -100.0
    found = carousel.inspect_run(run, out=tmp_path / "page.html")
    after, before = found.numbers["depth"], found.numbers["depth_before"]
    assert [one["kind"] for one in after] == [one["kind"] for one in before]
    relu = next(number for number, one in enumerate(after) if one["kind"] == "ReLU")
    assert after[relu]["dead"] == 1 + before[relu]["dead"] == 1
    assert "1 of 6 in" in page_of(found)
    assert found.numbers["examples"] == "180 rows"
    with pytest.raises(UsageError, match="no vectors of words, which is what --words asks about"):
        carousel.inspect_run(run, words=["yes"])


def test_dense_networks_and_autoencoders_on_images_show_their_weights() -> None:
    random = np.random.default_rng(0)
    for name in ("up", "down"):
        Path("lines", name).mkdir(parents=True)
        for number in range(20):
            pixels = random.integers(0, 90, (8, 8, 3), dtype=np.uint8)
            pixels[2 if name == "up" else 6] = 255
            Image.fromarray(pixels).save(f"lines/{name}/{number}.png")
    dense = carousel.train("lines", network="dense 5, relu, dense", out="dense", **FEW)
    found = carousel.inspect_run(dense)
    assert "Of the first 5 units, as images" in page_of(found)
    code = carousel.train("lines", network="autoencoder", code_size=2, out="code", **FEW)
    assert "Through depth" in page_of(carousel.inspect_run(code))
    with pytest.raises(UsageError, match="no vectors of words"):
        carousel.inspect_run(dense, words=["up"])


def test_the_state_of_the_caller_stays_as_it_was() -> None:
    Path("opinions.csv").write_text("text,label\n" + "".join(f"{text},{label}\n" for text, label in opinions()))
    run = carousel.train("opinions.csv", out="run", hidden_size=8, dropout=0.5, **FEW)
    weights = {name: value.clone() for name, value in run.model.state_dict().items()}
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    one = carousel.inspect_run(run).numbers
    assert torch.equal(torch.rand(3), expected)
    assert all(torch.equal(weights[name], value) for name, value in run.model.state_dict().items())
    assert all(p.grad is None for p in run.model.parameters())
    assert not run.model.training
    assert carousel.inspect_run(run).numbers == one


def test_symbols_without_letters_and_twice_the_same_can_be_told_apart() -> None:
    embedding = nn.Embedding.from_pretrained(torch.eye(6))
    symbols = Symbols(embedding, ["<unk>", " ", "\n", "�", "�", "a"], "character", torch.tensor([5, 4, 3, 2, 1, 0]))
    assert symbols.names == ["a", "� 4", "� 3", "\\n", "␣"]
    assert symbols.vectors[0].argmax() == 5
    sections: list[tuple[str, str, str]] = []
    assert set(look_at_words(symbols, ["a"], sections)["asked"]["a"]) == {"� 4", "� 3", "\\n", "␣"}
    assert len(sections) == 2


def test_learned_neighbors_are_told_from_chance() -> None:
    random = torch.randn(300, 40, generator=torch.Generator().manual_seed(1))
    learned = random[torch.arange(300) // 2] + 0.1 * random
    said: list[list[tuple[str, str, str]]] = [[], []]
    names = [f"w{n}" for n in range(300)]
    chance, found = (
        look_at_words(Symbols(nn.Embedding.from_pretrained(vectors), names, "word"), [], sections)
        for vectors, sections in zip((random, learned), said, strict=True)
    )
    unit = nn.functional.normalize(random)
    expected = (unit @ unit.T - 2 * torch.eye(300)).amax(1).mean()
    assert chance["nearest"] == pytest.approx(float(expected), rel=1e-5)
    assert chance["nearest"] == pytest.approx(chance["random"], rel=0.05)
    assert found["nearest"] > 0.9
    assert [("no more than chance" in sections[0][1]) for sections in said] == [True, False]
    assert found["asked"]


def test_layers_that_skip_have_no_single_map_and_all_the_rest() -> None:
    draw = random.Random(0)
    Path("text.txt").write_text("".join(draw.choices("abcde \n", k=9000)))
    run = carousel.train("text.txt", out="run", hidden_size=8, layers=2, skip=True, dev=0.3, **FEW)
    numbers = carousel.inspect_run(run).numbers
    assert {"units", "words", "time", "memory", "depth"} <= set(numbers)
    assert not {"gates", "dynamics"} & set(numbers)
    assert len(numbers["time"]["rates"]) == 4
