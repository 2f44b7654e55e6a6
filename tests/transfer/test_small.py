"""A small file that nobody else is at grows in memory, and is on the disk in one step."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import ConnectionLost, DigestMismatch, StoreError
from downloader.fs.files import SMALL_BYTES
from downloader.fs.open_file import OpenFile
from tests.servers.faults import chunks, honest, timing
from tests.transfer.desk import BODY, PATH, Desk, pinned, sha256

SMALL = BODY[:20_000]
CUT = 15_000


@pytest.fixture
def alone(desk: Desk) -> Desk:
    """Give a desk whose server holds a small file that is nobody else's business."""
    desk.server.put(PATH, SMALL)
    desk.is_alone = True
    return desk


def written(desk: Desk, monkeypatch: pytest.MonkeyPatch, artifact: Artifact) -> list[str]:
    """Fetch, and return which files were written to, once for each write."""
    names = list[str]()
    write_at = OpenFile.write_at

    def noting(file: OpenFile, data: memoryview, offset: int) -> None:
        names.append(Path(file.path).suffix)
        write_at(file, data, offset)

    monkeypatch.setattr(OpenFile, "write_at", noting)
    desk.fetch(artifact)
    return names


def test_it_is_written_once_and_nothing_is_left(
    alone: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One write of the whole, and no partial or journal stays."""
    assert written(alone, monkeypatch, pinned(SMALL)) == [".part"]
    assert (alone.target.read_bytes(), alone.partials) == (SMALL, [])


@pytest.mark.parametrize("is_announced", [True, False])
@pytest.mark.parametrize("size", [SMALL_BYTES, SMALL_BYTES + 1, len(BODY)])
def test_a_file_that_is_larger_than_expected_goes_to_the_disk(
    alone: Desk, size: int, *, is_announced: bool
) -> None:
    """Memory is bounded whatever a server sends; such a file is asked for once more."""
    alone.server.put(PATH, BODY[:size])
    if not is_announced:
        alone.server.always(PATH, chunks.chunked())
    alone.fetch(pinned(BODY[:size], sized=False))
    assert (alone.target.read_bytes(), alone.partials) == (BODY[:size], [])
    assert len(alone.seen) == 1 + (size > SMALL_BYTES)


def test_a_broken_off_file_is_gone_on_with_in_the_same_run(alone: Desk) -> None:
    """What came is not asked for again."""
    alone.server.script(PATH, timing.drop_after(CUT))
    fetched = alone.fetch(pinned(SMALL))
    assert alone.asked == [None, f"bytes={CUT}-{len(SMALL) - 1}"]
    assert fetched.moved_bytes == len(SMALL)


def test_a_broken_off_file_is_gone_on_with_in_the_next_run(alone: Desk) -> None:
    """What did not arrive whole becomes an ordinary partial, with its journal."""
    alone.server.script(PATH, timing.drop_after(CUT))
    alone.server.always(PATH, timing.drop_after(0))
    alone.refuses(ConnectionLost, pinned(SMALL))
    assert [each.suffix for each in alone.partials] == [".journal", ".part"]
    assert alone.partial.read_bytes() == SMALL[:CUT]
    alone.server.always(PATH, honest)
    alone.fetch(pinned(SMALL))
    assert alone.asked[-1] == f"bytes={CUT}-{len(SMALL) - 1}"
    assert alone.partials == []


def test_what_another_run_left_is_gone_on_with(alone: Desk) -> None:
    """A partial on the disk comes before memory."""
    alone.is_alone = False
    alone.leave_partial(CUT, pinned(SMALL))
    alone.is_alone = True
    alone.fetch(pinned(SMALL))
    assert alone.asked[-1] == f"bytes={CUT}-{len(SMALL) - 1}"


def test_wrong_bytes_are_set_aside(alone: Desk) -> None:
    """They are what people may look at, as those of any file."""
    wrong = bytes(reversed(SMALL))
    alone.server.put(PATH, wrong)
    error = alone.refuses(DigestMismatch, pinned(SMALL))
    (aside,) = alone.quarantined
    assert aside.read_bytes() == wrong
    assert str(aside) in error.report()
    assert alone.partials == []


@pytest.mark.parametrize("refused", ["write_at", "sync"])
def test_a_disk_that_refuses_leaves_the_old_file(
    alone: Desk, monkeypatch: pytest.MonkeyPatch, refused: str
) -> None:
    """The target is as it was, and only what a later run goes on from is kept."""

    def refuse(file: OpenFile, *_: object) -> None:
        raise StoreError(f"Cannot write {file.path}.")

    monkeypatch.setattr(OpenFile, refused, refuse)
    alone.refuses(StoreError, pinned(SMALL))
    assert [each.suffix for each in alone.partials] in ([], [".journal", ".part"])
    assert sum(each.length for each in alone.noted) == len(SMALL) * bool(alone.partials)
    monkeypatch.undo()
    alone.fetch(pinned(SMALL))
    assert alone.partials == []


def test_a_folder_of_partials_that_is_removed_is_made_again(alone: Desk) -> None:
    """Somebody may tidy up between two files; the second one is placed all the same."""
    alone.fetch(pinned(SMALL))
    shutil.rmtree(alone.workspace)
    alone.target.unlink()
    alone.fetch(pinned(SMALL))


def test_what_was_looked_at_a_moment_ago_is_not_looked_at_again(
    alone: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Once more before the rename, both names, and after it; and the file itself, once."""
    looks, names = list[str](), ("stat", "lstat", "fstat")
    alone.target.parent.mkdir()
    job = replace(alone.job(pinned(SMALL)), is_fresh=True)

    def noting(name: str, call: Callable[..., os.stat_result]) -> Callable[..., os.stat_result]:
        def look(path: Any, **named: Any) -> os.stat_result:
            if name == "fstat" or Path(path).suffix in {".bin", ".part"}:
                looks.append(name if name == "fstat" else Path(path).suffix)
            return call(path, **named)

        return look

    def placed(*_: object) -> None:
        monkeypatch.undo()

    for name in names:
        monkeypatch.setattr(os, name, noting(name, getattr(os, name)))
    alone.run(replace(job, placed=placed))
    assert looks[-4:] == ["fstat", ".bin", ".part", ".bin"]
    assert (looks.count(".bin"), looks.count(".part")) == (2, 1)


def test_the_open_file_is_handed_on(alone: Desk) -> None:
    """Who notes the file need not open it again; it is closed at the end."""
    found = list[OpenFile]()
    digests = list[str]()

    def placed(digest: str, opened: OpenFile | None) -> None:
        assert opened is not None
        assert opened.is_at(job.target)
        found.append(opened)
        digests.append(digest)

    job = replace(alone.job(pinned(SMALL)), placed=placed)
    fetched = alone.run(job)
    assert (digests, fetched.is_new) == ([sha256(SMALL)], True)
    assert found[0].descriptor == -1
