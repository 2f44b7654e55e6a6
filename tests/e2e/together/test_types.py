"""Which form of a model comes: what may be asked for, and what the archive proves to hold."""

from pathlib import Path
from typing import Any

import pytest

from downloader.errors import LockError, ManifestError
from tests.e2e.together.projects import (
    DOWNLOAD,
    JOB,
    bot,
    downloads,
    files,
    locked_archives,
    sync,
    write_manifest,
)
from tests.projects import edit_lock, lock, project
from tests.servers.together.archives import lora_archive, merged_archive
from tests.servers.together.server import TogetherServer


@pytest.fixture
def full(together: TogetherServer) -> TogetherServer:
    """Give the fake with a job of full training."""
    job = together.job(JOB)
    job.training, job.checkpoints = "Full", {20: {"model": merged_archive(20)}}
    return together


@pytest.mark.parametrize(
    ("wanted", "asked", "came"),
    [
        ("default", "merged", "model"),
        ("merged", "merged", "model"),
        ("adapter", "adapter", "adapter"),
    ],
)
def test_a_lora_job_is_asked_for_the_type(
    tmp_path: Path, together: TogetherServer, wanted: str, asked: str, came: str
) -> None:
    """Default means merged, as in both SDKs; what came is read from the archive and locked."""
    sync(tmp_path, type=wanted)

    (archive,) = locked_archives(tmp_path)
    assert {each["checkpoint"] for each in downloads(together)} == {asked}
    assert (archive.checkpoint.request, archive.checkpoint.came) == (asked, came)


@pytest.mark.parametrize("training", ["Full", "full", ""])
def test_a_full_training_is_asked_for_its_path(
    tmp_path: Path, full: TogetherServer, training: str
) -> None:
    """It has no adapter: the API wants `model_output_path`. An empty type counts as full."""
    job = full.job(JOB)
    job.training = training
    sync(tmp_path)

    assert {each["checkpoint"] for each in downloads(full)} == {"model_output_path"}
    assert locked_archives(tmp_path)[0].checkpoint.came == "model"


@pytest.mark.parametrize("wanted", ["merged", "adapter"])
def test_a_full_training_has_no_other_type(
    tmp_path: Path, full: TogetherServer, wanted: str
) -> None:
    """It is said with the look-up that tells the training, before bytes are asked for."""
    with pytest.raises(LockError, match=f"is a full training and has no {wanted}") as caught:
        lock(tmp_path, {"m": bot(type=wanted, checkpoint="all")})

    assert "Remove `type`" in caught.value.hint
    assert DOWNLOAD not in [seen.path for seen in full.requests]


def test_an_unknown_training_is_told(tmp_path: Path, together: TogetherServer) -> None:
    """A way of training that came up since is named, and the update suggested."""
    together.job(JOB).training = "Quantum\x1b[31m"
    with pytest.raises(LockError, match=r"does not know: 'quantum\\x1b\[31m'") as caught:
        lock(tmp_path, {"m": bot()})

    assert "Update modelmake" in caught.value.hint


@pytest.mark.parametrize("wanted", ["Merged", "model", "lora", 1])
def test_a_wrong_type_is_refused_before_any_request(tmp_path: Path, wanted: object) -> None:
    """The manifest knows the three types."""
    write_manifest(tmp_path, type=wanted)

    with pytest.raises(ManifestError, match=r"models\.m\.type"):
        project(tmp_path).models()


def test_what_came_for_a_step_is_told_and_locked(
    tmp_path: Path, together: TogetherServer, capfd: pytest.CaptureFixture[str]
) -> None:
    """The API ignores the type for a step: an adapter that came for `merged` is called one."""
    sync(tmp_path, checkpoint=10, type="merged")

    (archive,) = locked_archives(tmp_path)
    assert (archive.checkpoint.request, archive.checkpoint.came) == ("merged", "adapter")
    assert files(tmp_path) == {archive.path}


@pytest.mark.parametrize("top", ["", "checkpoint-20"])
@pytest.mark.parametrize("extract", [False, True])
def test_an_adapter_is_known_by_its_configuration(
    tmp_path: Path, together: TogetherServer, top: str, extract: bool
) -> None:
    """At the root or in one folder, packed or unpacked: the same word."""
    together.job(JOB).checkpoints = {20: {"merged": lora_archive(20, top=top)}}
    sync(tmp_path, extract=extract)

    assert locked_archives(tmp_path)[0].checkpoint.came == "adapter"


def test_a_type_that_came_is_no_reason_to_lock_anew(
    tmp_path: Path, together: TogetherServer
) -> None:
    """What is noted of an archive changes neither its pin nor what is stale."""
    sync(tmp_path, checkpoint=10, type="merged")
    before: Any = (tmp_path / "models.lock").read_bytes()
    asked = len(together.requests)
    sync(tmp_path, checkpoint=10, type="merged")
    assert (tmp_path / "models.lock").read_bytes() == before

    edit_lock(tmp_path, ',"came":"adapter"', "")
    sync(tmp_path, checkpoint=10, type="merged")
    assert len(together.requests) == asked
