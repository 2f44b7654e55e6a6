"""Half-open byte intervals of a file, and their two forms on the wire. Pure.

Inside the program a range is `[start, stop)`. Only the HTTP header is inclusive (RFC 9110 §14.1).
"""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

CONTENT_RANGE = r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)"
UNSATISFIED = r"bytes \*/([0-9]{1,18})"


class Range(NamedTuple):
    """The bytes from `start` up to, not including, `stop`."""

    start: int
    stop: int

    @property
    def length(self) -> int:
        """Its length in bytes."""
        return self.stop - self.start


def range_header(start: int, stop: int | None) -> str:
    """Return the value of a Range header.

    The form is closed whenever the end is known: Azure's oldest dialect has no other
    (Microsoft, "Specifying the range header", service versions before 2011-08-18).
    """
    return f"bytes={start}-{'' if stop is None else stop - 1}"


def parse_content_range(text: str) -> tuple[Range, int | None]:
    """Read the Content-Range of a 206.

    Returns:
        The range, and the file's size in bytes, None when the server wrote `*`.

    Raises:
        ValueError: It is not one well-formed byte range.
    """
    match = re.fullmatch(CONTENT_RANGE, text.strip())
    if not match:
        raise ValueError(text)
    first, last, size = int(match[1]), int(match[2]), match[3]
    total = None if size == "*" else int(size)
    if last < first or (total is not None and last >= total):
        raise ValueError(text)
    return Range(first, last + 1), total


def parse_unsatisfied(text: str) -> int | None:
    """Return the size in bytes that a 416 names in `bytes */N`, or None."""
    match = re.fullmatch(UNSATISFIED, text.strip())
    return int(match[1]) if match else None


def merge(ranges: Iterable[Range]) -> list[Range]:
    """Return the ranges sorted, with those that touch or overlap joined, and no empty ones."""
    merged: list[Range] = []
    for start, stop in sorted(ranges):
        if merged and start <= merged[-1].stop:
            merged[-1] = Range(merged[-1].start, max(stop, merged[-1].stop))
        elif start < stop:
            merged.append(Range(start, stop))
    return merged


def without(merged: Iterable[Range], taken: Iterable[Range]) -> list[Range]:
    """Return what is left of merged ranges when others, merged too, are taken out of them."""
    left = list(merged)
    for out in taken:
        left = [
            part
            for span in left
            for part in (
                Range(span.start, min(span.stop, out.start)),
                Range(max(span.start, out.stop), span.stop),
            )
            if part.start < part.stop
        ]
    return left


def prefix(ranges: Sequence[Range]) -> int:
    """Return how many bytes are there from the first byte on without a gap."""
    merged = merge(ranges) if len(ranges) > 1 else ranges
    return merged[0].stop if merged and merged[0].start == 0 else 0


def total(ranges: Iterable[Range]) -> int:
    """Return how many bytes merged ranges hold."""
    return sum([stop - start for start, stop in ranges])


def first_gap(merged: Iterable[Range], size: int) -> Range:
    """Return the first range that merged ranges leave out of the first `size` bytes."""
    start = 0
    for span in merged:
        if span.start > start:
            return Range(start, span.start)
        start = span.stop
    return Range(start, size)
