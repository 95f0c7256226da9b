"""The parts of the recipes `relu-vs-tanh`, `depth` and `regularization` that a wrong line would spoil unseen."""

from __future__ import annotations

import importlib
import itertools
import math
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Generator

from carousel.recipes.recipe import Recipe

rates = importlib.import_module("carousel.recipes.relu-vs-tanh.training")
depth = importlib.import_module("carousel.recipes.depth.training")
sizes = importlib.import_module("carousel.recipes.depth.run")
few = importlib.import_module("carousel.recipes.regularization.training")


@pytest.fixture
def cifar(tmp_path: Path) -> list[Path]:
    """Two files of 30 records each; the first pixel is the class, too."""
    files = [tmp_path / f"{number}.bin" for number in (1, 2)]
    for seed, file in enumerate(files):
        records = np.random.default_rng(seed).integers(0, 256, (30, 3073), dtype=np.uint8)
        records[:, 0] = records[:, 1] = np.arange(30) % 10
        records.tofile(file)
    return files


# -- relu-vs-tanh -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("best", [-5, -1, 0, 1, 6])
def test_the_fastest_rate_is_found_from_either_side(best: int) -> None:
    asked: list[tuple[float, int]] = []

    def run(rate: float, quarters: int) -> dict[str, float]:
        asked.append((rate, quarters))
        epochs = 3 + abs(math.log2(rate / 0.01) - best)
        return {"epochs": epochs if 4 * epochs <= quarters else math.inf}

    tried = rates.fastest(run, 0.01, 120)
    rate = min(tried, key=lambda r: tried[r])
    assert rate == pytest.approx(0.01 * 2.0**best)
    assert min(tried) <= rate / 4 < 4 * rate <= max(tried)
    assert len(asked) == len(tried) == 5 + abs(best)
    until = [*itertools.accumulate([tried[r] for r, _ in asked], min)]
    assert [q for _, q in asked] == [120, *(math.ceil(4 * epochs) for epochs in until[:-1])]


def test_a_course_ends_where_the_error_passes_the_bar(cifar: list[Path]) -> None:
    x, y = rates.read(cifar, 20)
    assert x.shape == (40, 3, 32, 32)
    assert torch.equal(y[20:], torch.arange(20) % 10)
    assert x.mean(0).abs().max() < 1e-4
    x = x / x.std()
    one = rates.course(x, y, "relu", "he", 0.01, 0, bar=0.5, quarters=200)
    assert len(one["wrong"]) - 1 < 4 * one["epochs"] <= len(one["wrong"]) < 200
    short = rates.course(x, y, "relu", "he", 0.01, 0, bar=0.5, quarters=2)
    assert short == {"epochs": math.inf, "wrong": one["wrong"][:2]}
    wild = rates.course(x, y, "relu", "he", 1e12, 0, bar=0.01, quarters=50)
    assert math.isinf(wild["epochs"])
    assert len(wild["wrong"]) < 50


# -- depth ------------------------------------------------------------------------------------------------------------


def test_the_last_images_are_held_out_and_teach_no_mean(cifar: list[Path]) -> None:
    train, held_out = depth.read(cifar, 25)
    assert (len(train.x), len(held_out.x)) == (35, 25)
    assert torch.equal(torch.cat([train.y, held_out.y]), torch.arange(60) % 30 % 10)
    assert train.x.mean(0).abs().max() < 1e-6
    assert float(train.x.std()) == pytest.approx(1)
    assert held_out.x.mean(0).abs().max() > 0.05


def test_changed_images_are_windows_of_padded_ones() -> None:
    x = torch.rand(300, 2, 6, 5, generator=Generator().manual_seed(0))
    found = depth.changed(x, Generator().manual_seed(1))
    wide, seen = F.pad(x, (4, 4, 4, 4)), set()
    windows = {
        (top, left, mirrored): wide[:, :, top : top + 6, left : left + 5].flip(3 if mirrored else ())
        for top, left, mirrored in itertools.product(range(9), range(9), (False, True))
    }
    for number, image in enumerate(found):
        hits = [place for place, window in windows.items() if torch.equal(window[number], image)]
        assert hits
        seen.update(hits)
    assert {top for top, _, _ in seen} == {left for _, left, _ in seen} == set(range(9))
    assert {mirrored for _, _, mirrored in seen} == {False, True}


