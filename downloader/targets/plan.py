"""Decide what is to be done about each file. This is the only place that does.

    present    nothing: it looks as it did when it was verified
    verify     read it: it may be right, and no look can tell
    adopt      nothing but a receipt: it was read, and is right
    link       make it of a file that is here: in the store, or found elsewhere
    fetch      download it, from where a partial file ends
    unpack     take it out of its archive
    missing    nothing, because its bytes are not here and nothing may be downloaded
    refuse     nothing, because of an error

`decide` asks its questions from cheap to expensive. One stat, the receipt and the lock entry answer
`doit list` and the disk preflight. A `Target` answers the rest, each question when it is asked: for
`doit plan`, which changes nothing, and for the run, which then does what the decision says.
"""

import contextlib
import hashlib
import os
import stat
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import msgspec
from msgspec.structs import replace

from downloader.artifact import Artifact, task_name
from downloader.errors import Interrupted, LockError, ModelmakeError, SettingError, StoreError
from downloader.fs.files import SMALL_BYTES, Private, look, looks_same, private_folder
from downloader.fs.rooted_path import RootedPath
from downloader.project.project import Model, Project
from downloader.settings import MIRROR_ONLY
from downloader.targets.state import (
    FileKey,
    Receipt,
    append_receipt,
    archive_place,
    forget_receipts,
    kind,
    load_receipts,
    private_archives,
)

if TYPE_CHECKING:
    from downloader.fs.open_file import OpenFile
    from downloader.sources.interface import Source
    from downloader.store.blobs import Blob
    from downloader.targets.shared import FoundFile, SharedStore
    from downloader.transfer.mirrors import Wish
    from downloader.urls import Location

Action = Literal["present", "verify", "adopt", "link", "fetch", "unpack", "missing", "refuse"]
Rule = Literal["", "missing", "kind", "size", "unpinned", "unproven"]
"""Result of one stat; empty if the file is up to date."""

SHOWN_TIME = "%Y-%m-%d %H:%M"

NOT_HERE = "not here"
NOT_PINNED = "no SHA-256 of it in models.lock yet: it is pinned when it comes"
SAME_URL = "in the store, from the same URL: linked if the server still has that version"
PIN_LOST = "fetched, and not pinned in models.lock yet"
NEVER_VERIFIED = "there, with the right size, and never verified here: its bytes are to be read"
NOT_UNPACKED = "not unpacked yet"


class Decision(msgspec.Struct, frozen=True):
    """Decision about one file.

    Attributes:
        action: What is to be done.
        rule: What one stat told.
        why: The reason, in words; empty if the file is up to date.
        sha256: The bytes it is to have; None if nobody knows yet.
        source: What a link is made of.
        size: Of a download: its length in bytes; None if nobody knows yet.
        have: Of a download: how many bytes are in a partial file already.
        error: Why it is refused.
    """

    action: Action
    rule: Rule = ""
    why: str = ""
    sha256: str | None = None
    source: "Blob | FoundFile | None" = None
    size: int | None = None
    have: int = 0
    error: ModelmakeError | None = None

    @property
    def is_present(self) -> bool:
        """Whether the file is up to date."""
        return self.action == "present"

    @property
    def needs_bytes(self) -> bool:
        """Whether other bytes are needed than stand there; reading them would change nothing."""
        return self.action not in ("present", "verify", "adopt")


PRESENT = Decision("present")
"""One for all files of a run that are up to date."""


