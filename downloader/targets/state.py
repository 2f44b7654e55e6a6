"""State of the targets: whether each is up to date, and what is noted about it.

`models/NAME/.modelmake/receipts`: {"path":…,"size":…,"mtime_ns":…,"sha256":…,"verified":…}

The last line of a path counts. A receipt is written after the target is in place; a torn or
foreign line is passed over, which costs one hashing and moves no byte.

A target is stale by its stat, its receipt and the lock. That is asked before a download, and once
more under its lock: another process may have been quicker. Files that the lock does not name are
found and reported; nothing here removes one, since it may be somebody's work.
"""

import hashlib
import os
import stat
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import msgspec

from downloader.artifact import Artifact, are_digests, are_safe, counted, is_digest, is_safe
from downloader.fs.files import (
    PRIVATE_FOLDER,
    append_line,
    appending,
    look,
    looks_same,
    naming,
    private_folder,
    read_lines,
    write_file,
)
from downloader.fs.rooted_path import RootedPath
from downloader.project.project import Model, Project


def kind(mode: int) -> str:
    """Return what stands there in place of a file."""
    if stat.S_ISDIR(mode):
        return "a folder"
    return "a symbolic link" if stat.S_ISLNK(mode) else "a device, pipe or socket"


FileKey = tuple[str, str]
"""A model's name and a file's path."""


def private_archives(folder: Path) -> RootedPath:
    """Return where a model's archives wait that are not to be kept."""
    return private_folder(folder) / "archives"


def archive_place(project: Project, name: str, archive: Artifact) -> RootedPath | None:
    """Return where an archive is looked for, and fetched to; None for its target."""
    folder = project.folder(name)
    if project.named(name).keeps_archives or RootedPath(folder, archive.path).is_file():
        return None
    return private_archives(folder) / archive.path


FILE_NAME = "receipts"


