"""Layers: any cell through time, and drop-ins for PyTorch's recurrent layers; networks for sequences."""

from .classifier import SequenceClassifier, SequenceTagger, Spelling
from .language_model import LanguageModel
from .layout import State
from .recurrent import Recurrent
from .stepper import Stepper
from .torch_like import GRU, LSTM, RNN
from .trajectory import Trajectory

__all__ = [
    "GRU",
    "LSTM",
    "RNN",
    "LanguageModel",
    "Recurrent",
    "SequenceClassifier",
    "SequenceTagger",
    "Spelling",
    "State",
    "Stepper",
    "Trajectory",
]
