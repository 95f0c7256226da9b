"""The language model is an embedding, recurrent layers and a linear map, and nothing else."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from carousel.cells import GRU, LSTM
from carousel.nn import LanguageModel, Recurrent

TIME, BATCH, VOCABULARY = 6, 3, 11


def test_with_embedding() -> None:
    model = LanguageModel(VOCABULARY, Recurrent(LSTM, 4, 5, 2), embedding_size=4).double()
    tokens = torch.randint(VOCABULARY, (TIME, BATCH))
    reset = torch.rand(TIME, BATCH) < 0.3
    _, state = model(tokens)
    scores, final = model(tokens, state, reset=reset)
    y, expected_final = model.recurrent(F.embedding(tokens, model.embedding.weight), state, reset=reset)
    assert torch.equal(scores, F.linear(y, model.scores.weight, model.scores.bias))
    assert all(torch.equal(a, b) for a, b in zip(final, expected_final, strict=True))
    assert scores.shape == (TIME, BATCH, VOCABULARY)


def test_one_hot_is_an_embedding_with_the_identity() -> None:
    torch.manual_seed(1)
    plain = LanguageModel(VOCABULARY, Recurrent(GRU, VOCABULARY, 5), embedding_size=0).double()
    embedded = LanguageModel(VOCABULARY, Recurrent(GRU, VOCABULARY, 5), embedding_size=VOCABULARY).double()
    embedded.load_state_dict({**plain.state_dict(), "embedding.weight": torch.eye(VOCABULARY).double()})
    tokens = torch.randint(VOCABULARY, (TIME, BATCH))
    assert torch.equal(plain(tokens)[0], embedded(tokens)[0])


def test_dropout_before_the_scores_in_training_only() -> None:
    model = LanguageModel(VOCABULARY, Recurrent(GRU, 4, 5), embedding_size=4, dropout=0.5).double()
    tokens = torch.randint(VOCABULARY, (TIME, BATCH))
    torch.manual_seed(2)
    scores, _ = model(tokens)
    torch.manual_seed(2)
    y, _ = model.recurrent(model.embedding(tokens))
    mask = F.dropout(torch.ones(1, BATCH, 5).double(), 0.5)
    assert 0 < mask.count_nonzero() < mask.numel()
    assert torch.equal(scores, model.scores(y * mask))
    model.eval()
    assert torch.equal(model(tokens)[0], model.scores(y))
