"""The doctor: watches any training run in PyTorch, and says what is wrong with it.

`watch` sees events, `record` gathers, `rules` judge (a file per fault code), `doctor` joins these; `script` runs an
unmodified script, `environment` explains imports that fail. It knows plain PyTorch only, nothing of the rest of
Carousel. The names are loaded on first use: a script is run before PyTorch is imported, so that it can still set what
PyTorch reads when it is.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_HOMES = {
    "RULES": "rules",
    "Doctor": "doctor",
    "Finding": "findings",
    "Outcome": "script",
    "Record": "record",
    "Severity": "findings",
    "Watch": "watch",
    "diagnose": "rules",
    "run_script": "script",
}

__all__ = ["RULES", "Doctor", "Finding", "Outcome", "Record", "Severity", "Watch", "diagnose", "run_script"]

if TYPE_CHECKING:
    from .doctor import Doctor
    from .findings import Finding, Severity
    from .record import Record
    from .rules import RULES, diagnose
    from .script import Outcome, run_script
    from .watch import Watch


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'carousel.doctor' has no attribute {name!r}")
    return getattr(importlib.import_module(f".{_HOMES[name]}", __name__), name)
