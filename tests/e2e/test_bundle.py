"""`doit bundle` on one machine, `doit adopt` on another without network: nothing is left to do."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.content import bytes_of, pinned_toy, sha256, toy, toy_content
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

NAMES = ["a.bin", "deep/b.bin"]


@pytest.fixture
def full(project: Project, server: FaultyServer) -> Project:
    """Give a project whose two models are here, and an optional one that is not."""
    project.declare(
        {
            "one": toy(server, NAMES),
            "two": pinned_toy(server, ["a.bin"]),  # the same bytes as one/a.bin
            "spare": toy(server, ["c.bin"], optional=True),
        }
    )
    run = project.doit()
    assert run.status == 0, run.text
    return project


@pytest.fixture
def cut_off(tmp_path: Path) -> Project:
    """Give a folder with dodo.py alone, on a machine without network where that can be had."""
    other = Project(tmp_path / "other", MODELMAKE_OFFLINE="1")
    unshare = shutil.which("unshare")
    if unshare:
        command = [unshare, "--net", "--map-root-user"]
        if not subprocess.run([*command, "true"], check=False, capture_output=True).returncode:
            other.before = command
    return other


def is_whole(project: Project) -> bool:
    """Whether both models are in place and nothing is left to do without network."""
    files = [("one", name) for name in NAMES] + [("two", "a.bin")]
    right = all(project.target(m, p).read_bytes() == toy_content(p) for m, p in files)
    return right and project.doit().stdout == "Nothing to do.\n"


@pytest.mark.parametrize("keeps", [True, False], ids=["store", "no store"])
def test_a_machine_without_network(
    full: Project, cut_off: Project, tmp_path: Path, *, keeps: bool
) -> None:
    """A bundle brings models.yaml, models.lock and all bytes to an empty project."""
    place = str(tmp_path / "bundle")
    if keeps:
        cut_off.variables["MODELMAKE_STORE"] = str(tmp_path / "store")

    made = full.doit("bundle", "--out", place)
    taken = cut_off.doit("adopt", "--from", place)

    assert made.status == 0, made.text
    assert made.stdout == f"bundled 2 models, 3 files (2.0 kB) in {place}\n"
    assert taken.status == 0, taken.text
    assert "models.yaml and models.lock are the bundle's\n" in taken.stdout
    assert "adopted 2 files" in taken.stdout or "adopted 3 files" in taken.stdout
    assert is_whole(cut_off)
    assert cut_off.lock.read_bytes() == full.lock.read_bytes()
    assert not [*cut_off.folder.rglob("linking/*")]


def test_a_folder_on_the_same_disk_costs_no_room(full: Project, tmp_path: Path) -> None:
    """Blobs are links to the targets, and a second run makes none anew."""
    place = tmp_path / "bundle"
    full.doit("bundle", "--out", str(place))
    blob = place / "sha256" / sha256(toy_content("a.bin"))[:2] / sha256(toy_content("a.bin"))

    assert blob.samefile(full.target("one", "a.bin")) or blob.samefile(full.target("two", "a.bin"))
    assert not (place / "CACHEDIR.TAG").exists()
    assert "2 there already" in full.doit("bundle", "--out", str(place)).stdout


def test_what_a_killed_run_left_is_gone_on_with(full: Project, tmp_path: Path) -> None:
    """A folder without its mark is no bundle yet; a blob that was changed is written anew."""
    place = tmp_path / "bundle"
    full.doit("bundle", "--out", str(place), "two")
    (place / "bundle.json").unlink()
    blob = place / "sha256" / sha256(toy_content("a.bin"))[:2] / sha256(toy_content("a.bin"))
    blob.unlink()
    blob.write_bytes(b"half")

    run = full.doit("bundle", "--out", str(place))

    assert run.status == 0, run.text
    assert blob.read_bytes() == toy_content("a.bin")
    assert (place / "bundle.json").exists()


def test_a_damaged_target_is_refused(full: Project, tmp_path: Path) -> None:
    """It is named, whatever its receipt says, and there is no bundle."""
    target = full.target("one", "deep/b.bin")
    status = target.stat()
    target.chmod(0o644)
    target.write_bytes(b"x" * status.st_size)
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    run = full.doit("bundle", "--out", str(tmp_path / "bundle"))

    assert run.status == 1
    assert "one/deep/b.bin" in run.stderr
    assert "--repair" in run.stderr
    assert not (tmp_path / "bundle" / "bundle.json").exists()


def test_what_is_not_here_is_named(full: Project, tmp_path: Path) -> None:
    """A missing file, or a model that was not fetched, is told with the command that brings it."""
    run = full.doit("bundle", "--out", str(tmp_path / "b"), "spare")
    assert run.status == 1
    assert "spare/c.bin" in run.stderr
    assert "`doit fetch:spare` first" in run.stderr
    assert not (tmp_path / "b").exists()


def test_a_folder_with_other_things_is_refused(full: Project, tmp_path: Path) -> None:
    """Nothing is written beside what is no bundle."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine").touch()

    run = full.doit("bundle", "--out", str(tmp_path / "home"))

    assert run.status == 1
    assert "new folder" in run.stderr
    assert [each.name for each in (tmp_path / "home").iterdir()] == ["mine"]


