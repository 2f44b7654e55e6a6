"""What every source promises: one suite, subclassed by the test of each source.

class TestMySource(SourceContract):
    entries = (MyEntry(...), MyEntry(..., mirrors=(...,)))
"""

from typing import ClassVar
from urllib.parse import urlsplit

import msgspec
import pytest

from downloader.artifact import Artifact, check_path, find_collision
from downloader.errors import SourceError
from downloader.project.lockfile import Lockfile, check_follows, dump, load
from downloader.project.resolve import outline
from downloader.sources.interface import Entry, Resolution, Source
from downloader.urls import host, redact


def outlined(source: Source) -> Resolution:
    """Return what follows from the entry alone, of a source that knows it."""
    found = source.outline()
    assert found is not None
    return found


class SourceContract:
    """The suite; `entries` are what the source is tried with."""

    entries: ClassVar[tuple[Entry, ...]]

    @pytest.fixture
    def sources(self) -> list[Source]:
        """Give a source for each entry."""
        return [entry.source() for entry in self.entries]

    @pytest.mark.usefixtures("no_sockets")
    def test_an_outline_opens_no_socket_and_is_always_the_same(self, sources: list[Source]) -> None:
        """`outline` may be called often, by several objects, and gives the same in one order."""
        for entry, source in zip(self.entries, sources, strict=True):
            assert outlined(source) == outlined(source) == outlined(entry.source())
            assert outlined(source).artifacts

    def test_every_path_may_be_written(self, sources: list[Source]) -> None:
        """Paths are safe on every platform, and no two of them are one place."""
        for source in sources:
            paths = [artifact.path for artifact in outlined(source).artifacts]
            for path in paths:
                check_path(path)
            assert find_collision(paths) is None

    def test_what_an_outline_fills_in_is_usable_in_a_lock(self) -> None:
        """The outline survives models.lock, and the lock read back follows from it."""
        for entry in self.entries:
            expected = outline("m", entry)
            assert expected is not None
            locked = load(dump(Lockfile(models={"m": expected}))).models["m"]
            check_follows("m", locked, expected)
            assert {each.path: each for each in locked.files} == {
                each.path: each for each in expected.files
            }

    def test_no_outline_claims_a_first_use(self, sources: list[Source]) -> None:
        """Only a fetch pins on first use: a digest in an outline is published or declared."""
        for source in sources:
            assert not any(artifact.first_use for artifact in outlined(source).artifacts)

    @pytest.mark.usefixtures("no_sockets")
    def test_every_artifact_can_be_located(self, sources: list[Source]) -> None:
        """Each artifact has a whole URL for now, the same when it is asked again."""
        for source in sources:
            for artifact in outlined(source).artifacts:
                locations = source.locate(artifact, None)
                assert locations
                assert source.locate(artifact, None) == locations
                for location in locations:
                    parts = urlsplit(location.url)
                    assert parts.scheme in ("http", "https")
                    assert parts.hostname

    def test_no_url_holds_a_credential(self, sources: list[Source]) -> None:
        """Secrets go into headers, never into a URL."""
        for source in sources:
            for artifact in outlined(source).artifacts:
                for location in source.locate(artifact, None):
                    without_query = location.url.partition("?")[0]
                    assert redact(location.url) == without_query

    def test_every_place_is_named_for_redirects(self, sources: list[Source]) -> None:
        """A redirect from one place of an artifact to another of its places is allowed."""
        for source in sources:
            for artifact in outlined(source).artifacts:
                locations = source.locate(artifact, None)
                places = {host(location.url) for location in locations}
                assert all(places <= location.named_hosts for location in locations)

    def test_the_pins_of_an_artifact_do_not_change_where_it_is(self, sources: list[Source]) -> None:
        """An artifact as it stands in the lock is found at the same places."""
        for source in sources:
            for artifact in outlined(source).artifacts:
                pinned = msgspec.structs.replace(
                    artifact, size=4, sha256="0" * 64, md5="0" * 32, etag='"x"'
                )
                assert source.locate(pinned, None) == source.locate(artifact, None)

    def test_a_file_it_does_not_know_is_a_source_error(self, sources: list[Source]) -> None:
        """A path that is not in the outline is located nowhere."""
        for source in sources:
            with pytest.raises(SourceError, match=r"no such/file\.bin"):
                source.locate(Artifact(path="no such/file.bin"), None)
