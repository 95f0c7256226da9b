"""Recipes as folders, as results, and from the command line."""

from __future__ import annotations

import datetime
import functools
import gzip
import hashlib
import http.server
import json
import math
import os
import random
import re
import statistics
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch

from carousel import recipes
from carousel.cli.main import main
from carousel.errors import UsageError
from carousel.recipes import runner, sources
from carousel.recipes.recipe import Recipe
from carousel.training import Step, Trainer

TEXT = "First Citizen:\nBefore we proceed any further, hear me speak.\n\nAll:\nSpeak, speak.\n\n" * 60

NOWHERE = "http://127.0.0.1:9"

CONLLU = "".join(
    f"# sent_id = {k}\n1\tthe\tthe\tDET\t_\t_\t2\tdet\t_\t_\n2\t{word}\t{word}\t{tag}\t_\t_\t0\troot\t_\t_\n\n"
    for k, (word, tag) in enumerate({"dog": "NOUN", "cat": "NOUN", "run": "NOUN", "old": "ADJ"}.items())
)

SENTENCES = ("rt-polarity.pos", "rt-polarity.neg", *(f"stsa.binary.{part}" for part in ("train", "dev", "test")))


def names_of(number: int) -> str:
    """Twelve names that tell where they are from, three that do not."""
    draw = random.Random(number)
    own = "".join(f"{''.join(draw.choices('Aboumk', k=5))}{'ptk'[number % 3]}{chr(97 + number)}\n" for _ in range(12))
    return own + "Ann\nBo\nMora\n"


def peptides() -> str:
    """Four samples; a hit has L in place two."""
    draw, rows = random.Random(0), []
    for k in range(240):
        peptide = "".join(draw.choices("ACDEFGHIKLMNPQRSTVWY", k=9))
        rows.append(f"{peptide[0]}{'L' if k % 2 else 'K'}{peptide[2:]},S-{k % 4},{k % 2}\n")
    return "".join(rows)


def sentences(name: str) -> str:
    """Sixty short reviews, as the data set writes them."""
    lines = []
    for k in range(60):
        good = name.endswith("pos") or ("stsa" in name and k % 2 == 0)
        label = f"{int(good)} " if "stsa" in name else ""
        lines.append(f"{label}the film number {k} is {'a joy' if good else 'a bore'} .\n")
    return "".join(lines)


