"""Places that hold a published copy: what stands there under a final name is whole and right."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from downloader.errors import DigestMismatch, Interrupted, ModelmakeError, Stop
from downloader.fs.rooted_path import RootedPath
from downloader.network.client import Client
from downloader.settings import Settings
from downloader.transfer.places import (
    PART_BYTES,
    Edition,
    Place,
    Upload,
    blob_path,
    open_place,
)
from downloader.urls import published_url
from tests.transfer.desk import sha256

BODY = bytes(range(256)) * (PART_BYTES // 256) * 3 + b"tail"


@pytest.fixture
def client() -> Iterator[Client]:
    """Give a client."""
    made = Client(Settings())
    yield made
    made.close()


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Give a folder that is not there yet."""
    return tmp_path / "a place"


@pytest.fixture
def folder(root: Path, client: Client) -> Place:
    """Give it as a place."""
    return open_place(published_url(str(root)), client)


def upload(file: Path, body: bytes, moved: list[int], stop: Stop | None = None) -> Upload:
    """Return an upload of a file that is to be `body`."""
    return Upload(
        name="m/a.bin",
        file=RootedPath.of(file),
        sha256=sha256(body),
        size=len(body),
        moved=moved.append,
        stop=stop or Stop(),
    )


@pytest.mark.parametrize("body", [b"", b"x", BODY[:PART_BYTES], BODY], ids=len)
@pytest.mark.parametrize("start", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1])
def test_parts_are_the_rest_of_the_file(tmp_path: Path, body: bytes, start: int) -> None:
    """From any byte on they are what follows, and each byte of that is counted once."""
    file, moved = tmp_path / "a.bin", list[int]()
    file.write_bytes(body)

    assert b"".join(upload(file, body, moved).parts(start)) == body[start:]
    assert sum(moved) == len(body[start:])


CHANGES = {
    "first byte": b"!" + BODY[1:],
    "last byte": BODY[:-1] + b"!",
    "longer": BODY + b"x",
    "longer by a part": BODY + BODY,
    "shorter": BODY[:-1],
    "empty": b"",
}


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
@pytest.mark.parametrize("start", [0, PART_BYTES + 1])
def test_the_last_part_of_a_changed_file_does_not_come(
    tmp_path: Path, changed: bytes, start: int
) -> None:
    """Whoever sends what comes has not sent a whole file when this is found out."""
    file, parts = tmp_path / "a.bin", list[bytes]()
    file.write_bytes(changed)

    with pytest.raises(DigestMismatch, match=r"m/a\.bin is not the file that models\.lock says"):
        parts.extend(upload(file, BODY, []).parts(start))
    assert len(b"".join(parts)) < len(BODY) - start


@pytest.mark.parametrize("changed", CHANGES.values(), ids=CHANGES.keys())
def test_a_changed_file_leaves_nothing_in_a_folder(
    tmp_path: Path, folder: Place, root: Path, changed: bytes
) -> None:
    """There is no blob, and nothing unfinished."""
    file = tmp_path / "a.bin"
    file.write_bytes(changed)

    with pytest.raises(DigestMismatch):
        folder.upload(upload(file, BODY, []))
    assert not folder.has(sha256(BODY), len(BODY))
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_file_that_changes_while_it_is_read_is_not_published(
    tmp_path: Path, folder: Place, root: Path
) -> None:
    """It had the right bytes when the upload began, and others when its end was read."""
    file = tmp_path / "a.bin"
    file.write_bytes(BODY)

    class Changing(list[int]):
        def append(self, count: int) -> None:
            super().append(count)
            with file.open("r+b") as opened:
                opened.seek(-1, os.SEEK_END)
                opened.write(b"!")

    moved = Changing()
    with pytest.raises(DigestMismatch):
        folder.upload(upload(file, BODY, moved))
    assert moved
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_stop_ends_an_upload(tmp_path: Path, folder: Place, root: Path) -> None:
    """Nothing of it is left."""
    file, stop = tmp_path / "a.bin", Stop()
    file.write_bytes(BODY)

    class Stopping(list[int]):
        def append(self, count: int) -> None:
            super().append(count)
            stop.set()

    with pytest.raises(Interrupted):
        folder.upload(upload(file, BODY, Stopping(), stop))
    assert [path for path in root.rglob("*") if path.is_file()] == []


def test_a_blob_is_where_the_formats_page_says(tmp_path: Path, folder: Place, root: Path) -> None:
    """Under its SHA-256, found by its size too, and the location is its URL."""
    file = tmp_path / "a.bin"
    file.write_bytes(BODY)

    folder.upload(upload(file, BODY, []))

    blob = root / blob_path(sha256(BODY))
    assert blob.read_bytes() == BODY
    assert blob.relative_to(root).as_posix() == f"sha256/{sha256(BODY)[:2]}/{sha256(BODY)}"
    assert folder.has(sha256(BODY), len(BODY))
    assert not folder.has(sha256(BODY), len(BODY) - 1)
    assert folder.location(sha256(BODY)).url == blob.as_uri()


def test_two_locks_share_a_place(folder: Place, root: Path) -> None:
    """Each has the name of its own bytes, and pieces beside it only if it has any."""
    one, other = Edition(b"{}\n", b"", ()), Edition(b"{ }\n", b"pieces\n", ())
    folder.write(one)
    folder.write(other)
    folder.write(one)

    found = {path.name: path.read_bytes() for path in (root / "locks").iterdir()}
    assert found == {
        f"{sha256(b'{}' + bytes([10]))}.lock": b"{}\n",
        f"{sha256(b'{ }' + bytes([10]))}.lock": b"{ }\n",
        f"{sha256(b'{ }' + bytes([10]))}.pieces": b"pieces\n",
    }
    assert list(other.documents)[-1].endswith(".lock")


def test_a_web_server_is_read_only(tmp_path: Path, client: Client) -> None:
    """Nothing is published to it, and the error says where to publish instead."""
    place = open_place("blobs+https://models.example.org/m/", client)

    assert place.location("ab" * 32).url == f"https://models.example.org/m/{blob_path('ab' * 32)}"
    for attempt in (
        lambda: place.has("ab" * 32, 1),
        lambda: place.upload(upload(tmp_path / "a", b"", [])),
        lambda: place.write(Edition(b"", b"", ())),
    ):
        with pytest.raises(ModelmakeError, match="takes no files") as caught:
            attempt()
        assert "doit publish --to" in caught.value.hint


def test_a_web_server_gets_the_log_in_of_its_host(
    tmp_path: Path, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes from netrc, as for any URL."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine models.example.org login a password b\n")
    monkeypatch.setenv("NETRC", str(netrc))

    place = open_place("blobs+https://models.example.org/m", client)
    other = open_place("blobs+https://other.example.org/m", client)

    assert "Authorization" in place.location("ab" * 32).headers
    assert not other.location("ab" * 32).headers