def decide(  # noqa: PLR0911 - an answer a line
    artifact: Artifact,
    status: os.stat_result | None,
    receipt: Receipt | None,
    entry: str,
    target: "Target | None" = None,
) -> Decision:
    """Return what is to be done about a file.

    Args:
        artifact: What models.lock says of it.
        status: How what stands at its place looks; None if nothing does.
        receipt: What was noted when it was last verified.
        entry: The digest of the model's entry in models.yaml.
        target: Answers what a look cannot tell. Without it the action is `present`, `verify`, or
            how other bytes come if there are none in the store.

    Raises:
        Interrupted: The run was stopped.
    """
    found = _at_a_glance(artifact, status, receipt, entry)
    if target is None:
        return found
    try:
        target.check_lock()
        if found.action == "present":
            return found
        if found.action == "verify" and target.has(found.sha256):
            return replace(found, action="adopt")
        target.check_place()
        if source := target.source():
            why = found.why if artifact.is_pinned else SAME_URL
            return replace(found, action="link", why=why, sha256=source.sha256, source=source)
        if artifact.archive is not None:
            return replace(found, action="unpack")
        if artifact.content is not None:
            return replace(found, action="fetch", size=artifact.size)
        size, have = target.partial()
    except Interrupted:
        raise
    except ModelmakeError as error:
        if target.is_offline and isinstance(error, SettingError):  # it says how to download it
            return replace(found, action="missing")
        return replace(found, action="refuse", error=error)
    if target.is_offline and (size is None or not 0 < have == size):
        return replace(found, action="missing")
    return replace(found, action="fetch", size=size, have=have)


def _at_a_glance(  # noqa: PLR0911 - a rule a line
    artifact: Artifact, status: os.stat_result | None, receipt: Receipt | None, entry: str
) -> Decision:
    """Return what a look, the receipt and the lock entry tell. Nothing is read."""
    sha256 = artifact.sha256
    if (  # all other questions are for the few files that are not up to date
        status is not None
        and receipt is not None
        and receipt.sha256 == sha256
        and receipt.matches(status)
        and artifact.size in (None, receipt.size)
        and stat.S_ISREG(status.st_mode)
    ):
        return PRESENT
    bring = _BRING[artifact.archive is None]
    if status is None:
        gone = receipt and f"missing: it was here, verified {_time(receipt)}"
        return Decision(bring, "missing", gone or NOT_HERE, sha256)
    if not stat.S_ISREG(status.st_mode):
        what = kind(status.st_mode)
        return Decision(bring, "kind", f"{what} stands in its place", sha256)
    asked = receipt.asked if receipt and sha256 is None else None
    is_pin_lost = asked is not None and asked == wish_of(artifact, entry)
    if artifact.size not in (None, status.st_size) and not is_pin_lost:
        sizes = f"{status.st_size:,} bytes there, and models.lock wants {artifact.size:,}"
        return Decision(bring, "size", f"size: {sizes}", sha256)
    if sha256 is None:
        if receipt and is_pin_lost:
            return Decision("verify", "unpinned", PIN_LOST, receipt.sha256)
        return Decision(bring, "unpinned", NOT_PINNED)
    if receipt is None:
        return Decision("verify", "unproven", NEVER_VERIFIED, sha256)
    if receipt.sha256 != sha256:
        other = f"models.lock changed: it wants other bytes than those verified {_time(receipt)}"
        return Decision(bring if receipt.matches(status) else "verify", "unproven", other, sha256)
    return Decision("verify", "unproven", f"changed since it was verified {_time(receipt)}", sha256)


_BRING: tuple[Action, Action] = ("unpack", "fetch")


def wish_of(artifact: Artifact, entry: str) -> str:
    """Return a digest of all that says which bytes an artifact without a SHA-256 means.

    A file is right if it still is what an earlier run downloaded for the very same wish. So a run
    that was killed before its pins were written is made good.
    """
    wish = msgspec.json.encode((entry, artifact))
    return hashlib.sha256(wish, usedforsecurity=False).hexdigest()


def why_fresh(receipt: Receipt) -> str:
    """Return why a file that is `present` is up to date."""
    return f"verified {_time(receipt)} as sha256:{receipt.sha256}; size and time unchanged since"


def _time(receipt: Receipt) -> str:
    try:
        return time.strftime(SHOWN_TIME, time.localtime(receipt.verified))
    except (OverflowError, ValueError, OSError):  # a receipt may say anything
        return "at some time"


