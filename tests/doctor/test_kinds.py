"""Scripts of every kind do under the doctor what they do without it."""

from __future__ import annotations

import signal

import pytest

from .conftest import Scripts

TRAIN = """
import os, sys
import torch
import torch.nn.functional as F

def train(updates=12, optimizer=torch.optim.SGD):
    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    rule = optimizer(net.parameters(), lr=0.1)
    for _ in range(updates):
        rule.zero_grad()
        F.cross_entropy(net(torch.randn(6, 4)), torch.randint(3, (6,))).backward()
        rule.step()
    print(sum(p.double().sum().item() for p in net.parameters()), flush=True)
    return net
"""

NOTHING = "nothing found in 12 updates."

LIKE = {
    "stdin": ("name = input('who? ')\nprint(name, sys.stdin.read())\ntrain()", NOTHING),
    "exit": ("import atexit; atexit.register(print, 'bye')\ntrain()\ndef f():\n sys.exit()\nf()", NOTHING),
    "crash": (
        "train()\ntry:\n F.mse_loss(torch.ones(2, requires_grad=True), 'a')\nexcept Exception as e:\n"
        " raise ExceptionGroup('both', [e, ValueError(1)]) from e",
        NOTHING,
    ),
    "crash in an import": ("import importlib; importlib.import_module('wrong')", "made no update"),
    "excepthook": (
        "import traceback\ndef hook(kind, error, trace):\n print('hook', kind.__name__, error, "
        "len(traceback.extract_tb(trace)), file=sys.stderr)\nsys.excepthook = hook\n"
        "train()\ndef f(): raise ValueError('no')\nf()",
        NOTHING,
    ),
    "wrong excepthook": (
        "def hook(*args): raise TypeError('hook')\nsys.excepthook = hook\nraise ValueError('no')",
        "made no update",
    ),
    "signal handler": (
        "import signal\nsignal.signal(signal.SIGTERM, lambda *a: (print('term'), sys.exit(5)))\ntrain()\n"
        "os.kill(os.getpid(), signal.SIGTERM)",
        NOTHING,
    ),
    "forks": (
        "import multiprocessing as m\nfrom torch.utils.data import DataLoader, TensorDataset\n"
        "def main():\n net = train()\n data = TensorDataset(torch.arange(24.).view(6, 4), torch.arange(6))\n"
        " for x, y in DataLoader(data, batch_size=2, num_workers=2): print(x.sum().item(), y.tolist(), net(x).shape)\n"
        " p = m.get_context('fork').Process(target=train, args=(3,)); p.start(); p.join(); print(p.exitcode)\n"
        "if __name__ == '__main__':\n torch.set_num_threads(1)\n main()\n child = os.fork()\n"
        " if child: print(os.waitpid(child, 0)[1])\n else: sys.exit(4)",
        NOTHING,
    ),
    "spawn": (
        "import multiprocessing as m\nif __name__ == '__main__':\n train()\n"
        " p = m.get_context('spawn').Process(target=train, args=(3,)); p.start(); p.join(); print(p.exitcode)\n"
        "else:\n print('child', __name__, os.path.basename(__file__), sys.argv)",
        NOTHING,
    ),
    "thread": (
        "import threading\nt = threading.Thread(target=train); t.start(); t.join()",
        "the script made 12 updates in other threads than its main one",
    ),
    "compiled and transformed": (
        "net = torch.compile(torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Tanh(), torch.nn.Linear(8, 3)),"
        " backend='aot_eager', fullgraph=True)\nf = torch.compile(lambda x: F.relu(torch.tanh(x)).sigmoid(),"
        " backend='eager', fullgraph=True)\nprint(net(torch.ones(2, 4)).shape, f(torch.ones(3)))\n"
        "from torch.nn.functional import relu\n@torch.jit.script\n"
        "def g(x): return relu(torch.tanh(x)) + F.relu(x).sigmoid()\n"
        "net = train()\nprint(g(torch.ones(2)), torch.jit.trace(net, torch.ones(1, 4)).code)\n"
        "print(torch.vmap(torch.tanh)(torch.ones(3, 2)))\n"
        "print(torch.func.grad(lambda w: F.mse_loss(torch.tanh(w), torch.ones(2)))(torch.ones(2)))",
        NOTHING,
    ),
    "looks at itself": (
        "import typing\ndef f(x: int, y: 'str') -> None: ...\nprint(f.__annotations__, type(__builtins__))\n"
        "print(typing.get_type_hints(f), __spec__, __loader__.name, sorted(globals())[:9], __annotations__)\n"
        "import pickle, copy\nclass M:\n def __init__(self): self.f = torch.tanh, F.relu, torch.Tensor.sigmoid\n"
        "m = copy.deepcopy(M())\nprint(pickle.dumps(m), [f(torch.ones(1)) for f in pickle.loads(pickle.dumps(m)).f])\n"
        "train()",
        NOTHING,
    ),
    "optimizers": (
        "class Double(torch.autograd.Function):\n @staticmethod\n def forward(ctx, x): return 2 * x\n"
        " @staticmethod\n def backward(ctx, g): return 2 * g\n"
        "torch.manual_seed(1); net = torch.nn.Linear(4, 3); rule = torch.optim.LBFGS(net.parameters(), lr=0.1)\n"
        "x, y = torch.randn(60, 4), torch.randint(3, (60,))\ndef closure():\n rule.zero_grad()\n"
        " loss = F.cross_entropy(Double.apply(net(x)), y); loss.backward(); return loss\n"
        "for _ in range(12): print(rule.step(closure).item())\n"
        "nets = [torch.nn.Linear(4, 3), torch.nn.Linear(3, 4)]\n"
        "rules = [torch.optim.Adam(n.parameters()) for n in nets]\n"
        "for _ in range(6):\n x = torch.randn(6, 4); F.mse_loss(nets[1](nets[0](x)), x).backward()\n"
        " for r in rules: r.step(); r.zero_grad()\nprint(net.weight.sum().item(), nets[0].weight.sum().item())\n"
        "scaler = torch.amp.GradScaler('cpu', enabled=False); rule = torch.optim.SGD(net.parameters(), lr=0.1)\n"
        "for _ in range(12):\n rule.zero_grad()\n with torch.autocast('cpu', dtype=torch.bfloat16):\n"
        "  loss = F.cross_entropy(net(torch.randn(6, 4)), torch.randint(3, (6,)))\n"
        " scaler.scale(loss).backward(); scaler.step(rule); scaler.update()\nprint(net.weight.sum().item())",
        "nothing found in 36 updates.",
    ),
    "streams": ("import io; sys.stderr = io.StringIO()\ntrain()\nsys.stdout.flush(); sys.stdout.close()", NOTHING),
}


