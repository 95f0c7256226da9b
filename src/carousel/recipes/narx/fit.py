r"""The ways to train a network: open, closed, by evolution, with past errors; and one that sees past inputs only."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

import carousel

from .models import NARX, UNITS, PastErrors, Series, arx, errors, free_run, windows

DELAYS, LENGTH = 24, 250


def train(
    cell: NARX, loss: Callable[[torch.Generator], Tensor], check: Callable[[], float], updates: int, seed: int,
    rate: float = 3e-3,
) -> NARX:  # fmt: skip
    """Adam; keeps the weights of the lowest `check`, which is looked at 40 times."""
    generator, best = torch.Generator().manual_seed(seed), (math.inf, cell.state_dict())
    rule = torch.optim.Adam(cell.parameters(), lr=rate)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(rule, updates)
    for update in range(updates + 1):
        if update % max(1, updates // 40) == 0 and (now := check()) < best[0]:
            best = now, {name: w.clone() for name, w in cell.state_dict().items()}
        if update < updates:
            rule.zero_grad()
            loss(generator).backward()
            nn.utils.clip_grad_norm_(cell.parameters(), 1.0)
            rule.step()
            schedule.step()
    cell.load_state_dict(best[1])
    return cell


def evolve(cell: NARX, loss: Callable[[], Tensor], check: Callable[[], float], rounds: int, seed: int) -> NARX:
    """CMA-ES (Hansen & Ostermeier 2001): no derivatives; keeps the mean of the lowest `check`."""
    import cma

    start: Any = nn.utils.parameters_to_vector(cell.parameters()).detach()
    options = {"seed": seed + 1, "verbose": -9, "maxiter": rounds}
    search = cma.CMAEvolutionStrategy(start.tolist(), 0.03, options)
    best = math.inf, start

    def put(vector: Any) -> None:
        nn.utils.vector_to_parameters(torch.as_tensor(vector, dtype=torch.float32), cell.parameters())

    with torch.no_grad():
        while not search.stop():
            tried, values = search.ask(), []
            for vector in tried:
                put(vector)
                values.append(float(loss().nan_to_num(1e6, 1e6).clamp(max=1e6)))
            search.tell(tried, values)
            if search.countiter % max(1, rounds // 40) == 0:
                put(search.result.xfavorite)
                if (now := check()) < best[0]:
                    best = now, torch.as_tensor(search.result.xfavorite, dtype=torch.float32)
        put(best[1])
    return cell


def new(series: Series, order: int, seed: int, units: int = UNITS) -> NARX:
    """A network that begins as the linear ARX model, with random hidden units that count nothing yet."""
    torch.manual_seed(seed)
    x, past, y = series.lagged(order, "train")
    cell = NARX(x.shape[1], order, units=units)
    cell.a.data = arx(x, past, y)
    return cell


def judged(cell: NARX, series: Series, order: int) -> float:
    """Free-run errors on the training part and the part for choices, added: a long run and one of new steps."""
    return sum(errors(cell, series, order, part)[1] for part in ("train", "dev"))


def open_loop(cell: NARX, series: Series, order: int, seed: int, updates: int) -> NARX:
    """On single steps, with the true past outputs."""
    x, past, y = series.lagged(order, "train")

    def loss(generator: torch.Generator) -> Tensor:
        at = torch.randint(len(y), (256,), generator=generator)
        return (cell.one_step(x[at], past[at]) - y[at]).square().mean()

    return train(cell, loss, lambda: judged(cell, series, order), updates, seed)


def closed_loop(cell: NARX, series: Series, order: int, seed: int, updates: int) -> NARX:
    """On pieces of 250 steps, with its own past outputs: backpropagation through time."""

    def loss(generator: torch.Generator) -> Tensor:
        x, past, y = windows(series, order, LENGTH, 16, generator)
        return (free_run(cell, x, past) - y).square().mean()

    return train(cell, loss, lambda: judged(cell, series, order), updates, seed)


def by_evolution(series: Series, order: int, seed: int, rounds: int) -> NARX:
    """The same error of pieces of 250 steps, without derivatives; four hidden units."""
    cell = new(series, order, seed, units=4)
    x, past, y = windows(series, order, LENGTH, 12, torch.Generator().manual_seed(seed))
    return evolve(cell, lambda: (free_run(cell, x, past) - y).square().mean(),
                  lambda: judged(cell, series, order), rounds, seed)  # fmt: skip


def with_errors(series: Series, order: int, seed: int, updates: int) -> PastErrors:
    """On pieces of 250 steps, with the true past outputs and the past errors; kept by the error on the dev part."""
    torch.manual_seed(seed)
    parts = {part: _with_truth(series, order, part) for part in ("train", "dev")}
    cell = PastErrors(parts["train"][0].shape[1] - order - 1, order)
    cell.a.data[:, :-order] = arx(*series.lagged(order, "train"))
    layer = carousel.nn.Recurrent([cell])

    def loss(generator: torch.Generator) -> Tensor:
        x, y = parts["train"]
        at = torch.randint(len(y) - LENGTH, (16,), generator=generator) + torch.arange(LENGTH).unsqueeze(1)
        return (layer(x[at])[0] - y[at])[order:].square().mean()

    train(cell, loss, lambda: one_step_with_errors(cell, series, order, "dev"), updates, seed)
    return cell


@torch.no_grad()
def one_step_with_errors(cell: PastErrors, series: Series, order: int, part: str) -> float:
    """RMSE in one step, given true past outputs and past errors."""
    x, y = _with_truth(series, order, part)
    layer = carousel.nn.Recurrent([cell])
    return float((layer(x.unsqueeze(1))[0][:, 0] - y).square().mean().sqrt()) * series.scale


def _with_truth(series: Series, order: int, part: str) -> tuple[Tensor, Tensor]:
    """What a network with past errors reads, and what it is to say."""
    x, past, y = series.lagged(order, part)
    return torch.cat([x, past, y], -1), y


def time_delay(series: Series, seed: int, updates: int) -> float:
    """Past inputs only: RMSE on the test part."""
    torch.manual_seed(seed)
    known, dev, test = (series.lagged(DELAYS, part) for part in ("train", "dev", "test"))
    network: Any = nn.Sequential(nn.Linear(known[0].shape[1], UNITS), nn.Tanh(), nn.Linear(UNITS, 1))

    def loss(generator: torch.Generator) -> Tensor:
        at = torch.randint(len(known[2]), (256,), generator=generator)
        return (network(known[0][at]) - known[2][at]).square().mean()

    def rmse(part: tuple[Tensor, ...]) -> float:
        with torch.no_grad():
            return float((network(part[0]) - part[2]).square().mean().sqrt()) * series.scale

    train(network, loss, lambda: rmse(dev), updates, seed)
    return rmse(test)