def decisions(
    folder: Path, artifacts: Iterable[Artifact], entry: str
) -> Iterator[tuple[Artifact, Decision]]:
    """Yield the files of a model, each with what one stat decides about it."""
    known, base = load_receipts(folder), folder.as_posix()
    has_files = bool(known) or os.path.isdir(base)  # noqa: PTH112 - False, not an error, where one may not look
    for artifact in artifacts:
        path = artifact.path
        status = look(f"{base}/{path}") if has_files else None
        yield artifact, _at_a_glance(artifact, status, known.get(path), entry)


def target_decisions(
    model: Model, store_name: str | None = None
) -> list[tuple[Artifact, Decision]]:
    """Return the targets of a model, each with what one stat decides about it.

    Args:
        model: The model.
        store_name: What MODELMAKE_STORE says. With it, what a second stat finds there is a link.
    """
    targets = list(decisions(model.folder, model.artifacts, model.declared.digest))
    if not_unpacked := {each.path for each in model.not_unpacked}:
        targets = [
            (each, Decision("verify", "unproven", NOT_UNPACKED, each.sha256))
            if found is PRESENT and each.path in not_unpacked
            else (each, found)
            for each, found in targets
        ]
    stale = [each.sha256 for each, found in targets if found is not PRESENT and found.needs_bytes]
    wanted = {each for each in stale if each}
    if store_name is None or not wanted:
        return targets
    from downloader.store.blobs import store_at  # noqa: PLC0415 - a run with nothing to do links nothing

    stored = set[str | None]()
    with contextlib.suppress(StoreError):  # a run tells
        store = store_at(store_name)
        stored |= store.among(wanted) if store else set()
    return [
        (each, replace(found, action="link"))
        if found.needs_bytes and each.sha256 in stored
        else (each, found)
        for each, found in targets
    ]


def stale_targets(model: Model) -> list[Artifact]:
    """Return the targets of a model that are not up to date, as far as one stat tells."""
    return [artifact for artifact, found in target_decisions(model) if found is not PRESENT]


