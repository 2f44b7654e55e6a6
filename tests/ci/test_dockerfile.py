"""The Dockerfile: its RUN text, run with exactly the files that it copies before."""

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.ci.machine import Machine
from tests.e2e.content import pinned_toy
from tests.e2e.project import REPOSITORY, Project, Run
from tests.servers.faulty import FaultyServer

FOLDER = REPOSITORY / "examples" / "docker"
TEXT = (FOLDER / "Dockerfile").read_text(encoding="utf-8")
LINES = re.sub(r"\\\n\s*", "", TEXT).splitlines()
INSTRUCTIONS = [line.split(maxsplit=1) for line in LINES if line and not line.startswith("#")]
SECOND = [name for name, _ in INSTRUCTIONS].index("FROM", 1)
MODELS, IMAGE = INSTRUCTIONS[:SECOND], INSTRUCTIONS[SECOND:]
MOUNT = re.compile(r"--mount=(\S+) ")


def arguments(instruction: str) -> list[str]:
    """Return what stands behind each instruction of this name in the first stage."""
    return [rest for name, rest in MODELS if name == instruction]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Path]:
    """Give an empty folder that outlives builds, on another file system where there is one."""
    shared = Path("/dev/shm")
    with TemporaryDirectory(dir=shared if shared.is_dir() else tmp_path) as folder:
        yield Path(folder)


def built(runner: Machine, mount: Path) -> Run:
    """Run the first stage's commands where nothing is but what it copies, and return the last."""
    (copied,) = arguments("COPY")
    for file in runner.checkout.iterdir():
        if file.name not in copied.split():
            file.unlink()
    variables = dict(each.split("=") for each in arguments("ENV"))
    for text in arguments("RUN"):
        script = MOUNT.sub("", text).replace("/app", str(runner.checkout))
        run = runner.bash(script.replace("/cache", str(mount)), variables)
        assert run.status == 0, run.text
    return run


def test_the_layer_needs_no_more_than_it_copies(
    machine: Callable[..., Machine], mount: Path
) -> None:
    """Its commands fetch the models where nothing is but dodo.py, models.yaml and models.lock."""
    runner = machine()
    assert "2 fetched" in built(runner, mount).stdout
    assert (runner.checkout / "models/one/sub/b.bin").is_file()
    assert runner.pip_calls == ["pip install --no-cache-dir modelmake"]
    assert runner.bash("MODELMAKE_OFFLINE=1 doit", {}).stdout == "Nothing to do.\n"


def test_a_changed_lock_moves_only_what_is_new(
    project: Project, machine: Callable[..., Machine], server: FaultyServer, mount: Path
) -> None:
    """The next layer takes from the mount what it has, and has nothing of models that are gone."""
    built(machine(), mount)
    project.declare({"other": pinned_toy(server, ["a.bin", "new.bin"])})
    assert project.doit("lock").status == 0
    before = len(server.requests)
    runner = machine()
    built(runner, mount)
    assert {seen.path for seen in server.requests[before:]} == {"/toy/new.bin"}
    assert [each.name for each in (runner.checkout / "models").iterdir()] == ["other"]


def test_the_layer_is_made_again_for_the_lock_and_nothing_else() -> None:
    """Before the models only the three files that decide about them are copied."""
    assert arguments("COPY") == ["dodo.py models.yaml models.lock ./"]


def test_the_store_is_a_cache_mount_and_the_key_a_secret() -> None:
    """The store lies in the mount; a key reaches the command and no layer, no argument."""
    mounts = [dict(part.split("=") for part in each.split(",")) for each in MOUNT.findall(TEXT)]
    cache, secret = mounts
    assert f"MODELMAKE_STORE={cache['target']}/store doit" in TEXT
    assert (secret["type"], secret["env"]) == ("secret", "TOGETHER_API_KEY")
    assert not [rest for name, rest in INSTRUCTIONS if name in {"ARG", "ENV"} and "KEY" in rest]


def test_models_of_this_machine_stay_out_of_the_image() -> None:
    """`COPY . .` comes after the models, so what lies here must be ignored."""
    assert [rest for name, rest in IMAGE if name == "COPY"] == [
        "--from=models /app/models ./models",
        ". .",
    ]
    assert "models/" in (FOLDER / ".dockerignore").read_text().splitlines()