OWN = r"""
from matplotlib.figure import Figure
from .beside import MEASURED

def run(recipe):
    figure = Figure()
    figure.add_subplot().plot([1, 2])
    recipe.figure(figure, "line.svg")
    recipe.text("sample", "sample.txt")
    (recipe.out / "large.bin").write_text("not kept")
    recipe.claim("a|b", "< 1", MEASURED, MEASURED < 1, r"a \d derivation")
"""


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Small files of the same form as the data sets."""
    waves = [(math.sin(k / 5) + math.sin(k / 11), math.cos(k / 7)) for k in range(600)]
    buck = ["sampling_time,input,y", *(f"{k}e-05,{x:.3f},{y:.3f}" for k, (x, y) in enumerate(waves))]
    words = [f" {'the of and to in'.split()[k * k % 5]} <unk> {'N says a'.split()[k * 7 % 3]} \n" for k in range(400)]
    files = {
        "text/tinyshakespeare.txt": TEXT,
        "series/daily-min-temperatures.csv": "Date,Temp\n"
        + "".join(f"{k},{10 + x}\n" for k, (x, _) in enumerate(waves)),
        "series/pollution.csv": "No,year,month,day,hour,pm2.5,DEWP,TEMP,PRES,cbwd,Iws,Is,Ir\n"
        + "".join(
            f"{k},2010,1,{1 + k // 24},{k % 24},NA,{x:.2f},{10 + y:.2f},1020,{wind},{k % 7},0,0\n"
            for k, ((x, y), wind) in enumerate(zip(waves, ["NW", "cv", "SE", "NE"] * 150, strict=True))
        ),
        "series/ETTh1.csv": "date,HUFL,OT\n"
        + "".join(f"2016-07-{1 + k // 24:02} {k % 24:02}:00:00,{x},{10 + y}\n" for k, (x, y) in enumerate(waves)),
        "series/monthly-sunspots.csv": '"Month","Sunspots"\n'
        + "".join(f'"{1749 + k // 12}-{1 + k % 12:02}",{20 + 5 * x}\n' for k, (x, _) in enumerate(waves)),
        "series/airline-passengers.csv": '"Month","Passengers"\n'
        + "".join(f'"{1949 + k // 12}-{1 + k % 12:02}",{100 + k + 10 * (k % 12)}\n' for k in range(144)),
        "sysid/boucwen_histeretic_system.csv": "x,v,a,E,f\n" + "".join(f"0,{y},0,{x},{x * y}\n" for x, y in waves * 2),
        "sysid/buck_id.csv": "\n".join(buck) + "\n",
        "sysid/buck_valid.csv": "\n".join(buck) + "\n",
        **{f"ptb/ptb.{part}.txt": "".join(words) for part in ("train", "valid", "test")},
        **{f"pos/en_ewt-ud-{part}.conllu": CONLLU * 8 for part in ("train.rebuilt", "dev", "test")},
        **{f"names/nationality/{name}.txt": names_of(number) for number, name in enumerate(sources.NAMES)},
        "peptides/mhc_9mers.csv": "peptide,sample_id,hit\n" + peptides(),
        **{f"sentiment/{name}": sentences(name) for name in SENTENCES},
    }
    for name, text in files.items():
        file = tmp_path / "data" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    for number in (1, 2):
        records = (np.arange(60)[:, None] * np.arange(3073) % 251).astype(np.uint8)
        records[:, 0] = np.arange(60) % 10
        file = tmp_path / f"data/cifar10/data_batch_{number}.bin"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(records.tobytes())
    for name, count in (("train", 60), ("t10k", 30)):
        numbers = np.arange(count)
        pixels = (numbers[:, None, None] * np.arange(784).reshape(28, 28) % 251).astype(np.uint8)
        for what, values in (("images-idx3", pixels), ("labels-idx1", (numbers % 10).astype(np.uint8))):
            file = tmp_path / f"data/mnist/{name}-{what}-ubyte.gz"
            file.parent.mkdir(exist_ok=True)
            head = bytes([0, 0, 8, values.ndim]) + b"".join(size.to_bytes(4, "big") for size in values.shape)
            file.write_bytes(gzip.compress(head + values.tobytes()))
    for name, count in (("data_batch_1", 60), ("data_batch_2", 50), ("test_batch_first1000", 20)):
        records = np.arange(count)[:, None] * np.arange(1, 3074) % 253
        records[:, 0] = np.arange(count) % 10
        file = tmp_path / f"data/cifar10/{name}.bin"
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(records.astype(np.uint8).tobytes())
    return tmp_path / "data"


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder of `own`, the one recipe of another home."""
    folder = tmp_path / "home/own"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("# own: a title\n\n<!-- result -->\nold\n<!-- end of result -->\nmore\n")
    (folder / "run.py").write_text(OWN)
    (folder / "beside.py").write_text("import torch\nMEASURED = torch.tensor(0.25)\n")
    monkeypatch.setattr(runner, "HOME", folder.parent)
    yield folder
    for name in [name for name in sys.modules if name.startswith("carousel_recipe_own")]:
        del sys.modules[name]


def check_result(result: dict, name: str, *, smoke: bool) -> None:
    recorded = ["machine", "code"] if smoke or "code" in result else []  # older full runs have neither
    assert list(result) == ["name", "claims", "seconds", "threads", "versions", "date", "smoke", *recorded]
    if recorded:
        assert result["machine"]
        assert len(bytes.fromhex(result["code"])) == 32
    assert (result["name"], result["smoke"]) == (name, smoke)
    assert result["seconds"] > 0
    assert result["threads"] >= 1
    assert {"torch", "numpy", "carousel-nn"} <= set(result["versions"])
    assert datetime.datetime.fromisoformat(result["date"]).tzinfo is not None
    assert len(result["claims"]) >= 1
    for claim in result["claims"]:
        assert list(claim) == ["what", "expected", "measured", "met", "source"]
        assert isinstance(claim["met"], bool)
        assert claim["what"]
        assert claim["source"]
        assert isinstance(claim["measured"], str | int | float)


