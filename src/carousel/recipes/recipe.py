"""`Recipe`: what a recipe's `run(recipe)` is given."""

from __future__ import annotations

import hashlib
import math
import shutil
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from carousel.errors import UsageError
from carousel.runs import RunFolder, environment

from .sources import SOURCES, fetch

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    import carousel

__all__ = ["Recipe", "interval"]

PARTS = "parts.json"
T_95 = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262)
"""Student's t, 97.5 %, with 1, 2, … degrees of freedom."""


def interval(values: Sequence[float]) -> tuple[float, float, float]:
    """The mean of two to ten independent measurements, and the ends of its 95 % interval, by Student's t.

    Example:
        >>> [round(v, 3) for v in interval([1.0, 2.0, 3.0])]
        [2.0, -0.484, 4.484]
    """
    middle = statistics.fmean(values)
    half = T_95[len(values) - 2] * statistics.stdev(values) / math.sqrt(len(values))
    return middle, middle - half, middle + half


class Recipe:
    """A recipe that is being run: its data, its output folder, its claims.

    Args:
        name: the recipe's name.
        source: the folder with its `run.py`.
        out: the folder for its output; made where it does not exist.
        smoke: a run of seconds that only shows that everything works.
        data_dir: where data sets lie.
        store: keep what `part` measures in the recipe's own folder too.

    Attributes:
        claims: what was recorded with `claim`.
        kept: the files of `figure` and `text`, which are stored with the result.
        machines: on which the run's parts were measured, where that was before this run.

    Raises:
        UsageError: `out` or `data_dir` is a file, or can't be used.

    Example:
        >>> import carousel
        >>> def run(recipe: carousel.recipes.Recipe) -> None:       # all of a run.py
        ...     error = abs(sum(0.5**k for k in range(1, 20 if recipe.smoke else 50)) - 1)
        ...     recipe.claim("|1/2 + 1/4 + … - 1|", "< 1e-5", error, error < 1e-5, source="geometric series")
    """

    def __init__(
        self,
        name: str,
        source: Path,
        out: Path,
        *,
        smoke: bool = False,
        data_dir: Path | None = None,
        store: bool = False,
    ):
        self.name, self.source, self.out, self.smoke = name, source, out, smoke
        self.claims: list[dict[str, Any]] = []
        self.kept: list[str] = []
        self.machines: list[str] = []
        self._store = store
        self._data_dir = data_dir
        self._digests = {"run": code_digest(source)}
        self._since = time.perf_counter()
        if data_dir is not None and not data_dir.is_dir():
            raise UsageError(f"There is no folder {data_dir}; give the folder with the data sets as --data-dir DIR.")
        try:
            out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"The folder {out} can't be made ({error.strerror}); give another one as --out DIR."
            ) from None

    # -- what goes in -------------------------------------------------------------------------------------------------

    @property
    def code(self) -> str:
        """The digest of the recipe's Python files when it began."""
        return self._digests["run"]

    def has_data(self, path: str) -> bool:
        """Whether `path`, such as "text/tinyshakespeare.txt", is there below the data folder."""
        return self._data_dir is not None and (self._data_dir / path).exists()

    def data(self, path: str) -> Path:
        """A file or folder below the data folder; where no folder was given, fetched from its home, once.

        Raises:
            UsageError: it is not there, or can't be fetched; the sentence says how to give the data folder.
        """
        if self._data_dir is None and path in SOURCES:
            found = fetch(path)
        elif self._data_dir is None or not self.has_data(path):
            where = "no data folder was given" if self._data_dir is None else f"it is not in {self._data_dir}"
            raise UsageError(
                f"The recipe {self.name} needs {path}, but {where}; give the folder that holds it as --data-dir DIR "
                f"({self.source / 'README.md'} says where the data come from)."
            )
        else:
            found = self._data_dir / path
        self._digests[path] = _digest([p for p in found.rglob("*") if p.is_file()] if found.is_dir() else [found])
        return found

    # -- what is seen while it runs -----------------------------------------------------------------------------------

    def say(self, text: str) -> None:
        """Print."""
        print(text, flush=True)

    def steps(self, begin: int, end: int, what: str = "") -> Iterator[int]:
        """`range(begin, end)`, behind a progress bar where a person is watching."""
        from rich.progress import track

        watched = sys.stdout.isatty()
        yield from track(range(begin, end), what or self.name, end, begin, disable=not watched, transient=True)

    # -- what comes out -----------------------------------------------------------------------------------------------

    def claim(self, what: str, expected: Any, measured: Any, met: Any, source: str) -> None:
        """Record what was expected and what was measured.

        Args:
            what: the quantity, with its unit.
            expected: a number, or a condition in words such as "< 0.01".
            measured: a number, or a short text.
            met: a truth value, computed from what was measured.
            source: where the expectation comes from: a publication, a derivation, a computation.
        """
        values = {"what": what, "expected": _plain(expected), "measured": _plain(measured)}
        self.claims.append({**values, "met": bool(met), "source": source})

    def figure(self, figure: Figure, name: str) -> Path:
        """Save a `matplotlib.figure.Figure`; `name` ends in .svg or .png. The same figure gives the same bytes.

        Lines that only their color tells apart get dashes.
        """
        import matplotlib

        from .figures import tell_apart

        metadata = {"Date": None} if name.endswith(".svg") else None
        tell_apart(figure)
        with matplotlib.rc_context({"svg.hashsalt": "carousel", "svg.fonttype": "none"}):
            figure.savefig(self.out / name, metadata=metadata)
        return self._keep(name)

    def text(self, text: str, name: str) -> Path:
        """Save a short text, such as samples."""
        RunFolder(self.out).write_text(name, text)
        return self._keep(name)

    def _keep(self, name: str) -> Path:
        self.kept += [] if name in self.kept else [name]
        return self.out / name

    # -- going on after a stop ----------------------------------------------------------------------------------------

    @property
    def seconds(self) -> float:
        """Time of this run, with that of the stopped runs that it continues."""
        return time.perf_counter() - self._since

    def _count(self, seconds: float) -> None:
        """So much time has passed at least, with that of the stopped runs."""
        self._since = min(self._since, time.perf_counter() - seconds)

    def state(self, name: str) -> Path:
        """A place in `out` for what lets a stopped run go on; it is removed when the run has finished."""
        return self.out / ("state-smoke" if self.smoke else "state") / name

    def save(self, name: str, state: dict[str, Any]) -> None:
        """Write a checkpoint of tensors, numbers and texts to `state(name)`; a kill at any moment leaves a good one."""
        path = self.state(name)
        path.mkdir(parents=True, exist_ok=True)
        RunFolder(path).save_checkpoint({"digests": self._digests, "seconds": self.seconds, "state": state})

    def load(self, name: str) -> dict[str, Any] | None:
        """What was saved last by the same code with the same data, or None. Ask for all `data` before."""
        saved, notes = RunFolder(self.state(name)).load_checkpoint()
        for note in notes:
            self.say(note)
        if saved is None or saved["digests"] != self._digests:
            return None
        self._count(saved["seconds"])
        return saved["state"]

    def part(self, name: str, measure: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """The numbers of a part that stands for itself, such as one of several trainings; it is measured only once.

        With `--store` they are also written to `parts.json` in the recipe's own folder as soon as they are there, so
        that a run of many hours can be put together on several days; they go when the whole result is stored.

        Args:
            name: of the part, different from all others of the recipe.
            measure: gives plain data, as JSON can hold. Ask for all `data` before.

        Returns:
            What `measure` gave, now or earlier, with the same code and data.
        """
        homes = [RunFolder(self.state("")), *([RunFolder(self.source)] if self._store else [])]
        for home in homes:
            kept = home.read_json(PARTS, {})
            if kept.get("digests") == self._digests and name in kept["parts"]:
                one = kept["parts"][name]
                self._since -= one["seconds"]
                self.machines += [] if one["machine"] in self.machines else [one["machine"]]
                self.say(f"{name}: measured on {one['date'][:10]}")
                return one["found"]
        since = self.seconds
        found = measure()
        about = environment()
        one = {"date": about["date"], "machine": about["processor"], "seconds": self.seconds - since, "found": found}
        for home in homes:
            home.path.mkdir(parents=True, exist_ok=True)
            kept = home.read_json(PARTS, {})
            earlier = kept["parts"] if kept.get("digests") == self._digests else {}
            home.write_json(PARTS, {"digests": self._digests, "parts": {**earlier, name: one}})
        return found

    def train(self, name: str, data: Any, **options: Any) -> carousel.Run:
        """`carousel.train` on one thread, with the run folder `state(name)`; `data` and `options` are as there.

        A stopped training goes on from its checkpoint, and a finished one is not repeated, if code, data and options
        are the same.
        """
        import carousel

        home, folder = RunFolder(self.state("")), self.state(name)
        asked = {"digests": self._digests, "options": {option: str(value) for option, value in options.items()}}
        before = home.read_json(f"{name}.json", {})
        if before.get("asked") == asked and (folder / "config.yaml").exists():
            run = carousel.load(folder)
            self._count(before["begun"] + run.status.get("seconds", 0.0))
            return run if run.status.get("status") == "finished" else carousel.resume(folder, data=data)
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        home.write_json(f"{name}.json", {"asked": asked, "begun": self.seconds})
        return carousel.train(data, out=folder, threads=1, **options)

    def can_go_on(self) -> bool:
        """Whether there is something to go on from."""
        return self.state("").exists()

    def finish(self) -> None:
        """Remove what lies in `state`, and the parts that were kept elsewhere."""
        shutil.rmtree(self.state(""), ignore_errors=True)
        if self._store:
            (self.source / PARTS).unlink(missing_ok=True)


def code_digest(folder: Path) -> str:
    """SHA-256 of a recipe's own Python files, without their names."""
    return _digest([path for path in folder.rglob("*.py") if "__pycache__" not in path.parts])


def _digest(files: list[Path]) -> str:
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _plain(value: Any) -> Any:
    """A value as JSON knows it; NumPy's and PyTorch's numbers become Python's."""
    value = value.item() if hasattr(value, "item") else value
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
