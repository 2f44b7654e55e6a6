"""Read every file again and compare it with the lock, on all cores; no network.

The largest files start first, so that no core stands idle while the last one is read; one with
a piece layer is read on all cores, and reported to the piece where it is wrong. No file is changed.
What proves right gets a receipt if it has none that holds, so that the next run need not read it
again; a receipt that proves wrong is dropped, so that the next run does not believe it.
"""

import functools
import os
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from downloader.artifact import Artifact, counted, task_name
from downloader.errors import OFFLINE_HINT, Stop, StoreError
from downloader.fs.digests import Layer, cores, joined_spans, sha256_of
from downloader.fs.files import look, looks_same
from downloader.fs.piece_check import PieceCheck
from downloader.fs.rooted_path import RootedPath
from downloader.progress.streams import tell
from downloader.progress.tracker import Reading
from downloader.project.project import Model, Project
from downloader.targets.plan import Decision, Planner, Target, decide
from downloader.targets.shared import SharedStore
from downloader.targets.state import (
    ExtraFile,
    Receipt,
    append_receipts,
    forget_receipts,
    kind,
    load_receipts,
)

OK, MISSING, UNPINNED, EXTRA = "ok", "missing", "unpinned", "extra"
STATES = (MISSING, "wrong kind", "unreadable", "changed", UNPINNED, EXTRA)
"""All but OK, in the order in which they are reported."""

