r"""The convolutional network for sentences.

Kim, "Convolutional neural networks for sentence classification", EMNLP 2014. Windows of 3, 4 and 5 words, 100 maps of
each, the largest value of a map over all places, dropout and a softmax. Word vectors are random, given and kept
(static), given and trained (non-static), or both kinds side by side (multichannel). The paper also shortens each row of
the last matrix to a norm of 3 after every update: `shorten`.
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UsageError

__all__ = ["VARIANTS", "SentenceCNN", "sentence_cnn"]

Variant = Literal["random", "static", "non-static", "multichannel"]
VARIANTS = get_args(Variant)


class SentenceCNN(nn.Module):
    r"""Scores from the largest value of each map over all windows of words.

    .. math:: z_k = \max_t \mathrm{ReLU}(w_k · x_{t:t+h} + b_k), \qquad s = V z + b

    A window may hang over both ends, so that a sentence of one word is long enough; padding beyond a sentence's length
    changes nothing. With two channels a window has weights for each, and the sums are added, as for the colors of an
    image.

    Args:
        vocabulary: number of words.
        classes: number of scores.
        embedding_size: size of a word's vector; that of `vectors` where they are given.
        widths: words per window.
        maps: of each width.
        dropout: probability of dropping an element of z, while training.
        variant: "random" (vectors are learned from the start), "static", "non-static" or "multichannel".
        vectors: (vocabulary, size) word vectors, for all variants but "random".
        batch_first: tokens are (batch, time) instead of (time, batch).

    Raises:
        UsageError: the variant does not fit the vectors, or there is none of this name.

    Example:
        >>> net = SentenceCNN(100, 2, embedding_size=16, maps=10)
        >>> net(torch.randint(100, (7, 3)), torch.tensor([7, 4, 1])).shape
        torch.Size([3, 2])
    """

    def __init__(
        self,
        vocabulary: int,
        classes: int,
        *,
        embedding_size: int = 300,
        widths: tuple[int, ...] = (3, 4, 5),
        maps: int = 100,
        dropout: float = 0.5,
        variant: Variant = "random",
        vectors: Tensor | None = None,
        batch_first: bool = False,
    ):
        super().__init__()
        if variant not in VARIANTS:
            raise UsageError(f"There is no variant {variant!r}; choose random, static, non-static or multichannel.")
        if (vectors is None) != (variant == "random"):
            raise UsageError(
                f"The variant {variant} takes {'no vectors' if variant == 'random' else 'word vectors; give vectors='}."
            )
        if vectors is not None and (vectors.ndim != 2 or len(vectors) != vocabulary):
            raise UsageError(f"The word vectors are {tuple(vectors.shape)}; expected ({vocabulary}, size).")
        if not widths:
            raise UsageError("The sentence CNN has no windows; give their widths, such as widths=(3, 4, 5).")
        size = embedding_size if vectors is None else vectors.shape[1]
        self.widths, self.dropout, self.batch_first = tuple(widths), dropout, batch_first
        if vectors is None:
            embeddings = [nn.Embedding(vocabulary, size)]
            nn.init.uniform_(embeddings[0].weight, -0.25, 0.25)  # the paper's, about the variance of word2vec's
        else:
            kept = {"static": [True], "non-static": [False], "multichannel": [True, False]}[variant]
            embeddings = [nn.Embedding.from_pretrained(vectors.clone(), freeze) for freeze in kept]
        self.embeddings = nn.ModuleList(embeddings)
        self.convolutions = nn.ModuleList(nn.Conv1d(len(self.embeddings) * size, maps, width) for width in widths)
        self.scores = nn.Linear(maps * len(widths), classes)

    def forward(self, tokens: Tensor, lengths: Tensor | None = None) -> Tensor:
        """Scores (batch, classes) of sentences `tokens` (time, batch) of `lengths` (batch,); None: all are full."""
        tokens = tokens if self.batch_first else tokens.T
        batch, time = tokens.shape
        lengths = tokens.new_full((batch,), time) if lengths is None else lengths
        x = torch.cat([embedding(tokens) for embedding in self.embeddings], dim=2)
        place = torch.arange(time + max(self.widths), device=x.device)
        x = (x * (place[:time] < lengths.unsqueeze(1)).unsqueeze(2)).transpose(1, 2)
        largest = []
        for convolution, width in zip(self.convolutions, self.widths, strict=True):
            y = convolution(F.pad(x, (width - 1, width - 1)))
            beyond = place[: y.shape[2]] >= (lengths + width - 1).unsqueeze(1)
            largest.append(y.masked_fill(beyond.unsqueeze(1), -math.inf).amax(2).relu())
        return self.scores(F.dropout(torch.cat(largest, dim=1), self.dropout, self.training))

    @torch.no_grad()
    def shorten(self, limit: float = 3.0) -> None:
        """Scale each class's weights down to a norm of `limit` where it is larger; call it after an update."""
        self.scores.weight.copy_(torch.renorm(self.scores.weight, 2, 0, limit))


def sentence_cnn(
    input_shape: tuple[int, ...],
    outputs: int,
    vocabulary: int = 0,
    embedding_size: int = 300,
    widths: tuple[int, ...] = (3, 4, 5),
    maps: int = 100,
    dropout: float = 0.5,
    variant: Variant = "random",
    vectors: Tensor | None = None,
) -> nn.Module:
    """`SentenceCNN` for batches (batch, time) of token ids.

    Args:
        input_shape: (time,).
        outputs: number of scores.
        vocabulary: number of words.
        embedding_size: as of `SentenceCNN`, and so are the others.
        widths: words per window.
        maps: of each width.
        dropout: while training.
        variant: where the word vectors come from.
        vectors: (vocabulary, size).
    """
    if vocabulary < 1:
        raise UsageError("sentence-cnn needs to know how many words there are; give vocabulary=.")
    return SentenceCNN(
        vocabulary, outputs, embedding_size=embedding_size, widths=widths, maps=maps, dropout=dropout, variant=variant,
        vectors=vectors, batch_first=True,
    )  # fmt: skip