class Planner:
    """Input of all decisions of a run or a plan, read once. Safe to share between threads."""

    def __init__(self, project: Project, sharing: "SharedStore") -> None:
        self.project, self.sharing = project, sharing
        self._finding = threading.Lock()
        self._receipts: dict[Path, dict[str, Receipt]] = {}
        self._partials: dict[Path, frozenset[str] | None] = {}
        self._sources: dict[str, Source] = {}
        self._outlines: dict[str, dict[str, Artifact]] = {}

    def receipts(self, folder: Path) -> dict[str, Receipt]:
        """Return the receipts of a model's folder, as they were when they were first asked for."""
        with self._finding:
            if folder not in self._receipts:
                self._receipts[folder] = load_receipts(folder)
            return self._receipts[folder]

    def may_have_partial(self, folder: Path, path: str) -> bool:
        """Whether a file may have been unfinished when a model's partials were first asked for."""
        from downloader.fs.locks import partial_name  # noqa: PLC0415 - a run with nothing to do downloads nothing

        with self._finding:
            if folder not in self._partials:
                names = None
                with contextlib.suppress(StoreError):  # whoever opens one tells
                    names = frozenset((private_folder(folder) / Private.PARTIALS).names())
                self._partials[folder] = names
            names = self._partials[folder]
        return names is None or partial_name(path) in names

    def forget_partials(self, name: str) -> None:
        """Have a model's partials listed again: a download failed, and may have left one."""
        with self._finding:
            self._partials.pop(self.project.folder(name), None)

    def forget(self, name: str, path: str) -> None:
        """Drop a target's receipt, so that its bytes are read again."""
        folder = self.project.folder(name)
        forget_receipts(folder, [path])
        self.receipts(folder).pop(path, None)

    def source(self, name: str) -> "Source":
        """Return what knows from where a model is downloaded."""
        with self._finding:
            if name not in self._sources:
                self._sources[name] = self.project.named(name).entry.source()
            return self._sources[name]

    def facts(self, name: str, artifact: Artifact) -> Artifact:
        """Return what is certain of a file, without the hints of a probe."""
        from downloader.project import resolve  # noqa: PLC0415 - a run with nothing to do downloads nothing

        with self._finding:
            if name not in self._outlines:
                outlined = self.project.named(name).outlined
                files = outlined.files if outlined else ()
                self._outlines[name] = {file.path: file for file in files}
            return resolve.facts(artifact, self._outlines[name].get(artifact.path))

    def glance(self, name: str, artifact: Artifact, place: RootedPath | None = None) -> Decision:
        """Return what one stat decides about a file.

        Args:
            name: The model.
            artifact: The file.
            place: Where the file is to be if that is not a target; no receipt is kept of it.
        """
        folder = self.project.folder(name)
        status = look(place or f"{folder}/{artifact.path}")
        receipt = None if place else self.receipts(folder).get(artifact.path)
        return decide(artifact, status, receipt, self.project.named(name).digest)

    def archive(self, name: str, archive: Artifact) -> "Target":
        """Return an archive where it is kept: at its target, or aside until it is unpacked."""
        return Target(self, name, archive, archive_place(self.project, name, archive))

    def must_unpack(self, name: str, archive: Artifact) -> bool:
        """Whether an archive is needed, as far as one stat tells.

        It is if its files are not known yet, or one of them is neither at its place nor stored.
        """
        members = self.project.lockfile.models[name].out_of(archive.path)
        return not members or any(self._needs_archive(name, each) for each in members)

    def _needs_archive(self, name: str, member: Artifact) -> bool:
        return self.glance(name, member).needs_bytes and not self.sharing.has(name, member)

    def downloads(
        self, files: Iterable[FileKey], looked: Mapping[FileKey, Decision]
    ) -> Iterator[tuple[RootedPath, Artifact]]:
        """Yield what has to be downloaded for these targets, each with its model's workspace.

        An archive stands for its files. The same bytes are downloaded once, and linked to the other
        targets, if they go through a store; an archive that is not kept does not.

        Args:
            files: Model and path of each.
            looked: What `target_decisions` found of some a moment ago: no second stat is made.
        """
        seen: set[FileKey | str] = set()
        for name, path in files:
            artifact = self.project.artifact(name, path)
            if artifact.archive is not None:
                if not self._needs_archive(name, artifact):
                    continue
                artifact = self.project.artifact(name, artifact.archive)
            place = None
            if self.project.lockfile.models[name].has_archive(artifact.path):
                place = archive_place(self.project, name, artifact)
            is_near = place is None and self.sharing.is_near(name)
            found = looked.get((name, path)) if place is None and artifact.path == path else None
            if found is None:
                is_stored = is_near and self.sharing.has(name, artifact)
                found = PRESENT if is_stored else self.glance(name, artifact, place)
            elif found.action == "link" and is_near:
                continue
            if not found.needs_bytes:
                continue
            key = artifact.sha256 if is_near and artifact.sha256 else (name, artifact.path)
            if key not in seen:
                seen.add(key)
                yield private_folder(self.project.folder(name)), artifact


def _look(path: RootedPath) -> os.stat_result | None:
    """Return how what stands there looks; None if nothing does, or one may not look."""
    if not path.is_held:
        return look(path)
    with contextlib.suppress(StoreError):
        return path.status()
    return None