class Receipt(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What was verified, and how the target looked then."""

    path: str
    size: int
    mtime_ns: int
    sha256: str
    verified: int
    """When, in seconds since 1970."""
    asked: str | None = None
    """What was asked for, as a digest, where the lock named no SHA-256 then."""

    def matches(self, status: os.stat_result) -> bool:
        """Whether the target still looks as it did."""
        return self.size == status.st_size and self.mtime_ns == status.st_mtime_ns


_decoder = msgspec.json.Decoder(Receipt)


def load_receipts(folder: Path) -> dict[str, Receipt]:
    """Return the receipts of a model's folder by path; none when there are none."""
    found = list(read_lines(private_folder(folder) / FILE_NAME, _decoder))
    are_ours = are_digests([each.sha256 for each in found]) and are_safe(
        [each.path for each in found]
    )
    return {each.path: each for each in found if are_ours or _may_be_ours(each)}


def _may_be_ours(receipt: Receipt) -> bool:
    return is_digest(receipt.sha256) and is_safe(receipt.path)


def append_receipt(folder: Path, path: str, sha256: str, *, asked: str | None = None) -> Receipt:
    """Note that the target was verified just now, and return what was noted.

    Args:
        folder: The model's folder.
        path: The artifact's path below it.
        sha256: What it was verified to be.
        asked: As in Receipt.

    Raises:
        StoreError: The disk refused.
    """
    target = RootedPath(folder, path)
    with naming(target, "look at"):
        status = target.lstat()
    receipt = Receipt(
        path=path,
        size=status.st_size,
        mtime_ns=status.st_mtime_ns,
        sha256=sha256,
        verified=int(time.time()),
        asked=asked,
    )
    append_receipts(folder, [receipt])
    return receipt


def append_receipts(folder: Path, verified: Iterable[Receipt]) -> None:
    """Note what was verified, in one write.

    Raises:
        StoreError: The disk refused.
    """
    if lines := _lines(verified):
        append_line(private_folder(folder) / FILE_NAME, lines)


def forget_receipts(folder: Path, paths: Iterable[str]) -> None:
    """Drop the receipts of these paths, so that the next run hashes the targets.

    Raises:
        StoreError: The disk refused.
    """
    forgotten = frozenset(paths)
    file = private_folder(folder) / FILE_NAME
    with appending:
        kept = [receipt for path, receipt in load_receipts(folder).items() if path not in forgotten]
        if os.path.lexists(file):
            write_file(file, _lines(kept))


def _lines(found: Iterable[Receipt]) -> bytes:
    return b"".join(msgspec.json.encode(receipt) + b"\n" for receipt in found)


class Target:
    """One artifact's place in its model's folder.

    Args:
        folder: The model's folder.
        artifact: What the lock says of the file.
        entry: The digest of the manifest's entry.
        place: Where the file is to be when that is no target; no receipt is written of it.

    Attributes:
        path: The final name.
        has_receipt: Whether it is a target.
    """

    def __init__(
        self, folder: Path, artifact: Artifact, entry: str, place: RootedPath | None = None
    ) -> None:
        self._folder, self._artifact = folder, artifact
        self.path = place or RootedPath(folder, artifact.path)
        self.has_receipt = place is None
        self._asked = None if artifact.is_pinned else _asked(entry, artifact)
        self._seen: os.stat_result | None = None

    def present(self, known: Mapping[str, Receipt]) -> str | None:
        """Return the SHA-256 of a target that is right already; None when it has to be fetched.

        One that is not pinned is right when it still is what an earlier run fetched for the very
        same wish (`asked`); so a run that was killed before its pins were written is made good.

        Args:
            known: The folder's receipts.

        Raises:
            StoreError: It cannot be read.
        """
        from downloader.fs.digests import sha256_of  # noqa: PLC0415 - a run with nothing to do hashes nothing

        status = self._seen = look(self.path)
        if status is None or not self._may_be(status):
            return None
        receipt = known.get(self._artifact.path)
        is_answer = receipt is not None and self._asked and receipt.asked == self._asked
        wanted = receipt.sha256 if receipt and is_answer else self._artifact.sha256
        if receipt is not None and receipt.matches(status) and receipt.sha256 == wanted:
            return wanted
        if wanted is None:
            return None
        with naming(self.path, "read"):
            return wanted if sha256_of(self.path) == wanted else None

    def present_now(self) -> str | None:
        """Look again, where another process may have changed something since; as `present`."""
        now, before = look(self.path), self._seen
        if now is None:
            return None
        if self._asked is None and before is not None and looks_same(now, before):
            return None  # its bytes were hashed, and are wrong; a new receipt would change nothing
        return self.present(load_receipts(self._folder))

    def note(self, sha256: str) -> int:
        """Append the receipt of a target that was verified just now; return its size in bytes.

        Raises:
            StoreError: The disk refused.
        """
        if self.has_receipt:
            path = self._artifact.path
            return append_receipt(self._folder, path, sha256, asked=self._asked).size
        with naming(self.path, "look at"):
            return self.path.lstat().st_size

    @property
    def must_be_fetched(self) -> bool:
        """Whether one look tells that other bytes are needed; where not, hashing may tell so."""
        status = look(self.path)
        return status is None or not self._may_be(status)

    def _may_be(self, status: os.stat_result) -> bool:
        return stat.S_ISREG(status.st_mode) and self._artifact.size in (None, status.st_size)


def _asked(entry: str, artifact: Artifact) -> str:
    """Return a digest of all that says which bytes an unpinned artifact means."""
    wish = msgspec.json.encode((entry, artifact))
    return hashlib.sha256(wish, usedforsecurity=False).hexdigest()


SHOWN_TIME = "%Y-%m-%d %H:%M"
IN_ITS_PLACE = {stat.S_IFDIR: "a folder", stat.S_IFLNK: "a symbolic link"}


class Rule(str):
    """The rule that makes a target stale, in words.

    Attributes:
        must_fetch: Whether other bytes are wanted than stand there, as far as can be told without
            reading; where not, reading them may prove that they are right.
    """

    __slots__ = ("must_fetch",)
    must_fetch: bool

    def __new__(cls, text: str, *, must_fetch: bool) -> Self:
        """Return the rule of this text."""
        rule = super().__new__(cls, text)
        rule.must_fetch = must_fetch
        return rule


NEVER_FETCHED = Rule("never fetched", must_fetch=True)
NOT_PINNED = Rule(
    "no SHA-256 of it in models.lock yet: it is pinned when it comes", must_fetch=True
)
PIN_LOST = Rule("fetched, and not pinned in models.lock yet", must_fetch=False)
NEVER_VERIFIED = Rule(
    "there, with the right size, and never verified here: its bytes are to be read",
    must_fetch=False,
)
NOT_UNPACKED = Rule("not unpacked yet", must_fetch=False)


def why_stale(artifact: Artifact, target: Path, receipt: Receipt | None) -> Rule | None:
    """Return the rule that makes the target stale, or None when it is up to date.

    One stat and no reading: it is asked for every file of every run.

    Args:
        artifact: What the lock wants.
        target: Where it should be.
        receipt: What was noted when it was last verified.
    """
    try:
        status = target.lstat()
    except OSError:
        return _why_missing(receipt)
    if not stat.S_ISREG(status.st_mode):
        what = IN_ITS_PLACE.get(stat.S_IFMT(status.st_mode), "something that is no file")
        return Rule(f"{what} stands in its place", must_fetch=True)
    if artifact.sha256 is None:
        return PIN_LOST if receipt and receipt.asked else NOT_PINNED
    if artifact.size not in (None, status.st_size):
        size = f"{status.st_size:,} bytes there, and models.lock wants {artifact.size:,}"
        return Rule(f"size: {size}", must_fetch=True)
    return _why_unproven(artifact, receipt, status)


def why_fresh(receipt: Receipt) -> str:
    """Return why a target that is not stale is up to date."""
    return f"verified {_time(receipt)} as sha256:{receipt.sha256}; size and time unchanged since"


def _why_missing(receipt: Receipt | None) -> Rule:
    if receipt is None:
        return NEVER_FETCHED
    return Rule(f"missing: it was here, verified {_time(receipt)}", must_fetch=True)


def _why_unproven(
    artifact: Artifact, receipt: Receipt | None, status: os.stat_result
) -> Rule | None:
    if receipt is None:
        return NEVER_VERIFIED
    is_same = receipt.matches(status)
    if receipt.sha256 != artifact.sha256:
        text = f"models.lock changed: it wants other bytes than those verified {_time(receipt)}"
        return Rule(text, must_fetch=is_same)
    if is_same:
        return None
    return Rule(f"changed since it was verified {_time(receipt)}", must_fetch=False)


def _time(receipt: Receipt) -> str:
    try:
        return time.strftime(SHOWN_TIME, time.localtime(receipt.verified))
    except (OverflowError, ValueError, OSError):  # a receipt may say anything
        return "at some time"


def target_rules(model: Model) -> Iterator[tuple[Artifact, Rule | None]]:
    """Yield each target of a model with the rule that makes it stale, None where it is fresh."""
    known = load_receipts(model.folder)
    not_unpacked = {each.path for each in model.not_unpacked}
    for artifact in model.artifacts:
        target, receipt = model.folder / artifact.path, known.get(artifact.path)
        why = why_stale(artifact, target, receipt)
        yield artifact, why or (NOT_UNPACKED if artifact.path in not_unpacked else None)


SHOWN_NAMES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtraFile:
    """A file in a model's folder that models.lock does not name.

    Attributes:
        model: The model's name.
        path: The file's path below the model's folder.
        size: Its length in bytes, 0 where it is no regular file.
        detail: What is there, to be read after the path.
    """

    model: str
    path: str
    size: int
    detail: str


def extra(models: Iterable[Model], every: Sequence[Model]) -> Iterator[ExtraFile]:
    """Yield what lies in the models' folders and belongs to no model, by name; each once.

    A folder that a model shares whose files are not known yet tells nothing, and is passed over.

    Args:
        models: Whose folders.
        every: All models of the project: one may have its files in another's folder.
    """
    named, unknown = _named(every), _unknown(every)
    seen = set[str]()
    for model in models:
        for name in _below(model.folder.as_posix()):
            if name in named or name in seen:
                continue
            seen.add(name)
            path = Path(name)
            status = None if any(map(path.is_relative_to, unknown)) else _look(path)
            if status is not None:
                yield _extra(model, path, status)


def outlived(model: Model, every: Sequence[Model]) -> Iterator[str]:
    """Yield the paths of what was fetched for a model once, and that models.lock names no longer.

    The receipts tell what was fetched; what was changed since is the user's own.

    Args:
        model: Whose folder.
        every: As `extra`.
    """
    named, unknown = _named(every), _unknown(every)
    for path, receipt in sorted(load_receipts(model.folder).items()):
        target = model.folder / path
        if target.as_posix() in named or any(map(target.is_relative_to, unknown)):
            continue
        status = _look(target)
        if status is not None and receipt.matches(status):
            yield path


def outlived_line(model: Model, every: Sequence[Model]) -> str:
    """Return a line about `outlived`, empty when there is none."""
    paths = list(outlived(model, every))
    if not paths:
        return ""
    names = ", ".join(paths[:SHOWN_NAMES]) + ", …" * (len(paths) > SHOWN_NAMES)
    verb = "is" if len(paths) == 1 else "are"
    return (
        f"{counted(len(paths), 'file')} in {model.folder} {verb} no longer named by models.lock, "
        f"and left there: {names}"
    )


def _named(every: Iterable[Model]) -> set[str]:
    """Return every place that a model has, as posix text: a Path for each costs more than a look.

    An archive that is not to be kept is one all the same: where it lies, it is unpacked from.
    """
    return {
        f"{model.folder.as_posix()}/{each.path}"
        for model in every
        for each in (*model.artifacts, *(model.locked.archives if model.locked else ()))
    }


def _unknown(every: Iterable[Model]) -> list[Path]:
    """Return the folders where a model has files, and nobody knows which."""
    return [each.folder for each in every if each.is_stale or not each.locked or each.not_unpacked]


def _below(folder: str) -> Iterator[str]:
    """Yield all but folders below a folder, in order, but for what modelmake keeps of its own."""
    try:
        entries = sorted(os.scandir(folder), key=lambda each: each.name)
    except OSError:
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name != PRIVATE_FOLDER:
                yield from _below(f"{folder}/{entry.name}")
        else:
            yield f"{folder}/{entry.name}"


def _look(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:
        return None


def _extra(model: Model, path: Path, status: os.stat_result) -> ExtraFile:
    is_file = stat.S_ISREG(status.st_mode)
    what = f"{status.st_size:,} bytes" if is_file else kind(status.st_mode)
    return ExtraFile(
        model=model.name,
        path=path.relative_to(model.folder).as_posix(),
        size=status.st_size if is_file else 0,
        detail=f"is {what}, and models.lock does not name it",
    )
