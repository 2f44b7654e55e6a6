"""The journal: what it holds comes back, and what is torn is not believed."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.fs.rooted_path import RootedPath
from downloader.network.ranges import Range, merge
from downloader.transfer._journal import Binding, Journal, dump_head, dump_ranges, load

PLACE, DIGEST = "12" * 32, "ab" * 32
PATHS = st.lists(st.text("abé模01", min_size=1), min_size=1, max_size=3).map("/".join)
DIGESTS = st.text("0123456789abcdef", min_size=64, max_size=64)
VALIDATORS = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=20)
SIZES = st.none() | st.integers(0, 2**53)
BINDINGS = st.builds(
    Binding,
    path=PATHS,
    place=DIGESTS,
    size=SIZES,
    sha256=st.none() | DIGESTS,
    validator=st.none() | VALIDATORS,
    git_sha1=st.none() | st.text("0123456789abcdef", min_size=40, max_size=40),
)
LENGTHS = st.integers(1, 2**53)
RANGES = st.lists(
    st.builds(lambda start, length: Range(start, start + length), LENGTHS, LENGTHS), max_size=4
).map(merge)
HISTORIES = st.lists(RANGES, max_size=5)
BINDING = Binding(path="m.bin", place=PLACE, size=9, sha256=DIGEST, validator='"v"')


def written(binding: Binding, history: list[list[Range]]) -> bytes:
    return dump_head(binding) + b"".join(map(dump_ranges, history))


@given(BINDINGS, HISTORIES)
def test_the_last_line_comes_back(binding: Binding, history: list[list[Range]]) -> None:
    """A whole journal gives its binding and the ranges that were written last."""
    assert load(written(binding, history)) == (binding, history[-1] if history else [])


@given(BINDINGS, HISTORIES, st.data())
def test_any_cut_gives_an_earlier_state_or_nothing(
    binding: Binding, history: list[list[Range]], data: st.DataObject
) -> None:
    """A journal torn at any byte never claims what it did not claim at some moment before."""
    whole = written(binding, history)
    found = load(whole[: data.draw(st.integers(0, len(whole)))])
    assert found is None or (found[0] == binding and found[1] in [[], *history])


@given(BINDINGS, st.lists(RANGES, min_size=1, max_size=5), st.data())
def test_a_torn_last_line_costs_that_line_only(
    binding: Binding, history: list[list[Range]], data: st.DataObject
) -> None:
    """What was whole before a torn line still counts."""
    last = dump_ranges(history[-1])
    torn = last[: data.draw(st.integers(0, len(last) - 1))]
    before = history[-2] if len(history) > 1 else []
    assert load(written(binding, history[:-1]) + torn) == (binding, before)


@given(st.binary(max_size=200))
def test_garbage_is_read_as_nothing(text: bytes) -> None:
    """No bytes at all make the journal's reader fail."""
    assert load(text) is None


@given(st.binary(max_size=100))
def test_garbage_after_the_head_claims_only_sound_ranges(text: bytes) -> None:
    """Whatever follows a sound head, no range runs backwards or begins before the file."""
    found = load(dump_head(BINDING) + text)
    assert found is not None
    assert all(0 <= start < stop for start, stop in found[1])


@pytest.mark.parametrize(
    "text",
    [
        b"",
        bytes(500),
        dump_head(BINDING)[:-1],
        dump_head(BINDING).replace(b'"version":1', b'"version":2'),
        json.dumps({"version": 1, "binding": {"path": "m.bin"}}).encode() + b"\n",
        b"[" * 5000,
    ],
    ids=["empty", "zeros", "torn head", "newer version", "missing fields", "deep"],
)
def test_a_foreign_or_torn_head_is_no_journal(text: bytes) -> None:
    """Without its first line nothing tells what the bytes belong to."""
    assert load(text) is None


@pytest.mark.parametrize(
    "line", [b"[[5,3]]", b"[[-1,3]]", b"[[0,0]]", b"[[0,1.5]]", b"[[0]]", b"{}"]
)
def test_an_impossible_line_ends_belief_in_it(line: bytes) -> None:
    """A line that is whole and makes no sense vouches for nothing of its own."""
    found = load(dump_head(BINDING) + dump_ranges([Range(0, 4)]) + line + b"\n")
    assert found is not None
    assert found[1] in ([], [Range(0, 4)])


def other(**changes: str | int | None) -> Binding:
    fields = {"path": "m.bin", "place": PLACE, "size": 9, "sha256": DIGEST, "validator": None}
    return Binding(**{**fields, **changes})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("wanted", "admitted"),
    [
        (other(), True),
        (other(size=None), True),
        (other(path="n.bin"), False),
        (other(place=DIGEST), False),
        (other(size=10), False),
        (other(sha256=PLACE), False),
        (other(sha256=None), False),
    ],
)
def test_bytes_are_taken_over_only_for_the_very_same_file(wanted: Binding, admitted: bool) -> None:
    """Another path, place, size or digest makes what is there worthless."""
    assert wanted.admits(BINDING) is admitted


def test_bytes_nothing_vouches_for_are_not_taken_over() -> None:
    """Without digest and without strong validator, later bytes could be of another version."""
    bare = other(sha256=None)
    assert not bare.can_resume
    assert not bare.admits(bare)
    assert other(sha256=None, validator='"v"').can_resume


def test_a_line_after_a_torn_one_is_read(tmp_path: Path) -> None:
    """What a full disk or a kill tore does not spoil the line that is written next."""
    path = tmp_path / "m.journal"
    book = Journal(RootedPath.of(path))
    book.note(BINDING, [Range(0, 10)])
    with path.open("ab") as file:
        file.write(b"[[0,2")
    again = Journal(RootedPath.of(path))
    assert again.read() == (BINDING, [Range(0, 10)])
    again.note(BINDING, [Range(0, 30)])
    assert Journal(RootedPath.of(path)).read() == (BINDING, [Range(0, 30)])


def test_a_journal_that_is_removed_says_nothing(tmp_path: Path) -> None:
    """Removing it twice is no error."""
    book = Journal(RootedPath.of(tmp_path / "m.journal"))
    book.note(BINDING, [Range(0, 10)])
    book.remove()
    book.remove()
    assert book.read() is None


@pytest.mark.parametrize(
    "changes",
    [
        {"path": "../m.bin"},
        {"path": "/m.bin"},
        {"place": "../" * 22},
        {"sha256": "/etc/passwd"},
        {"sha256": "AB" * 32},
        {"size": -1},
        {"size": 2**63},
        {"validator": '"v"\r\nX-Evil: 1'},
        {"validator": ""},
        {"validator": '"\u2028"'},
    ],
    ids=str,
)
def test_a_binding_that_we_cannot_have_written_is_no_journal(changes: dict[str, Any]) -> None:
    """Its validator would go into a header, and its size would bound what is written."""
    assert load(written(BINDING, [[Range(0, 4)]])) is not None
    assert load(written(other(**changes), [[Range(0, 4)]])) is None
