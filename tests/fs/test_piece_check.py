"""Pieces are checked by processes and by threads, with the same result."""

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import Popen
from typing import Any

import pytest

from downloader.errors import Interrupted, StoreError
from downloader.fs import piece_check
from downloader.fs.digests import Layer
from downloader.fs.merkle import BLOCK_BYTES, SPAN
from downloader.fs.piece_check import PieceCheck
from tests.fs.test_merkle import content, of

PIECE_BYTES = 2 * BLOCK_BYTES
SIZE = 9 * PIECE_BYTES + BLOCK_BYTES + 77
COUNT = 10
needs_processes = pytest.mark.skipif(os.name != "posix", reason="no descriptor can be handed on")


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A file of ten pieces."""
    path = tmp_path / "file"
    path.write_bytes(content(SIZE))
    return path


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Popen[bytes]]:
    """Every process that was started; small files are worth one here."""
    found: list[Popen[bytes]] = []

    def start(*arguments: Any, **named: Any) -> Popen[bytes]:
        found.append(Popen(*arguments, **named))
        return found[-1]

    monkeypatch.setattr("subprocess.Popen", start)
    monkeypatch.setattr(piece_check, "PROCESS_BYTES", SIZE)
    return found


def layer() -> Layer:
    """The layer of the file as it should be."""
    return of(content(SIZE), PIECE_BYTES)


def spoil(path: Path, *offsets: int) -> None:
    """Turn a bit at each offset."""
    data = bytearray(path.read_bytes())
    for offset in offsets:
        data[offset] ^= 1
    path.write_bytes(data)


def nothing(_count: int) -> None:
    """Take note of nothing."""


@needs_processes
@pytest.mark.parametrize("most_processes", [0, 1])
@pytest.mark.parametrize("cut", [None, SIZE - 1, 3 * PIECE_BYTES, 1, 0])
def test_both_find_the_same(
    file: Path, started: list[Popen[bytes]], most_processes: int, cut: int | None
) -> None:
    """Wrong bits, and pieces that are short or missing: whoever hashes."""
    spoil(file, 2 * PIECE_BYTES, SIZE - 1)
    expected = {2, 9}
    if cut is not None:
        os.truncate(file, cut)
        expected |= {index for index in range(COUNT) if layer().span(index)[1] > cut}
    with PieceCheck(most_processes) as check:
        first = check.wrong_pieces(file, layer(), range(3), nothing)
        rest = check.wrong_pieces(file, layer(), range(3, COUNT), nothing)
    assert first + rest == sorted(expected)
    assert len(started) == most_processes


@needs_processes
def test_each_file_has_its_process(file: Path, tmp_path: Path, started: list[Popen[bytes]]) -> None:
    """One that hashes a file is not asked about another one, or one that took its name."""
    other = tmp_path / "other"
    other.write_bytes(file.read_bytes())
    spoil(other, 0)
    with PieceCheck(1) as check:
        assert check.wrong_pieces(file, layer(), range(COUNT), nothing) == []
        assert check.wrong_pieces(other, layer(), range(COUNT), nothing) == [0]
        other.replace(file)
        assert check.wrong_pieces(file, layer(), range(COUNT), nothing) == [0]
    assert len(started) == 2
    assert None not in [process.returncode for process in started]


@needs_processes
@pytest.mark.parametrize("answered_bytes", [0, 128, 140])
def test_one_that_ends_early_costs_only_time(
    file: Path,
    tmp_path: Path,
    started: list[Popen[bytes]],
    answered_bytes: int,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The thread goes on with the piece without an answer, and starts no other one."""
    real, short = sys.executable, tmp_path / "python3"
    hashing = f"head -c {SPAN.size} | '{real}' \"$@\" | head -c {answered_bytes}"
    short.write_text(f"#!/bin/sh\n{hashing}\n", encoding="utf-8")
    short.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(short))
    spoil(file, 0, 6 * PIECE_BYTES)
    counted: list[int] = []
    with PieceCheck(1) as check:
        assert check.wrong_pieces(file, layer(), range(COUNT), counted.append) == [0, 6]
        assert sum(counted) == SIZE
        assert check.wrong_pieces(file, layer(), range(COUNT), nothing) == [0, 6]
    assert len(started) == 1


@needs_processes
def test_one_that_is_killed_costs_only_time(file: Path, started: list[Popen[bytes]]) -> None:
    """As by the system where memory is short."""
    spoil(file, 6 * PIECE_BYTES)
    with PieceCheck(1) as check:
        assert check.wrong_pieces(file, layer(), range(4), nothing) == []
        started[0].kill()
        assert check.wrong_pieces(file, layer(), range(4, COUNT), nothing) == [6]
    assert started[0].returncode == -signal.SIGKILL


