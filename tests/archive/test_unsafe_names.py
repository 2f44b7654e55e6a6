"""F1, F7: names that lead elsewhere, or that two members share on some file system."""

from pathlib import Path

import pytest

from downloader.archive.compression import Limits
from tests.archive.building import END, FOLDER, LONG_NAME, member, pax, refused, tar_of, zst
from tests.test_artifact_paths import UNSAFE

GOOD = member(b"good", b"G")
SLIPPING = [
    "../x", "..", "a/../../x", "./../x", "/etc/x", "//host/share/x", ".//x", "././x", "./",
    ".", "", "C:\\x", "C:x", "\\\\host\\share\\x", "..\\x", "a\\..\\..\\x", "x/", "a/./b", "a//b",
    "NUL", "aux.txt", "COM1", ".modelmake/receipts", "a/.MODELMAKE", "MODELM~1", "a\nb",
    "a\x1b[2Jb", "\u202ex", "a\uff0f..\uff0fb", "~root/x", "-rf", "a:b", "x ",
]  # fmt: skip


def long_name(name: str) -> bytes:
    return member(b"././@LongLink", name.encode() + b"\0", LONG_NAME) + member(b"x", b"X")


@pytest.mark.parametrize("name", SLIPPING, ids=ascii)
@pytest.mark.parametrize("told", ["block", "long", "pax"])
def test_a_name_that_leads_elsewhere_refuses_the_archive(
    tmp_path: Path, name: str, told: str
) -> None:
    """Whichever way a name is told, an unsafe one refuses all, good members before it included."""
    bad = {
        "block": member(name.encode(), b"X"),
        "long": long_name(name),
        "pax": pax(path=name) + member(b"x", b"X"),
    }[told]
    refused(tmp_path, zst(GOOD + bad + GOOD + END), "is not a safe path")


@pytest.mark.parametrize("path", [each for each in UNSAFE if "\0" not in each], ids=ascii)
def test_what_is_no_target_is_no_member(tmp_path: Path, path: str) -> None:
    """Every path that a manifest may not name is refused in a PAX header too."""
    if path in ("./a", "a/"):  # as tar writes a file and a folder; the first means `a`
        return
    text = path.encode("utf-8", "surrogateescape")
    why = "is not UTF-8" if "\udc80" in path else "is not a safe path"
    refused(tmp_path, zst(pax(path=text) + member(b"x") + END), why)


@pytest.mark.parametrize("name", ["../d/", "/d/", "..", "d//", "./../", "././", "/", "\\d/"])
def test_a_folder_that_lies_elsewhere_refuses_the_archive(tmp_path: Path, name: str) -> None:
    """Folders are held to the same rules."""
    refused(tmp_path, zst(GOOD + member(name.encode(), kind=FOLDER) + END), "is not a safe path")


@pytest.mark.parametrize("name", [b"\xff", b"a/\xc0\xae\xc0\xae/b", b"\xed\xa0\x80", b"\xe9"])
def test_a_name_that_is_not_utf_8_is_refused(tmp_path: Path, name: bytes) -> None:
    """No other encoding is guessed, and overlong or broken forms are none."""
    refused(tmp_path, zst(member(name) + END), "is not UTF-8")


@pytest.mark.parametrize("path", [b"good\0/../../x", b"\0", b"a\0"])
def test_a_nul_in_a_pax_path_is_refused(tmp_path: Path, path: bytes) -> None:
    """Programs in C would read on to the NUL only (as Go's pax-nul-path.tar)."""
    refused(tmp_path, zst(pax(path=path) + member(b"x") + END), "is not a safe path")


def test_a_long_name_that_goes_on_after_its_nul_is_refused(tmp_path: Path) -> None:
    """What follows the NUL could be the name for another reader."""
    packed = member(b"L", b"good\0../../x", LONG_NAME) + member(b"x")

    refused(tmp_path, zst(packed + END), "goes on after its end")


@pytest.mark.parametrize("length", [4097, 5000, 1 << 20])
def test_a_name_longer_than_any_path_is_refused(tmp_path: Path, length: int) -> None:
    """Told by GNU it is not even read; of one told by PAX the message shows the beginning."""
    long = "a/" * (length // 2) + "bc"

    refused(tmp_path, zst(long_name(long) + END), "a header in it describes a member with")
    packed = zst(pax(path=long) + member(b"x") + END)
    refused(tmp_path, packed, "is longer than" if length < 1 << 20 else "1048")


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("a", "a"),
        ("a", "./a"),
        ("Model.bin", "model.bin"),
        ("caf\u00e9", "cafe\u0301"),
        ("\u017f", "s"),
        ("d/x", "D/y"),
        ("d/x", "D"),
        ("stra\u00dfe/x", "STRASSE/x"),
        ("a", "a/b"),
        ("a/b", "a"),
        ("a", "A/b"),
        ("a/b/c", "a/b"),
        ("d/", "d"),
        ("d", "d/"),
        ("d/", "D/"),
        ("d/", "d/"),
        ("./", "./"),
    ],
)
def test_two_names_for_one_place_are_refused(tmp_path: Path, first: str, second: str) -> None:
    """Equal, equal but for case or normal form, or one the folder of the other."""
    packed = b"".join(
        member(
            name.encode(),
            b"" if name.endswith("/") else b"X",
            FOLDER if name.endswith("/") else b"0",
        )
        for name in (first, second)
    )
    refused(tmp_path, zst(packed + END), "its member")


def test_a_name_told_by_gnu_and_by_pax_is_refused(tmp_path: Path) -> None:
    """Readers differ in which of the two counts."""
    packed = pax(path="safe") + long_name("other")

    refused(tmp_path, zst(packed + END), "is named twice")


@pytest.mark.parametrize(
    "twice",
    [
        pax(path="a") + pax(path="b"),
        member(b"L", b"a\0", LONG_NAME) * 2,
        pax(path="a") + pax(b"g", comment="b"),
    ],
    ids=["pax", "gnu", "global between"],
)
def test_two_headers_of_one_kind_for_a_member_are_refused(tmp_path: Path, twice: bytes) -> None:
    """Only one of them could count."""
    refused(tmp_path, zst(twice + member(b"x") + END), "contradict each other")


@pytest.mark.parametrize("depth", [65, 1000, 2000])
def test_folders_in_folders_end_somewhere(tmp_path: Path, depth: int) -> None:
    """More than 64 are refused: removing them again would take a stack that deep."""
    refused(tmp_path, zst(pax(path="d/" * depth + "x") + member(b"x") + END), "64 folders deep")


def test_a_path_just_inside_the_limit_is_taken_and_removed_again(tmp_path: Path) -> None:
    """64 folders are made, and are gone after an error that comes later."""
    deep = pax(path="d/" * 64 + "x") + member(b"x", b"X")

    refused(tmp_path, zst(deep + member(b"../x") + END), "is not a safe path")


def test_what_the_names_take_in_memory_is_limited(tmp_path: Path) -> None:
    """All names together have a limit; with tiny ones that of the entries comes first."""
    packed = zst(tar_of({f"{number:0>90}": b"" for number in range(20)}))

    refused(tmp_path, packed, "its names take more than 1000 bytes", Limits(names_bytes=1000))
    refused(tmp_path, packed, "it has more than 19 entries", Limits(entries=19))
