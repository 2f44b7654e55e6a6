"""Places in object stores that are written to: obstore uploads, our own client downloads.

obstore (the extra `object-store`) is imported with the first of them.
"""

from collections.abc import Callable, Iterator
from typing import BinaryIO, NamedTuple

from downloader.errors import ModelmakeError, NotFound, Offline, SettingError, Stop
from downloader.network._signing import EXTRA, credentials_of, has_extra, open_store, translated
from downloader.settings import Settings
from downloader.sources.object_store import bucket_of
from downloader.urls import Location, may_have_credential, redact

PART_BYTES = 16 << 20
"""Of a multipart upload; larger in one of more than 160 GB, for S3 takes 10,000 parts."""
MOST_PARTS = 10_000
PARTS_AT_ONCE = 4


class Stored(NamedTuple):
    """An object in a bucket."""

    key: str
    """Below the address of the bucket that was opened."""
    size: int
    etag: str | None


class ObjectStore:
    """A place in an object store that is written to; safe to share between threads.

    Args:
        url: `s3://bucket/prefix/`, `gs://…` or `az://account/container/…`. Keys are below it.
        settings: The environment's wishes.
        stop: Ends an upload.

    Raises:
        ModelmakeError: The extra is missing, or a setting cannot be used.
    """

    def __init__(self, url: str, settings: Settings, stop: Stop | None = None) -> None:
        self.url, self._stop = f"{url.rstrip('/')}/", stop or Stop()
        self.bucket = bucket_of(url)
        place = f"{self.bucket.account}/{self.bucket.name}".lstrip("/")
        self.prefix = self.url.partition("://")[2].removeprefix(f"{place}/")
        if settings.is_offline:
            raise Offline(f"{self.url} was not asked: MODELMAKE_OFFLINE is set.")
        if not has_extra():
            raise ModelmakeError(f"{self.url} needs the extra `object-store`.", hint=f"{EXTRA}")
        found = credentials_of(self.bucket)
        self._who, self._is_static = found.who, found.config is not None and found.is_static
        if found.config is not None and not may_have_credential(self.bucket.base):
            raise SettingError(
                f"{self.url} is at {redact(self.bucket.base)}, without https, so that {found.who} "
                "would be sent in plain text.",
                hint="Set the endpoint in the environment to an https URL.",
            )
        with translated(self.url, found.who):
            self._store = open_store(self.bucket, found)

    def list(self, prefix: str = "") -> Iterator[Stored]:
        """Yield the objects whose keys are in a folder below the address.

        Args:
            prefix: The folder; all below the address if it is empty.

        Raises:
            ModelmakeError: It could not be listed.
        """
        folder = f"{self.prefix}{prefix}"
        with translated(self.url, self._who, self.bucket.kind):
            for each in (each for page in self._store.list(folder or None) for each in page):
                self._stop.check()
                key = each["path"].removeprefix(self.prefix)
                yield Stored(key, each["size"], each["e_tag"])

    def head(self, key: str) -> Stored | None:
        """Return what is known of an object; None if there is none.

        Raises:
            ModelmakeError: It could not be asked for.
        """
        try:
            with translated(self.url, self._who, self.bucket.kind):
                found = self._store.head(f"{self.prefix}{key}")
        except NotFound:
            return None
        return Stored(key, found["size"], found["e_tag"])

    def location(self, key: str) -> Location:
        """Return where an object can be downloaded; `Client.open` signs what is not public."""
        return self.bucket.location(f"{self.prefix}{key}")

    @property
    def is_resumable(self) -> bool:
        """Whether our own client can write parts here: with a key or a SAS token, not a role."""
        return self._is_static and self.bucket.kind in ("s3", "az")

    @staticmethod
    def part_bytes(size: int) -> int:
        """Return how large the parts of an object are; one that is not larger has none."""
        return max(PART_BYTES, -(-size // (MOST_PARTS - 1)))

    def put(
        self, key: str, file: BinaryIO, size: int, moved: Callable[[int], object] | None = None
    ) -> None:
        """Write an object, in parts and several at once if it is large; all of it or nothing.

        Args:
            key: Below the address.
            file: Its bytes, from here on; read in this order, once.
            size: In bytes.
            moved: Called with the number of bytes that were taken from the file, again and again.

        Raises:
            Interrupted: The run was stopped; the object is as it was.
            ModelmakeError: It could not be written.
        """
        part = self.part_bytes(size)
        source = _Watched(file, self._stop, moved or (lambda _count: None))
        try:
            with translated(self.url, self._who, self.bucket.kind):
                self._store.put(
                    f"{self.prefix}{key}",
                    source,
                    use_multipart=size > part,
                    chunk_size=part,
                    max_concurrency=PARTS_AT_ONCE,
                )
        except ModelmakeError:
            if source.error is not None:
                raise source.error from None
            raise


class _Watched:
    """A file that is read for an upload.

    Attributes:
        error: What reading it raised: obstore makes an OSError of anything.
    """

    def __init__(self, file: BinaryIO, stop: Stop, moved: Callable[[int], object]) -> None:
        self._file, self._stop, self._moved = file, stop, moved
        self.error: BaseException | None = None

    def read(self, count: int = -1, /) -> bytes:
        try:
            self._stop.check()
            data = self._file.read(count)
            self._moved(len(data))
        except BaseException as error:
            self.error = error
            raise
        return data

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._file.seek(offset, whence)

    def tell(self) -> int:
        return self._file.tell()
