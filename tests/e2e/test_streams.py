"""Streams that are closed, full, read by nobody, or on an odd terminal (row D10)."""

import pytest

from tests.e2e.content import toy, toy_content
from tests.e2e.project import Project
from tests.servers.faulty import FaultyServer

READER_GONE = '{ "$0" "$@"; echo $? >&3; } 3>status | true; exit $(cat status)'
BROKEN = {
    "standard output closed": 'exec "$0" "$@" >&-',
    "standard output full": 'exec "$0" "$@" >/dev/full',
    "reader gone": READER_GONE,
    "standard error closed": 'exec "$0" "$@" 2>&-',
    "standard error full": 'exec "$0" "$@" 2>/dev/full',
}
TERMINALS: dict[str, dict[str, str]] = {
    "dumb": {"TERM": "dumb"},
    "one column": {"COLUMNS": "1"},
    "no column": {"COLUMNS": "0"},
    "a word for columns": {"COLUMNS": "wide"},
    "huge": {"COLUMNS": "1000000"},
    "no name": {"TERM": ""},
    "unknown": {"TERM": "no-such-terminal"},
}


@pytest.fixture
def small(project: Project, server: FaultyServer) -> Project:
    """Give a project of one small file."""
    project.declare({"one": toy(server, ["a.bin"])})
    return project


@pytest.mark.parametrize("command", BROKEN.values(), ids=BROKEN.keys())
def test_a_stream_that_takes_nothing(small: Project, command: str) -> None:
    """The file comes all the same, and where something can still be said it is no traceback."""
    small.before = ["sh", "-c", command]
    run = small.doit()
    assert small.target("one", "a.bin").read_bytes() == toy_content("a.bin")
    assert run.status == 0
    assert "Traceback" not in run.text
    assert "an error in modelmake itself" not in run.text
    assert small.locked("one")["a.bin"]["sha256"]
    small.before = ()
    assert small.doit().stdout == "Nothing to do.\n"


def test_a_list_that_nobody_reads(small: Project) -> None:
    """`doit list | head -1` ends without a word, whenever `head` has enough."""
    small.before = ["sh", "-c", READER_GONE]
    run = small.doit("list")
    assert run.stderr == ""


@pytest.mark.parametrize("words", [("help",), ("help", "task"), ("tabcompletion",)])
def test_a_help_that_nobody_reads(small: Project, words: tuple[str, ...]) -> None:
    """That is no file which doit cannot use, and no bug."""
    small.before = ["sh", "-c", READER_GONE]
    run = small.doit(*words, PYTHONUNBUFFERED="1")
    assert (run.status, run.stderr) == (0, "")


def test_a_report_that_a_full_disk_takes_nothing_of(small: Project) -> None:
    """The file that doit's -o names may be on a full disk: the models come all the same."""
    run = small.doit("run", "-o", "/dev/full")
    assert run.status == 0
    assert "Traceback" not in run.stderr
    assert small.target("one", "a.bin").exists()


@pytest.mark.parametrize("variables", TERMINALS.values(), ids=TERMINALS.keys())
def test_an_odd_terminal(small: Project, variables: dict[str, str]) -> None:
    """Where no terminal is written to, its kind and width change nothing."""
    run = small.doit(**variables)
    assert run.status == 0, run.text
    assert "\x1b" not in run.text
    assert "\r" not in run.text
    locked, line = run.error_lines
    assert locked.startswith("locked one: ")
    assert line.startswith("fetched models/one/a.bin (1.0 kB")
