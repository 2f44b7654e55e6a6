"""How each blob looked when it was verified: what does not pass, and what costs no reading."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from downloader.fs import files
from downloader.fs.rooted_path import RootedPath
from downloader.store.blobs import Records

DIGEST = "ab" * 32
LOOK = {"st_size": 10, "st_mtime_ns": 20, "st_ctime_ns": 30, "st_ino": 40}


def look(**other: int) -> Any:
    """Return a stat."""
    return SimpleNamespace(**{**LOOK, **other})


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Give the file of a store's records."""
    return tmp_path / "store" / "records"


def test_a_noted_blob_is_vouched_for_also_later(file: Path) -> None:
    """By the same object, and by one of another process."""
    first = Records(RootedPath.of(file))
    first.note(DIGEST, look())

    assert first.vouches(DIGEST, look())
    assert Records(RootedPath.of(file)).vouches(DIGEST, look())


@pytest.mark.parametrize("field", LOOK)
def test_each_field_counts(file: Path, field: str) -> None:
    """A blob with another size, time or inode has to be read."""
    Records(RootedPath.of(file)).note(DIGEST, look())

    assert not Records(RootedPath.of(file)).vouches(DIGEST, look(**{field: 99}))


def test_what_another_process_notes_is_seen(file: Path) -> None:
    """Records that were read before take notice of later lines."""
    early = Records(RootedPath.of(file))
    assert not early.vouches(DIGEST, look())
    Records(RootedPath.of(file)).note(DIGEST, look())

    assert early.vouches(DIGEST, look())


def test_only_new_lines_are_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A store of many blobs that all look changed costs one reading of the file, not one each."""
    count, decoded = 200, []
    for number in range(count):
        Records(RootedPath.of(file)).note(f"{number:064x}", look())

    def noting(text: bytes, decoder: Any) -> Any:
        decoded.append(len(text))
        return original(text, decoder)

    original: Any = files.decoded_lines
    monkeypatch.setattr(files, "decoded_lines", noting)
    own = Records(RootedPath.of(file))
    for number in range(count):
        assert not own.vouches(f"{number:064x}", look(st_ino=99))
        own.note(f"{number:064x}", look(st_ino=99))

    assert sum(decoded) <= file.stat().st_size


@pytest.mark.parametrize(
    "torn",
    [b'{"sha256":"', b"\x00\x00\n", b"[]\n", b'{"sha256":1}\n', b"{" * 100_000 + b"\n"],
    ids=["half", "zeros", "list", "number", "deep"],
)
def test_a_torn_line_costs_its_own_record_only(file: Path, torn: bytes) -> None:
    """What a kill or a stranger left is passed over; lines before and after count."""
    Records(RootedPath.of(file)).note(DIGEST, look())
    with file.open("ab") as stream:
        stream.write(torn)
    Records(RootedPath.of(file)).note("cd" * 32, look())

    assert Records(RootedPath.of(file)).vouches(DIGEST, look())
    assert Records(RootedPath.of(file)).vouches("cd" * 32, look())


def test_long_records_are_written_anew(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lines of blobs that have a newer one go, in one step."""
    monkeypatch.setattr(files, "SPARE_LINES", 5)
    own = Records(RootedPath.of(file))
    for number in range(20):
        own.note(DIGEST, look(st_size=number))
    other = Records(RootedPath.of(file))
    assert not other.vouches("cd" * 32, look())
    other.note(DIGEST, look(st_size=19))

    assert len(file.read_bytes().splitlines()) == 1
    assert Records(RootedPath.of(file)).vouches(DIGEST, look(st_size=19))


def test_records_of_removed_blobs_are_dropped(file: Path) -> None:
    """And another process that read the file before goes on with the new one."""
    other = Records(RootedPath.of(file))
    other.note(DIGEST, look())
    other.note("cd" * 32, look())
    Records(RootedPath.of(file)).keep_only({"cd" * 32})
    lines = [json.loads(line) for line in file.read_bytes().splitlines()]

    assert [each["sha256"] for each in lines] == ["cd" * 32]
    other.note("ef" * 32, look())
    assert Records(RootedPath.of(file)).vouches("ef" * 32, look())


def test_nothing_is_written_where_nothing_is_dropped(file: Path) -> None:
    """A store without records gets none, and good ones stay the same file."""
    Records(RootedPath.of(file)).keep_only(set())
    assert not file.exists()
    Records(RootedPath.of(file)).note(DIGEST, look())
    inode = file.stat().st_ino
    Records(RootedPath.of(file)).keep_only({DIGEST})

    assert file.stat().st_ino == inode


def test_a_real_file_is_seen_through(tmp_path: Path) -> None:
    """Bytes changed with the time put back are noticed by the change time."""
    blob = tmp_path / "blob"
    blob.write_bytes(b"right")
    own = Records(RootedPath.of(tmp_path / "records"))
    before = blob.stat()
    own.note(DIGEST, before)
    blob.write_bytes(b"wrong")
    os.utime(blob, ns=(before.st_atime_ns, before.st_mtime_ns))

    assert blob.stat().st_mtime_ns == before.st_mtime_ns
    assert not own.vouches(DIGEST, blob.stat())


def test_a_line_that_we_cannot_have_written_is_passed_over(tmp_path: Path) -> None:
    """What it calls a digest would be written back, and could be taken for a file's name."""
    file = tmp_path / "records"
    status = tmp_path.stat()
    Records(RootedPath.of(file)).note("ab" * 32, status)
    line = file.read_bytes()
    file.write_bytes(line.replace(b"ab" * 32, b"../x") + line)
    records = Records(RootedPath.of(file))
    assert records.vouches("ab" * 32, status)
    assert not records.vouches("../x", status)
    records.keep_only({"ab" * 32, "../x"})
    assert file.read_bytes() == line
