"""What goes wrong is told in lines for people, and stops nothing else."""

import shutil
from typing import Any

import pytest

from tests.e2e.content import gpt2, toy, toy_content
from tests.e2e.project import Project, Run
from tests.projects import sha256
from tests.servers.faults import pages, statuses
from tests.servers.faulty import FaultyServer

DEAD = "http://127.0.0.1:9/dead.bin"


def failure_of(run: Run, name: str) -> list[str]:
    """Return the lines of the report about a failure: one that names it, and those below it."""
    lines = run.error_lines
    *_, start = [n for n, line in enumerate(lines) if line.startswith(f"failed {name}: ")]
    told = [lines[start]]
    for line in lines[start + 1 :]:
        if not line.startswith("  "):
            break
        told.append(line)
    return told


def declare_with_others(project: Project, server: FaultyServer, **changes: str) -> None:
    """Declare a model of bad.bin (changed as told) and good.bin, and another model."""
    one = toy(server, ["bad.bin", "good.bin"])
    one["files"][0].update(changes)
    project.declare({"one": one, "two": toy(server, ["other.bin"])})


def assert_only_bad_failed(project: Project, run: Run, *words: str) -> None:
    """Check status, sum and messages where bad.bin failed and the rest was fetched."""
    assert run.status == 1
    assert run.stdout.startswith("2 fetched (2.0 kB), 1 failed")
    told = failure_of(run, "models/one/bad.bin")
    assert 2 <= len(told) <= 3, "what, why, and what to do next"
    for word in words:
        assert word in "\n".join(told)
    assert "Traceback" not in run.text
    assert not project.target("one", "bad.bin").exists()
    assert project.target("one", "good.bin").read_bytes() == toy_content("good.bin")
    assert project.target("two", "other.bin").read_bytes() == toy_content("other.bin")


def test_a_file_that_is_not_there(project: Project, server: FaultyServer) -> None:
    """A 404 names the URL and points to models.yaml."""
    declare_with_others(project, server)
    server.always("/toy/bad.bin", statuses.status(404, b"<Error>NoSuchKey</Error>"))
    words = (server.url("/toy/bad.bin"), "404", "models.yaml")
    assert_only_bad_failed(project, project.doit(), *words)


def test_a_dead_server(project: Project, server: FaultyServer) -> None:
    """A refused connection is told as such."""
    declare_with_others(project, server, url=DEAD)
    run = project.doit(MODELMAKE_RETRIES="1")
    assert_only_bad_failed(project, run, DEAD, "Connection refused", "network")


def test_a_page_in_place_of_the_file(project: Project, server: FaultyServer) -> None:
    """A login page with status 200 is recognised, and shown in part."""
    declare_with_others(project, server)
    server.always("/toy/bad.bin", pages.captive_portal())
    assert_only_bad_failed(project, project.doit(), "HTML", "Please log in", "captive portal")


@pytest.mark.parametrize("way", [{"sniff": False}, {"files": [{"sha256": sha256(pages.PORTAL)}]}])
def test_a_file_that_looks_like_a_page(
    project: Project, server: FaultyServer, way: dict[str, Any]
) -> None:
    """The two ways that the refusal names; the first of them is no other wish for bytes."""
    server.always("/toy/odd.bin", pages.captive_portal())
    file = {"url": server.url("/toy/odd.bin")}
    project.declare({"odd": {"source": "http", "files": [file]}})
    refused = project.doit()
    assert refused.status == 1
    assert "give its `sha256`, or write `sniff: false`" in refused.stderr
    files = [{**file, **more} for more in way.pop("files", [{}])]
    project.declare({"odd": {"source": "http", "files": files, **way}})

    assert project.doit().status == 0
    assert project.target("odd", "odd.bin").read_bytes() == pages.PORTAL


def test_wrong_bytes(project: Project, server: FaultyServer) -> None:
    """Both digests are named, and where the bytes were set aside."""
    declare_with_others(project, server, sha256="0" * 64)
    run = project.doit()
    assert_only_bad_failed(project, run, "0" * 64, "set aside as models/one/.modelmake/quarantine")
    (aside,) = project.target("one", ".modelmake/quarantine").iterdir()
    assert aside.read_bytes() == toy_content("bad.bin")
    assert str(aside.relative_to(project.folder)) in run.stderr


def test_a_server_that_is_busy(project: Project, server: FaultyServer) -> None:
    """A 503 that stays is told with the advice to come back later."""
    declare_with_others(project, server)
    server.always("/toy/bad.bin", statuses.busy())
    run = project.doit(MODELMAKE_RETRIES="1")
    assert_only_bad_failed(project, run, "503", "later")


def test_a_refusal(project: Project, server: FaultyServer) -> None:
    """A 403 is no matter of trying again: it is asked for twice, to lock and to fetch."""
    declare_with_others(project, server)
    server.always("/toy/bad.bin", statuses.status(403))
    assert_only_bad_failed(project, project.doit(), "403", "credential")
    assert len([seen for seen in server.requests if seen.path == "/toy/bad.bin"]) == 2


