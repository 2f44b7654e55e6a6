"""Read a compressed archive as the bytes of the tar inside it, to its very end.

Several zstd frames or gzip members are one stream, as their formats say (RFC 8878 §3.1, RFC 1952
§2.2) and as pzstd and bgzip write them; skippable frames are passed over. A second tar behind the
end of the first one is refused if members are read, so no reader sees other files than we do.
`Limits` says how much an archive may ask of us.
"""

import itertools
import re
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import BinaryIO

from downloader.artifact import bytes_text
from downloader.errors import BadArchive, shown

MIB = 1 << 20
MOST_WINDOW_BYTES = 2 << 30
"""Of `zstd --long=31`; a 64-bit zstd takes no larger one."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most that is taken from one archive.

    Attributes:
        entries: Files and folders together, those that only a name implies included.
        folders: Of the entries those that are folders; to remove one again can take a disk
            milliseconds.
        names_bytes: All their names together; they are held in memory.
        depth: Folders around a file.
        total_bytes: All files together, when that is known beforehand.
        ratio: Bytes unpacked for each byte of the whole archive, once `ratio_free_bytes` came out.
            What was read so far tells nothing: a tensor of zeros may come first.
        ratio_free_bytes: So much may come out whatever the ratio: a small tar is mostly zeros.
        window_bytes: What a zstd frame may have us remember; `zstd --long=31` needs 2 GiB.
        parts: zstd frames or gzip members, and empty blocks of zstd.
    """

    entries: int = 100_000
    folders: int = 1000
    names_bytes: int = 4 * MIB
    depth: int = 64
    total_bytes: int | None = None
    ratio: int = 200
    ratio_free_bytes: int = 10_000_000
    window_bytes: int = 128 * MIB
    parts: int = 100_000

    def times(self, factor: int) -> "Limits":
        """Return limits that are so many times as high; a zstd window ends at what zstd can do."""
        return replace(
            self,
            entries=self.entries * factor,
            folders=self.folders * factor,
            names_bytes=self.names_bytes * factor,
            depth=self.depth * factor,
            ratio=self.ratio * factor,
            window_bytes=min(self.window_bytes * factor, MOST_WINDOW_BYTES),
            parts=self.parts * factor,
        )


USUAL = Limits()


class UnsafeArchive(BadArchive):
    """Its bytes may be the right ones, but what they hold is not to be unpacked."""

    advice = "To keep it packed, write `extract: false` and no `keep_archive` in its entry."


class LimitExceeded(UnsafeArchive):
    """It asks more of us than `Limits` allows."""

    advice = (
        "If you trust it, write `unpack_limits: 10` in its entry in models.yaml, for ten times the "
        "usual limits; or `extract: false` and no `keep_archive`, to keep it packed."
    )


READ_BYTES = 1 << 20
START_BYTES = 512

_ZSTD, _GZIP = b"\x28\xb5\x2f\xfd", b"\x1f\x8b"
_MAGIC_BYTES = 4
_SKIPPABLE = re.compile(rb"[\x50-\x5f]\x2a\x4d\x18")
_HTML = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype\s+html|html|head|body)\b", re.IGNORECASE)
_MOST_SHOWN = 60

_FRAME_START_BYTES, _BLOCK_HEAD_BYTES, _CHECKSUM_BYTES = 5, 3, 4
_RLE_BLOCK = 1

_GZIP_READ_BYTES = 128 << 10
_GZIP_WITH_CRC = 31  # zlib's wbits for a gzip member, whose CRC and length it verifies


def suffix_of(first_bytes: bytes) -> str | None:
    """Return ".tar.zst" or ".tar.gz" by the first four bytes of an archive, or None.

    A zstd file may begin with a skippable frame (RFC 8878, 3.1.2), as pzstd's do.
    """
    if first_bytes.startswith(_ZSTD) or _SKIPPABLE.match(first_bytes):
        return ".tar.zst"
    return ".tar.gz" if first_bytes.startswith(_GZIP) else None


class Compressed:
    """The bytes of the tar, as they come.

    Args:
        file: The archive, at its beginning.
        size: Its length in bytes.
        limits: What may come out of it.
        check_stop: Called often; raises Interrupted when the run is to stop.
    """

    def __init__(
        self, file: BinaryIO, size: int, limits: Limits, check_stop: Callable[[], None]
    ) -> None:
        self._chunks = _bounded(file, size, limits, check_stop)
        self._left = memoryview(b"")

    def some(self, most_bytes: int) -> memoryview:
        """Return the next bytes, at least one and at most so many; none at the end.

        Raises:
            BadArchive: The archive is cut short, damaged, or more comes out than may.
        """
        if not self._left:
            self._left = memoryview(next(self._chunks, b""))
        taken, self._left = self._left[:most_bytes], self._left[most_bytes:]
        return taken

    def up_to(self, count_bytes: int) -> bytes:
        """Return the next so many bytes, fewer only at the end; for small things.

        Raises:
            BadArchive: As for `some`.
        """
        first = self.some(count_bytes)
        parts = [first]
        missing = count_bytes - len(first)
        while missing and (more := self.some(missing)):
            parts.append(more)
            missing -= len(more)
        return b"".join(parts)


