"""Several files at once, and several programs at once."""

import threading

from tests.e2e.content import GPT2_FILES, gpt2, put_all, small_gpt2, toy, toy_content
from tests.e2e.project import Project, finish
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults.statuses import status
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply

PATIENCE_SECONDS = 30.0


def answered_when(count: int) -> Fault:
    """Return a fault: no body is sent before so many were asked for; 500 where that never comes."""
    lock, are_there = threading.Lock(), threading.Event()
    waiting: list[str] = []

    def fault(exchange: Exchange, reply: Reply) -> Reply:
        if "Range" in exchange.request.headers:
            return reply
        with lock:
            waiting.append(exchange.request.path)
            if len(waiting) == count:
                are_there.set()
        if are_there.wait(PATIENCE_SECONDS):
            return reply
        return status(500, b"nobody else came")(exchange, reply)

    return fault


def always(server: FaultyServer, paths: list[str], fault: Fault) -> None:
    """Use one fault for all of these paths."""
    for path in paths:
        server.always(path, fault)


def test_four_files_are_asked_for_at_once(project: Project, server: FaultyServer) -> None:
    """A model of seven files completes with a server that waits for four requests."""
    put_all(server.put, "/m/355M", small_gpt2())
    always(server, [f"/m/355M/{name}" for name in GPT2_FILES], answered_when(4))
    project.declare({"g": gpt2("355M", server.url("/m"))})
    run = project.doit(OPENAI_GPT2_BASE_URL="", MODELMAKE_RETRIES="1")
    assert run.status == 0, run.text
    assert "7 fetched" in run.stdout


def test_two_programs_at_once_on_one_project(project: Project, server: FaultyServer) -> None:
    """Both go well and end right, and between them they fetch each file once."""
    project.declare({"one": toy(server, ["a.bin", "b.bin"])})
    always(server, ["/toy/a.bin", "/toy/b.bin"], answered_when(2))
    running = [project.start(MODELMAKE_RETRIES="1") for _ in range(2)]
    runs = [finish(each) for each in running]
    assert [run.status for run in runs] == [0, 0], runs
    bodies = [seen.path for seen in server.requests if "Range" not in seen.headers]
    assert sorted(bodies) == ["/toy/a.bin", "/toy/b.bin"]
    assert_right_and_done(project, ["a.bin", "b.bin"])


def test_two_programs_at_once_on_models_of_their_own(
    project: Project, server: FaultyServer
) -> None:
    """What each pins on first use is in models.lock afterwards, whoever wrote last."""
    project.declare({"one": toy(server, ["a.bin"]), "two": toy(server, ["b.bin"])})
    assert project.doit("lock").status == 0
    always(server, ["/toy/a.bin", "/toy/b.bin"], answered_when(2))
    running = [project.start(f"fetch:{name}") for name in ("one", "two")]
    runs = [finish(each) for each in running]
    assert [run.status for run in runs] == [0, 0], runs
    before = len(server.requests)
    assert project.doit().status == 0
    assert len(server.requests) == before
    assert "sha256" in project.locked("one")["a.bin"]
    assert "sha256" in project.locked("two")["b.bin"]


def assert_right_and_done(project: Project, names: list[str]) -> None:
    """Check the files of model one, and that a further run has nothing to do."""
    for name in names:
        assert project.target("one", name).read_bytes() == toy_content(name)
    run = project.doit()
    assert (run.status, run.stdout) == (0, "Nothing to do.\n"), run.text
    assert list(project.target("one", ".modelmake/partials").iterdir()) == []
