"""Any list of URLs: names, digests and mirrors come from the manifest alone."""

from urllib.parse import urlsplit

import pytest

from downloader.artifact import Artifact
from downloader.sources.http import Http, HttpEntry, HttpFile
from tests.sources.contract import SourceContract

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
URL = "https://example.org/models/my%20model.bin?download=true"


class TestHttp(SourceContract):
    """The contract, for files with and without digest, path and mirrors."""

    entries = (
        HttpEntry(files=(HttpFile(url=URL),)),
        HttpEntry(
            files=(
                HttpFile(url="https://a.example/1", path="b/c.bin", sha256=SHA),
                HttpFile(url="http://127.0.0.1:9/2", mirrors=("https://b.example/x", URL)),
            ),
            mirrors=("https://mirror.example/base/", "https://other.example"),
        ),
    )


def test_an_artifact_is_what_the_manifest_says() -> None:
    """Path, URL and SHA-256 are taken over; nothing else is claimed."""
    named = HttpFile(url="https://example.org/f", path="a/b.bin", sha256=SHA)
    outlined = Http(HttpEntry(files=(named, HttpFile(url=URL)))).outline()
    assert outlined.revision is None
    assert outlined.artifacts == (
        Artifact(path="a/b.bin", url="https://example.org/f", sha256=SHA),
        Artifact(path="my model.bin", url=URL),
    )


@pytest.mark.parametrize("path", ["", "/", "/f", "/a/f", "/a/", "//f", "/a//f", "/a:b//c/f"])
@pytest.mark.parametrize("rest", ["", "?x=/y", "#/z", "?a#/b", "#a?/b", ";p"])
def test_a_file_is_called_as_the_last_part_of_its_path(path: str, rest: str) -> None:
    """What a URL parser takes for the path decides; slashes behind it do not."""
    url = f"https://e.org:1{path}{rest}"
    assert HttpFile(url=url).target == urlsplit(url).path.rpartition("/")[2]


def test_places_are_tried_in_the_order_they_are_written() -> None:
    """The URL comes first, then its own mirrors, then the model's, by the file's path."""
    entry = HttpEntry(
        files=(HttpFile(url=URL, path="a/b.bin", mirrors=("https://b.example/x.bin",)),),
        mirrors=("https://mirror.example/base/", "https://other.example"),
    )
    source = Http(entry)
    assert [each.url for each in source.locate(source.outline().artifacts[0], None)] == [
        URL,
        "https://b.example/x.bin",
        "https://mirror.example/base/a/b.bin",
        "https://other.example/a/b.bin",
    ]


def test_the_lock_cannot_say_where_a_file_is() -> None:
    """The URL that is dialled is the manifest's, whatever stands in the artifact."""
    source = Http(HttpEntry(files=(HttpFile(url=URL, path="f"),)))
    (location,) = source.locate(Artifact(path="f", url="https://evil.example/f"), None)
    assert location.url == URL
    assert not location.headers
