"""Random cells on random sizes: the compiled backend is the plain loop."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch

from carousel.nn import Recurrent

from .cases import fill, normal
from .helpers import assert_equals_the_loop, random_state
from .random_cells import build, program

QUICK = range(12)
FOLDS, CELLS, VARIATIONS = 40, 10, 8
"""The slow tier: so many tests of so many programs, each run in so many sizes (3,200 cases in all)."""


def _variation(seed: int, number: int, kind: int | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
    """Sizes and options of a run, and the arguments of the call.

    Whether these are lengths (the first bit of `kind`) and resets (the second) is drawn too where `kind` is None.
    """
    r = random.Random(1000 * seed + number)
    time, batch = r.choice((1, 2, 3, 6, 10, 17)), r.choice((1, 2, 3, 5, 9, 33))
    sizes = {
        "batch": batch,
        "time": time,
        "inputs": r.choice((1, 2, 5, 16)),
        "hidden": r.choice((1, 2, 3, 7, 8, 16, 33)),
    }
    keywords: dict[str, Any] = {}
    if r.random() < 0.4 if kind is None else kind & 1:
        keywords["lengths"] = torch.tensor([r.randint(0, time) for _ in range(batch)])
    if r.random() < 0.4 if kind is None else kind & 2:
        keywords["reset"] = torch.tensor([[r.random() < 0.2 for _ in range(batch)] for _ in range(time)])
    return sizes | {"bidirectional": r.random() < 0.25, "given": r.random() < 0.7}, keywords


def _check(seed: int, variations: int, kind: int | None = None) -> None:
    """Two of three programs in float64, with kinks; one in float32, without."""
    dtype = torch.float32 if seed % 3 == 2 else torch.float64
    text = program(seed, kinks=dtype == torch.float64)
    cell_class = build(text)
    for number in range(variations):
        sizes, keywords = _variation(seed, number, kind)
        options = {"bidirectional": sizes["bidirectional"], "backend": "cpu"}
        layer = Recurrent(cell_class, sizes["inputs"], sizes["hidden"], **options)
        fill(layer, seed + number)
        layer.to(dtype)
        x = normal(sizes["time"], sizes["batch"], sizes["inputs"], seed=number, dtype=dtype).requires_grad_()
        state = random_state(layer, sizes["batch"], seed=50 + number, dtype=dtype) if sizes["given"] else None
        try:
            assert_equals_the_loop(layer, x, state, **keywords)
        except Exception as error:
            shown = {name: value.tolist() for name, value in keywords.items()}
            raise AssertionError(f"variation {number} ({dtype}, {sizes}, {shown}) of\n\n{text}\n{error}") from error


@pytest.mark.parametrize("seed", QUICK)
def test_random_cells(seed: int) -> None:
    _check(seed, 3, kind=seed % 4)  # of one kind, because a program is compiled for each


@pytest.mark.parametrize("seed", [103, 160])
def test_what_random_cells_have_found(seed: int) -> None:
    """The derivative of a norm at zero; an output that no state and no loop has a part in."""
    _check(seed, VARIATIONS)


@pytest.mark.slow
@pytest.mark.parametrize("fold", range(FOLDS))
def test_thousands_of_random_cells(fold: int) -> None:
    for seed in range(100 + fold * CELLS, 100 + (fold + 1) * CELLS):
        _check(seed, VARIATIONS)


def test_a_seed_is_a_program() -> None:
    assert program(7) == program(7)
    assert program(7) != program(8)
    assert len({program(seed) for seed in range(200)}) == 200
