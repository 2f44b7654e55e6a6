"""What every test gets: servers, a clean environment, and a check that no thread is left."""

import compileall
import os
import random
import shutil
import site
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NoReturn

import pytest
from hypothesis import settings

from downloader import errors
from downloader.network import failures
from tests.e2e.project import WARM
from tests.examples import GIVEN, IN_CI, examples
from tests.servers.azurite import Azurite
from tests.servers.faulty import FaultyServer
from tests.servers.nginx import Nginx
from tests.servers.process import NotInstalled
from tests.servers.registry import DockerRegistry
from tests.strace import Strace

CLEARED = {"CI", "NETRC", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "REQUESTS_CA_BUNDLE"}
CLEARED |= {"CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR", "OPENAI_GPT2_BASE_URL"}
CLEARED |= {"TRANSFORMERS_OFFLINE"}
CLEARED_BEGINNINGS = (
    "MODELMAKE_",
    "HF_",
    "HUGGING",
    "TOGETHER_",
    "AWS_",
    "GOOGLE_",
    "AZURE_",
    "STORAGE_EMULATOR_",
    "XDG_",
    "DOIT_",
)
THREAD_SECONDS = 5.0
REPOSITORY = Path(__file__).parents[1]

settings.register_profile("default", deadline=None, max_examples=examples(100))
settings.register_profile("ci", deadline=None, max_examples=500, print_blob=True)
settings.load_profile("ci" if GIVEN.get(IN_CI) else "default")


def pytest_xdist_auto_num_workers() -> int:
    """Use one worker more than cores: many tests wait, for a process or a server."""
    return len(os.sched_getaffinity(0)) + 1 if sys.platform == "linux" else (os.cpu_count() or 1)


def pytest_configure(config: pytest.Config) -> None:
    """Compile the program once: where Python may not write bytecode, each start would do it."""
    if not hasattr(config, "workerinput"):
        compileall.compile_dir(REPOSITORY / "downloader", quiet=2)


def pytest_sessionfinish() -> None:
    """End what was begun for all tests of this process."""
    WARM.close()


@pytest.fixture(autouse=True)
def _no_secrets_of_other_tests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Forget what other tests sent as credentials: it would be taken out of this one's messages."""
    for name in ("_secrets", "_hints"):
        before = getattr(errors, name)
        monkeypatch.setattr(errors, name, type(before)(before._least))
    for noted_once in (failures._note_url, failures._note_log_in, failures._note_header):
        noted_once.cache_clear()


@pytest.hookimpl(tryfirst=True)  # before pytest's own hook drops what `-m` does not select
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the cases of a `sampled` test as `sweep`, all but the few that it keeps.

    The choice is made by the test's name: it is the same in every run and every worker.
    """
    cases: dict[str, list[pytest.Item]] = {}
    for item in items:
        if item.get_closest_marker("sampled"):
            cases.setdefault(item.nodeid.partition("[")[0], []).append(item)
    for name, found in cases.items():
        mark = found[0].get_closest_marker("sampled")
        assert mark is not None
        found.sort(key=lambda item: item.nodeid)
        count = min(mark.kwargs["keep"], len(found))
        kept = random.Random(name).sample(range(len(found)), count)
        for at, item in enumerate(found):
            if at not in kept:
                item.add_marker(pytest.mark.sweep)


def changes_results(variable: str) -> bool:
    """Return whether an environment variable of a developer could change what a test sees."""
    is_proxy = variable.lower().endswith("_proxy")
    return is_proxy or variable in CLEARED or variable.startswith(CLEARED_BEGINNINGS)


@pytest.fixture(autouse=True)
def clean_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Take away the developer's settings, and give an empty home (netrc, caches, tokens)."""
    for variable in filter(changes_results, list(os.environ)):
        monkeypatch.delenv(variable)
    monkeypatch.setenv("PYTHONUSERBASE", site.getuserbase())  # found by way of the home otherwise
    home = str(tmp_path_factory.mktemp("home"))
    monkeypatch.setenv("HOME", home)
    monkeypatch.setenv("USERPROFILE", home)
    monkeypatch.setenv("MODELMAKE_STORE", "off")  # a test that wants one asks for `store`


