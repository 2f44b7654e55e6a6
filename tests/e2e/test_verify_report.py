"""What `doit verify` tells apart, what it notes, and what it needs for that."""

import json
import os
import re
import signal
from pathlib import Path

import pytest

from tests.e2e.content import pinned_toy, toy, toy_content
from tests.e2e.project import Project, finish
from tests.e2e.watching import injected, without_sockets
from tests.servers.faulty import FaultyServer

NAMES = ["a.bin", "b.bin", "c.bin", "d.bin", "e.bin"]
HUGE_BYTES = 40 << 30
"""With holes in place of bytes: it takes no room, and half a minute to hash."""


@pytest.fixture
def fetched(project: Project, server: FaultyServer) -> Project:
    """Give a project with two models, all of whose files are there."""
    project.declare({"one": pinned_toy(server, NAMES), "two": toy(server, ["sub/x.bin"])})
    assert project.doit().status == 0
    return project


def rot(target: Path) -> None:
    """Change a byte as a bad disk does: size and time stay."""
    before = target.stat()
    target.write_bytes(b"x" + target.read_bytes()[1:])
    os.utime(target, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_each_kind_is_told_apart(fetched: Project) -> None:
    """What is missing, no file, changed and extra stands in groups, counted in the last line."""
    fetched.target("one", "e.bin").write_bytes(b"short")
    fetched.target("one", "b.bin").unlink()
    fetched.target("one", "c.bin").unlink()
    fetched.target("one", "c.bin").mkdir()
    fetched.target("one", "d.bin").unlink()
    fetched.target("two", "notes.txt").write_text("mine")
    run = fetched.doit("verify")
    assert run.status == 1
    *told, last = run.stdout.splitlines()
    assert told == [
        "missing: one/b.bin (expected 1,000 bytes)",
        "missing: one/d.bin (expected 1,000 bytes)",
        "wrong kind: one/c.bin is a folder, expected a file",
        "changed: one/e.bin is 5 bytes, expected 1,000",
        "extra: two/notes.txt is 4 bytes, and not in models.lock",
    ]
    counts = "verified 6 files: 2 right, 2 missing, 1 wrong kind, 1 changed, 1 extra; "
    assert last.startswith(counts)
    assert "4 files are not as models.lock says" in run.stderr


def test_what_is_not_pinned_is_not_repaired(project: Project, server: FaultyServer) -> None:
    """Nothing proved it wrong: the hint names what pins it, and `--repair` only beside the bad."""
    models = {name: toy(server, [f"{name}.bin"]) for name in ("one", "two")}
    project.declare(models)
    assert project.doit("lock").status == 0
    for name in models:
        project.target(name, f"{name}.bin").parent.mkdir(parents=True)
        project.target(name, f"{name}.bin").write_bytes(bytes(1000))
    run = project.doit("verify", "one", "two")
    assert run.status == 1
    assert run.error_lines[1:] == ["  Run `doit fetch:one fetch:two` to pin what is unpinned."]
    assert project.doit("fetch:one").status == 0
    project.target("one", "one.bin").unlink()
    hint = project.doit("verify", "one", "two").error_lines[1]
    assert hint.startswith("  Run `doit verify --repair` to download again what is bad. Run `doit ")
    assert hint.endswith("`doit fetch:two` to pin what is unpinned.")


def test_before_the_first_download_it_names_the_models_and_doit(
    project: Project, server: FaultyServer
) -> None:
    """A line a model says it all, and there is nothing to repair."""
    project.declare(
        {
            "one": pinned_toy(server, NAMES),
            "two": pinned_toy(server, ["x.bin"]),
            "spare": pinned_toy(server, ["y.bin"], optional=True),
        }
    )
    assert project.doit("lock").status == 0
    run = project.doit("verify")
    assert run.status == 1
    assert run.stdout.splitlines() == [
        "not here: one (5 files)",
        "not here: two (1 file)",
        "verified 6 files: 6 missing",
    ]
    assert "Nothing is here.\n  Run `doit` to download what is not here." in run.stderr
    assert "--repair" not in run.stderr
    assert "`doit fetch:spare`" in project.doit("verify", "spare").stderr
    assert project.doit("fetch:one").status == 0
    assert "1 file is not here." in project.doit("verify").stderr
    project.target("one", "a.bin").unlink()
    mixed = project.doit("verify")
    assert mixed.stdout.splitlines()[:2] == [
        "not here: two (1 file)",
        "missing: one/a.bin (expected 1,000 bytes)",
    ]
    assert "`doit verify --repair`" in mixed.stderr


def test_repair_is_advised_only_where_it_can_help(fetched: Project) -> None:
    """A folder in its place, a link that leads out, no network: what helps there is said."""
    target = fetched.target("two", "sub/x.bin")
    target.unlink()
    target.mkdir()
    run = fetched.doit("verify", "two")
    assert run.status == 1
    assert "--repair" not in run.stderr
    assert "is a folder. Move it away" in run.stderr
    target.rmdir()
    assert "`doit verify --repair`" in fetched.doit("verify", "two").stderr
    offline = fetched.doit("verify", "two", MODELMAKE_OFFLINE="1")
    assert "--repair" not in offline.stderr
    assert "MODELMAKE_OFFLINE" in offline.stderr
    target.parent.rmdir()
    target.parent.symlink_to(fetched.folder.parent)
    linked = fetched.doit("verify", "two")
    assert "--repair" not in linked.stderr
    assert "leads out of models/two" in linked.stderr
    fetched.target("one", "a.bin").unlink()
    assert "`doit verify --repair`" in fetched.doit("verify").stderr


@pytest.mark.parametrize("words", [["verify"], ["plan"], ["outdated"]])
def test_what_a_command_finds_is_not_told_as_its_failure(
    fetched: Project, server: FaultyServer, words: list[str]
) -> None:
    """The exit status is 1, the text says what was found; what broke is a failure as before."""
    server.put("/toy/sub/x.bin", b"newer")
    fetched.target("two", "sub/x.bin").unlink()
    run = fetched.doit(*words, **({"MODELMAKE_OFFLINE": "1"} if words == ["plan"] else {}))
    assert run.status == 1
    assert "failed" not in run.stderr
    told = fetched.doit(*words, MODELMAKE_PROGRESS="json", MODELMAKE_OFFLINE="1")
    (event,) = [json.loads(line) for line in told.error_lines if '"failed"' in line]
    assert "is_finding" not in event
    assert event["task"] == words[0]


def test_an_extra_file_is_no_failure(fetched: Project) -> None:
    """All that was asked for is there: a note of one's own beside it changes no exit status."""
    fetched.target("two", "sub/notes.txt").write_text("mine")
    run = fetched.doit("verify", "two")
    assert run.status == 0, run.text
    assert "extra: two/sub/notes.txt is 4 bytes" in run.stdout
    assert fetched.target("two", "sub/notes.txt").read_text() == "mine"


def test_what_another_model_keeps_in_the_folder_is_not_extra(
    project: Project, server: FaultyServer
) -> None:
    """Folders that models share, or that lie in one another, hold no file too many."""
    project.declare(
        {
            "one": toy(server, ["a.bin"], to="all"),
            "two": toy(server, ["b.bin"], to="all"),
            "three": toy(server, ["c.bin"], to="all/three"),
        }
    )
    assert project.doit().status == 0
    run = project.doit("verify", "one")
    assert run.status == 0
    assert "extra" not in run.stdout
    (project.folder / "all/d.bin").write_bytes(b"d")
    assert project.doit("verify").stdout.count("extra: ") == 1


def test_of_many_extra_files_some_are_named(fetched: Project) -> None:
    """A folder full of other things does not hide what is bad."""
    for number in range(30):
        fetched.target("two", f"{number}.txt").write_text("mine")
    run = fetched.doit("verify", "two")
    assert run.stdout.count("extra: two/") == 20
    assert "extra: and 10 more" in run.stdout
    assert "30 extra; " in run.stdout


def test_without_a_lock_it_says_what_to_do(project: Project, server: FaultyServer) -> None:
    """Nothing says which bytes are right: that is told, with the command that mends it."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    run = project.doit("verify")
    assert run.status == 1
    assert "There is no models.lock" in run.stderr
    assert "`doit lock`" in run.stderr


def test_a_model_that_is_not_locked_as_it_is_asked_for(
    fetched: Project, server: FaultyServer
) -> None:
    """The others are verified, this one is named, and the status is 1."""
    fetched.declare({"one": pinned_toy(server, NAMES), "two": toy(server, ["new.bin"])})
    run = fetched.doit("verify")
    assert run.status == 1
    assert run.stdout.startswith("verified 5 files: 5 right; ")
    assert "two" in run.stderr
    assert "`doit lock`" in run.stderr


def test_options_may_follow_the_names(fetched: Project, server: FaultyServer) -> None:
    """`verify NAME --repair` does what `verify --repair NAME` does."""
    fetched.target("one", "a.bin").unlink()
    before = len(server.requests)
    run = fetched.doit("verify", "one", "--repair")
    assert run.status == 0, run.text
    assert {seen.path for seen in server.requests[before:]} == {"/toy/a.bin"}


@pytest.mark.parametrize("word", ["--mend", "--repair=yes", "-r"])
def test_an_option_that_is_not_there(fetched: Project, word: str) -> None:
    """A slip is told with the options that there are, and nothing is read."""
    run = fetched.doit("verify", "one", word)
    assert run.status == 3
    assert f"option {word.partition('=')[0]}" in run.stderr
    assert "--repair" in run.stderr
    assert run.stdout == ""


def test_what_it_found_right_is_read_no_second_time(fetched: Project, server: FaultyServer) -> None:
    """A folder that was copied without its times and receipts is hashed once, by `verify`."""
    fetched.receipts("one").unlink()
    assert fetched.doit("verify").status == 0
    assert fetched.doit().stdout == "Nothing to do.\n"


def test_what_holds_is_not_noted_again(fetched: Project) -> None:
    """A receipt that still holds stays as it is, so that the file of them does not grow."""
    before = fetched.receipts("one").read_bytes()
    assert fetched.doit("verify").status == 0
    assert fetched.receipts("one").read_bytes() == before


def test_rot_it_found_is_fetched_by_the_next_run(fetched: Project) -> None:
    """The receipt of a file that proved bad is believed no longer, though size and time hold."""
    rot(fetched.target("one", "a.bin"))
    assert fetched.doit().stdout == "Nothing to do.\n"
    assert fetched.doit("verify").status == 1
    assert fetched.doit("info", "fetch:one/a.bin").status == 1
    assert "1 fetched" in fetched.doit().stdout
    assert fetched.target("one", "a.bin").read_bytes() == toy_content("a.bin")


def test_a_folder_that_takes_no_receipt_can_be_verified(fetched: Project) -> None:
    """What cannot be noted is told, and the verdict is the same."""
    fetched.receipts("one").unlink()
    fetched.receipts("one").mkdir()
    run = fetched.doit("verify")
    assert run.status == 0, run.text
    assert "verified 6 files: 6 right" in run.stdout
    assert "could not be noted" in run.stderr


def test_no_socket_is_opened(fetched: Project, tmp_path: Path) -> None:
    """A whole verify works where making a socket ends the program."""
    run = fetched.doit("verify", **without_sockets(tmp_path / "no-sockets"))
    assert run.status == 0, run.text


def test_a_signal_ends_it_soon(project: Project, server: FaultyServer, tmp_path: Path) -> None:
    """Ctrl-C in the middle of large files ends in one line, and not after the last of them."""
    project.declare({"one": pinned_toy(server, NAMES)})
    assert project.doit().status == 0
    text = project.lock.read_text()
    project.lock.write_text(text.replace('"size":1000', f'"size":{HUGE_BYTES}'))
    for name in NAMES:
        os.truncate(project.target("one", name), HUGE_BYTES)
    often = "from downloader.progress import display; display.HEARTBEAT_SECONDS = 0.05"
    running = project.start("verify", **injected(tmp_path / "often", often))
    assert running.stderr is not None
    line = running.stderr.readline()
    running.send_signal(signal.SIGINT)
    run = finish(running)
    assert re.fullmatch(r"verifying: .+ of 214\.7 GB, .+/s, \S+ s left\n", line), line
    assert run.status == 130
    assert run.error_lines[-1] == "Interrupted. Run it again to resume."
    assert all(each.startswith("verifying: ") for each in run.error_lines[:-1])
