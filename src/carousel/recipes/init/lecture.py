"""What the slides print, as (mean, standard deviation) of each layer; None where the text of a slide is damaged.

"Deep learning", CS 343 (UT Austin), slides of CS231n (Karpathy & Johnson 2016), lecture 5: `print "%f"`, one draw.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["SETTINGS", "Setting"]

Printed = tuple[float | None, float | None]


class Setting(NamedTuple):
    """One slide: the function of the units, the standard deviation of the weights times √500, what was printed."""

    function: str
    gain: float
    printed: tuple[Printed, ...]


SMALL = (
    (-0.000117, 0.213081), (-0.000001, 0.047551), (-0.000002, 0.010630), (0.000001, 0.002378), (0.000002, 0.000532),
    (-0.000000, 0.000119), (0.000000, 0.000026), (-0.000000, 0.000006), (0.000000, 0.000001), (-0.000000, 0.000000),
)  # fmt: skip
LARGE = (
    (-0.000430, 0.981879), (-0.000849, 0.981649), (0.000566, 0.981601), (0.000483, 0.981755), (-0.000682, 0.981614),
    (-0.000401, 0.981560), (-0.000237, 0.981520), (-0.000448, 0.981913), (-0.000899, 0.981728), (0.000584, 0.981736),
)  # fmt: skip
XAVIER = (
    (0.001198, 0.627953), (-0.000175, 0.486051), (0.000055, 0.407723), (-0.000306, 0.357108), (0.000142, 0.320917),
    (-0.000389, 0.292116), (-0.000228, 0.273387), (-0.000291, 0.254935), (None, None), (0.000139, 0.228008),
)  # fmt: skip
XAVIER_RELU = (
    (0.398623, 0.582273), (0.272352, 0.403795), (0.186076, 0.276912), (0.136442, 0.198685), (0.099568, 0.140299),
    (0.072234, 0.103280), (0.049775, 0.072748), (0.035138, 0.051572), (None, 0.038583), (0.018408, 0.026076),
)  # fmt: skip
HE = (
    (0.562488, 0.825232), (0.553614, 0.827835), (0.545867, 0.813855), (0.565396, 0.826902), (0.547678, 0.834092),
    (0.587103, 0.860035), (0.596867, 0.870610), (0.623214, 0.889348), (None, 0.845357), (0.552531, 0.844523),
)  # fmt: skip

SETTINGS = {
    "tanh, 0.01": Setting("tanh", 0.01 * 500**0.5, SMALL),
    "tanh, 1.0": Setting("tanh", 500**0.5, LARGE),
    "tanh, Xavier": Setting("tanh", 1.0, XAVIER),
    "ReLU, Xavier": Setting("relu", 1.0, XAVIER_RELU),
    "ReLU, He": Setting("relu", 2**0.5, HE),
}
