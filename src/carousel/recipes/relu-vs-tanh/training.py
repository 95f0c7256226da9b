"""One training until its training error has fallen far enough, and the search for the learning rate that is fastest."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

import carousel

__all__ = ["Course", "course", "fastest", "read"]

LINE = "conv 16 5 pad half, {0}, pool 2, conv 32 5 pad half, {0}, pool 2, dense 128, {0}, dense"
BATCH, NEAR = 32, 0.06
"""All images are evaluated each quarter epoch once the batches of one came so near to the bar; until then the share in
those batches stands for the training error."""
Course = dict[str, Any]
"""`epochs` until the bar is reached, infinite if it was not; `wrong`, the share in the batches of each quarter."""


def read(files: list[Path], images: int) -> tuple[Tensor, Tensor]:
    """(n, 3, 32, 32) pixels from 0 to 255 less the mean image, at most so many of each file; (n,) classes."""
    raw = np.concatenate([np.fromfile(file, np.uint8, images * 3073).reshape(-1, 3073) for file in files])
    x = torch.from_numpy(raw[:, 1:]).reshape(-1, 3, 32, 32).float()
    return (x - x.mean(0)).contiguous(memory_format=torch.channels_last), torch.from_numpy(raw[:, 0]).long()


def course(
    x: Tensor, y: Tensor, function: str, weights: str, rate: float, seed: int, *, bar: float, quarters: int
) -> Course:
    """A training, until that share of all images is wrong or so many quarters of an epoch are over."""
    torch.manual_seed(seed)
    net = carousel.nn.initialize(carousel.nn.network(LINE.format(function), (3, 32, 32), 10), weights)
    net = net.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    rule = torch.optim.SGD(net.parameters(), lr=rate, momentum=0.9)
    wrong, before, order, near = [], (0.0, 1.0), [], False
    for quarter in range(1, quarters + 1):
        part, *order = order or torch.randperm(len(x)).chunk(4)
        count, loss = 0, torch.tensor(0.0)
        for rows in part.split(BATCH):
            scores = net(x[rows])
            loss = F.cross_entropy(scores, y[rows])
            rule.zero_grad()
            loss.backward()
            rule.step()
            count += int((scores.argmax(1) != y[rows]).sum())
        wrong.append(count / len(part))
        if not math.isfinite(loss.item()):
            break
        now = (quarter / 4, wrong[-1])
        near = near or now[1] < bar + NEAR
        if near:
            with torch.no_grad():
                answers = torch.cat([net(some).argmax(1) for some in x.split(500)])
            now = (quarter / 4, float((answers != y).double().mean()))
        if now[1] <= bar:
            share = (before[1] - bar) / (before[1] - now[1])
            return {"epochs": before[0] + share * (now[0] - before[0]), "wrong": wrong}
        before = now
    return {"epochs": math.inf, "wrong": wrong}


def fastest(run: Callable[[float, int], Course], first: float, quarters: int) -> dict[float, float]:
    """Epochs at the rates first · 2^k, up and down until two in a row are slower than the best; these are cut short."""
    found: dict[float, float] = {}

    def is_slower(rate: float) -> bool:
        best = min(found.values(), default=math.inf)
        found[rate] = run(rate, quarters if math.isinf(best) else math.ceil(4 * best))["epochs"]
        return found[rate] >= best

    is_slower(first)
    for factor in (2.0, 0.5):
        rate, slower = first, 0
        while slower < 2:
            rate *= factor
            slower = slower + 1 if is_slower(rate) else 0
    return found