QUICK = ("signal handler",)
"""Each takes two processes that import PyTorch: the others are left to the slow tier."""


@pytest.mark.parametrize("kind", [k if k in QUICK else pytest.param(k, marks=pytest.mark.slow) for k in LIKE])
def test_as_without(scripts: Scripts, kind: str) -> None:
    text, words = LIKE[kind]
    scripts.write(TRAIN + text + "\n")
    scripts.write("def f(): raise RuntimeError('in an import')\nf()\n", "wrong.py")
    _, report = scripts.same("--json", "found.json", given="Ada\nand more\n")
    assert words in " ".join(report.split())
    assert report.count("updates") + report.count("no update") == 1
    assert scripts.found()["findings"] == []


def test_what_is_set_before_pytorch_is_imported(scripts: Scripts) -> None:
    scripts.write(
        "import os, sys\nprint('torch' in sys.modules, sorted(os.environ))\nimport torch\nprint(vars(torch.__loader__))"
    )
    scripts.same()


def test_never_pytorch(scripts: Scripts) -> None:
    scripts.write("import sys\nprint('hello', 'torch' in sys.modules)\n")
    alone, report = scripts.same("--json", "found.json")
    assert alone.stdout == "hello False\n"
    assert report == "the script never imported PyTorch; there was nothing to watch.\n"
    assert scripts.found() == {"findings": [], "steps": 0}


