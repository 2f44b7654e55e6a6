"""doit's database: never in our way, and kept for a user's own tasks."""

import dbm.dumb
import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from tests.e2e.content import toy
from tests.e2e.project import Project
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer

OWN_TASKS = '''
from pathlib import Path

from downloader.tasks import DOIT_CONFIG, task_fetch, task_lock, task_verify


def count(dependencies, targets):
    Path("runs.txt").open("a").write("run\\n")
    Path(targets[0]).write_text(str(Path(dependencies[0]).stat().st_size))


def task_count():
    """Count the bytes of a file."""
    return {
        "file_dep": ["models/one/a.bin"],
        "targets": ["count.txt"],
        "actions": [count],
    }
'''


def write_sqlite(path: Path) -> None:
    """Write a SQLite database, as doit's sqlite3 backend does."""
    with closing(sqlite3.connect(path)) as database:
        database.execute("create table doit (task_id text, task_data text)")
        database.commit()


def write_text(text: bytes) -> object:
    """Return a function that writes this to a path."""
    return lambda path: path.write_bytes(text)


DAMAGED = {
    "empty": write_text(b""),
    "torn": write_text(b'{"count": {"_values_:": {'),
    "no object": write_text(b"[1, 2]"),
    "binary": write_text(bytes(range(256)) * 8),
    "sqlite": write_sqlite,
}


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("kind", DAMAGED)
def test_a_damaged_database_is_begun_anew(
    project: Project, server: FaultyServer, kind: str
) -> None:
    """It is told once, costs nothing, and the run after it is silent."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    before = len(server.requests)
    DAMAGED[kind](project.folder / ".doit.db")  # type: ignore[operator]
    run = project.doit()
    assert (run.status, run.stdout) == (0, "Nothing to do.\n")
    assert run.stderr == ".doit.db is damaged or of another kind: it is begun anew.\n"
    assert project.doit().stderr == ""
    assert len(server.requests) == before


def test_the_files_of_an_old_dbm_do_no_harm(project: Project, server: FaultyServer) -> None:
    """What doit's dbm backend left under other endings is passed over."""
    with closing(dbm.dumb.open(str(project.folder / ".doit.db"), "n")) as database:
        database[b"count"] = b"{}"
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit()
    assert (run.status, project.doit().stdout) == (0, "Nothing to do.\n"), run.text


class TestOwnTasks:
    """A dodo.py of the user's own, with tasks beside ours."""

    @pytest.fixture
    def own(self, project: Project, server: FaultyServer) -> Project:
        """Give a project whose task `count` depends on one of our targets."""
        (project.folder / "dodo.py").write_text(OWN_TASKS)
        project.declare({"one": toy(server, ["a.bin", "b.bin"])})
        return project

    def runs(self, project: Project) -> int:
        """Return how often `count` has run."""
        return len((project.folder / "runs.txt").read_text().splitlines())

    def test_its_dependency_is_fetched_first(self, own: Project) -> None:
        """With nothing locked yet, the file that the task needs is fetched, and no other."""
        run = own.doit("count")
        assert run.status == 0, run.text
        assert (own.folder / "count.txt").read_text() == "1000"
        assert not own.target("one", "b.bin").exists()
        assert ".  count" in run.stdout

    def test_its_record_is_kept_and_ours_are_not(self, own: Project) -> None:
        """The task does not run twice; the database names it and none of our tasks."""
        assert own.doit("count").status == 0
        again = own.doit("count")
        assert (again.status, self.runs(own)) == (0, 1)
        kept = json.loads((own.folder / ".doit.db").read_text())
        assert list(kept) == ["count"]

    def test_it_runs_again_for_other_bytes(self, own: Project, server: FaultyServer) -> None:
        """A new version of the file makes the task run again."""
        assert own.doit("count").status == 0
        server.put("/toy/a.bin", b"another version")
        assert own.doit("lock", "--upgrade").status == 0
        assert own.doit("count").status == 0
        assert ((own.folder / "count.txt").read_text(), self.runs(own)) == ("15", 2)

    def test_without_a_database_only_it_runs_again(
        self, own: Project, server: FaultyServer
    ) -> None:
        """With the database deleted, doit runs the user's task again, and nothing is moved."""
        assert own.doit("fetch", "count").status == 0
        before = len(server.requests)
        (own.folder / ".doit.db").unlink()
        assert own.doit("fetch", "count").status == 0
        assert self.runs(own) == 2
        assert len(server.requests) == before

    def test_it_waits_in_vain_for_a_file_that_fails(
        self, own: Project, server: FaultyServer
    ) -> None:
        """When our file cannot be had the task does not run, and both are told plainly."""
        server.always("/toy/a.bin", statuses.status(404))
        run = own.doit("count")
        assert run.status in (1, 2)
        assert "failed models/one/a.bin: " in run.stderr
        assert not (own.folder / "runs.txt").exists()
        assert "Traceback" not in run.text

    def test_forgetting_ours_keeps_theirs(self, own: Project) -> None:
        """`forget fetch:one` makes ours hash again and leaves the user's record."""
        assert own.doit("fetch", "count").status == 0
        assert own.doit("forget", "fetch:one").status == 0
        run = own.doit("fetch", "count")
        assert "2 verified in place" in run.stdout
        assert self.runs(own) == 1
