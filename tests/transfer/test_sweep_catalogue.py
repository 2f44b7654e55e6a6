"""Every fault of the faulty server, six ways: the law of the target, and nothing left behind.

The catalogue is read from the modules in tests/servers/faults, so that a new fault is swept as soon
as it is written; one whose arguments have no default needs a line in ARGUMENTS.
"""

import contextlib
import importlib
import inspect
import pkgutil
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from msgspec import structs

from downloader.artifact import Artifact
from downloader.errors import IntegrityError, ModelmakeError, SourceError, TransferError
from downloader.fs.rooted_path import close_idle_folders
from downloader.settings import Settings
from tests.servers import faults
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import honest, timing
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.transfer.desk import BODY, CANARY, OLD, PATH, Desk, pinned, sha256, unpinned

SETTINGS = Settings(timeout_seconds=0.25, retries=2, max_wait_seconds=1.0, connections=1)
HAVE = 100_000
MANY = BODY * 14
"""Enough for a second connection."""

ARGUMENTS: dict[str, tuple[tuple[Any, ...], ...]] = {
    "framing.content_length": (("{n}", "{n}"), ("{n}, {n}",), ("{n}", "5"), ("-1",), ("9" * 30,)),
    "framing.transfer_encoding": (("gzip, chunked",), ("chunked, identity",), ("unknown",)),
    "heads.interim": ((100,), (102,), (103, 103)),
    "heads.status_line": (("HTTP/1.1 2OO OK",), ("HTTP/1.1",), ("",)),
    "heads.header": (("Content-Length",), ("Content-Type", "text/html"), ("Location", "/other")),
    "statuses.status": tuple((code,) for code in (204, 206, 304, 400, 401, 403, 404, 405, 410))
    + tuple((code,) for code in (412, 416, 418, 451, 500, 599, 600, 999)),
    "statuses.redirect": (("/elsewhere",), (None,), ("ftp://127.0.0.1/model.bin",), ("//",)),
    "timing.drop_after": ((0,), (50_000,)),
    "timing.stall_after": ((0,), (1000,)),
    "timing.drip": ((1 << 16, 0.001),),
    "timing.drip_headers": ((20, 0.001),),
    "validators.etag": (('"v2"',), ('W/"v2"',), ("",), ("no quotes",)),
    "validators.blind": ((), ("If-Match",)),
    "ranges.claims": ((None,), ("bytes 0-0/1",), ("nonsense",), ("bytes {start}-{last}/{last}",)),
    "chunks.ends_after_first": ((4096, b"more"),),
    "pages.s3_error": ((), ("AccessDenied", 200), ("NoSuchKey", 404)),
}
"""What a fault is made with; one that is not here, with nothing."""
BUILDING_BLOCKS = {"chunks.sent_by", "ranges.sends"}
"""Make faults from stages and functions, and are in the catalogue by way of those."""


def modules() -> Iterator[ModuleType]:
    for found in pkgutil.iter_modules(faults.__path__):
        yield importlib.import_module(f"{faults.__name__}.{found.name}")


def catalogue() -> dict[str, Fault]:
    """Return every fault of every module, by a name that tells how it was made."""
    return dict(entry for module in modules() for entry in faults_of(module))


def faults_of(module: ModuleType) -> Iterator[tuple[str, Fault]]:
    for attribute, value in dict(vars(module)).items():
        name = f"{module.__name__.rpartition('.')[2]}.{attribute}"
        is_own = getattr(value, "__module__", module.__name__) == module.__name__
        if attribute.startswith("_") or not is_own or name in BUILDING_BLOCKS:
            continue
        if is_fault(module, attribute, value):
            yield name, value
        elif inspect.isfunction(value) and inspect.signature(value).return_annotation == Fault:
            for arguments in ARGUMENTS.get(name, ((),)):
                yield f"{name}{arguments}", value(*arguments)


def is_fault(module: ModuleType, name: str, value: object) -> bool:
    """Whether it is a fault by itself, not a function that makes one."""
    if inspect.get_annotations(module).get(name) == Fault:
        return True
    if not inspect.isfunction(value):
        return False
    taken = [each.annotation for each in inspect.signature(value).parameters.values()]
    return taken == [Exchange, Reply]


