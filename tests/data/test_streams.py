"""Streams read every token once, in order, side by side."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from carousel.data.streams import IGNORED, Part, TokenStreams, split_by_position

NO_DOCUMENTS = np.array([0])


def whole(streams: TokenStreams, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    windows = [streams.window(a, min(a + step, streams.length)) for a in range(0, streams.length, step)]
    return torch.cat([w.inputs for w in windows]), torch.cat([w.targets for w in windows])


@given(st.integers(2, 300), st.integers(1, 9), st.integers(1, 40), st.integers(0, 50))
def test_a_whole_part_is_covered_exactly_once(tokens: int, batch: int, step: int, start: int) -> None:
    ids = np.arange(1000)
    streams = TokenStreams(ids, NO_DOCUMENTS, Part(start, start + tokens), batch, whole=True)
    inputs, targets = whole(streams, step)
    real = targets != IGNORED
    assert sorted(targets[real].tolist()) == list(range(start + 1, start + tokens))
    assert torch.equal(inputs[real] + 1, targets[real])


@given(st.integers(20, 300), st.integers(1, 9))
def test_training_streams_are_full_and_contiguous(tokens: int, batch: int) -> None:
    streams = TokenStreams(np.arange(1000), NO_DOCUMENTS, Part(5, 5 + tokens), batch)
    inputs, targets = whole(streams, 7)
    assert inputs.shape == (streams.length, batch) == ((tokens - 1) // batch, batch)
    assert torch.equal(inputs + 1, targets)
    assert (inputs[1:] - inputs[:-1] == 1).all()
    assert inputs.max() < 5 + tokens - 1


@given(st.lists(st.integers(1, 199), max_size=12), st.integers(1, 7), st.integers(1, 30))
def test_resets_stand_where_documents_begin(begins: list[int], batch: int, step: int) -> None:
    documents = np.array(sorted({0, *begins}))
    streams = TokenStreams(np.arange(200), documents, Part(0, 200), batch, whole=True)
    for a in range(0, streams.length, step):
        window = streams.window(a, min(a + step, streams.length))
        expected = torch.isin(window.inputs, torch.from_numpy(documents)) & (window.targets != IGNORED)
        found = torch.zeros_like(expected) if window.reset is None else window.reset
        assert torch.equal(found & (window.targets != IGNORED), expected)


def test_splits_are_contiguous_and_capped() -> None:
    parts = split_by_position(1_115_394, dev=0.1, test=0.0)
    assert parts == {"train": Part(0, 1_003_855), "dev": Part(1_003_855, 1_115_394), "test": Part(1_115_394, 1_115_394)}
    parts = split_by_position(10_000_000, dev=0.1, test=0.05)
    assert [parts[name].tokens for name in ("train", "dev", "test")] == [9_600_000, 200_000, 200_000]
    assert parts["train"].stop == parts["dev"].start
    assert parts["dev"].stop == parts["test"].start


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_small_integer_tokens_become_int64(dtype: type) -> None:
    window = TokenStreams(np.array([1, 2, 3, 200], dtype=dtype), NO_DOCUMENTS, Part(0, 4), 1).window(0, 3)
    assert window.inputs.dtype == window.targets.dtype == torch.int64
    assert window.targets.flatten().tolist() == [2, 3, 200]
