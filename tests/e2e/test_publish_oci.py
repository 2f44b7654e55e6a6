"""`doit publish --to oci://…`: Debian's docker-registry, read by `doit` and by ORAS."""

import json
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import Project
from tests.e2e.test_oci import USER, below
from tests.e2e.test_publish import elsewhere
from tests.e2e.watching import injected
from tests.sdk.oras import Oras
from tests.servers.faulty import FaultyServer
from tests.servers.registry import MANIFEST, DockerRegistry

MIB = 1 << 20
FILES = {
    "config.json": b"{}",
    "sub/model.safetensors": bytes_of("weights", 3 * MIB),
    "empty.txt": b"",
}
Start = Callable[..., DockerRegistry]


@pytest.fixture
def full(project: Project, server: FaultyServer) -> Project:
    """Give a project whose model is here."""
    for path, content in FILES.items():
        server.put(f"/m/{path}", content)
    files = [{"url": server.url(f"/m/{path}"), "path": path} for path in FILES]
    project.declare({"m": {"source": "http", "files": files}})
    run = project.doit()
    assert run.status == 0, run.text
    return project


def place_of(registry: DockerRegistry) -> str:
    return f"oci://{registry.name}/team/models"


def test_a_registry_fills_other_machines(
    full: Project, docker_registry: Start, server: FaultyServer, tmp_path: Path
) -> None:
    """Published once; a reader asks the registry alone, and a second run asks nobody."""
    registry = docker_registry()
    first = full.doit("publish", "--to", place_of(registry))
    again = full.doit("publish", "--to", place_of(registry))
    assert first.status == 0, first.text
    assert first.stdout.startswith("published 3 files")
    assert again.stdout.startswith("published 0 files")
    before = len(server.requests)
    reader = elsewhere(full, tmp_path / "reader", MODELMAKE_MIRROR=place_of(registry))
    run = reader.doit(MODELMAKE_LOCKED="1")
    assert run.status == 0, run.text
    assert below(reader, "m") == FILES
    assert len(server.requests) == before
    assert reader.doit().stdout == "Nothing to do.\n"


def test_oras_pulls_what_was_published(
    full: Project, docker_registry: Start, tmp_path: Path
) -> None:
    """The files under their names, with the lock beside them; `source: oci` gets the same."""
    registry = docker_registry()
    assert full.doit("publish", "--to", place_of(registry)).status == 0
    oras = Oras(registry.name, tmp_path)
    pulled = oras.pull("team/models:latest", tmp_path / "pulled")
    lock = pulled.pop("models.lock")
    assert pulled == {f"m/{path}": content for path, content in FILES.items()}
    assert json.loads(lock)["models"].keys() == {"m"}
    reader = Project(tmp_path / "reader")
    reader.declare({"all": {"source": "oci", "image": f"{registry.name}/team/models"}})
    assert reader.doit().status == 0
    assert below(reader, "all") == {**pulled, "models.lock": lock}


KILLED = """
import itertools, os, signal
from downloader.network.client import Client
from downloader.transfer.places import Upload

count = itertools.count(1)

def step():
    if next(count) == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)

send, parts = Client.send, Upload.parts

def sending(*arguments, **keys):
    step()
    reply = send(*arguments, **keys)
    step()
    return reply

def reading(*arguments, **keys):
    for piece in parts(*arguments, **keys):
        step()
        yield piece

Client.send, Upload.parts = sending, reading
"""


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize("kill_at", range(1, 40, 2))
def test_a_run_that_was_killed_goes_on(
    full: Project, docker_registry: Start, tmp_path: Path, kill_at: int
) -> None:
    """Killed at any step, the next run ends it: no wrong blob, and what was kept is not resent."""
    registry = docker_registry()
    site = injected(tmp_path / "site", KILLED.format(kill_at=kill_at))
    killed = full.doit("publish", "--to", place_of(registry), **site)
    there = {path for path, content in FILES.items() if kept(registry, content) is not None}
    assert killed.status in (0, -signal.SIGKILL)
    run = full.doit("publish", "--to", place_of(registry))
    assert run.status == 0, run.text
    sent = int(run.stdout.split()[1])
    assert sent <= len(FILES) - len(there)  # the registry may still end what was in flight
    assert all(kept(registry, content) == content for content in FILES.values())
    status, _, _ = registry.call("GET", "/v2/team/models/manifests/latest", Accept=MANIFEST)
    assert status == 200


def kept(registry: DockerRegistry, content: bytes) -> bytes | None:
    """Return what the registry has under the digest of this content."""
    path = f"/v2/team/models/blobs/sha256:{sha256(content)}"
    status, _, body = registry.call("GET", path)
    return body if status == 200 else None


def test_a_registry_that_needs_a_log_in(
    full: Project, docker_registry: Start, tmp_path: Path
) -> None:
    """One error for all files, which says what to run."""
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(f"{USER}:$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n")
    registry = docker_registry({"htpasswd": {"realm": "a realm", "path": str(htpasswd)}})
    run = full.doit("publish", "--to", place_of(registry))
    assert run.status == 1
    assert f"docker login {registry.name}" in run.stderr
    assert run.stderr.count("failed publish") == 1
