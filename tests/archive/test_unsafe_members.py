"""F2, F3: links, devices, sparse files, and headers that lie about numbers."""

import io
import tarfile
from pathlib import Path

import pytest

from downloader.archive.compression import Limits
from tests.archive.building import (
    END,
    FOLDER,
    LONG_LINK,
    PAX,
    PAX_GLOBAL,
    header,
    member,
    pax,
    refused,
    unpacked,
    zst,
)

GOOD = member(b"good", b"G")
KINDS = {
    b"1": "a hard link",
    b"2": "a symbolic link",
    b"3": "a character device",
    b"4": "a block device",
    b"6": "a FIFO",
    b"S": "a sparse file",
}
UNKNOWN = [b"7", b"8", b"A", b"D", b"M", b"N", b"V", b"X", b"Z", b"\xff", b" "]
LINKS = ["good", "../../canary", "/etc/passwd", ".", "missing"]


@pytest.mark.parametrize("kind", [*KINDS, *UNKNOWN])
def test_what_is_no_plain_file_or_folder_refuses_the_archive(tmp_path: Path, kind: bytes) -> None:
    """Links, devices, FIFOs, sparse files and types that nobody knows are named and refused."""
    packed = zst(GOOD + header(b"odd", 0, kind, link=b"good") + GOOD + END)

    message = refused(tmp_path, packed, KINDS.get(kind, f"of the unknown type {kind!a}"))
    assert "its member b'odd' is " in message


@pytest.mark.parametrize("kind", [b"1", b"2"])
@pytest.mark.parametrize("target", LINKS)
def test_writing_through_a_link_is_never_tried(tmp_path: Path, kind: bytes, target: str) -> None:
    """A link, then a member of its name or below it: refused at the link."""
    link = header(b"l", 0, kind, link=target.encode())

    refused(tmp_path, zst(link + member(b"l", b"X") + END), "link")
    refused(tmp_path, zst(link + member(b"l/x", b"X") + END), "link")
    refused(tmp_path, zst(member(b"l", kind=FOLDER) + link + END), "link")


def test_the_path_max_attack_is_refused_at_its_first_link(tmp_path: Path) -> None:
    """CVE-2025-4517: links that make a path too long for realpath, then a step out of the tree."""
    written = io.BytesIO()
    folder = "d" * 247
    with tarfile.open(fileobj=written, mode="w", format=tarfile.GNU_FORMAT) as tar:
        path = ""
        for step in "abcdefghijklmnop":
            one = tarfile.TarInfo(f"{path}{folder}")
            one.type = tarfile.DIRTYPE
            tar.addfile(one)
            link = tarfile.TarInfo(f"{path}{step}")
            link.type, link.linkname = tarfile.SYMTYPE, folder
            tar.addfile(link)
            path += f"{folder}/"
        escape = tarfile.TarInfo("escape")
        escape.type, escape.linkname = tarfile.SYMTYPE, "../" * 16 + "canary"
        tar.addfile(escape)
        tar.addfile(tarfile.TarInfo("escape"), io.BytesIO())
    refused(tmp_path, zst(written.getvalue()), "is a symbolic link")


def test_a_long_link_name_does_not_hide_a_link(tmp_path: Path) -> None:
    """GNU's `K` is read; the link that it belongs to is refused."""
    packed = member(b"L", b"../" * 50 + b"x\0", LONG_LINK) + header(b"l", 0, b"2")

    refused(tmp_path, zst(packed + END), "is a symbolic link")


@pytest.mark.parametrize("version", ["major", "map", "name", "realsize"])
def test_a_sparse_file_by_pax_is_refused(tmp_path: Path, version: str) -> None:
    """GNU's sparse files in PAX are of the type of plain ones; a hole of 1 TB takes no byte."""
    record = {f"GNU__sparse__{version}": "1"}
    sparse = pax(PAX, **record)

    refused(tmp_path, zst(sparse + GOOD + END), "its member b'good' is a sparse file")
    globally = pax(PAX_GLOBAL, **record)
    refused(tmp_path, zst(globally + GOOD + END), "a global PAX header")


@pytest.mark.parametrize("key", ["path", "size", "linkpath"])
def test_a_global_header_may_not_change_members(tmp_path: Path, key: str) -> None:
    """It would rename or resize every member after it, which hardly any reader does."""
    refused(tmp_path, zst(pax(PAX_GLOBAL, **{key: "7"}) + GOOD + END), "a global PAX header")


