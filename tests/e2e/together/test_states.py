"""Jobs that are not completed: what is said of them, and waiting for one that still trains."""

import threading
from collections import deque
from pathlib import Path

import pytest

from downloader.errors import Interrupted, LockError, SourceError
from downloader.operations import lock as locking
from downloader.operations.sync import sync_models
from downloader.sources import together as source
from downloader.sources.together import TogetherEntry
from tests.e2e.together.projects import JOB, LOOK, bot, files, locked_archives, usual_checkpoints
from tests.projects import declare, gpt2, http, lock, lock_saying, project, session
from tests.servers.exchange import Exchange
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.servers.together.server import TogetherServer

TRAINING = ["pending", "queued", "running", "compressing", "uploading", "Something-New"]
OVER = ["cancelled", "cancel_requested", "error", "user_error"]
PATIENCE_SECONDS = 20.0


@pytest.mark.parametrize("state", TRAINING)
def test_a_job_in_training_says_when_to_come_back(
    tmp_path: Path, together: TogetherServer, state: str
) -> None:
    """The state is named, a new one too, and `wait: true`; one look-up, no download."""
    together.job(JOB).status = state
    with pytest.raises(LockError, match=f"not completed: its state is {state.lower()}") as caught:
        lock(tmp_path, {"m": bot()})

    assert "`wait: true`" in caught.value.hint
    assert [seen.path for seen in together.requests] == [LOOK]


@pytest.mark.parametrize("state", OVER)
@pytest.mark.parametrize("wait", [False, True])
def test_a_job_that_ends_without_a_model_is_not_waited_for(
    tmp_path: Path, together: TogetherServer, state: str, wait: bool
) -> None:
    """cancel_requested may stay for ever; so it is an end, and waiting does not hang on it."""
    together.job(JOB).status = state
    with pytest.raises(LockError, match=f"ended without a model: its state is {state}"):
        lock(tmp_path, {"m": bot(wait=wait)})

    assert len(together.requests) == 1


def test_a_state_is_shown_only_as_far_as_it_is_a_word(
    tmp_path: Path, together: TogetherServer
) -> None:
    """What the API says cannot write to the terminal."""
    together.job(JOB).status = "\x1b[2Jrunning" + "x" * 1000
    with pytest.raises(LockError) as caught:
        lock(tmp_path, {"m": bot()})

    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 200