SHOWN_EXTRA_FILES = 20
SHOWN_SPANS = 3
SHOWN_DIGITS = 16
"""Of a SHA-256: enough to tell two apart, and to find one in models.lock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FileCheck:
    """State of one file.

    Attributes:
        model: The model's name.
        path: The file's path below the model's folder.
        state: "ok"; or one of STATES: "unpinned" if nothing says which bytes are right, "extra"
            if the lock does not name the file.
        size: Its length in bytes, 0 when there is none.
        detail: What is there and what is wanted, to be read after the path.
    """

    model: str
    path: str
    state: str
    size: int
    detail: str = ""

    @property
    def is_bad(self) -> bool:
        """Whether a file that the lock names is not what it says.

        An extra file is not bad: all that was asked for is there, and it may be the user's own.
        """
        return self.state not in (OK, EXTRA)

    @property
    def line(self) -> str:
        """One line for people and for grep."""
        return f"{self.state}: {self.model}/{self.path} {self.detail}".rstrip()


def at_a_glance(
    artifact: Artifact, status: os.stat_result | None, found: Decision
) -> tuple[str, str] | None:
    """Return state and detail of a file as far as one stat tells them; None: it has to be read."""
    if status is None:
        return MISSING, "" if artifact.size is None else f"(expected {artifact.size:,} bytes)"
    if found.rule == "kind":
        return "wrong kind", f"is {kind(status.st_mode)}, expected a file"
    if found.rule == "size":
        return "changed", f"is {status.st_size:,} bytes, expected {artifact.size:,}"
    if found.rule == "unpinned":
        return UNPINNED, f"is {status.st_size:,} bytes, and models.lock has no SHA-256 of it yet"
    return None


def when_read(artifact: Artifact, sha256: str) -> tuple[str, str]:
    """Return state and detail of a file whose SHA-256 is known."""
    if sha256 == artifact.sha256:
        return OK, ""
    wanted = str(artifact.sha256)[:SHOWN_DIGITS]
    return "changed", f"is sha256:{sha256[:SHOWN_DIGITS]}…, expected sha256:{wanted}…"


def by_pieces(spans: Sequence[tuple[int, int]]) -> tuple[str, str]:
    """Return state and detail of a file whose pieces were checked; `spans`: where it is wrong."""
    if not spans:
        return OK, ""
    shown = ", ".join(f"{start:,}-{stop - 1:,}" for start, stop in spans[:SHOWN_SPANS])
    more = f" and {len(spans) - SHOWN_SPANS:,} more places" * (len(spans) > SHOWN_SPANS)
    return "changed", f"differs from models.lock in bytes {shown}{more}"


def of_extra(file: ExtraFile) -> FileCheck:
    """Return what to report of a file that the lock does not name."""
    return FileCheck(
        model=file.model, path=file.path, state=EXTRA, size=file.size, detail=file.detail
    )


STRETCH_BYTES = 64 << 20
"""The most of a file with a piece layer that one thread reads in one go: a disk reads in order."""

Seen = Callable[[int], None]
Part = Callable[[Seen], None]
LayerOf = Callable[[Artifact], Layer | None]


def verify(
    models: Iterable[Model], reading: Reading, stop: Stop, layer_of: LayerOf
) -> list[FileCheck]:
    """Return the state of every file of the models, in their order.

    Args:
        models: Whose files.
        reading: Counts what is read.
        stop: Ends the reading when it is set.
        layer_of: Returns a file's piece layer, if one is known.

    Raises:
        Interrupted: It was stopped.
    """
    files = [_File(model, artifact) for model in models for artifact in model.artifacts]
    to_read = [each for each in files if each.must_be_read]
    to_read.sort(key=lambda each: each.size, reverse=True)
    _read(to_read, layer_of, reading, stop)
    _note(to_read)
    return [each.verdict for each in files]


class _File:
    """A file of the lock as it stood when the verifying began, and what it proves to be."""

    def __init__(self, model: Model, artifact: Artifact) -> None:
        self.artifact, self._model, self._entry = artifact, model.name, model.declared.digest
        self.folder, self.path = model.folder, artifact.path
        self._target = _place(model.folder, artifact.path)
        self._status = look(self._target)
        self._found = at_a_glance(artifact, self._status, self._decide(None))
        self._unreadable: tuple[str, str] | None = None
        self._wrong: list[int] = []
        self._judging = threading.Lock()

    @property
    def size(self) -> int:
        """Its length in bytes, 0 if there is none."""
        return self._status.st_size if self._status else 0

    @property
    def must_be_read(self) -> bool:
        """Whether only its bytes can tell what it is."""
        return self._found is None

    @property
    def verdict(self) -> FileCheck:
        """Its state, after it was read if it must be."""
        state, detail = self._found or ("unreadable", "was not read")
        return FileCheck(
            model=self._model, path=self.path, state=state, size=self.size, detail=detail
        )

    def readings(self, layer: Layer | None, check: PieceCheck) -> list[Part]:
        """Return what has to be done to check it, in parts that may be done at the same time."""
        if layer is None or not layer.is_proof:
            return [functools.partial(self._read, layer, check)]
        stretches = stretches_of(layer, cores())
        return [functools.partial(self._read_pieces, layer, check, each) for each in stretches]

    def _read_pieces(self, layer: Layer, check: PieceCheck, part: range, seen: Seen) -> None:
        """Check some pieces; the state is what those that were checked so far tell."""
        seen(0)  # a part that waited for a thread while the run was stopped starts no process
        wrong, unreadable = [], None
        try:
            wrong = check.wrong_pieces(self._target, layer, part, seen)
        except StoreError as error:
            unreadable = "unreadable", f"cannot be read: {error.reason}"
        with self._judging:
            self._wrong += wrong
            self._unreadable = self._unreadable or unreadable
            self._found = self._unreadable or by_pieces(joined_spans(layer, self._wrong))

    def _read(self, layer: Layer | None, check: PieceCheck, seen: Seen) -> None:
        """Hash it; `seen` is called with each number of bytes, and may end it with an error.

        A layer tells where it is wrong, if that is so.
        """
        try:
            self._found = when_read(self.artifact, sha256_of(self._target, seen))
            if layer and self.verdict.is_bad:
                pieces = range(layer.count)
                wrong = check.wrong_pieces(self._target, layer, pieces, lambda _: seen(0))
                self._found = by_pieces(joined_spans(layer, wrong)) if wrong else self._found
        except StoreError as error:
            self._found = "unreadable", f"cannot be read: {error.reason}"

    def new_receipt(self, known: Receipt | None, now: int) -> Receipt | None:
        """Return what is to be noted of it; None if that is noted, or it changed meanwhile."""
        before, after = self._status, look(self._target)
        is_right = self.verdict.state == OK and not self._decide(known).is_present
        if before is None or after is None or not (is_right and looks_same(after, before)):
            return None
        return Receipt(
            path=self.path,
            size=before.st_size,
            mtime_ns=before.st_mtime_ns,
            sha256=str(self.artifact.sha256),
            verified=now,
        )

    def disproves(self, known: Receipt | None) -> bool:
        """Whether the receipt would have the next run believe a file that was read and is bad."""
        return self.verdict.is_bad and self._decide(known).is_present

    def _decide(self, known: Receipt | None) -> Decision:
        """Return what a run would do about it, with this receipt."""
        return decide(self.artifact, self._status, known, self._entry)


def stretches_of(layer: Layer, threads: int) -> Iterator[range]:
    """Yield the pieces of a file in stretches, each for one thread.

    The last ones are short, so that all threads end at the same time: a stretch is a part of what
    is left then (guided self-scheduling; Polychronopoulos and Kuck, 1987).

    Args:
        layer: Of the file.
        threads: How many read.
    """
    longest, at = STRETCH_BYTES // layer.piece_bytes, 0
    while at < layer.count:
        stop = at + max(1, min(longest, (layer.count - at) // (2 * threads)))
        yield range(at, stop)
        at = stop


def _place(folder: Path, path: str) -> Path | RootedPath:
    """Return where a file is read: a symlink of the user's may lead to it, as to `models`.

    It is only read there. What a run would write, it refuses to write through such a link.
    """
    target = RootedPath(folder, path)
    return target.path if len(target.parts) > 1 and _leads_out(target.parent) else target


@functools.lru_cache(maxsize=1024)
def _leads_out(folder: RootedPath) -> bool:
    return folder.leads_out()


def _read(files: Sequence[_File], layer_of: LayerOf, reading: Reading, stop: Stop) -> None:
    seen = reading.counting(stop)
    reading.started(sum(each.size for each in files))
    layers = [layer_of(each.artifact) for each in files]
    try:
        threads = cores()
        with PieceCheck(threads - 1) as check, ThreadPoolExecutor(threads) as pool:
            parts = [each.readings(layer, check) for each, layer in zip(files, layers, strict=True)]
            parts.sort(key=len)  # those in many parts come last: they fill the cores to the end
            for part in [pool.submit(one, seen) for each in parts for one in each]:
                part.result()
    finally:
        reading.ended()


def _note(files: Iterable[_File]) -> None:
    """Renew the receipts of what was read; a refusing disk is reported, and changes no result."""
    of_folder = defaultdict[Path, list[_File]](list)
    for each in files:
        of_folder[each.folder].append(each)
    for folder, read in of_folder.items():
        try:
            _note_in(folder, read)
        except StoreError as error:
            tell(f"what was verified could not be noted, so it is read again: {error}")


def _note_in(folder: Path, files: Iterable[_File]) -> None:
    known, now = load_receipts(folder), int(time.time())
    renewed = [each.new_receipt(known.get(each.path), now) for each in files]
    append_receipts(folder, [each for each in renewed if each is not None])
    if wrong := [each.path for each in files if each.disproves(known.get(each.path))]:
        forget_receipts(folder, wrong)


def not_here(models: Iterable[Model], verdicts: Sequence[FileCheck]) -> dict[str, int]:
    """Return the models without a file or receipt here, each with its number of files."""
    states = defaultdict[str, list[str]](list)
    for verdict in verdicts:
        if verdict.state != EXTRA:
            states[verdict.model].append(verdict.state)
    return {
        model.name: len(found)
        for model in models
        if (found := states[model.name]) and {*found} == {MISSING}
        if not load_receipts(model.folder)
    }


def lines(verdicts: Sequence[FileCheck], never: Mapping[str, int]) -> Iterator[str]:
    """Yield what is not right, a state after the other; of extra files only so many.

    Args:
        verdicts: Of all files.
        never: What `not_here` returned: a line for each is enough.
    """
    for name, count in never.items():
        yield f"not here: {name} ({counted(count, 'file')})"
    for state in STATES:
        found = [
            verdict
            for verdict in verdicts
            if verdict.state == state and (state != MISSING or verdict.model not in never)
        ]
        shown = found[:SHOWN_EXTRA_FILES] if state == EXTRA else found
        yield from (verdict.line for verdict in shown)
        if len(found) > len(shown):
            yield f"{state}: and {len(found) - len(shown):,} more"


def summary(verdicts: Sequence[FileCheck], repaired: int, read: str) -> str:
    """Return how many files are in each state.

    Args:
        verdicts: Of all files.
        repaired: How many of the bad ones were downloaded again.
        read: How much was read, and how fast; empty if nothing was.
    """
    counts = Counter(verdict.state for verdict in verdicts)
    parts = [f"{counts[OK]:,} right"] * bool(counts[OK])
    parts += [f"{counts[state]:,} {state}" for state in STATES if counts[state]]
    parts += [f"{repaired:,} repaired"] * bool(repaired)
    files = counted(len(verdicts) - counts[EXTRA], "file")
    return f"verified {files}{': ' * bool(parts)}{', '.join(parts)}{'; ' * bool(read)}{read}"


def hint(project: Project, bad: Sequence[FileCheck], never: Collection[str]) -> str:
    """Return what to do about files that are not as models.lock says.

    `doit verify --repair` is advised only if it can help with one of them. What has no SHA-256 is
    not proved wrong, and its first download pins it.

    Args:
        project: Whose files.
        bad: They.
        never: The models of which nothing is here.
    """
    unpinned = sorted({verdict.model for verdict in bad if verdict.state == UNPINNED})
    wrong = [each for each in bad if each.state != UNPINNED and each.model not in never]
    is_default = not any(project.named(name).is_optional for name in never)
    hints = []
    if wrong:
        hints.append(_repair_hint(project, wrong))
    if never:
        fetch = "doit" if is_default else f"doit {_tasks(never)}"
        hints.append(f"Run `{fetch}` to download what is not here.")
    if unpinned:
        hints.append(f"Run `doit {_tasks(unpinned)}` to pin what is unpinned.")
    return " ".join(hints)


def _tasks(names: Iterable[str]) -> str:
    return " ".join(map(task_name, names))


def _repair_hint(project: Project, wrong: Sequence[FileCheck]) -> str:
    """Return the command that downloads again what is wrong, or why none can."""
    why = ""
    planner = Planner(project, SharedStore(project, Stop()))
    for each in wrong:
        found = Target(planner, each.model, project.artifact(each.model, each.path)).anew()
        if found.action not in ("refuse", "missing"):
            return "Run `doit verify --repair` to download again what is bad."
        error = found.error
        why = why or (f"{error} {error.hint}" if error else f"It is not here. {OFFLINE_HINT}")
    return f"Nothing can be downloaded in its place: {why}"
