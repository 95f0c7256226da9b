"""Rounds, clean samples, and what is done where there are too few. No test measures time."""

from __future__ import annotations

import gc
from pathlib import Path

import pytest

from carousel.bench import interleaved, timing

Sample = tuple[float, float]


def test_functions_take_turns() -> None:
    calls: list[str] = []
    found = interleaved({name: lambda name=name: calls.append(name) for name in "abc"}, seconds=0, least=2, warmup=1)
    assert calls[:3] == ["a", "b", "c"]  # warm-up
    assert "".join(calls[3:9]) == "aabbcc"  # once to wake its threads, once timed
    assert {t.samples for t in found.values()} == {2}
    assert all(0 < t.least <= t.seconds for t in found.values())


@pytest.mark.parametrize(
    ("samples", "seconds", "clean"),
    [
        ([(0.0, 1.0), (0.01, 3.0), (0.5, 9.0), (0.0, 2.0)], 2.0, 3),  # the delayed one does not count
        ([(0.5, 9.0), (0.0, 1.0), (0.3, 4.0), (0.4, 6.0)], 4.0, 1),  # too few: the least delayed three
    ],
)
def test_median_of_clean_samples(samples: list[Sample], seconds: float, clean: int) -> None:
    found = timing._summary(samples, least=3)
    assert (found.seconds, found.clean, found.samples, found.least) == (seconds, clean, 4, 1.0)


def test_goes_on_until_there_are_enough_clean_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    shares = iter([0.5, 0.5, 0.0, 0.5, 0.0, 0.0, 0.5])
    monkeypatch.setattr(timing, "_sample", lambda function, *, again: (next(shares), 1.0))
    monkeypatch.setattr(timing, "PATIENCE", float("inf"))
    found = interleaved({"a": lambda: None}, seconds=1e-9, least=3)["a"]
    assert (found.clean, found.samples) == (3, 6)


def test_gives_up_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_sample", lambda function, *, again: (0.5, 1.0))
    found = interleaved({"a": lambda: None}, seconds=0, least=3)["a"]
    assert (found.clean, found.samples) == (0, 3)


def test_all_samples_count_where_the_system_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timing, "_TASKS", tmp_path / "nowhere")
    found = interleaved({"a": lambda: None}, seconds=0, least=2)["a"]
    assert found.clean == found.samples == 2


def test_waits_of_all_threads_are_added(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for thread, waited in (("1", 2_000_000_000), ("2", 500_000_000)):
        (tmp_path / thread).mkdir()
        (tmp_path / thread / "schedstat").write_text(f"77 {waited} 3\n")
    (tmp_path / "ended").mkdir()
    monkeypatch.setattr(timing, "_TASKS", tmp_path)
    assert timing._waited() == 2.5


def test_collection_is_as_before() -> None:
    seen = []
    interleaved({"a": lambda: seen.append(gc.isenabled())}, seconds=0, least=1, warmup=0)
    assert not any(seen)
    assert gc.isenabled()
    with pytest.raises(ZeroDivisionError):
        interleaved({"a": lambda: 1 // (len(seen) - 4 and 0)}, seconds=0, least=1, warmup=0)
    assert gc.isenabled()
