"""A target that is not what the lock says is made again, it alone."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.e2e.content import toy, toy_content
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

FILES = ["a.bin", "b.bin", "c.bin"]


@pytest.fixture
def fetched(project: Project, server: FaultyServer) -> Project:
    """Give a project whose model of three files is there."""
    project.declare({"one": toy(server, FILES)})
    assert project.doit().status == 0
    return project


def truncate(target: Path) -> None:
    """Leave half of it."""
    os.truncate(target, 500)


def lengthen(target: Path) -> None:
    """Put a byte at its end."""
    target.write_bytes(target.read_bytes() + b"x")


def edit(target: Path) -> None:
    """Change one byte of it, and no size."""
    target.write_bytes(b"x" + target.read_bytes()[1:])


def replace_by_symlink(target: Path) -> None:
    """Put a symlink to the right bytes in its place: what it points to may change any time."""
    elsewhere = target.parents[2] / "elsewhere.bin"
    target.rename(elsewhere)
    target.symlink_to(elsewhere)


def replace_by_dangling_symlink(target: Path) -> None:
    """Put a symlink to nothing in its place."""
    target.unlink()
    target.symlink_to("nowhere")


@pytest.mark.sampled(keep=4)
@pytest.mark.parametrize(
    "damage",
    [truncate, lengthen, edit, Path.unlink, replace_by_symlink, replace_by_dangling_symlink],
    ids=lambda each: each.__name__,
)
def test_a_damaged_target_is_made_again_alone(
    fetched: Project, server: FaultyServer, damage: Callable[[Path], object]
) -> None:
    """One request brings it back as a plain file; the others are not asked for."""
    before, lock = len(server.requests), fetched.lock.read_bytes()
    target = fetched.target("one", "b.bin")
    damage(target)
    run = fetched.doit()
    assert run.status == 0, run.text
    assert "1 fetched (1.0 kB) in " in run.stdout
    assert [seen.path for seen in server.requests[before:]] == ["/toy/b.bin"]
    assert target.read_bytes() == toy_content("b.bin")
    assert not target.is_symlink()
    assert fetched.lock.read_bytes() == lock


def test_a_symlinks_own_target_is_left_alone(fetched: Project, server: FaultyServer) -> None:
    """What a symlink in a target's place points to is never written to."""
    outside = fetched.folder / "precious.txt"
    outside.write_text("mine")
    target = fetched.target("one", "b.bin")
    target.unlink()
    target.symlink_to(outside)
    assert fetched.doit().status == 0
    assert outside.read_text() == "mine"
    assert target.read_bytes() == toy_content("b.bin")


def test_a_folder_in_the_way_is_an_error_and_the_others_go_on(
    fetched: Project, server: FaultyServer
) -> None:
    """A folder is never removed: it is named, and the run ends with 1 after the rest was done."""
    for name in ("a.bin", "b.bin"):
        fetched.target("one", name).unlink()
    (fetched.target("one", "b.bin") / "inside").mkdir(parents=True)
    run = fetched.doit()
    assert run.status == 1
    assert "failed models/one/b.bin: models/one/b.bin is a folder.\n  Move it away" in run.stderr
    assert "1 fetched (1.0 kB), 1 failed" in run.stdout
    assert fetched.target("one", "a.bin").read_bytes() == toy_content("a.bin")
    assert (fetched.target("one", "b.bin") / "inside").is_dir()


def test_an_edited_target_is_set_right_also_when_its_time_is_faked(
    fetched: Project, server: FaultyServer
) -> None:
    """Same size and same time pass for up to date; `verify` reads the bytes and finds it."""
    target = fetched.target("one", "b.bin")
    status = target.stat()
    edit(target)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert fetched.doit().stdout == "Nothing to do.\n"
    assert fetched.doit("verify").status == 1
    assert fetched.doit("verify", "--repair").status == 0
    assert target.read_bytes() == toy_content("b.bin")
