"""Networks by name or from a line of layers; one file per family."""

from .autoencoder import Autoencoder, SequenceAutoencoder
from .registry import REGISTRY, Entry, find, line_of, network, options_of
from .resnet import ResNet
from .sentence_cnn import SentenceCNN

__all__ = [
    "REGISTRY",
    "Autoencoder",
    "Entry",
    "ResNet",
    "SentenceCNN",
    "SequenceAutoencoder",
    "find",
    "line_of",
    "network",
    "options_of",
]
