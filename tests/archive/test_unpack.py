"""An archive as it should be: its files, their digests, the folder they end up in."""

import os
import random
import stat
import tarfile
from pathlib import Path

import pytest
import zstandard

from downloader.archive.compression import Limits, suffix_of
from downloader.archive.unpack import unpack
from downloader.fs.rooted_path import RootedPath
from tests.archive.building import (
    END,
    GNU,
    LONG_NAME,
    OLD,
    PAX_GLOBAL,
    Looker,
    Pack,
    files_in,
    gz,
    header,
    member,
    member_of,
    pax,
    refused,
    tar_of,
    unpacked,
    zst,
)

LORA = {"adapter_config.json": b"{}", "adapter_model.safetensors": random.Random(5).randbytes(9999)}
SKIPPABLE = b"\x50\x2a\x4d\x18\x03\0\0\0abc"
FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]


@pytest.mark.parametrize(
    ("start", "suffix"),
    [
        (b"\x28\xb5\x2f\xfd\x04", ".tar.zst"),
        (b"\x50\x2a\x4d\x18", ".tar.zst"),
        (b"\x5f\x2a\x4d\x18", ".tar.zst"),
        (b"\x60\x2a\x4d\x18", None),
        (b"\x1f\x8b", ".tar.gz"),
        (b"\x28\xb5\x2f", None),
        (b"<!doctype html>", None),
        (b"PK\x03\x04", None),
        (b"", None),
    ],
)
def test_the_suffix_is_told_by_the_content(start: bytes, suffix: str | None) -> None:
    """The first four bytes say zstd or gzip, skippable frames included; all else is neither."""
    assert suffix_of(start) == suffix


@pytest.mark.parametrize("pack", [zst, gz])
def test_each_file_is_returned_with_its_digest_in_order(tmp_path: Path, pack: Pack) -> None:
    """What is returned is what lies on disk: path, size and SHA-256, in the archive's order."""
    source = tmp_path / "misnamed.bin"
    source.write_bytes(pack(tar_of({"b": b"B", "a/": b"", "a/c": b"C" * 5000, "empty": b""})))
    looker = Looker()

    members = unpack(source, RootedPath.of(tmp_path / "new" / "out"), looker)
    assert members == (member_of("b", b"B"), member_of("a/c", b"C" * 5000), member_of("empty", b""))
    assert files_in(tmp_path / "new" / "out") == {"b": b"B", "a/c": b"C" * 5000, "empty": b""}
    assert sum(looker.moved_bytes) == 5001


@pytest.mark.parametrize("form", FORMATS)
def test_a_single_top_folder_is_left_out(tmp_path: Path, form: int) -> None:
    """Where all lies in one folder, listed or not, its files come to lie at the top."""
    inside = {f"ft-model/{name}": data for name, data in LORA.items()}
    (tmp_path / "1").mkdir()
    assert unpacked(tmp_path / "1", zst(tar_of(inside, form))) == LORA
    (tmp_path / "2").mkdir()
    assert unpacked(tmp_path / "2", zst(tar_of({"ft-model/": b"", **inside}, form))) == LORA


def test_only_one_top_folder_is_left_out(tmp_path: Path) -> None:
    """A folder in it stays, also one of the same name, and an empty one."""
    packed = zst(tar_of({"m/": b"", "m/m/": b"", "m/m/x": b"X", "m/empty/": b""}))

    assert unpacked(tmp_path, packed) == {"m/x": b"X"}
    assert (tmp_path / "out" / "empty").is_dir()


def test_a_file_of_the_top_folders_name_comes_to_its_place(tmp_path: Path) -> None:
    """A file named as the folder that it lies in does not stand in the way."""
    assert unpacked(tmp_path, zst(tar_of({"m/m": b"file", "m/n": b"N"}))) == {
        "m": b"file",
        "n": b"N",
    }


def test_two_things_at_the_top_stay_where_they_are(tmp_path: Path) -> None:
    """Nothing is left out where something else lies beside the folder."""
    assert unpacked(tmp_path, zst(tar_of({"m/x": b"X", "y": b"Y"}))) == {"m/x": b"X", "y": b"Y"}


def test_a_leading_dot_slash_means_the_top(tmp_path: Path) -> None:
    """`tar -C folder .` writes `./` and `./x`; both are understood."""
    dotted = member(b"./", kind=b"5") + member(b"./x", b"X") + member(b"./d/", kind=b"5")

    assert unpacked(tmp_path, zst(dotted + member(b"./d/y", b"Y") + END)) == {
        "x": b"X",
        "d/y": b"Y",
    }


def test_a_folder_may_come_after_its_files(tmp_path: Path) -> None:
    """The order of files and folders does not matter."""
    packed = zst(member(b"d/x", b"X") + member(b"d", kind=b"5") + member(b"y") + END)

    assert unpacked(tmp_path, packed) == {"d/x": b"X", "y": b""}


