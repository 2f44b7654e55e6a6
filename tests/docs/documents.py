"""The documents of this checkout, and how to read what they show."""

import re
import shlex
import tomllib
from dataclasses import dataclass

from tests.e2e.project import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECTION = re.compile(r"^## (.*?)\n(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"\d[\d.,:]*(?: [kMGT]?B\b)?(?<![.,])")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page.

    Attributes:
        place: The heading above it, its language, and which of these it is, from 1.
        text: What stands in it.
    """

    place: str
    text: str


def placed_blocks(text: str) -> list[Block]:
    """Return every fenced block below a heading of the second level, in order."""
    found: list[Block] = []
    for heading, section in SECTION.findall(text):
        for language, body in FENCE.findall(section):
            place = f"{heading}, {language}"
            number = 1 + sum(each.place.startswith(f"{place} ") for each in found)
            found.append(Block(f"{place} {number}", body))
    return found


def form(line: str) -> str:
    """Return a line with its figures, sizes and times made equal."""
    return FIGURE.sub("N", line)


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [body for found, body in FENCE.findall(text) if found == language]


def commands(text: str) -> list[list[str]]:
    """Return each command of the shell blocks as its words, comments left out."""
    lines = [line for block in blocks(text, "sh") for line in block.splitlines()]
    parts = [part for line in lines for part in line.partition("#")[0].split("&&")]
    return [words for part in parts if (words := shlex.split(part))]


def named(words: list[str]) -> str:
    """Return a command as the id of a test."""
    return " ".join(words) or "doit"


def page(name: str) -> str:
    """Return the text of a file in docs/."""
    return (REPOSITORY / "docs" / name).read_text(encoding="utf-8")


def first_cells(text: str) -> list[str]:
    """Return the first cell of every row of every table."""
    return re.findall(r"^\| ([^|]*) \|", text, re.MULTILINE)


def modules() -> list[str]:
    """Return the modules of the package as paths below it, `__init__.py` left out."""
    package = REPOSITORY / "downloader"
    found = (path.relative_to(package).as_posix() for path in package.rglob("*.py"))
    return sorted(path for path in found if not path.endswith("__init__.py"))
