"""`wait: true` through `doit`: other models go on, and Ctrl-C ends it."""

import signal
import threading
import time
from collections.abc import Iterator

import pytest

from tests.e2e.content import toy, toy_content
from tests.e2e.project import Project, finish
from tests.e2e.together.projects import DOWNLOAD, JOB, LOOK, STEM, bot, usual_checkpoints
from tests.e2e.watching import wait_until
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer
from tests.servers.together.server import TogetherServer

GOES_ON = "Interrupted. Run it again to resume."
END_SECONDS = 10.0
"""Generous: two seconds are promised, and the machine may be busy."""


@pytest.fixture
def together(project: Project) -> Iterator[TogetherServer]:
    """Give the fake with a job that still trains, and an entry that waits for it."""
    with TogetherServer() as server:
        server.add_job(JOB, checkpoints=usual_checkpoints(), status="running")
        project.variables |= {"TOGETHER_API_KEY": server.key, "TOGETHER_BASE_URL": server.url}
        project.declare({"bot": bot(wait=True)})
        yield server


def test_other_models_are_fetched_meanwhile(
    project: Project, together: TogetherServer, server: FaultyServer
) -> None:
    """The job is completed only when the other model is there; then the run ends."""
    project.declare({"bot": bot(wait=True), "toy": toy(server, ["a.bin"])})
    process = project.start()
    wait_until(lambda: project.target("toy", "a.bin").exists())
    together.job(JOB).status = "completed"
    run = finish(process)

    assert run.status == 0, run.text
    assert project.target("toy", "a.bin").read_bytes() == toy_content("a.bin")
    assert project.target("bot", f"{STEM}.tar.zst").is_file()
    assert f"bot: {JOB} is running; waiting" in run.stderr


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["int", "term"]
)
@pytest.mark.parametrize("threads", ["4", "0"])
def test_a_wait_ends_with_the_run(
    project: Project,
    together: TogetherServer,
    number: signal.Signals,
    status: int,
    threads: str,
) -> None:
    """Ctrl-C during a wait of minutes: at once, one line, the status of shells."""
    process = project.start("-n", threads)
    assert process.stderr is not None
    assert process.stderr.readline().endswith("is running; waiting\n")
    began = time.monotonic()
    process.send_signal(number)
    run = finish(process)

    assert time.monotonic() - began < END_SECONDS
    assert run.status == status
    assert run.error_lines[-1] == GOES_ON
    assert "Traceback" not in run.text


@pytest.mark.parametrize("path", [LOOK, DOWNLOAD])
def test_an_api_that_stalls_ends_with_the_run(
    project: Project, together: TogetherServer, path: str
) -> None:
    """Ctrl-C while the API says nothing is not held up by its silence."""
    never = threading.Event()
    together.job(JOB).status = "completed"
    together.api.always(path, timing.stall_before_headers(never))
    process = project.start()
    wait_until(lambda: path in [seen.path for seen in together.requests])
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    run = finish(process)
    never.set()

    assert time.monotonic() - began < END_SECONDS
    assert (run.status, run.stderr) == (130, f"{GOES_ON}\n")


def test_a_job_that_is_cancelled_ends_the_wait(project: Project, together: TogetherServer) -> None:
    """cancel_requested may last for ever, and does not hang."""
    together.job(JOB).status = "cancel_requested"
    run = project.doit()

    assert run.status == 1
    assert "ended without a model: its state is cancel_requested" in run.stderr
