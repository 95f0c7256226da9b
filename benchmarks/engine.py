"""The engine's speed, measured: `python -m benchmarks.engine [--quick] [--only SECTION …] [--again SECTION …]`.

- training, inference: a peephole LSTM as a user writes it, beside `nn.LSTM`, an expert's loop, JAX and onnxruntime.
- layers: `carousel.nn.LSTM`, `GRU` and `RNN` beside PyTorch's.
- layer_norm: the LSTM with layer norm beside the one without.
- peak: operations per second as a share of what the processor's multiply-add units do in the same minute.
- compile: seconds until a new cell runs, milliseconds until a known one does, and what other lengths and batches cost.
- memory: what a training step needs at its peak, beside `nn.LSTM`'s; a long sequence with and without recomputation.
- main_job: characters per second of `carousel train` with an LSTM, on both backends, and with the default cell.

Results go to `benchmarks/results/engine.json`, each section and each shape as soon as it is measured; what is there is
not measured again unless named after `--again`. `pip install -e '.[peers]'` brings the peers.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import dataclasses
import gc
import importlib.metadata
import inspect
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

import carousel
from carousel import CarouselError, engine
from carousel.bench import Problem, Rival, Shape, interleaved
from carousel.bench.rivals import (
    LSTMWeights,
    eager_loop,
    installed,
    jax_scan,
    of_cell,
    of_layer,
    onnx_session,
    prepare_peers,
    torch_layer,
)
from carousel.bench.verify import check_cell, check_rivals
from carousel.cells.loading import load_cell
from carousel.runs import environment
from carousel.settings import Settings
from carousel.tasks.language_model import TEXT, build_network
from carousel.training import optimizer

from .engine_targets import OURS, verdicts, with_ratios
from .files import read, rounded, write

ROOT = Path(__file__).parents[1]
RESULTS = Path(__file__).parent / "results" / "engine.json"
SHAPES = tuple(Shape(*s) for s in ((50, 32, 128), (100, 32, 256), (100, 64, 512), (784, 32, 128), (100, 1, 256)))


class PeepholeLSTM(carousel.Cell):
    """As a user would write it: Gers and Schmidhuber's LSTM, in plain torch operations."""

    def __init__(self, input_size: int, hidden_size: int):
        super().__init__(input_size, hidden_size)
        self.wx = carousel.weight(4 * hidden_size, input_size)
        self.wh = carousel.weight(4 * hidden_size, hidden_size)
        self.b = carousel.weight(4 * hidden_size)
        self.pi, self.pf, self.po = (carousel.weight(hidden_size, init="normal") for _ in range(3))
        self.state_sizes = {"h": hidden_size, "c": hidden_size}

    def step(self, x: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """One step."""
        h, c = state
        i, f, z, o = (x @ self.wx.T + h @ self.wh.T + self.b).chunk(4, dim=-1)
        i = torch.sigmoid(i + self.pi * c)
        f = torch.sigmoid(f + self.pf * c)
        c = f * c + i * torch.tanh(z)
        h = torch.sigmoid(o + self.po * c) * torch.tanh(c)
        return h, (h, c)


@dataclasses.dataclass
class Measurement:
    """How the sections measure, and where they put what they find as soon as they have it."""

    shapes: tuple[Shape, ...]
    threads: int
    seconds: float
    least: int
    quick: bool
    save: Callable[[], None]

    def turns(self, functions: dict[str, Callable[[], object]]) -> dict[str, Any]:
        """Median milliseconds of each, and how many clean samples they are made of."""
        times = interleaved(functions, seconds=self.seconds, least=self.least)
        return {
            "ms": {name: t.seconds * 1e3 for name, t in times.items()},
            "clean_samples": {name: t.clean for name, t in times.items()},
            "samples": {name: t.samples for name, t in times.items()},
        }

    def every_shape(
        self, done: dict[str, Any], field: Callable[[Problem], list[Rival]], name: str = "training"
    ) -> None:
        """Build the rivals of each shape that is not done yet, and time them in turns."""
        rows = done.setdefault("shapes", {})
        for shape in self.shapes:
            if _key(shape) in rows:
                continue
            torch.manual_seed(0)
            rivals = field(Problem(shape))
            functions = {rival.name: rival.passes()[name] for rival in rivals if name in rival.passes()}
            rows[_key(shape)] = self.turns(functions)
            print(f"  {_key(shape)}: " + ", ".join(f"{n} {ms:.3g} ms" for n, ms in rows[_key(shape)]["ms"].items()))
            self.save()
            del rivals, functions
            gc.collect()


def _key(shape: Iterable[int]) -> str:
    return " x ".join(map(str, shape))


def _user_cell(problem: Problem) -> tuple[Rival, LSTMWeights]:
    hidden = problem.shape.hidden
    cell = PeepholeLSTM(hidden, hidden)
    check_cell(cell, problem.shape)
    found = (cell.wx.T, cell.wh.T, cell.b, cell.pi, cell.pf, cell.po)
    return of_cell(OURS, cell, problem), LSTMWeights(*(w.detach().contiguous() for w in found))


def training(run: Measurement, done: dict[str, Any]) -> None:
    """Forward and backward of the user-written cell."""

    def field(problem: Problem) -> list[Rival]:
        ours, weights = _user_cell(problem)
        loop = eager_loop(weights, problem)
        check_rivals(ours, loop, gradients=1)
        rivals = [ours, torch_layer("LSTM", problem), loop]
        if "jax" in installed():
            rivals.append(jax_scan(weights, problem))
            check_rivals(rivals[-1], loop)
        return rivals

    run.every_shape(done, field)


def inference(run: Measurement, done: dict[str, Any]) -> None:
    """Forward of the user-written cell, nothing kept."""

    def field(problem: Problem) -> list[Rival]:
        ours, weights = _user_cell(problem)
        rivals = [ours, torch_layer("LSTM", problem), eager_loop(weights, problem)]
        if "onnxruntime" in installed():
            rivals.append(onnx_session(weights, problem, run.threads))
            check_rivals(rivals[-1], ours)
        return rivals

    run.every_shape(done, field, "forward")


def layers(run: Measurement, done: dict[str, Any]) -> None:
    """The drop-ins, with PyTorch's weights, beside what they replace."""

    def field(problem: Problem) -> list[Rival]:
        rivals, hidden = [], problem.shape.hidden
        for kind in ("LSTM", "GRU", "RNN"):
            theirs, ours = (getattr(home, kind)(hidden, hidden) for home in (nn, carousel.nn))
            ours.load_state_dict(theirs.state_dict())
            pair = [of_layer(f"carousel.nn.{kind}", ours, problem), of_layer(f"torch.nn.{kind}", theirs, problem)]
            check_rivals(*pair)
            rivals += pair
        return rivals

    run.every_shape(done, field)


def layer_norm(run: Measurement, done: dict[str, Any]) -> None:
    """What layer norm costs."""

    def field(problem: Problem) -> list[Rival]:
        rivals, hidden = [], problem.shape.hidden
        for name, option in (("lstm-layernorm", True), ("lstm", False)):
            cell = carousel.cells.LSTM(hidden, hidden, layer_norm=option)
            check_cell(cell, problem.shape)
            rivals.append(of_cell(name, cell, problem))
        return rivals

    run.every_shape(done, field)


def peak(run: Measurement, done: dict[str, Any]) -> None:
    """Share of the processor's multiply-add rate, which is measured between the samples."""
    cpu_peak = getattr(engine, "cpu_peak", None)
    if cpu_peak is None:
        raise CarouselError("carousel.engine has no cpu_peak(threads), so there is no peak to compare with.")
    shape = run.shapes[0] if run.quick else Shape(100, 64, 512)
    ours, _ = _user_cell(Problem(shape))
    assert ours.train is not None
    peaks: list[float] = []
    done["shape"] = list(shape)
    done |= run.turns({OURS: ours.train, "peak": lambda: peaks.append(float(cpu_peak(run.threads)))})
    gflops = 3 * ours.operations / done["ms"].pop(OURS) / 1e6
    done |= {"gflops": gflops, "peak_gflops": statistics.median(peaks), "highest_peak_gflops": max(peaks)}
    done["share"] = gflops / done["peak_gflops"]


COMPILED = ("user-written", "gru", "lstm-layernorm")


def compile_(run: Measurement, done: dict[str, Any]) -> None:
    """Every cell in fresh processes: with an empty cache, at two lengths; and again with the cache that they left."""
    cells = done.setdefault("cells", {})
    hidden = 32 if run.quick else 256
    short, long, others = [20, 4, hidden], [1000, 32, hidden], [[21, 4, hidden], [60, 32, hidden], [7, 1, hidden]]
    for name in COMPILED:
        if name in cells:
            continue
        with tempfile.TemporaryDirectory() as one, tempfile.TemporaryDirectory() as other:
            cold = _child("compile", {"cell": name, "shapes": [short, *others]}, run, cache=one)
            warm = [_child("compile", {"cell": name, "shapes": [short]}, run, cache=one) for _ in range(3)]
            cold_long = cold if run.quick else _child("compile", {"cell": name, "shapes": [long]}, run, cache=other)
        cells[name] = {
            "cold_s": cold["extra_forward_s"] + cold["extra_backward_s"],
            "cold_long_s": cold_long["extra_forward_s"] + cold_long["extra_backward_s"],
            "warm_ms": statistics.median(child["extra_forward_s"] for child in warm) * 1e3,
            "warm_backward_ms": statistics.median(child["extra_backward_s"] for child in warm) * 1e3,
            "files": cold["files"][0],
            "files_after_other_shapes": cold["files"][-1],
        }
        print(f"  {name}: {json.dumps(rounded(cells[name]))}")
        run.save()


def memory(run: Measurement, done: dict[str, Any]) -> None:
    """Peak resident memory of training steps above the state before them, each in a process of its own."""
    rows = done.setdefault("shapes", {})
    for shape in run.shapes:
        if _key(shape) not in rows:
            mib = {
                name: _child("memory", {"layer": name, "shape": list(shape)}, run)["mib"] for name in (OURS, "nn.LSTM")
            }
            rows[_key(shape)] = {"mib": mib}
            print(f"  {_key(shape)}: {json.dumps(rounded(mib))}")
            run.save()
    if "recompute" not in inspect.signature(carousel.nn.Recurrent.__init__).parameters:
        print("  Recurrent has no recompute=N: the long sequence is left out.")
        done["long"] = {"note": "not measured: Recurrent has no recompute=N"}
    elif "share" not in done.get("long", {}):
        shape, every = ([400, 2, 32], 20) if run.quick else ([10_000, 8, 256], 100)
        mib = {}
        for name, recompute in (("without", None), ("with", every)):
            options = {"layer": OURS, "shape": shape, "recompute": recompute, "steps": 2}
            mib[name] = _child("memory", options, run)["mib"]
            mib[f"{name}, no gradient of the input"] = _child("memory", {**options, "of_input": False}, run)["mib"]
        done["long"] = {"shape": shape, "recompute": every, "mib": mib, "share": mib["with"] / mib["without"]}
        print(f"  long: {json.dumps(rounded(mib))}")


def main_job(run: Measurement, done: dict[str, Any]) -> None:
    """Updates of an LSTM of the default network's sizes on both backends, and of the default cell; in turns."""
    settings = TEXT.resolved(Settings(), ())
    network, train = settings.network, settings.training
    assert train.window is not None
    assert train.batch is not None
    default = network.cell or "lstm"
    if run.quick:
        network = dataclasses.replace(network, hidden_size=32)
    vocabulary = 65
    tokens = torch.randint(vocabulary, (train.window + 1, train.batch))

    def update(backend: str, cell: str = "lstm") -> Callable[[], None]:
        torch.manual_seed(0)
        model = build_network(network, load_cell(cell), vocabulary)
        model.recurrent.backend = backend
        rule = optimizer(model.parameters(), train)
        state: list[Any] = [None]

        def one() -> None:
            rule.zero_grad()
            output, new = model(tokens[:-1], state[0])
            cross_entropy(output.flatten(0, 1), tokens[1:].flatten()).backward()
            nn.utils.clip_grad_norm_(model.parameters(), train.clip)
            rule.step()
            state[0] = tuple(s.detach() for s in new)

        return one

    rivals = {backend: update(backend) for backend in ("torch", "auto")}
    done |= run.turns({**rivals, default: update("auto", default)})
    per_update = train.batch * train.window * 1e3
    done["characters_per_second"] = {backend: per_update / ms for backend, ms in done["ms"].items()}
    done["network"] = dataclasses.asdict(network)


SECTIONS: dict[str, Callable[[Measurement, dict[str, Any]], None]] = {
    "training": training,
    "inference": inference,
    "layers": layers,
    "layer_norm": layer_norm,
    "peak": peak,
    "compile": compile_,
    "memory": memory,
    "main_job": main_job,
}


def _child(name: str, options: dict[str, Any], run: Measurement, *, cache: str | None = None) -> dict[str, Any]:
    """What `python -m benchmarks.engine --child` prints in its last line."""
    command = [sys.executable, "-m", "benchmarks.engine", "--child", name, json.dumps(options)]
    variables = {**os.environ, **({} if cache is None else {"CAROUSEL_CACHE": cache})}
    command += ["--threads", str(run.threads)]
    child = subprocess.run(command, cwd=ROOT, env=variables, capture_output=True, text=True, check=False)
    if child.returncode:
        last = (child.stderr.strip().splitlines() or ["nothing was said"])[-1]
        raise CarouselError(f"The process that measures {name} {json.dumps(options)} failed: {last}")
    return json.loads(child.stdout.splitlines()[-1])


def child_compile(options: dict[str, Any]) -> dict[str, Any]:
    """Seconds that the first forward and backward take beyond later ones; files in the cache after every shape."""
    nn.Linear(8, 8)(torch.randn(4, 8, requires_grad=True)).tanh().sum().backward()  # PyTorch's own first time
    shapes = [Shape(*shape) for shape in options["shapes"]]
    hidden = shapes[0].hidden
    if options["cell"] == "user-written":
        cell = PeepholeLSTM(hidden, hidden)
    else:
        source = load_cell(options["cell"])
        cell = source.cell_class(hidden, hidden, **source.options)
    layer, cache = carousel.nn.Recurrent([cell]), Path(os.environ["CAROUSEL_CACHE"])
    forward, backward, files = [], [], []
    for place, shape in enumerate(shapes):
        x = torch.randn(*shape, requires_grad=True)
        for _ in range(1 if place else 4):
            begun = time.perf_counter()
            output, _ = layer(x)
            between = time.perf_counter()
            output.sum().backward()
            if not place:
                forward.append(between - begun)
                backward.append(time.perf_counter() - between)
        files.append(sum(path.is_file() for path in cache.rglob("*")))
    extra = (times[0] - statistics.median(times[1:]) for times in (forward, backward))
    return {**dict(zip(("extra_forward_s", "extra_backward_s"), extra, strict=True)), "files": files}


def child_memory(options: dict[str, Any]) -> dict[str, Any]:
    """MiB that training steps need at their peak above what the process holds before the first of their size."""
    shape = Shape(*options["shape"])
    if options["layer"] == OURS:
        keywords = {"recompute": options["recompute"]} if options.get("recompute") else {}
        layer = carousel.nn.Recurrent(PeepholeLSTM, shape.hidden, shape.hidden, **keywords)
    else:
        layer = nn.LSTM(shape.hidden, shape.hidden)
    x = torch.randn(*shape, requires_grad=options.get("of_input", True))
    gradient = torch.randn(*shape)
    layer(x[:2, :1].detach().requires_grad_())[0].backward(gradient[:2, :1])  # libraries, threads, compiled code
    before = _reset_peak()
    for _ in range(options.get("steps", 3)):
        for p in (x, *layer.parameters()):
            p.grad = None
        layer(x)[0].backward(gradient)
    return {"mib": (_resident("VmHWM") - before) / 1024}


def _reset_peak() -> int:
    """Forget the highest memory so far, where the system allows it; KiB that the process holds now.

    What the warm-up has freed goes back to the system first: it must not hold what is measured.
    """
    gc.collect()
    with contextlib.suppress(OSError, AttributeError):  # not glibc
        ctypes.CDLL(None).malloc_trim(0)
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return _resident("VmHWM")
    return _resident("VmRSS")


def _resident(what: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(what))


def _where(threads: int) -> dict[str, Any]:
    found = environment()
    versions = dict(found["versions"])
    for package in ("jax", "jaxlib", "onnxruntime", "onnx"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    versions["g++"] = _compiler()
    kernel = getattr(engine, "instruction_set", None)
    kept = {key: found[key] for key in ("date", "processor", "cores", "python")}
    waiting = {name: os.environ.get(name) for name in ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")}
    return {
        **kept,
        "threads": threads,
        "cpu_flags": _flags(),
        "kernel": kernel() if kernel is not None else None,
        "openmp": waiting,
        "versions": versions,
    }


def _flags() -> dict[str, bool]:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line.split(":", 1)[1].split() for line in lines if line.startswith("flags")), [])
    return {flag: flag in flags for flag in ("avx512f", "avx2", "fma")}


def _compiler() -> str | None:
    try:
        said = subprocess.run(["g++", "--version"], capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    return said.splitlines()[0]


def _wait_as_the_command_does() -> None:
    """Start anew with the spin count that `carousel` sets for OpenMP's threads; it is read when PyTorch is loaded.

    On a quiet machine it changes little (`python -m benchmarks.waiting`), beside other processes everything.
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        command = [sys.executable, "-m", "benchmarks.engine", *sys.argv[1:]]
        os.execve(sys.executable, command, {**os.environ, "GOMP_SPINCOUNT": "1000"})


def main() -> int:
    """Measure what is missing, write, and say which targets are met."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="small shapes, few samples; into runs/engine-quick.json")
    parser.add_argument("--only", nargs="+", default=list(SECTIONS), choices=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--again", nargs="+", default=[], choices=list(SECTIONS), metavar="SECTION")
    parser.add_argument("--out", type=Path, help="the results file")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    _wait_as_the_command_does()
    torch.set_num_threads(options.threads)
    if options.child:
        name, text = options.child
        found = {"compile": child_compile, "memory": child_memory}[name](json.loads(text))
        print(json.dumps(found))
        return 0
    prepare_peers(options.threads)
    path = options.out or (ROOT / "runs" / "engine-quick.json" if options.quick else RESULTS)
    results = read(path)

    def save() -> None:
        write(path, with_ratios(results))

    shapes = (Shape(12, 4, 32), Shape(20, 1, 32)) if options.quick else SHAPES
    seconds, least = (0.1, 3) if options.quick else (10.0, 9)
    run = Measurement(shapes, options.threads, seconds, least, options.quick, save)
    missing = [peer for peer in ("jax", "onnxruntime") if peer not in installed()]
    if missing:
        print(f"Not installed: {', '.join(missing)}. `pip install -e '.[peers]'` brings the peers.")
    failed = False
    for name in dict.fromkeys([*options.only, *options.again]):
        if name in options.again:
            results.pop(name, None)
        if results.get(name, {}).get("complete"):
            print(f"{name}: there already")
            continue
        print(f"{name} ...", flush=True)
        done = results.setdefault(name, {})
        try:
            SECTIONS[name](run, done)
        except CarouselError as error:
            failed = True
            print(f"  {name} failed: {error}", file=sys.stderr)
            if not done:
                del results[name]
            continue
        done |= {"complete": True, "environment": _where(options.threads)}
        save()
    for line in verdicts(results):
        value = "not measured" if line["value"] is None else f"{line['value']:.3g}"
        print(f"{'met ' if line['met'] else 'NOT '} {line['what']}: {value} ({line['target']})")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
