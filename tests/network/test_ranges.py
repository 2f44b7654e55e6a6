"""Half-open ranges and their two forms on the wire."""

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.network.ranges import (
    Range,
    merge,
    parse_content_range,
    parse_unsatisfied,
    prefix,
    range_header,
)

SMALL = st.integers(0, 60)
RANGES = st.lists(st.builds(lambda start, length: Range(start, start + length), SMALL, SMALL))
OFFSETS = st.integers(0, 2**53)


def covered(ranges: list[Range]) -> set[int]:
    return {each for start, stop in ranges for each in range(start, stop)}


@given(RANGES)
def test_merging_loses_and_adds_no_byte(ranges: list[Range]) -> None:
    """What is merged covers exactly the bytes that were there."""
    assert covered(merge(ranges)) == covered(ranges)


@given(RANGES)
def test_merged_ranges_are_sorted_apart_and_not_empty(ranges: list[Range]) -> None:
    """Merged ranges stand in order, with a gap between each two, and none is empty."""
    merged = merge(ranges)
    assert all(start < stop for start, stop in merged)
    assert all(one.stop < other.start for one, other in pairwise(merged))


@given(RANGES)
def test_merging_again_changes_nothing(ranges: list[Range]) -> None:
    """Merging is idempotent."""
    assert merge(merge(ranges)) == merge(ranges)


@given(RANGES)
def test_the_prefix_ends_at_the_first_missing_byte(ranges: list[Range]) -> None:
    """The prefix counts the bytes from the first one on without a gap."""
    there = covered(ranges)
    missing = next(each for each in range(len(there) + 1) if each not in there)
    assert prefix(ranges) == missing


@given(OFFSETS, st.integers(1, 2**53), st.integers(0, 2**53))
def test_a_range_comes_back_from_its_header(start: int, length: int, rest: int) -> None:
    """What is asked for in a Range and echoed in a Content-Range is the same half-open range."""
    stop = start + length
    echoed = f"{range_header(start, stop).replace('=', ' ')}/{stop + rest}"
    assert parse_content_range(echoed) == (Range(start, stop), stop + rest)


def test_the_header_is_open_only_where_the_end_is_unknown() -> None:
    """A closed range is asked for whenever the size is known."""
    assert range_header(10, None) == "bytes=10-"
    assert range_header(10, 20) == "bytes=10-19"


def test_a_total_may_be_unknown() -> None:
    """A server that writes * for the size tells the range alone."""
    assert parse_content_range("bytes 0-0/*") == (Range(0, 1), None)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "bytes */10",
        "bytes 5-4/10",
        "bytes 0-10/10",
        "items 0-4/10",
        "bytes 0-4",
        "bytes 0-4/-1",
        "bytes -4/10",
        "bytes=0-4/10",
        "bytes 0-4/10, bytes 5-6/10",
        "bytes 0-4/10\nx",
        "bytes 0-4/9999999999999999999",
        "bytes \N{ARABIC-INDIC DIGIT ONE}-4/10",
    ],
)
def test_a_malformed_content_range_is_an_error(text: str) -> None:
    """Only one well-formed byte range is read."""
    with pytest.raises(ValueError, match=re.escape(text) + r"\Z"):
        parse_content_range(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("bytes */10", 10), ("bytes */0", 0), ("bytes */*", None), ("bytes 0-1/10", None), ("", None)],
)
def test_a_416_names_the_size_or_nothing(text: str, size: int | None) -> None:
    """The size in a 416 is read from `bytes */N` alone."""
    assert parse_unsatisfied(text) == size
