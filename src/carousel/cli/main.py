"""`carousel VERB …`: finds the verb's file and turns errors into sentences.

PyTorch is loaded by the verbs that need it, when they need it.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
import warnings

from carousel import __version__
from carousel.errors import CarouselError

__all__ = ["VERBS", "main"]

VERBS = {
    "train": "train a recurrent network on your text, labelled sequences, tagged words or series",
    "resume": "continue a run that was stopped or killed",
    "sample": "let a network write that was trained on a text",
    "predict": "name labels or tags with a network that was trained on such",
    "ensemble": "score several runs beside the mean of their answers",
    "forecast": "forecast what comes after a series, with intervals",
    "vectors": "make vectors of the words of your texts, to begin training with",
    "summary": "print a network layer by layer: shapes, parameters, memory, multiply-adds",
    "rate": "suggest a learning rate for your data, by a range test",
    "tune": "find settings for your data by trials on the dev part",
    "report": "write a run's page anew",
    "inspect": "look inside a network: what its units track, gates, memory, gradients; or draw a circuit",
    "explain": "show what the compiler makes of a cell, stage by stage",
    "doctor": "run your own training script, and say what is wrong with it",
    "bench": "time a cell on this machine, beside PyTorch's LSTM and other peers",
    "recipe": "list and run the classic systems with their published numbers",
}

HELP = f"""Carousel {__version__}: write a recurrent cell as its equations, train it on your own files, look inside.

usage: carousel VERB [OPTIONS]

{chr(10).join(f"  {verb:<8} {about}" for verb, about in VERBS.items())}

`carousel VERB --help` explains a verb. `--debug` with any verb shows the traceback of an error.
Begin with: carousel train python-stdlib --minutes 2
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the command line; the exit code is 0 fine, 1 the work failed, 2 wrong use, 130 stopped with Ctrl-C."""
    arguments = sys.argv[1:] if arguments is None else arguments
    debug = "--debug" in arguments
    given, arguments = arguments, [a for a in arguments if a != "--debug"]
    if arguments[:1] != ["doctor"]:  # a script finds the environment as it is
        _wait_politely()
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(HELP, end="")
        return 0
    if arguments[0] in ("-V", "--version"):
        print(__version__)
        return 0
    verb, *rest = arguments
    if verb not in VERBS:
        near = difflib.get_close_matches(verb, VERBS, n=1)
        hint = f"Did you mean `carousel {near[0]}`?" if near else f"The verbs are {', '.join(VERBS)}."
        print(f"carousel: there is no verb {verb!r}. {hint}", file=sys.stderr)
        return 2
    try:
        home = importlib.import_module(f"carousel.cli.{verb}")
        if getattr(home, "RUNS_A_SCRIPT", False):
            return home.run(given[given.index(verb) + 1 :])  # a --debug behind the script's name is the script's
        with warnings.catch_warnings():
            warnings.simplefilter("default")
            warnings.showwarning = lambda message, *_, **__: print(f"note: {message}", file=sys.stderr)
            return home.run(rest) or 0
    except CarouselError as error:
        return _explain(error, str(error), error.exit_code, debug)
    except KeyboardInterrupt as stop:
        return _explain(stop, str(stop) or "Stopped.", 130, debug)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has gone, as in `carousel sample RUN | head`
        return 0
    except MemoryError as error:
        message = "The memory of this machine is used up; try a smaller --batch or --hidden-size."
        return _explain(error, message, 1, debug)
    except Exception as error:
        summary = f"{type(error).__name__}: {error}".splitlines()[0]
        return _explain(error, f"Something that Carousel did not expect: {summary} (--debug shows where).", 1, debug)


def _wait_politely() -> None:
    """Let OpenMP's threads spin for microseconds, not milliseconds, before they sleep; read when PyTorch is loaded.

    A recurrent network meets a barrier several times per time step. With libgomp's default, other busy processes on
    the machine can make training dozens of times slower, because the threads that wait keep the core that the awaited
    one needs; without such processes it makes no difference (`python -m benchmarks.waiting`).
    """
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = "1000"


def _explain(error: BaseException, message: str, code: int, debug: bool) -> int:
    if debug:
        traceback.print_exception(error)
    print(f"carousel: {message}", file=sys.stderr)
    return code
