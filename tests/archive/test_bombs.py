"""F4: archives that are small and become large, or take long; in little memory all of them."""

import gzip
import random
import re
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest

from downloader.archive.compression import Limits
from downloader.archive.unpack import unpack
from downloader.errors import BadArchive
from downloader.fs.rooted_path import RootedPath
from tests.archive.building import END, FOLDER, Looker, header, member, pax, refused, unpacked, zst
from tests.e2e.project import REPOSITORY

MOST_MORE_BYTES = 100_000_000
MIB = 1 << 20
RATIO = "more than 200 times its size comes out of it"

MEASURE = """
import sys
from pathlib import Path
from downloader.archive.unpack import unpack, what_came
from downloader.errors import BadArchive
from downloader.fs.rooted_path import RootedPath
import zstandard, zlib, hashlib

def most_bytes():
    text = Path("/proc/self/status").read_text()
    return int(text.partition("VmHWM:")[2].split()[0]) * 1024

class Watch:
    def moved(self, count_bytes): pass
    def check_stop(self): pass

before = most_bytes()
try:
    if sys.argv[1] == "unpack":
        unpack(Path(sys.argv[2]), RootedPath.of(Path(sys.argv[3])), Watch())
    else:
        what_came(Path(sys.argv[2]), Watch())
    print("taken")
except BadArchive as error:
    print(error)
print(most_bytes() - before)
"""


def rle_frame(blocks: int, *, window: int = 17, size: int = 128 << 10) -> bytes:
    """Return a zstd frame of zeros: each 4 bytes of it become a block of 128 KiB."""
    head = b"\x28\xb5\x2f\xfd\0" + bytes([(window - 10) << 3])
    block = (size << 3 | 1 << 1).to_bytes(3, "little") + b"\0"
    return head + block * blocks + (size << 3 | 1 << 1 | 1).to_bytes(3, "little") + b"\0"


def tar_start(size: int) -> bytes:
    """Return a raw zstd block with the header of a file."""
    block = header(b"zeros", size)
    return (len(block) << 3).to_bytes(3, "little") + block


