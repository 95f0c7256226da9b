"""Models that are fitted without backpropagation: HMM, Kalman filter, and single units with their learning rules."""

from .hmm import HMM, CategoricalHMM, GaussianHMM, Posterior
from .kalman import Filtered, LinearGaussian, Smoothed
from .perceptron import DeltaRule, Perceptron, Unit, WidrowHoff

__all__ = [
    "HMM",
    "CategoricalHMM",
    "DeltaRule",
    "Filtered",
    "GaussianHMM",
    "LinearGaussian",
    "Perceptron",
    "Posterior",
    "Smoothed",
    "Unit",
    "WidrowHoff",
]
