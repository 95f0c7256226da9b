"""The doctor in a notebook: `%load_ext carousel`, then `%%doctor` above a cell, or `%doctor on` … `%doctor off`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from .doctor import Doctor
from .findings import Finding
from .shown import as_html, as_text, headline

__all__ = ["Magic", "Shown", "load"]

USE = "Use %%doctor above a cell, or %doctor on, some cells, %doctor off."


@dataclass(frozen=True)
class Shown:
    """What a doctor says: a table where the front end shows HTML, text elsewhere."""

    findings: list[Finding]
    said: str

    def __repr__(self) -> str:
        return as_text(self.findings, self.said, []).strip("\n")

    def _repr_html_(self) -> str:
        return as_html(self.findings, self.said, [])


class Magic:
    """`%doctor` and `%%doctor` of one IPython shell."""

    def __init__(self, shell: Any):
        self.shell = shell
        self.doctor: Doctor | None = None
        self.in_cell = False

    def __call__(self, line: str, cell: str | None = None) -> None:
        """Watch the training in a cell, or in all cells between `%doctor on` and `%doctor off`; then show what is
        wrong with it.
        """
        word = line.strip()
        if cell is not None:
            self._cell(word, cell)
        elif self.in_cell:
            print("This cell is watched by %%doctor; %doctor on and off belong into cells of their own.")
        elif word == "on":
            self._on()
        elif word == "off":
            self._off()
        else:
            print(f"There is no %doctor {word}. {USE}" if word else USE)

    def _cell(self, word: str, cell: str) -> None:
        if word or self.doctor is not None or self.in_cell:
            print(f"%%doctor takes no arguments. {USE}" if word else "The doctor watches already; the cell is run.")
        if word:
            return
        if self.doctor is not None or self.in_cell:
            self._run(cell)
            return
        self.in_cell = True
        doctor = Doctor()
        try:
            with doctor:
                error = self._run(cell)
                doctor.record.error = error
        finally:
            self.in_cell = False
        self._show(doctor)
        if error is not None:
            raise _AlreadyShown(f"{type(error).__name__}: {error}") from None

    def _run(self, cell: str) -> BaseException | None:
        result = self.shell.run_cell(cell, store_history=False)
        return result.error_before_exec or result.error_in_exec

    def _on(self) -> None:
        if self.doctor is not None:
            print("The doctor watches already; %doctor off ends that.")
            return
        self.doctor = Doctor().__enter__()
        print("The doctor watches all cells until %doctor off.")

    def _off(self) -> None:
        if self.doctor is None:
            print("The doctor does not watch; %doctor on begins that.")
            return
        doctor, self.doctor = self.doctor, None
        doctor.__exit__(None, None, None)
        self._show(doctor)

    def _show(self, doctor: Doctor) -> None:
        from IPython.display import display  # pyright: ignore[reportMissingImports]

        steps = doctor.record.steps
        said = "no update with an optimizer of torch.optim was made; there was nothing to judge."
        display(Shown(doctor.findings, headline(doctor.findings, steps) if steps or doctor.findings else said))


class _AlreadyShown(Exception):  # noqa: N818
    """Ends a cell whose error was shown, so that those after it are not run."""

    def _render_traceback_(self) -> list[str]:
        return []


def load(shell: Any) -> None:
    """Give a shell the magics."""
    shell.register_magic_function(Magic(shell), magic_kind="line_cell", magic_name="doctor")
