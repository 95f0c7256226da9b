"""The run folder: the only code that reads or writes one.

    config.yaml         the resolved settings                 env.json        versions, processor, threads, command
    metrics.jsonl       a JSON object a line, losses in nats  samples.jsonl   what the network wrote, and when
    model.safetensors   the weights to use                    tokenizer.json  text <-> ids
    last.ckpt           everything that resuming needs        previous.ckpt   the checkpoint before it
    findings.json       what the doctor says of the run       status.json     how far it got
    cell.py.txt         source of the user's own cell, for the record: never executed
    report.html

Every file is replaced atomically; the `.jsonl` files grow line by line, and lines beyond the checkpoint are cut off
when a run is resumed. Nothing in the folder executes code when it is loaded.
"""

from __future__ import annotations

import contextlib
import errno
import io
import json
import math
import os
import pickle
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

try:
    import fcntl
except ImportError:  # Windows has no flock
    fcntl = None

from ..errors import RunFolderError, UsageError

__all__ = ["FORMAT", "RunFolder"]

FORMAT, OLDEST_CHECKPOINT = 2, 2
"""Version of the folder's layout; a newer one is refused with a sentence, and so is a checkpoint that is too old."""


class RunFolder:
    """A run on disk. Make one with `create` or `open`; a `silent` one leaves the writing to another process."""

    def __init__(self, path: Path, *, silent: bool = False):
        self.path, self.silent = path, silent

    # -- making and finding -------------------------------------------------------------------------------------------

    @classmethod
    def create(cls, path: str | Path) -> RunFolder:
        """A new, empty folder.

        Raises:
            UsageError: it exists and is not empty.
            RunFolderError: it can't be written.
        """
        folder = cls(Path(path))
        if folder._file("config.yaml").exists():
            raise UsageError(
                f"{path} holds a run already. Continue it with `carousel resume {path}`, or choose another --out."
            )
        with folder._writing():
            folder.path.mkdir(parents=True, exist_ok=True)
            if any(folder.path.iterdir()):
                raise UsageError(f"{path} exists and is not empty; choose a new folder with --out.")
            folder._replace("status.json", b"{}\n")
        return folder

    @classmethod
    def open(cls, path: str | Path, *, silent: bool = False) -> RunFolder:
        """An existing run.

        Raises:
            RunFolderError: there is none, or it was written by a newer version.
        """
        folder = cls(Path(path), silent=silent)
        if not folder.path.is_dir():
            raise RunFolderError(f"There is no run folder {path}; `carousel train DATA --out {path}` makes one.")
        if not folder._file("config.yaml").is_file():
            raise RunFolderError(f"{path} is not a run folder: it has no config.yaml.")
        written = folder.config.get("format", 0)
        if not isinstance(written, int) or written > FORMAT:
            raise RunFolderError(
                f"{path} was written by a newer Carousel (format {written}, this one reads up to {FORMAT}); "
                "upgrade with `pip install --upgrade carousel-nn`."
            )
        return folder

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Hold the folder for writing; a second process is told so instead of mixing two runs."""
        if self.silent or fcntl is None:
            yield
            return
        with self._writing():
            lock = self._file(".lock").open("w")
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                message = f"{self.path} is being trained by another process; wait for it or stop it."
                raise RunFolderError(message) from error
            yield

    # -- small documents ----------------------------------------------------------------------------------------------

    @property
    def config(self) -> dict[str, Any]:
        """The resolved settings, with `format`."""
        try:
            config = yaml.safe_load(self._file("config.yaml").read_text(encoding="utf-8"))
        except (OSError, yaml.YAMLError, UnicodeDecodeError) as error:
            raise RunFolderError(f"{self._file('config.yaml')} can't be read: {_one_line(error)}.") from error
        if not isinstance(config, dict):
            raise RunFolderError(f"{self._file('config.yaml')} holds no settings.")
        return config

    def write_config(self, config: dict[str, Any]) -> None:
        """Write the settings; done before training starts, and never changed by it."""
        text = yaml.safe_dump({"format": FORMAT, **config}, sort_keys=False, allow_unicode=True, width=120)
        self._replace("config.yaml", text.encode())

    def read_json(self, name: str, default: Any = None) -> Any:
        """A JSON document of the folder, or `default` when it is not there."""
        try:
            return json.loads(self._file(name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return default
        except (OSError, ValueError) as error:
            raise RunFolderError(f"{self._file(name)} can't be read: {_one_line(error)}.") from error

    def write_json(self, name: str, value: Any) -> None:
        """Replace a JSON document of the folder."""
        self._replace(name, (json.dumps(value, ensure_ascii=False, indent=1) + "\n").encode())

    @property
    def findings(self) -> dict[str, Any]:
        """What the doctor says: `findings`, of how many watched `steps`, and the `signals` that it rests on."""
        found = self.read_json("findings.json", {})
        if not isinstance(found, dict):  # of a run from before it was watched
            found = {"findings": found}
        return {"findings": [], "steps": 0, "signals": {}} | found

    def write_findings(self, findings: list[dict[str, Any]], steps: int = 0, signals: Any = None) -> None:
        """Replace `findings.json`."""
        self.write_json("findings.json", {"findings": findings, "steps": steps, "signals": signals or {}})

    def write_text(self, name: str, text: str) -> None:
        """Replace a text document of the folder."""
        self._replace(name, text.encode())

    # -- what grows line by line --------------------------------------------------------------------------------------

    def append(self, name: str, record: dict[str, Any]) -> None:
        """Add a line to `metrics.jsonl` or `samples.jsonl`; numbers that are not finite become null."""
        if self.silent:
            return
        line = json.dumps({k: _finite(v) for k, v in record.items()}, ensure_ascii=False)
        with self._writing(), self._file(name).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def lines(self, name: str) -> list[dict[str, Any]]:
        """All lines; a last one that was cut short by a kill is left out."""
        try:
            text = self._file(name).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            return []
        records = []
        for line in text.splitlines():
            with contextlib.suppress(ValueError):
                records.append(json.loads(line))
        return records

    def cut_lines_after(self, step: int) -> None:
        """Forget what was logged after `step`, because those steps will run again."""
        for name in ("metrics.jsonl", "samples.jsonl"):
            kept = [json.dumps(r, ensure_ascii=False) + "\n" for r in self.lines(name) if r.get("step", 0) <= step]
            self._replace(name, "".join(kept).encode())

    def forget_training(self) -> None:
        """Remove weights, checkpoints and what was logged: the run begins anew."""
        if self.silent:
            return
        with self._writing():
            for name in ("last.ckpt", "previous.ckpt", "model.safetensors", "metrics.jsonl", "samples.jsonl"):
                self._file(name).unlink(missing_ok=True)

    # -- weights and checkpoints --------------------------------------------------------------------------------------

    def save_model(self, tensors: dict[str, Any], about: dict[str, str]) -> None:
        """Write `model.safetensors`."""
        from safetensors.torch import save

        contiguous = {name: t.detach().cpu().contiguous() for name, t in tensors.items()}
        self._replace("model.safetensors", save(contiguous, {"format": "pt", **about}))

    def load_model(self) -> dict[str, Any]:
        """The tensors of `model.safetensors`.

        Raises:
            RunFolderError: missing or damaged.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load

        path = self._file("model.safetensors")
        try:
            return load(path.read_bytes())
        except FileNotFoundError as error:
            raise RunFolderError(
                f"{self.path} has no weights yet (model.safetensors); continue it with `carousel resume {self.path}`."
            ) from error
        except (OSError, SafetensorError) as error:
            raise RunFolderError(
                f"{path} is damaged: {_one_line(error)}. `carousel resume {self.path}` writes it again from the "
                "checkpoint."
            ) from error

    def save_checkpoint(self, state: dict[str, Any]) -> None:
        """Replace `last.ckpt`, keeping the one before as `previous.ckpt`; a kill at any moment leaves a good one."""
        import torch

        if self.silent:
            return
        buffer = io.BytesIO()
        torch.save({"format": FORMAT, **state}, buffer)
        last, previous = self._file("last.ckpt"), self._file("previous.ckpt")
        temporary = self._write_beside("last.ckpt", buffer.getbuffer())
        with self._writing():
            if last.exists():
                last.replace(previous)
            temporary.replace(last)
            self._sync_folder()

    def load_checkpoint(self) -> tuple[dict[str, Any] | None, list[str]]:
        """The newest good checkpoint, and a sentence about each that could not be used; None when training never began.

        Raises:
            RunFolderError: there are checkpoints, but none is good; or the newest is of a format that can't be read.
        """
        notes = []
        for name in ("last.ckpt", "previous.ckpt"):
            path = self._file(name)
            if not path.exists():
                continue
            try:
                return _read_checkpoint(path), notes
            except _DamagedError as damage:
                notes.append(f"{path} is damaged ({damage}).")
        if notes:
            raise RunFolderError(" ".join(notes) + " No good checkpoint is left; train again with another --out.")
        return None, notes

    # -- writing ------------------------------------------------------------------------------------------------------

    def _file(self, name: str) -> Path:
        return self.path / name

    def _replace(self, name: str, content: bytes) -> None:
        if self.silent:
            return
        with self._writing():
            self._write_beside(name, content).replace(self._file(name))

    def _write_beside(self, name: str, content: bytes | memoryview) -> Path:
        temporary = self._file(f".{name}.{os.getpid()}.tmp")
        with self._writing():
            try:
                with temporary.open("wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
            except OSError:
                temporary.unlink(missing_ok=True)
                raise
        return temporary

    def _sync_folder(self) -> None:
        handle = os.open(self.path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            advice = {
                errno.ENOSPC: "The disk is full: free some space",
                errno.EDQUOT: "Your quota is used up: free some space",
            }.get(error.errno or 0, "Choose another folder with --out")
            raise RunFolderError(
                f"The run folder {self.path} can't be written: {error.strerror or error}. {advice}; what was saved "
                "before is kept."
            ) from error


class _DamagedError(Exception):
    pass


def _read_checkpoint(path: Path) -> dict[str, Any]:
    import torch

    try:
        with zipfile.ZipFile(path) as archive:  # PyTorch itself does not look at the check sums
            bad = archive.testzip()
        if bad is not None:
            raise _DamagedError(f"check sum of {bad}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError, EOFError, KeyError) as error:
        raise _DamagedError(_one_line(error)) from error
    written = state.get("format", 0) if isinstance(state, dict) else 0
    if written > FORMAT:
        raise RunFolderError(
            f"{path} was written by a newer Carousel (format {written}, this one reads up to {FORMAT}); "
            "upgrade with `pip install --upgrade carousel-nn`."
        )
    if written < OLDEST_CHECKPOINT:
        raise RunFolderError(
            f"{path} was written by an older Carousel (format {written}, needed is {OLDEST_CHECKPOINT}); "
            "the weights of the run can be used as they are. To train longer, train anew with another --out."
        )
    return state


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _one_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0].rstrip(".")
