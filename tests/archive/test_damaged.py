"""F5, F6: archives that are cut, changed, followed by something, or no archives at all."""

import gzip
import random
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.archive.unpack import unpack
from downloader.errors import BadArchive
from downloader.fs.rooted_path import RootedPath
from tests.archive.building import END, Looker, Pack, gz, member, pax, refused, tar_of, tree, zst
from tests.examples import examples

FILES = {"adapter_config.json": b"{}", "d/w.safetensors": random.Random(7).randbytes(60)}
TAR = tar_of(FILES)
GOOD, EVIL = member(b"good", b"G"), member(b"evil", b"E")
SKIPPABLE = b"\x50\x2a\x4d\x18\x04\0\0\0abcd"


@pytest.mark.parametrize(
    "packed", [zst(TAR), gz(TAR), SKIPPABLE + zst(TAR)], ids=["zstd", "gzip", "skippable"]
)
def test_an_archive_cut_at_any_byte_is_refused(tmp_path: Path, packed: bytes) -> None:
    """Every shorter file is refused, and leaves nothing."""
    source = tmp_path / "cut.tar.zst"
    for stop in range(len(packed)):
        source.write_bytes(packed[:stop])
        with pytest.raises(BadArchive, match="is refused"):
            unpack(source, RootedPath.of(tmp_path / "out"), Looker())
        assert list(tmp_path.iterdir()) == [source]


def test_a_tar_cut_at_any_byte_is_refused(tmp_path: Path) -> None:
    """Packed whole by zstd, a tar that ends too early is refused, also after its last member."""
    plain = GOOD + END
    source = tmp_path / "cut.tar.zst"
    for stop in range(len(plain)):
        source.write_bytes(zst(plain[:stop]))
        with pytest.raises(BadArchive, match="is refused: it is cut short"):
            unpack(source, RootedPath.of(tmp_path / "out"), Looker())
        assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize(
    ("plain", "why"),
    [
        (GOOD, "the two zero blocks that end a tar are missing"),
        (GOOD + bytes(512), "the two zero blocks that end a tar are missing"),
        (GOOD + bytes(512) + EVIL + END, "a lone zero block"),
        (pax(path="x") + END, "describes a member that does not come"),
        (GOOD + END + EVIL + END, "more data follows after the end of its tar"),
        (GOOD + END + bytes(100_000) + b"\x01", "more data follows after the end of its tar"),
        (END, "there is no file in it"),
        (member(b"d/", kind=b"5") + END, "there is no file in it"),
        (b"", "it is cut short"),
    ],
    ids=[
        "none",
        "one",
        "lone",
        "dangling",
        "second tar",
        "last byte",
        "empty",
        "folder",
        "nothing",
    ],
)
def test_a_tar_ends_with_two_zero_blocks_and_nothing_else(
    tmp_path: Path, plain: bytes, why: str
) -> None:
    """Complete members do not make an archive: its end has to be there, and be the end."""
    for packed in (zst(plain), gz(plain)):
        refused(tmp_path, packed, why)


@pytest.mark.parametrize("pack", [zst, gz], ids=["zstd", "gzip"])
@pytest.mark.parametrize("second", [EVIL + END, EVIL, b"x"], ids=["tar", "member", "byte"])
def test_another_tar_in_a_second_frame_is_refused(
    tmp_path: Path, pack: Pack, second: bytes
) -> None:
    """Some readers stop after the first tar, others go on: they would see other files."""
    refused(tmp_path, pack(GOOD + END) + pack(second), "more data follows after the end of its tar")


@pytest.mark.parametrize("after", [b"\0", b"x", b"garbage", b"\x1f\x8b", bytes(5000)])
@pytest.mark.parametrize("pack", [zst, gz], ids=["zstd", "gzip"])
def test_bytes_after_the_last_frame_are_refused(tmp_path: Path, pack: Pack, after: bytes) -> None:
    """Whatever they are: nobody packed them with the tar."""
    refused(tmp_path, pack(TAR) + after, "")


def test_the_other_kind_of_packing_may_not_follow(tmp_path: Path) -> None:
    """A gzip member after a zstd frame, or the other way round, is no part of the archive."""
    refused(tmp_path, zst(TAR) + gz(TAR), "bytes follow after its end")
    refused(tmp_path, gz(TAR) + zst(TAR), "bytes follow after its end")


