"""Trust on first use: what is pinned, when, and what is never taken for it."""

import base64
import contextlib
import hashlib
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import (
    DigestMismatch,
    Interrupted,
    LockError,
    ModelmakeError,
    SizeMismatch,
    StoreError,
)
from downloader.project.project import Project
from downloader.targets import _files, engine, state
from downloader.targets.engine import Engine
from tests.projects import (
    edit_lock,
    gpt2,
    http,
    lock,
    locked,
    project,
    serve_gpt2,
    sha256,
    sync,
)
from tests.servers.azure_2009 import azure_2009
from tests.servers.body import as_body
from tests.servers.exchange import Fault
from tests.servers.faults import heads, pages, ranges, statuses, validators
from tests.servers.faulty import FaultyServer, strong_etag
from tests.targets.one_model import BYTES, lock_pinned, put, sync_one, target, whys


def test_first_use_is_pinned_and_marked(tmp_path: Path, url: str) -> None:
    """A file nobody published a digest of is pinned by its first fetch, in size and SHA-256."""
    lock(tmp_path, {"m": http(url)})
    assert sync_one(tmp_path).is_first_use
    (artifact,) = locked(tmp_path).files
    assert (artifact.size, artifact.sha256) == (len(BYTES), sha256(BYTES))
    assert artifact.first_use
    assert whys(tmp_path) == [None]


def test_a_server_that_said_nothing_is_pinned_too(tmp_path: Path, url: str) -> None:
    """A file locked while its server was away gets its size and SHA-256 by its fetch."""
    lock(tmp_path, {"m": http(url)}, is_offline=True)
    assert locked(tmp_path).files[0].size is None
    sync_one(tmp_path)
    assert locked(tmp_path).files[0].size == len(BYTES)


def test_a_file_found_in_place_is_not_pinned_unseen(tmp_path: Path, url: str) -> None:
    """Bytes of unknown origin are not trusted on first use: the file is fetched."""
    lock(tmp_path, {"m": http(url)})
    put(tmp_path, b"somebody's"[: len(BYTES)])
    assert sync_one(tmp_path).verb == "fetched"
    assert locked(tmp_path).files[0].sha256 == sha256(BYTES)


def test_bytes_with_another_md5_than_their_own_reply_tells_are_refused(tmp_path: Path) -> None:
    """What the server publishes with the bytes themselves judges them."""
    with azure_2009() as azure:
        azure.put("/a.bin", BYTES)
        lock(tmp_path, {"m": http(azure.url("/a.bin"))})
        wrong = base64.b64encode(hashlib.md5(b"other").digest()).decode()
        azure.always("/a.bin", heads.header("Content-MD5", wrong))
        with pytest.raises(DigestMismatch, match="md5"):
            sync_one(tmp_path)
    assert not target(tmp_path).exists()
    assert not locked(tmp_path).files[0].is_pinned


def test_an_unpinned_file_is_refused_in_read_only_mode(
    tmp_path: Path, url: str, server: FaultyServer
) -> None:
    """MODELMAKE_LOCKED forbids trust on first use; the hint says how to pin."""
    lock(tmp_path, {"m": http(url)})
    asked = len(server.requests)
    with pytest.raises(LockError, match=r"pins no SHA-256 for m/a\.bin") as caught:
        sync_one(tmp_path, is_locked=True)
    assert caught.value.hint == (
        "On your machine, without MODELMAKE_LOCKED: `doit fetch:m`, then commit models.lock."
    )
    assert len(server.requests) == asked


def test_a_pinned_file_of_unknown_size_is_fetched_in_read_only_mode(
    tmp_path: Path, url: str
) -> None:
    """The digest is all that has to be pinned: no size is wanted, and the lock stays as it is."""
    lock(tmp_path, {"m": http({"url": url, "sha256": sha256(BYTES)})}, is_offline=True)
    before = (tmp_path / "models.lock").read_bytes()
    assert sync_one(tmp_path, is_locked=True).verb == "fetched"
    assert (tmp_path / "models.lock").read_bytes() == before


