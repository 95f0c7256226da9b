"""One training on few digits, with at most one regularizer."""

from __future__ import annotations

import copy
import gzip
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

import carousel

__all__ = ["Digits", "read", "trained"]

PLAIN = "conv 16 5, relu, pool 2, conv 32 5, relu, pool 2, dense 128, relu, dense"
LINES = {
    "dropout": "conv 16 5, relu, pool 2, conv 32 5, relu, pool 2, dropout {0}, dense 128, relu, dropout {0}, dense",
    "batch norm": "conv 16 5, batchnorm, relu, pool 2, conv 32 5, batchnorm, relu, pool 2, dense 128, batchnorm, relu, "
    "dense",
}
BATCH, RATE, CLASSES = 50, 0.02, 10


class Digits(NamedTuple):
    """(n, 1, 28, 28) pixels from 0 to 1, and (n,) classes."""

    x: Tensor
    y: Tensor


def read(images: Path, labels: Path) -> Digits:
    """The digits of a pair of IDX files."""
    pixels = np.frombuffer(gzip.decompress(images.read_bytes()), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    classes = np.frombuffer(gzip.decompress(labels.read_bytes()), np.uint8, offset=8).astype(np.int64)
    return Digits(torch.from_numpy(pixels / np.float32(255)), torch.from_numpy(classes))


def moved(x: Tensor, strength: float, generator: Generator) -> Tensor:
    """Each image turned by up to 10 degrees, scaled by up to 10 % and shifted by up to 2 pixels, times `strength`."""
    angle, scale, right, down = strength * (2 * torch.rand(4, len(x), generator=generator) - 1)
    angle, scale = math.radians(10) * angle, 1 + 0.1 * scale
    rows = [angle.cos() / scale, -angle.sin() / scale, right / 7, angle.sin() / scale, angle.cos() / scale, down / 7]
    grid = F.affine_grid(torch.stack(rows, 1).reshape(-1, 2, 3), list(x.shape), align_corners=False)
    return F.grid_sample(x, grid, align_corners=False)


def mixed(x: Tensor, y: Tensor, strength: float, generator: Generator) -> tuple[Tensor, Tensor]:
    """Each example blended with another one, its label too, by a weight drawn from Beta(strength, strength)."""
    seed, others = int(torch.randint(2**31, (), generator=generator)), torch.randperm(len(x), generator=generator)
    weight = torch.from_numpy(np.random.default_rng(seed).beta(strength, strength, len(x))).float()
    labels = F.one_hot(y, CLASSES).float()
    return x[others].lerp(x, weight[:, None, None, None]), labels[others].lerp(labels, weight[:, None])


def measured(net: nn.Module, digits: Digits) -> tuple[float, float]:
    """The share of wrong digits, and the loss in nats."""
    net.eval()
    with torch.no_grad():
        scores = torch.cat([net(some) for some in digits.x.split(500)])
    return float((scores.argmax(1) != digits.y).double().mean()), float(F.cross_entropy(scores, digits.y))


def trained(
    kind: str, strength: float, seed: int, epochs: int, *, train: Digits, dev: Digits, test: Digits
) -> dict[str, float]:
    """SGD with momentum 0.9, its rate falling to 0 in a line; `kind` is "none" or a regularizer.

    Returns:
        Errors and losses of the three parts, as "dev_error" and "dev_loss", and "epochs", after which the weights are
        kept; fewer than all by early stopping only.
    """
    torch.manual_seed(seed)
    generator = Generator().manual_seed(seed)
    net = carousel.nn.network(LINES.get(kind, PLAIN).format(strength), (1, 28, 28), CLASSES)
    net = carousel.nn.initialize(net, "he").to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue]
    decay = strength if kind == "L2" else 0.0
    rule = torch.optim.SGD(net.parameters(), lr=RATE, momentum=0.9, weight_decay=decay)
    updates = epochs * math.ceil(len(train.x) / BATCH)
    schedule = torch.optim.lr_scheduler.LinearLR(rule, 1.0, 0.0, updates)
    kept, least, weights = epochs, math.inf, {}
    for epoch in range(1, epochs + 1):
        net.train()
        for rows in torch.randperm(len(train.x), generator=generator).split(BATCH):
            x, y = train.x[rows], train.y[rows]
            if kind == "augmentation":
                x = moved(x, strength, generator)
            if kind == "mixup":
                x, y = mixed(x, y, strength, generator)
            rule.zero_grad()
            carousel.nn.cross_entropy(net(x), y).backward()
            rule.step()
            schedule.step()
        if kind == "early stopping":
            loss = measured(net, dev)[1]
            if loss < least:
                kept, least, weights = epoch, loss, copy.deepcopy(net.state_dict())
            if epoch - kept >= strength:
                break
    if weights:
        net.load_state_dict(weights)
    found = {"epochs": float(kept)}
    for name, part in (("train", train), ("dev", dev), ("test", test)):
        found[f"{name}_error"], found[f"{name}_loss"] = measured(net, part)
    return found