@pytest.mark.parametrize("place", [-1, -4, -5, -8])
def test_a_wrong_gzip_checksum_or_length_is_seen(tmp_path: Path, place: int) -> None:
    """The CRC and the length at the very end are verified, when all members looked complete."""
    packed = bytearray(gz(TAR))
    packed[place] ^= 1

    refused(tmp_path, bytes(packed), "its gzip data is damaged")


@pytest.mark.parametrize("place", [-1, -4])
def test_a_wrong_zstd_checksum_is_seen(tmp_path: Path, place: int) -> None:
    """The checksum at the very end is verified, when all members looked complete."""
    packed = bytearray(zst(TAR))
    packed[place] ^= 1

    refused(tmp_path, bytes(packed), "its zstd data is damaged")


@pytest.mark.parametrize("packed", [zst(TAR), gz(TAR)], ids=["zstd", "gzip"])
def test_a_changed_bit_is_refused_or_harmless(tmp_path: Path, packed: bytes) -> None:
    """Any single bit, anywhere: another error is a bug, and what unpacks is what was packed."""
    source = tmp_path / "changed.tar.zst"
    for place in range(len(packed)):
        changed = bytearray(packed)
        changed[place] ^= 1 << place % 8
        source.write_bytes(changed)
        try:
            members = unpack(source, RootedPath.of(tmp_path / f"out{place}"), Looker())
        except BadArchive:
            assert not (tmp_path / f"out{place}").exists()
        else:
            assert [each.path for each in members] == list(FILES)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"<!DOCTYPE html><title>Log in", "it looks like an HTML page"),
        (b"\xef\xbb\xbf\n <HTML lang=en>", "it looks like an HTML page"),
        (b"<head><title>Log in", "it looks like an HTML page"),
        (b"", "it is empty"),
        (b'{"error": "expired"}', "it is neither zstd nor gzip: it begins with b'{\"error"),
        (TAR, "it is neither zstd nor gzip: it begins with b'adapter_config"),
        (b"PK\x03\x04", "it is neither zstd nor gzip"),
        (b"\x1b]0;title\x07\xff", "it begins with b'\\x1b]0;title"),
    ],
    ids=["html", "bom", "head", "empty", "json", "tar", "zip", "escape"],
)
def test_what_is_no_archive_is_told_by_its_first_bytes(
    tmp_path: Path, content: bytes, why: str
) -> None:
    """A page or message in place of the archive is named for what it looks like."""
    refused(tmp_path, content, why)


def test_a_gzip_named_zst_is_judged_by_its_content(tmp_path: Path) -> None:
    """Names say nothing: a gzip unpacks under any, and a deflate without its head does not."""
    refused(tmp_path, zlib.compress(TAR), "it is neither zstd nor gzip")
    refused(tmp_path, zst(gz(TAR)), "it is cut short")
    refused(tmp_path, gz(zst(TAR)), "it is cut short")
    (tmp_path / "x.tar.zst").write_bytes(gz(TAR))
    assert len(unpack(tmp_path / "x.tar.zst", RootedPath.of(tmp_path / "out"), Looker())) == 2


BLOCKS = st.sampled_from(
    [
        *(GOOD, EVIL, END, bytes(512), pax(path="p"), pax(size="1"), pax(b"g", comment="c")),
        *(member(b"L", b"long\0", b"L"), member(b"d/", kind=b"5"), member(b"l", kind=b"2")),
    ]
)


@settings(max_examples=examples(200))
@given(
    blocks=st.lists(BLOCKS, max_size=8),
    changes=st.lists(st.tuples(st.integers(0, 8191), st.integers(0, 255)), max_size=4),
)
def test_any_tar_is_unpacked_or_refused(
    tmp_path_factory: pytest.TempPathFactory, blocks: list[bytes], changes: list[tuple[int, int]]
) -> None:
    """Whatever blocks come in whatever order: files in the folder or BadArchive, nothing else."""
    folder = tmp_path_factory.mktemp("any")
    plain = bytearray(b"".join(blocks) + END)
    for place, value in changes:
        plain[place % len(plain)] = value
    (folder / "in").write_bytes(gzip.compress(plain, 1))
    before = tree(folder)
    try:
        unpack(folder / "in", RootedPath.of(folder / "out"), Looker())
    except BadArchive:
        assert tree(folder) == before
    else:
        new = {name for name, _, _ in tree(folder) - before}
        assert all(name.startswith(f"{folder.as_posix()}/out") for name in new)