RUN_LATER = (
    "cifar", "depth",
)  # fmt: skip
"""Recipes whose full run is still to be made and stored."""


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=pytest.mark.xfail(strict=True)) if n in RUN_LATER else n for n in recipes.names()],
)
def test_every_recipe_has_its_page_and_a_stored_full_run(name: str) -> None:
    folder = recipes.folder_of(name)
    result = json.loads((folder / "result.json").read_text())
    check_result(result, name, smoke=False)
    page = (folder / "README.md").read_text()
    assert page.startswith(f"# {name}: {recipes.title(name)}\n")
    assert recipes.claims_in_markdown(result) in page
    assert f"carousel recipe run {name}" in page
    pictures = re.findall(r"!\[([^\]]*)\]", page)
    assert pictures
    assert all(len(said.split()) >= 8 for said in pictures), "in the brackets stands what the picture shows"
    lines = len((folder / "run.py").read_text().splitlines())
    assert 60 <= lines <= 150


@pytest.mark.parametrize("name", recipes.names())
def test_smoke_run(name: str, tmp_path: Path, data_dir: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "notes.txt").write_text("mine")
    assert main(["recipe", "run", name, "--smoke", "--data-dir", str(data_dir), "--out", str(out)]) == 0
    result = json.loads((out / "result.json").read_text())
    check_result(result, name, smoke=True)
    assert (out / "notes.txt").read_text() == "mine"
    pictures = [*out.glob("*.svg")]
    assert pictures
    assert all(picture.read_text().startswith("<?xml") for picture in pictures)
    assert not list(out.glob("state*"))
    printed = capsys.readouterr().out
    assert "expected" in printed
    assert str(out) in printed.replace("\n", "")


def test_a_stopped_run_goes_on_to_the_same_numbers(
    tmp_path: Path, data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def measured(out: Path) -> list:
        result = recipes.run("min-char-rnn", smoke=True, data_dir=data_dir, out=out)
        return [*result["claims"], (out / "samples.txt").read_text(), (out / "loss.svg").read_bytes()]

    save = Recipe.save

    def save_and_stop(self: Recipe, name: str, state: dict) -> None:
        save(self, name, state)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Recipe, "save", save_and_stop)
        with pytest.raises(KeyboardInterrupt, match="goes on from the last checkpoint"):
            measured(tmp_path / "stopped")
    assert not (tmp_path / "stopped/result.json").exists()
    loads = []
    load = Recipe.load
    monkeypatch.setattr(Recipe, "load", lambda self, name: loads.append(load(self, name)) or loads[-1])
    assert measured(tmp_path / "stopped") == measured(tmp_path / "whole")
    assert [saved and saved["done"] for saved in loads] == [10, None]


def test_a_training_goes_on_or_is_not_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows.csv").write_text(
        "text,label\n" + "".join(f"{'ab'[k % 2] * (k % 9 + 1)},{k % 2}\n" for k in range(60))
    )
    options = {"hidden_size": 4, "embedding_size": 4, "batch": 8, "steps": 6, "evaluations": 2}
    begun: list[int] = []

    def train(recipe: Recipe, **more: int) -> dict:
        return recipe.train("net", tmp_path / "rows.csv", **options, **more).status

    def counted(trainer: Trainer) -> Step:
        begun.append(trainer.step)
        if begun == [0, 1, 2, 3]:
            raise KeyboardInterrupt
        return update(trainer)

    update = Trainer.update
    monkeypatch.setattr(Trainer, "update", counted)
    with pytest.raises(KeyboardInterrupt):
        train(Recipe("own", tmp_path, tmp_path / "out"))
    status = tmp_path / "out/state/net/status.json"
    status.write_text(json.dumps(json.loads(status.read_text()) | {"seconds": 100.0}))
    again = Recipe("own", tmp_path, tmp_path / "out")
    first = train(again)
    assert begun == [0, 1, 2, 3, 3, 4, 5]  # an evaluation, and with it a checkpoint, stands behind step 3
    assert first["status"] == "finished"
    assert 100 < again.seconds < 200  # the time of the stopped training counts
    assert train(Recipe("own", tmp_path, tmp_path / "out")) == first
    assert len(begun) == 7
    assert train(again, seed=1)["best_dev_loss"] != first["best_dev_loss"]
    assert len(begun) == 13


def test_interval_is_that_of_students_t() -> None:
    t = pytest.importorskip("scipy.stats").t
    draw = random.Random(0)
    for count in range(2, 11):
        values = [draw.gauss(0, 1) for _ in range(count)]
        middle, low, high = recipes.interval(values)
        expected = t.interval(0.95, count - 1, sum(values) / count, statistics.stdev(values) / math.sqrt(count))
        assert (low, high) == pytest.approx(expected, rel=1e-3)
        assert middle == pytest.approx(sum(values) / count)


