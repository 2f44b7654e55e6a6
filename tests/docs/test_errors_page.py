"""docs/errors.md is held against the code: the tree, and the messages that it explains."""

import ast
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from downloader import errors
from tests.docs.documents import modules, page
from tests.e2e.project import REPOSITORY

PAGE = page("errors.md")
MESSAGES, TREE = PAGE.split("## Error classes")
TOLD = re.findall(r"^\| `([^`]+)` \|", MESSAGES, re.MULTILINE)


def strings() -> Iterator[str]:
    """Yield every text of the package, with … for what an f-string puts in."""
    for module in modules():
        tree = ast.parse((REPOSITORY / "downloader" / module).read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                yield node.value
            elif isinstance(node, ast.JoinedStr):
                yield "".join(
                    str(part.value) if isinstance(part, ast.Constant) else "…"
                    for part in node.values
                )


STRINGS = "\n".join(strings())


def test_every_error_has_one_row() -> None:
    """Each class of the tree once, with a star where it is transient."""
    rows = re.findall(r"^\| `(\w+)`( \*)? \|", TREE, re.MULTILINE)
    classes = [each for each in vars(errors).values() if isinstance(each, type)]
    tree = [each for each in classes if issubclass(each, errors.ModelmakeError)]

    assert Counter(rows) == Counter((e.__name__, " *" if e.retryable else "") for e in tree)


@pytest.mark.parametrize("message", TOLD[1:])
def test_a_message_is_one_that_the_program_says(message: str) -> None:
    """It is in the code as it stands on the page, as far as the page quotes it."""
    assert message.strip("… ") in STRINGS


def test_the_check_of_messages_has_teeth() -> None:
    """A message that nobody says would be found, and all of them are looked at."""
    assert "could not be loaded from" not in STRINGS
    assert len(TOLD) > 20
    assert TOLD[0].startswith("models.yaml:LINE: ")  # the only one made of parts
