"""Work in a copy of the process: its result comes back, and nothing else."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
import torch

from carousel.doctor.apart import Apart, Trouble, can_fork, run_apart

pytestmark = pytest.mark.skipif(not can_fork(), reason="this system cannot copy a process")


def test_only_the_result_comes_back(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    weights, before = torch.zeros(3), torch.random.get_rng_state()
    told: list[int] = []

    def work(in_time: object) -> list[float]:
        weights.add_(1.0)
        told.append(1)
        torch.rand(5)
        print("from the child")
        os.write(2, b"from the child")
        return weights.tolist()

    assert run_apart(work, 5.0) == [1.0, 1.0, 1.0]
    assert weights.tolist() == [0.0, 0.0, 0.0]
    assert told == []
    assert torch.equal(torch.random.get_rng_state(), before)
    assert capfd.readouterr() == ("", "")


def test_it_writes_no_file(tmp_path: Path) -> None:
    def work(in_time: object) -> str:
        try:
            with (tmp_path / "a.txt").open("w") as file:
                file.write("text")
        except OSError as error:
            return type(error).__name__
        return "written"

    assert run_apart(work, 5.0) == "OSError"
    assert not (tmp_path / "a.txt").exists() or (tmp_path / "a.txt").read_text() == ""


def test_threads_and_gradients_work_there() -> None:
    a = torch.randn(300, 300, requires_grad=True)
    (a @ a).sum().backward()  # the parent's threads are running

    def work(in_time: object) -> float:
        (grad,) = torch.autograd.grad((a @ a).square().sum(), a)
        return float(grad.square().sum())

    assert run_apart(work, 20.0) > 0


def test_trouble_is_said() -> None:
    def wrong(in_time: object) -> None:
        raise ValueError("no such thing")

    trouble = run_apart(wrong, 5.0)
    assert isinstance(trouble, Trouble)
    assert "ValueError: no such thing" in trouble.why
    died = run_apart(lambda in_time: os._exit(3), 5.0)
    assert isinstance(died, Trouble)


def test_it_ends_in_time() -> None:
    began = time.monotonic()
    trouble = run_apart(lambda in_time: time.sleep(60), 0.2)
    assert isinstance(trouble, Trouble)
    assert time.monotonic() - began < 20
    assert run_apart(lambda in_time: in_time(), 0.0) is False


def test_each_result_is_there_as_soon_as_it_is_made() -> None:
    with Apart({"a": lambda in_time: 1, "long": lambda in_time: time.sleep(60), "b": lambda in_time: 2}, 5.0) as one:
        assert one.result("a", 5.0) == 1
        assert isinstance(one.result("b", 0.1), Trouble)


def test_it_is_no_child_of_the_process() -> None:
    with Apart({"": lambda in_time: time.sleep(60)}, 5.0), pytest.raises(ChildProcessError):
        os.waitpid(-1, 0)


def test_it_ends_with_the_process() -> None:
    reading, writing = os.pipe()
    parent = os.fork()
    if parent == 0:
        Apart({"": lambda in_time: os.write(writing, str(os.getpid()).encode())}, 5.0).result("", 5.0)
        os._exit(0)
    os.waitpid(parent, 0)
    copy = int(os.read(reading, 20))
    for _ in range(100):
        try:
            os.kill(copy, 0)
        except ProcessLookupError:
            return
        time.sleep(0.1)
    pytest.fail("The copy is still there.")