def _bounded(
    file: BinaryIO, size: int, limits: Limits, check_stop: Callable[[], None]
) -> Iterator[bytes]:
    """Yield what comes out, never an empty chunk, as far as the ratio is believable."""
    most_bytes, out_bytes = max(limits.ratio_free_bytes, limits.ratio * size), 0
    for chunk in itertools.chain.from_iterable(_parts(file, limits)):
        check_stop()
        out_bytes += len(chunk)
        if out_bytes > most_bytes:
            raise LimitExceeded(f"more than {limits.ratio} times its size comes out of it")
        if chunk:
            yield chunk


def _parts(file: BinaryIO, limits: Limits) -> Iterator[Iterator[bytes]]:
    start = file.read(START_BYTES)
    file.seek(0)
    suffix = suffix_of(start)
    if suffix is None:
        raise BadArchive(_no_archive(start))
    read_part = _zstd_frame if suffix == ".tar.zst" else _gzip_member
    count = 0
    while magic := file.read(_MAGIC_BYTES):
        if suffix_of(magic) != suffix:
            raise BadArchive(f"bytes follow after its end, beginning with {magic!a}")
        count += 1
        if count > limits.parts:
            raise LimitExceeded(f"it has more than {limits.parts} zstd frames or gzip members")
        yield read_part(file, magic, limits)


def _no_archive(start: bytes) -> str:
    if not start:
        return "it is empty"
    if _HTML.match(start):
        return "it looks like an HTML page"
    begins = shown(ascii(start), _MOST_SHOWN, is_reply=True)
    return f"it is neither zstd nor gzip: it begins with {begins}"


def _gzip_member(file: BinaryIO, magic: bytes, _: Limits) -> Iterator[bytes]:
    file.seek(-len(magic), 1)
    inflater = zlib.decompressobj(_GZIP_WITH_CRC)
    try:
        while not inflater.eof:
            packed = inflater.unconsumed_tail or file.read(_GZIP_READ_BYTES)
            if not packed:
                raise BadArchive("it is cut short")
            yield inflater.decompress(packed, READ_BYTES)
    except zlib.error as error:
        raise BadArchive("its gzip data is damaged") from error
    file.seek(-len(inflater.unused_data), 1)


def _zstd_frame(file: BinaryIO, magic: bytes, limits: Limits) -> Iterator[bytes]:
    if magic != _ZSTD:
        yield from _skip(file, int.from_bytes(_exactly(file, 4), "little"))
        return
    import zstandard  # noqa: PLC0415 - only who unpacks pays for it

    try:
        head = magic + _exactly(file, _FRAME_START_BYTES - len(magic))
        head += _exactly(file, zstandard.frame_header_size(head) - len(head))
        frame = zstandard.get_frame_parameters(head)
        if frame.window_size > limits.window_bytes:
            window, most = bytes_text(frame.window_size), bytes_text(limits.window_bytes)
            raise LimitExceeded(f"its zstd window of {window} is more than the {most} allowed")
        unpacker = zstandard.ZstdDecompressor(max_window_size=limits.window_bytes).decompressobj()
        yield unpacker.decompress(head)
        yield from _zstd_blocks(file, unpacker.decompress, limits)
        if frame.has_checksum:
            yield unpacker.decompress(_exactly(file, _CHECKSUM_BYTES))
    except zstandard.ZstdError as error:
        raise BadArchive("its zstd data is damaged") from error
    if not unpacker.eof:  # the library does not agree that the frame ended here
        raise BadArchive("its zstd data is damaged")


def _zstd_blocks(
    file: BinaryIO, decompress: Callable[[bytes], bytes], limits: Limits
) -> Iterator[bytes]:
    """Unpack block by block (RFC 8878, 3.1.1.2).

    So no call returns more than a block, where a mebibyte of input could else become 32 GiB, and
    it is seen where the frame ends, which python-zstandard's reader does not tell: it takes a cut
    for an end.
    """
    empty, is_last = 0, 0
    while not is_last:
        head = _exactly(file, _BLOCK_HEAD_BYTES)
        number = int.from_bytes(head, "little")
        is_last, kind, size = number & 1, number >> 1 & 3, number >> 3
        chunk = decompress(head + _exactly(file, 1 if kind == _RLE_BLOCK else size))
        empty += not chunk
        if empty > limits.parts:
            raise LimitExceeded(f"it has more than {limits.parts} empty zstd blocks")
        yield chunk


def _exactly(file: BinaryIO, count_bytes: int) -> bytes:
    data = file.read(count_bytes)
    if len(data) < count_bytes:
        raise BadArchive("it is cut short")
    return data


def _skip(file: BinaryIO, count_bytes: int) -> Iterator[bytes]:
    while count_bytes:
        count_bytes -= len(_exactly(file, min(count_bytes, READ_BYTES)))
        yield b""  # so that the run can stop meanwhile
