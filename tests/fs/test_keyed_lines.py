"""A file of JSON lines by key: what many threads and processes append, and when it is rewritten."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from downloader.errors import StoreError
from downloader.fs import files
from downloader.fs.files import KeyedLines
from downloader.fs.rooted_path import RootedPath


class Line(msgspec.Struct, frozen=True):
    """One line."""

    key: str
    value: int


Make = Callable[[], KeyedLines[Line]]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Give a function that opens the file as another process would."""
    return lambda: KeyedLines(
        RootedPath(tmp_path, "lines"),
        Line,
        lambda line: line.key,
        lambda lines: (line for line in lines if line.value >= 0),
    )


def read(lines: KeyedLines[Line], *keys: str) -> list[int | None]:
    """Return the values of keys, once all of the file is read."""
    lines.refresh()
    return [found.value if (found := lines.get(key)) else None for key in keys]


def test_the_last_sound_line_of_a_key_counts(make: Make, tmp_path: Path) -> None:
    """A torn, a foreign and an unsound line are passed over."""
    make().append([Line("a", 1), Line("b", 1), Line("a", 2)])
    with (tmp_path / "lines").open("ab") as file:
        file.write(b'{"key":"b","value":-1}\nnonsense\n{"key":"a"')
    assert read(make(), "a", "b", "c") == [2, 1, None]
    make().append([Line("c", 3)])
    assert read(make(), "a", "b", "c") == [2, 1, 3]


def test_a_rewrite_keeps_what_others_appended(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though this process has not read that yet."""
    monkeypatch.setattr(files, "SPARE_LINES", 3)
    ours, theirs = make(), make()
    for value in range(8):
        ours.append([Line("ours", value)])
    ours.refresh()
    theirs.append([Line("theirs", 7)])
    ours.append([Line("ours", 8)])
    assert len((tmp_path / "lines").read_bytes().splitlines()) == 2
    assert read(make(), "ours", "theirs") == [8, 7]
    assert read(theirs, "ours", "theirs") == [8, 7]


def test_threads_lose_no_line(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However often the file is rewritten meanwhile."""
    monkeypatch.setattr(files, "SPARE_LINES", 2)
    lines, keys = make(), [f"k{number}" for number in range(40)]

    def append(key: str) -> None:
        for number in range(5):
            lines.append([Line(key, number)])
            lines.refresh()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(append, keys))
    assert read(make(), *keys) == [4] * len(keys)
    assert len((tmp_path / "lines").read_bytes().splitlines()) < 5 * len(keys)


def test_only_what_is_wanted_stays(make: Make, tmp_path: Path) -> None:
    """And a file with nothing to drop is not written again."""
    make().append([Line("a", 1), Line("b", 2)])
    lines = make()
    lines.keep_only(lambda line: line.key == "b")
    assert (read(lines, "a", "b"), read(make(), "a", "b")) == ([None, 2], [None, 2])
    before = (tmp_path / "lines").stat()
    lines.keep_only(lambda _: True)
    assert (tmp_path / "lines").stat().st_ino == before.st_ino


def test_a_disk_that_refuses_is_an_error_and_the_line_is_known_here(
    make: Make, tmp_path: Path
) -> None:
    """So this process need not find out the same again."""
    (tmp_path / "lines").mkdir()
    lines = make()
    with pytest.raises(StoreError):
        lines.append([Line("a", 1)])
    assert lines.get("a") == Line("a", 1)
