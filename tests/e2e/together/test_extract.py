"""`extract: true`: an archive's files are the model's."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from safetensors.numpy import load_file

from downloader.errors import LockError, ManifestError
from downloader.fs import space
from downloader.targets.engine import Engine
from tests.e2e.together.projects import (
    ADAPTER,
    ARCHIVE,
    LORA_FILES,
    STEM,
    TOKENIZER,
    bot,
    downloads,
    files,
    locked_archives,
    private_files,
    serve,
    sync,
    sync_adapter,
)
from tests.projects import checked, lock, project
from tests.servers.together.archives import lora_archive
from tests.servers.together.server import TogetherServer


@pytest.mark.parametrize("top", ["", "checkpoint-20", "x"])
@pytest.mark.parametrize("packing", ["zst", "gz"])
def test_the_files_lie_in_the_models_folder(
    tmp_path: Path, together: TogetherServer, top: str, packing: Any
) -> None:
    """A single top folder is left out, as PEFT wants it; zstd and gzip are the same."""
    serve(together, lora_archive(20, top=top, packing=packing))
    sync_adapter(tmp_path)

    suffix = {"zst": ".tar.zst", "gz": ".tar.gz"}[packing]
    assert files(tmp_path) == LORA_FILES | {f"{STEM}-adapter{suffix}"}


def test_the_weights_load_with_safetensors(tmp_path: Path, together: TogetherServer) -> None:
    """What was unpacked is what the library of the format reads, tensor by tensor."""
    sync_adapter(tmp_path, checkpoint="all")

    for step in (10, 20):
        tensors = load_file(tmp_path / f"models/m/step-{step}/adapter_model.safetensors")
        assert sorted(name.rsplit(".", 2)[1] for name in tensors) == ["lora_A", "lora_B"]
        assert {(str(each.dtype), each.shape[0]) for each in tensors.values()} == {("float32", 8)}


@pytest.mark.parametrize("wanted", ["all", [20], {"last": 1}])
def test_several_checkpoints_have_a_folder_each(
    tmp_path: Path, together: TogetherServer, wanted: object
) -> None:
    """Judged by the form of `checkpoint`: another one later must not move the first."""
    sync(tmp_path, checkpoint=wanted, extract=True, keep_archive=False)

    steps = {"step-10", "step-20"} if wanted == "all" else {"step-20"}
    assert {each.partition("/")[0] for each in files(tmp_path)} == steps


def test_one_named_step_has_no_folder(tmp_path: Path, together: TogetherServer) -> None:
    """A single checkpoint lies in the model's own folder."""
    sync(tmp_path, checkpoint=10, extract=True, keep_archive=False)

    assert files(tmp_path) == LORA_FILES


@pytest.mark.parametrize("keep", [False, True])
def test_a_second_run_asks_nothing(tmp_path: Path, together: TogetherServer, keep: bool) -> None:
    """An archive that is not kept is never fetched again; nothing is left of the unpacking."""
    sync_adapter(tmp_path, keep_archive=keep)
    asked, lockfile = len(together.requests), (tmp_path / "models.lock").read_bytes()
    sync_adapter(tmp_path, keep_archive=keep)

    assert len(together.requests) == asked
    assert (tmp_path / "models.lock").read_bytes() == lockfile
    assert files(tmp_path) == LORA_FILES | ({ARCHIVE} if keep else set())
    assert private_files(tmp_path) == {"receipts"}


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"edited"), Path.unlink])
def test_a_file_is_restored_from_the_kept_archive(
    tmp_path: Path, together: TogetherServer, damage: Any
) -> None:
    """An edited or missing file comes back without a request; the others are not touched."""
    sync_adapter(tmp_path)
    asked = len(together.requests)
    weights = tmp_path / "models/m/adapter_model.safetensors"
    others = {each: (tmp_path / "models/m" / each).stat() for each in TOKENIZER}
    right = weights.read_bytes()
    damage(weights)
    sync_adapter(tmp_path)

    assert weights.read_bytes() == right
    assert len(together.requests) == asked
    for each, before in others.items():
        assert (tmp_path / "models/m" / each).stat().st_ino == before.st_ino


@pytest.mark.parametrize("keep", [False, True])
def test_a_file_is_restored_where_the_archive_is_gone(
    tmp_path: Path, together: TogetherServer, keep: bool
) -> None:
    """Then the archive is fetched once more, without a look at the job."""
    sync_adapter(tmp_path, keep_archive=keep)
    asked = len(together.requests)
    for path in files(tmp_path) - TOKENIZER:
        (tmp_path / "models/m" / path).unlink()
    sync_adapter(tmp_path, keep_archive=keep)

    assert files(tmp_path) == LORA_FILES | ({ARCHIVE} if keep else set())
    assert [seen.path for seen in together.requests[asked:]] == ["/v1/finetune/download"]