CATALOGUE = catalogue()
FAMILIES = (IntegrityError, SourceError, TransferError)
"""Errors for which a server may be to blame."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """One way to fetch through a fault.

    Attributes:
        artifact: What is wanted.
        body: What it is.
        have: How much of it an earlier run left.
        connections: How many there may be; more than one, and only the further meet the fault.
        is_alone: As of Desk.
    """

    artifact: Artifact
    body: bytes = BODY
    have: int = 0
    connections: int = 1
    is_alone: bool = False


SMALL = BODY[:60_000]
WAYS = {
    "pinned": Way(artifact=pinned()),
    "unpinned": Way(artifact=unpinned()),
    "resumed": Way(artifact=unpinned(), have=HAVE),
    "resumed and pinned": Way(artifact=pinned(), have=HAVE),
    "small and pinned": Way(artifact=pinned(SMALL), body=SMALL, is_alone=True),
    "several connections": Way(artifact=unpinned(), body=MANY, connections=3),
}


@pytest.mark.sampled(keep=50)
@pytest.mark.parametrize("way", WAYS.values(), ids=WAYS.keys())
@pytest.mark.parametrize("name", CATALOGUE)
def test_a_fault_costs_no_wrong_byte(tmp_path: Path, name: str, way: Way) -> None:
    """The file is right, or the old one stands and an error says why; then it comes whole.

    That no thread is left is looked at after every test (conftest.py).
    """
    before = open_files(tmp_path)
    with FaultyServer() as server:
        desk = Desk(server, tmp_path, SETTINGS, is_alone=way.is_alone)
        fails = attempt(desk, CATALOGUE[name], way)
        server.always(PATH, honest)
        desk.settings = structs.replace(SETTINGS, timeout_seconds=10.0)
        desk.fetch(way.artifact)
        assert sha256(desk.target.read_bytes()) == sha256(way.body)
        assert desk.partials == []
        assert fails is IntegrityError or desk.quarantined == []
    assert {each for each in tmp_path.rglob("*") if each.is_file()} == {
        desk.target,
        *desk.quarantined,
    }
    assert open_files(tmp_path) == before


def attempt(desk: Desk, fault: Fault, way: Way) -> type[ModelmakeError] | None:
    """Fetch through a fault; return the family of the error it ended with."""
    desk.server.put(PATH, way.body)
    if way.have:
        desk.leave_partial(way.have, way.artifact)
    desk.target.parent.mkdir()
    desk.target.write_bytes(OLD)
    desk.settings = structs.replace(SETTINGS, connections=way.connections)
    desk.server.always(PATH, fault if way.connections == 1 else for_helpers(fault))
    try:
        desk.fetch(way.artifact)
    except FAMILIES as error:
        report, family = error.report(), next(each for each in FAMILIES if isinstance(error, each))
    else:
        assert sha256(desk.target.read_bytes()) == sha256(way.body)
        return None
    assert desk.target.read_bytes() == OLD
    assert 1 <= len(report.splitlines()) <= 3
    assert CANARY not in report
    return family


def for_helpers(fault: Fault) -> Fault:
    """Return a fault that makes the first reply wait until another one has met this fault."""
    begun, is_met = threading.Event(), threading.Event()

    def meet(exchange: Exchange, reply: Reply) -> Reply:
        if not begun.is_set():
            begun.set()
            return timing.stall_after(HAVE, is_met)(exchange, reply)
        is_met.set()
        return fault(exchange, reply)

    return meet


def open_files(folder: Path) -> set[str]:
    """Return this process's sockets, and its open files in a folder; none where nobody can tell.

    Folders that are kept open on purpose are closed first.
    """
    close_idle_folders()
    found = set()
    for descriptor in Path("/proc/self/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):  # the one of this very listing
            found.add(str(descriptor.readlink()))
    return {each for each in found if each.startswith(("socket:", str(folder)))}
