"""What earlier versions wrote is read: their projects are up to date, their partials go on.

The folders are in tests/recorded/versions.json; README.md beside it says how they were made.
"""

import base64
import json
import lzma
import os
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from downloader.fs.rooted_path import RootedPath
from downloader.store.blobs import Records
from tests.e2e.project import REPOSITORY, Project
from tests.servers.faulty import FaultyServer

RECORDED: dict[str, Any] = json.loads((REPOSITORY / "tests/recorded/versions.json").read_text())
CONTENTS = RECORDED.pop("contents")
DATA = "model.ckpt.data-00000-of-00001"

every_version = pytest.mark.parametrize("version", sorted(RECORDED))


def content(key: str) -> bytes:
    """Return a recorded content."""
    found = CONTENTS[key]
    if isinstance(found, str):
        return found.encode("ascii")
    return lzma.decompress(base64.b64decode(found[0]))


def restore(version: str, name: str, base: Path) -> Path:
    """Put a folder that a version wrote below `base`, each file with its time, and return it."""
    folder = base / name
    for path, (mtime_ns, key) in RECORDED[version][name].items():
        file = folder / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content(key).replace(b"/recorded", str(base).encode()))
        os.utime(file, ns=(mtime_ns, mtime_ns))
    return folder


@every_version
def test_a_synced_project_is_up_to_date(tmp_path: Path, version: str) -> None:
    """`doit` has nothing to do for any source, the lock stays as it is, and all bytes are right."""
    project = Project(restore(version, "synced", tmp_path))
    lock = project.lock.read_bytes()

    for words in ([], ["fetch:packed"]):
        run = project.doit(*words)
        assert (run.status, run.stdout) == (0, "Nothing to do.\n"), run.text
    assert project.doit("lock").status == 0
    assert project.lock.read_bytes() == lock
    verified = project.doit("verify", "gpt2", "files", "bot", "packed")
    assert verified.status == 0, verified.text
    assert "15 files" in verified.text


@every_version
def test_an_interrupted_run_goes_on(tmp_path: Path, version: str, server: FaultyServer) -> None:
    """The first half of a file is not asked for again, and the other files are not at all."""
    project = Project(restore(version, "interrupted", tmp_path))
    project.variables["OPENAI_GPT2_BASE_URL"] = server.url("")
    whole = "".join(f"{number:08}" for number in range(2500)).encode()
    server.put(f"/355M/{DATA}", whole)
    (journal,) = project.target("gpt2", ".modelmake/partials").glob("*.journal")
    binding, *ranges = journal.read_text().splitlines()
    old = json.loads(binding)["binding"]["place"]
    new = sha256(server.url(f"/355M/{DATA}").encode()).hexdigest()  # the server has another port
    journal.write_text("\n".join([binding.replace(old, new), *ranges, ""]))
    run = project.doit(MODELMAKE_CONNECTIONS="1")

    assert run.status == 0, run.text
    (request,) = server.requests
    assert request.headers["Range"] == "bytes=10000-19999"
    assert project.target("gpt2", DATA).read_bytes() == whole


@every_version
def test_the_files_of_a_store_are_used(tmp_path: Path, version: str) -> None:
    """A clone of the project has all files without a server."""
    store, synced = (restore(version, each, tmp_path) for each in ("store", "synced"))
    project = Project(tmp_path / "clone", MODELMAKE_STORE=str(store))
    for name in ("models.yaml", "models.lock"):
        (project.folder / name).write_bytes((synced / name).read_bytes())
    run = project.doit("fetch")

    assert run.status == 0, run.text
    for path in synced.glob("models/bot/[!.]*"):
        assert project.target("bot", path.name).read_bytes() == path.read_bytes()


@every_version
def test_the_records_of_a_store_are_read(tmp_path: Path, version: str) -> None:
    """A blob that looks as it was recorded is not hashed again; one that does not is."""
    file = restore(version, "store", tmp_path) / "records"
    records = Records(RootedPath.of(file))
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert lines
    for line in {each["sha256"]: each for each in lines}.values():
        digest, size = line.pop("sha256"), line.pop("size")
        status = {"st_size": size, "st_ino": line.pop("inode")}
        status |= {f"st_{name}": value for name, value in line.items()}
        assert records.vouches(digest, cast("os.stat_result", SimpleNamespace(**status)))
        status["st_ctime_ns"] += 1
        assert not records.vouches(digest, cast("os.stat_result", SimpleNamespace(**status)))
