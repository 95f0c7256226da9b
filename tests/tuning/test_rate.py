"""The range test on data of several kinds: it takes what a run takes, and leaves nothing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import carousel
from carousel.errors import UsageError
from carousel.training import Trainer

pytestmark = pytest.mark.usefixtures("own_cache")


def test_table(table: str) -> None:
    torch.manual_seed(5)
    np.random.seed(6)
    before, drawn = torch.get_rng_state(), np.random.get_state()[1].copy()
    found = carousel.find_rate(table, updates=100, threads=1, batch=16)
    assert found.suggestion is not None
    assert 1e-4 < found.suggestion < 0.1
    assert torch.equal(torch.get_rng_state(), before)
    assert (np.random.get_state()[1] == drawn).all()
    assert sorted(path.name for path in Path().iterdir() if path.is_file()) == [table]
    assert not Path("runs").exists()


def test_text_carries_its_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("corpus.txt").write_text("Round and round it goes, and where it ends nobody knows.\n" * 100)
    carried = []
    update = Trainer.update

    def watched(trainer: Trainer) -> object:
        carried.append(trainer.feed.state_dict() is not None)
        assert trainer.schedule.rate(0) == trainer.schedule.rate(10**6)  # neither schedule nor warm-up
        return update(trainer)

    monkeypatch.setattr(Trainer, "update", watched)
    found = carousel.find_rate("corpus.txt", hidden_size=16, batch=4, window=16, updates=60, threads=1)
    assert carried[:4] == [False, True, True, True]
    assert len(found.rates) == len(found.losses) == len(found.smoothed)
    assert not Path("runs").exists()


def test_the_optimizer_and_clipping_are_those_of_the_run(table: str) -> None:
    plain = carousel.find_rate(table, updates=40, threads=1, optimizer="sgd", clip=0.0)
    clipped = carousel.find_rate(table, updates=40, threads=1, optimizer="sgd", clip=1e-3)
    assert np.ptp(clipped.smoothed[:25]) < np.ptp(plain.smoothed[:25])


def test_divergence_is_no_error(table: str) -> None:
    found = carousel.find_rate(table, updates=40, high=1e35, threads=1, optimizer="sgd", clip=0.0)
    assert found.ended in ("diverged", "not finite")


def test_bad_input(table: str) -> None:
    with pytest.raises(UsageError, match="Did you mean 'hidden_size'"):
        carousel.find_rate(table, hiden_size=3)
    with pytest.raises(UsageError, match="--hidden-size means nothing for"):
        carousel.find_rate(table, hidden_size=3)
    with pytest.raises(UsageError, match="too few"):
        carousel.find_rate(table, updates=3)
