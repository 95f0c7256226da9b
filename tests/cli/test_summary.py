"""`carousel summary` of a run, of data, and of a network by its name."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import carousel
from carousel.api import preview

FEW: dict[str, Any] = {"threads": 1, "device": "cpu", "batch": 8, "evaluations": 1, "steps": 1}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_cache: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    rng, draw = np.random.default_rng(0), random.Random(0)
    Path("text.txt").write_text("the cat sees a dog and the dog likes a house. " * 80)
    Path("words.csv").write_text("word,kind\n" + "".join(f"{'ab'[n % 2] * (n % 7 + 1)},{n % 2}\n" for n in range(60)))
    Path("tagged.txt").write_text("the\tDET\ncat\tNOUN\nsees\tVERB\n\n" * 30)
    values = "".join(
        f"2020-01-{n // 24 + 1:02d} {n % 24:02d}:00,{math.sin(n / 4) + draw.random():.3f}\n" for n in range(600)
    )
    Path("series.csv").write_text("time,value\n" + values)
    for name in ("dark", "light"):
        Path("shades", name).mkdir(parents=True)
        for number in range(10):
            Image.fromarray(rng.integers(0, 255, (12, 12), dtype=np.uint8)).save(f"shades/{name}/{number}.png")
    rows = "".join(f"{draw.randint(18, 80)},{draw.choice(['Graz', 'Linz'])},{draw.random():.3f}\n" for _ in range(80))
    Path("people.csv").write_text("age,city,score\n" + rows)


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("text.txt", {"hidden_size": 5, "cell": "gru"}),
        ("words.csv", {"hidden_size": 5, "kind": "labelled"}),
        ("words.csv", {"embedding_size": 5, "kind": "labelled", "network": "sentence-cnn"}),
        ("tagged.txt", {"hidden_size": 5}),
        ("tagged.txt", {"hidden_size": 5, "spelling_size": 0}),
        ("series.csv", {"hidden_size": 5, "kind": "series", "horizon": 4}),
        ("shades", {"network": "conv 3 3, relu, pool 2, dense", "precision": "float64"}),
        ("people.csv", {"network": "dense 4, relu, dense", "kind": "table", "precision": "float64"}),
    ],
)
def test_every_kind_shows_what_it_would_train_and_what_it_trained(source: str, options: dict[str, Any]) -> None:
    about, planned = preview(source, **options)
    run = carousel.train(source, out="run", **options, **FEW)
    made = run.summary()
    assert about
    assert planned == made
    assert made.parameters == sum(p.numel() for p in run.model.parameters())
    assert made.multiply_adds > 0
    assert not any("did not run" in note for note in made.notes)
    assert ("Counted for one step of one sequence." in made.notes) == (
        source in ("text.txt", "words.csv", "tagged.txt")
    )
    assert torch.is_grad_enabled()


def test_by_name_with_all_numbers_in_a_file(run: Callable[..., tuple[int, str]]) -> None:
    code, said = run("summary", "--network", "lenet5", "--input", "1x28x28", "--classes", "10", "--json", "net.json")
    assert code == 0, said
    assert "61,706" in said
    found = json.loads(Path("net.json").read_text())
    assert found["parameters"] == sum(row["parameters"] for row in found["rows"]) == 61_706
    assert found["multiply_adds"] == sum(row["multiply_adds"] for row in found["rows"])
    thin = ("--network", "resnet20", "--network-options", "filters", "8", "--input", "3,32,32", "--classes", "10")
    code, said = run("summary", *thin)
    assert (code, "8 x 32 x 32" in said) == (0, True), said


def test_of_data_and_of_the_run_from_the_command_line(run: Callable[..., tuple[int, str]]) -> None:
    code, planned = run("summary", "people.csv", "--network", "mlp", "--network-options", "hidden_size", "16")
    assert code == 0, planned
    assert "80 rows of people.csv" in planned
    carousel.train("people.csv", network="mlp", network_options={"hidden_size": 16}, out="run", **FEW)
    assert planned.endswith(run("summary", "run")[1])


@pytest.mark.parametrize(
    ("words", "wrong"),
    [
        ([], "Give a run folder, or data, or a network"),
        (["people.csv", "--classes", "3"], "--input and --classes follow"),
        (["--network", "lenet5", "--input", "1,28,b", "--classes", "10"], "--input is '1,28,b'"),
        (["--network", "lenet5", "--input", "28,28", "--classes", "10", "--dev", "0.2"], "--dev means nothing"),
        (["--network", "lenet9", "--input", "28,28", "--classes", "10"], "Did you mean 'lenet5'"),
        (["--network", "lenet5", "--input", "1,4,4", "--classes", "10"], "give at least 12 pixels"),
        (["none.csv"], "none.csv"),
        (["shades", "--json", "none/net.json"], "there is no folder"),
    ],
)
def test_what_is_wrong_is_said(run: Callable[..., tuple[int, str]], words: list[str], wrong: str) -> None:
    code, said = run("summary", *words)
    assert code
    assert wrong in said


def test_a_run_has_its_network(run: Callable[..., tuple[int, str]]) -> None:
    carousel.train("shades", network="dense", out="run", **FEW)
    code, said = run("summary", "run", "--network", "mlp", "--flip")
    assert (code, "run is a run, whose network is what it is; leave out --flip and --network." in said) == (2, True), (
        said
    )
