"""Models that are fitted without backpropagation: HMM, Kalman filter, units with their learning rules, skip-gram."""

from .hmm import HMM, CategoricalHMM, GaussianHMM, Posterior
from .kalman import Filtered, LinearGaussian, Smoothed
from .perceptron import DeltaRule, Perceptron, Unit, WidrowHoff
from .skip_gram import SkipGram

__all__ = [
    "HMM",
    "CategoricalHMM",
    "DeltaRule",
    "Filtered",
    "GaussianHMM",
    "LinearGaussian",
    "Perceptron",
    "Posterior",
    "SkipGram",
    "Smoothed",
    "Unit",
    "WidrowHoff",
]