@pytest.fixture(autouse=True)
def _starts_of_doit(request: pytest.FixtureRequest) -> None:
    """Start doit anew for each run in CI, but not in sweeps, nor on a developer's machine."""
    anew = "COVERAGE_PROCESS_START" in GIVEN or GIVEN.get(IN_CI)
    WARM.is_wanted = not anew or request.node.get_closest_marker("sweep") is not None


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, clean_environment: None) -> Path:
    """Return the folder of a shared store that this test's runs use; nothing is in it yet."""
    folder = tmp_path / "store"
    monkeypatch.setenv("MODELMAKE_STORE", str(folder))
    return folder


@pytest.fixture(autouse=True)
def no_thread_left(clean_environment: None) -> Iterator[None]:
    """Fail a test that leaves a thread it started, daemon or not."""
    before = set(threading.enumerate())
    yield
    give_up = time.monotonic() + THREAD_SECONDS
    for thread in set(threading.enumerate()) - before:
        thread.join(max(0.0, give_up - time.monotonic()))
    left = [thread.name for thread in set(threading.enumerate()) - before]
    assert not left, f"threads left behind: {left}"


@pytest.fixture
def no_sockets(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Refuse every internet socket and name look-up of this process, and fail the test for it.

    It fails also when the code under test swallows the error. Child processes are not covered.
    """
    opened: list[str] = []
    create = socket.socket.__init__

    def refuse(what: str) -> NoReturn:
        opened.append(what)
        raise AssertionError(f"this must not open a socket: {what}")

    def guarded(self: socket.socket, family: int = -1, *rest: Any, **named: Any) -> None:
        if family in (-1, socket.AF_INET, socket.AF_INET6):
            refuse(f"socket family {family}")
        create(self, family, *rest, **named)

    monkeypatch.setattr(socket.socket, "__init__", guarded)
    monkeypatch.setattr(socket, "getaddrinfo", lambda host, *_, **__: refuse(f"look-up of {host}"))
    yield
    assert not opened, f"sockets opened: {opened}"


@pytest.fixture
def server() -> Iterator[FaultyServer]:
    """Give a FaultyServer that holds nothing yet."""
    with FaultyServer() as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup() -> Generator[None, object, object]:
    """Skip a test one of whose fixtures needs a program that is not installed."""
    with _skipping():
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call() -> Generator[None, object, object]:
    """Skip a test that needs one itself."""
    with _skipping():
        return (yield)


@contextmanager
def _skipping() -> Iterator[None]:
    """Skip where a program is not installed; in CI all of them must be."""
    try:
        yield
    except NotInstalled as reason:
        if GIVEN.get(IN_CI):
            raise
        pytest.skip(str(reason))


@pytest.fixture
def nginx() -> Iterator[Callable[..., Nginx]]:
    """Give a function that starts an nginx with the arguments of `Nginx`, ended with the test."""
    with ExitStack() as running:

        def start(root: Path, extra: str = "", *, http: str = "", main: str = "") -> Nginx:
            return running.enter_context(Nginx(root, extra, http=http, main=main))

        yield start


@pytest.fixture
def docker_registry() -> Iterator[Callable[..., DockerRegistry]]:
    """Give a function that starts docker-registry with the arguments of `DockerRegistry`."""
    with ExitStack() as running:

        def start(*arguments: Any, **named: Any) -> DockerRegistry:
            return running.enter_context(DockerRegistry(*arguments, **named))

        yield start


@pytest.fixture(scope="session")
def azurite() -> Iterator[Azurite]:
    """Give the one Azurite of this session; every test uploads under a name of its own."""
    with Azurite() as running:
        yield running


@pytest.fixture(scope="session")
def curl() -> str:
    """Give the path of curl."""
    found = shutil.which("curl")
    if found is None:
        raise NotInstalled("curl is not installed")
    return found


@pytest.fixture(scope="session")
def strace() -> Strace:
    """Give strace, where it is there and may watch a child (containers may forbid it)."""
    found = shutil.which("strace")
    if found is None:
        raise NotInstalled("strace is not installed")
    tried = subprocess.run([found, "-o", os.devnull, "true"], check=False, capture_output=True)
    if tried.returncode:
        raise NotInstalled(f"strace may not watch: {tried.stderr.decode(errors='replace')}")
    return Strace(found)
