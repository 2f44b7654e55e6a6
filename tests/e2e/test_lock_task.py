"""`doit lock`, and runs that may not write the lock."""

import pytest

from tests.e2e.content import pinned_toy, sha256, toy, toy_content
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

READ_ONLY = [{"MODELMAKE_LOCKED": "1"}, {"CI": "true"}]
IDS = ["locked", "ci"]


def moved_bytes(server: FaultyServer, before: int) -> int:
    """Return how many bytes of bodies were sent since."""
    return sum(seen.body_bytes_sent for seen in server.requests[before:])


def test_lock_moves_no_bodies(project: Project, server: FaultyServer) -> None:
    """It asks for a byte of each file, writes sizes, and says what it did."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"]), "two": pinned_toy(server, ["c.bin"])})
    run = project.doit("lock")
    assert (run.status, run.stderr) == (0, "")
    assert run.stdout.splitlines() == [
        "locked one: 2 files, 2,000 bytes, 2 without a digest (pinned on first download)",
        "locked two: 1 file, 1,000 bytes",
    ]
    assert moved_bytes(server, 0) == 3
    assert project.locked("two")["c.bin"]["sha256"] == sha256(toy_content("c.bin"))
    assert not (project.folder / "models").exists()


def test_lock_twice_says_that_it_is_current(project: Project, server: FaultyServer) -> None:
    """The second one asks nobody and leaves the file as it is."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    before, text = len(server.requests), project.lock.read_bytes()
    run = project.doit("lock")
    assert (run.status, run.stdout) == (0, "models.lock is up to date.\n")
    assert len(server.requests) == before
    assert project.lock.read_bytes() == text


def test_check_tells_a_stale_lock_and_writes_nothing(
    project: Project, server: FaultyServer
) -> None:
    """`lock --check` ends with 1 where there is none or a stale one, with 0 on a current one."""
    project.declare({"one": toy(server, ["a.bin"])})
    missing = project.doit("lock", "--check")
    assert missing.status == 1
    assert not project.lock.exists()
    assert project.doit("lock").status == 0
    assert project.doit("lock", "--check").status == 0
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    text, before = project.lock.read_bytes(), len(server.requests)
    stale = project.doit("lock", "--check")
    assert stale.status == 1
    assert "models.lock is stale: one changed." in stale.stderr
    assert project.lock.read_bytes() == text
    assert len(server.requests) == before


def test_upgrade_drops_a_pin_whose_file_changed_upstream(
    project: Project, server: FaultyServer
) -> None:
    """Only `--upgrade` looks upstream; what changed there is fetched anew by the next run."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    assert project.doit().status == 0
    server.put("/toy/a.bin", b"a longer version " * 100)
    assert project.doit().stdout == "Nothing to do.\n"
    run = project.doit("lock", "--upgrade")
    assert run.status == 0, run.text
    assert "changed one: 2 files" in run.stdout
    fetched = project.doit()
    assert "1 fetched (1.7 kB)" in fetched.stdout
    assert project.target("one", "a.bin").read_bytes() == b"a longer version " * 100


def test_upgrade_keeps_what_stayed_the_same(project: Project, server: FaultyServer) -> None:
    """Pins of unchanged files stand, so that nothing is fetched again."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    run = project.doit("lock", "--upgrade")
    assert run.stdout == "same one: 1 file, 1,000 bytes\n"
    assert project.doit().stdout == "Nothing to do.\n"


def test_a_dead_server_does_not_stop_the_lock(project: Project, server: FaultyServer) -> None:
    """Its file is locked unasked, and that is said; the others are asked."""
    entry = toy(server, ["a.bin", "b.bin"])
    entry["files"][0]["url"] = "http://127.0.0.1:9/a.bin"
    project.declare({"one": entry})
    run = project.doit("lock")
    assert run.status == 0, run.text
    assert "one/a.bin: size unknown: The connection to http://127.0.0.1:9 failed: " in run.stdout
    assert project.locked("one")["b.bin"]["size"] == 1000


