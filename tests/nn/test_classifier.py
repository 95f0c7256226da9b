"""Padding never changes an answer; pooling equals what is written out for one sequence alone."""

from __future__ import annotations

import pytest
import torch

import carousel
from carousel.nn import Recurrent, SequenceClassifier, SequenceTagger, Spelling
from carousel.nn.classifier import POOLINGS, pooled

LENGTHS = torch.tensor([7, 3, 1])


def layers(width: int, *, directions: int = 2, skip: bool = False) -> Recurrent:
    return Recurrent(carousel.cells.GRU, width, 5, 2, bidirectional=directions == 2, skip=skip).double()


@pytest.mark.parametrize("how", POOLINGS)
@pytest.mark.parametrize("directions", [1, 2])
@pytest.mark.parametrize("skip", [False, True])
def test_pooling_of_a_padded_batch_equals_that_of_each_alone(how: str, directions: int, skip: bool) -> None:
    recurrent, x = layers(4, directions=directions, skip=skip), torch.randn(7, 3, 4, dtype=torch.float64)
    output, final = recurrent(x, lengths=LENGTHS)
    found = pooled(output, LENGTHS, recurrent, how)
    for place, length in enumerate(LENGTHS.tolist()):
        alone, _ = recurrent(x[:length, place : place + 1])
        expected = {"mean": alone.mean(0), "max": alone.amax(0), "last": None}[how]
        if expected is not None:
            torch.testing.assert_close(found[place], expected[0])
    if how == "last":  # for a GRU the output is the state: layers × directions, in the order of the output
        h = final[0] if skip else final[0][-directions:]
        torch.testing.assert_close(found, torch.cat(list(h), dim=1))


@pytest.mark.parametrize("how", POOLINGS)
def test_classifier_ignores_padding(how: str) -> None:
    net = SequenceClassifier(9, layers(6), 4, embedding_size=6, pooling=how, dropout=0.5).double().eval()
    tokens = torch.randint(9, (7, 3))
    scores = net(tokens, LENGTHS)
    tokens[3:, 1] = tokens[1:, 2] = 8
    torch.testing.assert_close(net(tokens, LENGTHS), scores)
    torch.testing.assert_close(net(tokens[:3, 1:2], LENGTHS[1:2]), scores[1:2])


def test_tagger_ignores_padding_and_reads_the_spelling() -> None:
    spelling = Spelling(5, 3, Recurrent(carousel.cells.GRU, 3, 2, bidirectional=True))
    net = SequenceTagger(9, layers(10).float(), 4, embedding_size=6, spelling=spelling).double().eval()
    words, which = torch.randint(9, (7, 3)), torch.randint(6, (7, 3))
    spelled = torch.cat([torch.tensor([[1, 2, 3, 4, 4, 1]]), torch.randint(5, (4, 6))])
    scores = net(words, LENGTHS, spelled, which)
    assert scores.shape == (7, 3, 4)
    alone = net(words[:3, 1:2], LENGTHS[1:2], spelled, which[:3, 1:2])
    torch.testing.assert_close(scores[:3, 1:2], alone)
    spelled[1, which[0, 2]] = (spelled[1, which[0, 2]] + 1) % 5
    assert not torch.equal(net(words, LENGTHS, spelled, which)[0, 2], scores[0, 2])
