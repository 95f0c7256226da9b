"""See inside a network: numbers that can be tested, and pictures of them."""

from .circuit import Circuit, circuit
from .depth import DepthHistory, Layer, through_depth, watch_depth
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
from .gates import GATES, Quantity, quantities
from .gradient_check import Checked, GradientCheck, gradient_check
from .memory import Memory, memory_by_gradient, memory_by_intervention
from .system import Recurrence, recurrence
from .through_time import Carry, Gradients, carried_gradients, gradients_through_time

__all__ = [
    "GATES",
    "Carry",
    "Checked",
    "Circuit",
    "DepthHistory",
    "FixedPoint",
    "GradientCheck",
    "Gradients",
    "Layer",
    "Lyapunov",
    "Memory",
    "Quantity",
    "Recurrence",
    "Response",
    "carried_gradients",
    "circuit",
    "eigenvalues",
    "fixed_points",
    "gradient_check",
    "gradients_through_time",
    "impulse_response",
    "jacobians",
    "lyapunov",
    "memory_by_gradient",
    "memory_by_intervention",
    "quantities",
    "recurrence",
    "step_response",
    "through_depth",
    "watch_depth",
]
