"""Drops, stops, kills, damage and changes upstream in any order: the law of the target (I1, B11).

A state machine: hypothesis chooses the steps, and shrinks a sequence that fails to a short one.
"""

import contextlib
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from unittest import mock

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from downloader.artifact import Artifact
from downloader.errors import IntegrityError, Interrupted, ModelmakeError
from downloader.network.ranges import Range
from downloader.progress.events import Observer
from downloader.settings import Settings
from downloader.transfer import _journal, partial
from downloader.transfer.fetch import Fetcher
from tests.examples import examples
from tests.servers.exchange import Exchange, Fault
from tests.servers.faults import honest, timing
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply
from tests.transfer.damage import UNREADABLE, furthest_named, is_bound_to_a_digest
from tests.transfer.desk import PATH, Desk, StopsAtWait, pinned, sha256, unpinned

SIZE = 300_001
STEP_BYTES = 1 << 14
"""Of the journal, so that it has many lines."""
EXAMPLES, STEPS = examples(100), 15
SETTINGS = Settings(timeout_seconds=10.0, retries=3, connections=1)
places = st.integers(0, SIZE)
sizes = st.sampled_from([SIZE] * 5 + [SIZE - 1, 2 * SIZE, 1, 0])


class Snapshot(Observer):
    """An observer that copies a folder once so many bytes have come: what a kill then leaves."""

    def __init__(self, at: int, folder: Path, kept: Path) -> None:
        self._left, self._folder, self._kept = at, folder, kept

    def moved(self, count_bytes: int) -> None:
        """See Observer."""
        self._left -= count_bytes
        if self._left <= 0 and not self._kept.exists():
            shutil.copytree(self._folder, self._kept)