def one_file_of_zeros(size: int) -> bytes:
    """Return a frame with the head of a file, then blocks of zeros: 32,768 times its length."""
    frame = rle_frame(size // (128 << 10))
    return frame[:6] + tar_start(size) + frame[6:]


def gzip_of_zeros(size: int) -> bytes:
    packer = zlib.compressobj(9, wbits=31)
    packed = [packer.compress(header(b"zeros", size))]
    packed += [packer.compress(bytes(MIB)) for _ in range(size // MIB)]
    return b"".join([*packed, packer.compress(END), packer.flush()])


def many_names(count: int) -> bytes:
    """Return empty files with names of 3,000 bytes, all in one deep folder."""
    folders = ("\u0100" * 100 + "/") * 15
    return b"".join(pax(path=f"{folders}{number:06}") + member(b"x") for number in range(count))


def many_folders(count: int) -> bytes:
    """Return empty files, each in a folder of its own that only the file's name implies."""
    return b"".join(header(b"%d/x" % number) for number in range(count))


def random_then_zeros() -> bytes:
    """Return a frame with a window of 128 MiB that is filled, just within the ratio."""
    noise = random.Random(1).randbytes(700_000)
    start, *blocks = (noise[place : place + 100_000] for place in range(0, len(noise), 100_000))
    raw = [(len(each) << 3).to_bytes(3, "little") + each for each in (start, *blocks)]
    frame = rle_frame(1000, window=27)
    return frame[:6] + tar_start(1 << 30) + b"".join(raw) + frame[6:]


ATTACKS: dict[str, tuple[Callable[[], bytes], str]] = {
    "zstd": (lambda: one_file_of_zeros(1 << 40 >> 7), RATIO),
    "gzip": (lambda: gzip_of_zeros(64 * MIB), RATIO),
    "nested": (lambda: zst(zst(zst(bytes(64 * MIB)))), ""),
    "zeros after the end": (lambda: zst(member(b"x") + bytes(64 * MIB)), RATIO),
    "long names": (lambda: gzip.compress(many_names(1500), 1), "its names take more than"),
    "folders": (lambda: zst(many_folders(1001)), "it has more than 1000 folders"),
    "PAX headers": (lambda: zst(pax(comment="b" * 900_000) * 2 + END), "contradict"),
    "a window of 2 GiB": (lambda: rle_frame(3, window=31), "its zstd window of 2.1 GB"),
    "empty blocks": (
        lambda: b"\x28\xb5\x2f\xfd\0\x38" + bytes(3) * 300_000,
        "it has more than 100000 empty zstd blocks",
    ),
    "frames": (lambda: b"\x50\x2a\x4d\x18\0\0\0\0" * 300_000, "more than 100000 zstd frames"),
    "a skippable frame of 4 GiB": (
        lambda: b"\x50\x2a\x4d\x18\xff\xff\xff\xff" + bytes(9),
        "it is cut short",
    ),
    "a PAX header of 8 GiB": (lambda: zst(header(b"x", (1 << 33) - 1, b"x")), "8589934591 bytes"),
}


@pytest.mark.sampled(keep=5)
@pytest.mark.parametrize("name", ATTACKS)
def test_a_bomb_is_refused_in_little_memory(tmp_path: Path, name: str) -> None:
    """Each ends with its reason, nothing on disk, and less than 100 MB of memory."""
    make, why = ATTACKS[name]
    packed = make()
    if not sys.platform.startswith("linux"):  # memory is told by /proc
        refused(tmp_path, packed, why)
        return
    said, more_bytes = measured(tmp_path, packed)
    assert why in said
    assert re.fullmatch(r"The archive 'bomb' is refused: [ -~]{1,1000}\.", said), said
    assert more_bytes < MOST_MORE_BYTES
    assert [path.name for path in tmp_path.iterdir()] == ["bomb"]


def measured(tmp_path: Path, packed: bytes, call: str = "unpack") -> tuple[str, int]:
    """Do it in a process of its own, and return what it said and the memory it took."""
    (tmp_path / "bomb").write_bytes(packed)
    ended = subprocess.run(
        [sys.executable, "-c", MEASURE, call, str(tmp_path / "bomb"), str(tmp_path / "boom")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    said, more = ended.stdout.splitlines()
    return said, int(more)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_as_many_entries_as_may_be_are_held_in_little_memory(tmp_path: Path) -> None:
    """The 100,000 names that are allowed are kept as they come; one more is refused."""
    many = b"".join(header(b"%d/%d" % (number % 300, number)) for number in range(100_001))

    said, more_bytes = measured(tmp_path, zst(many + END), "what_came")
    assert "it has more than 100000 entries" in said
    assert more_bytes < MOST_MORE_BYTES


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="memory is told by /proc")
def test_a_window_takes_its_size_in_memory_and_no_more(tmp_path: Path) -> None:
    """The 128 MiB that `zstd --long` needs can be filled, as any archive made so does."""
    said, more_bytes = measured(tmp_path, random_then_zeros())
    assert "it is cut short" in said
    assert more_bytes < MOST_MORE_BYTES + 128 * MIB


def test_a_bomb_writes_no_more_than_the_free_bytes(tmp_path: Path) -> None:
    """It is stopped at the block after what may come out whatever the ratio."""
    (tmp_path / "bomb").write_bytes(one_file_of_zeros(64 * MIB))
    looker = Looker()

    with pytest.raises(BadArchive, match=RATIO):
        unpack(
            tmp_path / "bomb",
            RootedPath.of(tmp_path / "out"),
            looker,
            limits=Limits(ratio_free_bytes=MIB),
        )
    assert MIB - (128 << 10) <= sum(looker.moved_bytes) <= MIB


def test_a_small_archive_may_be_mostly_zeros(tmp_path: Path) -> None:
    """Ten megabytes may come out of next to nothing, and the ratio can be set."""
    packed = zst(member(b"zeros", bytes(9 * MIB)) + END)
    assert len(packed) * 200 < 9 * MIB
    assert unpacked(tmp_path, packed) == {"zeros": bytes(9 * MIB)}
    tight = Limits(ratio_free_bytes=0, ratio=2)
    refused(tmp_path, packed, "more than 2 times its size comes out of it", tight)


@pytest.mark.parametrize("pack", [zst, gzip.compress])
@pytest.mark.parametrize("zeros_first", [True, False])
def test_a_tensor_of_zeros_is_no_bomb_wherever_it_stands(
    tmp_path: Path, pack: Callable[[bytes], bytes], zeros_first: bool
) -> None:
    """The ratio is that of the whole archive: what was read so far does not judge it."""
    noise = random.Random(1).randbytes(200_000)
    members = [member(b"lora_B", bytes(24 * MIB)), member(b"lora_A", noise)]
    packed = pack(b"".join(members if zeros_first else members[::-1]) + END)

    assert unpacked(tmp_path, packed) == {"lora_B": bytes(24 * MIB), "lora_A": noise}
    refused(tmp_path, packed, "more than 100 times its size", Limits(ratio=100))


def test_raised_limits_are_raised_all(tmp_path: Path) -> None:
    """One number raises each limit, and a zstd window to no more than zstd can do."""
    usual, raised = Limits(), Limits().times(1000)
    assert raised.window_bytes == 2 << 30
    names = ("entries", "folders", "names_bytes", "depth", "ratio", "parts")
    assert all(getattr(raised, name) == 1000 * getattr(usual, name) for name in names)
    packed = one_file_of_zeros(16 * MIB)
    refused(tmp_path, packed, RATIO)
    assert unpacked(tmp_path, packed, raised) == {"zeros": bytes(16 * MIB)}


def test_entries_are_counted_with_the_folders_that_names_imply(tmp_path: Path) -> None:
    """A name of many folders costs as many entries as it makes."""
    packed = zst(member(b"a/b/c/d", b"D") + member(b"a/b/e/", kind=FOLDER) + END)

    refused(tmp_path, packed, "it has more than 4 entries", Limits(entries=4))
    assert unpacked(tmp_path, packed, Limits(entries=5)) == {"b/c/d": b"D"}


def test_more_entries_than_may_be_are_refused(tmp_path: Path) -> None:
    """With a ratio that lets them through, the number itself is what ends it."""
    packed = gzip.compress(b"".join(header(b"%d" % number) for number in range(2001)) + END)

    refused(tmp_path, packed, "it has more than 2000 entries", Limits(entries=2000))


def test_more_gzip_members_than_may_be_are_refused(tmp_path: Path) -> None:
    """Empty ones bring no byte, and each costs time."""
    packed = gzip.compress(b"") * 1001

    refused(tmp_path, packed, "it has more than 1000 zstd frames or gzip", Limits(parts=1000))


def test_global_headers_are_counted_too(tmp_path: Path) -> None:
    """They bring no file, and still there may not be any number of them."""
    packed = zst(pax(b"g", comment="c") * 6 + member(b"x") + END)

    refused(tmp_path, packed, "it has more than 5 entries", Limits(entries=5))


def test_a_frame_that_lies_about_its_content_is_refused(tmp_path: Path) -> None:
    """More or less than the content size in its head comes out."""
    packed = bytearray(zst(member(b"x", b"X" * 2000) + END))
    flags = packed[4]
    assert flags >> 6 == 1  # two bytes of content size, less 256, in a single segment
    (size,) = struct.unpack_from("<H", packed, 5)
    for wrong in (size - 512, size + 512):
        struct.pack_into("<H", packed, 5, wrong)
        refused(tmp_path, bytes(packed), "")
