r"""Digits through 30 numbers, or two: an autoencoder beside PCA, and why a linear one is PCA.

.. math:: \min_{f, g} \textstyle\sum_i |x_i - g(f(x_i))|^2

Sources: G. Hinton & R. Salakhutdinov, "Reducing the dimensionality of data with neural networks", Science 313, 2006,
there 3.00 for an image where PCA has 13.87; P. Baldi & K. Hornik, "Neural networks and principal component analysis",
Neural Networks 2, 1989.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier
from torch import Tensor

import carousel

from .draw import draw_images, draw_maps
from .parts import codes, fitted, linear, read

FILES = [f"mnist/{part}-{what}-ubyte.gz" for part in ("train", "t10k") for what in ("images-idx3", "labels-idx1")]
HELD_OUT, NEIGHBORS, DRAWN, ROUNDS = 5_000, 5, 5_000, 2_000
EPOCHS = {30: 45, 2: 20}
PUBLISHED = {"PCA": 13.87, "autoencoder": 3.00}
Codes = NDArray[np.float32]


def pca_back(pca: PCA, images: Tensor) -> Tensor:
    """What PCA makes of images, (n, 1, 28, 28)."""
    flat = images.flatten(1).double().numpy()
    return torch.from_numpy(pca.inverse_transform(pca.transform(flat))).float().view_as(images)


def recognized(known: Codes, digits: Tensor, asked: Codes, truth: Tensor) -> float:
    """The share of images whose digit is that of most of their nearest neighbors among the training images' codes."""
    classifier = KNeighborsClassifier(NEIGHBORS).fit(known, digits.numpy())
    return float(classifier.score(asked, truth.numpy()))


def compared(found: dict[int, Any], pcas: dict[int, PCA], parts: list[Tensor]) -> dict[tuple[str, int], dict[str, Any]]:
    """For each way and number of dimensions what comes `back`, its `error`, the `codes`, and how many are `right`.

    Args:
        found: networks by the size of their code.
        pcas: the same.
        parts: training images and digits, test images and digits.
    """
    train, digits, tests, truth = parts
    ways: dict[tuple[str, int], dict[str, Any]] = {}
    for code, pca in pcas.items():
        net, flat = found[code]["net"], [part.flatten(1).double().numpy() for part in (train, tests)]
        with torch.no_grad():
            reconstructed = {"PCA": pca_back(pca, tests), "autoencoder": net(tests)}
        encoded = {
            "PCA": list(map(pca.transform, flat)),
            "autoencoder": [codes(net, x).numpy() for x in (train, tests)],
        }
        for name, back in reconstructed.items():
            known, asked = encoded[name]
            ways[name, code] = {
                "back": back,
                "error": float((back - tests).square().sum((1, 2, 3)).mean()),
                "codes": asked,
                "right": recognized(known, digits, asked, truth),
            }
    return ways


def run(recipe: carousel.recipes.Recipe) -> None:
    """Both codes, what comes back, where the digits lie, and the linear network; a stopped run goes on."""
    files = [recipe.data(path) for path in FILES]
    (images, digits), (tests, truth) = read(files[0], files[1]), read(files[2], files[3])
    if recipe.smoke:
        images, digits, tests, truth = images[:300], digits[:300], tests[:100], truth[:100]
    held_out = min(HELD_OUT, len(images) // 10)
    (train, dev), digits = images.split([len(images) - held_out, held_out]), digits[:-held_out]
    smaller: dict[str, Any] = {"epochs": 1, "hidden_sizes": (16,)} if recipe.smoke else {}
    found = {code: fitted(recipe, code, train, dev, **{"epochs": epochs, **smaller}) for code, epochs in EPOCHS.items()}
    flat = train.flatten(1).double().numpy()
    pcas = {code: PCA(code, svd_solver="covariance_eigh").fit(flat) for code in EPOCHS}
    ways = compared(found, pcas, [train, digits, tests, truth])
    lines = [f"{'':14}{'numbers':>8}{'squared error':>16}{'5-NN right':>12}"]
    lines += [f"{name:14}{code:8}{way['error']:16.3f}{way['right']:12.2%}" for (name, code), way in ways.items()]
    lines += [f"epoch {its['epoch']} of {len(its['curve'])} kept of {code} numbers" for code, its in found.items()]
    recipe.text("\n".join(lines) + "\n", "table.txt")
    recipe.say("\n".join(lines))
    recipe.figure(draw_images(tests, truth, {f"{n}, {c}": way["back"] for (n, c), way in ways.items()}), "images.svg")
    near = TSNE(perplexity=min(30, len(tests) // 4), init="pca", random_state=0)
    maps = {f"{name}, 2 numbers": ways[name, 2]["codes"][:DRAWN] for name in ("PCA", "autoencoder")}
    maps["autoencoder, 30 numbers, brought to 2 by t-SNE"] = near.fit_transform(
        ways["autoencoder", 30]["codes"][:DRAWN]
    )
    recipe.figure(draw_maps(maps, truth), "maps.svg")
    away, above = linear(train, pcas[30], 20 if recipe.smoke else ROUNDS)
    theory = "Baldi & Hornik 1989: every minimum spans the principal components"
    recipe.claim("linear autoencoder, 30 numbers: training error over PCA's, minus one", ">= -1e-6", above,
                 above >= -1e-6, theory)  # fmt: skip
    if recipe.smoke:
        return
    recipe.claim("the same, trained", "< 1e-4", above, above < 1e-4, theory)
    recipe.claim(
        "the same: largest angle between its dimensions and PCA's, radians", "< 0.01", away, away < 0.01, theory
    )
    theirs, ours = ways["PCA", 30]["error"], ways["autoencoder", 30]["error"]
    recipe.claim("PCA, 30 numbers: squared error of a test image", f"{PUBLISHED['PCA']} ± 0.05", theirs,
                 abs(theirs - PUBLISHED["PCA"]) < 0.05, "Hinton & Salakhutdinov 2006")  # fmt: skip
    recipe.claim("autoencoder, 30 numbers: the same", f"<= {theirs / 2:.3f}, half of PCA's", ours, ours <= theirs / 2,
                 f"Hinton & Salakhutdinov 2006: {PUBLISHED['autoencoder']:.2f}")  # fmt: skip
    theirs, ours = ways["PCA", 2], ways["autoencoder", 2]
    recipe.claim("autoencoder, 2 numbers: squared error of a test image", f"< {theirs['error']:.2f}, PCA's",
                 ours["error"], ours["error"] < theirs["error"], "the same, figure 3")  # fmt: skip
    recipe.claim("2 numbers: test digits that 5 nearest neighbors name", f"> {theirs['right']:.2%}, PCA's",
                 f"{ours['right']:.2%}", ours["right"] > theirs["right"], "figure 3, as a number")  # fmt: skip
