"""What `doit clean` says, and what a symlink to a folder is to it and to other commands."""

import shutil
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer


@pytest.fixture
def fetched(project: Project, server: FaultyServer) -> Project:
    """Give a project whose two models are there."""
    project.declare(
        {"one": pinned_toy(server, ["a.bin", "sub/b.bin"]), "two": toy(server, ["c.bin"])}
    )
    assert project.doit().status == 0
    return project


def test_clean_says_what_the_store_still_holds_and_how_to_free_it(
    fetched: Project, tmp_path: Path
) -> None:
    """The advice works: after it the disk has those bytes back, and the next run downloads."""
    fetched.variables["MODELMAKE_STORE"] = str(store := tmp_path / "store")
    shutil.rmtree(fetched.folder / "models")
    assert fetched.doit("fetch:one", "fetch:two").status == 0
    run = fetched.doit("clean", "fetch:one")
    assert run.status == 0, run.text
    assert run.stdout.splitlines()[-1] == (
        f"Removed 2 files (2.0 kB). 2.0 kB of that are still in the shared store, {store}:"
        " `doit prune --unused` removes them there too."
    )
    assert fetched.doit("prune").stdout == "Nothing to prune.\n"
    assert fetched.doit("prune", "--unused").stdout == "removed 2 blobs (2.0 kB); freed 2.0 kB\n"
    assert fetched.target("two", "c.bin").exists()
    again = fetched.doit()
    assert "2 fetched" in again.stdout


@pytest.mark.parametrize("words", [[], ["fetch:one"], ["fetch:one/a.bin"], ["-n", "fetch:one"]])
def test_clean_of_what_is_not_there_says_so(fetched: Project, words: list[str]) -> None:
    """Silence could mean that it did something."""
    shutil.rmtree(fetched.folder / "models")
    run = fetched.doit("clean", *words)
    assert (run.status, run.stdout) == (0, "Nothing to clean: none of these files is here.\n")


@pytest.mark.parametrize("what", ["models", "models/one"])
@pytest.mark.parametrize("begins", ["linked", "moved"])
def test_a_symlink_to_a_folder_is_that_folder(fetched: Project, what: str, begins: str) -> None:
    """Of `models` or a model, linked before the first run or moved to another disk since."""
    link, disk = fetched.folder / what, fetched.folder.parent / "disk"
    if begins == "moved":
        link.rename(disk)
        link.symlink_to(disk)
    else:
        shutil.rmtree(link)
        disk.mkdir()
        link.symlink_to(disk)
        assert fetched.doit().status == 0
    assert fetched.doit().stdout == "Nothing to do.\n"
    assert "up to date" in fetched.doit("list", "fetch:one").stdout
    verified = fetched.doit("verify", "one")
    assert verified.status == 0, verified.text
    assert "extra" not in verified.stdout
    assert fetched.doit("prune").status == 0
    cleaned = fetched.doit("clean", "fetch:one")
    assert (cleaned.status, cleaned.stderr) == (0, "")
    assert link.is_symlink()
    below = disk if what == "models/one" else disk / "one"
    assert not list(below.rglob("*"))


def test_a_symlink_below_a_models_folder_that_leads_out_is_read_and_left(
    fetched: Project,
) -> None:
    """Somebody moved a part of a model: it is up to date and right, and not ours to remove."""
    sub, disk = fetched.folder / "models/one/sub", fetched.folder.parent / "disk"
    sub.rename(disk)
    sub.symlink_to(disk)
    assert fetched.doit().stdout == "Nothing to do.\n"
    verified = fetched.doit("verify", "one")
    assert (verified.status, "2 right" in verified.stdout) == (0, True), verified.text
    assert "extra" not in verified.stdout
    cleaned = fetched.doit("clean", "fetch:one")
    assert cleaned.status == 0, cleaned.text
    assert "models/one/sub/b.bin is left: models/one/sub is a symlink that leads out" in (
        cleaned.stderr
    )
    assert not fetched.target("one", "a.bin").exists()
    assert (disk / "b.bin").exists()
    assert sub.is_symlink()
    (disk / "b.bin").write_text("changed")
    bad = fetched.doit("verify", "one")
    assert "changed: one/sub/b.bin" in bad.stdout
    refused = fetched.doit("fetch:one/sub/b.bin")
    assert refused.status == 1
    assert "leads out of models/one" in refused.stderr
    assert (disk / "b.bin").read_text() == "changed"


def test_a_symlink_inside_a_models_folder_is_no_second_copy(fetched: Project) -> None:
    """The files behind it are the model's, by both of their names."""
    sub = fetched.folder / "models/one/sub"
    sub.rename(sub.with_name("real"))
    sub.symlink_to("real")
    verified = fetched.doit("verify", "one")
    assert (verified.status, "extra" in verified.stdout) == (0, False), verified.text
    assert fetched.doit("clean", "fetch:one").status == 0
    assert not (sub.parent / "real" / "b.bin").exists()


def test_no_empty_folder_behind_a_symlink_is_removed(
    project: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """Though it has the name of a folder of the model."""
    project.declare({"one": pinned_toy(server, ["sub/inner/b.bin"])})
    assert project.doit().status == 0
    inner = tmp_path / "outside" / "inner"
    inner.mkdir(parents=True)
    folder = project.target("one", "sub")
    for name in ("one", "one/sub/inner/b.bin"):
        shutil.rmtree(folder)
        folder.symlink_to(inner.parent)
        run = project.doit("clean", f"fetch:{name}")
        assert run.status in (0, 1), run.text
        assert inner.is_dir()
        folder.unlink(missing_ok=True)
        folder.mkdir(parents=True)
