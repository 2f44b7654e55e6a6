"""What Together's own SDKs get wrong, tried or read in 1.5.34 and 3.1.1: each is a test here."""

from pathlib import Path
from typing import Any

import pytest

from downloader.errors import BadResponse, ConnectionLost, LockError, ManifestError, NotFound
from downloader.operations.sync import sync_models
from tests.e2e.together.projects import (
    JOB,
    STEM,
    bot,
    downloads,
    files,
    locked_archives,
    private_files,
    sync,
)
from tests.projects import declare, lock
from tests.servers.exchange import Exchange
from tests.servers.faults import framing, statuses, timing
from tests.servers.reply import Reply
from tests.servers.together.archives import merged_archive
from tests.servers.together.server import TogetherServer

MIB = 1 << 20


def test_output_dir_gets_a_random_name(tmp_path: Path, together: TogetherServer) -> None:
    """Both SDKs leave `tmpfou2wdxt` in a given folder; here the name is told beforehand."""
    sync(tmp_path, to="weights")

    assert sorted(each.name for each in (tmp_path / "weights").iterdir()) == [
        ".modelmake",
        f"{STEM}.tar.zst",
    ]


def test_default_name_ignores_step_and_type(tmp_path: Path, together: TogetherServer) -> None:
    """Final, step, merged and adapter overwrite each other in both SDKs; here each is there."""
    declare(tmp_path, {"final": bot(), "step": bot(checkpoint=10), "adapter": bot(type="adapter")})
    sync_models(None, tmp_path)

    names = {each.name for each in tmp_path.glob("models/*/*.tar.zst")}
    assert len(names) == 3


def test_size_mismatch_is_never_raised(tmp_path: Path, together: TogetherServer) -> None:
    """1.5 makes a DownloadError and moves the short file into place; here it is raised."""
    together.options.validators = False
    together.script_bodies(lambda _, reply: reply, *[framing.short(3)] * 9)
    with pytest.raises(ConnectionLost):
        sync(tmp_path)

    assert not files(tmp_path)


def test_no_retry_in_the_middle(tmp_path: Path, together: TogetherServer) -> None:
    """1.5 fails where the connection drops; here the rest is asked for."""
    content = merged_archive(20, weights_bytes=6 * MIB)
    together.job(JOB).checkpoints = {20: {"merged": content}}
    together.script_bodies(lambda _, reply: reply, timing.drop_after(3 * MIB))
    sync(tmp_path)

    assert (tmp_path / "models/m" / f"{STEM}.tar.zst").read_bytes() == content
    assert together.requests[-1].status == 206


def test_orphaned_temporary_file_and_stale_lock(tmp_path: Path, together: TogetherServer) -> None:
    """Both leave `tmp…` after a failure, 1.5 a `.lock` too; here only what the next run uses."""
    together.script_bodies(lambda _, reply: reply, timing.drop_after(9), statuses.status(400))
    with pytest.raises(BadResponse):
        sync(tmp_path)
    assert not files(tmp_path)
    sync(tmp_path)

    assert files(tmp_path) == {f"{STEM}.tar.zst"}
    assert private_files(tmp_path) == {"receipts"}


def test_error_says_only_error_fetching_metadata(tmp_path: Path, together: TogetherServer) -> None:
    """1.5 hides the cause; here it names job, state, status and what to do."""
    together.job(JOB).status = "completed"
    together.script_bodies(statuses.status(400))
    with pytest.raises(LockError, match=rf"the final model of {JOB}, which is completed: .* 400"):
        lock(tmp_path, {"m": bot()})


@pytest.mark.parametrize("validators", [True, False])
def test_resume_does_not_check_the_reply(
    tmp_path: Path, together: TogetherServer, validators: bool
) -> None:
    """3.x appends a 200 to what it has, and joins two versions; here a change starts over."""
    old = merged_archive(20, weights_bytes=6 * MIB)
    middle = len(old) - MIB  # in the weights, which are noise and stored as they are
    new = old[:middle] + bytes([old[middle] ^ 1]) + old[middle + 1 :]
    together.job(JOB).checkpoints = {20: {"merged": old}}
    together.options.validators = validators

    def change(exchange: Exchange, reply: Reply) -> Reply:
        together.job(JOB).checkpoints = {20: {"merged": new}}
        together.options.ranges = validators
        return timing.drop_after(3 * MIB)(exchange, reply)

    together.script_bodies(lambda _, reply: reply, change)
    sync(tmp_path)

    assert (tmp_path / "models/m" / f"{STEM}.tar.zst").read_bytes() == new


def test_nothing_survives_the_process(tmp_path: Path, together: TogetherServer) -> None:
    """3.x begins anew in each process; here a later one goes on from the journal."""
    content = merged_archive(20, weights_bytes=6 * MIB)
    together.job(JOB).checkpoints = {20: {"merged": content}}
    together.script_bodies(
        lambda _, reply: reply, timing.drop_after(4 * MIB), *[statuses.status(404)]
    )
    with pytest.raises(NotFound, match="404"):
        sync(tmp_path)
    sync(tmp_path)

    last = together.requests[-1]
    assert last.status == 206
    assert last.body_bytes_sent < 3 * MIB


def test_name_makes_nested_folders(tmp_path: Path, together: TogetherServer) -> None:
    """3.x takes `acct/base:suffix:id` as it is, and misses the folder (together-py#352)."""
    together.job(JOB).output_name = "acct/meta-llama/Llama-3.2-1B:sfx:ft-1"
    sync(tmp_path)

    assert files(tmp_path) == {"acct--meta-llama--llama-3.2-1b-sfx-ft-1.tar.zst"}


def test_a_missing_name_fails_though_an_output_is_given(
    tmp_path: Path, together: TogetherServer
) -> None:
    """3.x wants a model name even where the file's name is told; here neither is needed."""
    together.job(JOB).output_name = None
    sync(tmp_path, archive="bot.tar.zst")

    assert files(tmp_path) == {"bot.tar.zst"}


def test_a_training_without_type_is_asked_for_default(
    tmp_path: Path, together: TogetherServer
) -> None:
    """3.x sends `checkpoint=default`, which the API does not know; here it is never sent."""
    together.job(JOB).training = None
    with pytest.raises(LockError):
        lock(tmp_path, {"m": bot()})

    assert {each["checkpoint"] for each in downloads(together)} <= {
        "merged",
        "adapter",
        "model_output_path",
    }


def test_message_shows_a_brace(tmp_path: Path, together: TogetherServer) -> None:
    """1.5 prints a literal `{id}` where step is given twice; here the key's place is told."""
    declare(tmp_path, {"m": bot(job=f"{JOB}:10", checkpoint=10)})
    with pytest.raises(ManifestError, match=r"models\.m\.checkpoint: `job` has a step already"):
        sync_models(None, tmp_path)


def test_polling_hangs_on_cancel_requested(tmp_path: Path, together: TogetherServer) -> None:
    """Users' loops wait for ever; here it is an end."""
    together.job(JOB).status = "cancel_requested"
    with pytest.raises(LockError, match="cancel_requested"):
        lock(tmp_path, {"m": bot(wait=True)})


def test_no_verification_and_no_unpacking(tmp_path: Path, together: TogetherServer) -> None:
    """Both leave an archive that nobody hashed; here its files are pinned and in place."""
    sync(tmp_path, extract=True, keep_archive=False)

    locked: Any = locked_archives(tmp_path)[0]
    assert locked.sha256
    assert "config.json" in files(tmp_path)
    assert not list((tmp_path / "models").rglob("*.lock"))
