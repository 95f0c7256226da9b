"""Digits, networks that compress them, and the linear network whose answer is known."""

from __future__ import annotations

import gzip
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sklearn.decomposition import PCA
from torch import Tensor

import carousel

__all__ = ["codes", "error", "fitted", "linear", "read"]

SHAPE = (1, 28, 28)
BATCH, LEARNING_RATE = 128, 1e-3


def read(images: Path, labels: Path) -> tuple[Tensor, Tensor]:
    """(n, 1, 28, 28) from 0 to 1, and (n,) digits, of a pair of IDX files."""
    pixels, digits = (bytearray(gzip.decompress(file.read_bytes())) for file in (images, labels))
    return (
        torch.frombuffer(pixels, dtype=torch.uint8, offset=16).reshape(-1, *SHAPE) / 255,
        torch.frombuffer(digits, dtype=torch.uint8, offset=8).long(),
    )


@torch.no_grad()
def codes(net: carousel.nn.Autoencoder, images: Tensor) -> Tensor:
    """(n, code)."""
    return torch.cat([net.encode(some) for some in images.split(1_000)])


@torch.no_grad()
def error(net: carousel.nn.Autoencoder, images: Tensor) -> float:
    """|x - g(f(x))|², summed over the pixels, mean of the images."""
    return sum(float((net(some) - some).square().sum()) for some in images.split(1_000)) / len(images)


def fitted(recipe: carousel.recipes.Recipe, code: int, train: Tensor, dev: Tensor, **options: Any) -> dict[str, Any]:
    """An autoencoder with its `net`, `curve` (dev errors) and kept `epoch`; a stopped run goes on after its last epoch.

    Args:
        recipe: where checkpoints go.
        code: numbers that are left of an image.
        train: (n, 1, 28, 28).
        dev: the same; the epoch with the smallest error on it is kept.
        options: `epochs`, and those of the network.
    """
    epochs, name = options.pop("epochs"), f"code-{code}"
    torch.manual_seed(0)
    net = carousel.nn.network("autoencoder", SHAPE, code, output="sigmoid", **options)
    assert isinstance(net, carousel.nn.Autoencoder)
    update = torch.optim.Adam(net.parameters(), LEARNING_RATE)
    saved = recipe.load(name) or {"curve": []}
    if saved["curve"]:
        net.load_state_dict(saved["net"])
        update.load_state_dict(saved["update"])
    per_epoch = math.ceil(len(train) / BATCH)
    for epoch in recipe.steps(len(saved["curve"]), epochs, name):
        order = torch.randperm(len(train), generator=torch.Generator().manual_seed(epoch))
        for number, rows in enumerate(order.split(BATCH)):
            done = (epoch + number / per_epoch) / epochs
            update.param_groups[0]["lr"] = LEARNING_RATE * (1 + math.cos(math.pi * done)) / 2
            loss = (net(train[rows]) - train[rows]).square().sum((1, 2, 3)).mean()
            update.zero_grad()
            loss.backward()
            update.step()
        curve = [*saved["curve"], error(net, dev)]
        best = net.state_dict() if curve[-1] == min(curve) else saved["best"]
        best = {key: value.clone() for key, value in best.items()}
        saved = {"curve": curve, "net": net.state_dict(), "update": update.state_dict(), "best": best}
        recipe.save(name, saved)
        recipe.say(f"{name}, epoch {epoch + 1}: squared error of a held-out image {curve[-1]:.3f}")
    net.load_state_dict(saved["best"])
    return {"net": net, "curve": saved["curve"], "epoch": saved["curve"].index(min(saved["curve"])) + 1}


def linear(images: Tensor, pca: PCA, rounds: int) -> tuple[float, float]:
    """The largest principal angle (radians) between a trained linear autoencoder and PCA, and its error on the images
    over the smallest there is, minus one.

    With x̂ = V(Wx + b) + c, mean μ and covariance C of the images the mean squared error is
    tr C - 2 tr VWC + tr VᵀV WCWᵀ + |V(Wμ + b) + c - μ|², so that every step of L-BFGS sees all images at once.
    """
    theirs = torch.from_numpy(np.asarray(pca.components_, np.float64).T)
    flat, size = images.flatten(1).double(), theirs.shape[1]
    middle = flat.mean(0)
    flat -= middle
    covariance = flat.T @ flat / len(flat)
    torch.manual_seed(0)
    net = carousel.nn.network("autoencoder", SHAPE, size, hidden_sizes=()).double()
    assert isinstance(net, carousel.nn.Autoencoder)
    carousel.nn.initialize(net, "orthogonal")
    w, b, v, c = net.parameters()
    search = torch.optim.LBFGS([w, b, v, c], max_iter=rounds, max_eval=2 * rounds, history_size=20, tolerance_grad=0,
                               tolerance_change=0, line_search_fn="strong_wolfe")  # fmt: skip

    def loss() -> Tensor:
        search.zero_grad()
        wc = w @ covariance
        value = covariance.trace() - 2 * (v.T * wc).sum() + ((v.T @ v) * (wc @ w.T)).sum()
        value = value + (v @ (w @ middle + b) + c - middle).square().sum()
        value.backward()
        return value

    search.step(loss)  # pyright: ignore[reportArgumentType]
    ours = torch.linalg.qr(v.detach()).Q
    theirs = torch.linalg.qr(theirs).Q
    away = torch.linalg.matrix_norm(theirs - ours @ (ours.T @ theirs), 2)  # the sine of the largest angle
    least = float(torch.linalg.eigvalsh(covariance)[:-size].sum())
    return math.asin(min(1.0, float(away))), error(net, images.double()) / least - 1
