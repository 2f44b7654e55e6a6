"""A models.lock that names places outside: every command refuses it before it touches anything."""

from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy_content
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

COMMANDS = [
    [],
    ["fetch:one"],
    ["list"],
    ["list", "--all"],
    ["info", "fetch:one"],
    ["clean"],
    ["clean", "fetch:one"],
    ["forget", "fetch"],
    ["plan"],
    ["verify"],
    ["verify", "--repair"],
    ["lock"],
    ["lock", "--check"],
    ["lock", "--upgrade"],
    ["outdated"],
    ["adopt", "--from", "."],
    ["bundle", "--out", "bundle"],
    ["ci-key"],
    ["prune"],
    ["prune", "--dry-run"],
]
MODES = {
    "plain": {},
    "CI": {"CI": "1"},
    "locked": {"MODELMAKE_LOCKED": "1"},
    "offline": {"MODELMAKE_OFFLINE": "1"},
}
HONEST = '"source": "http"'


def seen(folder: Path) -> dict[str, bytes | None]:
    """Return every file and folder but what Python and doit note of a run."""
    return {
        str(each): each.read_bytes() if each.is_file() else None
        for each in sorted(folder.rglob("*"))
        if "__pycache__" not in each.parts
    }


@pytest.fixture
def hostile(project: Project, server: FaultyServer, tmp_path: Path) -> Path:
    """Give a file outside a project whose lock names it as an archive."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert project.doit().status == 0
    victim = tmp_path / "victim"
    victim.write_bytes(toy_content("a.bin"))
    text = project.lock.read_text()
    assert HONEST in text
    project.lock.write_text(text.replace(HONEST, f'{HONEST}, "archives": [{{"path":"{victim}"}}]'))
    return victim


@pytest.mark.sampled(keep=5)
@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_refuses_it_first(
    project: Project, hostile: Path, tmp_path: Path, command: list[str]
) -> None:
    """One error with file, model and field, what to do, status 1, and nothing is changed."""
    before = seen(tmp_path)
    run = project.doit(*command)
    assert run.status == 1, run.text
    assert run.stdout == ""
    assert len(run.error_lines) == 2, run.stderr
    assert run.error_lines[0].startswith("ERROR: models.lock: models.one.archives[0].path '/")
    assert "version control" in run.error_lines[1]
    assert seen(tmp_path) == before


@pytest.mark.sampled(keep=5)
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("path", ["../../../victim", "kept.tar"])
def test_every_mode_refuses_it_first(
    project: Project, hostile: Path, tmp_path: Path, mode: str, path: str
) -> None:
    """Also an archive of a safe name, since no entry of that source leads to one."""
    project.lock.write_text(project.lock.read_text().replace(str(hostile), path))
    before = seen(tmp_path)
    for command in ([], ["clean"], ["verify", "--repair"]):
        run = project.doit(*command, **MODES[mode])
        assert run.status == 1, run.text
        assert "models.lock" in run.error_lines[0]
        assert "archives" in run.error_lines[0]
        assert seen(tmp_path) == before


def test_python_refuses_it_too(project: Project, hostile: Path, tmp_path: Path) -> None:
    """`sync` raises the same error, and touches nothing."""
    from downloader import sync  # noqa: PLC0415
    from downloader.errors import LockError  # noqa: PLC0415

    before = seen(tmp_path)
    with pytest.raises(LockError, match=r"models\.one\.archives\[0\]\.path"):
        sync(folder=project.folder)
    assert seen(tmp_path) == before
