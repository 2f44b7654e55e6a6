"""A bundle: what a machine without network needs of a project, as a folder or as one tar.

    bundle.json        that it is one, and whole; and the models it was made for
    models.lock        as it was in the project
    models.yaml        the same
    receipts           a line for each file that is in it, with its size and SHA-256
    sha256/ab/abcd…    the bytes, as in a store; in a tar sorted, after the former

A tar is read by the parser that reads Together's archives: plain files only, no name out of place,
each blob held against its name. So who sends one can make us write nothing but what the lock wants.
"""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec

from downloader.archive import Limits, Members, Plain
from downloader.archive.header import BLOCK_BYTES, parse
from downloader.disk.durable import make_folder, naming
from downloader.disk.hashing import new_sha256
from downloader.disk.positioned import write_at
from downloader.disk.walking import shown
from downloader.errors import BadArchive
from downloader.finding import Found, StopCheck
from downloader.fs.rooted_path import NEW_FILE, RootedPath
from downloader.lock import lockfile
from downloader.lock.lockfile import Lockfile
from downloader.transfer.locked_file import machine

VERSION = 1
MARK, LOCK, MANIFEST, RECEIPTS = "bundle.json", "models.lock", "models.yaml", "receipts"
NAMES = (MARK, LOCK, MANIFEST, RECEIPTS)
BLOB = re.compile(r"sha256/([0-9a-f]{2})/(\1[0-9a-f]{62})")
MOST_BYTES = 256 << 20
"""Of one of the four files: a lock of a million files."""
LIMITS = Limits(entries=1_000_000, names_bytes=128 << 20)
READ_AHEAD_BYTES = 1 << 20
AGAIN = "Copy the bundle once more, or write it anew with `doit bundle`."


class Mark(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in bundle.json."""

    version: int = VERSION
    models: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What a bundle says of itself.

    Attributes:
        place: The folder or the tar.
        models: The names of those that are in it whole.
        manifest: Its models.yaml.
        lock: Its models.lock.
    """

    place: Path
    models: tuple[str, ...]
    manifest: bytes
    lock: Lockfile


def blob_name(sha256: str) -> str:
    """Return the name of a blob in a bundle."""
    return f"sha256/{sha256[:2]}/{sha256}"


def read(place: Path, watch: StopCheck) -> Bundle | None:
    """Return the bundle at a place; None where there is none.

    Args:
        place: A folder or a file.
        watch: Called often; raises Interrupted when the run is to stop.

    Raises:
        BadArchive: It is damaged, cut short, or of a newer version.
        LockError: Its models.lock cannot be used.
        StoreError: It cannot be read.
    """
    if is_tar(place):
        found = _from_tar(place, watch)
    elif (place / MARK).is_file():
        found = {name: _from_folder(place / name) for name in NAMES}
    else:
        return None
    with _named(place):
        mark = _mark(found[MARK])
    lock = lockfile.load(found[LOCK], f"{LOCK} of {shown(place)}")
    models = tuple(mark.models)
    return Bundle(place=place, models=models, manifest=found[MANIFEST], lock=lock)


def is_tar(place: Path) -> bool:
    """Whether a file begins as a bundle's tar does."""
    if not place.is_file():
        return False
    with naming(place, "read"), place.open("rb") as file, contextlib.suppress(BadArchive):
        block = file.read(BLOCK_BYTES)
        return len(block) == BLOCK_BYTES and parse(block).name == MARK.encode()
    return False


def unpacked(
    place: Path, wanted: Collection[str], folder_of: Callable[[str], RootedPath], watch: StopCheck
) -> Iterator[Found]:
    """Write blobs of a tar to disk, one after the other; each is gone when the next one is asked.

    Args:
        place: The tar.
        wanted: The SHA-256 of those that are.
        folder_of: Where each one goes.
        watch: As in `read`.

    Raises:
        BadArchive: It is damaged, or a blob has other bytes than its name says.
        StoreError: The disk refused.
        Interrupted: From the watch.
    """
    with _opened(place, watch) as members:
        for entry in members:
            blob = BLOB.fullmatch(entry.path)
            if not blob and entry.path not in NAMES and not entry.is_folder:
                raise BadArchive(f"{entry.path!a} is not for a bundle")
            if blob and blob[2] in wanted and not entry.is_folder:
                file = folder_of(blob[2]) / f"{machine()}-{os.getpid()}-{secrets.token_hex(8)}"
                try:
                    yield _written(members, file, blob[2])
                finally:
                    with contextlib.suppress(OSError):
                        file.remove()


def _written(members: Members, file: RootedPath, sha256: str) -> Found:
    make_folder(file.parent)
    digest, position = new_sha256(), 0
    with naming(file, "write"):
        descriptor = file.open(NEW_FILE)
        try:
            for chunk in members.data():
                write_at(descriptor, chunk, position)
                digest.update(chunk)
                position += len(chunk)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if digest.hexdigest() != sha256:
            raise BadArchive("the bytes of a file are not those its name says")
        return Found(
            path=file.path, sha256=sha256, status=file.lstat(), may_share=True, is_ours=True
        )


def _from_tar(place: Path, watch: StopCheck) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    with _opened(place, watch) as members:
        for entry, wanted in zip(members, NAMES, strict=False):
            if entry.path != wanted or entry.is_folder or entry.size > MOST_BYTES:
                raise BadArchive(f"{wanted} does not stand where it is to be")
            found[wanted] = b"".join(map(bytes, members.data()))
            if len(found) == len(NAMES):
                return found
        raise BadArchive("it is cut short")


def _from_folder(file: Path) -> bytes:
    with naming(file, "read"), file.open("rb") as opened:
        return opened.read(MOST_BYTES)


def _mark(text: bytes) -> Mark:
    try:
        mark = msgspec.json.decode(text, type=Mark)
    except (ValueError, RecursionError):
        raise BadArchive(f"its {MARK} cannot be read") from None
    if mark.version != VERSION:
        raise BadArchive(f"it was made by a newer modelmake, as version {mark.version}")
    return mark


@contextmanager
def _opened(place: Path, watch: StopCheck) -> Iterator[Members]:
    with naming(place, "read"), place.open("rb", buffering=READ_AHEAD_BYTES) as file:
        members = Members(Plain(file, watch), LIMITS)
        with _named(place, members):
            yield members


@contextmanager
def _named(place: Path, members: Members | None = None) -> Iterator[None]:
    try:
        yield
    except BadArchive as error:
        where = members.place if members else ""
        what = f"The bundle {shown(place)} cannot be used: {error}{where}."
        raise BadArchive(what, hint=AGAIN) from error
