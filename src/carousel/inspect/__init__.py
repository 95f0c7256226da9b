"""See inside a network: numbers that can be tested, and pictures of them."""

from .dynamics import (
    FixedPoint,
    Lyapunov,
    Response,
    eigenvalues,
    fixed_points,
    impulse_response,
    jacobians,
    lyapunov,
    step_response,
)
from .system import Recurrence, recurrence

__all__ = [
    "FixedPoint",
    "Lyapunov",
    "Recurrence",
    "Response",
    "eigenvalues",
    "fixed_points",
    "impulse_response",
    "jacobians",
    "lyapunov",
    "recurrence",
    "step_response",
]
