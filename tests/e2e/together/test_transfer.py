"""An archive's bytes: served by the API or by a storage it leads to, resumed, pinned, held."""

from pathlib import Path

import pytest

from downloader.errors import (
    BadArchive,
    BadResponse,
    ConnectionLost,
    DigestMismatch,
    LinkExpired,
    ServerBusy,
    SizeMismatch,
)
from tests.e2e.together.projects import (
    DOWNLOAD,
    JOB,
    bot,
    files,
    locked_archives,
    private_files,
    sync,
)
from tests.projects import edit_lock, lock, sha256
from tests.servers.exchange import Exchange
from tests.servers.faults import framing, pages, statuses, timing
from tests.servers.reply import Reply
from tests.servers.together.archives import lora_archive, merged_archive
from tests.servers.together.server import TogetherServer

BIG_BYTES = 12 << 20
MIB = 1 << 20


def big_job(together: TogetherServer) -> bytes:
    """Make the job's model large enough to be broken off, and return its archive."""
    content = merged_archive(20, weights_bytes=BIG_BYTES)
    together.job(JOB).checkpoints = {20: {"merged": content}}
    return content


def bodies(together: TogetherServer) -> list[tuple[str | None, int]]:
    """Return Range and number of bytes sent of each request for bytes, wherever it went."""
    seen = together.storage.requests or [
        each for each in together.requests if each.path == DOWNLOAD
    ]
    return [(each.headers.get("Range"), each.body_bytes_sent) for each in seen]


@pytest.mark.parametrize("redirect", [None, 302, 307])
@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize("validators", [True, False])
def test_every_manner_of_serving_gives_the_archive(
    tmp_path: Path,
    together: TogetherServer,
    redirect: int | None,
    ranges: bool,
    validators: bool,
) -> None:
    """Inline and redirected, with and without ranges and ETag; the storage never sees the key."""
    options = together.options
    options.redirect, options.ranges, options.validators = redirect, ranges, validators
    sync(tmp_path)

    (archive,) = locked_archives(tmp_path)
    content = (tmp_path / "models/m" / archive.path).read_bytes()
    assert content == merged_archive(20)
    assert (archive.size, archive.sha256, archive.first_use) == (
        len(content),
        sha256(content),
        True,
    )
    assert (archive.etag is not None) is validators
    assert together.storage.with_credentials == []
    assert bool(together.storage.requests) is (redirect is not None)


def test_the_size_is_known_from_two_bytes(tmp_path: Path, together: TogetherServer) -> None:
    """`lock` asks for bytes 0-1, as both SDKs do, and moves no body."""
    lock(tmp_path, {"m": bot()})

    assert bodies(together) == [("bytes=0-1", 2)]
    assert locked_archives(tmp_path)[0].size == len(merged_archive(20))


def test_without_ranges_the_size_is_read_off_the_reply(
    tmp_path: Path, together: TogetherServer
) -> None:
    """A server that answers with all of it is left after its first bytes."""
    together.options.ranges = False
    content = big_job(together)
    lock(tmp_path, {"m": bot()})

    assert locked_archives(tmp_path)[0].size == len(content)
    assert bodies(together)[0][1] < len(content)


def test_a_link_for_one_request_is_asked_for_anew(tmp_path: Path, together: TogetherServer) -> None:
    """Links that are good once: the API is asked for a new one, and it alone gets the key."""
    together.options.redirect, together.options.link_uses = 302, 1
    content = big_job(together)
    together.script_bodies(lambda _, reply: reply, timing.drop_after(6 * MIB))
    sync(tmp_path)

    assert (tmp_path / "models/m" / locked_archives(tmp_path)[0].path).read_bytes() == content
    assert together.storage.with_credentials == []
    statuses_seen = [seen.status for seen in together.storage.requests]
    assert set(statuses_seen) <= {200, 206, 403}
    assert statuses_seen.count(403) <= len(statuses_seen) / 2  # a known link is tried once more


