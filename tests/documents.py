"""The documents of this checkout, and how to read what they show."""

import re
import tomllib

from tests.e2e.project import REPOSITORY

README = (REPOSITORY / "README.md").read_text(encoding="utf-8")
PYPROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
FENCE = re.compile(r"^```(\S*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def blocks(text: str, language: str) -> list[str]:
    """Return the fenced blocks of a language."""
    return [body for found, body in FENCE.findall(text) if found == language]


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
