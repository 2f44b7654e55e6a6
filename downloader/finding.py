"""Files that are somewhere on this machine already, and are what the lock names.

Only a file whose size some wanted artifact has is opened; where the lock knows no size, one of the
same name. It is then read once, however many names lead to it, with all cores.
"""

import os
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

from downloader.artifact import Artifact
from downloader.disk.hashing import Hash, cores, feed, new_md5, new_sha256
from downloader.disk.looks import looks_same
from downloader.disk.walking import files_at, is_cached, shown
from downloader.errors import StoreError
from downloader.fs.rooted_path import open_to_read
from downloader.progress import bytes_text, counted

STEP_BYTES = 64 << 20
"""After so many bytes it is asked whether the run was stopped."""

StopCheck = Callable[[], None]
"""Called often; raises Interrupted when the run is to stop."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A file that was read, and is what an artifact is to be.

    Attributes:
        path: Where it is; no symlink.
        sha256: Of its bytes, in hex.
        status: How it looked while it was read.
        may_share: Whether a target may be the same file, as a hard link.
        is_ours: Whether it was made by this run; else nothing of it may change, its mode neither.
    """

    path: Path
    sha256: str
    status: os.stat_result
    may_share: bool = False
    is_ours: bool = False

    def check(self) -> None:
        """Refuse a file that is not as it was when it was read.

        Raises:
            StoreError: It was changed, or is gone.
        """
        try:
            is_same = looks_same(self.path.lstat(), self.status)
        except OSError:
            is_same = False
        if not is_same:
            raise StoreError(
                f"{self.path} was changed while it was read, so it is not taken.",
                hint="Run the same command again once nobody writes to it.",
            )


def key(artifact: Artifact) -> str | None:
    """Return what tells an artifact's bytes: SHA-256, else MD5 with the size, else None."""
    if artifact.sha256 is not None:
        return artifact.sha256
    return f"md5:{artifact.md5}" if artifact.md5 and artifact.size is not None else None


@dataclass(slots=True)
class _Candidate:
    path: Path
    status: os.stat_result
    keys: set[str] = field(default_factory=set)

    def order(self) -> tuple[bool, int, Path]:
        return self.path.name not in self.keys, -self.status.st_size, self.path


class Search:
    """Looks for the bytes of artifacts among files; safe to share between threads.

    Args:
        wanted: What is looked for.
        watch: Called often; raises to stop it.
        tell: Takes a line about a file that is passed over.
        shares: Whether a target may be the same file as any that is found.
    """

    def __init__(
        self,
        wanted: Iterable[Artifact],
        watch: StopCheck,
        tell: Callable[[str], None],
        *,
        shares: bool = False,
    ) -> None:
        self._watch, self._tell, self._shares = watch, tell, shares
        self._finding = threading.Lock()
        self._by_size: dict[int, set[str]] = defaultdict(set)
        self._by_name: dict[str, set[str]] = defaultdict(set)  # where no size is known
        self._nameless = set[str]()
        self.found: dict[str, Found] = {}
        for each in wanted:
            self._add(each)

    def look(self, place: Path) -> dict[str, Found]:
        """Read what may be wanted at a place, and return what is, by `key`.

        Args:
            place: A folder, with all below it, or a file.

        Raises:
            Interrupted: From the watch.
        """
        candidates = self._candidates(place)
        if candidates:
            total = bytes_text(sum(each.status.st_size for each in candidates))
            counts = counted(len(candidates), "file")
            self._tell(f"reads up to {counts} ({total}) in {shown(place)}")
        with ThreadPoolExecutor(cores()) as pool:
            for _ in pool.map(self._read, candidates):
                pass
        return self.found

    def _add(self, artifact: Artifact) -> None:
        wanted = key(artifact)
        if wanted is None:
            return
        if artifact.size is not None:
            self._by_size[artifact.size].add(wanted)
        else:
            self._by_name[artifact.path.rpartition("/")[2]].add(wanted)
            self._nameless.add(wanted)  # a cache may name it by its digest

    def _candidates(self, place: Path) -> list[_Candidate]:
        """Return the files to read: each once, and first those named by a digest that is wanted."""
        seen: dict[object, _Candidate] = {}
        for path, status in files_at(place, self._tell):
            self._watch()
            if keys := self._keys(path, status.st_size):
                real = Path(os.path.realpath(path))
                same = (status.st_dev, status.st_ino) if status.st_ino else real
                seen.setdefault(same, _Candidate(real, status)).keys.update(keys)
        return sorted(seen.values(), key=_Candidate.order)

    def _keys(self, path: Path, size: int) -> set[str]:
        """Return what a file of this size and name may be."""
        by_name = self._by_name.get(path.name, set()) | self._nameless & {path.name}
        return self._by_size.get(size, set()) | by_name

    def _read(self, candidate: _Candidate) -> None:
        self._watch()
        path, status = candidate.path, candidate.status
        with self._finding:
            wanted = candidate.keys - self.found.keys()
        if not wanted:
            return  # all that it may be was found elsewhere meanwhile
        try:
            digests = self._digests(path, status, with_md5=any(":" in each for each in wanted))
        except OSError as error:
            self._tell(f"passed over: {shown(path)}: {error.strerror}")
            return
        if digests is None:
            self._tell(f"passed over: {shown(path)} was changed while it was read")
            return
        may_share = self._shares or is_cached(path, status)
        one = Found(path=path, sha256=digests[0], status=status, may_share=may_share)
        with self._finding:
            for each in wanted.intersection(digests):
                self.found.setdefault(each, one)

    def _digests(
        self, path: Path, status: os.stat_result, *, with_md5: bool
    ) -> tuple[str, str] | None:
        """Return SHA-256 and MD5 as keys; None when the file is not what it was."""
        descriptor = open_to_read(path)
        try:
            if not looks_same(os.fstat(descriptor), status):
                return None
            sha256, md5 = new_sha256(), new_md5()
            hashes: tuple[Hash, ...] = (sha256, md5) if with_md5 else (sha256,)
            size = feed_all(descriptor, status.st_size, hashes, self._watch)
            if size != status.st_size or not looks_same(os.fstat(descriptor), status):
                return None
        finally:
            os.close(descriptor)
        return sha256.hexdigest(), f"md5:{md5.hexdigest()}"


def feed_all(descriptor: int, size: int, hashes: Iterable[Hash], watch: StopCheck) -> int:
    """Hash an open file from its first byte, and return how many there were.

    Args:
        descriptor: The file.
        size: How many at most.
        hashes: What to feed the bytes to.
        watch: Called now and then; raises Interrupted when the run is to stop.
    """
    position = 0
    while count := feed(descriptor, position, min(position + STEP_BYTES, size), hashes):
        position += count
        watch()
    return position
