"""From an entry to exact files: what is chosen, what is asked, and which pins stay."""

from collections.abc import Sequence

import msgspec
import pytest

from downloader.artifact import Artifact, LockedModel
from downloader.errors import ManifestError
from downloader.project.resolve import facts, lock_model, outline, pinned
from downloader.sources.http import HttpEntry, HttpFile
from downloader.sources.interface import Entry
from downloader.sources.openai_gpt2 import OpenAIGPT2Entry

SHA = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
MD5 = "098f6bcd4621d373cade4e832627b4f6"
CLOSED = "http://127.0.0.1:9"


def paths(entry: Entry) -> list[str]:
    found = outline("m", entry)
    assert found is not None
    return [artifact.path for artifact in found.files]


PATTERNS = [
    ((), (), ["data/a.bin", "data/b.txt", "c.bin"]),
    (("*.bin",), (), ["data/a.bin", "c.bin"]),
    (("*.bin",), ("data/*",), ["c.bin"]),
    ((), ("*.bin",), ["data/b.txt"]),
    (("data/*", "c.*"), ("*.txt",), ["data/a.bin", "c.bin"]),
    (("?.bin",), (), ["c.bin"]),
    (("data/[ab].*",), (), ["data/a.bin", "data/b.txt"]),
    (("data/",), (), ["data/a.bin", "data/b.txt"]),
    ((), ("data/",), ["c.bin"]),
    (("data", "c.bin"), ("c.bin/",), ["c.bin"]),
]


@pytest.mark.parametrize(("include", "exclude", "expected"), PATTERNS)
def test_patterns_choose_on_the_whole_path(
    include: tuple[str, ...], exclude: tuple[str, ...], expected: list[str]
) -> None:
    """Include is applied first and exclude then, both as fnmatch on the posix path."""
    files = tuple(HttpFile(url=CLOSED, path=path) for path in ("data/a.bin", "data/b.txt", "c.bin"))
    assert paths(HttpEntry(files=files, include=include, exclude=exclude)) == expected


def test_patterns_look_at_upper_and_lower_case_everywhere() -> None:
    """`*.BIN` does not choose a.bin on any platform, so that a lock is the same on all."""
    files = (HttpFile(url=CLOSED, path="a.bin"), HttpFile(url=CLOSED, path="b.BIN"))
    assert paths(HttpEntry(files=files, include=("*.BIN",))) == ["b.BIN"]


def test_patterns_that_leave_nothing_are_an_error_that_lists_the_files() -> None:
    """An empty model is surely a slip; the hint says what could have been chosen."""
    with pytest.raises(ManifestError, match=r"models\.mini") as caught:
        outline("mini", OpenAIGPT2Entry(size="124M", include=("*.safetensors",)))
    assert "vocab.bpe" in caught.value.hint


def test_an_outline_carries_what_identifies_it() -> None:
    """The entry's digest, the source's name and the revision go into the lock."""
    entry = OpenAIGPT2Entry(size="117M")
    found = outline("m", entry)
    assert found is not None
    assert (found.entry, found.source, found.revision) == (
        entry.digest(),
        "openai-gpt2",
        "124M",
    )


class Server:
    """A probe that answers from a table, and notes what it was asked."""

    def __init__(self, **answers: dict[str, object]) -> None:
        self._answers = answers
        self.asked: list[str] = []

    def __call__(self, artifacts: Sequence[Artifact]) -> list[Artifact]:
        """Return the artifacts with what the table says of them."""
        self.asked += [each.path for each in artifacts]
        return [
            msgspec.structs.replace(each, **self._answers.get(each.path, {})) for each in artifacts
        ]


def model(*files: Artifact, revision: str | None = "1", entry: str = "a") -> LockedModel:
    return LockedModel(entry=f"sha256:{entry * 64}", source="http", revision=revision, files=files)


