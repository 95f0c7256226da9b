"""Settings that are found by trying: a learning rate by the range test, any settings by trials on the dev part."""

from .rate import find_rate
from .study import tune
from .tuned import Tuning

__all__ = ["Tuning", "find_rate", "tune"]
