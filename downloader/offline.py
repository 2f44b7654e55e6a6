"""What a run without network could not bring: told once, all together, when it is over."""

from collections.abc import Sequence
from itertools import groupby
from typing import NamedTuple

from downloader.errors import Offline
from downloader.progress import bytes_text, counted

MOST_LINES = 20


class Missing(NamedTuple):
    """A file that is neither here nor in the store."""

    model: str
    path: str
    size: int | None
    """In bytes; None where nobody knows it yet."""


def offline(missing: Sequence[Missing]) -> Offline:
    """Return one error for all of them, with a line for each file and at most some twenty."""
    found = sorted(set(missing), key=lambda each: each[:2])
    lines = [_head(found)]
    for model, files in groupby(found[:MOST_LINES], key=lambda each: each.model):
        lines += [f"  {model}", *(f"    {each.path} ({_size(each)})" for each in files)]
    if len(found) > MOST_LINES:
        lines.append(f"  and {counted(len(found) - MOST_LINES, 'file')} more")
    return Offline("\n".join(lines))


def _head(found: Sequence[Missing]) -> str:
    known = sum(each.size or 0 for each in found)
    least = "at least " if any(each.size is None for each in found) else ""
    are = "is" if len(found) == 1 else "are"
    return (
        f"{counted(len(found), 'file')} ({least}{bytes_text(known)}) {are} neither here nor in the "
        "store, and MODELMAKE_OFFLINE is set:"
    )


def _size(each: Missing) -> str:
    return "size not known" if each.size is None else bytes_text(each.size)
