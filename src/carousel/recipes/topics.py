"""The recipes in the order of the lectures: a table of topics."""

from __future__ import annotations

from typing import NamedTuple

from .runner import names

__all__ = ["TOPICS", "Topic", "topics"]


class Topic(NamedTuple):
    """A topic of the lectures: its title, a sentence about it, and its recipes, the simplest first."""

    title: str
    about: str
    recipes: tuple[str, ...]


TOPICS = (
    Topic(
        "Perceptron and linear units",
        "What one unit learns, and what layers of them can say.",
        ("perceptron", "universal"),
    ),
    Topic(
        "Losses and gradients",
        "What a loss tells an output, and how a gradient is checked.",
        ("losses", "custom-function"),
    ),
    Topic(
        "Optimization, initialization, normalization",
        "How weights begin, how they move, and what keeps them in range.",
        ("optimizers", "init", "gradient-flow", "relu-vs-tanh", "depth", "regularization"),
    ),
    Topic(
        "Convolutional networks",
        "Images: sizes, counts, and what they are worth.",
        ("conv-arithmetic", "vgg-table", "mnist", "cifar"),
    ),
    Topic("Codes", "What is left of an image that goes through a few numbers.", ("autoencoder",)),
    Topic(
        "Recurrent networks and memory",
        "What a state remembers, for how long, and why it forgets.",
        ("hello", "parity", "adder", "stability", "memory"),
    ),
    Topic(
        "Language",
        "The next character, the next word, and vectors of words.",
        ("min-char-rnn", "char-rnn", "word-lm", "ptb-small"),
    ),
    Topic(
        "Answers about sequences",
        "One answer for a whole sequence, or one at each of its steps.",
        ("sentiment", "sentence-cnn", "names", "tagger", "peptides"),
    ),
    Topic("Series and control", "What comes next, and what a driven system does.", ("forecast", "narx")),
    Topic(
        "Classical probabilistic models",
        "Hidden states and how they are told from what is seen.",
        ("hmm-kalman",),
    ),
)
"""Every recipe has its place here; one that is not there is listed last. Rows of recipes that are absent do no harm."""


def topics() -> list[Topic]:
    """The topics that have recipes, with those recipes only.

    Example:
        >>> [topic.recipes for topic in topics() if "hello" in topic.recipes][0][:2]
        ('hello', 'parity')
    """
    here, placed = names(), {name for topic in TOPICS for name in topic.recipes}
    rest = Topic("More", "Recipes without a topic.", tuple(name for name in here if name not in placed))
    found = [topic._replace(recipes=tuple(n for n in topic.recipes if n in here)) for topic in (*TOPICS, rest)]
    return [topic for topic in found if topic.recipes]