@needs_processes
def test_one_that_is_stopped_costs_only_time(
    file: Path, started: list[Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The thread goes on after a while, and a stopped process is no reason not to end."""
    monkeypatch.setattr(piece_check, "MOST_LOOKS", 1)
    spoil(file, 6 * PIECE_BYTES)
    with PieceCheck(1) as check:
        assert check.wrong_pieces(file, layer(), range(4), nothing) == []
        os.kill(started[0].pid, signal.SIGSTOP)
        assert check.wrong_pieces(file, layer(), range(4, COUNT), nothing) == [6]
    assert started[0].returncode == -signal.SIGKILL


@needs_processes
def test_one_that_is_stopped_while_it_has_nothing_to_do_is_ended(
    file: Path, started: list[Popen[bytes]]
) -> None:
    """It could not see that nobody asks it any more."""
    with PieceCheck(1) as check:
        check.wrong_pieces(file, layer(), range(COUNT), nothing)
        os.kill(started[0].pid, signal.SIGSTOP)
    assert started[0].returncode == -signal.SIGKILL


@needs_processes
def test_who_waits_for_a_stopped_one_can_be_interrupted(
    file: Path, started: list[Popen[bytes]]
) -> None:
    """As by Ctrl-C: whether to go on is asked also before there is an answer."""

    def seen(count: int) -> None:
        if not count:
            raise Interrupted("enough")

    with PieceCheck(1) as check:
        assert check.wrong_pieces(file, layer(), range(4), seen) == []
        os.kill(started[0].pid, signal.SIGSTOP)
        with pytest.raises(Interrupted, match="enough"):
            check.wrong_pieces(file, layer(), range(4, COUNT), seen)
        assert started[0].wait(60) == -signal.SIGKILL


@needs_processes
@pytest.mark.parametrize("printed", ["a greeting of whoever wraps the interpreter", "short"])
def test_what_is_no_answer_makes_no_piece_wrong(
    file: Path,
    tmp_path: Path,
    started: list[Popen[bytes]],
    printed: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The first wrong piece that a process finds is hashed again here."""
    real, chatty = sys.executable, tmp_path / "python3"
    chatty.write_text(f"#!/bin/sh\necho '{printed}'\nexec '{real}' \"$@\"\n", encoding="utf-8")
    chatty.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(chatty))
    spoil(file, 6 * PIECE_BYTES)
    with PieceCheck(1) as check:
        assert check.wrong_pieces(file, layer(), range(COUNT), nothing) == [6]
    assert len(started) == 1


@needs_processes
@pytest.mark.parametrize("executable", ["/nothing/python3", "/nothing/blender", "", None])
def test_without_an_interpreter_threads_hash(
    file: Path, monkeypatch: pytest.MonkeyPatch, executable: str | None
) -> None:
    """A frozen program has none, and one that is named may be gone."""
    monkeypatch.setattr(piece_check, "PROCESS_BYTES", 1)
    monkeypatch.setattr(sys, "executable", executable)
    spoil(file, PIECE_BYTES)
    with PieceCheck(1) as check:
        assert check.wrong_pieces(file, layer(), range(COUNT), nothing) == [1]


@needs_processes
@pytest.mark.parametrize("failure", [Interrupted, StoreError, KeyboardInterrupt])
def test_what_ends_the_reading_ends_the_process(
    file: Path, started: list[Popen[bytes]], failure: Callable[[str], BaseException]
) -> None:
    """And who goes on nevertheless gets no answer to an older question."""

    def fail(_count: int) -> None:
        raise failure("enough")

    with PieceCheck(1) as check:
        with pytest.raises(BaseException, match="enough"):
            check.wrong_pieces(file, layer(), range(4), fail)
        assert check.wrong_pieces(file, layer(), range(4, COUNT), nothing) == []
    assert len(started) == 2
    assert None not in [process.returncode for process in started]


@needs_processes
def test_ctrl_c_is_not_for_it(file: Path, started: list[Popen[bytes]]) -> None:
    """A terminal signals all processes of a session's foreground group; this one has its own."""
    with PieceCheck(1) as check:
        check.wrong_pieces(file, layer(), range(COUNT), nothing)
        assert os.getsid(started[0].pid) == started[0].pid


@needs_processes
def test_a_small_file_is_hashed_here(
    file: Path, started: list[Popen[bytes]], monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many there are: a process of its own would cost each of them more than it saves."""
    monkeypatch.setattr(piece_check, "PROCESS_BYTES", SIZE + 1)
    with PieceCheck(1) as check:
        for _ in range(3):
            assert check.wrong_pieces(file, layer(), range(COUNT), nothing) == []
        assert not started
        monkeypatch.setattr(piece_check, "PROCESS_BYTES", SIZE)
        assert check.wrong_pieces(file, layer(), range(COUNT), nothing) == []
        assert len(started) == 1


def test_a_file_that_is_gone_is_told(file: Path) -> None:
    """As everywhere: by the error of the store."""
    file.unlink()
    with PieceCheck(1) as check, pytest.raises(StoreError):
        check.wrong_pieces(file, layer(), range(COUNT), nothing)
