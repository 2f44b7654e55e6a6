"""What a document says to write into files: whole ones, and changes as diffs.

A block belongs to the file that the paragraph before it names, alone and with a colon.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

NAMED = re.compile(r"^`([^`\n]+)`:\n\n```(\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


class Edit(NamedTuple):
    """What is to be written: a whole file, or with the language `diff` a change of one."""

    file: str
    language: str
    body: str


def edits(text: str) -> list[Edit]:
    """Return what a document says to write, in its order."""
    return [Edit(*found) for found in NAMED.findall(text)]


def carry_out(edit: Edit, root: Path) -> None:
    """Write a file below a folder, or change it.

    Raises:
        AssertionError: What a diff takes away or leaves is not there exactly once.
    """
    file = root / edit.file
    if edit.language != "diff":
        file.write_text(edit.body, encoding="utf-8")
        return
    text = file.read_text(encoding="utf-8")
    for old, new in _hunks(edit.body):
        assert text.count(old) == 1, f"{edit.file} holds {text.count(old)} times: {old}"
        text = text.replace(old, new)
    file.write_text(text, encoding="utf-8")


def _hunks(diff: str) -> Iterator[tuple[str, str]]:
    for hunk in diff.split("@@\n")[1:]:
        lines = [(line[0], line[1:]) for line in hunk.splitlines(keepends=True)]
        yield (
            "".join(text for mark, text in lines if mark in " -"),
            "".join(text for mark, text in lines if mark in " +"),
        )