@pytest.mark.parametrize(
    "size",
    [
        b"\xff" * 12,
        b"\xff" * 11 + b"\xfe",
        b"\x80" + b"\x7f" * 11,
        b"\x80\0\0\0\x80" + bytes(7),
        b"-0000000001\0",
        b"+0000000001\0",
        b"0x000000001\0",
        b"00000000008\0",
        b"1 1        \0",
        b"0_1        \0",
        bytes(12),
        b" " * 12,
    ],
    ids=ascii,
)
def test_a_size_that_is_no_number_is_refused(tmp_path: Path, size: bytes) -> None:
    """Negative (CVE-2025-8194: tarfile went back and round for ever), huge, or not octal."""
    refused(tmp_path, zst(GOOD + header(b"x", size) + END), "a number in a tar header")


@pytest.mark.parametrize("size", [1 << 33, (1 << 63) - 1])
def test_a_size_that_the_archive_cannot_hold_ends_with_it(tmp_path: Path, size: int) -> None:
    """Nothing is reserved for a promise: it is cut short where the bytes end."""
    promise = b"\x80" + size.to_bytes(11, "big")

    refused(tmp_path, zst(header(b"x", promise) + END), "it is cut short, in its member 'x'")


def test_more_than_the_lock_says_is_refused_before_it_is_written(tmp_path: Path) -> None:
    """The sizes of all files together have a limit, when one is known."""
    packed = zst(GOOD + member(b"more", b"M" * 10) + END)

    refused(tmp_path, packed, "its files have more than 10 bytes", Limits(total_bytes=10))
    assert len(unpacked(tmp_path, packed, Limits(total_bytes=11))) == 2


def test_data_in_a_folder_is_refused(tmp_path: Path) -> None:
    """Some readers pass over it, others take it for the next headers."""
    inner = member(b"inner", b"I")

    refused(tmp_path, zst(member(b"d/", inner, FOLDER) + END), "contradict each other in size")


@pytest.mark.parametrize("told", ["0", "1", "2048", "x", "-3", "", "03 ", "9" * 30])
def test_two_sizes_are_refused(tmp_path: Path, told: str) -> None:
    """CVE-2025-62518: the header says 3, PAX something else; readers chose differently."""
    packed = pax(size=told) + member(b"x", b"abc")

    refused(tmp_path, zst(packed + END), "contradict each other in size")


def test_a_small_size_may_not_stand_in_pax_only(tmp_path: Path) -> None:
    """0 in the header is believed of sizes only that do not fit there."""
    packed = pax(size="512") + header(b"x", 0) + member(b"inner")

    refused(tmp_path, zst(packed + END), "contradict each other in size")


@pytest.mark.parametrize(
    "data",
    [
        b"5 a=\n" * 2,
        b"6 a=b",
        b"6 a=bc",
        b"7 a=b\n",
        b"99 a=b\n",
        b"0 a=b\n",
        b"3 \n",
        b"6 abc\n",
        b"a=b\n",
        b" a=b\n",
        b"-6 a=b\n",
        b"99999999999999999999 a=b\n",
        b"6 a=b\n\0",
        b"6  a=b\n",
    ],
    ids=ascii,
)
def test_a_malformed_pax_header_is_refused(tmp_path: Path, data: bytes) -> None:
    """Lengths that do not fit, keys that come twice, remains after the last record."""
    packed = member(b"x", data, b"x") + GOOD

    refused(tmp_path, zst(packed + END), "a PAX header in it is malformed")


@pytest.mark.parametrize("kind", [b"x", b"g"])
def test_a_pax_header_over_a_mebibyte_is_refused_unread(tmp_path: Path, kind: bytes) -> None:
    """So no header can fill the memory."""
    refused(tmp_path, zst(header(b"x", (1 << 20) + 1, kind) + END), "with 1048577 bytes")


@pytest.mark.parametrize(
    "block",
    [
        header(b"x", sum=b"0000000\0"),
        header(b"x", sum=b"\xff" * 8),
        header(b"x", magic=b"ustar\x0700"),
        header(b"x", magic=b"USTAR\x0000"),
        b"\x01" * 512,
        b"PK\x03\x04".ljust(512, b"\0"),
    ],
    ids=["sum", "negative sum", "magic", "capitals", "ones", "zip"],
)
def test_a_damaged_header_is_refused(tmp_path: Path, block: bytes) -> None:
    """A wrong sum or magic is never the end of the archive, as it is for tarfile."""
    refused(tmp_path, zst(GOOD + block + END), "tar header")