def test_a_failed_file_is_fetched_when_it_can_be(project: Project, server: FaultyServer) -> None:
    """After the cause is gone the next run fetches that file, and it alone."""
    declare_with_others(project, server)
    server.always("/toy/bad.bin", statuses.status(404))
    assert project.doit().status == 1
    server.always("/toy/bad.bin", lambda _, reply: reply)
    before = len(server.requests)
    run = project.doit()
    assert run.status == 0, run.text
    assert [seen.path for seen in server.requests[before:]] == ["/toy/bad.bin"]


def test_a_file_that_changed_upstream(project: Project, server: FaultyServer) -> None:
    """Other bytes than the lock says are never taken; the command that takes them is named."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    text = project.lock.read_text()
    project.target("one", "a.bin").unlink()
    server.put("/toy/a.bin", b"other bytes")
    run = project.doit(MODELMAKE_STORE="off")
    assert run.status == 1
    assert "`doit lock --upgrade`" in "\n".join(failure_of(run, "models/one/a.bin"))
    assert not project.target("one", "a.bin").exists()
    assert project.lock.read_text() == text
    assert project.doit("lock", "--upgrade").stdout.splitlines()[1] == (
        "  changed a.bin: 1,000 bytes -> 11 bytes"
    )
    assert project.doit(MODELMAKE_STORE="off").status == 0
    assert project.target("one", "a.bin").read_bytes() == b"other bytes"


def test_offline_says_so(project: Project, server: FaultyServer) -> None:
    """With MODELMAKE_OFFLINE nothing is dialled, and the message names the variable."""
    declare_with_others(project, server)
    run = project.doit(MODELMAKE_OFFLINE="1")
    assert run.status == 1
    assert "3 not started" in run.stdout
    assert "or unset MODELMAKE_OFFLINE" in run.stderr
    assert server.connections == 0


@pytest.mark.parametrize("words", [[], ["list"], ["verify"], ["lock"], ["fetch:one"]])
def test_a_mistake_in_the_manifest(project: Project, words: list[str]) -> None:
    """Every command ends with 2 and names file, line and key."""
    project.write("version: 1\nmodels:\n  one:\n    source: http\n    fils: []\n")
    run = project.doit(*words)
    assert run.status == 2
    assert (
        run.stderr
        == "ERROR: models.yaml:5: models.one.fils: unknown key\n  Did you mean `files`?\n"
    )
    assert run.stdout == ""


def test_no_manifest(project: Project) -> None:
    """A folder without models.yaml is told how to get one."""
    run = project.doit()
    assert run.status == 2
    assert run.stderr.startswith(f"ERROR: There is no models.yaml in {project.folder}.\n")
    assert "Traceback" not in run.text


def test_a_variable_with_an_unusable_value(project: Project, server: FaultyServer) -> None:
    """The variable and its value are named."""
    project.declare({"one": toy(server, ["a.bin"])})
    run = project.doit(MODELMAKE_TIMEOUT="soon")
    assert run.status == 2
    assert "MODELMAKE_TIMEOUT is 'soon'" in run.stderr
    assert "Traceback" not in run.text


def test_a_base_url_that_is_none(project: Project) -> None:
    """One that shows only when a file is about to move is a mistake in the usage all the same."""
    project.declare({"g": gpt2("124M", "http://127.0.0.1:9/m", include=["hparams.json"])})
    run = project.doit(OPENAI_GPT2_BASE_URL="ftp://127.0.0.1/m")
    assert run.status == 2
    assert "OPENAI_GPT2_BASE_URL" in "\n".join(failure_of(run, "models/g/hparams.json"))
    assert "Traceback" not in run.text


@pytest.mark.sampled(keep=3)
@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"version": 1, "models": {', "<<<<<<< HEAD\n", "\x00\x01"]
)
def test_a_damaged_lock(project: Project, server: FaultyServer, text: str) -> None:
    """It is told with status 1, and its advice does not lead back to the same error."""
    project.declare({"one": toy(server, ["a.bin"])})
    assert project.doit().status == 0
    project.lock.write_text(text)
    run = project.doit()
    assert run.status == 1
    assert "models.lock" in run.stderr
    assert "delete it and run `doit lock`" in run.stderr or "Take either side" in run.stderr
    assert "Traceback" not in run.text
    project.lock.unlink()
    assert project.doit("lock").status == 0
    assert project.doit().status == 0


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="needs prlimit")
def test_too_few_descriptors_are_told_with_their_limit(
    project: Project, server: FaultyServer
) -> None:
    """Sixty files at once with 30 descriptors: what fails says why, at once and not as a bug."""
    project.declare({"one": toy(server, [f"{number}.bin" for number in range(60)])})
    assert project.doit("lock").status == 0
    project.before = ["prlimit", "--nofile=30"]
    run = project.doit("-n", "60")
    told = [line for line in run.error_lines if line.startswith("failed models/")]
    assert all(line.endswith(": Too many open files.") for line in told), run.text
    assert run.status == (1 if told else 0)
    assert ("`ulimit -n`" in run.stderr) is bool(told)
    assert "retrying" not in run.text
    project.before = ()
    assert project.doit().status == 0


def test_an_unknown_variable_is_named_once(project: Project, server: FaultyServer) -> None:
    """A run goes on, and says what it does not obey; workers do not repeat it."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    run = project.doit("-n", "2", "-P", "process", MODELMAKE_OFLINE="1")
    assert run.status == 0, run.text
    assert run.stderr.count("Did you mean MODELMAKE_OFFLINE?") == 1
