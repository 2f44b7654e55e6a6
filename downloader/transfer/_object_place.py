"""A published copy in S3, Google Cloud Storage or Azure Blob Storage.

An object appears under its key only when all of it arrived. The last bytes of a file are handed on
only if the whole file is right: an upload that breaks off before leaves no object. Parts of a large
file that was not finished stay invisible; let the bucket drop them after some days.

Readers need the extra for private buckets only: our own client downloads, by signed URLs.
"""

import io
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property

from downloader.network.client import Client
from downloader.network.object_store import ObjectStore
from downloader.sources.object_store import bucket_of, split
from downloader.transfer.places import Edition, Upload, blob_path
from downloader.urls import Location


class BucketPlace:
    """A prefix in a bucket; see Place.

    Args:
        url: `s3://bucket/prefix`, `gs://bucket/prefix` or `az://account/container/prefix`.
        client: Has the settings, and the stop.
    """

    at_once = 4
    """Each of several files has several parts in memory."""

    def __init__(self, url: str, client: Client) -> None:
        self._url, self._client = url, client
        self._bucket = bucket_of(url)
        prefix = split(url)[3].strip("/")
        self._prefix = f"{prefix}/" if prefix else ""

    @cached_property
    def _store(self) -> ObjectStore:
        return ObjectStore(self._url, self._client.settings, self._client.stop)

    def location(self, sha256: str) -> Location:
        """See Place."""
        found = self._bucket.location(f"{self._prefix}{blob_path(sha256)}")
        return replace(found, mirror=self._url)

    def has(self, sha256: str, size: int) -> bool:
        """See Place."""
        found = self._store.head(blob_path(sha256))
        return found is not None and found.size == size

    def upload(self, blob: Upload) -> None:
        """See Place."""
        self._store.put(blob_path(blob.sha256), _Parts(blob.parts()), blob.size)

    def write(self, edition: Edition) -> None:
        """See Place."""
        for name, text in edition.documents.items():
            if self._store.head(name) is None:
                self._store.put(name, io.BytesIO(text), len(text))


class _Parts(io.BytesIO):
    """A file to read once, of parts that come one by one; what raises there raises in `read`."""

    def __init__(self, parts: Iterator[bytes]) -> None:
        super().__init__()
        self._parts, self._rest = parts, b""

    def read(self, count: int | None = -1, /) -> bytes:
        """Return so many bytes, fewer at the end only; all that is left if it is negative."""
        taken, left = [self._rest], (count if count is not None and count >= 0 else 1 << 62)
        left -= len(self._rest)
        while left > 0 and (part := next(self._parts, None)) is not None:
            taken.append(part)
            left -= len(part)
        whole = b"".join(taken)
        cut = len(whole) if left >= 0 else len(whole) + left
        self._rest = whole[cut:]
        return whole[:cut]
