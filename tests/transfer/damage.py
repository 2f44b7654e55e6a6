"""What may become of a partial and its journal between two runs, and what could tell."""

import random
import re
from collections.abc import Callable

from downloader.transfer import _journal
from tests.transfer.desk import Desk

Damage = Callable[[bytes, int], bytes]
UNREADABLE: dict[str, Damage] = {
    "torn": lambda text, at: text[: at % (len(text) + 1)],
    "lost": lambda _text, _at: b"",
    "zeros": lambda text, _: bytes(len(text)),
    "garbage": lambda text, at: random.Random(at).randbytes(len(text)),
    "newer": lambda text, _: text.replace(b'"version":1', b'"version":2'),
    "of another place": lambda text, _: text.replace(b'"place":"', b'"place":"f'),
}
"""What may become of a journal and costs no more than bytes; a number chooses where or how."""


def journals(desk: Desk) -> list[bytes]:
    """Return what stands in each journal."""
    return [each.read_bytes() for each in desk.workspace.glob("partials/*.journal")]


def furthest_named(desk: Desk) -> int:
    """Return where the last byte lies that any line of a journal names."""
    ends = [int(end) for text in journals(desk) for end in re.findall(rb",(\d+)\]", text)]
    return max(ends, default=0)


def is_bound_to_a_digest(desk: Desk) -> bool:
    """Whether there is a partial, and damage to it would be found."""
    found = [_journal.load(text) for text in journals(desk)]
    bound = [one is not None and bool(one[0].sha256) for one in found]
    return any(bound) and bool(list(desk.workspace.glob("partials/*.part")))
