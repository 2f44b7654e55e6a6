"""`doit verify` reads every byte again."""

import re

import pytest

from tests.e2e.content import toy, toy_content
from tests.e2e.project import Project
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer


@pytest.fixture
def fetched(project: Project, server: FaultyServer) -> Project:
    """Give a project with two models that are there, and an optional one that is not."""
    project.declare(
        {
            "one": toy(server, ["a.bin", "b.bin", "c.bin"]),
            "two": toy(server, ["d.bin"]),
            "spare": toy(server, ["e.bin"], optional=True),
        }
    )
    assert project.doit().status == 0
    return project


def damage(project: Project) -> None:
    """Take away a.bin and change a byte of b.bin."""
    project.target("one", "a.bin").unlink()
    target = project.target("one", "b.bin")
    target.write_bytes(b"x" + target.read_bytes()[1:])


def test_all_is_well(fetched: Project) -> None:
    """It ends with 0 and counts; an optional model that was never asked for is not missed."""
    run = fetched.doit("verify")
    assert (run.status, run.stderr) == (0, "")
    assert re.fullmatch(r"verified 4 files: 4 right; 4\.0 kB in \S+ s(, .+/s)?\n", run.stdout)


def test_what_is_bad_is_named(fetched: Project, server: FaultyServer) -> None:
    """Missing and changed files are named, nothing is repaired, no request is sent."""
    damage(fetched)
    before = len(server.requests)
    run = fetched.doit("verify")
    assert run.status == 1
    lines = run.stdout.splitlines()
    assert lines[0] == "missing: one/a.bin (expected 1,000 bytes)"
    assert len(lines) == 3
    assert re.search(
        r"^changed: one/b\.bin is sha256:\w{16}…, expected sha256:\w{16}…$",
        run.stdout,
        re.MULTILINE,
    )
    assert "\nverified 4 files: 2 right, 1 missing, 1 changed; " in run.stdout
    assert "--repair" in run.stderr
    assert not fetched.target("one", "a.bin").exists()
    assert len(server.requests) == before


def test_repair_fetches_what_is_bad(fetched: Project, server: FaultyServer) -> None:
    """Only the bad files are asked for, and all is well afterwards."""
    damage(fetched)
    before = len(server.requests)
    run = fetched.doit("verify", "--repair")
    assert run.status == 0, run.text
    assert "verified 4 files: 2 right, 1 missing, 1 changed, 2 repaired; " in run.stdout
    assert {seen.path for seen in server.requests[before:]} == {"/toy/a.bin", "/toy/b.bin"}
    for name in ("a.bin", "b.bin"):
        assert fetched.target("one", name).read_bytes() == toy_content(name)
    assert fetched.doit().stdout == "Nothing to do.\n"


def test_a_repair_that_fails_stops_no_other(fetched: Project, server: FaultyServer) -> None:
    """Where one bad file cannot be had, the other is repaired, and the run ends with 1."""
    damage(fetched)
    server.always("/toy/a.bin", statuses.status(404))
    run = fetched.doit("verify", "--repair")
    assert run.status == 1
    assert "404" in run.stderr
    assert fetched.target("one", "b.bin").read_bytes() == toy_content("b.bin")
    assert "Traceback" not in run.text


def test_one_model_by_name(fetched: Project) -> None:
    """`verify NAME` reads that model only."""
    damage(fetched)
    assert "verified 1 file: 1 right; " in fetched.doit("verify", "two").stdout
    assert fetched.doit("verify", "one", "two").status == 1


def test_an_optional_model_by_name(fetched: Project) -> None:
    """Named, an optional model that is not there is missing."""
    run = fetched.doit("verify", "spare")
    assert run.status == 1
    assert "not here: spare (1 file)" in run.stdout


def test_an_unknown_name(fetched: Project) -> None:
    """The models that there are get named."""
    run = fetched.doit("verify", "nope")
    assert run.status == 3
    assert "declares no model 'nope'" in run.stderr
    assert "one, two, spare" in run.stderr


def test_it_needs_no_receipts_and_no_network(fetched: Project) -> None:
    """The lock and the bytes decide, whatever was noted."""
    fetched.receipts("one").unlink()
    run = fetched.doit("verify", MODELMAKE_OFFLINE="1")
    assert "verified 4 files: 4 right; " in run.stdout
