"""How much an archive may ask of us."""

from dataclasses import dataclass

from downloader.errors import BadArchive

MIB = 1 << 20


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
        ratio: Bytes unpacked for each byte of the archive, once `ratio_free_bytes` came out.
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


USUAL = Limits()


class UnsafeArchive(BadArchive):
    """Its bytes may be the right ones, but what they hold is not to be unpacked."""
