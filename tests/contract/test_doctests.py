"""The examples in the docstrings of the mathematical core run and give what they show."""

from __future__ import annotations

import doctest
import importlib
import pkgutil

import pytest

import carousel.cells
import carousel.engine
import carousel.nn

MODULES = sorted(
    name
    for package in (carousel.cells, carousel.engine, carousel.nn)
    for name in (
        package.__name__,
        *(module.name for module in pkgutil.walk_packages(package.__path__, package.__name__ + ".")),
    )
)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name: str) -> None:
    module = importlib.import_module(name)
    result = doctest.testmod(module)
    assert result.failed == 0


def test_there_are_examples() -> None:
    found = [
        e for name in MODULES for t in doctest.DocTestFinder().find(importlib.import_module(name)) for e in t.examples
    ]
    assert len(found) > 30
