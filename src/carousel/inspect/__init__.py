"""See inside a network: numbers that can be tested, and pictures of them."""

from .backprojection import Projection, Saliency, backproject, saliency
from .charts import draw, svg_text
from .circuit import Circuit, circuit
from .class_image import ClassImage, class_image
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
from .embeddings import Analogies, Map, Neighbors, analogies, analogy, map2d, nearest
from .gates import GATES, Quantity, quantities
from .gradient_check import Checked, GradientCheck, gradient_check
from .memory import Memory, memory_by_gradient, memory_by_intervention
from .occlusion import Occlusion, occlusion
from .patches import Filters, TopPatches, first_filters, top_patches
from .pictures import (
    Picture,
    class_picture,
    filter_picture,
    occlusion_picture,
    patch_picture,
    projection_picture,
    saliency_picture,
)
from .receptive_field import FieldFormula, ReceptiveFields, field_formula, receptive_fields, receptive_mask
from .system import Recurrence, recurrence
from .text_properties import text_properties
from .through_time import Carry, Gradients, carried_gradients, gradients_through_time
from .unit_page import colored_text, sections_page
from .units import Ablation, UnitFound, UnitValues, ablated, ablation, search_units, unit_values
from .word_map import map_picture

__all__ = [
    "GATES",
    "Ablation",
    "Analogies",
    "Carry",
    "Checked",
    "Circuit",
    "ClassImage",
    "DepthHistory",
    "FieldFormula",
    "Filters",
    "FixedPoint",
    "GradientCheck",
    "Gradients",
    "Layer",
    "Lyapunov",
    "Map",
    "Memory",
    "Neighbors",
    "Occlusion",
    "Picture",
    "Projection",
    "Quantity",
    "ReceptiveFields",
    "Recurrence",
    "Response",
    "Saliency",
    "TopPatches",
    "UnitFound",
    "UnitValues",
    "ablated",
    "ablation",
    "analogies",
    "analogy",
    "backproject",
    "carried_gradients",
    "circuit",
    "class_image",
    "class_picture",
    "colored_text",
    "draw",
    "eigenvalues",
    "field_formula",
    "filter_picture",
    "first_filters",
    "fixed_points",
    "gradient_check",
    "gradients_through_time",
    "impulse_response",
    "jacobians",
    "lyapunov",
    "map2d",
    "map_picture",
    "memory_by_gradient",
    "memory_by_intervention",
    "nearest",
    "occlusion",
    "occlusion_picture",
    "patch_picture",
    "projection_picture",
    "quantities",
    "receptive_fields",
    "receptive_mask",
    "recurrence",
    "saliency",
    "saliency_picture",
    "search_units",
    "sections_page",
    "step_response",
    "svg_text",
    "text_properties",
    "through_depth",
    "top_patches",
    "unit_values",
    "watch_depth",
]
