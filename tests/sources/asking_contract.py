"""What a source promises whose provider must be asked: one suite, subclassed by each one's test.

class TestMySource(AskingSourceContract):
    entries = (MyEntry(...),)

    @pytest.fixture
    def provider_is_there(self) -> Iterator[None]: ...
"""

import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import NoReturn
from urllib.parse import urlsplit

import msgspec
import pytest

from downloader.artifact import Artifact, LockedModel, check_path, find_collision
from downloader.errors import SourceError
from downloader.network.api import ApiClient
from downloader.network.client import Client
from downloader.project.lockfile import Lockfile, check_asked, dump, load
from downloader.project.resolve import ask, keep_first_pins, outline
from downloader.settings import Settings
from downloader.sources.interface import AskingSource, Entry, Provider, Resolution
from downloader.sources.registry import asking_source_for
from downloader.urls import host


def source_of(entry: Entry) -> AskingSource:
    """Return an entry's source, which has to ask."""
    found = asking_source_for(entry)
    assert found is not None
    return found


def moved(resolution: Resolution | LockedModel) -> tuple[Artifact, ...]:
    """Return what is fetched: archives, and files that come out of none."""
    files = resolution.artifacts if isinstance(resolution, Resolution) else resolution.files
    return (*resolution.archives, *(each for each in files if each.archive is None))


def pinned_at_first(model: LockedModel) -> LockedModel:
    """Return the model as a first fetch locks it: what has no digest yet gets one."""
    pins = {"sha256": "0" * 64, "first_use": True}

    def fetched(found: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
        return tuple(e if e.is_pinned else msgspec.structs.replace(e, **pins) for e in found)

    return msgspec.structs.replace(
        model, archives=fetched(model.archives), files=fetched(model.files)
    )


@contextmanager
def no_dialling() -> Iterator[None]:
    """Refuse every connection meanwhile; the fixture `no_sockets` would hinder the fake's end."""

    def refuse(*_: object) -> NoReturn:
        raise AssertionError("this must not dial")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", refuse)
        patch.setattr(socket, "getaddrinfo", refuse)
        yield


class AskingSourceContract:
    """The suite; `entries` are what the source is tried with."""

    entries: tuple[Entry, ...]

    @pytest.fixture(autouse=True)
    def provider_is_there(self) -> Iterator[None]:
        """Start what serves the entries, and name it in the environment or in `self.entries`."""
        raise NotImplementedError

    @pytest.fixture
    def provider(self) -> Iterator[Provider]:
        """Give the program's own way to ask."""
        settings = Settings(timeout_seconds=5.0, retries=1)
        with closing(Client(settings)) as transport:
            yield ApiClient(transport, lambda _: None)

    @pytest.fixture
    def resolved(self, provider: Provider) -> list[tuple[Entry, Resolution]]:
        """Give each entry with what its provider says."""
        return [(entry, source_of(entry).resolve(provider)) for entry in self.entries]

    def test_an_outline_tells_nothing_and_opens_no_socket(self) -> None:
        """What only the provider knows is not guessed."""
        with no_dialling():
            for entry in self.entries:
                assert source_of(entry).outline() is None
                assert outline("m", entry) is None

    def test_two_answers_are_the_same(
        self, provider: Provider, resolved: list[tuple[Entry, Resolution]]
    ) -> None:
        """Asked again, with another object, an unchanged provider means the same."""
        for entry, resolution in resolved:
            assert source_of(entry).resolve(provider) == resolution
            assert moved(resolution)

    def test_every_path_may_be_written(self, resolved: list[tuple[Entry, Resolution]]) -> None:
        """Paths are safe on every platform, and no two of them are one place."""
        for _, resolution in resolved:
            paths = [each.path for each in moved(resolution)]
            for path in paths:
                check_path(path)
            assert find_collision(paths) is None

    def test_no_answer_claims_a_first_use(self, resolved: list[tuple[Entry, Resolution]]) -> None:
        """Only a fetch pins on first use."""
        for _, resolution in resolved:
            assert not any(each.first_use or each.archive for each in moved(resolution))

    def test_what_is_locked_follows_from_its_entry(self, provider: Provider) -> None:
        """The answer survives models.lock, and the source takes it for the entry's own."""
        for entry in self.entries:
            expected = ask("m", entry, source_of(entry), provider)
            found = load(dump(Lockfile(models={"m": expected}))).models["m"]
            check_asked("m", found, source_of(entry).check(found))
            assert found.entry == entry.digest()
            assert {each.path for each in moved(found)} == {each.path for each in moved(expected)}

    def test_a_check_opens_no_socket_and_refuses_what_is_not_the_entrys(self) -> None:
        """It is asked in every run; an empty model, or another revision, is no answer."""
        for entry in self.entries:
            locked = LockedModel(entry=entry.digest(), source="s", revision="other", files=())
            with no_dialling():
                assert source_of(entry).check(locked)

    def test_first_pins_outlive_a_second_answer(self, provider: Provider) -> None:
        """What was fetched under what the provider still shows keeps its SHA-256."""
        for entry in self.entries:
            asked = ask("m", entry, source_of(entry), provider)
            fetched = pinned_at_first(asked)
            assert keep_first_pins(asked, fetched) == fetched

    def test_a_digest_of_the_provider_replaces_another(self, provider: Provider) -> None:
        """What the provider publishes counts, whatever was locked before."""
        for entry in self.entries:
            asked = ask("m", entry, source_of(entry), provider)
            other = {"sha256": "1" * 64, "first_use": False}
            locked = tuple(msgspec.structs.replace(each, **other) for each in asked.files)
            kept = keep_first_pins(asked, msgspec.structs.replace(asked, files=locked))
            for before, after in zip(asked.files, kept.files, strict=True):
                assert after.sha256 == (before.sha256 or "1" * 64)

    def test_every_artifact_can_be_located_without_a_request(
        self, resolved: list[tuple[Entry, Resolution]]
    ) -> None:
        """Whole URLs, the same each time, with their own hosts named; pins change nothing.

        A digest that the provider published is no pin: it may name the place.
        """
        for entry, resolution in resolved:
            for artifact in moved(resolution):
                sha256 = artifact.sha256 or "0" * 64
                pinned = msgspec.structs.replace(artifact, size=4, sha256=sha256, etag='"x"')
                with no_dialling():
                    locations = source_of(entry).locate(artifact, resolution.revision)
                    assert locations == source_of(entry).locate(pinned, resolution.revision)
                for location in locations:
                    assert urlsplit(location.url).scheme in ("http", "https")
                    assert host(location.url) in location.named_hosts

    def test_no_url_holds_a_credential(self, resolved: list[tuple[Entry, Resolution]]) -> None:
        """Secrets go into headers, which are shown nowhere."""
        for entry, resolution in resolved:
            for artifact in moved(resolution):
                for location in source_of(entry).locate(artifact, resolution.revision):
                    for value in location.headers.values():
                        assert value.removeprefix("Bearer ") not in location.url

    def test_a_file_it_does_not_know_is_a_source_error(self) -> None:
        """A path that is of no answer is located nowhere."""
        for entry in self.entries:
            with pytest.raises(SourceError, match=r"no such/file\.bin"):
                source_of(entry).locate(Artifact(path="no such/file.bin"), "r")