def test_a_stopped_training_ends_with_the_same_numbers(
    cifar: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = sizes.THIN._replace(filters=2, epochs=4, batch=16)
    train, held_out = depth.read(cifar, 10)

    def found(out: str) -> dict:
        one = depth.trained(Recipe("own", tmp_path, tmp_path / out), "resnet20", size, 0, train, held_out)
        return {key: value for key, value in one.items() if key != "seconds"}

    whole, save = found("whole"), Recipe.save

    def save_and_stop(self: Recipe, name: str, state: dict) -> None:
        save(self, name, state)
        raise KeyboardInterrupt

    for _ in range(3):  # each goes on by one epoch
        with monkeypatch.context() as patch:
            patch.setattr(Recipe, "save", save_and_stop)
            with pytest.raises(KeyboardInterrupt):
                found("stopped")
    assert found("stopped") == whole
    assert found("stopped") == whole
    assert len(whole["wrong"]) == 4


def test_the_full_size_is_that_of_the_paper() -> None:
    full = sizes.FULL
    images = 10_000 * full.files - full.held_out
    updates = full.epochs * math.ceil(images / full.batch)
    assert images == 45_000
    assert abs(updates - 64_000) < math.ceil(images / full.batch)
    assert (full.filters, full.batch, full.rate) == (16, 128, 0.1)
    assert sizes.THIN.rate / sizes.THIN.batch == full.rate / full.batch


# -- regularization ---------------------------------------------------------------------------------------------------


def test_moved_digits(monkeypatch: pytest.MonkeyPatch) -> None:
    ndimage = pytest.importorskip("scipy.ndimage")
    x = torch.zeros(1, 1, 28, 28)
    x[0, 0, 8:20, 9:20] = torch.rand(12, 11, generator=Generator().manual_seed(0))
    torch.testing.assert_close(few.moved(x, 0.0, Generator()), x, atol=1e-5, rtol=0)

    def moved(angle: float, scale: float, right: float, down: float) -> torch.Tensor:
        draws = (torch.tensor([[angle], [scale], [right], [down]]) + 1) / 2
        with monkeypatch.context() as patch:
            patch.setattr(torch, "rand", lambda *_, generator: draws)
            return few.moved(x, 1.0, Generator())

    torch.testing.assert_close(moved(0, 0, 1, 0)[..., :-2], x[..., 2:], atol=1e-5, rtol=0)
    torch.testing.assert_close(moved(0, 0, 0, -1)[..., 2:, :], x[..., :-2, :], atol=1e-5, rtol=0)
    c, s = math.cos(math.radians(10)), math.sin(math.radians(10))
    matrix, center = np.array([[c, s], [-s, c]]) / 1.1, np.array([13.5, 13.5])
    expected = ndimage.affine_transform(x[0, 0].numpy(), matrix, offset=center - matrix @ center, order=1)
    np.testing.assert_allclose(moved(1, 1, 0, 0)[0, 0].numpy(), expected, atol=1e-5)


def test_mixed_digits_have_their_labels_mixed_alike() -> None:
    y = torch.arange(400) % 10
    x = F.one_hot(y, 10).float()[:, None, :, None]
    blended, labels = few.mixed(x, y, 0.4, Generator().manual_seed(0))
    torch.testing.assert_close(blended[:, 0, :, 0], labels)
    torch.testing.assert_close(labels.sum(1), torch.ones(400))
    assert ((labels > 0.01).sum(1) == 2).float().mean() > 0.5
    own = labels[torch.arange(400), y]
    assert float(own.mean()) == pytest.approx(0.5 + 0.05, abs=0.05)  # Beta has mean 1/2; a tenth meets its own class


def test_early_stopping_keeps_the_weights_of_the_least_dev_loss() -> None:
    generator = Generator().manual_seed(0)
    parts = {
        name: few.Digits(torch.rand(60, 1, 28, 28, generator=generator), torch.randint(10, (60,), generator=generator))
        for name in ("train", "dev", "test")
    }  # nothing can be learned but by heart
    none = few.trained("none", 0.0, 0, 40, **parts)
    kept = few.trained("early stopping", 40, 0, 40, **parts)
    assert none["epochs"] == 40 > kept["epochs"]
    assert kept["dev_loss"] < none["dev_loss"]
    hasty = few.trained("early stopping", 1, 0, 40, **parts)
    assert hasty["epochs"] <= kept["epochs"]
    assert hasty["dev_loss"] >= kept["dev_loss"]
