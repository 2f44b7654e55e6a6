"""A file whose piece layer is known: wrong bytes are found by the piece, and only those move again.

Pieces are shorter here than those that the program makes, so that files may be small.
"""

import errno
import random
import threading

import pytest
from msgspec import structs
from msgspec.structs import replace

from downloader.errors import DigestMismatch
from downloader.fs.digests import Layer
from downloader.fs.merkle import BLOCK_BYTES
from downloader.network.ranges import Range
from downloader.transfer._journal import dump_ranges
from downloader.transfer._verifier import OTHER_FILE_PIECES, PieceVerifier
from downloader.transfer.fetch import Fetched, Job
from downloader.urls import Location
from tests.servers.faults import combined, damage, ranges, timing, validators
from tests.transfer.desk import BODY, PATH, Desk, pinned, sha256
from tests.transfer.test_piece_verifier import layer_over

PIECE = 2 * BLOCK_BYTES
LAYER = layer_over(BODY, PIECE)
LARGE = random.Random(52).randbytes(40 * (1 << 20) + 333)
LARGE_PIECE = 1 << 20
OTHER = random.Random(53).randbytes(len(BODY))
WRONG = 3 * PIECE + 100


def job(desk: Desk, *locations: Location) -> Job:
    """Return the job of BODY, its layer known."""
    return replace(desk.job(pinned(), *locations), layer=LAYER)


def fetch(desk: Desk, *locations: Location) -> Fetched:
    """Fetch, and check that the target is right."""
    fetched = desk.run(job(desk, *locations))
    assert desk.target.read_bytes() == BODY
    assert (fetched.sha256, fetched.size) == (sha256(BODY), len(BODY))
    assert desk.partials == []
    return fetched


def piece_at(place: int) -> str:
    """Return the Range header that asks for the piece of a byte."""
    start = place // PIECE * PIECE
    return f"bytes={start}-{start + PIECE - 1}"


def test_right_bytes_are_the_file(desk: Desk) -> None:
    """With every piece right the file is, and has the SHA-256 of the lock."""
    assert fetch(desk).moved_bytes == len(BODY)
    assert desk.asked == [None]


def test_only_the_wrong_piece_moves_again(desk: Desk) -> None:
    """One wrong bit costs one piece: no more is asked for, and no more comes."""
    desk.server.script(PATH, damage.flipped(WRONG))
    assert fetch(desk).moved_bytes == len(BODY) + PIECE
    assert desk.asked == [None, piece_at(WRONG)]


def test_wrong_pieces_apart_are_asked_for_apart(desk: Desk) -> None:
    """Between two wrong pieces the right ones stay; the last piece is a short one."""
    desk.server.script(PATH, damage.flipped(5, len(BODY) - 1))
    last = len(BODY) % PIECE
    assert fetch(desk).moved_bytes == len(BODY) + PIECE + last
    assert desk.asked == [None, piece_at(5), f"bytes={len(BODY) - last}-{len(BODY) - 1}"]


def test_a_piece_that_stays_wrong_ends_it_and_is_named(desk: Desk) -> None:
    """It is asked for a few times; then the failure names its bytes, and they are set aside."""
    desk.server.always(PATH, damage.flipped(WRONG))
    desk.target.parent.mkdir(parents=True)
    desk.target.write_bytes(b"old")
    with pytest.raises(DigestMismatch, match="98,304-131,071") as caught:
        desk.run(job(desk))
    assert desk.asked == [None, piece_at(WRONG), piece_at(WRONG)]
    assert desk.target.read_bytes() == b"old"
    (aside,) = desk.quarantined
    assert sha256(aside.read_bytes()) in caught.value.hint
    assert len(aside.read_bytes()) == PIECE


def test_the_next_run_asks_for_the_wrong_piece_only(desk: Desk) -> None:
    """What was right stays when a piece would not come right, and no wrong byte of it counts."""
    desk.server.script(PATH, *[damage.flipped(WRONG)] * 3)
    with pytest.raises(DigestMismatch):
        desk.run(job(desk))
    assert fetch(desk).moved_bytes == PIECE


def test_another_place_mends_the_wrong_piece(desk: Desk) -> None:
    """A mirror is asked only for what the first place would not give right."""
    desk.server.put("/mirror.bin", BODY, etag='"another"')
    desk.server.always(PATH, damage.flipped(WRONG))
    fetch(desk, desk.location(), desk.location("/mirror.bin"))
    assert [seen.headers.get("Range") for seen in desk.seen if "mirror" in seen.path] == [
        piece_at(WRONG)
    ]


def test_another_file_is_refused_before_it_is_whole(desk: Desk) -> None:
    """Where nothing is right, not all of it is fetched, and nothing a second time."""
    desk.server.put(PATH, OTHER)
    with pytest.raises(DigestMismatch, match="another file than models"):
        desk.run(job(desk))
    assert desk.asked == [None]
    assert desk.partials == []