A = Artifact(path="a")
B = Artifact(path="b")
A_KNOWN = Artifact(path="a", size=4, md5=MD5, etag='"1"')
A_PINNED = pinned(A_KNOWN, 4, SHA, etag='"1"', md5=MD5)


def test_only_what_is_not_known_is_asked() -> None:
    """A file whose size and digest are published costs no request."""
    published = Artifact(path="b", size=1, sha256=SHA)
    server = Server(a={"size": 4, "md5": MD5, "etag": '"1"'})
    locked = lock_model(model(A, published), None, server, upgrade=False)
    assert server.asked == ["a"]
    assert locked.files == (A_KNOWN, published)


def test_a_declared_digest_without_a_size_is_asked_for_its_size() -> None:
    """The manifest's digest stays, and the server adds the size."""
    declared = Artifact(path="a", sha256=SHA)
    server = Server(a={"size": 4})
    locked = lock_model(model(declared), None, server, upgrade=False)
    assert locked.files == (Artifact(path="a", size=4, sha256=SHA),)


def test_a_pin_outlives_a_change_elsewhere_in_the_entry() -> None:
    """A new file in the entry is asked for; the one pinned before is not."""
    server = Server(b={"size": 9})
    locked = lock_model(model(A, B, entry="b"), model(A_PINNED), server, upgrade=False)
    assert server.asked == ["b"]
    assert locked.entry == f"sha256:{'b' * 64}"
    assert locked.files == (A_PINNED, Artifact(path="b", size=9))


@pytest.mark.parametrize(
    "previous",
    [
        model(A_PINNED, revision="2"),
        msgspec.structs.replace(model(A_PINNED), source="openai-gpt2"),
        model(msgspec.structs.replace(A_PINNED, url=f"{CLOSED}/other")),
        model(msgspec.structs.replace(A_PINNED, path="c")),
    ],
    ids=["revision", "source", "url", "path"],
)
def test_a_pin_of_something_else_is_not_taken_over(previous: LockedModel) -> None:
    """Another revision, source, URL or path means other bytes: nothing is kept of it."""
    server = Server(a={"size": 4})
    locked = lock_model(model(A), previous, server, upgrade=False)
    assert server.asked == ["a"]
    assert locked.files == (Artifact(path="a", size=4),)


def test_a_declared_digest_replaces_another_pin() -> None:
    """A SHA-256 newly written into models.yaml wins over what was pinned on first use."""
    declared = Artifact(path="a", sha256=SHA[::-1])
    locked = lock_model(model(declared), model(A_PINNED), Server(), upgrade=False)
    assert locked.files[0].sha256 == SHA[::-1]


SHOWN = [
    ({"size": 4, "md5": MD5}, True),
    ({"size": 4}, True),
    ({}, True),
    ({"size": 4, "md5": MD5, "etag": '"2"'}, True),
    ({"size": 5, "md5": MD5}, False),
    ({"size": 4, "md5": MD5[::-1]}, False),
    ({"size": 5}, False),
    ({"size": 4, "etag": '"1"'}, True),
    ({"size": 4, "etag": '"2"'}, False),
    ({"size": 4, "etag": 'W/"2"'}, True),
]


@pytest.mark.parametrize(("shown", "is_kept"), SHOWN)
def test_an_upgrade_keeps_a_first_use_pin_until_size_or_md5_differ(
    shown: dict[str, object], *, is_kept: bool
) -> None:
    """What the server shows decides; that it says nothing, or another ETag, does not."""
    server = Server(a=shown)
    locked = lock_model(model(A), model(A_PINNED), server, upgrade=True)
    assert server.asked == ["a"]
    assert (locked.files[0] == A_PINNED) is is_kept
    assert locked.files[0].is_pinned is is_kept


def test_an_md5_that_appears_later_does_not_drop_a_pin() -> None:
    """A pin made while the server gave no MD5 cannot differ from one that it gives now."""
    before = pinned(Artifact(path="a"), 4, SHA)
    server = Server(a={"size": 4, "md5": MD5})
    assert lock_model(model(A), model(before), server, upgrade=True).files == (before,)


