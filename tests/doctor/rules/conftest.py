"""What is asserted of every planted fault and of every healthy run."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ..planted import codes


@pytest.fixture
def is_named(findings: Callable) -> Callable[[str, Callable[[], Any]], None]:
    """`is_named(name, train)`: the doctor names the fault that `name` begins with, and no other."""

    def is_named(name: str, train: Callable[[], Any]) -> None:
        found = findings(train)
        assert codes(found) == [name.split(",")[0]]
        assert all(f.where and f.evidence.endswith(".") and f.advice.endswith(".") for f in found)

    return is_named


@pytest.fixture
def is_left_in_peace(findings: Callable) -> Callable[[Callable[[], Any]], None]:
    """`is_left_in_peace(train)`: the doctor has nothing to say."""

    def is_left_in_peace(train: Callable[[], Any]) -> None:
        assert codes(findings(train)) == []

    return is_left_in_peace
