"""The doctor's bench: substitutions that can't silently do nothing, labels, scores, intervals, repairs, the table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
SHARED = ROOT.parent / "shared" / "doctor" / "bench"
needs_shared = pytest.mark.skipif(not SHARED.is_dir(), reason=f"needs the scripts in {SHARED}")


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


def part(name: str) -> ModuleType:
    import importlib

    return importlib.import_module(f"benchmarks.{name}")


def finding(code: str, **other: str) -> dict[str, Any]:
    return {"code": code, "severity": "error", "where": "", "evidence": "", "advice": ""} | other


def row(expect: list[str], codes: list[str], accept: tuple[str, ...] = ()) -> dict[str, Any]:
    report = {"findings": [finding(code) for code in codes]}
    return part("doctor_score").judged(report, {"expect": expect, "accept": list(accept)})


def test_every_old_text_must_occur_and_change_something() -> None:
    substituted = part("doctor_variants").substituted
    assert substituted("a = 1\nb = a\n", [["a", "c"], ["1", "2"]]) == "c = 2\nb = c\n"
    for edit in ([["x", "y"]], [["a", "a"]], [["a", "c"], ["a", "d"]]):
        with pytest.raises(ValueError, match="changes nothing"):
            substituted("a = 1\n", edit)
    with pytest.raises(SyntaxError):
        substituted("a = 1\n", [["1", "("]])


def test_the_end_of_a_script_goes_into_a_function() -> None:
    variants = part("doctor_variants")
    text = variants.substituted("n = 2\nfor i in range(n):\n    print(i)\n", [[variants.IN_A_FUNCTION, "for i"]])
    assert text == "n = 2\ndef main():\n    for i in range(n):\n        print(i)\n\n\nmain()\n"
    with pytest.raises(ValueError, match="changes nothing"):
        variants.substituted("n = 2\n", [[variants.IN_A_FUNCTION, "for i"]])


def test_variants_are_told_apart_and_have_their_twins() -> None:
    every = part("doctor_variants").variants()
    keys = {v.key for v in every}
    assert len(keys) == len(every)
    assert sum(v.original for v in every) == 44
    assert {v.twin for v in every} <= keys
    scripts = {v.script for v in every}
    assert all(sum(v.script == script and not v.original for v in every) >= 4 for script in scripts)
    for family in part("doctor_variants").families():
        members = {family.healthy, *family.faulty}
        assert {*family.own, *family.without, *family.flattered, *family.fails} <= members
        assert set(family.accept) <= keys
        for script, left_out in family.without.items():
            assert set(left_out) <= {*family.edits, *family.own.get(script, {})}, (
                f"{script} is without what is not there"
            )


@needs_shared
def test_every_variant_is_a_script_of_its_own() -> None:
    texts, every = part("doctor_runs").texts(), part("doctor_variants").variants()
    made = {v.text(texts): v.key for v in every}
    assert len(made) == len(every)
    labels = part("doctor_runs").labels()
    for v in every:
        label = part("doctor_runs").label(v, labels)
        assert v.healthy == (not label["expect"]), f"{v.key} and its label disagree"


@needs_shared
def test_labels_were_checked_and_are_true() -> None:
    bench, runs = part("doctor"), part("doctor_runs")
    rows, texts = part("files").read(bench.LABELS)["rows"], runs.texts()
    every = part("doctor_variants").variants()
    stale = [v.key for v in every if rows.get(v.key, {}).get("text") != runs.sha(v.text(texts))]
    assert not stale, "run `python -m benchmarks.doctor --check`"
    assert not bench.untrue(rows, [v.key for v in every])


def test_last_number_printed() -> None:
    last = part("doctor_variants").last_number
    printed = "epoch 1 acc 0.5\nepoch 2: acc 9.75e-01 (best 0.98)\n"
    assert last("acc #", printed) == 0.975
    assert last("test #$", "train 1 test 2\nepoch test 3.5\n") == 3.5
    assert last("acc #", "nothing") is None
    assert str(last("loss #", "loss nan")) == "nan"


def test_wilson_interval() -> None:
    wilson = part("doctor_score").wilson
    assert wilson(0, 0) == (0, 1)
    assert wilson(10, 10) == pytest.approx((0.7225, 1.0), abs=1e-4)  # Wilson 1927; Newcombe 1998, method 3
    assert wilson(0, 10) == pytest.approx((0.0, 0.2775), abs=1e-4)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe's table I
    low, high = wilson(15, 148)
    assert (low, high) == pytest.approx((0.0624, 0.1605), abs=1e-4)


def test_totals() -> None:
    score = part("doctor_score")
    rows = [
        row(["a"], ["a", "b"]),  # named, and a false alarm
        row(["a"], ["c"], accept=("c",)),  # missed; an honest symptom
        row(["b"], []),
        row([], []),
        row([], ["b"]),
        score.judged(None, {"expect": [], "accept": []}),  # no report: not clean
        score.judged({"findings": [finding("a", severity="note")]}, {"expect": [], "accept": []}),
    ]
    of = score.totals(rows)
    assert of["recall"] == score.Share(1, 3)
    assert of["precision"] == score.Share(2, 4)
    assert of["clean"] == score.Share(2, 4)
    assert of["codes"] == {"a": score.Share(1, 2), "b": score.Share(0, 1)}
    assert rows[0]["false"] == ["b"]
    assert [r["right"] for r in rows] == [False, False, False, True, False, False, True]
    assert rows[-1]["notes"] == ["a"]
    assert row(["a"], ["a", "a"])["codes"] == ["a"]


def test_table() -> None:
    score = part("doctor_score")
    text = score.table({"first": score.totals([row(["a"], ["a"])]), "second": score.totals([row([], [])])})
    assert text.splitlines() == [
        "| | first | second |",
        "|---|---|---|",
        "| faults named (recall) | 1 of 1, 100% (21% to 100%) | none |",
        "| reported codes that are right (precision) | 1 of 1, 100% (21% to 100%) | none |",
        "| healthy runs without a finding | none | 1 of 1, 100% (21% to 100%) |",
        "| `a` | 1 of 1 |  |",
    ]


def test_a_page_without_results_says_so() -> None:
    assert part("doctor").markdown({}) == "Not measured yet.\n"


def test_a_label_holds() -> None:
    holds, variants = part("doctor_score").holds, part("doctor_variants")
    options = {"metric": "#", "good": 0.9, "margin": 0.2, "edits": {}, "flattered": ["too good"], "fair": {"hard": 0.7}}
    higher = variants.Family("well", ["bad", "too good"], higher=True, **options)
    of = {name: variants.Variant(name, "", [], higher) for name in ("well", "bad", "too good")}
    assert holds(of["well"], 0.95, 0.95)
    assert not holds(of["well"], 0.85, 0.85)
    assert holds(variants.Variant("well", "hard", [], higher), 0.75, 0.75)
    assert not holds(of["well"], None, None)
    assert holds(of["bad"], 0.7, 0.95)
    assert holds(of["bad"], None, 0.95)  # it failed, or ended in NaN
    assert not holds(of["bad"], 0.8, 0.95)
    assert not holds(of["bad"], 0.3, 0.85), "the twin is not good"
    assert holds(of["too good"], 1.0, 0.95)
    lower = variants.Family("well", ["bad"], higher=False, **options | {"margin": 2.0})
    assert holds(variants.Variant("bad", "", [], lower), 0.8, 0.4)
    assert not holds(variants.Variant("bad", "", [], lower), 0.7, 0.4)


def test_recovered() -> None:
    recovered = part("doctor_score").recovered
    assert recovered(0.5, 0.8, 0.9, higher=True) == pytest.approx(0.75)
    assert recovered(1.0, 0.2, 0.1, higher=False) == pytest.approx(8 / 9)
    assert recovered(None, 0.8, 0.9, higher=True) == pytest.approx(8 / 9)
    assert recovered(None, 0.2, 0.1, higher=False) == pytest.approx(0.5)
    assert recovered(0.5, None, 0.9, higher=True) == 0
    assert recovered(0.5, 0.5, 0.5, higher=True) is None
    assert recovered(1.0, 0.9, 0.95, higher=True, flattered=True) == pytest.approx(0)


REPAIRS = {
    ("lr-too-low", "use lr=3e-3"): ("SGD(net.parameters(), lr=1e-6)", "SGD(net.parameters(), lr=3e-3)"),
    ("lr-too-low", ""): ('{"lr": 3e-6}', '{"lr": 3e-05}'),
    ("lr-too-high", ""): ("SGD(p, lr=1.0, momentum=0.9)", "SGD(p, lr=0.1, momentum=0.9)"),
    ("double-softmax", ""): ("    nn.Linear(2, 3),\n    nn.Softmax(dim=1),\n)", "    nn.Linear(2, 3),\n)"),
    ("double-softmax", "in the call"): ("torch.softmax(net(x), dim=1)", "net(x)"),
    ("wrong-loss", ""): ("nn.NLLLoss()", "nn.CrossEntropyLoss()"),
    ("unshuffled-data", ""): ("a = DataLoader(D((1, 2)), size=3)", "a = DataLoader(D((1, 2)), size=3, shuffle=True)"),
    ("bad-init", ""): ("tanh; init.constant_(m.weight, 0.1)", "tanh; init.xavier_uniform_(m.weight)"),
    ("dead-relu", ""): ("init.constant_(m.bias, -3.0)", "init.zeros_(m.bias)"),
    ("batch-time-swapped", ""): ("nn.GRU(8, hidden_size=n)", "nn.GRU(8, hidden_size=n, batch_first=True)"),
    ("non-finite", ""): ("torch.sqrt((a * (b)).sum())", "torch.sqrt((a * (b)).sum() + 1e-8)"),
    ("state-not-detached", ""): ("    y, h = net(x, h)", "    y, h = net(x, h)\n    h = h.detach()"),
    ("vanishing-gradient-time", "an LSTM"): ("nn.RNN(2, 3)", "nn.LSTM(2, 3)"),
    ("too-deep-plain", ""): ("        return F.relu(self.lin(x))", "        return x + F.relu(self.lin(x))"),
    ("underfitting", ""): ("def __init__(self, h=3)", "def __init__(self, h=24)"),
}  # fmt: skip


@pytest.mark.parametrize(("code", "advice"), REPAIRS)
def test_repairs(code: str, advice: str) -> None:
    text, expected = REPAIRS[code, advice]
    assert part("doctor_repairs").repaired(text, finding(code, advice=advice), 100) == expected


def test_repairs_that_need_more_of_the_script() -> None:
    repaired = part("doctor_repairs").repaired
    loop = "opt = torch.optim.SGD(net.parameters())\nfor x in data:\n    loss.backward()\n    opt.step()\n"
    assert "    opt.zero_grad()\n    loss.backward()\n" in repaired(loop, finding("missing-zero-grad"), 9)
    assert "clip_grad_norm_(net.parameters(), 1.0)\n    opt.step()" in repaired(
        loop, finding("exploding-gradient-time"), 9
    )
    start = "nn.init.normal_(cell.weight_hh, std=0.3)\n"
    unstable = finding("exploding-gradient-time", advice="clip the norm, and start with an orthogonal matrix")
    assert repaired(start + loop, unstable, 9).startswith("nn.init.orthogonal_(cell.weight_hh)\n")
    best = finding("overfitting", evidence="was best at update 30 (0.4)")
    assert repaired('{"epochs": 50}', best, 100) == '{"epochs": 15}'
    assert repaired("nothing to change", finding("double-softmax"), 9) is None
    assert repaired("no such code", finding("unheard-of"), 9) is None


def test_overhead_is_the_median_of_pairs() -> None:
    def times(seconds: list[float], steps: int = 100) -> dict[str, list[float]]:
        same = dict.fromkeys(("training_s", "training_cpu_s", "whole_s", "peak_mb"), seconds)
        return same | {"steps": [float(steps)] * len(seconds)}

    rows = {
        "slow machine at the second": {"plain": times([1, 4, 1]), "doctor": times([2, 8, 3])},
        "another": {"plain": times([1, 1, 1]), "doctor": times([3, 3, 3])},
        "fails": {"plain": times([0, 0, 0], steps=1), "doctor": times([1, 1, 1], steps=1)},
    }
    found = part("doctor").ratios(rows)["doctor"]["training_s"]
    assert found == {"median": 2.5, "worst": 3, "of": 2}
    assert part("doctor").ratios({}) == {}


def test_a_set_keeps_every_measurement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    doctor, said = part("doctor"), {"# a": ["lr-too-low"], "# b": [], "# c": ["bad-init"]}
    held = {"1.py": "lr-too-low", "2.py": "overfitting", "3.py": None}
    folder = tmp_path / "blind"
    (folder / "scripts").mkdir(parents=True)
    for name, text in zip(held, said, strict=True):
        (folder / "scripts" / name).write_text(text)
    labels = {name: {"expect": [code] if code else [], "accept": []} for name, code in held.items()}
    (folder / "labels.json").write_text(json.dumps(labels))
    monkeypatch.setattr(doctor, "RESULTS", tmp_path / "doctor.json")
    monkeypatch.setattr(
        doctor.runs, "doctor", lambda text: ({"findings": [finding(code) for code in said[text]]}, 1.0, "")
    )
    for _ in range(2):
        doctor.other_set(folder, 2)
    first, second = json.loads((tmp_path / "doctor.json").read_text())["sets"]["blind"]
    assert (first["recall"]["hits"], first["recall"]["of"]) == (1, 2)
    assert (first["clean"]["hits"], first["clean"]["of"]) == (0, 1)
    assert first["wrong"]["2.py"] == {"expect": ["overfitting"], "codes": []}
    table = doctor._set_table({"blind": [first, second]}).splitlines()
    assert "at first sight | 1 of 2, 50%" in table[3]
    assert "first sight" not in table[4]
    with pytest.raises(SystemExit, match="no set of scripts"):
        doctor.other_set(tmp_path, 1)
