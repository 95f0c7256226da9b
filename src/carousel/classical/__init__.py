"""Models that are fitted without gradient descent, though each is differentiable: HMM, Kalman filter."""

from .hmm import HMM, CategoricalHMM, GaussianHMM, Posterior
from .kalman import Filtered, LinearGaussian, Smoothed

__all__ = ["HMM", "CategoricalHMM", "Filtered", "GaussianHMM", "LinearGaussian", "Posterior", "Smoothed"]