def test_a_link_that_expires_in_the_middle_costs_no_byte(
    tmp_path: Path, together: TogetherServer
) -> None:
    """A link that ends between two requests is replaced, and the rest asked for with it."""
    together.options.redirect = 302
    content = big_job(together)

    def expire(exchange: Exchange, reply: Reply) -> Reply:
        together.expire_links()
        return timing.drop_after(6 * MIB)(exchange, reply)

    together.script_bodies(lambda _, reply: reply, expire)
    sync(tmp_path)

    assert (tmp_path / "models/m" / locked_archives(tmp_path)[0].path).read_bytes() == content
    assert sum(sent for _, sent in bodies(together)) < len(content) + 2 * MIB


def test_a_link_that_never_works_is_told_without_its_signature(
    tmp_path: Path, together: TogetherServer
) -> None:
    """A storage that always refuses is not asked for ever; no signature is shown."""
    together.options.redirect, together.options.link_uses = 302, 0
    with pytest.raises(LinkExpired) as caught:
        sync(tmp_path)

    assert "X-Amz" not in caught.value.report()
    assert len(together.storage.requests) < 10


@pytest.mark.parametrize("redirect", [None, 302])
def test_what_arrived_is_not_fetched_again(
    tmp_path: Path, together: TogetherServer, redirect: int | None
) -> None:
    """A body that breaks off is gone on with, under the same ETag, by a run of its own too."""
    together.options.redirect = redirect
    content = big_job(together)
    lock(tmp_path, {"m": bot()})
    together.script_bodies(*[timing.drop_after(8 * MIB)] + [statuses.status(500)] * 5)
    with pytest.raises(ServerBusy, match="500"):
        sync(tmp_path)
    assert not files(tmp_path)
    sync(tmp_path)

    assert (tmp_path / "models/m" / locked_archives(tmp_path)[0].path).read_bytes() == content
    assert sum(sent for _, sent in bodies(together)) < len(content) + 2 * MIB


def test_the_first_bytes_that_came_are_the_right_ones_from_then_on(
    tmp_path: Path, together: TogetherServer
) -> None:
    """A changed archive of the same size is a DigestMismatch, and is not put anywhere."""
    sync(tmp_path)
    (archive,) = locked_archives(tmp_path)
    target = tmp_path / "models/m" / archive.path
    right = target.read_bytes()
    other = right[:-1] + bytes([right[-1] ^ 1])
    together.job(JOB).checkpoints = {20: {"merged": other}}
    target.write_bytes(b"edited")

    with pytest.raises(DigestMismatch):
        sync(tmp_path)
    assert target.read_bytes() == b"edited"
    assert locked_archives(tmp_path) == [archive]


def test_an_archive_of_another_size_is_refused_at_its_head(
    tmp_path: Path, together: TogetherServer
) -> None:
    """Nothing of it is taken, and the hint says how to take the new one; that works."""
    sync(tmp_path)
    (archive,) = locked_archives(tmp_path)
    target = tmp_path / "models/m" / archive.path
    target.write_bytes(b"edited")
    together.job(JOB).checkpoints = {20: {"merged": merged_archive(21, weights_bytes=9000)}}
    with pytest.raises(SizeMismatch, match=f"{archive.size:,}") as caught:
        sync(tmp_path)
    assert target.read_bytes() == b"edited"
    assert "doit lock --upgrade" in caught.value.hint

    lock(tmp_path, upgrade=True)
    sync(tmp_path)
    assert target.read_bytes() == merged_archive(21, weights_bytes=9000)


def test_an_upgrade_keeps_the_pin_of_what_is_still_shown(
    tmp_path: Path, together: TogetherServer
) -> None:
    """The same step, size and ETag: the SHA-256 and what came stay, and nothing moves."""
    sync(tmp_path)
    before, asked = (tmp_path / "models.lock").read_bytes(), len(together.requests)
    (line,) = lock(tmp_path, upgrade=True)

    assert line.startswith("same m: 1 file")
    assert (tmp_path / "models.lock").read_bytes() == before
    assert len(together.requests) == asked + 2