@pytest.fixture
def killed(tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Give a project where a first fetch was killed before its pins were written."""
    with monkeypatch.context() as patched:
        patched.setattr(Project, "write_pins", lambda _: None)
        sync(tmp_path, {"m": http(url)})
    assert not locked(tmp_path).files[0].is_pinned
    return tmp_path


def test_pins_survive_a_kill(killed: Path, server: FaultyServer) -> None:
    """What a killed run fetched is pinned from its receipt, without a request."""
    asked = len(server.requests)
    done = sync_one(killed)
    assert (done.verb, done.is_first_use) == ("verified", True)
    assert len(server.requests) == asked
    assert locked(killed).files[0].sha256 == sha256(BYTES)


def test_a_file_edited_after_a_kill_is_fetched_again(killed: Path) -> None:
    """The receipt pins what was fetched, never what somebody made of it since."""
    put(killed, BYTES[::-1])
    assert sync_one(killed).verb == "fetched"
    assert locked(killed).files[0].sha256 == sha256(BYTES)


def test_a_receipt_of_another_url_pins_nothing(killed: Path, server: FaultyServer) -> None:
    """After the URL changed, the bytes of the old one are not taken for those of the new one."""
    server.put("/v2/a.bin", BYTES[::-1])
    sync(killed, {"m": http(server.url("/v2/a.bin"))})
    assert target(killed).read_bytes() == BYTES[::-1]
    assert locked(killed).files[0].sha256 == sha256(BYTES[::-1])


def test_another_size_of_a_model_in_the_same_folder_is_fetched(
    tmp_path: Path, server: FaultyServer
) -> None:
    """gpt2 changed from 355M to 774M means other bytes, though names and lengths are the same."""
    base = serve_gpt2(server, "355M")
    assert serve_gpt2(server, "774M") == base
    sync(tmp_path, {"m": gpt2("355M", base)})
    sync(tmp_path, {"m": gpt2("774M", base)})
    assert target(tmp_path, "vocab.bpe").read_bytes() == b"774M vocab.bpe\n"
    assert whys(tmp_path) == [None] * 7


def test_pins_are_written_while_a_long_run_goes_on(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every few seconds the pins so far reach models.lock, so a kill loses few."""
    monkeypatch.setattr(_files, "PIN_EVERY_SECONDS", -1.0)
    lock(tmp_path, {"m": http(url)})
    syncer = Engine(project(tmp_path))
    syncer.sync("m", "a.bin")
    assert locked(tmp_path).files[0].is_pinned
    syncer.close()


def test_a_pin_that_was_changed_by_hand_is_not_obeyed_in_silence(tmp_path: Path, url: str) -> None:
    """Another SHA-256 in the lock makes the target stale, and the right bytes are refused."""
    sync(tmp_path, {"m": http(url)})
    edit_lock(tmp_path, sha256(BYTES), sha256(b"other"))
    assert ["models.lock changed" in str(why) for why in whys(tmp_path)] == [True]
    with pytest.raises(DigestMismatch, match="sha256"):
        sync_one(tmp_path)
    assert target(tmp_path).read_bytes() == BYTES


HINTS: dict[str, Fault] = {
    "an empty 200": statuses.status(200),
    "a page": pages.captive_portal(),
    "a text": statuses.status(200, b"log in first", {"Content-Type": "text/plain"}),
    "a JSON log-in": pages.json_error(),
    "another total": ranges.other_total(100),
    "a smaller total": ranges.claims("bytes 0-0/1"),
    "an empty file": ranges.unsatisfiable("bytes */0"),
    "another ETag": validators.etag('"portal"'),
    "an MD5 of nothing": heads.header("x-ms-blob-content-md5", "1B2M2Y8AsgTpgAmY7PhCfg=="),
}
"""What a server may say when it is asked for the first byte, before it is asked for the file."""
hints = pytest.mark.parametrize("fault", HINTS.values(), ids=HINTS.keys())
pins = pytest.mark.parametrize("is_declared", [True, False], ids=["declared", "first use"])


@hints
@pins
def test_a_wrong_hint_is_corrected_by_the_next_run(
    tmp_path: Path, url: str, server: FaultyServer, fault: Fault, is_declared: bool
) -> None:
    """What a probe saw plans the run; what is locked in the end is what came."""
    file = {"url": url, **({"sha256": sha256(BYTES)} if is_declared else {})}
    server.script("/a.bin", fault)
    lock_leniently(tmp_path, {"m": http(file)})
    assert sync_one(tmp_path).verb == "fetched"
    (artifact,) = locked(tmp_path).files
    assert (artifact.size, artifact.sha256) == (len(BYTES), sha256(BYTES))
    assert target(tmp_path).read_bytes() == BYTES
    if not is_declared:
        assert artifact.md5 is None
        assert artifact.etag == strong_etag(as_body(BYTES))
    assert whys(tmp_path) == [None]


def lock_leniently(folder: Path, models: dict[str, Any]) -> None:
    """Lock, also where a server's answer is refused."""
    with contextlib.suppress(ModelmakeError):
        lock(folder, models)


@hints
def test_a_wrong_hint_survives_no_further_lock(
    tmp_path: Path, url: str, server: FaultyServer, fault: Fault
) -> None:
    """A fact of the lock stays when a later probe sees the portal."""
    sync(tmp_path, {"m": http(url)})
    (before,) = locked(tmp_path).files
    server.script("/a.bin", fault)
    lock_leniently(tmp_path, {"m": http(url)})
    assert locked(tmp_path).files == (before,)


OLD_HINTS = ['"size":56', '"size":56,"md5":"d41d8cd98f00b204e9800998ecf8427e"', '"size":9999999']


@pytest.mark.parametrize("hint", OLD_HINTS)
@pins
def test_a_lock_that_an_older_version_wrote_wrong_is_corrected(
    tmp_path: Path, url: str, hint: str, is_declared: bool
) -> None:
    """Nobody has to delete it, or to know of `doit lock --upgrade`."""
    file = {"url": url, **({"sha256": sha256(BYTES)} if is_declared else {})}
    lock(tmp_path, {"m": http(file)}, is_offline=True)
    if is_declared:
        hint = hint.partition(",")[0]
    edit_lock(tmp_path, '"path":"a.bin"', f'"path":"a.bin",{hint}')
    assert sync_one(tmp_path).verb == "fetched"
    (artifact,) = locked(tmp_path).files
    assert (artifact.size, artifact.sha256) == (len(BYTES), sha256(BYTES))
    assert (artifact.md5, whys(tmp_path)) == (None, [None])


def test_a_file_that_changed_since_it_was_only_asked_about_is_taken(
    tmp_path: Path, url: str, server: FaultyServer
) -> None:
    """Nothing was pinned of it: its first download says what it is."""
    server.always("/a.bin", validators.missing)
    lock(tmp_path, {"m": http(url)})
    server.put("/a.bin", BYTES * 2)
    sync_one(tmp_path)
    assert locked(tmp_path).files[0].sha256 == sha256(BYTES * 2)


def test_a_pinned_size_still_judges_a_reply(tmp_path: Path, url: str, server: FaultyServer) -> None:
    """A download showed it: another length is refused before its bytes come."""
    sync(tmp_path, {"m": http(url)})
    target(tmp_path).unlink()
    server.put("/a.bin", BYTES * 2)
    with pytest.raises(SizeMismatch, match="14"):
        sync_one(tmp_path)


def test_the_etag_of_a_mirror_is_not_locked(tmp_path: Path, url: str, server: FaultyServer) -> None:
    """Another server's validator says nothing of the first one's file."""
    server.put("/mirror.bin", BYTES)
    server.always("/a.bin", statuses.status(410))
    lock_leniently(tmp_path, {"m": http({"url": url, "mirrors": [server.url("/mirror.bin")]})})
    sync_one(tmp_path)
    assert (locked(tmp_path).files[0].etag, locked(tmp_path).files[0].first_use) == (None, True)


def test_receipts_of_pinned_files_say_nothing_of_what_was_asked(tmp_path: Path, url: str) -> None:
    """Only a file without a known digest needs to note what it was fetched for."""
    lock_pinned(tmp_path, url)
    sync_one(tmp_path)
    assert state.load_receipts(target(tmp_path).parent)["a.bin"].asked is None


def test_pins_are_written_although_a_receipt_cannot_be(
    tmp_path: Path, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lost receipt costs a hashing; a lost pin is a file that nobody can verify."""

    def refuse() -> None:
        raise StoreError("No space left on device.")

    lock(tmp_path, {"m": http(url)})
    monkeypatch.setattr(engine, "write_waiting", refuse)
    syncer = Engine(project(tmp_path))
    syncer.sync("m", target(tmp_path).name)
    with pytest.raises(StoreError, match="No space"):
        syncer.close()
    assert locked(tmp_path).files[0].sha256 == sha256(BYTES)


def test_pins_are_written_before_a_run_shares_on(tmp_path: Path, url: str) -> None:
    """Whoever waits for peers no longer, and presses Ctrl-C, has all; and the sharing ends."""
    said = list[str]()

    class Lingering:
        def linger(self, _: float) -> None:
            said.append("pinned" if locked(tmp_path).files[0].is_pinned else "not pinned")
            raise Interrupted("Interrupted.")

        def close(self) -> None:
            said.append("closed")

    lock(tmp_path, {"m": http(url)})
    syncer = Engine(project(tmp_path))
    syncer.sync("m", target(tmp_path).name)
    syncer._swarm = Lingering()  # type: ignore[assignment]
    with pytest.raises(Interrupted):
        syncer.close()
    assert said == ["pinned", "closed"]
