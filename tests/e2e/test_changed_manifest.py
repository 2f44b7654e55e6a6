"""One changed line of models.yaml touches only its own files."""

from typing import Any

import pytest

from tests.e2e.content import sha256, toy, toy_content
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

Models = dict[str, dict[str, Any]]


@pytest.fixture
def models(project: Project, server: FaultyServer) -> Models:
    """Give two models that are there, as they were declared."""
    declared = {"one": toy(server, ["a.bin", "b.bin"]), "two": toy(server, ["c.bin", "d.bin"])}
    project.declare(declared)
    assert project.doit().status == 0
    return declared


def asked(server: FaultyServer, before: int) -> set[str]:
    """Return the last parts of the paths asked for since."""
    return {seen.path.rpartition("/")[2] for seen in server.requests[before:]}


def test_a_file_more_fetches_that_file(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """The new file is asked for, locked and fetched; the rest of its model is only read again."""
    models["one"] = toy(server, ["a.bin", "b.bin", "new.bin"])
    before, other = len(server.requests), project.locked("two")
    project.declare(models)
    run = project.doit()
    assert run.status == 0, run.text
    assert "1 fetched" in run.stdout
    assert asked(server, before) == {"new.bin"}
    assert project.locked("two") == other


def test_another_url_fetches_that_file(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """A file that is declared at another place is another file; its neighbour stays."""
    server.put("/moved/a.bin", b"another version")
    models["one"]["files"][0]["url"] = server.url("/moved/a.bin")
    before = len(server.requests)
    project.declare(models)
    run = project.doit()
    assert run.status == 0, run.text
    assert {seen.path for seen in server.requests[before:]} == {"/moved/a.bin"}
    assert project.target("one", "a.bin").read_bytes() == b"another version"


def test_a_digest_written_down_later_moves_nothing(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """Pinning by hand what is there already costs no request for the file's body."""
    models["one"]["files"][0]["sha256"] = sha256(toy_content("a.bin"))
    before = len(server.requests)
    project.declare(models)
    assert project.doit().status == 0
    assert sum(seen.body_bytes_sent for seen in server.requests[before:]) <= 2


def test_words_that_mean_no_bytes_make_nothing_stale(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """Comments, mirrors and the order of the models leave the lock and the files as they are."""
    before, lock = len(server.requests), project.lock.read_bytes()
    models["one"]["mirrors"] = ["http://127.0.0.1:9/mirror"]
    project.declare({name: models[name] for name in reversed(models)})
    project.write(f"# which models we want\n{project.manifest.read_text()}")
    assert project.doit().stdout == "Nothing to do.\n"
    assert project.lock.read_bytes() == lock
    assert len(server.requests) == before


def test_another_folder_fetches_into_it(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """With another `to` the lock stands, the model goes to the new place, the old files stay."""
    lock = project.lock.read_bytes()
    models["two"]["to"] = "weights/second"
    project.declare(models)
    run = project.doit()
    assert run.status == 0, run.text
    assert (project.folder / "weights/second/c.bin").read_bytes() == toy_content("c.bin")
    assert project.target("two", "c.bin").exists()
    assert project.lock.read_bytes() == lock


def test_a_model_that_left_leaves_the_lock_and_its_files_stay(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """Nothing that somebody fetched is removed unasked; models.lock no longer names it."""
    del models["one"]
    before = len(server.requests)
    project.declare(models)
    assert project.doit().status == 0
    assert '"one"' not in project.lock.read_text()
    assert project.target("one", "a.bin").exists()
    assert len(server.requests) == before
    assert project.doit().stdout == "Nothing to do.\n"


def test_a_new_optional_model_is_locked_and_not_fetched(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """It costs questions about its files, and no file."""
    models["spare"] = toy(server, ["e.bin"], optional=True)
    before = len(server.requests)
    project.declare(models)
    assert project.doit().status == 0
    assert "spare" in project.lock.read_text()
    assert not project.target("spare", "e.bin").exists()
    assert sum(seen.body_bytes_sent for seen in server.requests[before:]) <= 1


def test_a_model_that_becomes_optional_stays(
    project: Project, server: FaultyServer, models: Models
) -> None:
    """`optional: true` on a model that is there changes neither lock nor files."""
    lock = project.lock.read_bytes()
    models["one"]["optional"] = True
    project.declare(models)
    assert project.doit().stdout == "Nothing to do.\n"
    assert project.lock.read_bytes() == lock
    assert project.target("one", "a.bin").exists()
