"""Errors are freed as soon as nobody holds them, with all that their frames held."""

import gc
import weakref
from collections.abc import Iterator

import pytest

from downloader.errors import ModelmakeError
from downloader.transfer._attempt import Connections, Download
from downloader.urls import Location
from tests.servers.exchange import Fault
from tests.servers.faults import pages, statuses, timing
from tests.transfer.desk import BODY, PATH, Desk


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Let the collector of cycles rest."""
    gc.disable()
    yield
    gc.enable()


def failed(desk: Desk, *locations: Location) -> "weakref.ref[ModelmakeError]":
    try:
        desk.run(desk.job(None, *locations))
    except ModelmakeError as error:
        return weakref.ref(error)
    raise AssertionError


FAULTS = {
    "not found": statuses.status(404),
    "a page": pages.captive_portal(),
    "busy": statuses.busy(),
    "cut short": timing.drop_after(1000),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_an_error_holds_nothing_in_a_cycle(desk: Desk, no_collector: None, fault: Fault) -> None:
    """One place or two: when the caller is done with the error it is gone."""
    desk.server.script(PATH, *[fault] * 20)
    for locations in ([], [desk.location("/gone"), desk.location()]):
        assert failed(desk, *locations)() is None


def test_a_fetch_leaves_no_cycle(desk: Desk, no_collector: None) -> None:
    """Its buffers are freed with it: a run of many small files needs no collector."""
    desk.run(desk.job())
    gc.collect()
    desk.server.put("/other.bin", BODY)
    desk.run(desk.job(None, desk.location("/other.bin"), target=desk.folder / "other.bin"))
    left = [found for found in gc.get_objects() if isinstance(found, Connections | Download)]
    assert left == []
