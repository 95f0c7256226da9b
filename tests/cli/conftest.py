"""The command line, in this process."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from carousel.cli.main import main


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Runs a command: its exit code, and what it printed in one line; of one that failed, its error."""

    def run(*arguments: str) -> tuple[int, str]:
        try:
            code = main(list(arguments))
        except SystemExit as stop:
            code = int(stop.code or 0)
        printed = capsys.readouterr()
        assert "Traceback" not in printed.out + printed.err
        return code, " ".join((printed.err if code else printed.out).split())

    return run
