"""The registry of kinds: what they are recognized by, their defaults, and options that are about others."""

from __future__ import annotations

import dataclasses
import inspect
import re
from pathlib import Path

import pytest

from carousel import settings as home
from carousel.doctor import RULES
from carousel.errors import UsageError
from carousel.settings import Settings, group
from carousel.tasks.kinds import KINDS, infer, resolve
from carousel.tasks.labelled import LabelledTask
from carousel.tasks.tagged import TaggedTask

GROUPS = {f.name: type(f.default) for f in dataclasses.fields(Settings)}


def help_of(name: str) -> str:
    """The text under a field."""
    (source,) = [inspect.getsource(cls) for cls in GROUPS.values() if name in {f.name for f in dataclasses.fields(cls)}]
    found = re.search(rf'\n    {name}: .*?\n    """(.*?)"""', source, re.DOTALL)
    assert found, name
    return " ".join(found[1].split())


def says(name: str, kind: str, value: object) -> bool:
    """Whether the text under a field has "KIND: VALUE", where several kinds may share a value."""
    clauses = re.findall(r"((?:\w+, )*(?:\w+ and )?\w+): (.*?)(?:;|, or|\. |\.$)", help_of(name))
    return any(kind in re.split(", | and ", kinds) and said == str(value) for kinds, said in clauses)


def test_settings_know_the_kinds() -> None:
    assert set(home._CHOICES["kind"]) - {None} == set(KINDS)
    for kind in KINDS.values():
        assert set(kind.without) <= set(home._HOMES)
        assert kind.name == "text" or kind.name in GROUPS


def test_help_names_what_a_kind_takes_by_default() -> None:
    for network, kind in (pair for one in KINDS.values() for pair in one.variants.items()):
        own = {name: value for name, value in kind.defaults.items() if KINDS[kind.name].defaults.get(name) != value}
        assert own.pop("network") == network
        assert all(f"{network}: {value}" in help_of(name) for name, value in own.items())
    for kind in KINDS.values():
        for name, value in kind.defaults.items():
            if name != "directions" or kind.name != "text":
                assert says(name, kind.name, value), (kind.name, name)
        assert kind.epochs is None or says("epochs", kind.name, kind.epochs)


@pytest.mark.parametrize("kind", KINDS)
def test_resolved_settings_hold_no_default_of_the_kind(kind: str) -> None:
    settings = KINDS[kind].resolved(Settings(), ())
    assert all(settings.value(name) is not None for name in KINDS[kind].defaults)
    assert KINDS[kind].resolved(Settings.of(batch=7, steps=3), ()).training.batch == 7
    assert Settings.from_dict(settings.to_dict()) == settings
    assert set(settings.to_dict()) == {"data", "network", "training"} | ({kind} & set(GROUPS))


def test_time_is_limited_only_where_nothing_is_said() -> None:
    kind = KINDS["labelled"]
    unsaid, said = (kind.timed(s, 500).training for s in (Settings(), Settings.of(epochs=2)))
    assert (unsaid.minutes, unsaid.epochs) == (5, 12)
    assert (said.minutes, said.epochs) == (None, 2)
    assert kind.timed(Settings.of(accumulate=2), 3).training.epochs == 667  # 1,000 updates
    assert KINDS["text"].timed(Settings(), 3).training.epochs is None


@pytest.mark.parametrize(
    ("kind", "option", "shown"),
    [
        ("text", {"label_column": "x"}, "--label-column means nothing for a text"),
        ("text", {"split_column": "x"}, "--split-column"),
        (
            "labelled",
            {"window": 32, "tag_column": "x"},
            "--tag-column and --window mean nothing for labelled",
        ),
        ("tagged", {"level": "word"}, "--level means nothing for tagged sequences"),
        ("tagged", {"pooling": "last"}, "--pooling"),
        ("labelled", {"init": "he"}, "--init means nothing for labelled sequences, which is what the data"),
        ("labelled", {"network_options": {"maps": 3}}, "for labelled sequences with the network recurrent; leave it"),
        (
            "labelled",
            {"network": "sentence-cnn", "hidden_size": 9, "cell": "gru"},
            "--cell and --hidden-size mean nothing for labelled sequences with the network sentence-cnn; leave them",
        ),
        (
            "labelled",
            {"network": "sentence-cnn", "pooling": "mean"},
            "--pooling means nothing for labelled sequences w",
        ),
        ("labelled", {"network": "lenet5"}, "--network is 'lenet5'; for labelled sequences it is one of recurrent, se"),
        ("labelled", {"vectors": "v.txt", "embedding_size": 3}, "--embedding-size follows the file of --vectors"),
        ("tagged", {"network": "sentence-cnn"}, "--network means nothing for tagged sequences"),
        ("images", {"vectors": "v.txt"}, "--vectors means nothing for images"),
        ("text", {"vectors": "v.txt"}, "--vectors means nothing for a text"),
    ],
)
def test_options_of_other_kinds_are_refused(kind: str, option: dict, shown: str) -> None:
    with pytest.raises(UsageError, match=re.escape(shown)):
        resolve(["nothing"], Settings.of(kind=kind, **option))


def test_the_kind_is_inferred(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("Once upon a time\nthere was a network.\n" * 30)
    (tmp_path / "b.csv").write_text("name,label\n" + "Anna,x\nBert,y\nCara,x\n" * 5)
    (tmp_path / "c.conllu").write_text("1\tGo\tgo\tVERB\t_\t_\t0\troot\t_\t_\n\n")
    found = {name: infer([tmp_path / name]).name for name in ("a.txt", "b.csv", "c.conllu", "missing.csv")}
    assert found == {"a.txt": "text", "b.csv": "labelled", "c.conllu": "tagged", "missing.csv": "text"}
    assert infer(["python-stdlib"]).name == "text"
    assert resolve([tmp_path / "b.csv"], Settings.of(kind="text"))[0].name == "text"


def test_codes_are_those_of_the_doctor() -> None:
    codes = {rule.CODE for rule in RULES}
    for task in (LabelledTask, TaggedTask):
        assert {*task.repairs, *task.unasked} <= codes
    assert LabelledTask.repairs["class-imbalance"](Settings(), {}) == {"class_weights": "balanced"}
    assert not LabelledTask.repairs["class-imbalance"](Settings.of(class_weights="balanced"), {})
    assert "pooling" in group("labelled")