class OneTarget(RuleBasedStateMachine):
    """A target, what earlier runs left of it, and the file upstream."""

    def __init__(self) -> None:
        super().__init__()
        self._open = contextlib.ExitStack()
        folder = Path(self._open.enter_context(tempfile.TemporaryDirectory()))
        server = self._open.enter_context(FaultyServer())
        self._open.enter_context(mock.patch.object(partial, "SMALLEST_STEP_BYTES", STEP_BYTES))
        self.desk = Desk(server, folder, SETTINGS)
        self.upstream = b""
        self.versions: dict[str, bytes] = {}
        self.placed: bytes | None = None
        self.pin: bytes | None = None

    def teardown(self) -> None:
        """Check that undisturbed fetches end with what is upstream, however it is asked for."""
        with self._open:
            for wish in (None, self.upstream):
                self.pin = wish
                self.fetch_undisturbed()
                self.target_is_what_was_placed()

    @invariant()
    def target_is_what_was_placed(self) -> None:
        """Only a fetch that went well changes the target."""
        target = self.desk.target
        assert (target.read_bytes() if target.exists() else None) == self.placed

    @initialize(has_etag=st.booleans())
    def begin(self, *, has_etag: bool) -> None:
        """Put a first version upstream."""
        self.change(SIZE, has_etag=has_etag)

    @rule(size=sizes, has_etag=st.booleans())
    def change(self, size: int, *, has_etag: bool) -> None:
        """Put another version upstream, with or without a strong ETag."""
        self.upstream = random.Random(len(self.versions)).randbytes(size)
        self.versions[sha256(self.upstream)] = self.upstream
        etag = {} if has_etag else {"etag": None}
        self.desk.server.put(PATH, self.upstream, **etag)

    @rule()
    def pin_what_is_upstream(self) -> None:
        """From now on this version is wanted, by its digest."""
        self.pin = self.upstream

    @rule()
    def unpin(self) -> None:
        """From now on whatever is upstream is wanted."""
        self.pin = None

    @rule()
    def delete_the_target(self) -> None:
        """The user removes what was fetched."""
        self.desk.target.unlink(missing_ok=True)
        self.placed = None

    @rule()
    def fetch_undisturbed(self) -> None:
        """It ends with the file upstream, or says that this is not the one that is pinned."""
        error = self.fetch()
        self.judge(error, {sha256(self.upstream)})

    @rule(at=places)
    def drop(self, at: int) -> None:
        """The connection ends after so many bytes; the fetch goes on by itself."""
        self.once(lambda: timing.drop_after(at))
        self.judge(self.fetch(), {sha256(self.upstream)})

    @rule(at=places, size=sizes, has_etag=st.booleans())
    def change_under_way(self, at: int, size: int, *, has_etag: bool) -> None:
        """Another version comes upstream while bytes of this one are on their way."""
        before = sha256(self.upstream)

        def replaced() -> Fault:
            self.change(size, has_etag=has_etag)
            return timing.drop_after(at)

        self.once(replaced)
        self.judge(self.fetch(), {before, sha256(self.upstream)})

    @rule(at=places)
    def stop(self, at: int) -> None:
        """The user stops the run after so many bytes."""
        waits, self.desk.waits = self.desk.waits, StopsAtWait()
        self.once(lambda: timing.drop_after(at))
        error = self.fetch()
        self.desk.waits = waits
        assert error is None or isinstance(error, (Interrupted, IntegrityError))

    @rule(at=places)
    def kill(self, at: int) -> None:
        """The process is killed after so many bytes: the disk is as it was at that moment."""
        placed, workspace = self.placed, self.desk.workspace
        kept = self.desk.folder / "kept"
        self.fetch(Snapshot(at, workspace, kept))
        if kept.exists():  # else it was over before
            shutil.rmtree(workspace)
            kept.rename(workspace)
            self.put_back(placed)

    @rule(at=places, kind=st.sampled_from(sorted(UNREADABLE)))
    def damage_the_journal(self, at: int, kind: str) -> None:
        """It is torn, lost, foreign or of another version."""
        for each in self.desk.workspace.glob("partials/*.journal"):
            each.write_bytes(UNREADABLE[kind](each.read_bytes(), at))

    @rule(length=st.integers(0, 2 * SIZE))
    def cut_or_preallocate(self, length: int) -> None:
        """The partial ends too early, or goes on with zeros that nobody wrote.

        Zeros in the place of bytes that the journal names would be damage that only a pin tells.
        """
        for part in self.desk.workspace.glob("partials/*.part"):
            if length < part.stat().st_size or part.stat().st_size >= furthest_named(self.desk):
                os.truncate(part, length)

    @precondition(lambda self: is_bound_to_a_digest(self.desk))
    @rule(at=places)
    def flip_a_byte(self, at: int) -> None:
        """Bytes of a pinned partial go bad."""
        for part in self.desk.workspace.glob("partials/*.part"):
            content = bytearray(part.read_bytes())
            content[at % len(content)] ^= 1
            part.write_bytes(content)

    @precondition(lambda self: is_bound_to_a_digest(self.desk))
    @rule(start=places, length=st.integers(1, SIZE))
    def lie_in_the_journal(self, start: int, length: int) -> None:
        """The journal of a pinned partial names bytes that were never written."""
        for each in self.desk.workspace.glob("partials/*.journal"):
            with each.open("ab") as file:
                file.write(b"\n" + _journal.dump_ranges([Range(start, start + length)]))

    def once(self, chosen: Callable[[], Fault]) -> None:
        """Have the next request, and no other, answered with a fault that is chosen then."""
        waiting = [chosen]

        def fault(exchange: Exchange, reply: Reply) -> Reply:
            return waiting.pop()()(exchange, reply) if waiting else reply

        self.desk.server.always(PATH, fault)

    def fetch(self, observer: Observer | None = None) -> ModelmakeError | None:
        """Fetch; note what was placed, or return the error. What was set aside has its reason."""
        aside = self.desk.quarantined
        error: ModelmakeError | None = None
        with self.desk.transport() as transport:
            fetcher = Fetcher(transport)
            try:
                fetched = fetcher.fetch(self.desk.job(self.wanted), observer)
            except ModelmakeError as caught:
                error = caught
            else:
                self.placed = self.versions[fetched.sha256]
        self.desk.server.always(PATH, honest)
        if error is None:
            assert self.desk.partials == []
            assert self.pin in (None, self.placed)
        assert isinstance(error, IntegrityError) or self.desk.quarantined == aside
        return error

    def judge(self, error: ModelmakeError | None, possible: set[str]) -> None:
        """Check the end of a fetch that nobody stopped, from one of these versions upstream."""
        if error is not None:
            assert isinstance(error, IntegrityError)
            assert self.pin is not None
            assert {sha256(self.pin)} != possible
        elif self.placed is not None:
            assert sha256(self.placed) in possible
        assert self.desk.partials == []

    def put_back(self, placed: bytes | None) -> None:
        """Have the target as it was."""
        self.placed = placed
        if placed is None:
            self.desk.target.unlink(missing_ok=True)
        else:
            self.desk.target.write_bytes(placed)

    @property
    def wanted(self) -> Artifact:
        """What is asked for now."""
        return unpinned() if self.pin is None else pinned(self.pin, sized=False)


def test_the_target_is_right_whatever_happened_before() -> None:
    """After any steps it is as it was or a version that was whole upstream; then it is fetched."""
    bounded = settings(
        max_examples=EXAMPLES, stateful_step_count=STEPS, deadline=None, derandomize=True
    )
    run_state_machine_as_test(OneTarget, settings=bounded)