def test_an_upgrade_does_not_ask_about_published_digests() -> None:
    """Only pins of first use are open to doubt: a size learned before is not asked again."""
    declared, known = Artifact(path="a", sha256=SHA), Artifact(path="a", size=4, sha256=SHA)
    server = Server()
    assert lock_model(model(declared), model(known), server, upgrade=True).files == (known,)
    assert lock_model(model(known), model(known), server, upgrade=True).files == (known,)
    assert server.asked == []


def test_a_pin_is_marked_as_first_use_only_where_nobody_published_the_digest() -> None:
    """A declared digest stays what it was when its size becomes known."""
    assert pinned(A, 4, SHA).first_use
    assert pinned(pinned(A, 4, SHA), 4, SHA).first_use
    assert not pinned(Artifact(path="a", sha256=SHA), 4, SHA).first_use


def test_a_pin_keeps_no_hint() -> None:
    """What the download did not show itself is not locked beside its SHA-256."""
    assert pinned(A_KNOWN, 5, SHA) == Artifact(path="a", size=5, sha256=SHA, first_use=True)


ROOTED = Artifact(path="a", size=4, sha256=SHA, root=SHA)
FACTS = [
    (A_KNOWN, A),
    (A_PINNED, A_PINNED),
    (Artifact(path="a", size=4, sha256=SHA, etag='"1"'), Artifact(path="a", sha256=SHA)),
    (
        Artifact(path="a", size=4, sha256=SHA, root=SHA),
        Artifact(path="a", size=4, sha256=SHA, root=SHA),
    ),
]


@pytest.mark.parametrize(("known", "expected"), FACTS)
def test_what_a_probe_said_is_no_fact(known: Artifact, expected: Artifact) -> None:
    """Size, MD5 and ETag count once the bytes came; before, only what the entry declares does."""
    assert facts(known, A) == expected
    published = Artifact(path="a", size=4, md5=MD5)
    assert facts(msgspec.structs.replace(published, size=4), published) == published


@pytest.mark.parametrize(
    "listed",
    [Artifact(path="a", size=4, sha256=SHA), Artifact(path="a", size=4, git_sha1="0" * 40)],
)
def test_what_a_provider_lists_beside_a_digest_is_a_fact(listed: Artifact) -> None:
    """No probe said it: the size counts before the first byte comes."""
    assert facts(listed, None) == listed


def test_silence_takes_nothing_away_from_a_file_that_is_not_pinned() -> None:
    """What an earlier lock knew of size, MD5 and validator stays when nobody answers."""
    assert lock_model(model(A), model(A_KNOWN), Server(), upgrade=True).files == (A_KNOWN,)


def test_a_file_that_nothing_was_known_of_is_filled_in() -> None:
    """The next answer brings what the first one did not."""
    server = Server(a={"size": 4, "md5": MD5, "etag": '"1"'})
    assert lock_model(model(A), model(A), server, upgrade=True).files == (A_KNOWN,)


def test_a_download_adds_no_hint_to_a_published_digest() -> None:
    """What a probe said wrong is corrected; otherwise the lock stays what the provider publishes.

    A source that publishes digests tells no ETag, so `doit outdated` would call the file changed.
    """
    published = Artifact(path="a.bin", sha256=SHA)
    assert pinned(published, 4, SHA, '"1"', MD5) == msgspec.structs.replace(published, size=4)
    probed = msgspec.structs.replace(published, size=56, etag='"portal"')
    shown = pinned(probed, 4, SHA, '"1"', MD5)
    assert shown == msgspec.structs.replace(published, size=4, etag='"1"')
    assert pinned(Artifact(path="a.bin"), 4, SHA, '"1"', MD5).etag == '"1"'
