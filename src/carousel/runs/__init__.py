"""The run folder on disk."""

from .environment import environment
from .folder import FORMAT, RunFolder

__all__ = ["FORMAT", "RunFolder", "environment"]