def test_a_file_of_a_kept_archive_needs_no_room(
    tmp_path: Path, together: TogetherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The archive that is here is not going to be fetched."""
    sync_adapter(tmp_path)
    (tmp_path / "models/m/adapter_model.safetensors").unlink()
    monkeypatch.setattr(space, "free_bytes", lambda _folder: 0)
    sync_adapter(tmp_path)

    assert files(tmp_path) == LORA_FILES | {ARCHIVE}


def test_a_file_of_ones_own_stays(tmp_path: Path, together: TogetherServer) -> None:
    """What lies beside the model's files is nobody else's business."""
    own = tmp_path / "models/m/notes.txt"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    sync_adapter(tmp_path)

    assert own.read_text() == "mine"


def test_the_right_bytes_that_lie_there_are_taken(tmp_path: Path, together: TogetherServer) -> None:
    """Without receipts the files are hashed; nothing is fetched or unpacked."""
    sync_adapter(tmp_path, keep_archive=False)
    shutil.rmtree(tmp_path / "models/m/.modelmake")
    asked = len(together.requests)
    sync_adapter(tmp_path, keep_archive=False)

    assert len(together.requests) == asked


@pytest.mark.parametrize("keep", [False, True])
def test_a_second_machine_gets_the_very_same_files(
    tmp_path: Path,
    together: TogetherServer,
    keep: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With models.lock alone, and MODELMAKE_LOCKED: the job is not looked at."""
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    sync_adapter(here, checkpoint="all", keep_archive=keep)
    shutil.copy(here / "models.lock", there)
    monkeypatch.setenv("MODELMAKE_LOCKED", "1")
    asked = len(together.requests)
    sync_adapter(there, checkpoint="all", keep_archive=keep)

    assert files(there) == files(here)
    for path in files(here):
        assert (here / "models/m" / path).read_bytes() == (there / "models/m" / path).read_bytes()
    assert {seen.path for seen in together.requests[asked:]} == {"/v1/finetune/download"}


def test_a_lock_without_the_files_is_refused_where_it_may_not_change(
    tmp_path: Path, together: TogetherServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In CI nobody would note them: the error says which command does."""
    lock(tmp_path, {"m": bot(type="adapter", extract=True)})
    monkeypatch.setenv("CI", "1")
    asked = len(together.requests)
    with pytest.raises(LockError, match="does not know the files in m/") as caught:
        sync_adapter(tmp_path)

    assert caught.value.hint.startswith("On your machine: `doit fetch:m`, then commit")
    assert len(together.requests) == asked


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"include": ["adapter_*"]}, ADAPTER),
        ({"exclude": ["*.safetensors"]}, LORA_FILES - {"adapter_model.safetensors"}),
        ({"checkpoint": "all", "include": ["step-10/a*"]}, None),
    ],
)
def test_include_and_exclude_choose_among_the_files(
    tmp_path: Path, together: TogetherServer, keys: dict[str, Any], expected: set[str] | None
) -> None:
    """Patterns are of the files' paths below the model's folder."""
    if expected is None:
        with pytest.raises(ManifestError, match="leave none of the archive's files"):
            sync_adapter(tmp_path, keep_archive=False, **keys)
        return
    sync_adapter(tmp_path, keep_archive=False, **keys)
    assert files(tmp_path) == expected
    assert not [each for each in checked(project(tmp_path)) if each.is_bad]


def test_another_pattern_moves_no_byte_of_a_kept_archive(
    tmp_path: Path, together: TogetherServer
) -> None:
    """The entry changed, so the job is looked at; its archive is here already."""
    sync_adapter(tmp_path, include=["adapter_*"])
    before = len([each for each in together.requests if each.headers.get("Range") is None])
    sync_adapter(tmp_path)

    assert files(tmp_path) == LORA_FILES | {ARCHIVE}
    looks = [each for each in together.requests if each.headers.get("Range") is None]
    assert len(looks) == before + 1


def test_extract_of_what_was_kept_packed_moves_no_byte(
    tmp_path: Path, together: TogetherServer
) -> None:
    """The pin of the archive holds for its unpacking too."""
    sync(tmp_path, type="adapter")
    (packed_one,) = locked_archives(tmp_path)
    asked = len(downloads(together))
    sync_adapter(tmp_path)

    assert files(tmp_path) == LORA_FILES | {ARCHIVE}
    assert locked_archives(tmp_path)[0].sha256 == packed_one.sha256
    assert len(downloads(together)) == asked + 1, "the two bytes that tell the size"


def test_verify_covers_the_files(tmp_path: Path, together: TogetherServer) -> None:
    """Every file is read again, and `--repair` brings one back, in a run of its own."""
    sync_adapter(tmp_path)
    weights = tmp_path / "models/m/adapter_model.safetensors"
    content = weights.read_bytes()
    weights.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    here = project(tmp_path)

    (bad,) = [each for each in checked(here) if each.is_bad]
    assert (bad.path, bad.state) == ("adapter_model.safetensors", "changed")
    syncer = Engine(here)
    syncer.repair("m", bad.path)
    syncer.close()
    assert weights.read_bytes() == content