@pytest.mark.parametrize("magic", [GNU, OLD])
def test_older_headers_are_understood(tmp_path: Path, magic: bytes) -> None:
    """GNU's and the seventh Unix's have no prefix; a NUL is a file, or a folder by its slash."""
    packed = header(b"x", 1, b"\0", magic=magic, prefix=b"no") + b"X".ljust(512, b"\0")

    assert unpacked(tmp_path, zst(packed + header(b"d/", 0, b"\0", magic=magic) + END)) == {
        "x": b"X"
    }


def test_long_names_of_all_three_kinds_are_understood(tmp_path: Path) -> None:
    """GNU's `L`, a PAX path and ustar's prefix each name the member."""
    gnu, posix, prefix = "g" * 150, "p" * 150, "q" * 90
    packed = member(b"././@LongLink", gnu.encode() + b"\0", LONG_NAME) + member(b"cut", b"1")
    packed += pax(path=posix, mtime="-1.5", comment="\u00e9") + member(b"cut", b"2")
    packed += member(b"x", b"3", prefix=prefix.encode())

    assert unpacked(tmp_path, zst(packed + END)) == {gnu: b"1", posix: b"2", f"{prefix}/x": b"3"}


def test_a_global_header_that_only_remarks_is_passed_over(tmp_path: Path) -> None:
    """`git archive` puts the commit's id in one."""
    assert unpacked(tmp_path, zst(pax(PAX_GLOBAL, comment="abc") + member(b"x") + END)) == {
        "x": b""
    }


def test_sizes_in_base_256_and_in_pax_are_understood(tmp_path: Path) -> None:
    """Both hold the same as the octal digits would."""
    binary = b"\x80" + (3).to_bytes(11, "big")
    packed = header(b"a", binary) + b"abc".ljust(512, b"\0")

    packed += pax(size="3") + member(b"b", b"def") + END
    assert unpacked(tmp_path, zst(packed)) == {"a": b"abc", "b": b"def"}


@pytest.mark.skipif(os.name == "nt", reason="modes are POSIX's")
def test_modes_owners_and_times_are_not_taken_over(tmp_path: Path) -> None:
    """Setuid and exec bits, huge ids and old times of the archive are ignored, the umask holds."""
    odd = {"mode": b"0007777\0", "uid": b"\xff" * 8, "mtime": b"\xff" * 12}
    packed = member(b"d/", b"", b"5", **odd) + member(b"d/x", b"X", **odd) + member(b"y") + END
    before = os.umask(0o027)
    try:
        unpacked(tmp_path, zst(packed))
    finally:
        os.umask(before)
    out = tmp_path / "out"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (out, out / "d", out / "d/x")] == [
        0o750,
        0o750,
        0o640,
    ]
    assert (out / "d/x").stat().st_mtime >= (tmp_path / "in.tar.zst").stat().st_mtime - 10


@pytest.mark.parametrize("before", [b"", SKIPPABLE])
def test_skippable_and_empty_frames_are_passed_over(tmp_path: Path, before: bytes) -> None:
    """They carry no data, before or after the frame that does."""
    packed = before + zst(tar_of(LORA)) + SKIPPABLE + zst(b"")

    assert unpacked(tmp_path, packed) == LORA


@pytest.mark.parametrize("pack", [zst, gz], ids=["zstd", "gzip"])
@pytest.mark.parametrize("cut", [1, 511, 512, 700, 5000])
def test_one_tar_may_be_spread_over_frames(tmp_path: Path, pack: Pack, cut: int) -> None:
    """Frames or members one after the other are one stream, as pzstd and bgzip write them."""
    tar = tar_of(LORA)
    packed = pack(tar[:cut]) + pack(b"") + pack(tar[cut:-1]) + pack(tar[-1:])

    assert unpacked(tmp_path, packed) == LORA


def test_an_empty_gzip_member_at_the_end_is_passed_over(tmp_path: Path) -> None:
    """It carries no data; bgzip writes one."""
    assert unpacked(tmp_path, gz(tar_of(LORA)) + gz(b"")) == LORA


@pytest.mark.parametrize("size_told", [True, False])
@pytest.mark.parametrize("checksum", [True, False])
def test_a_frame_may_be_written_as_a_stream(
    tmp_path: Path, size_told: bool, checksum: bool
) -> None:
    """Content size and checksum are optional in a zstd frame."""
    writer = zstandard.ZstdCompressor(write_checksum=checksum, write_content_size=size_told)

    assert unpacked(tmp_path, writer.compress(tar_of(LORA))) == LORA


def test_a_long_window_is_taken_on_demand_only(tmp_path: Path) -> None:
    """`zstd --long=28` is refused with the usual limits, and unpacks with larger ones."""
    parameters = zstandard.ZstdCompressionParameters.from_level(
        1, window_log=28, write_content_size=False
    )
    stream = zstandard.ZstdCompressor(compression_params=parameters).compressobj()
    packed = stream.compress(tar_of(LORA)) + stream.flush()

    refused(tmp_path, packed, "its zstd window of 268.4 MB is more than the 134.2 MB allowed")
    assert unpacked(tmp_path, packed, Limits(window_bytes=2 << 30)) == LORA
