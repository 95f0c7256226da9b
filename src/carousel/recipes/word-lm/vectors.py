"""What word vectors are worth: nearest neighbors, analogies, and CBOW and skip-gram beside gensim's."""

from __future__ import annotations

import itertools
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from .fit import Text
from .word2vec import NEGATIVE, Word2Vec, loss

VECTORS, WINDOW, FIRST, LAST = 100, 5, 0.025, 0.0001
SHOWN = ("bank", "japan", "million", "president", "rose", "monday", "computer", "she")
PAIRS = {
    "plural": "company companies|bank banks|market markets|stock stocks|bond bonds|share shares|year years|"
    "price prices|trader traders|investor investors|plan plans|product products",
    "past": "rise rose|fall fell|buy bought|sell sold|make made|take took|give gave|get got|come came|see saw",
    "comparative": "high higher|low lower|large larger|strong stronger|weak weaker|small smaller|big bigger",
    "gender": "he she|his her|man woman|men women|mr. ms.|himself herself|son daughter",
}


def analogies(vectors: Tensor, index: dict[str, int]) -> dict[str, float]:
    """The share of "a is to b as c is to …" whose answer is nearest to b - a + c (a, b and c left out), by kind."""
    unit, found = F.normalize(vectors), {}
    for kind, text in PAIRS.items():
        pairs = [pair.split() for pair in text.split("|")]
        ids = [[index[word] for word in pair] for pair in pairs if all(word in index for word in pair)]
        asked = torch.tensor([[*p, *q] for p, q in itertools.permutations(ids, 2)], dtype=torch.int64)
        asked = asked.reshape(-1, 4)
        near = (unit[asked[:, 1]] - unit[asked[:, 0]] + unit[asked[:, 2]]) @ unit.T
        near.scatter_(1, asked[:, :3], -torch.inf)
        found[kind] = float((near.argmax(1) == asked[:, 3]).double().mean()) if len(asked) else 0.0
    return found


def neighbors(vectors: Tensor, text: Text) -> list[str]:
    """The five nearest by the cosine, for some words."""
    unit = F.normalize(vectors)
    shown = [word for word in SHOWN if word in text.index]
    near = (unit[[text.index[word] for word in shown]] @ unit.T).topk(min(6, len(unit))).indices.tolist()
    return [f"    {word:12}{', '.join(text.words[n] for n in row[1:])}" for word, row in zip(shown, near, strict=True)]


def beside_gensim(text: Text, skip_gram: bool, passes: int) -> tuple[Tensor, Tensor, list[list[float]]]:
    """Vectors by this recipe and by gensim, and the words per second of each pass, ours over gensim's."""
    from gensim.models import Word2Vec as Gensim

    flat = [text.index[word] for words in text.sentences for word in words]
    ids, counts = torch.tensor(flat), torch.bincount(torch.tensor(flat), minlength=len(text.words)).float()
    where = torch.repeat_interleave(torch.arange(len(text.sentences)), torch.tensor([len(s) for s in text.sentences]))
    ours = Word2Vec(counts, size=VECTORS, window=WINDOW, skip_gram=skip_gram)
    theirs = Gensim(vector_size=VECTORS, window=WINDOW, sg=int(skip_gram), negative=NEGATIVE, min_count=1, workers=1,
                    seed=0)  # fmt: skip
    theirs.build_vocab(text.sentences)
    speeds: list[tuple[float, float]] = []
    for number in range(passes):  # side by side, so that both have the same machine
        first, last = (FIRST + (LAST - FIRST) * share / passes for share in (number, number + 1))
        begun = time.perf_counter()
        ours.epoch(ids, where, first, last)
        middle = time.perf_counter()
        theirs.train(text.sentences, total_examples=len(text.sentences), epochs=1, start_alpha=first, end_alpha=last)
        speeds.append((len(ids) / (middle - begun), len(ids) / (time.perf_counter() - middle)))
    known = [torch.tensor(theirs.wv[word]) if word in theirs.wv else torch.zeros(VECTORS) for word in text.words]
    return ours.v, torch.stack(known), [list(pair) for pair in speeds]


def gradient_error() -> float:
    """Largest difference between the steps of both methods and autograd's gradient, over the largest gradient."""
    worst = 0.0
    for skip_gram in (True, False):
        model = Word2Vec(torch.ones(50), size=8, window=3, skip_gram=skip_gram)
        model.u = torch.randn(50, 8, generator=model.draw)
        words = torch.randint(50, (2, 12), generator=model.draw)
        band, noise = model.band(torch.arange(24).view(2, 12) // 7), model.drawn() % 50
        v, u = model.v.clone().requires_grad_(), model.u.clone().requires_grad_()
        loss(v, u, words, band, noise, skip_gram=skip_gram).backward()
        before = model.v.clone(), model.u.clone()
        model.update(words, band, noise, 1.0)
        for old, new, leaf in zip(before, (model.v, model.u), (v, u), strict=True):
            assert leaf.grad is not None
            worst = max(worst, float((old - new - leaf.grad).abs().max() / leaf.grad.abs().max()))
    return worst