def test_waiting_ends_when_the_job_is_completed(
    tmp_path: Path, together: TogetherServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """`wait: true` asks again until there is a model, and says each state once."""
    together.job(JOB).next_statuses = deque(["pending", "running", "running", "completed"])
    lock(tmp_path, {"m": bot(wait=True)})

    assert [seen.path for seen in together.requests].count(LOOK) == 4
    assert capsys.readouterr().err.splitlines() == [
        f"m: {JOB} is pending; waiting",
        f"m: {JOB} is running; waiting",
    ]


def test_waiting_ends_when_the_job_fails(tmp_path: Path, together: TogetherServer) -> None:
    """A job that fails meanwhile is told as one that failed."""
    together.job(JOB).next_statuses = deque(["running", "cancel_requested", "running"])
    with pytest.raises(LockError, match="its state is cancel_requested"):
        lock(tmp_path, {"m": bot(wait=True)})

    assert len(together.requests) == 2


def test_waiting_outlives_a_server_that_is_busy(tmp_path: Path, together: TogetherServer) -> None:
    """A 503 in the middle of a long wait is no end of it."""
    together.job(JOB).next_statuses = deque(["running", "completed"])
    together.api.script(LOOK, statuses.status(200, b"{}"), statuses.busy())
    together.api.script(LOOK, statuses.busy("0"))
    with pytest.raises(LockError, match="unknown state"):
        lock(tmp_path, {"m": bot()})
    lock(tmp_path, {"m": bot(wait=True)}, retries=5)

    assert locked_archives(tmp_path)


def test_the_time_between_two_looks_grows_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two seconds, half as much again each time, a minute at most: a training takes hours."""
    assert source.FIRST_WAIT_SECONDS == 2.0
    delays: list[float] = []

    class Patient:
        def read(self, _: object) -> bytes:
            if len(delays) == 12:
                return b'{"status": "error"}'
            return b'{"status": "running"}'

        def wait(self, _: str, delay_seconds: float) -> None:
            delays.append(delay_seconds)

    monkeypatch.setenv("TOGETHER_API_KEY", "k")
    with pytest.raises(SourceError, match="ended without a model"):
        source.Together(TogetherEntry(job=JOB, wait=True)).resolve(Patient())  # type: ignore[arg-type]

    assert delays[:3] == [2.0, 3.0, 4.5]
    assert max(delays) == delays[-1] == 60.0


def test_a_wait_is_ended_from_outside(tmp_path: Path, together: TogetherServer) -> None:
    """Who sets `stop` need not wait until the next look."""
    together.job(JOB).status = "running"
    declare(tmp_path, {"m": bot(wait=True)})
    asked = project(tmp_path)
    with session(asked) as ended:
        ended.transport.stop.set()
        with pytest.raises(Interrupted):
            locking.lock_asked(asked, asked.named("m"), ended)


def test_one_step_can_be_had_while_the_job_runs(tmp_path: Path, together: TogetherServer) -> None:
    """A step is asked for in any state but pending; the refusal names step, job and state."""
    together.job(JOB).status = "running"
    with pytest.raises(LockError, match=f"does not serve step 10 of {JOB}, which is running"):
        lock(tmp_path, {"m": bot(checkpoint=10)})
    together.job(JOB).status = "pending"
    with pytest.raises(LockError, match="not completed"):
        lock(tmp_path, {"m": bot(checkpoint=10)})


def test_a_model_that_waits_holds_up_no_other(
    tmp_path: Path, together: TogetherServer, server: FaultyServer
) -> None:
    """Where the job is completed only after the other model's file was fetched, `sync` ends."""
    is_fetched = threading.Event()
    together.job(JOB).status = "running"
    server.put("/other.bin", b"weights")

    def fetched(exchange: Exchange, reply: Reply) -> Reply:
        is_fetched.set()
        return reply

    def look(exchange: Exchange, reply: Reply) -> Reply:
        if is_fetched.wait(PATIENCE_SECONDS):
            together.job(JOB).status = "completed"
        return reply

    server.always("/other.bin", fetched)
    together.api.always(LOOK, look)
    lock(tmp_path, {"other": http(server.url("/other.bin"))}, is_offline=True)
    declare(tmp_path, {"m": bot(wait=True), "other": http(server.url("/other.bin"))})
    sync_models(None, tmp_path)

    assert is_fetched.is_set()
    assert files(tmp_path) == {locked_archives(tmp_path)[0].path}
    assert files(tmp_path, "other") == {"other.bin"}


def test_a_model_that_waits_holds_up_the_lock_of_no_other(
    tmp_path: Path, together: TogetherServer
) -> None:
    """Each model is written and told as it comes: first what needs no provider."""
    is_told = threading.Event()
    together.add_job("ft-00", checkpoints=usual_checkpoints())
    together.job(JOB).status = "running"

    def look(_: Exchange, reply: Reply) -> Reply:
        if is_told.wait(PATIENCE_SECONDS):
            together.job(JOB).status = "completed"
        return reply

    together.api.always(LOOK, look)
    told: list[str] = []

    def say(line: str) -> None:
        name = line.partition(":")[0].removeprefix("locked ")
        told.append(name)
        assert name in project(tmp_path).lockfile.models
        if name == "b":
            is_told.set()

    models = {"a": bot(wait=True), "b": bot(job="ft-00", to="b"), "c": gpt2("124M")}
    lock_saying(project(tmp_path, models), say)
    assert told == ["c", "b", "a"]


def test_whoever_ends_a_lock_ends_its_waits(tmp_path: Path, together: TogetherServer) -> None:
    """Ctrl-C while one model is told: no thread goes on waiting for another's training."""
    together.add_job("ft-00", checkpoints=usual_checkpoints())
    together.job(JOB).status = "running"
    declared = project(tmp_path, {"a": bot(wait=True), "b": bot(job="ft-00")})

    def interrupted(_: str) -> None:
        raise KeyboardInterrupt

    with session(declared) as own, pytest.raises(KeyboardInterrupt):
        locking.lock(declared, own, interrupted)
    assert own.transport.stop.is_set()
    assert project(tmp_path).lockfile.models.keys() == {"b"}
