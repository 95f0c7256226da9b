"""Which settings repair which fault."""

from __future__ import annotations

import math
from typing import Any

import pytest

from carousel.doctor import RULES
from carousel.settings import Settings
from carousel.tasks.language_model import LanguageModelTask
from carousel.tasks.repairs import COMMON

RATES = {1.0: 3.9, 0.1: 2.5, 0.01: 2.2, 10.0: 3.5, 100.0: 2.1, 1000.0: math.inf}


@pytest.mark.parametrize(
    ("code", "settings", "losses", "change"),
    [
        ("lr-too-high", {"learning_rate": 3.0}, RATES, {"learning_rate": 0.03}),
        ("lr-too-high", {"learning_rate": 3.0}, {}, {"learning_rate": 0.3}),
        ("lr-too-low", {"learning_rate": 6e-5}, RATES, {"learning_rate": 6e-3}),
        ("lr-too-low", {"learning_rate": 6e-5}, {}, {"learning_rate": 6e-4}),
        ("exploding-gradient-time", {"clip": 0.0}, RATES, {"clip": 1.0}),
        ("exploding-gradient-time", {"clip": 5.0}, RATES, {}),
        ("non-finite", {"clip": 0.0}, {}, {"clip": 1.0}),
        ("non-finite", {"learning_rate": 1.0}, {}, {"learning_rate": 0.1}),
    ],
)
def test_changes(code: str, settings: dict[str, Any], losses: dict[float, float], change: dict[str, Any]) -> None:
    before = Settings.of(**settings)
    assert COMMON[code](before, losses) == change
    after = before.changed(**change)
    assert after.training != before.training or not change
    assert (after.data, after.network) == (before.data, before.network)


def test_codes_are_those_of_the_doctor() -> None:
    codes = {rule.CODE for rule in RULES}
    assert {*LanguageModelTask.repairs, *LanguageModelTask.unasked} <= codes
