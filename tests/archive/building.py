"""Archives made byte by byte, as no writer would make them, and a check that they are refused."""

import gzip
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import zstandard

from downloader.archive.compression import Limits
from downloader.archive.unpack import Member, unpack
from downloader.errors import BadArchive, Interrupted
from downloader.fs.rooted_path import RootedPath

Pack = Callable[[bytes], bytes]

BLOCK = 512
END = bytes(2 * BLOCK)
FOLDER, PAX, PAX_GLOBAL, LONG_NAME, LONG_LINK = b"5", b"x", b"g", b"L", b"K"
POSIX, GNU, OLD = b"ustar\x0000", b"ustar  \0", bytes(8)


@dataclass
class Looker:
    """A watch that counts, and stops the run after so many questions."""

    stop_after: int | None = None
    moved_bytes: list[int] = field(default_factory=list)
    asked: int = 0

    def moved(self, count_bytes: int) -> None:
        """Note it."""
        self.moved_bytes.append(count_bytes)

    def check_stop(self) -> None:
        """Raise Interrupted when it is time."""
        self.asked += 1
        if self.stop_after is not None and self.asked > self.stop_after:
            raise Interrupted("Stopped.")


def header(
    name: bytes, size: bytes | int = 0, kind: bytes = b"0", *, magic: bytes = POSIX, **raw: bytes
) -> bytes:
    """Return a header block; `raw` has fields to set: mode, uid, mtime, link, prefix, sum."""
    block = bytearray(BLOCK)
    fields = {"mode": (100, 8), "uid": (108, 8), "mtime": (136, 12), "link": (157, 100)}
    fields |= {"prefix": (345, 155), "sum": (148, 8)}
    digits = size if isinstance(size, bytes) else b"%011o\0" % size
    for start, content in ((0, name[:100]), (124, digits), (156, kind), (257, magic)):
        block[start : start + len(content)] = content
    for each, content in raw.items():
        start, most = fields[each]
        assert len(content) <= most
        block[start : start + len(content)] = content
    if "sum" not in raw:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % BLOCK)


def member(name: bytes, data: bytes = b"", kind: bytes = b"0", **raw: bytes) -> bytes:
    """Return a member with its data."""
    return header(name, len(data), kind, **raw) + padded(data)


def pax(kind: bytes = PAX, **records: bytes | str) -> bytes:
    """Return a PAX header; in a key `__` stands for a dot."""
    data = b""
    for key, value in records.items():
        text = value if isinstance(value, bytes) else value.encode()
        body = b" " + key.replace("__", ".").encode() + b"=" + text + b"\n"
        length = len(body)
        while len(b"%d" % length + body) != length:
            length = len(b"%d" % length + body)
        data += b"%d" % length + body
    return member(b"PaxHeaders/x", data, kind)


def zst(plain: bytes, level: int = 1) -> bytes:
    """Return a zstd frame with its checksum."""
    return zstandard.ZstdCompressor(level=level, write_checksum=True).compress(plain)


def gz(plain: bytes) -> bytes:
    return gzip.compress(plain, mtime=0)


def tar_of(files: dict[str, bytes], form: int = tarfile.USTAR_FORMAT) -> bytes:
    """Return a tar as Python writes it; a name that ends with a slash is a folder."""
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w", format=form) as tar:
        for name, data in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return written.getvalue()


def unpacked(tmp_path: Path, archive: bytes, limits: Limits | None = None) -> dict[str, bytes]:
    """Unpack, hold what was returned against what is on disk, and return it by path."""
    source = tmp_path / "in.tar.zst"
    source.write_bytes(archive)
    folder = tmp_path / "out"
    looker = Looker()
    members = unpack(source, RootedPath.of(folder), looker, limits=limits or Limits())
    found = files_in(folder)
    assert sum(looker.moved_bytes) == sum(each.size for each in members)
    assert len(members) == len(found)
    assert set(members) == {member_of(path, data) for path, data in found.items()}
    return found


def member_of(path: str, data: bytes) -> Member:
    return Member(path=path, size=len(data), sha256=hashlib.sha256(data).hexdigest())


def files_in(folder: Path) -> dict[str, bytes]:
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}


def tree(folder: Path) -> set[tuple[str, int, int]]:
    """Return everything below a folder, links not followed, by name, mode and size."""
    found = set()
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            stat = path.lstat()
            found.add((path.as_posix(), stat.st_mode, 0 if path.is_dir() else stat.st_size))
    return found


def refused(tmp_path: Path, archive: bytes, why: str, limits: Limits | None = None) -> str:
    """Check that an archive is refused for a reason, and that nothing anywhere came of it.

    Args:
        tmp_path: Everything in it is compared with what was there before.
        archive: The bytes of the file.
        why: A text that the message has to hold.
        limits: What is allowed; else the usual.

    Returns:
        The message.
    """
    deep = tmp_path / "a" / "b"
    deep.mkdir(parents=True, exist_ok=True)
    (tmp_path / "canary").write_bytes(b"untouched")
    source = tmp_path / "model.tar.zst"
    source.write_bytes(archive)
    before = tree(tmp_path)
    with pytest.raises(BadArchive) as caught:
        unpack(source, RootedPath.of(deep / "out"), Looker(), limits=limits or Limits())
    assert tree(tmp_path) == before
    assert (tmp_path / "canary").read_bytes() == b"untouched"
    message = str(caught.value)
    assert why in message
    assert re.fullmatch(r"The archive 'model\.tar\.zst' is refused: [ -~]+\.", message), message
    assert len(message) < 1000
    return message
