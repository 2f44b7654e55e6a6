"""models.lock of archives that stay packed: what the entry does not lead to is refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import LockError
from tests.e2e.together.projects import bot
from tests.projects import http, lock, project
from tests.servers.together.server import TogetherServer

Locked = dict[str, Any]
SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def add_archive(model: Locked) -> None:
    model["archives"] = [{"path": "more.tar.zst", "checkpoint": {"request": "merged"}}]


def add_file(model: Locked) -> None:
    model["files"].append({"path": "more.bin", "sha256": SHA, "size": 4})


def change(**fields: object) -> Callable[[Locked], None]:
    return lambda model: model["files"][0].update(fields)


TAMPERED: dict[str, Callable[[Locked], None]] = {
    "an archive that is unpacked": add_archive,
    "a file beside the archive": add_file,
    "a url": change(url="https://evil.example/x"),
    "an md5": change(md5="0" * 32),
    "no checkpoint": change(checkpoint=None),
    "another request": change(checkpoint={"request": "merged&x=y"}),
    "a step": change(checkpoint={"request": "merged", "step": 7}),
    "a folder": change(into="x"),
    "a path outside": change(path="../../evil"),
    "the place of another model's file": change(path="other/a.bin"),
    "another source": lambda model: model.update(source="http"),
    "another revision": lambda model: model.update(revision="x"),
}


@pytest.mark.parametrize("tamper", TAMPERED.values(), ids=list(TAMPERED))
def test_what_the_entry_does_not_lead_to_is_refused(
    tmp_path: Path, together: TogetherServer, tamper: Callable[[Locked], None]
) -> None:
    """Whatever stands in the lock, it is what could be asked for, and nothing beside it."""
    other = http("http://127.0.0.1:9/a.bin", to="models/other")
    lock(tmp_path, {"m": bot(to="models"), "other": other})
    path = tmp_path / "models.lock"
    data = json.loads(path.read_bytes())
    assert project(tmp_path).lockfile.models.keys() == {"m", "other"}
    tamper(data["models"]["m"])
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(LockError) as caught:
        _ = project(tmp_path).lockfile
    assert "version control" in caught.value.hint


def test_patterns_hold_for_a_lock_too(tmp_path: Path, together: TogetherServer) -> None:
    """A file that include and exclude leave out cannot have been locked."""
    lock(tmp_path, {"m": bot(exclude=["*.bin"])})
    path = tmp_path / "models.lock"
    data = json.loads(path.read_bytes())
    data["models"]["m"]["files"][0]["path"] = "evil.bin"
    path.write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(LockError, match=r"m/evil\.bin: include and exclude"):
        _ = project(tmp_path).lockfile
