"""What a person reads of the options: their help, and why a value was refused."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from carousel.cli.main import main
from carousel.cli.parse import AllSettings, parse
from carousel.settings import DataSettings, Settings, TrainingSettings

Run = Callable[..., tuple[int, str]]
WITH_SETTINGS = ("train", "tune", "rate")


def plain(said: str) -> str:
    """Without the frames around the help, and on one line."""
    return " ".join(re.sub("[─│╭╮╰╯]|-{3,}|[|+] ", " ", said).split())


@pytest.mark.parametrize("verb", [*WITH_SETTINGS, "summary"])
def test_help_of_settings(run: Run, verb: str) -> None:
    """An option that may be left out is written like any other, and its text is whole sentences."""
    code, said = run(verb, "--help")
    assert code == 0
    assert "{None}" not in said
    assert "--vocabulary-size INT Words: keep this many, the most frequent; the others become <unk>." in plain(said)


@pytest.mark.parametrize("verb", WITH_SETTINGS)
def test_groups_are_named_alike(run: Run, verb: str) -> None:
    said = plain(run(verb, "--help")[1])
    for name, group in (("data", DataSettings), ("training", TrainingSettings)):
        assert f"{name} options {group.__doc__}" in said


def test_texts_are_not_broken_where_the_source_is(capsys: pytest.CaptureFixture[str], run: Run) -> None:
    """Lines of the help are filled: none ends long before the next word would have fitted."""
    with pytest.raises(SystemExit):
        main(["train", "--help"])
    lines = [line.strip("│| ") for line in capsys.readouterr().out.splitlines() if line[1:5] == "    "]
    texts = " ".join(lines)
    assert "words with a tag each; series: numbers over time; images" in texts
    at = next(k for k, line in enumerate(lines) if "series:" in line and "tag each" in line)
    room = max(map(len, lines))
    assert len(lines[at]) + 1 + len(lines[at + 1].split()[0]) > room


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("train", "x.txt", "--minutes", "two"), "--minutes: 'two' is no number."),
        (("train", "x.txt", "--seed", "1.5"), "--seed: '1.5' is no whole number."),
        (("train", "x.txt", "--hidden-size", "many"), "--hidden-size: 'many' is no whole number."),
        (("sample", "run", "--chars", "q"), "--chars: 'q' is no whole number."),
        (("train", "x.txt", "--level", "chars"), "invalid choice 'chars' for argument '--level'"),
    ],
)
def test_values_that_are_none(run: Run, words: tuple[str, ...], said: str) -> None:
    code, error = run(*words)
    assert code == 2
    assert said in plain(error)


@pytest.mark.parametrize(
    ("words", "value"), [(("--minutes", "2"), 2.0), (("--minutes", "1e-1"), 0.1), (("--steps", "7"), 7), ((), None)]
)
def test_values_that_may_be_left_out(words: tuple[str, ...], value: float | None) -> None:
    def command(settings: AllSettings = Settings()) -> Settings:
        """Take settings."""
        return settings

    training = parse("train", command, list(words)).training
    found = training.steps if "--steps" in words else training.minutes
    assert found == value
    assert type(found) is type(value)
