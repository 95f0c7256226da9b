"""What several processes that train one network must agree on. With a single process everything here is trivial.

Start them with `torchrun --nproc-per-node N -m carousel train …`; each reads its share of the parallel streams, and a
run equals that of a single process up to rounding. Only the main process writes.
"""

from __future__ import annotations

import os
from typing import Any, TypeVar

import torch

__all__ = ["any_of", "gathered", "is_main", "same_for_all", "several", "wait"]

T = TypeVar("T")


def several() -> bool:
    """Whether more than one process trains this network."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


def _state() -> Any:
    from accelerate import PartialState

    return PartialState(cpu=not torch.cuda.is_available())


def is_main() -> bool:
    """Whether this process is the one that writes."""
    return not several() or _state().is_main_process


def wait() -> None:
    """Until all processes are here."""
    if several():
        _state().wait_for_everyone()


def same_for_all(value: T) -> T:
    """The main process's value, on all."""
    if not several():
        return value
    from accelerate.utils import broadcast_object_list

    _state()
    return broadcast_object_list([value])[0]


def any_of(flag: bool) -> bool:
    """Whether the flag is set on any process."""
    return flag if not several() else any(gathered(flag))


def gathered(value: T) -> list[T]:
    """The values of all processes, in their order."""
    if not several():
        return [value]
    from accelerate.utils import gather_object

    _state()
    return gather_object([value])
