"""Cells by name."""

from __future__ import annotations

import pytest
import torch

from carousel import Cell, cells
from carousel.cells import REGISTRY, find
from carousel.errors import UsageError
from carousel.nn import Recurrent


@pytest.mark.parametrize("name", REGISTRY)
def test_entries(name: str) -> None:
    entry = find(name)
    assert entry is REGISTRY[name]
    assert issubclass(entry.cell_class, Cell)
    assert entry.cell_class.__doc__
    assert 0 < len(entry.about) < 80
    layer = Recurrent(entry.cell_class, 3, 4, **entry.options)
    assert layer(torch.zeros(2, 1, 3))[0].shape == (2, 1, 4)


def test_two_names_do_not_stand_for_the_same() -> None:
    meanings = [(entry.cell_class, tuple(sorted(entry.options.items()))) for entry in REGISTRY.values()]
    assert len(set(meanings)) == len(meanings)


@pytest.mark.parametrize(("wrong", "meant"), [("lsmt", "lstm"), ("gru-reset-befor", "gru-reset-before")])
def test_unknown_name_with_suggestion(wrong: str, meant: str) -> None:
    with pytest.raises(
        UsageError, match=rf"no cell '{wrong}'. Did you mean '{meant}'\?.*rnn, .*min-gru.*FILE.py:Class"
    ):
        find(wrong)


def test_unknown_name_that_is_near_to_nothing() -> None:
    with pytest.raises(UsageError) as error:
        find("transformer")
    assert "Did you mean" not in str(error.value)
    assert all(name in str(error.value) for name in REGISTRY)


def test_public_names() -> None:
    assert all(hasattr(cells, name) for name in cells.__all__)
    assert len(set(cells.__all__)) == len(cells.__all__)
