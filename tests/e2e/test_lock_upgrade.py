"""`doit lock --upgrade`: what moves is told, what would go back is refused, names choose."""

import pytest

from tests.e2e.content import pinned_toy, toy
from tests.e2e.project import Project
from tests.e2e.together.projects import JOB, bot
from tests.servers.faulty import FaultyServer
from tests.servers.together.archives import merged_archive
from tests.servers.together.server import TogetherServer


def test_names_choose_who_is_asked_and_changed(project: Project, server: FaultyServer) -> None:
    """Only the named model is asked and moved; what is declared no more waits for a whole lock."""
    models = {name: toy(server, [f"{name}.bin"]) for name in ("one", "two", "old")}
    project.declare(models)
    assert project.doit("lock").status == 0
    del models["old"]
    project.declare(models)
    for name in models:
        server.put(f"/toy/{name}.bin", b"x" * 2000)
    asked = len(server.requests)
    run = project.doit("lock", "--upgrade", "two")
    assert (run.status, run.stdout.splitlines()) == (
        0,
        [
            (
                "changed two: 1 file, 1,000 bytes -> 1 file, 2,000 bytes, "
                "1 without a digest (pinned on first download)"
            ),
            "  changed two.bin: 1,000 bytes -> 2,000 bytes",
        ],
    )
    assert [seen.path for seen in server.requests[asked:]] == ["/toy/two.bin"]
    assert project.locked("one")["one.bin"]["size"] == 1000
    assert project.locked("old")
    assert project.doit("lock").stdout == "dropped old: no longer in models.yaml\n"


def test_a_name_that_is_not_there(project: Project, server: FaultyServer) -> None:
    """It is an error that says what is close to it; nobody is asked."""
    project.declare({"one": toy(server, ["a.bin"])})
    for words in (["--upgrade"], ["--check"], []):
        run = project.doit("lock", *words, "none")
        assert run.status == 3
        assert "declares no model 'none'.\n  Did you mean one?" in run.stderr
    assert server.requests == []


def test_of_many_changes_the_first_and_a_count(project: Project, server: FaultyServer) -> None:
    """Seven files come and one goes: five lines, then how many more of each kind."""
    project.declare({"one": toy(server, ["z.bin"])})
    assert project.doit("lock").status == 0
    project.declare({"one": toy(server, [f"{number}.bin" for number in range(7)])})
    run = project.doit("lock")
    assert run.stdout.splitlines()[0].startswith("changed one: 1 file, 1,000 bytes -> 7 files, 7,0")
    assert run.stdout.splitlines()[1:] == [
        *(f"  added {number}.bin: 1,000 bytes" for number in range(5)),
        "  and 2 added, 1 removed",
    ]


@pytest.mark.parametrize("left", [10, 20])
def test_going_back_is_refused_until_it_is_allowed(
    project: Project, together: TogetherServer, left: int
) -> None:
    """An older newest step, or fewer checkpoints: the lock stays, and how to take it is told."""
    project.declare({"bot": bot(checkpoint="all")})
    assert project.doit("lock").status == 0
    text = project.lock.read_bytes()
    together.job(JOB).checkpoints = {left: {"merged": merged_archive(left)}}
    run = project.doit("lock", "--upgrade")
    assert run.status == 1
    assert run.stderr.startswith("failed lock: bot stays as it was locked: it would go back: ")
    assert run.error_lines[1:] == [
        "  If that is meant: `doit lock --upgrade --allow-downgrade bot`."
    ]
    assert project.lock.read_bytes() == text
    run = project.doit("lock", "--upgrade", "bot", "--allow-downgrade")
    assert run.status == 0, run.text
    assert f"changed bot: steps 10, 20 -> {left}; 2 files, " in run.stdout


def test_another_wish_is_no_downgrade(project: Project, together: TogetherServer) -> None:
    """Who writes an older step into models.yaml gets it without a further word."""
    project.declare({"bot": bot(checkpoint=20)})
    assert project.doit("lock").status == 0
    project.declare({"bot": bot(checkpoint=10)})
    assert project.doit("lock").status == 0
    assert project.doit("lock", "--upgrade").status == 0


def test_several_failures_are_a_line_each(project: Project, together: TogetherServer) -> None:
    """Each model with its own reason and hint; a hint that all share stands once."""
    missing = {name: bot(job=f"ft-0000-{number}") for number, name in enumerate(["b", "c"])}
    project.declare({"a": bot(checkpoint=999), **missing, "fine": bot()})
    run = project.doit("lock")
    assert run.status == 1
    assert run.stdout.startswith("locked fine: ")
    hint = "Find it with `together fine-tuning list`. The key must be of its project."
    assert run.error_lines == [
        "failed lock: 3 models could not be locked; the others are.",
        f"  a: {JOB} has no checkpoint of step 999.",
        "    It has steps 10, 20.",
        "  b: Together AI knows no job ft-0000-0.",
        f"    {hint}",
        "  c: Together AI knows no job ft-0000-1.",
        f"    {hint}",
    ]
    project.declare(missing)
    assert project.doit("lock").error_lines[1:] == [
        "  b: Together AI knows no job ft-0000-0.",
        "  c: Together AI knows no job ft-0000-1.",
        f"  {hint}",
    ]


def test_a_dead_server_takes_nothing_away(project: Project, server: FaultyServer) -> None:
    """What was known of a file stays locked when an upgrade finds nobody to ask."""
    with FaultyServer() as dead:
        project.declare({"one": toy(dead, ["a.bin"]), "two": pinned_toy(server, ["b.bin"])})
        assert project.doit("lock").status == 0
    text = project.lock.read_bytes()
    run = project.doit("lock", "--upgrade")
    assert run.status == 0
    assert "same one: 1 file, 1,000 bytes" in run.stdout
    assert "one/a.bin: size unknown: The connection" in run.stdout
    assert project.lock.read_bytes() == text


@pytest.mark.parametrize("variable", ["MODELMAKE_LOCKED", "CI"])
def test_an_upgrade_is_refused_where_the_lock_may_not_be_written(
    project: Project, server: FaultyServer, variable: str
) -> None:
    """Before anybody is asked; `doit outdated` is named as the way to look."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    asked = len(server.requests)
    run = project.doit("lock", "--upgrade", **{variable: "1"})
    assert run.status == 1
    assert f"{variable} forbids it" in run.stderr
    assert "`doit outdated`" in run.stderr
    assert len(server.requests) == asked
