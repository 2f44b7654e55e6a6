"""What an archive is called: safe on every disk, another one for each step and type."""

from pathlib import Path
from typing import Any

import pytest

from downloader.artifact import check_path
from downloader.errors import LockError, ManifestError
from tests.e2e.together.projects import JOB, STEM, bot, files, locked_archives, sync, write_manifest
from tests.projects import declare, lock, project
from tests.servers.together.archives import lora_archive, merged_archive
from tests.servers.together.server import TogetherServer

NAMES = [
    ("acct/Llama-3.2-1B:My_Suffix:ft-1", "acct--llama-3.2-1b-my-suffix-ft-1"),
    (None, JOB),
    ("", JOB),
    ("   ", JOB),
    ("../../etc/passwd", ""),
    ("/abs/olute", ""),
    ("C:\\Windows\\x", ""),
    ("CON", "con-model"),
    ("com1.tar", "com1-model.tar"),
    ("nul", "nul-model"),
    ("x" * 300, "x" * 150),
    ("модель", JOB),
    ("a\x00b\x1b[31m\n", ""),
    ("~root", ""),
    (".hidden.", "hidden"),
    ("-rf", "rf"),
    ("a=b", "a-b"),
    ("a%2e%2e%2fb", ""),
    (".modelmake", "modelmake"),
    ("...", JOB),
]


@pytest.mark.parametrize(("name", "stem"), NAMES, ids=lambda each: repr(each)[:30])
def test_every_output_name_gives_a_safe_file_name(
    tmp_path: Path, together: TogetherServer, name: str | None, stem: str
) -> None:
    """A name that would lead elsewhere, or is none on some disk, becomes one that is."""
    together.job(JOB).output_name = name
    sync(tmp_path)

    (path,) = files(tmp_path)
    check_path(path)
    assert path.endswith(".tar.zst")
    assert "/" not in path
    if stem:
        assert path == f"{stem}.tar.zst"


def test_steps_and_types_never_have_one_name(tmp_path: Path, together: TogetherServer) -> None:
    """Five wishes of one job, in one folder's worth of names (both SDKs overwrite them)."""
    wishes: dict[str, Any] = {
        "final": bot(),
        "adapter": bot(type="adapter"),
        "merged": bot(type="merged"),
        "step": bot(checkpoint=10),
        "step-adapter": bot(checkpoint=10, type="adapter"),
        "last": bot(checkpoint=20),
    }
    lock(tmp_path, wishes)

    names = {name: locked_archives(tmp_path, name)[0].path for name in wishes}
    assert names == {
        "final": f"{STEM}.tar.zst",
        "adapter": f"{STEM}-adapter.tar.zst",
        "merged": f"{STEM}-merged.tar.zst",
        "step": f"{STEM}-checkpoint-10.tar.zst",
        "step-adapter": f"{STEM}-checkpoint-10-adapter.tar.zst",
        "last": f"{STEM}-checkpoint-20.tar.zst",
    }


@pytest.mark.parametrize("content_type", ["application/octet-stream", "application/x-tar"])
def test_the_suffix_follows_from_the_content(
    tmp_path: Path, together: TogetherServer, content_type: str
) -> None:
    """Gzip gives .tar.gz and zstd .tar.zst, whatever the server calls them."""
    together.options.content_type = content_type
    together.job(JOB).checkpoints = {
        10: {"adapter": lora_archive(10, packing="gz")},
        20: {"merged": merged_archive(20)},
    }
    sync(tmp_path, checkpoint="all")

    assert files(tmp_path) == {f"{STEM}-checkpoint-10.tar.gz", f"{STEM}-checkpoint-20.tar.zst"}


def test_archive_chooses_the_name(tmp_path: Path, together: TogetherServer) -> None:
    """`archive: NAME` and `to` decide where the archive lies."""
    sync(tmp_path, archive="bot.tar.zst", to="weights/bots")

    assert (tmp_path / "weights/bots/bot.tar.zst").read_bytes() == merged_archive(20)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"archive": "../x"}, "not a safe path"),
        ({"archive": "a/b.tar.zst"}, "without a folder"),
        ({"archive": "aux.tar.zst"}, "device name"),
        ({"archive": "x", "checkpoint": "all"}, "one name for several"),
        ({"archive": "x", "checkpoint": [10]}, "one name for several"),
        ({"keep_archive": False}, "without `extract`"),
    ],
)
def test_an_archive_key_that_cannot_be_is_refused(
    tmp_path: Path, keys: dict[str, Any], said: str
) -> None:
    """It is said of the manifest, before any request."""
    write_manifest(tmp_path, **keys)
    with pytest.raises(ManifestError, match=said):
        project(tmp_path).models()


