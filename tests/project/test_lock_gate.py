"""Hostile values in models.lock: each is refused when it is loaded, by file, model and field."""

import json
from pathlib import Path
from typing import Any

import pytest

from downloader.errors import LockError
from downloader.project.lockfile import load
from tests.project.test_lockfile import SHA
from tests.projects import http, project

UNSAFE_PATHS = ["/etc/passwd", "..", "../../../x", "a/../../x", "", "a\0b", ".modelmake/receipts"]
UNSAFE_PATHS += ["C:\\x", "~/x", "\x1b[2Jx", "a\nb"]
ARCHIVE: dict[str, Any] = {"path": "a.tar", "checkpoint": {"request": "merged", "step": 1}}
MEMBER: dict[str, Any] = {"path": "x.json", "size": 4, "sha256": SHA, "archive": "a.tar"}


def text(**fields: Any) -> bytes:
    """Return a lock of one model with an archive and a file that comes out of it."""
    model = {"entry": f"sha256:{SHA}", "source": "http", "archives": [ARCHIVE], "files": [MEMBER]}
    return json.dumps({"version": 1, "models": {"tiny": {**model, **fields}}}).encode()


def refusal(content: bytes) -> str:
    with pytest.raises(LockError) as caught:
        load(content, "models.lock")
    assert "version control" in caught.value.hint
    said = str(caught.value)
    assert said.isascii()
    assert said.isprintable()
    return said


def test_the_honest_lock_is_taken() -> None:
    """The control: without a hostile value nothing is refused."""
    assert load(text()).models["tiny"].has_archive("a.tar")
    load(text(archives=[], files=[{"path": "a.tar", "checkpoint": {"request": "x"}}]))


def test_the_refusal_names_file_model_and_field() -> None:
    """One line that says where to look."""
    assert refusal(text(archives=[{"path": "/etc/passwd"}])) == (
        "models.lock: models.tiny.archives[0].path '/etc/passwd' is not a safe path: "
        "it is absolute."
    )


@pytest.mark.parametrize("path", UNSAFE_PATHS, ids=ascii)
@pytest.mark.parametrize(
    ("where", "field"),
    [("archives", "path"), ("archives", "into"), ("files", "path"), ("files", "archive")],
)
def test_an_unsafe_path_in_any_field_is_refused(path: str, where: str, field: str) -> None:
    """Absolute, upwards, empty, NUL, our own folder: in every field that becomes a path."""
    before = ARCHIVE if where == "archives" else MEMBER
    said = refusal(text(**{where: [{**before, field: path}]}))
    assert said.startswith(f"models.lock: models.tiny.{where}[0].{field} ")


FIELDS: dict[str, tuple[bytes, str]] = {
    "an archive out of an archive": (
        text(archives=[{**ARCHIVE, "archive": "a.tar"}]),
        "archives[0].archive",
    ),
    "a file of no archive": (text(files=[{**MEMBER, "archive": "b.tar"}]), "files[0].archive"),
    "a file of an archive where there is none": (text(archives=[]), "files[0].archive"),
    "a file with a folder": (text(files=[{**MEMBER, "into": "x"}]), "files[0].into"),
    "a file with a folder, alone": (
        text(archives=[], files=[{"path": "a", "into": "x"}]),
        "files[0].into",
    ),
    "a file with a checkpoint": (
        text(files=[{**MEMBER, "checkpoint": {"request": "x"}}]),
        "files[0].checkpoint",
    ),
    "a file beside its archive's folder": (
        text(archives=[{**ARCHIVE, "into": "step-1"}]),
        "files[0].path",
    ),
    "a file whose folder only begins alike": (
        text(
            archives=[{**ARCHIVE, "into": "step-1"}], files=[{**MEMBER, "path": "step-10/x.json"}]
        ),
        "files[0].path",
    ),
    "two names that differ in case": (
        text(files=[MEMBER, {**MEMBER, "path": "X.json"}]),
        "models.tiny: 'x.json' and 'X.json' would be one place",
    ),
    "a file and a folder": (
        text(files=[MEMBER, {**MEMBER, "path": "x.json/y"}]),
        "models.tiny: 'x.json' and 'x.json/y' would be one place",
    ),
    "a file and its archive": (text(files=[{**MEMBER, "path": "A.tar"}]), "would be one place"),
    "a validator with a line end": (
        text(archives=[{**ARCHIVE, "etag": '"v"\r\nX-Evil: 1'}]),
        "archives[0].etag",
    ),
    "a URL that clears the terminal": (
        text(files=[{**MEMBER, "url": "https://x/\x1b[2J"}]),
        "files[0].url",
    ),
    "a URL without end": (text(files=[{**MEMBER, "url": "x" * 70_000}]), "files[0].url"),
    "a source of two lines": (text(source="a\nb"), "models.tiny.source"),
    "a revision of two lines": (text(revision="a\u2028b"), "models.tiny.revision"),
    "a request of two lines": (
        text(archives=[{**ARCHIVE, "checkpoint": {"request": "a\nb"}}]),
        "archives[0].checkpoint.request",
    ),
    "a time that is none": (
        text(archives=[{**ARCHIVE, "checkpoint": {"request": "a", "created": "yesterday"}}]),
        "archives[0].checkpoint.created",
    ),
    "a digest that is a path": (
        text(files=[{**MEMBER, "sha256": "../" * 21 + "x"}]),
        "files[0].sha256",
    ),
    "a root in upper case": (text(files=[{**MEMBER, "root": SHA.upper()}]), "files[0].root"),
    "sizes that no sum can hold": (
        text(files=[{**MEMBER, "size": 2**63 - 1}, {**MEMBER, "path": "y", "size": 1}]),
        "its sizes add up",
    ),
    "a step below zero": (
        text(archives=[{**ARCHIVE, "checkpoint": {"request": "a", "step": -1}}]),
        "step",
    ),
}


@pytest.mark.parametrize(("content", "said"), FIELDS.values(), ids=list(FIELDS))
def test_a_field_that_may_not_be_so_is_named(content: bytes, said: str) -> None:
    """Every field that ends in a path, a header, a URL or on a terminal."""
    assert said in refusal(content)


@pytest.mark.parametrize(
    "name", ["", "..", "../x", "a/b", "a\nb", "\x1b[2J", "-rf", "con", "a" * 300]
)
def test_a_name_that_no_model_can_have_is_refused(name: str) -> None:
    """A name becomes part of a task's name, and of messages."""
    data = json.loads(text())
    data["models"] = {name: data["models"]["tiny"]}
    assert "cannot be a model's name" in refusal(json.dumps(data).encode())


def test_what_a_reader_says_of_hostile_text_is_escaped() -> None:
    """An unknown field is repeated in the message: not as it stands there."""
    data = json.loads(text())
    data["models"]["tiny"]["\x1b[2J\n"] = 1
    assert "unknown field" in refusal(json.dumps(data).encode())


@pytest.mark.parametrize("path", ["/etc/passwd", "../../evil"])
def test_a_model_that_nobody_obeys_is_checked_too(tmp_path: Path, path: str) -> None:
    """Stale, declared no more, or of a source that is not there: it is still read by prune."""
    (tmp_path / "models.lock").write_bytes(text(archives=[], files=[{"path": path}]))
    with pytest.raises(LockError, match=r"models\.tiny\.files\[0\]\.path"):
        _ = project(tmp_path, {"m": http("https://example.org/a")}).lockfile
