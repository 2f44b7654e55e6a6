"""Unpacking a `.tar.zst` or `.tar.gz` that nobody vouches for.

    suffix_of    which of the two the first bytes say it is
    what_came    whether an adapter lies in it, or a whole model
    unpack       its files in a fresh folder, each hashed as it is written

`compressed.py` turns the file into the bytes of a tar (`plain.py`: one that is a tar already),
`members.py` cuts those into members (`header.py` and `pax.py` read what describes one), `names.py`
judges their names together, and `unpacking.py` writes. The standard library's tarfile is not used:
it passes over what it does not understand, and its filters had to be mended again and again
(CVE-2024-12718, CVE-2025-4138, -4330, -4435, -4517, -8194).
"""

from downloader.archive.compressed import suffix_of
from downloader.archive.limits import Limits, UnsafeArchive
from downloader.archive.members import Members
from downloader.archive.plain import Plain
from downloader.archive.unpacking import Member, Watch, unpack, what_came

__all__ = [
    "Limits",
    "Member",
    "Members",
    "Plain",
    "UnsafeArchive",
    "Watch",
    "suffix_of",
    "unpack",
    "what_came",
]