def test_a_project_without_a_lock_takes_what_fits(
    full: Project, cut_off: Project, tmp_path: Path
) -> None:
    """Of a lock that is missing the entries of the same digest are taken; others are told."""
    full.doit("bundle", "--out", str(tmp_path / "b"))
    text = full.manifest.read_text()
    cut_off.write(text.replace("/toy/deep/b.bin", "/toy/deep/other.bin"))

    run = cut_off.doit("adopt", "--from", str(tmp_path / "b"), "two")
    assert run.status == 0, run.text
    assert "locked two" in run.stdout

    run = cut_off.doit("adopt", "--from", str(tmp_path / "b"))
    assert run.status == 1
    assert "one" in run.stderr.splitlines()[-2]


def test_the_lock_of_the_project_wins(full: Project, cut_off: Project, tmp_path: Path) -> None:
    """What is locked here stays; files of the bundle that match it by digest are taken."""
    cut_off.write(full.manifest.read_text())
    locked = full.lock.read_text().replace(sha256(toy_content("deep/b.bin")), "0" * 64)
    cut_off.lock.write_text(locked)
    full.doit("bundle", "--out", str(tmp_path / "b"))

    run = cut_off.doit("adopt", "--from", str(tmp_path / "b"))

    assert run.status == 1
    assert "not found: one/deep/b.bin" in run.stdout
    assert cut_off.target("one", "a.bin").read_bytes() == toy_content("a.bin")
    assert cut_off.lock.read_text() == locked


@pytest.mark.parametrize("change", ["bytes", "link", "short"])
def test_a_blob_that_was_tampered_with(
    full: Project, cut_off: Project, tmp_path: Path, change: str
) -> None:
    """Other bytes, a link to elsewhere, a cut: nothing is taken, and the file is named."""
    place = tmp_path / "bundle"
    assert full.doit("bundle", "--out", str(place), "two").status == 0
    digest = sha256(toy_content("a.bin"))
    blob = place / "sha256" / digest[:2] / digest
    content = blob.read_bytes()
    blob.unlink()
    if change == "link":
        (tmp_path / "elsewhere").write_bytes(b"x" * len(content))
        blob.symlink_to(tmp_path / "elsewhere")
    else:
        blob.write_bytes(content[:-1] if change == "short" else b"x" * len(content))

    run = cut_off.doit("adopt", "--from", str(place))

    assert run.status == 1, run.text
    assert "not found: two/a.bin" in run.stdout
    assert "Traceback" not in run.text
    assert not [each for each in cut_off.folder.rglob("*.bin") if each.is_file()]
    assert not [*cut_off.folder.rglob("linking/*")]


def test_a_file_larger_than_a_buffer(
    project: Project, cut_off: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """A size that is no multiple of a buffer comes out as it went in."""
    content = bytes_of("large", (3 << 20) + 17)
    server.put("/large", content)
    project.declare({"m": {"source": "http", "files": [{"url": server.url("/large")}]}})
    assert project.doit().status == 0
    project.doit("bundle", "--out", str(tmp_path / "b"))

    run = cut_off.doit("adopt", "--from", str(tmp_path / "b"))

    assert run.status == 0, run.text
    assert cut_off.target("m", "large").read_bytes() == content


def forge(place: Path, name: str, old: str, new: str) -> None:
    """Change one of a bundle's own files."""
    text = (place / name).read_text()
    assert old in text
    (place / name).write_text(text.replace(old, new, 1))


HONEST = '"source": "http"'
FORGED = {
    "an archive outside": ("models.lock", HONEST, f'{HONEST}, "archives": [{{"path": "/x"}}]'),
    "an archive": ("models.lock", HONEST, f'{HONEST}, "archives": [{{"path": "x"}}]'),
    "a file outside": ("models.lock", '"path":"a.bin"', '"path":"../../a.bin"'),
    "another file": ("models.lock", '"path":"a.bin"', '"path":"z.bin"'),
    "a folder outside": ("models.yaml", "source: http\n", "source: http\n    to: ../../x\n"),
    "a name that nothing is locked of": ("bundle.json", '"one"', '"../one"'),
}


@pytest.mark.sampled(keep=4)
@pytest.mark.parametrize("change", FORGED.values(), ids=list(FORGED))
@pytest.mark.parametrize("has", ["nothing", "models.yaml"])
def test_a_bundle_is_checked_whole_before_anything_is_written(
    full: Project, cut_off: Project, tmp_path: Path, change: tuple[str, str, str], has: str
) -> None:
    """Its lock must follow from its manifest; a refused bundle leaves no file and changes none."""
    place = tmp_path / "bundle"
    assert full.doit("bundle", "--out", str(place)).status == 0
    if has == "models.yaml":
        shutil.copy(full.manifest, cut_off.folder)
    forge(place, *change)
    before = {each for each in cut_off.folder.rglob("*") if ".modelmake" not in each.parts}

    run = cut_off.doit("adopt", "--from", str(place))

    assert run.status == 1, run.text
    assert "Traceback" not in run.text
    after = {each for each in cut_off.folder.rglob("*") if ".modelmake" not in each.parts}
    assert {each for each in after - before if "__pycache__" not in each.parts} == set()


def test_a_lock_that_is_here_must_follow_from_the_bundles_manifest(
    full: Project, cut_off: Project, tmp_path: Path
) -> None:
    """It is refused before models.yaml is written beside it."""
    place = tmp_path / "bundle"
    assert full.doit("bundle", "--out", str(place)).status == 0
    forged = full.lock.read_text().replace(HONEST, f'{HONEST}, "archives": [{{"path": "x"}}]', 1)
    cut_off.lock.write_text(forged)

    run = cut_off.doit("adopt", "--from", str(place))

    assert run.status == 1
    assert "does not follow from models.yaml for" in run.stderr
    assert not cut_off.manifest.exists()
    assert cut_off.lock.read_text() == forged