def test_debug_behind_the_name_is_the_scripts(scripts: Scripts) -> None:
    scripts.write("import sys\nprint(sys.argv)\n")
    assert scripts.watched("--debug", "train.py", "--debug", "--steps").stdout == "['train.py', '--debug', '--steps']\n"


def test_spawn_in_a_module(scripts: Scripts) -> None:
    (scripts.folder / "mine").mkdir()
    scripts.write("", "mine/__init__.py")
    scripts.write(
        "import multiprocessing as m\nfrom . import __name__ as home\nprint(home, __name__, __spec__.name)\n"
        "def f(): print('child', __name__)\n"
        "if __name__ == '__main__':\n p = m.get_context('spawn').Process(target=f); p.start(); p.join()\n"
        " print(p.exitcode)",
        "mine/part.py",
    )
    alone, watched = scripts.alone("-m", "mine.part", "a"), scripts.watched("-m", "mine.part", "a")
    assert (watched.stdout, watched.returncode) == (alone.stdout, 0)
    assert "child" in alone.stdout


def test_a_package_that_fails(scripts: Scripts) -> None:
    (scripts.folder / "mine").mkdir()
    scripts.write("import nothing_of_that_name", "mine/__init__.py")
    scripts.write("print('ran')", "mine/train.py")
    watched = scripts.watched("-m", "mine.train")
    assert watched.returncode == 1
    assert "No module named 'nothing_of_that_name'" in watched.stderr
    assert "carousel/doctor" not in watched.stderr


@pytest.mark.parametrize(
    "how",
    [
        "os._exit(6)",
        pytest.param("os.execv(sys.executable, [sys.executable, '-c', 'raise SystemExit(6)'])", marks=pytest.mark.slow),
    ],
)
def test_gone_at_once(scripts: Scripts, how: str) -> None:
    scripts.write(TRAIN + f"train()\n{how}\n")
    alone, watched = scripts.alone(), scripts.watched()
    assert (watched.stdout, watched.stderr, watched.returncode) == (alone.stdout, alone.stderr, 6)


WAITING = (
    TRAIN + "import time\ntrain()\ntry:\n print('ready', flush=True)\n while True: time.sleep(0.05)\n"
    "finally: print('clean', flush=True)\n"
)


def test_interrupt(scripts: Scripts) -> None:
    scripts.write(WAITING)
    process = scripts.start("-m", "carousel", "doctor", "--json", "found.json", "train.py")
    assert process.stdout is not None
    assert process.stdout.readline()
    assert process.stdout.readline() == "ready\n"
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert (out, process.returncode) == ("clean\n", 130)
    assert "KeyboardInterrupt" in err
    assert "carousel/" not in err
    assert NOTHING in err
    assert scripts.found()["steps"] == 12


def test_killed(scripts: Scripts) -> None:
    scripts.write(WAITING)
    process = scripts.start("-m", "carousel", "doctor", "--json", "found.json", "train.py")
    assert process.stdout is not None
    assert process.stdout.readline()
    assert process.stdout.readline() == "ready\n"
    process.terminate()
    out, err = process.communicate(timeout=60)
    assert (out, err, process.returncode) == ("", "", -signal.SIGTERM)
    assert not (scripts.folder / "found.json").exists()


def test_nobody_reads(scripts: Scripts) -> None:
    scripts.write(TRAIN + "import time\nfor k in range(100): print('x' * 1000)\ntrain()\n")
    process = scripts.start("-m", "carousel", "doctor", "--json", "found.json", "train.py")
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stdin is not None
    process.stdout.close()
    with process.stderr, process.stdin:
        said = process.stderr.read()
        assert process.wait(60) != 0
    assert "BrokenPipeError" in said
    assert "made no update" in said


def test_findings_that_cannot_be_written(scripts: Scripts) -> None:
    scripts.write(TRAIN + "import shutil\nshutil.rmtree('out')\ntrain()\n")
    (scripts.folder / "out").mkdir()
    watched = scripts.watched("--json", "out/found.json", "train.py")
    assert watched.returncode == 0
    assert "could not be written" in watched.stderr
    assert NOTHING in watched.stderr