def test_a_checkpoint_of_other_data_or_code_is_not_used(tmp_path: Path) -> None:
    source, data = tmp_path / "source", tmp_path / "data"
    for folder, file in ((source, "run.py"), (data, "a.txt")):
        folder.mkdir()
        (folder / file).write_text("one")

    def recipe(*, smoke: bool = False) -> Recipe:
        made = Recipe("own", source, tmp_path / "out", smoke=smoke, data_dir=data)
        made.data("a.txt")
        return made

    assert recipe().has_data("a.txt")
    assert not recipe().has_data("b.txt")
    begun = recipe()
    begun.save("x", {"tensor": torch.arange(3), "text": "so far"})
    seconds = begun.seconds
    again = recipe()
    saved = again.load("x")
    assert saved is not None
    assert saved["text"] == "so far"
    assert saved["tensor"].tolist() == [0, 1, 2]
    assert again.seconds > 0 < seconds
    assert recipe().load("y") is None
    assert recipe(smoke=True).load("x") is None
    (data / "a.txt").write_text("two")
    assert recipe().load("x") is None
    (data / "a.txt").write_text("one")
    assert recipe().load("x") is not None
    (source / "run.py").write_text("two")
    assert recipe().load("x") is None


def test_a_part_is_measured_once_also_by_another_run_that_is_stored(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "run.py").write_text("one")
    measured: list[str] = []

    def ask(out: str, name: str, *, store: bool = True) -> tuple[Recipe, dict]:
        recipe = Recipe("own", source, tmp_path / out, store=store)
        return recipe, recipe.part(name, lambda: measured.append(name) or {"curve": [1.0, 0.5], "who": name})

    first, found = ask("one", "seed 0")
    assert found == ask("one", "seed 0")[1] == ask("another", "seed 0")[1] == {"curve": [1.0, 0.5], "who": "seed 0"}
    assert measured == ["seed 0"]
    ask("another", "seed 1")
    kept = json.loads((source / "parts.json").read_text())["parts"]
    assert set(kept) == {"seed 0", "seed 1"}
    kept["seed 0"] |= {"seconds": 1000.0, "machine": "A Processor"}
    (source / "parts.json").write_text(json.dumps({"digests": first._digests, "parts": kept}))
    third, _ = ask("third", "seed 0")
    assert 1000 <= third.seconds < 1010
    assert third.machines == ["A Processor"]
    assert measured == ["seed 0", "seed 1"]
    ask("fourth", "seed 0", store=False)  # whoever checks a stored result measures all of it
    assert measured == ["seed 0", "seed 1", "seed 0"]
    (source / "run.py").write_text("two")
    ask("fourth", "seed 0")
    assert measured[3:] == ["seed 0"]
    assert set(json.loads((source / "parts.json").read_text())["parts"]) == {"seed 0"}  # those of other code are gone
    third.finish()
    assert not (source / "parts.json").exists()


def test_list_and_help_answer_without_torch() -> None:
    script = (
        "import sys; from carousel.cli.main import main;"
        "codes = [main(['recipe', *words]) for words in ([], ['--help'], ['list'])];"
        "heavy = {'torch', 'matplotlib'} & set(sys.modules); print(codes, heavy)"
    )
    environment = {**os.environ, "COLUMNS": "200"}
    answer = subprocess.run(
        [sys.executable, "-W", "error", "-c", script], capture_output=True, text=True, check=True, env=environment
    )
    assert answer.stdout.strip().endswith("[0, 0, 0] set()"), answer.stdout
    for expected in (
        *recipes.names(),
        "recipe list",
        "recipe run",
        "recipe report",
        "--data-dir",
        "--store",
        "four characters that need",
    ):
        assert expected in answer.stdout
    assert answer.stderr == ""


def test_list_shows_what_is_stored(own: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "list"]) == 0
    printed = capsys.readouterr().out
    assert "a title" in printed
    assert "not stored" in printed


def test_unknown_words_get_a_near_one(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "run", "helo"]) == 2
    assert capsys.readouterr().err == "carousel: There is no recipe 'helo'. Did you mean hello?\n"
    assert main(["recipe", "run", "../hello"]) == 2
    assert main(["recipe", "lst"]) == 2
    assert "Did you mean `carousel recipe list`?" in capsys.readouterr().err


