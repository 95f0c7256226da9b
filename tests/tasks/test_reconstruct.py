"""Reconstruction against closed forms: PCA by blocks, shares of variance, errors of known networks."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
import torch
from torch import Tensor

from carousel.errors import DataError
from carousel.tasks import components
from carousel.tasks.components import Components
from carousel.tasks.reconstruct import Reconstruct, reconstruction_lines


def examples(number: int = 301, features: int = 23, seed: int = 0) -> Tensor:
    """Correlated, with a mean, and variances that fall off."""
    generator = torch.Generator().manual_seed(seed)
    turned = torch.linalg.qr(torch.randn(features, features, generator=generator)).Q
    return torch.randn(number, features, generator=generator) * 0.8 ** torch.arange(features) @ turned + 3


def blocks(x: Tensor, size: int = 64) -> Iterator[Tensor]:
    yield from x.split(size)


def asked(x: Tensor, code: int = 2, labels: np.ndarray | None = None, names: tuple[str, ...] = ()) -> Reconstruct:
    labels = np.zeros(len(x), np.int64) if labels is None else labels
    return Reconstruct(lambda rows: x[rows], np.arange(200), code, names=names, labels=labels, unit="image")


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("count", [1, 5, 22, 23])
def test_components_are_those_of_the_whole_matrix(exact: bool, count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(components, "EXACT", 2048 if exact else 1)
    x = examples()
    found = Components.of(lambda: blocks(x), count)
    away = (x - x.mean(0)).double()
    values, vectors = torch.linalg.eigh(away.T @ away / len(x))
    assert found.variance == pytest.approx(float(values.sum()), rel=1e-5)
    assert torch.allclose(found.mean, x.mean(0), atol=1e-5)
    assert torch.allclose(found.basis.T @ found.basis, torch.eye(count), atol=1e-5)
    same = (found.basis.double() * vectors[:, -count:].flip(1)).sum(0).abs()
    assert torch.allclose(same, torch.ones(count, dtype=torch.float64), atol=2e-3)
    least = float(values[: len(values) - count].sum())
    assert float(found.lost(x).mean()) == pytest.approx(least, rel=2e-3, abs=1e-5)


def test_many_features_of_few_examples_are_told_exactly() -> None:
    x = examples(9, 5).repeat_interleave(500, 1)  # 2,500 features, of rank 5
    found = Components.of(lambda: [x], 30)
    assert found.basis.shape == (2500, 8)
    assert float(found.lost(x).max()) < 1e-4 * found.variance
    one = Components.of(lambda: [x], 1)
    left = float(torch.linalg.svdvals((x - x.mean(0)).double())[1:].square().sum()) / len(x)
    assert float(one.lost(x).mean()) == pytest.approx(left, rel=1e-4)


def test_blocks_of_another_size_give_the_same() -> None:
    x = examples()
    one, other = (Components.of(lambda size=size: blocks(x, size), 4) for size in (301, 7))
    assert torch.allclose(one.lost(x), other.lost(x), rtol=1e-3, atol=1e-4)


def test_the_mean_loses_all_of_the_variance_and_copying_nothing() -> None:
    x = examples()
    problem, rows = asked(x), np.arange(200)
    mean = x[rows].mean(0).expand(200, -1)
    assert float(problem.lost(x[rows], mean).mean()) == pytest.approx(1, rel=1e-5)
    assert problem.lost(x[rows], x[rows]).abs().max() == 0
    variances = x[rows].double().var(0, correction=0).sum()
    outputs = torch.cat([problem.lost(x[rows], mean).unsqueeze(1), torch.zeros(200, 2)], 1)
    loss = float(problem.loss(outputs, rows))
    found = problem.evaluation(outputs, rows, loss)
    assert found.rank == (loss, loss)
    assert found.metrics["squared_error"] == pytest.approx(float(variances) / 23, rel=1e-5)
    left = torch.linalg.eigvalsh(torch.cov(x[rows].double().T, correction=0))[:-2].sum() / variances
    assert found.metrics["pca"] == pytest.approx(float(left), rel=1e-4)
    held_out = np.arange(200, 301)
    assert problem.of_pca(held_out).shape == (101,)
    assert float(problem.of_pca(held_out).mean()) != found.metrics["pca"]


@pytest.mark.parametrize("code", [1, 2, 3])
def test_panels_say_which_of_the_two_is_better(code: int) -> None:
    x, rows = examples(), np.arange(200, 301)
    problem = asked(x, code, np.arange(301) % 3, ("a", "b", "c"))
    codes = torch.randn(101, code, generator=torch.Generator().manual_seed(0))
    pca = torch.from_numpy(problem.of_pca(rows)).float().unsqueeze(1)
    worse = problem.panels(torch.cat([2 * pca, codes], 1), rows, "dev", str)
    better = problem.panels(torch.cat([pca / 4, codes], 1), rows, "dev", str)
    assert "worse than PCA" in worse[0]["note"]
    assert "4 times as much" in better[0]["note"]
    assert [row[0] for row in better[0]["rows"]] == ["autoencoder", f"{code} principal component{'s' * (code > 1)}"]
    heading, lines = reconstruction_lines(worse) or ("", "")
    assert heading.startswith("Reconstruction through")
    assert "worse than PCA" in lines
    assert worse[1]["values"] == sorted(worse[1]["values"])
    assert worse[1]["values"][-1] == pytest.approx(float(2 * pca.max()))
    maps = [panel for panel in worse if panel["panel"] == "map"]
    assert len(maps) == (code > 1)
    if code == 2:
        assert torch.allclose(torch.tensor(maps[0]["points"]).T, codes, atol=1e-6)
        assert maps[0]["classes"] == (rows % 3).tolist()
    if code == 3:
        planar = torch.tensor(maps[0]["points"])
        spread = torch.linalg.svdvals(codes - codes.mean(0))[:2].square() / 101
        assert torch.allclose(planar.var(1, correction=0), spread, rtol=1e-3)
        assert f"{100 * float(spread.sum() / codes.var(0, correction=0).sum()):.0f} %" in maps[0]["note"]


def test_equal_examples_are_refused() -> None:
    with pytest.raises(DataError, match="All images of the training part are equal"):
        asked(torch.full((301, 4), 0.3))
    assert reconstruction_lines([{"panel": "table", "title": "Some answers"}]) is None
