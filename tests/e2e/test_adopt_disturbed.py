"""`doit adopt` and `doit bundle` that are ended, run twice at once, or have no room."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import Project, finish
from tests.e2e.watching import injected, wait_until

BIG = bytes_of("big", 1 << 20) * 8
COPYING = """
import os, pathlib, time
from downloader.fs import link

if os.environ.get("SLOW"):
    def slow(source, new, told, sha256, watch):
        with link._made(new, told) as to:
            to.write_at(memoryview(b"half"), 0)
            pathlib.Path(os.environ["SLOW"]).touch()
            while True:
                time.sleep(0.01)
                watch()
    link._copy = slow
"""
"""In a run with SLOW a copy never ends, and a file tells that it began."""


@pytest.fixture
def old(project: Project, tmp_path: Path) -> Path:
    """Declare a model, and give the folder that has its file."""
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "w.bin").write_bytes(BIG)
    file = {"url": "http://127.0.0.1:9/w.bin", "sha256": sha256(BIG)}
    entry = {"source": "http", "files": [file], "link": "copy"}
    project.declare({"m": entry})
    project.variables |= injected(tmp_path / "patch", COPYING)
    return folder


def stuck(project: Project, *arguments: str) -> subprocess.Popen[str]:
    """Start a command and return it in the middle of a copy."""
    began = project.folder / "began"
    process = project.start(*arguments, SLOW=str(began))
    wait_until(began.exists)
    return process


def is_taken(project: Project) -> bool:
    """Whether the file is in place, and nothing of the copying is left."""
    left = list(project.folder.rglob("linking/*"))
    return project.target("m", "w.bin").read_bytes() == BIG and not left


@pytest.mark.skipif(sys.platform == "win32", reason="no such signals")
def test_a_signal_ends_a_copy(project: Project, old: Path) -> None:
    """Ctrl-C ends it in one line with 130; nothing of it is left, and the next run ends well."""
    process = stuck(project, "adopt", "--from", str(old))
    process.send_signal(signal.SIGINT)
    run = finish(process)

    assert run.status == 130
    assert "Traceback" not in run.text
    assert "Interrupted" in run.stderr
    assert not list(project.folder.rglob("linking/*"))
    assert not project.target("m", "w.bin").exists()
    assert project.doit("adopt", "--from", str(old), "m").status == 0
    assert is_taken(project)


def test_a_kill_in_the_middle_of_a_copy(project: Project, old: Path) -> None:
    """What a killed run left half copied is removed by the next one, which ends well."""
    process = stuck(project, "adopt", "--from", str(old))
    process.kill()
    finish(process)
    assert len(list(project.folder.rglob("linking/*"))) == 1

    assert project.doit("adopt", "--from", str(old), "m").status == 0
    assert is_taken(project)


def test_two_at_once(project: Project, old: Path, store: Path) -> None:
    """Both end well, with one target and one blob."""
    runs = [project.start("adopt", "--from", str(old), "m") for _ in range(2)]

    assert [finish(each).status for each in runs] == [0, 0]
    assert is_taken(project)
    assert project.doit(MODELMAKE_OFFLINE="1").stdout == "Nothing to do.\n"


def test_a_bundle_after_a_kill(project: Project, old: Path, tmp_path: Path) -> None:
    """The same command again ends with a whole bundle."""
    bundle = tmp_path / "bundle"
    assert project.doit("adopt", "--from", str(old), "m").status == 0
    process = stuck(project, "bundle", "--out", str(bundle))
    process.kill()
    finish(process)
    assert not (bundle / "bundle.json").exists()

    assert project.doit("bundle", "--out", str(bundle)).status == 0

    other = Project(tmp_path / "other", MODELMAKE_OFFLINE="1")
    assert other.doit("adopt", "--from", str(bundle)).status == 0
    assert is_taken(other)


@pytest.mark.skipif(not hasattr(os, "statvfs"), reason="the disk's figures are made up by statvfs")
@pytest.mark.parametrize("arguments", [("adopt", "--from", "{old}"), ("bundle", "--out", "b")])
def test_no_room(project: Project, old: Path, arguments: tuple[str, ...]) -> None:
    """What has to be copied and does not fit is refused before its first byte."""
    if arguments[0] == "bundle":
        assert project.doit("adopt", "--from", str(old), "m").status == 0
    dodo = project.folder / "dodo.py"
    patch = "from downloader.fs import space\nspace.free_bytes = lambda _: 1000\n"
    dodo.write_text(patch + dodo.read_text())

    run = project.doit(*(each.format(old=old) for each in arguments))

    assert run.status == 1
    assert "Not enough room" in run.stderr
    assert not list(project.folder.rglob("linking/*"))
    assert not list(project.folder.glob("b/sha256/*/*"))


@pytest.mark.parametrize("name", ["b.tar", "b.tgz"])
def test_a_bundle_is_no_packed_file(project: Project, old: Path, tmp_path: Path, name: str) -> None:
    """Who names a tar wants no folder of that name, and reads how to make one, in one line."""
    assert project.doit("adopt", "--from", str(old), "m").status == 0
    run = project.doit("bundle", "--out", str(tmp_path / name))
    assert run.status == 1
    assert f"{name} would be a folder. To make a tar of it, run `doit bundle" in run.stderr
    assert "then `tar -cf bundle.tar bundle`.\n" in run.stderr
    assert not (tmp_path / name).exists()


def test_a_tar_is_not_read(project: Project, tmp_path: Path) -> None:
    """One line says how to take what is in it."""
    (tmp_path / "b.tar").touch()
    run = project.doit("adopt", "--from", str(tmp_path / "b.tar"))
    assert run.status == 1
    assert f"Run `tar -xf {tmp_path / 'b.tar'}`, then `doit adopt --from FOLDER`.\n" in run.stderr


def test_a_tar_that_a_model_has_is_taken(project: Project, tmp_path: Path) -> None:
    """A file is known by its bytes and not by its name."""
    file = {"url": "http://127.0.0.1:9/w.tar", "sha256": sha256(BIG)}
    project.declare({"m": {"source": "http", "files": [file]}})
    (tmp_path / "w.tar").write_bytes(BIG)
    run = project.doit("adopt", "--from", str(tmp_path / "w.tar"))
    assert run.status == 0, run.text
    assert project.target("m", "w.tar").read_bytes() == BIG


def test_a_bundle_goes_on_after_a_kill_at_its_first_file(
    project: Project, old: Path, tmp_path: Path
) -> None:
    """What was not finished then is no stranger's file."""
    assert project.doit("adopt", "--from", str(old), "m").status == 0
    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / ".format.ab12cd34.new").touch()
    run = project.doit("bundle", "--out", str(tmp_path / "bundle"))
    assert run.status == 0, run.text