@pytest.mark.parametrize("other", ["models/bot", "models/Bot", "models/bot/inner"])
def test_two_models_in_one_unpacked_folder_are_refused(tmp_path: Path, other: str) -> None:
    """What an archive unpacks to is known too late to compare: its folder is its own."""
    declare(
        tmp_path,
        {"m": bot(extract=True, to="models/bot"), "n": bot(job="ft-00", to=other)},
    )
    with pytest.raises(ManifestError, match="would be unpacked into the folder of `n`"):
        project(tmp_path).models()


@pytest.mark.parametrize("created", ["\x1b[31mred", "x" * 500, ""])
def test_a_moment_that_is_none_is_not_noted(
    tmp_path: Path,
    together: TogetherServer,
    created: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """`created` stands in models.lock and is shown: only a moment is taken over."""
    shown = [{"step": 10, "created_at": created, "checkpoint_type": "Intermediate"}]
    monkeypatch.setattr(together.job(JOB), "shown_checkpoints", lambda: shown)
    lock(tmp_path, {"m": bot(checkpoint=10)})

    assert locked_archives(tmp_path)[0].checkpoint.created is None


def test_the_moment_of_a_checkpoint_is_noted(tmp_path: Path, together: TogetherServer) -> None:
    """As Together writes it."""
    lock(tmp_path, {"m": bot(checkpoint=10)})
    assert locked_archives(tmp_path)[0].checkpoint.created == "2025-09-24T23:14:22Z"


def test_a_job_that_the_key_cannot_see_is_told(tmp_path: Path, together: TogetherServer) -> None:
    """404 names the job, and how to find the right one."""
    with pytest.raises(LockError, match="Together AI knows no job ft-00") as caught:
        lock(tmp_path, {"m": bot(job="ft-00")})
    assert "The key must be of its project" in caught.value.hint


def test_a_key_that_is_refused_says_where_to_get_one(
    tmp_path: Path, together: TogetherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """401 with a key set: the hint is the same as without one, and the key is not shown."""
    monkeypatch.setenv("TOGETHER_API_KEY", "canary")
    with pytest.raises(LockError, match=f"denies access to {JOB}") as caught:
        lock(tmp_path, {"m": bot()})
    assert "https://api.together.ai/settings/api-keys" in caught.value.hint
    assert "canary" not in caught.value.report()


SHARED: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"archive": "bot.tar.zst"}, {"archive": "BOT.tar.zst", "job": "ft-00"}),
    ({}, {}),
    ({"job": f"{JOB}:10"}, {"checkpoint": 10}),
    ({"checkpoint": [10, 20], "type": "adapter"}, {"checkpoint": [10, 20], "type": "adapter"}),
]


@pytest.mark.parametrize(("one", "other"), SHARED)
def test_two_entries_cannot_share_an_archive(
    tmp_path: Path, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """What would be one file is refused by the manifest where it can know, naming the entries."""
    models = {"a": bot(to="models/s", **one), "b": bot(to="models/S", **other)}
    with pytest.raises(ManifestError, match=r"models\.b.*(`a`|models\.a\.archive)") as caught:
        _ = project(tmp_path, models).declared
    assert "another `to`" in caught.value.hint


APART: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"archive": "a.tar.zst"}, {"archive": "b.tar.zst"}),
    ({}, {"archive": "b.tar.zst"}),
    ({}, {"checkpoint": 10}),
    ({}, {"type": "adapter"}),
]


@pytest.mark.parametrize(("one", "other"), APART)
def test_two_archives_may_lie_in_one_folder(
    tmp_path: Path, together: TogetherServer, one: dict[str, Any], other: dict[str, Any]
) -> None:
    """Another name, step or type is another file."""
    models = {"a": bot(to="models/s", **one), "b": bot(to="models/s", **other)}
    assert len(lock(tmp_path, models)) == 2


def test_jobs_of_one_name_cannot_share_a_folder(tmp_path: Path, together: TogetherServer) -> None:
    """Where only the providers' answers show it, the second one is not locked."""
    together.add_job("ft-00", checkpoints={20: {"merged": merged_archive(20)}})
    shared = {"a": bot(to="models/s"), "b": bot(job="ft-00", to="models/s")}
    with pytest.raises(LockError, match="one place on some disks"):
        lock(tmp_path, shared)
    assert len(project(tmp_path).lockfile.models) == 1


def test_models_that_swap_their_jobs_share_nothing(
    tmp_path: Path, together: TogetherServer
) -> None:
    """What the lock says of a model that is stale is not held against another."""
    together.add_job("ft-00", checkpoints={20: {"merged": merged_archive(20)}})
    together.job("ft-00").output_name = "acct/other"
    for one, other in ((JOB, "ft-00"), ("ft-00", JOB)):
        models = {"a": bot(job=one, to="models/s"), "b": bot(job=other, to="models/s")}
        said = [line for line in lock(tmp_path, models) if not line.startswith(" ")]
        assert len(said) == 2
