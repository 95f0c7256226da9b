"""What is searched: how it is written, what is refused, and with which sentence."""

from __future__ import annotations

from typing import Any

import pytest

from carousel.errors import UsageError
from carousel.settings import Settings, as_options
from carousel.tasks.kinds import KINDS
from carousel.tuning.space import NAMES, checked, default_space, parse_space


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("learning_rate=1e-4..1e-1:log", {"low": 1e-4, "high": 0.1, "log": True, "whole": False}),
        ("--learning-rate=1e-4..1e-1:log", {"name": "learning_rate", "log": True}),
        ("dropout=0..0.5", {"low": 0.0, "high": 0.5, "log": False, "whole": False}),
        ("hidden_size=32,64,128", {"choices": (32, 64, 128)}),
        ("hidden_size=16..256:log", {"low": 16, "high": 256, "log": True, "whole": True}),
        ("hidden_size=32..100:32", {"low": 32, "high": 96, "step": 32, "whole": True}),
        ("layers=1..3", {"low": 1, "high": 3, "step": 1, "whole": True}),
        ("epochs=1..8", {"low": 1.0, "high": 8.0, "whole": False}),
        ("skip=true,false", {"choices": (True, False)}),
        ("directions=1,2", {"choices": (1, 2)}),
        ("optimizer=adamw, sgd", {"choices": ("adamw", "sgd")}),
        ("network=mlp|dense 64, relu, dense", {"choices": ("mlp", "dense 64, relu, dense")}),
        ("cell=lstm,../mine.py:Cell", {"choices": ("lstm", "../mine.py:Cell")}),
    ],
)
def test_spelling(word: str, wanted: dict[str, Any]) -> None:
    (found,) = parse_space([word]).values()
    assert {name: getattr(found, name) for name in wanted} == wanted
    assert parse_space({found.name: str(found)}) == {found.name: found}  # as a study's folder keeps it


def test_lists_from_python() -> None:
    found = parse_space(
        {"hidden_size": [32, 64], "skip": [True, False], "learning_rate": [0.1, 1e-3], "cell": ["lstm", "gru"]}
    )
    assert [one.choices for one in found.values()] == [(32, 64), (True, False), (0.1, 0.001), ("lstm", "gru")]


@pytest.mark.parametrize(
    ("word", "says"),
    [
        ("learning_rat=1..2", "Did you mean 'learning_rate'"),
        ("data.csv", "is no search"),
        ("dropout=", "is no search"),
        ("dropout=0.5", "two or more different values"),
        ("dropout=0.1,0.1", "two or more different values"),
        ("dropout=0.5..0.1", "lower end comes first, as in dropout=0.1..0.5"),
        ("dropout=0..0.5:log", "begins above 0"),
        ("dropout=0..0.5:0.1", "behind the colon comes log"),
        ("hidden_size=32..128:big", "log or a step"),
        ("hidden_size=1.5..3", "'1.5' is no value of --hidden-size; give whole numbers"),
        ("hidden_size=a,b", "'a' is no value"),
        ("learning_rate=nan..1", "'nan' is no value"),
        ("optimizer=adam,sgd", "'adam' is no value of --optimizer; give some of adamw"),
        ("optimizer=a..b", "has no range"),
        ("skip=0..1", "has no range"),
        ("dev=0.1,0.2", "changes what is measured"),
        ("kind=text,table", "changes what is measured"),
        ("seed=1,2", "the same for all trials"),
        ("minutes=1..2", "the same for all trials"),
        ("drop=a,b", "holds several values"),
        ("cell_options=a,b", "holds several values"),
    ],
)
def test_what_is_refused(word: str, says: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_space([word])
    assert says in str(error.value)


def test_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="searched twice"):
        parse_space(["dropout=0..0.5", "--dropout=0.1,0.2"])


@pytest.mark.parametrize(
    ("word", "kind", "says"),
    [
        ("hidden_size=32,64", "table", "--hidden-size means nothing for"),
        ("flip=true,false", "table", "--flip means nothing for"),
        ("network=mlp,lenet5", "text", "--network means nothing for"),
        ("dropout=0..1.5", "labelled", "--dropout is 1.5; it must be"),
        ("layers=0..3", "labelled", "--layers is 0"),
        ("batch=16,32", "table", "--batch is given and searched"),
    ],
)
def test_values_that_the_data_refuse(word: str, kind: str, says: str) -> None:
    given = {"batch": 8} if word.startswith("batch") else {}
    with pytest.raises(UsageError) as error:
        checked(parse_space([word]), ["x"], Settings.of(kind=kind, **given))
    assert says in str(error.value)


@pytest.mark.parametrize("kind", KINDS)
def test_default_space_of_every_kind(kind: str) -> None:
    settings = KINDS[kind].resolved(Settings.of(kind=kind), ())
    space = default_space(KINDS[kind], settings)
    assert 2 <= len(space) <= 4
    checked(space, ["x"], Settings.of(kind=kind))
    for name, dimension in space.items():
        assert dimension.holds(settings.value(name)), name  # so that the first trial is the default
        assert not isinstance(dimension.rounded(dimension.ends[0]), str)


def test_names_are_all_settings() -> None:
    assert Settings.of(**{name: None for name in NAMES if name in ("epochs", "fold", "minutes")}) == Settings()
    assert {"learning_rate", "flip", "pooling"} <= NAMES


def test_rounded_values_stay_inside() -> None:
    (rate,) = parse_space(["learning_rate=0.00012345..0.1:log"]).values()
    assert rate.rounded(0.0012345678) == 0.001235
    assert rate.rounded(0.00012345) == 0.00012345


def test_options_of_settings() -> None:
    assert as_options({"skip": False, "clip": 1e-5, "cell_options": {"bias": False}}) == [
        "--clip", "1e-05", "--cell-options", "bias", "False",
    ]  # fmt: skip
