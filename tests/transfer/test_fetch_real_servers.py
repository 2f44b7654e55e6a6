"""The same fetch from servers other people wrote: nginx, and Azurite."""

import os
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest
from msgspec.structs import replace

from downloader.artifact import Artifact
from downloader.errors import NotFound
from downloader.fs.locks import partial_name
from downloader.network.ranges import Range
from downloader.transfer import _journal
from downloader.transfer._journal import binding_for
from downloader.urls import Location
from tests.servers.azurite import Azurite
from tests.servers.nginx import Nginx
from tests.transfer.desk import BODY, Desk, however_known, pinned, unpinned

HAVE = 100_000
StartNginx = Callable[..., Nginx]


@pytest.fixture
def web(nginx: StartNginx, tmp_path: Path) -> Nginx:
    """Give an nginx that serves BODY as /model.bin."""
    root = tmp_path / "root"
    root.mkdir()
    (root / "model.bin").write_bytes(BODY)
    return nginx(root)


def leave_bytes(desk: Desk, binding: _journal.Binding) -> None:
    """Leave a partial of the first HAVE bytes with a journal that says what they belong to."""
    partial = desk.workspace / "partials" / partial_name(binding.path)
    partial.parent.mkdir(parents=True)
    partial.write_bytes(BODY[:HAVE])
    text = _journal.dump_head(binding) + _journal.dump_ranges([Range(0, HAVE)])
    partial.with_suffix(".journal").write_bytes(text)


@however_known
def test_nginx_gives_a_file(desk: Desk, web: Nginx, artifact: Artifact) -> None:
    """One request brings it."""
    desk.fetch(artifact, Location(url=web.url("/model.bin")))
    assert web.log_of(1) == [f'GET /model.bin 200 {len(BODY)} "-"']


def test_nginx_gives_the_rest_of_a_file(desk: Desk, web: Nginx) -> None:
    """The bytes that are there are not sent again."""
    place = Location(url=web.url("/model.bin"))
    leave_bytes(desk, binding_for(pinned(), place))
    assert desk.fetch(pinned(), place).moved_bytes == len(BODY) - HAVE
    (line,) = web.log_of(1)
    assert line == (f'GET /model.bin 206 {len(BODY) - HAVE} "bytes={HAVE}-{len(BODY) - 1}"')


def test_nginx_heeds_if_match(desk: Desk, web: Nginx) -> None:
    """A file that changed between two runs is fetched anew, after a second 412."""
    place = Location(url=web.url("/model.bin"))
    leave_bytes(desk, replace(binding_for(unpinned(), place), validator='"an-older-one"'))
    desk.fetch(unpinned(), place)
    assert [line.split()[2] for line in web.log_of(3)] == ["412", "412", "200"]


def test_nginxs_404_page_is_no_file(desk: Desk, web: Nginx) -> None:
    """A missing file is said to be missing, whatever the page says."""
    desk.refuses(NotFound, unpinned(), Location(url=web.url("/gone.bin")))


@pytest.fixture
def blob(azurite: Azurite) -> Location:
    """Give the place of a blob that holds BODY."""
    path = f"/gpt-2/{os.getpid()}-{uuid4().hex}/model.bin"
    azurite.upload(path, BODY)
    return Location(url=azurite.url(path))


@however_known
def test_azurite_gives_a_blob(desk: Desk, blob: Location, artifact: Artifact) -> None:
    """The blob arrives, and its MD5 is compared where nothing better is known."""
    assert desk.fetch(artifact, blob).moved_bytes == len(BODY)


def test_azurite_gives_the_rest_of_a_blob(desk: Desk, blob: Location) -> None:
    """Ranges work there too."""
    leave_bytes(desk, binding_for(pinned(), blob))
    assert desk.fetch(pinned(), blob).moved_bytes == len(BODY) - HAVE