def test_an_upgrade_drops_the_pin_of_other_bytes(tmp_path: Path, together: TogetherServer) -> None:
    """Another ETag means other bytes, whatever their number."""
    sync(tmp_path)
    content = merged_archive(20)
    other = content[:-1] + bytes([content[-1] ^ 1])
    together.job(JOB).checkpoints = {20: {"merged": other}}
    changed, file = lock(tmp_path, upgrade=True)

    assert changed.startswith("changed m: 1 file")
    assert file.endswith(f"{len(content):,} bytes, other content")
    assert not locked_archives(tmp_path)[0].is_pinned


def test_a_short_archive_is_never_put_in_place(tmp_path: Path, together: TogetherServer) -> None:
    """However often it is asked for: there is an error, and no file."""
    together.options.validators = False
    together.script_bodies(lambda _, reply: reply, *[framing.short(3)] * 9)
    with pytest.raises(ConnectionLost, match="closed the connection after"):
        sync(tmp_path)

    assert not files(tmp_path)


@pytest.mark.parametrize("extract", [False, True])
@pytest.mark.parametrize(
    "content", [b"hello" * 100, merged_archive(20)[:-40], b"\x28\xb5\x2f\xfd" * 9]
)
def test_a_bad_archive_is_set_aside_and_never_pinned(
    tmp_path: Path, together: TogetherServer, content: bytes, extract: bool
) -> None:
    """Nothing is left under a final name, and the next run takes the good one."""
    together.job(JOB).checkpoints = {20: {"merged": content}}
    with pytest.raises(BadArchive) as caught:
        sync(tmp_path, extract=extract)
    assert f"Its {len(content):,} bytes, SHA-256 {sha256(content)}" in caught.value.hint
    assert "set aside as" in caught.value.hint
    assert not files(tmp_path)
    assert any(each.startswith("quarantine/") for each in private_files(tmp_path))
    assert not locked_archives(tmp_path)[0].is_pinned

    together.job(JOB).checkpoints = {20: {"merged": merged_archive(20)}}
    lock(tmp_path, upgrade=True)
    sync(tmp_path, extract=extract)
    assert locked_archives(tmp_path)[0].sha256 == sha256(merged_archive(20))


def test_a_page_in_place_of_the_archive_is_told(tmp_path: Path, together: TogetherServer) -> None:
    """A captive portal's page with status 200 is no archive; nothing is kept of it."""
    together.api.always(DOWNLOAD, pages.captive_portal())
    with pytest.raises(BadResponse, match="an HTML page instead of"):
        sync(tmp_path)

    assert not files(tmp_path)


def test_a_pin_is_not_believed_for_another_checkpoint(
    tmp_path: Path, together: TogetherServer
) -> None:
    """The entry names another step: what was pinned for the first says nothing of it."""
    sync(tmp_path, checkpoint=10, archive="m.tar.zst")
    sync(tmp_path, checkpoint=20, type="adapter", archive="m.tar.zst")

    assert (tmp_path / "models/m/m.tar.zst").read_bytes() == lora_archive(20)
    assert [each.checkpoint.step for each in locked_archives(tmp_path)] == [20]


def test_a_lost_pin_is_made_good_from_the_receipt(tmp_path: Path, together: TogetherServer) -> None:
    """models.lock of before the fetch, as after a kill: the bytes are hashed, not fetched."""
    lock(tmp_path, {"m": bot()})
    unpinned = (tmp_path / "models.lock").read_bytes()
    sync(tmp_path)
    pinned, asked = (tmp_path / "models.lock").read_bytes(), len(together.requests)
    (tmp_path / "models.lock").write_bytes(unpinned)
    sync(tmp_path)

    assert (tmp_path / "models.lock").read_bytes() == pinned
    assert len(together.requests) == asked


def test_a_pin_that_was_changed_by_hand_is_held(tmp_path: Path, together: TogetherServer) -> None:
    """A SHA-256 that no bytes have is an error, not a reason to take what comes."""
    sync(tmp_path)
    (archive,) = locked_archives(tmp_path)
    (tmp_path / "models/m" / archive.path).unlink()
    edit_lock(tmp_path, archive.sha256, "0" * 64)
    with pytest.raises(DigestMismatch):
        sync(tmp_path)

    assert not files(tmp_path)
