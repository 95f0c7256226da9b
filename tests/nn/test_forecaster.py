"""The forecaster begins as the naive forecast, and its quantiles are those of its distributions."""

from __future__ import annotations

import pytest
import torch

from carousel.cells import LSTM
from carousel.nn import Recurrent
from carousel.nn.forecaster import Forecaster, _student


def test_student_quantiles() -> None:
    """Against tables: 0.9 quantiles with 3, 5 and 30 degrees of freedom."""
    z = torch.tensor([1.2815516], dtype=torch.float64)
    found = _student(z, torch.tensor([[3.0], [5.0], [30.0]], dtype=torch.float64)).flatten()
    torch.testing.assert_close(found, torch.tensor([1.63774, 1.47588, 1.31042], dtype=torch.float64), atol=1e-3, rtol=0)


@pytest.mark.parametrize("intervals", ["quantile", "normal", "t"])
def test_it_begins_near_the_naive_forecast(intervals: str) -> None:
    torch.manual_seed(0)
    network = Forecaster(Recurrent(LSTM, 2, 8), 1, 3, ahead=1, intervals=intervals)  # pyright: ignore[reportArgumentType]
    base = torch.tensor([1.0, 2.0, 3.0])[:, None, None].expand(3, 4, 1)
    output = network(torch.randn(5, 4, 2), torch.randn(3, 4, 1), base)
    quantiles = network.quantiles(output)
    assert quantiles.shape == (3, 4, 1, 9)
    assert (quantiles.diff(dim=-1) >= 0).all()
    assert (quantiles[..., 4] - base).abs().max() < 0.5
    mask = torch.ones(3, 4, 1, dtype=torch.bool)
    mask[0] = False
    truth = base.clone()
    truth[0] = torch.nan
    assert torch.isfinite(network.loss(output, truth.nan_to_num(), mask))


def test_calibrated_intervals_hold_their_share() -> None:
    """The spread of the truth grows with the step, and is not what the network says."""
    torch.manual_seed(0)
    network = Forecaster(Recurrent(LSTM, 2, 4), 1, 3, ahead=0)
    size = torch.tensor([0.3, 1.0, 4.0])[:, None, None]
    truth, fresh = size * torch.randn(3, 2000, 1), size * torch.randn(3, 2000, 1)
    said = network.normal.expand(3, 2000, 1, 9)
    mask = torch.ones(3, 2000, 1, dtype=torch.bool)
    quantiles = network.calibrate(said, truth, mask, 2000)
    held = ((fresh >= quantiles[..., 0]) & (fresh <= quantiles[..., -1])).float().mean((1, 2))
    torch.testing.assert_close(held, torch.full((3,), 0.8), atol=0.03, rtol=0)
    torch.testing.assert_close(network.stretch[:, 0], size.flatten(), atol=0, rtol=0.1)
    few = Forecaster(Recurrent(LSTM, 2, 4), 1, 3, ahead=0)
    assert torch.equal(few.calibrate(said[:, :20], truth[:, :20], mask[:, :20], 4), said[:, :20])
    assert (few.stretch == 1).all()  # four windows say nothing
    few.calibrate(said[:, :20], truth[:, :20], mask[:, :20], 20)
    assert len(few.stretch.unique()) == 1  # pooled where there are few
    few.calibrate(said[:, :20], truth[:, :20], ~mask[:, :20], 20)
    assert torch.isfinite(few.stretch).all()
