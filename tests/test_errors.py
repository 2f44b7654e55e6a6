"""Errors: the drawn tree is the real one, and each is told in one to three lines."""

import inspect
import re

import pytest

from downloader import errors
from downloader.errors import ModelmakeError, ServerBusy

CLASSES = [
    found
    for found in vars(errors).values()
    if inspect.isclass(found) and issubclass(found, ModelmakeError)
]


def drawn() -> list[tuple[str, int, bool]]:
    """Return the module's docstring tree as (name, depth, whether it is starred)."""
    text = errors.__doc__ or ""
    line = re.compile(r"^ {4}((?:\|   |    )*)(?:[|`]- )?([A-Z]\w+)( \*)?(?= |$)", re.MULTILINE)
    tree = text.partition("\n\n")[2].partition("\n\n")[0]
    return [
        (name, (1 + len(indent) // 4) * (name != "ModelmakeError"), bool(star))
        for indent, name, star in line.findall(tree + "\n")
    ]


def depth(kind: type[ModelmakeError]) -> int:
    return kind.__mro__.index(ModelmakeError)


def test_the_tree_in_the_docstring_is_the_tree_of_classes() -> None:
    """Every class is drawn, in its place, with a star where trying again may help."""
    assert drawn() == [(kind.__name__, depth(kind), kind.retryable) for kind in CLASSES]


@pytest.mark.parametrize("kind", CLASSES)
def test_a_report_has_one_to_three_lines(kind: type[ModelmakeError]) -> None:
    """What happened, and below it what to do: the class's advice unless another hint is given."""
    error = kind("The file is gone.")
    assert error.report().splitlines() == [
        "The file is gone.",
        *[f"  {kind.advice}"] * bool(kind.advice),
    ]
    assert kind("Gone.", hint="Look elsewhere.").report() == "Gone.\n  Look elsewhere."
    assert kind("Gone.", hint="").report() == "Gone."
    assert str(error) == "The file is gone."


@pytest.mark.parametrize("kind", CLASSES)
def test_an_advice_is_one_whole_sentence(kind: type[ModelmakeError]) -> None:
    """Advice fits one line and ends with a full stop."""
    assert kind.advice == "" or re.fullmatch(r"[A-Z][^\n]{1,100}\.", kind.advice)


def test_a_busy_server_may_say_when_to_come_back() -> None:
    """The wait is carried in seconds, and is not known by default."""
    assert ServerBusy("Busy.", wait_seconds=1.5).wait_seconds == 1.5
    assert ServerBusy("Busy.").wait_seconds is None
