"""A lock changed by hand is refused: it must follow from models.yaml (E6, npm lock injection)."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downloader.artifact import Artifact, Checkpoint
from downloader.errors import LockError
from downloader.project.lockfile import agree
from downloader.sources.openai_gpt2 import PUBLISHED
from tests.projects import Entry, gpt2, http, lock, project

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
CLOSED = "http://127.0.0.1:9"
MODELS: dict[str, Entry] = {
    "gpt2": gpt2("124M"),
    "m": http({"url": f"{CLOSED}/a.bin", "sha256": SHA}, f"{CLOSED}/b.bin"),
}

Locked = dict[str, Any]


def add_file(model: Locked) -> None:
    model["files"].append({"path": "z.bin", "url": f"{CLOSED}/z.bin"})


def drop_file(model: Locked) -> None:
    del model["files"][1]


def change(index: int, **fields: object) -> Callable[[Locked], None]:
    return lambda model: model["files"][index].update(fields)


def change_model(**fields: object) -> Callable[[Locked], None]:
    return lambda model: model.update(fields)


def drop_url(model: Locked) -> None:
    del model["files"][1]["url"]


def drop_digest(model: Locked) -> None:
    del model["files"][0]["sha256"]


def add_archive(model: Locked) -> None:
    model["archives"] = [{"path": "a.tar.zst"}]


def add_archive_of_a_file(model: Locked) -> None:
    add_archive(model)
    model["files"][0]["archive"] = "a.tar.zst"


OWN = "bytes that no server sent"
OWN_SHA = hashlib.sha256(OWN.encode()).hexdigest()

TAMPERED: dict[str, tuple[str, Callable[[Locked], None]]] = {
    "bytes in the lock": ("m", change(1, content=OWN, sha256=OWN_SHA, size=len(OWN))),
    "another digest of the bytes": ("m", change(1, git_sha1="0" * 40, size=4)),
    "a file more": ("m", add_file),
    "a file less": ("m", drop_file),
    "an archive": ("m", add_archive),
    "an archive of published files": ("gpt2", add_archive),
    "an archive and a file that comes out of it": ("m", add_archive_of_a_file),
    "a checkpoint": ("m", change(0, checkpoint={"request": "merged"})),
    "another url": ("m", change(1, url="https://evil.example/b.bin")),
    "no url": ("m", drop_url),
    "a url where there is none": ("gpt2", change(0, url="https://evil.example/checkpoint")),
    "another declared digest": ("m", change(0, sha256=SHA[::-1])),
    "no declared digest": ("m", drop_digest),
    "another published digest": ("gpt2", change(0, sha256=SHA)),
    "another published size": ("gpt2", change(0, size=78)),
    "another revision": ("gpt2", change_model(revision="355M")),
    "a revision where there is none": ("m", change_model(revision="main")),
    "another source": ("gpt2", change_model(source="http")),
}


def lock_tampered(folder: Path, name: str, tamper: Callable[[Locked], None]) -> None:
    """Lock the models, and change what the lock says of one of them."""
    lock(folder, MODELS)
    path = folder / "models.lock"
    data = json.loads(path.read_bytes())
    tamper(data["models"][name])
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize(("name", "tamper"), TAMPERED.values(), ids=list(TAMPERED))
def test_a_lock_that_was_changed_by_hand_is_refused(
    tmp_path: Path, name: str, tamper: Callable[[Locked], None]
) -> None:
    """What does not follow from models.yaml is an error that names the model and a way out."""
    lock_tampered(tmp_path, name, tamper)
    with pytest.raises(
        LockError, match=rf"does not follow from models.yaml for {name}\b"
    ) as caught:
        project(tmp_path).models()
    assert "version control" in caught.value.hint
    assert len(caught.value.report().splitlines()) == 2


@pytest.mark.parametrize(("name", "tamper"), TAMPERED.values(), ids=list(TAMPERED))
def test_no_part_of_such_a_lock_can_be_had(
    tmp_path: Path, name: str, tamper: Callable[[Locked], None]
) -> None:
    """Cleaning and pruning ask for no model first: it is the lock itself that is refused."""
    lock_tampered(tmp_path, name, tamper)
    with pytest.raises(LockError, match="does not follow"):
        _ = project(tmp_path).lockfile
    with pytest.raises(LockError, match="does not follow"):
        project(tmp_path).artifact("m", "a.bin")
    with pytest.raises(LockError, match="does not follow"):
        project(tmp_path).put_locked({})


@pytest.mark.parametrize(
    "extra", [{"archive": "kept.tar"}, {"checkpoint": {"request": "x", "step": 1}}], ids=str
)
def test_a_stale_lock_gives_nothing_but_what_is_compared(
    tmp_path: Path, extra: dict[str, Any]
) -> None:
    """A pin whose line says more than the new entry leads to is dropped, not carried over."""
    lock(tmp_path, MODELS)
    path = tmp_path / "models.lock"
    data = json.loads(path.read_bytes())
    model = data["models"]["m"]
    model["entry"] = f"sha256:{SHA}"
    if "archive" in extra:
        model["archives"] = [{"path": "kept.tar"}]
    model["files"][1] |= {"sha256": SHA, "size": 4, "first_use": True, **extra}
    path.write_text(json.dumps(data), encoding="utf-8")
    lock(tmp_path)
    after = project(tmp_path).lockfile.models["m"]
    assert after.archives == ()
    assert [each.path for each in after.files] == ["a.bin", "b.bin"]
    assert not any(each.archive or each.into or each.checkpoint for each in after.files)
    assert after.files[1].sha256 is None


def test_a_lock_as_it_was_written_is_taken(tmp_path: Path) -> None:
    """What `lock` wrote follows from models.yaml, also after it was formatted by hand."""
    lock(tmp_path, MODELS)
    path = tmp_path / "models.lock"
    path.write_text(json.dumps(json.loads(path.read_bytes()), indent=2), encoding="utf-8")
    models = {model.name: model for model in project(tmp_path).models()}
    assert not any(model.is_stale for model in models.values())
    assert {each.path: (each.size, each.sha256) for each in models["gpt2"].artifacts} == PUBLISHED[
        "124M"
    ]


FULL = Artifact(path="f", size=4, sha256=SHA, md5="0" * 32, etag='"x"', url=f"{CLOSED}/f")
AGREEMENTS = [
    (Artifact(path="f", url=FULL.url), True),
    (Artifact(path="f", url=FULL.url, size=4, sha256=SHA), True),
    (Artifact(path="f"), False),
    (Artifact(path="f", url=f"{CLOSED}/g"), False),
    (Artifact(path="f", url=FULL.url, size=5), False),
    (Artifact(path="f", url=FULL.url, size=0), False),
    (Artifact(path="f", url=FULL.url, sha256=SHA[::-1]), False),
    (Artifact(path="f", url=FULL.url, archive="a"), False),
    (Artifact(path="f", url=FULL.url, into="d"), False),
    (Artifact(path="f", url=FULL.url, checkpoint=Checkpoint(request="merged")), False),
]


@pytest.mark.parametrize(("declared", "expected"), AGREEMENTS)
def test_a_lock_may_add_to_what_is_declared_and_change_nothing(
    declared: Artifact, *, expected: bool
) -> None:
    """Size, digest, MD5 and ETag may be added; what the entry fixes, the URL too, stays."""
    assert agree(declared, FULL) is expected
