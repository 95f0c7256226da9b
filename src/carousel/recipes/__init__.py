"""The classic systems with their published numbers: one folder each, with its run file, its page and its stored result.

    run.py        one function, `run(recipe)`, written with Carousel's public names only
    README.md     the idea, the equations, what to look at; between two markers the table of the stored result
    result.json   what a full run measured, against what was expected and why

Example:
    >>> import carousel
    >>> carousel.recipes.title("hello")
    'four characters that need a memory'
    >>> result = carousel.recipes.run("hello", smoke=True)    # doctest: +SKIP
"""

from .recipe import Recipe, interval
from .runner import claims_in_markdown, code_digest, folder_of, names, run, stored, title, unmet
from .topics import TOPICS, Topic, topics

__all__ = [
    "TOPICS",
    "Recipe",
    "Topic",
    "claims_in_markdown",
    "code_digest",
    "folder_of",
    "interval",
    "names",
    "run",
    "stored",
    "title",
    "topics",
    "unmet",
]
