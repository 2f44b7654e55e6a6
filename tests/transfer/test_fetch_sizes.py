"""Files of every awkward size (row A12)."""

import os

import pytest

from downloader.artifact import Artifact
from downloader.errors import SizeMismatch
from downloader.fs.digests import BUFFER_BYTES
from downloader.fs.locks import partial_name
from downloader.network.ranges import Range
from downloader.transfer import _journal
from downloader.transfer._expected import START_BYTES
from downloader.transfer._journal import binding_for
from tests.servers import faults
from tests.servers.body import ZeroBody
from tests.servers.exchange import Fault
from tests.servers.faults import chunks, framing, timing
from tests.transfer.desk import PATH, Desk, pinned, sha256, unpinned

SIZES = [0, 1, START_BYTES - 1, START_BYTES, START_BYTES + 1]
SIZES += [BUFFER_BYTES - 1, BUFFER_BYTES, BUFFER_BYTES + 1]
TAIL = b"the last bytes of a large file"
LARGE = {
    # size: SHA-256 of zeros that end with TAIL
    2**31 - 1: "d2d654e4165beaf836ee363a2d1d16522ed2b6f0e67e48bacc3329d4dd5a1ebc",
    2**31 + 1: "1c9668aab764cd4c0cd13d92ceed056ef06655cc3981ec51e4816ac750895ed3",
    2**32 + 1: "fc9737dfdcd8bac26a6983d64344af71b013c12142323636d3de3a26f4ce0d66",
}
WAYS: dict[str, Fault] = {"sized": faults.honest, "chunked": chunks.chunked()}


def content(size: int) -> bytes:
    return bytes(number % 251 for number in range(min(size, 251))) * (size // 251 + 1)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("know", ["pin and size", "pin", "size", "nothing"])
def test_every_size_arrives_with_one_request(desk: Desk, size: int, way: Fault, know: str) -> None:
    """Around every buffer's edge the file is whole, and no Range is sent."""
    body = content(size)[:size]
    desk.server.put(PATH, body)
    desk.server.always(PATH, way)
    artifact = Artifact(
        path="model.bin",
        size=size if "size" in know else None,
        sha256=sha256(body) if "pin" in know else None,
    )
    fetched = desk.fetch(artifact)
    assert desk.target.read_bytes() == body
    assert (fetched.size, desk.asked, desk.partials) == (size, [None], [])


@pytest.mark.parametrize("artifact", [pinned(b""), unpinned(0)], ids=["pinned", "unpinned"])
@pytest.mark.parametrize(
    "fault", [faults.honest, chunks.chunked(), framing.unsized], ids=["sized", "chunked", "unsized"]
)
def test_bytes_for_an_empty_file_are_refused(desk: Desk, artifact: Artifact, fault: Fault) -> None:
    """A locked size of 0 is a size: one byte is one too many."""
    desk.server.put(PATH, b"x")
    desk.server.always(PATH, fault)
    desk.refuses(SizeMismatch, artifact)


def test_an_empty_file_is_never_asked_for_by_range(desk: Desk) -> None:
    """After a failure the empty file is asked for whole: `bytes=0--1` does not exist."""
    desk.server.put(PATH, b"")
    desk.server.script(PATH, *[timing.drop_before_status()] * 2)
    desk.fetch(pinned(b""))
    assert desk.asked == [None, None, None]


@pytest.mark.sweep
@pytest.mark.timeout(600)  # gigabytes are hashed, by several tests at once
@pytest.mark.parametrize(("size", "digest"), LARGE.items(), ids=["2^31-1", "2^31+1", "2^32+1"])
def test_offsets_beyond_32_bits_are_right(desk: Desk, size: int, digest: str) -> None:
    """A large file is gone on with at its very end, and is right as a whole."""
    desk.server.put(PATH, ZeroBody(size, TAIL))
    artifact = Artifact(path="model.bin", size=size, sha256=digest)
    have = size - len(TAIL)
    leave_zeros(desk, artifact, have)
    fetched = desk.run(desk.job(artifact))
    assert (fetched.sha256, fetched.moved_bytes) == (digest, len(TAIL))
    assert desk.asked == [f"bytes={have}-{size - 1}"]
    with desk.target.open("rb") as file:
        file.seek(have)
        assert file.read() == TAIL


def leave_zeros(desk: Desk, artifact: Artifact, count: int) -> None:
    """Leave a sparse partial with a journal that vouches for it."""
    folder = desk.workspace / "partials"
    folder.mkdir(parents=True)
    partial = folder / partial_name(artifact.path)
    partial.touch()
    os.truncate(partial, count)
    head = _journal.dump_head(binding_for(artifact, desk.location()))
    partial.with_suffix(".journal").write_bytes(head + _journal.dump_ranges([Range(0, count)]))
