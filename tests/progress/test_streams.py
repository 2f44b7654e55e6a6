"""Writing where nobody reads, where nothing can be written, and where a letter cannot be shown."""

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from downloader.progress import streams

GAP = """
import os
from downloader.progress import streams
streams.guard()
print("shown to nobody")
raise SystemExit(os.open("file", os.O_CREAT | os.O_WRONLY))
"""


@pytest.fixture
def unread() -> io.TextIOWrapper:
    """Give a pipe that nobody reads."""
    reading, writing = os.pipe()
    os.close(reading)
    return open(writing, "w", encoding="ascii", buffering=1)  # noqa: PTH123


def test_a_pipe_that_nobody_reads_takes_everything(unread: io.TextIOWrapper) -> None:
    """The first failure turns it to the null device, and closing it fails no more."""
    with unread:
        for line in ("one\n", "two\n"):
            streams.put(unread, line)
        assert os.path.samestat(os.fstat(unread.fileno()), Path(os.devnull).stat())


def test_a_letter_that_the_stream_does_not_know() -> None:
    """It is shown escaped, and the stream goes on taking what comes."""
    stream = io.TextIOWrapper(io.BytesIO(), encoding="ascii", newline="\n")
    streams.put(stream, "models/naïve\n")
    streams.put(stream, "on\n")
    stream.seek(0)
    assert stream.read() == "models/na\\xefve\non\n"


def test_streams_that_are_gone() -> None:
    """One that was closed before Python began, or since, takes nothing and hurts nobody."""
    closed = io.StringIO()
    closed.close()
    streams.put(None, "text\n")
    streams.put(closed, "text\n")


@pytest.mark.skipif(os.name == "nt", reason="a POSIX shell closes the streams")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_closed_stream_leaves_no_number_for_a_file(tmp_path: Path, closed: str) -> None:
    """A file that is opened later is never one that somebody takes for a standard stream."""
    command = f'exec "$0" -c "$1" {closed}'
    run = subprocess.run(["sh", "-c", command, sys.executable, GAP], cwd=tmp_path, check=False)
    assert run.returncode > 2
    assert (tmp_path / "file").read_bytes() == b""


def test_a_document_is_said_whole_and_steers_no_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it is, it is the same document; what is no letter comes escaped."""
    monkeypatch.setattr(streams._Held, "out", None)
    values = {"long": "x" * 5000, "odd": "\x1b[31m\x9b\u2028", "lines": "a\nb"}
    streams.say_json(json.dumps(values, indent=1, ensure_ascii=False))
    said = capsys.readouterr().out
    assert json.loads(said) == values
    assert said.replace("\n", "").isprintable()
