r"""What vectors of words know: neighbors, analogies, a map.

Analogies a : b :: c : ? are answered by the word d, none of the three, with the largest

.. math::
    \text{3CosAdd:}\quad \cos(d, b) - \cos(d, a) + \cos(d, c), \qquad
    \text{3CosMul:}\quad \frac{s(d, b)\, s(d, c)}{s(d, a) + ε}, \quad s = \tfrac{1 + \cos}{2}, \; ε = 0.001

(Mikolov, Yih & Zweig, NAACL 2013; Levy & Goldberg, "Linguistic regularities in sparse and explicit word
representations", CoNLL 2014). Adding lets one large similarity outweigh the other two; multiplying balances them.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from torch import Tensor, nn

from ..errors import UsageError

__all__ = ["Analogies", "Map", "Neighbors", "analogies", "analogy", "map2d", "nearest"]

Method = Literal["add", "multiply"]
Vectors = Tensor | np.ndarray | nn.Embedding


@dataclass(frozen=True)
class Neighbors:
    """Words near to something, the nearest first.

    Attributes:
        words: they.
        similarity: (n,) cosines; of an analogy its score.
    """

    words: list[str]
    similarity: Tensor


def nearest(vectors: Vectors, words: Sequence[str], query: str | Tensor, n: int = 10) -> Neighbors:
    """The n words with the largest cosine to a word, itself left out, or to a vector.

    Args:
        vectors: (words, features), a tensor or an array; or the embedding layer. A row of zeros has cosine 0 to all.
        words: what each row stands for, all different.
        query: one of them, or a vector (features,).
        n: how many; fewer where there are fewer.

    Raises:
        UsageError: the word is unknown (the nearest spelling is suggested), or vectors and words do not fit.

    Example:
        >>> vectors = torch.tensor([[1.0, 0.0], [2.0, 0.2], [0.0, 1.0]])
        >>> nearest(vectors, ["day", "morning", "iron"], "day").words
        ['morning', 'iron']
    """
    table = _Table(vectors, words)
    if isinstance(query, str):
        own: int | None = table.row(query)
        wanted = table.unit[own]
    else:
        own, wanted = None, _unit(query.detach().to(table.unit))
        if wanted.shape != table.unit.shape[1:]:
            raise UsageError(f"The vector has the shape {tuple(query.shape)}; expected ({table.unit.shape[1]},).")
    similarity = table.unit @ wanted
    if own is not None:
        similarity[own] = -torch.inf
    count = min(_positive(n), len(words) - (own is not None))
    best = _order(similarity)[:count]
    return Neighbors(table.named(best), similarity[best].cpu())


def analogy(
    vectors: Vectors,
    words: Sequence[str],
    a: str,
    b: str,
    c: str,
    n: int = 5,
    *,
    method: Method = "add",
) -> Neighbors:
    """Words that are to c as b is to a; the three themselves are left out.

    Args:
        vectors, words: as of `nearest`.
        a, b, c: the question a : b :: c : ?
        n: how many answers.
        method: "add", 3CosAdd, or "multiply", 3CosMul.

    Raises:
        UsageError: a word is unknown, or there is no such method.

    Example:
        >>> words = ["man", "woman", "king", "queen", "bread"]
        >>> vectors = torch.tensor([[1.0, 0, 1, 0], [0, 1, 1, 0], [1, 0, 0, 2], [0, 1, 0, 2], [1, 1, -3, 0]])
        >>> analogy(vectors, words, "man", "woman", "king", n=1).words
        ['queen']
    """
    table = _Table(vectors, words)
    rows = torch.tensor([[table.row(word) for word in (a, b, c)]], device=table.unit.device)
    scores = _scores(table, rows, method)[0]
    best = _order(scores)[: min(_positive(n), int(scores.isfinite().sum()))]
    return Neighbors(table.named(best), scores[best].cpu())


@dataclass(frozen=True)
class Analogies:
    """A test on questions with known answers.

    Attributes:
        accuracy: share of right answers, of the questions whose four words are known; NaN where there is none.
        answers: what was said to each question; None where a word is unknown.
        right: per question; None where a word is unknown.
        unknown: words of questions that have no vector, in their order, each once.
    """

    accuracy: float
    answers: list[str | None]
    right: list[bool | None]
    unknown: list[str]


def analogies(
    vectors: Vectors,
    words: Sequence[str],
    questions: Iterable[Sequence[str]],
    *,
    method: Method = "add",
    batch: int = 256,
) -> Analogies:
    """Answer questions a : b :: c : d, and count how often d comes first.

    Args:
        vectors, words: as of `nearest`.
        questions: (a, b, c, d) each, such as the lines of Google's questions-words.txt, split.
        method: as of `analogy`.
        batch: questions at once; memory is batch times words.

    Raises:
        UsageError: a question has not four words, or vectors and words do not fit.

    Example:
        >>> vectors = torch.tensor([[1.0, 0, 1], [0, 1, 1], [1, 0, 0], [0, 1, 0]])
        >>> found = analogies(vectors, ["man", "woman", "king", "queen"], [("man", "woman", "king", "queen")])
        >>> found.accuracy, found.answers
        (1.0, ['queen'])
    """
    table, asked = _Table(vectors, words), [tuple(question) for question in questions]
    wrong = next((number for number, question in enumerate(asked, 1) if len(question) != 4), None)
    if wrong is not None:
        raise UsageError(f"Question {wrong} has {len(asked[wrong - 1])} words; expected four: a, b, c and the answer.")
    known = [number for number, question in enumerate(asked) if all(word in table.place for word in question)]
    unknown = dict.fromkeys(word for question in asked for word in question if word not in table.place)
    answers: list[str | None] = [None] * len(asked)
    right: list[bool | None] = [None] * len(asked)
    for low in range(0, len(known), batch):
        some = known[low : low + batch]
        rows = torch.tensor([[table.place[word] for word in asked[number][:3]] for number in some])
        best = _scores(table, rows.to(table.unit.device), method).argmax(1).tolist()
        for number, row in zip(some, best, strict=True):
            answers[number] = table.words[int(row)]
            right[number] = answers[number] == asked[number][3]
    accuracy = sum(bool(one) for one in right) / len(known) if known else float("nan")
    return Analogies(accuracy, answers, right, list(unknown))


@dataclass(frozen=True)
class Map:
    """Vectors in the plane.

    Attributes:
        points: (words, 2).
        words: what they are; None where that was not told.
        explained: (2,) the share of the variance along each axis; None of t-SNE, whose distances mean little.
        method: "pca" or "tsne".
    """

    points: Tensor
    words: list[str] | None
    explained: Tensor | None
    method: str


def map2d(
    vectors: Vectors,
    words: Sequence[str] | None = None,
    *,
    method: Literal["pca", "tsne"] = "pca",
    perplexity: float = 30.0,
    seed: int = 0,
) -> Map:
    r"""A map of the vectors: their two principal components, or t-SNE.

    PCA keeps what it shows to scale; signs are chosen so that the largest weight of each axis is positive. t-SNE (van
    der Maaten & Hinton, JMLR 2008; scikit-learn's, started from PCA) keeps neighbors together: distances between groups
    and sizes of groups mean nothing.

    Args:
        vectors: (points, features), or the embedding layer.
        words: what each row stands for.
        method: "pca" or "tsne".
        perplexity: of t-SNE, about how many neighbors count; at most a third of the points, and lowered to that.
        seed: of t-SNE.

    Raises:
        UsageError: there are fewer than 3 points or 2 features, or t-SNE is asked for without scikit-learn.

    Example:
        >>> found = map2d(torch.tensor([[0.0, 0, 0], [4, 0, 0], [0, 1, 0], [4, 1, 0]]))
        >>> found.points.tolist(), [round(v, 3) for v in found.explained.tolist()]
        ([[-2.0, -0.5], [2.0, -0.5], [-2.0, 0.5], [2.0, 0.5]], [0.941, 0.059])
    """
    matrix = _matrix(vectors)
    named = None if words is None else list(words)
    if named is not None and len(named) != len(matrix):
        raise UsageError(f"There are {len(matrix)} vectors and {len(named)} words; give one word for each vector.")
    if len(matrix) < 3 or matrix.shape[1] < 2:
        raise UsageError(f"The vectors have the shape {tuple(matrix.shape)}; a map takes 3 points of 2 features.")
    if method == "pca":
        centered = matrix.double() - matrix.double().mean(0)
        variance, axes = torch.linalg.eigh(centered.T @ centered)  # the largest last
        axes = axes[:, [-1, -2]]
        axes = axes * axes.gather(0, axes.abs().argmax(0, keepdim=True)).sign()
        total = variance.clamp_min(0).sum()
        explained = variance[[-1, -2]].clamp_min(0) / total if total > 0 else torch.zeros_like(variance[:2])
        return Map((centered @ axes).to(matrix.dtype).cpu(), named, explained.cpu(), method)
    if method != "tsne":
        raise UsageError(f"There is no map {method!r}; take 'pca' or 'tsne'.")
    try:
        from sklearn.manifold import TSNE
    except ImportError:
        raise UsageError("t-SNE needs the package scikit-learn: pip install 'carousel-nn[recipes]'.") from None
    calm = max(1.0, min(perplexity, (len(matrix) - 1) / 3))
    found = TSNE(2, perplexity=calm, init="pca", random_state=seed).fit_transform(matrix.float().cpu().numpy())
    return Map(torch.from_numpy(found), named, None, method)


class _Table:
    """Vectors of length 1, and the row of each word."""

    def __init__(self, vectors: Vectors, words: Sequence[str]):
        matrix = _matrix(vectors)
        self.words = list(words)
        self.place = {word: row for row, word in enumerate(self.words)}
        if len(words) != len(matrix):
            raise UsageError(f"There are {len(matrix)} vectors and {len(words)} words; give one word for each vector.")
        if len(self.place) != len(words):
            twice = next(word for row, word in enumerate(words) if self.place[word] != row)
            raise UsageError(f"The word {twice!r} is there twice; give each once.")
        self.unit = _unit(matrix)

    def named(self, rows: Tensor) -> list[str]:
        return [self.words[int(row)] for row in rows]

    def row(self, word: str) -> int:
        if word in self.place:
            return self.place[word]
        lower = {known.lower(): known for known in self.place}
        near = difflib.get_close_matches(word.lower(), lower, n=1)
        hint = f"did you mean {lower[near[0]]!r}?" if near else "no known word is spelled like it."
        raise UsageError(f"There is no vector of the word {word!r}; {hint}")


def _matrix(vectors: Vectors) -> Tensor:
    matrix = vectors.weight if isinstance(vectors, nn.Embedding) else vectors
    matrix = torch.from_numpy(matrix) if isinstance(matrix, np.ndarray) else matrix
    if not isinstance(matrix, Tensor) or matrix.ndim != 2 or not matrix.is_floating_point():
        got = f"the shape {tuple(matrix.shape)}" if isinstance(matrix, Tensor) else f"a {type(matrix).__name__}"
        raise UsageError(f"The vectors are {got}; expected a floating-point tensor, (words, features).")
    if not matrix.isfinite().all():
        row = int((~matrix.isfinite().all(1)).nonzero()[0])
        raise UsageError(f"The vector in row {row} is not finite; leave it out.")
    return matrix.detach()


def _unit(vectors: Tensor) -> Tensor:
    largest = vectors.abs().amax(-1, keepdim=True)
    scaled = vectors / torch.where(largest > 0, largest, 1)  # squares of huge or tiny numbers leave the range
    length = scaled.norm(dim=-1, keepdim=True)
    return scaled / torch.where(length > 0, length, 1)


def _scores(table: _Table, rows: Tensor, method: Method) -> Tensor:
    """(questions, words); the three words of a question are left out as -inf."""
    if method not in get_args(Method):
        raise UsageError(f"There is no method {method!r}; take 'add' or 'multiply'.")
    a, b, c = (table.unit[rows[:, i]] @ table.unit.T for i in range(3))
    scores = b - a + c if method == "add" else (1 + b) / 2 * ((1 + c) / 2) / ((1 + a) / 2 + 0.001)
    return scores.scatter(1, rows, -torch.inf)


def _order(scores: Tensor) -> Tensor:
    """The largest first, equal ones in the order of the words."""
    return scores.sort(descending=True, stable=True).indices


def _positive(n: int) -> int:
    if n < 1:
        raise UsageError(f"Asked for {n} words; give at least 1.")
    return n
