"""Layers: any cell through time, and drop-ins for PyTorch's recurrent layers; networks, their start and their losses.

A network comes by name or from a line of layers (`network`), with a table of its layers (`summary`).
"""

from .arithmetic import output_size, padding_size
from .classifier import SequenceClassifier, SequenceTagger, Spelling
from .heads import fits
from .init import INITIALIZATIONS, initialize, lsuv
from .language_model import LanguageModel
from .layout import State
from .line import LAYERS, build_line
from .losses import LOSSES, cross_entropy, hinge, logistic, squared_error
from .monte_carlo import Averaged, monte_carlo
from .networks import REGISTRY as NETWORKS
from .networks import Autoencoder, ResNet, SentenceCNN, SequenceAutoencoder, line_of, network, options_of
from .recurrent import Recurrent
from .stepper import Stepper
from .summary import Summary, summary
from .torch_like import GRU, LSTM, RNN
from .trajectory import Trajectory
from .units import Gaussians, Highway, Maxout, Threshold

__all__ = [
    "GRU",
    "INITIALIZATIONS",
    "LAYERS",
    "LOSSES",
    "LSTM",
    "NETWORKS",
    "RNN",
    "Autoencoder",
    "Averaged",
    "Gaussians",
    "Highway",
    "LanguageModel",
    "Maxout",
    "Recurrent",
    "ResNet",
    "SentenceCNN",
    "SequenceAutoencoder",
    "SequenceClassifier",
    "SequenceTagger",
    "Spelling",
    "State",
    "Stepper",
    "Summary",
    "Threshold",
    "Trajectory",
    "build_line",
    "cross_entropy",
    "fits",
    "hinge",
    "initialize",
    "line_of",
    "logistic",
    "lsuv",
    "monte_carlo",
    "network",
    "options_of",
    "output_size",
    "padding_size",
    "squared_error",
    "summary",
]