def test_missing_data_says_what_and_how(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sources.SOURCES, "text/tinyshakespeare.txt", sources.Source(f"{NOWHERE}/file", "0"))
    run = ["recipe", "run", "min-char-rnn", "--smoke", "--out", str(tmp_path / "out")]
    assert main(run) == 2
    message = capsys.readouterr().err
    assert f"{NOWHERE}/file can't be fetched" in message
    assert "a folder that holds text/tinyshakespeare.txt as --data-dir DIR" in message
    monkeypatch.delitem(sources.SOURCES, "text/tinyshakespeare.txt")
    assert main(run) == 2
    assert "needs text/tinyshakespeare.txt, but no data folder was given" in capsys.readouterr().err
    assert main([*run, "--data-dir", str(tmp_path)]) == 2
    assert f"it is not in {tmp_path}" in capsys.readouterr().err
    assert main([*run, "--data-dir", str(tmp_path / "none")]) == 2
    assert "There is no folder" in capsys.readouterr().err


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str, list[str]]]:
    """A folder that is served, its address, and the paths that were asked for."""
    folder, asked = tmp_path / "served", []
    folder.mkdir()

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_request(self, *_: object) -> None:
            asked.append(self.path)

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Handler, directory=str(folder))) as one:
        thread = threading.Thread(target=one.serve_forever)
        thread.start()
        yield folder, f"http://127.0.0.1:{one.server_address[1]}", asked
        one.shutdown()
        thread.join()


def test_data_are_fetched_once_and_checked(
    tmp_path: Path, server: tuple[Path, str, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, address, asked = server
    (folder / "a.txt").write_text("one")
    digest = hashlib.sha256(b"one").hexdigest()
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(sources.SOURCES, "set/a.txt", sources.Source(f"{address}/a.txt", digest))
    recipe = Recipe("own", tmp_path, tmp_path / "out")
    assert [recipe.data("set/a.txt").read_text() for _ in range(2)] == ["one", "one"]
    assert asked == ["/a.txt"]
    assert recipe.data("set/a.txt") == tmp_path / "cache/data/set/a.txt"
    for url, what in ((f"{address}/a.txt", "is not the file that it was"), (f"{address}/b.txt", "404")):
        monkeypatch.setitem(sources.SOURCES, "set/b.txt", sources.Source(url, "0" * 64))
        with pytest.raises(UsageError, match=what):
            recipe.data("set/b.txt")
        assert sorted(p.name for p in (tmp_path / "cache/data/set").iterdir()) == ["a.txt"]


def test_every_source_is_a_file_with_a_checksum() -> None:
    for path, source in sources.SOURCES.items():
        assert source.url.startswith("https://"), path
        assert len(bytes.fromhex(source.sha256)) == 32, path


def test_a_smoke_run_is_not_stored(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipe", "run", "hello", "--smoke", "--store"]) == 2
    assert "can't be stored" in capsys.readouterr().err


def test_store_needs_a_folder_that_can_be_written(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)
    with pytest.raises(UsageError, match="can't be written"):
        recipes.run("own", store=True)


def test_store_copies_the_result_and_writes_the_table(own: Path, tmp_path: Path) -> None:
    before = {p.name for p in own.glob("*.*")}
    result = recipes.run("own", out=tmp_path / "out", store=True)
    assert {p.name for p in own.glob("*.*")} - before == {"result.json", "line.svg", "sample.txt"}
    assert recipes.stored("own") == result
    assert result["code"] == recipes.code_digest("own")
    page = (own / "README.md").read_text()
    assert "| a\\|b | < 1 | 0.25 | yes | a \\d derivation |" in page
    assert "old" not in page
    assert page.endswith("\n<!-- end of result -->\nmore\n")
    svg = (own / "line.svg").read_bytes()
    recipes.run("own", out=tmp_path / "out", store=True)
    assert (own / "line.svg").read_bytes() == svg


def test_a_claim_that_is_not_met_fails_the_run(own: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    claim = '    recipe.claim("the loss", "< 1", float("nan"), float("nan") < 1, "-")\n'
    (own / "run.py").write_text(OWN + claim)
    assert main(["recipe", "run", "own", "--out", str(tmp_path / "out")]) == 1
    assert "own met 1/2 claims. Not met: the loss: expected < 1, measured nan." in capsys.readouterr().err
    assert json.loads((tmp_path / "out/result.json").read_text())["claims"][1]["met"] is False
