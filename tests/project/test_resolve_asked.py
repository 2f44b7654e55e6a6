"""What a provider lists: which names are taken, and which pins outlive its next answer."""

from unittest.mock import Mock

import msgspec
import pytest

from downloader.artifact import Artifact, LockedModel
from downloader.errors import SourceError
from downloader.project.resolve import ask, keep_first_pins
from downloader.sources.huggingface import HuggingFaceEntry
from downloader.sources.interface import Resolution

ENTRY = HuggingFaceEntry(repo="gpt2")
SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


def asked(*artifacts: Artifact) -> LockedModel:
    """Return what a provider that lists these is locked as."""
    source = Mock()
    source.resolve.return_value = Resolution(artifacts=artifacts)
    return ask("m", ENTRY, source, Mock())


@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "a//b", ".modelmake/receipts", "con"])
def test_a_name_that_may_not_be_written_is_refused(path: str) -> None:
    """What a provider calls a file comes from outside: it is judged before it is locked."""
    with pytest.raises(SourceError, match="is not a safe path"):
        asked(Artifact(path="a.bin"), Artifact(path=path))


def test_two_names_for_one_place_are_refused() -> None:
    """Names that differ only in case are one file on many disks; a name twice is one on all."""
    for other in ("A.bin", "a.bin", "a.bin/b"):
        with pytest.raises(SourceError, match="one place on some disks"):
            asked(Artifact(path="a.bin"), Artifact(path=other))


SHOWN = Artifact(path="a.bin", size=4, etag='"1"')
PINNED = msgspec.structs.replace(SHOWN, sha256=SHA, first_use=True)


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (SHOWN, PINNED),
        (Artifact(path="a.bin"), PINNED),
        (msgspec.structs.replace(SHOWN, etag='"2"'), None),
        (msgspec.structs.replace(SHOWN, size=5), None),
        (msgspec.structs.replace(SHOWN, path="b.bin"), None),
        (msgspec.structs.replace(SHOWN, url="https://example.org/b"), None),
        (msgspec.structs.replace(SHOWN, sha256="1" * 64), None),
        (msgspec.structs.replace(SHOWN, sha256=SHA), msgspec.structs.replace(SHOWN, sha256=SHA)),
        (Artifact(path="a.bin", sha256=SHA), Artifact(path="a.bin", sha256=SHA, size=4)),
    ],
)
def test_a_file_keeps_its_first_pin_while_the_same_is_shown(
    now: Artifact, expected: Artifact | None
) -> None:
    """The path, size, validator and URL say that it is the same; a published digest counts more.

    The size that a fetch brought stays where the digest is the same and no size is told.
    """
    assert keep_first_pins(asked(now), asked(PINNED)).files == (expected or now,)
