"""Carousel: write a network, or a recurrent cell, as its equations; train it, run it fast, see why it does not learn.

The public names are listed in `__all__` and loaded on first use, so that `import carousel` costs nothing and the
command line answers before PyTorch is imported.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

_HOMES = {
    "CarouselError": "errors",
    "Cell": "cells.base",
    "Run": "trained",
    "TruncatedBPTT": "training.tbptt",
    "cells": None,
    "classical": None,
    "cross_validate": "cross_validation",
    "ensemble": "ensembles",
    "find_rate": "tuning",
    "inspect": None,
    "inspect_run": "inspection",
    "load": "trained",
    "nn": None,
    "recipes": None,
    "resume": "api",
    "train": "api",
    "tune": "tuning",
    "weight": "cells.weights",
    "word_vectors": "vectors",
}

__all__ = [
    "CarouselError",
    "Cell",
    "Run",
    "TruncatedBPTT",
    "cells",
    "classical",
    "cross_validate",
    "ensemble",
    "find_rate",
    "inspect",
    "inspect_run",
    "load",
    "nn",
    "recipes",
    "resume",
    "train",
    "tune",
    "weight",
    "word_vectors",
]

if TYPE_CHECKING:
    from . import cells, classical, inspect, nn, recipes
    from .api import resume, train
    from .cells.base import Cell
    from .cells.weights import weight
    from .cross_validation import cross_validate
    from .ensembles import ensemble
    from .errors import CarouselError
    from .inspection import inspect_run
    from .trained import Run, load
    from .training.tbptt import TruncatedBPTT
    from .tuning import find_rate, tune
    from .vectors import word_vectors


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'carousel' has no attribute {name!r}")
    home = _HOMES[name]
    if home is None:
        return importlib.import_module(f"carousel.{name}")
    return getattr(importlib.import_module(f"carousel.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])


def load_ipython_extension(shell: Any) -> None:
    """`%load_ext carousel`: the magics `%%doctor` and `%doctor`."""
    importlib.import_module("carousel.doctor.notebook").load(shell)
