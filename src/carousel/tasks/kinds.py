"""The kinds of data that `carousel train` takes, in the order in which they are tried."""

from __future__ import annotations

from ..errors import UsageError
from ..settings import Settings, group
from .forecast import SERIES
from .image_kind import IMAGES
from .kind import Kind, Sources
from .labelled import LABELLED
from .language_model import TEXT
from .table import TABLE
from .tagged import TAGGED

__all__ = ["KINDS", "infer", "resolve"]

KINDS: dict[str, Kind] = {kind.name: kind for kind in (TAGGED, IMAGES, SERIES, LABELLED, TABLE, TEXT)}
"""By name; the last one takes whatever no other recognizes."""


def infer(sources: Sources) -> Kind:
    """The kind of the data, by a look at them."""
    return next(kind for kind in KINDS.values() if kind.recognizes(sources) is not None)


def resolve(sources: Sources, settings: Settings) -> tuple[Kind, Settings]:
    """The kind that the settings name or else the data look like, and the settings with its defaults.

    Raises:
        UsageError: an option is about another kind of data.
    """
    chosen = infer(sources) if settings.data.kind is None else KINDS[settings.data.kind]
    chosen = chosen.variant(settings.network.network)
    others = [name for name in KINDS if name not in (chosen.name, TEXT.name)]
    return chosen, chosen.resolved(settings, [field for name in others for field in group(name)])


def of_run(config: dict) -> Kind:
    """The kind of a stored run, with its network.

    Raises:
        UsageError: this version does not know it.
    """
    name = config["data"].get("kind") or TEXT.name
    if name not in KINDS:
        raise UsageError(f"The run's data are of the kind {name!r}; this version knows {', '.join(KINDS)}.")
    return KINDS[name].variant(config["network"].get("network"))
