"""The pool lends memory and gets it back only when nothing refers to it."""

from __future__ import annotations

import torch

from carousel.engine.pool import Pool, reshaped


def test_memory_comes_back_when_the_last_tensor_on_it_is_gone() -> None:
    pool = Pool()
    first = pool.empty((300, 100), torch.float32)
    address, view = first.data_ptr(), first[1:].detach()
    other = reshaped(first, 100, (10, 100))
    del first
    assert pool.free_bytes == 0
    del view
    assert pool.free_bytes == 0
    other.fill_(1)
    del other
    assert pool.free_bytes >= 120_000
    again = pool.empty((299, 100), torch.float32)
    assert again.data_ptr() == address
    assert pool.free_bytes == 0


def test_two_loans_never_share_memory() -> None:
    pool = Pool()
    loans = [pool.empty((200, 200), torch.float64).fill_(i) for i in range(5)]
    assert [t.unique().tolist() for t in loans] == [[float(i)] for i in range(5)]


def test_no_more_than_the_limit_is_kept() -> None:
    pool = Pool(limit=1_000_000)
    loans = [pool.empty((100_000,), torch.float32) for _ in range(5)]
    loans.clear()
    assert 0 < pool.free_bytes <= 1_000_000
    pool.clear()
    assert pool.free_bytes == 0


def test_small_requests_are_left_to_the_system() -> None:
    pool = Pool()
    del (small := [pool.empty((10, 10), torch.float32)])[0]
    assert pool.free_bytes == 0
    assert small == []