def test_what_was_not_checked_yet_is_not_kept_either(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is refused after a few pieces, while the hashing thread has others to check."""
    few, waited_for = threading.Semaphore(OTHER_FILE_PIECES), threading.Event()
    checked = Layer.is_right

    def slow(self: Layer, index: int, leaves: bytes) -> bool:
        if not few.acquire(blocking=False):
            waited_for.wait()
        return checked(self, index, leaves)

    def releases(name: str) -> None:
        wrapped = getattr(PieceVerifier, name)

        def call(self: PieceVerifier) -> None:
            waited_for.set()
            wrapped(self)

        monkeypatch.setattr(PieceVerifier, name, call)

    monkeypatch.setattr(Layer, "is_right", slow)
    monkeypatch.setattr(PieceVerifier, "is_other_file", property(lambda _self: True))
    releases("drain")
    releases("close")
    desk.server.put(PATH, OTHER)
    with pytest.raises(DigestMismatch, match="another file than models"):
        desk.run(job(desk))
    assert desk.partials == []


def test_a_server_without_ranges_gives_the_whole_again(desk: Desk) -> None:
    """Where a piece cannot be had alone, the whole is fetched once more, and is right then."""
    desk.server.script(PATH, combined(ranges.ignored, damage.flipped(WRONG)))
    desk.server.always(PATH, ranges.ignored)
    assert fetch(desk).moved_bytes == 2 * len(BODY)


def test_a_server_without_ranges_is_not_asked_a_third_time(desk: Desk) -> None:
    """What is wrong again in the whole file is told; the next run may be luckier."""
    desk.server.always(PATH, combined(ranges.ignored, damage.flipped(WRONG)))
    with pytest.raises(DigestMismatch, match="98,304-131,071"):
        desk.run(job(desk))
    assert len(desk.seen) == 2
    desk.server.always(PATH, ranges.ignored)
    fetch(desk)


def test_a_seeded_file_keeps_its_patience(desk: Desk) -> None:
    """Each break after some bytes is progress, though a target of that length was there before."""
    desk.settings = structs.replace(desk.settings, retries=3)
    leave_target(desk, OTHER)
    desk.server.script(PATH, *[timing.drop_after(PIECE + 200)] * 8)
    fetch(desk)
    assert len(desk.seen) > 5


def test_a_journal_that_goes_beyond_the_end_is_not_believed(desk: Desk) -> None:
    """It lies, or a server sent more than it may: all is fetched, and nothing stays behind."""
    desk.leave_partial(4 * PIECE)
    longer = bytes(len(BODY) + 2 * PIECE)
    desk.partial.write_bytes(longer)
    (journal,) = desk.workspace.glob("partials/*.journal")
    head = journal.read_bytes().split(b"\n")[0]
    journal.write_bytes(head + b"\n" + dump_ranges([Range(0, len(longer))]))
    assert fetch(desk).moved_bytes == len(BODY)


def test_a_resume_reads_back_what_is_there(desk: Desk) -> None:
    """A bit that turned on the disk between two runs costs its piece, and no restart."""
    desk.leave_partial(6 * PIECE + 100)
    damaged = bytearray(desk.partial.read_bytes())
    damaged[WRONG] ^= 1
    desk.partial.write_bytes(damaged)
    assert fetch(desk).moved_bytes == len(BODY) - (6 * PIECE + 100) + PIECE
    assert desk.asked[1:] == [f"bytes={6 * PIECE + 100}-{len(BODY) - 1}", piece_at(WRONG)]


def test_a_bit_in_a_piece_that_was_begun_costs_that_piece(desk: Desk) -> None:
    """A piece whose first bytes are of an earlier run is judged as a whole."""
    desk.leave_partial(3 * PIECE + 200)
    damaged = bytearray(desk.partial.read_bytes())
    damaged[WRONG] ^= 1
    desk.partial.write_bytes(damaged)
    fetch(desk)
    assert desk.asked[2:] == [piece_at(WRONG)]


def test_a_resume_without_an_etag_is_safe(desk: Desk) -> None:
    """Where the server has no validator, pieces tell: what was there of another file goes."""
    desk.server.put(PATH, OTHER, etag=None)
    desk.leave_partial(4 * PIECE)
    desk.server.put(PATH, BODY, etag=None)
    assert fetch(desk).moved_bytes == len(BODY)


def test_bytes_of_another_place_are_taken_over(desk: Desk) -> None:
    """What came from one URL counts for another: each piece is checked, whoever gave it."""
    desk.leave_partial(4 * PIECE)
    desk.server.put("/new.bin", BODY, etag='"of the new place"')
    assert fetch(desk, desk.location("/new.bin")).moved_bytes == len(BODY) - 4 * PIECE
    assert "If-Match" not in desk.seen[-1].headers


def test_without_a_layer_another_place_starts_over(desk: Desk) -> None:
    """Where only the whole can be judged, bytes of two places are not mixed."""
    desk.leave_partial(4 * PIECE)
    desk.server.put("/new.bin", BODY)
    assert desk.fetch(pinned(), desk.location("/new.bin")).moved_bytes == len(BODY)


def test_a_layer_of_another_length_is_not_used(desk: Desk) -> None:
    """A layer that cannot be the file's leaves the judgement to the SHA-256."""
    other = layer_over(BODY + b"more", PIECE)
    desk.run(replace(desk.job(pinned()), layer=other))
    assert desk.target.read_bytes() == BODY


def test_a_changed_validator_with_pieces_starts_over(desk: Desk) -> None:
    """A file that the server says was replaced is fetched anew, once."""
    desk.leave_partial(4 * PIECE)
    desk.server.script(PATH, validators.etag('"v2"'))
    assert fetch(desk).moved_bytes >= len(BODY) - 4 * PIECE


@pytest.mark.parametrize("connections", [1, 8])
def test_many_connections_find_every_wrong_piece(desk: Desk, connections: int) -> None:
    """With several replies at once each wrong piece is found, and only those move again."""
    layer = layer_over(LARGE, LARGE_PIECE)
    wrong = [place * LARGE_PIECE + 7 for place in (0, 11, 12, 30)]
    desk.settings = structs.replace(desk.settings, connections=connections)
    desk.server.put(PATH, LARGE)
    slow = timing.drip(1 << 18, 0.002)
    desk.server.script(PATH, *[combined(damage.flipped(*wrong), slow)] * 2)
    fetched = desk.run(replace(desk.job(pinned(LARGE)), layer=layer))
    assert desk.target.read_bytes() == LARGE
    assert (fetched.moved_bytes - len(LARGE)) % LARGE_PIECE == 0 or connections > 1
    assert fetched.moved_bytes <= len(LARGE) + 2 * len(wrong) * LARGE_PIECE + connections * (
        1 << 20
    )


def leave_target(desk: Desk, content: bytes) -> None:
    """Put a file where the target is to be."""
    desk.target.parent.mkdir(parents=True)
    desk.target.write_bytes(content)


def with_wrong_bits(*places: int) -> bytes:
    """Return BODY with a bit wrong at each place."""
    damaged = bytearray(BODY)
    for place in places:
        damaged[place] ^= 1
    return bytes(damaged)


def test_the_good_pieces_of_a_damaged_target_are_not_fetched(desk: Desk) -> None:
    """A file that is wrong in one piece gives the others: one piece moves."""
    leave_target(desk, with_wrong_bits(WRONG))
    assert fetch(desk).moved_bytes == PIECE
    assert desk.asked == [piece_at(WRONG)]


def test_a_damaged_target_stays_when_its_piece_does_not_come(desk: Desk) -> None:
    """It is copied from, and neither changed nor removed before all is right."""
    leave_target(desk, damaged := with_wrong_bits(WRONG))
    desk.server.always(PATH, damage.flipped(WRONG))
    with pytest.raises(DigestMismatch):
        desk.run(job(desk))
    assert desk.target.read_bytes() == damaged


@pytest.mark.parametrize("found", [b"", b"short", OTHER, BODY + b"more"], ids=len)
def test_another_file_in_its_place_costs_no_restart(desk: Desk, found: bytes) -> None:
    """Whatever stands there, the file is fetched once."""
    leave_target(desk, found)
    assert fetch(desk).moved_bytes == len(BODY)


def test_a_partial_goes_before_a_damaged_target(desk: Desk) -> None:
    """What an earlier run left is gone on with, and the target is not copied over it."""
    desk.leave_partial(4 * PIECE)
    leave_target(desk, with_wrong_bits(WRONG))
    assert fetch(desk).moved_bytes == len(BODY) - 4 * PIECE


def test_without_copy_file_range_bytes_are_read_and_written(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the system does not know it, or refuses, the copy is the same."""

    def refuses(*_arguments: int) -> int:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr("downloader.fs.digests._copy_range", refuses)
    leave_target(desk, with_wrong_bits(WRONG))
    assert fetch(desk).moved_bytes == PIECE


def test_a_target_that_is_a_link_is_not_followed(desk: Desk) -> None:
    """Nothing is copied from where a symlink leads."""
    (desk.folder / "elsewhere").write_bytes(with_wrong_bits(WRONG))
    desk.target.parent.mkdir(parents=True)
    desk.target.symlink_to(desk.folder / "elsewhere")
    assert desk.run(job(desk)).moved_bytes == len(BODY)
