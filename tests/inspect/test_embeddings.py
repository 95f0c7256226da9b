"""Neighbors, analogies and maps: against enumeration, gensim and closed forms."""

from __future__ import annotations

import doctest
import math
import sys
from typing import Any

import pytest
import torch
from torch import nn

from carousel.errors import UsageError
from carousel.inspect import analogies, analogy, embeddings, map2d, nearest

WORDS = [f"w{i}" for i in range(40)]


def vectors(features: int = 7) -> torch.Tensor:
    return torch.randn(40, features, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def test_examples() -> None:
    assert doctest.testmod(embeddings).failed == 0


def test_neighbors_by_enumeration() -> None:
    table = vectors()
    table[5] = -3 * table[4]
    table[6] = 1e-200 * table[4]
    table[7] = 1e200 * table[4]
    table[8] = 0
    found = nearest(table, WORDS, "w4", 39)
    expected = {w: float(torch.cosine_similarity(table[4], v, dim=0)) for w, v in zip(WORDS, table, strict=True)}
    expected.pop("w4")
    expected |= {"w6": 1.0, "w7": 1.0}
    assert found.words[:2] == ["w6", "w7"]  # equal ones in their order
    assert found.words[-1] == "w5"
    assert len(found.words) == 39
    for word, similarity in zip(found.words, found.similarity.tolist(), strict=True):
        assert math.isclose(similarity, expected[word], abs_tol=1e-7)
    assert (found.similarity.diff() <= 0).all()
    assert found.similarity[found.words.index("w8")] == 0
    assert nearest(table, WORDS, table[4] * 2, 1).words == ["w4"]  # a vector leaves nothing out
    assert len(nearest(table, WORDS, "w4", 1000).words) == 39
    layer = nn.Embedding.from_pretrained(table)
    assert nearest(layer, WORDS, "w4", 3).words == found.words[:3]
    assert nearest(table.numpy(), WORDS, "w4", 3).words == found.words[:3]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("method", ["add", "multiply"])
def test_gensim_answers_the_same(method: Any) -> None:
    models = pytest.importorskip("gensim.models")
    peer = models.KeyedVectors(7)
    peer.add_vectors(WORDS, vectors().float().numpy())
    ask = peer.most_similar if method == "add" else peer.most_similar_cosmul
    for a, b, c in (("w0", "w1", "w2"), ("w9", "w3", "w9"), ("w30", "w31", "w39")):
        expected = [word for word, _ in ask(positive=[b, c], negative=[a], topn=5)]
        assert analogy(vectors(), WORDS, a, b, c, method=method).words == expected


def test_scores_are_the_published_formulas() -> None:
    table = nn.functional.normalize(vectors(), dim=1)
    a, b, c = (table @ table[i] for i in (1, 2, 3))
    added = analogy(vectors(), WORDS, "w1", "w2", "w3", n=40)
    assert len(added.words) == 37
    assert not {"w1", "w2", "w3"} & set(added.words)
    rows = [WORDS.index(word) for word in added.words]
    torch.testing.assert_close(added.similarity, (b - a + c)[rows])
    times = analogy(vectors(), WORDS, "w1", "w2", "w3", method="multiply")
    rows = [WORDS.index(word) for word in times.words]
    torch.testing.assert_close(times.similarity, ((1 + b) / 2 * (1 + c) / 2 / ((1 + a) / 2 + 0.001))[rows])


@pytest.mark.parametrize("method", ["add", "multiply"])
@pytest.mark.parametrize("batch", [1, 4, 256])
def test_planted_relations_are_answered(method: Any, batch: int) -> None:
    """Countries and capitals: each pair differs by one vector and has a direction of its own."""
    own, relation = torch.eye(6, 10) * 2, torch.zeros(2, 10)
    relation[0, 8], relation[1, 9] = 1.0, 1.0
    countries, capitals = [f"country{i}" for i in range(6)], [f"capital{i}" for i in range(6)]
    table, words = torch.cat([own + relation[0], own + relation[1]]), countries + capitals
    asked = [(countries[i], capitals[i], countries[j], capitals[j]) for i in range(6) for j in range(6) if i != j]
    found = analogies(table, words, asked, method=method, batch=batch)
    assert found.accuracy == 1.0
    assert found.answers == [d for *_, d in asked]
    wrong = [(*question[:3], countries[0]) for question in asked[:5]]
    mixed = analogies(table, words, [*asked[:15], *wrong, ("paris", *asked[0][1:])], method=method, batch=batch)
    assert mixed.accuracy == 0.75
    assert mixed.right == [True] * 15 + [False] * 5 + [None]
    assert mixed.answers[-1] is None
    assert mixed.unknown == ["paris"]


def test_no_question_is_known() -> None:
    found = analogies(vectors(), WORDS, [("a", "b", "c", "d"), ("a", "w1", "w2", "w3")])
    assert math.isnan(found.accuracy)
    assert found.unknown == ["a", "b", "c", "d"]


def test_map_by_principal_components() -> None:
    points = torch.randn(50, 6, dtype=torch.float64) @ torch.randn(6, 6, dtype=torch.float64) + 5
    found = map2d(points)
    centered = points - points.mean(0)
    U, S = torch.linalg.svd(centered, full_matrices=False)[:2]
    torch.testing.assert_close(found.points.abs(), (U * S)[:, :2].abs())
    assert found.explained is not None
    torch.testing.assert_close(found.explained, S.square()[:2] / S.square().sum())
    moved = map2d(points + 100).points
    torch.testing.assert_close(moved, found.points)
    torch.testing.assert_close(map2d(points * 2).points, found.points * 2)
    assert not map2d(torch.ones(5, 3)).points.any()


def test_a_map_without_names_and_by_tsne() -> None:
    pytest.importorskip("sklearn")
    groups = torch.cat([torch.randn(15, 5) * 0.1 + 8 * torch.eye(3, 5)[i] for i in range(3)])
    found = map2d(groups, method="tsne", seed=3)
    assert found.words is None
    assert found.explained is None
    distance = torch.cdist(found.points, found.points)
    distance.fill_diagonal_(torch.inf)
    group = torch.arange(45) // 15
    assert group[distance.argmin(1)].equal(group)
    assert map2d(groups, method="tsne", seed=3).points.equal(found.points)
    assert map2d(groups[:4], method="tsne").points.isfinite().all()


def test_tsne_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sklearn.manifold", None)
    with pytest.raises(UsageError, match=r"needs the package scikit-learn: pip install 'carousel-nn\[recipes\]'"):
        map2d(vectors(), method="tsne")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda: nearest(vectors(), WORDS, "W33x"), "no vector of the word 'W33x'; did you mean 'w33'"),
        (lambda: nearest(vectors(), WORDS, "elephant"), "no known word is spelled like it"),
        (lambda: nearest(vectors(), WORDS, torch.zeros(3)), r"expected \(7,\)"),
        (lambda: nearest(vectors(), WORDS, "w1", 0), "at least 1"),
        (lambda: nearest(vectors(), WORDS[:-1], "w1"), "40 vectors and 39 words"),
        (lambda: nearest(vectors(), [*WORDS[:-1], "w3"], "w1"), "'w3' is there twice"),
        (lambda: nearest(vectors()[0], WORDS, "w1"), r"the shape \(7,\)"),
        (lambda: nearest([[1.0]], ["a"], "a"), "are a list"),  # pyright: ignore[reportArgumentType]
        (lambda: nearest(vectors().log(), WORDS, "w1"), "in row 0 is not finite"),
        (lambda: analogy(vectors(), WORDS, "w1", "w2", "king"), "no vector of the word 'king'"),
        (lambda: analogy(vectors(), WORDS, "w1", "w2", "w3", method="mul"), "no method 'mul'"),  # pyright: ignore
        (lambda: analogies(vectors(), WORDS, [WORDS[:4], WORDS[:3]]), "Question 2 has 3 words"),
        (lambda: map2d(vectors(), WORDS[1:]), "40 vectors and 39 words"),
        (lambda: map2d(vectors()[:2]), "takes 3 points of 2 features"),
        (lambda: map2d(vectors(), method="umap"), "no map 'umap'"),  # pyright: ignore[reportArgumentType]
    ],
)
def test_bad_input(ask: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ask()
