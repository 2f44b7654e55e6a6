"""Errors: the drawn tree is the real one, and each is told in one to three lines."""

import html
import inspect
import json
import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import quote, quote_plus

import pytest

from downloader import errors
from downloader.errors import ModelmakeError, ServerBusy, note_secret, one_line, shown

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


HIDDEN = ["\x00", "\x1b[31m", "\x7f", "\x85", "\x9b31m", "\u202e", "\u2028", "\n", "\r", "\ud800"]


@pytest.mark.parametrize("hidden", HIDDEN, ids=ascii)
def test_no_message_steers_a_terminal(hidden: str) -> None:
    """Control characters, line ends and direction marks are shown as escapes."""
    error = ModelmakeError(f"No {hidden} here.", hint=f"Try {hidden}.")
    assert str(error) == f"No {ascii(hidden)[1:-1]} here."
    assert error.report() == f"{error}\n  Try {ascii(hidden)[1:-1]}."
    assert one_line(str(error)) == str(error)


def test_letters_of_any_language_are_shown_as_they_are() -> None:
    """What is no control character is no harm."""
    assert str(ModelmakeError("modèle/模型.bin is gone.")) == "modèle/模型.bin is gone."


def test_several_lines_are_given_one_by_one() -> None:
    """A line end within one of them does not make another."""
    assert str(ModelmakeError(["Two are gone:", "  a", "  b\nc"])) == "Two are gone:\n  a\n  b\\nc"


def test_a_long_text_is_cut_in_its_middle() -> None:
    """The end of a sentence says what to do about it."""
    message = str(ModelmakeError(f"The key {'k' * 100_000} is not known."))
    assert len(message) == 1000
    assert re.fullmatch(r"The key k+\.\.\.k+ is not known\.", message)
    assert len(shown("k" * 100_000)) == 200
    assert shown("k" * 200) == "k" * 200


SECRET = "päss/w+rd:%41 'x\"=="
ENCODED = {
    "as it is": SECRET,
    "lower case": SECRET.lower(),
    "upper case": SECRET.replace("ä", "\0").upper().replace("\0", "ä"),
    "in Latin-1": SECRET.encode().decode("latin-1"),
    "percent-encoded": quote(SECRET, safe=""),
    "in lower-case digits": quote(SECRET, safe="").lower(),
    "as a path": quote(SECRET),
    "as a form": quote_plus(SECRET),
    "as JSON": json.dumps(SECRET),
    "as HTML": html.escape(SECRET),
    "as Python": repr(SECRET),
    "without padding": SECRET.rstrip("="),
}


@pytest.mark.parametrize("encoded", ENCODED.values(), ids=ENCODED.keys())
def test_a_secret_is_in_no_text_however_it_is_written(encoded: str) -> None:
    """A server writes what it repeats in its own way."""
    note_secret(SECRET)
    error = ModelmakeError(f"It said {encoded}, twice: {encoded}.", hint=f"Not {encoded}.")
    assert error.report().count("***") == 3
    for rest in ("rd", "RD", "41", "ss"):
        assert rest not in error.report()


def test_a_secret_is_taken_out_before_a_text_is_cut() -> None:
    """Half a key would be shown otherwise."""
    note_secret("canary-of-the-cut")
    for before in range(120, 220):
        assert "canary" not in shown("-" * before + "canary-of-the-cut" + "-" * 300)


def test_an_ordinary_word_is_taken_out_of_replies_only() -> None:
    """A user may be called like a file of ours."""
    note_secret("models", is_hint=True)
    assert shown("models and models.yaml", is_reply=True) == "*** and ***.yaml"
    assert str(ModelmakeError("models.yaml is gone.")) == "models.yaml is gone."


def test_a_short_text_is_no_secret() -> None:
    """It would take holes out of every message."""
    note_secret("file")
    assert str(ModelmakeError("The file is gone.")) == "The file is gone."


def test_secrets_with_one_beginning_are_sorted_when_a_text_may_hold_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Thousands of signed URLs begin alike: to sort them at each note took minutes."""
    sorts: list[int] = []

    def counting(found: Iterable[str], **keys: Any) -> list[str]:
        kept = sorted(found, **keys)
        sorts.append(len(kept))
        return kept

    monkeypatch.setattr(errors, "sorted", counting, raising=False)
    for number in range(100):
        errors.note_secret(f"samebeginning-{number}")
        assert not sorts
    for _ in range(10):
        assert errors.without_secrets("of samebeginning-42.") == "of ***."
    assert sorts == [100]
    errors.note_secret("samebeginning-42.more")
    assert errors.without_secrets("of samebeginning-42.more.") == "of ***."
