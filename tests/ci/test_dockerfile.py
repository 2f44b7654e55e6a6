"""The Dockerfile: its RUN text, run with exactly the files that it copies before."""

import re
from collections.abc import Callable

from tests.ci.machine import Machine
from tests.e2e.project import REPOSITORY

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


def test_the_layer_needs_no_more_than_it_copies(machine: Callable[..., Machine]) -> None:
    """Its commands fetch the models where nothing is but dodo.py, models.yaml and models.lock."""
    runner = machine()
    (copied,) = arguments("COPY")
    *names, _ = copied.split()
    for file in runner.checkout.iterdir():
        if file.name not in names:
            file.unlink()
    variables = dict(each.split("=") for each in arguments("ENV"))
    for text in arguments("RUN"):
        script = MOUNT.sub("", text).replace("/var/cache", str(runner.checkout.parent))
        run = runner.bash(script, variables)
        assert run.status == 0, run.text
    assert (runner.checkout / "models/one/a.bin").is_file()
    assert runner.pip_calls == ["pip install --no-cache-dir modelmake"]


def test_the_layer_is_made_again_for_the_lock_and_nothing_else() -> None:
    """Before the models only the three files that decide about them are copied."""
    assert arguments("COPY") == ["dodo.py models.yaml models.lock ./"]


def test_the_store_is_a_cache_mount_and_the_key_a_secret() -> None:
    """The store lies in the mount; a key reaches the command and no layer, no argument."""
    mounts = [dict(part.split("=") for part in each.split(",")) for each in MOUNT.findall(TEXT)]
    cache, secret = mounts
    assert f"MODELMAKE_STORE={cache['target']} doit" in TEXT
    assert (secret["type"], secret["env"]) == ("secret", "TOGETHER_API_KEY")
    assert not [rest for name, rest in INSTRUCTIONS if name in {"ARG", "ENV"} and "KEY" in rest]


def test_models_of_this_machine_stay_out_of_the_image() -> None:
    """`COPY . .` comes after the models, so what lies here must be ignored."""
    assert [rest for name, rest in IMAGE if name == "COPY"] == [
        "--from=models /app/models ./models",
        ". .",
    ]
    assert "models/" in (FOLDER / ".dockerignore").read_text().splitlines()