class Target:
    """One file, and what `decide` asks about it; nothing is read, or waited for, before that.

    Args:
        planner: What its project knows.
        name: Its model.
        artifact: What models.lock says of it.
        place: As in `Planner.glance`.
        is_local: Whether nothing may be downloaded, whatever the settings say.

    Attributes:
        path: Where it is to be.
        folder: The model's.
        is_kept: Whether it stays there: it has a receipt, and the store gets it too.
        source: Returns what it may be linked from. A plan looks for what a run would find; a run
            has a way of its own, which may wait for others.
        is_offline: Whether nothing may be downloaded.
        is_alone: Whether no other process can download its bytes meanwhile.
        is_begun: Whether a partial may lie there; known once `decide` asked for a download.
    """

    is_alone, is_begun = False, True

    def __init__(
        self,
        planner: Planner,
        name: str,
        artifact: Artifact,
        place: RootedPath | None = None,
        is_local: bool = False,  # noqa: FBT001, FBT002
    ) -> None:
        self._planner, self._project = planner, planner.project
        self.name, self.artifact, self.is_kept = name, artifact, place is None
        self.folder = self._project.folder(name)
        self.path = place or RootedPath(self.folder, artifact.path)
        self._status = look(self.path)
        with contextlib.suppress(StoreError):  # it is not there yet, or `check_place` tells
            self.path = self.path.held(soon=self._status is None)
        known = planner.receipts(self.folder) if place is None else {}
        self._receipt = known.get(artifact.path)
        self._facts: Artifact | None = None
        self.source: Callable[[], Blob | FoundFile | None] = self._found
        self.is_offline = is_local or self._project.settings.is_offline

    @property
    def is_small(self) -> bool:
        """Whether it is expected to fit into memory, by what models.lock says."""
        return 0 < (self.artifact.size or 0) <= SMALL_BYTES

    @property
    def is_fresh(self) -> bool:
        """Whether neither it nor a partial was there when `decide` asked for a download."""
        return self._status is None and not self.is_begun

    def decide(self) -> Decision:
        """Return what is to be done about it."""
        entry = self._project.named(self.name).digest
        return decide(self.artifact, self._status, self._receipt, entry, self)

    def anew(self) -> Decision:
        """Return how its bytes would come if nothing stood at its place; that is not read."""
        return decide(self.artifact, None, None, self._project.named(self.name).digest, self)

    def check_lock(self) -> None:
        """Refuse a file about which something has to be noted in a lock that may not be written.

        Raises:
            LockError: It is not pinned, or an archive whose files are not known.
        """
        if not self._project.is_read_only:
            return
        settings, path = self._project.settings, self.artifact.path
        locked = self._project.lockfile.models[self.name]
        if locked.has_archive(path) and not locked.out_of(path):
            what = f"models.lock does not know the files in {self.name}/{path}"
            then = "note them now"
        elif not self.artifact.is_pinned:
            what = f"models.lock pins no SHA-256 for {self.name}/{path}"
            then = "pin one now"
        else:
            return
        raise LockError(
            f"{what}, and {settings.who_forbids} forbids to {then}.",
            hint=self._project.advice(f"`doit {task_name(self.name)}`"),
        )

    def has(self, sha256: str | None) -> bool:
        """Whether it has these bytes; they are read if no receipt confirms them.

        Raises:
            StoreError: It cannot be read.
        """
        from downloader.fs.digests import sha256_of  # noqa: PLC0415 - a run with nothing to do hashes nothing

        receipt = self._receipt
        if receipt and self._status and receipt.matches(self._status):
            return receipt.sha256 == sha256
        return sha256_of(self.path) == sha256

    def check_place(self) -> None:
        """Refuse a place where no file can be put.

        Raises:
            StoreError: A folder or a device stands there, or a symlink leads out of the folder.
        """
        from downloader.fs.commit import check_target  # noqa: PLC0415 - as above

        if self._status is not None or not self.path.is_held:
            check_target(self.path)

    def partial(self) -> tuple[int | None, int]:
        """Return its length, as far as is known, and how many bytes of it a partial file has.

        Raises:
            ModelmakeError: Nothing says from where it is downloaded, or the journal is unreadable.
        """
        from downloader.transfer.mirrors import refused  # noqa: PLC0415 - as above
        from downloader.transfer.partial import resumable  # noqa: PLC0415 - as above

        wish = self.wish
        if wish.provider is None and not self.is_mirrored:
            raise refused(wish)
        size, have = self.facts.size, 0
        self.is_begun = self._planner.may_have_partial(self.folder, self.artifact.path)
        if self.is_begun:
            locations = None if self.is_mirrored else self.locations
            size, have = resumable(private_folder(self.folder), self.facts, locations)
        return self.artifact.size if size is None else size, have

    @property
    def wish(self) -> "Wish":
        """Who may be asked for it: published copies, which come first, and its provider."""
        from downloader.transfer.mirrors import Wish  # noqa: PLC0415 - as above

        settings, entry = self._project.settings, self._project.named(self.name).entry
        is_entry_only = entry.mirror == "only"
        return Wish(
            artifact=self.artifact,
            name=f"{self.name}/{self.artifact.path}",
            copies=self._project.copies(self.name),
            provider=None if is_entry_only or settings.is_mirror_only else self.locations,
            who_forbids="`mirror: only`" if is_entry_only else MIRROR_ONLY,
        )

    @property
    def is_mirrored(self) -> bool:
        """Whether a published copy is asked for it."""
        return self.artifact.is_pinned and bool(self._project.copies(self.name))

    @property
    def facts(self) -> Artifact:
        """Known facts about the file: the download is checked against them."""
        if self._facts is None:
            self._facts = self._planner.facts(self.name, self.artifact)
        return self._facts

    def locations(self) -> "tuple[Location, ...]":
        """Return from where it is downloaded, best first.

        Raises:
            ModelmakeError: Nothing says so.
        """
        revision = self._project.lockfile.models[self.name].revision
        found = self._planner.source(self.name).locate(self.artifact, revision)
        if self._project.named(self.name).entry.sniff:
            return found
        return tuple(replace(location, is_sniffed=False) for location in found)

    def again(self) -> str | None:
        """Return the SHA-256 of what stands there now if that is right; None if it is not.

        Another process may have been quicker. What looks as before was hashed, and is wrong; unless
        it is not pinned: then a new receipt may confirm it.
        """
        before, self._status = self._status, _look(self.path)
        if self._status is None:
            return None
        if self.artifact.is_pinned and before is not None and looks_same(self._status, before):
            return None
        if self.is_kept:
            self._receipt = load_receipts(self.folder).get(self.artifact.path)
        entry = self._project.named(self.name).digest
        found = decide(self.artifact, self._status, self._receipt, entry)
        if found.action == "present" or (found.action == "verify" and self.has(found.sha256)):
            return found.sha256 or self.artifact.sha256
        return None

    def note(self, sha256: str, opened: "OpenFile | None" = None) -> int:
        """Append the receipt of a file that was verified just now; return its size in bytes.

        Args:
            sha256: What it was verified to be.
            opened: The file, if it is still open.

        Raises:
            StoreError: The disk refused.
        """
        if self.is_kept:
            entry, artifact = self._project.named(self.name).digest, self.artifact
            asked = None if artifact.is_pinned else wish_of(artifact, entry)
            receipt = append_receipt(
                self.folder, artifact.path, sha256, asked=asked, target=self.path, opened=opened
            )
            return receipt.size
        return self.path.lstat().st_size

    def aside(self) -> "FoundFile | None":
        """Return the archive that an earlier run kept aside, if it has these very bytes.

        It was to be unpacked then: the entry has become `extract: false`, or keeps it now.

        Raises:
            StoreError: It cannot be read.
        """
        artifact = self.artifact
        if not (self.is_kept and artifact.checkpoint and artifact.is_pinned):
            return None
        path = private_archives(self.folder) / artifact.path
        if not path.is_file() or path.lstat().st_size != artifact.size:
            return None
        from downloader.fs.digests import sha256_of  # noqa: PLC0415 - as above
        from downloader.targets.shared import FoundFile  # noqa: PLC0415

        status, sha256 = path.lstat(), sha256_of(path)
        if sha256 != artifact.sha256:
            return None
        return FoundFile(path=path.path, sha256=sha256, status=status, may_share=True)

    def _found(self) -> "Blob | FoundFile | None":
        """Return what a run would link it to; nothing is changed."""
        sharing = self._planner.sharing
        blob = sharing.blob(self.artifact, self.path) if self.is_kept else None
        if not blob and (known := self.of_url()):
            blob = sharing.blob(known, self.path)
        return blob or self.aside()

    def of_url(self) -> Artifact | None:
        """Return the file as its URL gave it to another project; see `SharedStore.of_url`.

        Raises:
            ModelmakeError: As `locations`.
        """
        artifact = self.artifact
        if artifact.is_pinned or artifact.archive or self.is_offline or not self.is_kept:
            return None
        if self.wish.provider is None:
            return None
        locations = self.locations()
        return self._planner.sharing.of_url(artifact, locations[0]) if locations else None