def test_a_wrong_url_fails_the_lock_and_one_file_of_the_run(
    project: Project, server: FaultyServer
) -> None:
    """`doit lock` ends with 1 and does not say `locked`; a run downloads all the other files."""
    entry = toy(server, ["a.bin", "b.bin"])
    entry["files"][0]["url"] = server.url("/gone.bin")
    project.declare({"one": entry})
    run = project.doit("lock")
    assert run.status == 1
    assert not any(line.startswith("locked") for line in run.stdout.splitlines())
    assert "incomplete one: 2 files, at least 1,000 bytes" in run.stdout
    assert run.stderr.startswith("failed lock: one/a.bin cannot be downloaded; ")
    assert project.doit().status == 1
    assert project.target("one", "b.bin").read_bytes() == toy_content("b.bin")


@pytest.mark.parametrize("words", [[], ["fetch:one"], ["lock"]], ids=["bare", "model", "lock"])
def test_locked_refuses_a_missing_lock(
    project: Project, server: FaultyServer, words: list[str]
) -> None:
    """With MODELMAKE_LOCKED a missing lock is one failure; nothing is asked for or written."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    run = project.doit(*words, MODELMAKE_LOCKED="1")
    assert run.status == 1
    assert run.stderr.count("failed ") == 1
    assert "models.lock" in run.stderr
    assert server.requests == []
    assert not project.lock.exists()


def test_ci_locks_where_there_is_no_lock(project: Project, server: FaultyServer) -> None:
    """With CI alone, a project without a lock works as anywhere."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit(CI="true").status == 0
    assert "sha256" in project.locked("one")["a.bin"]
    assert project.doit(CI="true").stdout == "Nothing to do.\n"


@pytest.mark.parametrize("variables", READ_ONLY, ids=IDS)
def test_a_stale_lock_is_refused(
    project: Project, server: FaultyServer, variables: dict[str, str]
) -> None:
    """Where it may not be written, a stale lock is one failure, and no file is begun."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    project.declare({"one": pinned_toy(server, ["a.bin", "b.bin"])})
    before, text = len(server.requests), project.lock.read_bytes()
    run = project.doit(**variables)
    assert run.status == 1
    assert run.stderr.startswith("failed lock: models.lock is stale: one changed.\n  On your")
    assert len(run.error_lines) == 2
    assert "1 failed, 2 not started" in run.stdout
    assert len(server.requests) == before
    assert project.lock.read_bytes() == text


@pytest.mark.parametrize("variables", READ_ONLY, ids=IDS)
def test_an_unpinned_lock_is_refused(
    project: Project, server: FaultyServer, variables: dict[str, str]
) -> None:
    """A file that the lock does not pin is not fetched; one that it pins is."""
    project.declare({"one": toy(server, ["a.bin"]), "two": pinned_toy(server, ["b.bin"])})
    assert project.doit("lock").status == 0
    before, text = len(server.requests), project.lock.read_bytes()
    run = project.doit(**variables)
    assert run.status == 1
    assert "failed models/one/a.bin: models.lock pins no SHA-256" in run.stderr
    assert "1 fetched (1.0 kB), 1 failed" in run.stdout
    assert [seen.path for seen in server.requests[before:]] == ["/toy/b.bin"]
    assert project.lock.read_bytes() == text


@pytest.mark.parametrize("variables", READ_ONLY, ids=IDS)
def test_a_pinned_lock_is_fetched_as_it_stands(
    project: Project, server: FaultyServer, variables: dict[str, str]
) -> None:
    """A current, pinned lock is obeyed: the files arrive, the lock's bytes stay."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    assert project.doit("clean").status == 0
    text = project.lock.read_bytes()
    run = project.doit(**variables)
    assert run.status == 0, run.text
    assert project.target("one", "a.bin").read_bytes() == toy_content("a.bin")
    assert project.lock.read_bytes() == text


def test_locked_off_wins_over_ci(project: Project, server: FaultyServer) -> None:
    """MODELMAKE_LOCKED=0 lets a CI job bring the lock up to date."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    assert project.doit(CI="true", MODELMAKE_LOCKED="0").status == 0
    assert "sha256" in project.locked("one")["a.bin"]


def test_a_missing_key_ends_with_what_to_set(project: Project) -> None:
    """Locking ends at once, all requests with it: that is no interruption by the user."""
    project.declare({"job": {"source": "together", "job": "ft-0123abcd-0123"}})
    run = project.doit("lock", TOGETHER_API_KEY="", HOME=str(project.folder))
    assert run.status == 2
    assert "TOGETHER_API_KEY" in run.stderr
    assert len(run.error_lines) == 2
