"""Building: the cache, two processes at once, no compiler, and that sizes are no part of a build."""

from __future__ import annotations

import ctypes
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from carousel.cells import GRU, LSTM, LeakyRNN
from carousel.engine import build
from carousel.errors import CellError
from carousel.nn import Recurrent

RUN = """
import sys, torch, carousel
from carousel.engine import build
build.MANY = 1
torch.manual_seed(0)
layer = carousel.nn.Recurrent(carousel.cells.GRU, 3, 5, backend="cpu")
layer(torch.ones(4, 2, 3))[0].sum().backward()
print(round(sum(p.grad.abs().sum().item() for p in layer.parameters()), 4))
"""


def _builds(cache: Path) -> set[str]:
    return {p.name for p in (cache / "kernels").glob("*.so")}


def test_one_build_serves_all_sizes_and_a_second_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    processes = [
        subprocess.Popen([sys.executable, "-c", RUN], stdout=subprocess.PIPE, text=True) for _ in range(2)
    ]  # both build, and read the headers, at once
    printed = [p.communicate(timeout=200)[0] for p in processes]
    assert [p.returncode for p in processes] == [0, 0]
    assert printed[0] == printed[1] != ""
    builds = _builds(tmp_path)
    assert len(builds) == 2  # the fixed kernels and the cell
    for inputs, hidden, time, batch in ((3, 5, 4, 2), (7, 64, 1, 1), (64, 33, 9, 17)):
        Recurrent(GRU, inputs, hidden, backend="cpu")(torch.ones(time, batch, inputs))[0].sum().backward()
    assert _builds(tmp_path) == builds
    for more, (cell, options) in enumerate([(LSTM, {"layer_norm": True}), (LeakyRNN, {"time_constant": 3.0})], 1):
        for hidden in (5, 64, 33):  # a mean over them is a number in the equations, and no part of a build either
            Recurrent(cell, 3, hidden, backend="cpu", **options)(torch.ones(4, 2, 3))[0].sum().backward()
        assert len(_builds(tmp_path)) == 2 + more
    Recurrent(LeakyRNN, 3, 5, backend="cpu", time_constant=7.0)(torch.ones(4, 2, 3))[0].sum().backward()
    assert len(_builds(tmp_path)) == 4
    others = sorted(p.suffix for p in (tmp_path / "kernels").iterdir() if p.suffix != ".so")
    assert others == ([".gch", ".h"] if build._is_gcc() else []), "something unfinished was left, or no headers"


@pytest.fixture
def no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    build.compiler.cache_clear()
    build._is_gcc.cache_clear()
    yield
    monkeypatch.undo()
    build.compiler.cache_clear()
    build._is_gcc.cache_clear()


@pytest.mark.usefixtures("no_compiler")
def test_without_a_compiler_the_loop_runs_after_one_note_with_the_fix() -> None:
    class Own(GRU):
        def step(self, x, state):
            h, state = super().step(x, state)
            return 2 * h, state

    x = torch.ones(3, 2, 4)
    layer = Recurrent(Own, 4, 5)
    with pytest.warns(UserWarning, match=r"Own runs on the reference loop.*apt install g\+\+"):
        first = layer(x)[0]
    second = layer(x)[0]  # a second note would be an error here
    assert torch.equal(first, second)
    with pytest.raises(CellError, match=r"no C\+\+ compiler"):
        Recurrent(Own, 4, 5, backend="cpu")(x)


def test_a_failing_compiler_is_quoted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path))
    with pytest.raises(build.BuildError, match="nonsense"):
        build.build_all(["nonsense here;"], "float")
    assert _builds(tmp_path) == set()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of the builds in an empty cache of a process that has the headers read once from its first build on."""
    if not build._is_gcc():
        pytest.skip("only g++ reads headers once")
    monkeypatch.setenv("CAROUSEL_CACHE", str(tmp_path))
    monkeypatch.setattr(build, "MANY", 1)
    return tmp_path / "kernels"


def _answer(text: str, number: int = 0) -> float:
    """What a build with the fixed headers, the only one of its number, returns for `text`."""
    source = f'{build.HEADERS}using namespace carousel; extern "C" double answer() {{ return {text} + {number}; }}'
    (library,) = build.build_all([source], "float")
    library.answer.restype = ctypes.c_double
    return library.answer() - number


def test_headers_are_read_once_where_much_is_built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MANY", 2)
    monkeypatch.setattr(build, "_BUILDS", itertools.count(1))
    used: list[Path | None] = []
    compile_ = build._compile
    monkeypatch.setattr(build, "_compile", lambda *a: used.append(a[3] if len(a) > 3 else None) or compile_(*a))
    assert [_answer("vexp(splat(0))[0]", n) for n in range(3)] == [1, 1, 1]
    (read,) = folder.glob("*.h.gch")
    header = read.with_suffix("")
    assert used == [None, None, header, header]  # the second None is the reading
    command = [str(build.compiler()), "-H", "-fsyntax-only", "-Winvalid-pch", "-Werror", "-include", str(header)]
    flags = [*build.FLAGS, *build.INSTRUCTION_SETS[build.instruction_set()], "-DREAL=float", f"-I{build.FOLDER}"]
    (folder / "any.cpp").write_text(build.HEADERS)
    shown = subprocess.run([*command, *flags, folder / "any.cpp"], capture_output=True, text=True, check=True).stderr
    assert f"! {read}" in shown
    assert "vector.h" not in shown


@pytest.mark.parametrize("kept", [0, 1000, 1 << 20])
def test_damaged_headers_do_no_harm(folder: Path, kept: int) -> None:
    assert _answer("1") == 1
    (read,) = folder.glob("*.gch")
    read.write_bytes(read.read_bytes()[:kept])
    assert _answer("2") == 2


def test_changed_headers_are_read_anew(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    headers = shutil.copytree(build.FOLDER, tmp_path / "headers")
    monkeypatch.setattr(build, "FOLDER", headers)
    text = (headers / "vector.h").read_text()
    for answer in (1, 2, 1):
        (headers / "vector.h").write_text(f"{text}\nconstexpr int ANSWER = {answer};\n")
        assert _answer("ANSWER") == answer
        assert _answer("ANSWER", answer) == answer
    assert len(list(folder.glob("*.gch"))) == 2


def test_without_read_headers_all_works(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "_is_gcc", lambda: False)
    assert _answer("3") == 3
    assert {p.suffix for p in folder.iterdir()} == {".so"}


def test_the_kernels_can_be_chosen_but_not_beyond_the_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAROUSEL_CPU", "portable")
    assert build.instruction_set() == "portable"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    monkeypatch.setenv("CAROUSEL_CPU", "avx512")
    assert build.instruction_set() == "avx2"
    monkeypatch.setenv("CAROUSEL_CPU", "mmx")
    with pytest.raises(build.BuildError, match="avx512, avx2, portable"):
        build.instruction_set()


@pytest.mark.parametrize("kernels", ["avx2", "portable"])
def test_other_kernels_give_the_same(kernels: str, monkeypatch: pytest.MonkeyPatch) -> None:
    x = torch.randn(5, 3, 7, dtype=torch.float64)
    layers = [Recurrent(GRU, 7, 19, backend=name).double() for name in ("reference", "cpu")]
    layers[1].load_state_dict(layers[0].state_dict())
    monkeypatch.setenv("CAROUSEL_CPU", kernels)
    results = []
    for layer in layers:
        output, _ = layer(x)
        output.square().sum().backward()
        results.append([output, *(p.grad for p in layer.parameters())])
    for a, b in zip(*results, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-12, atol=1e-13)
