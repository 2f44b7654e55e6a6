"""A published copy in S3, Google Cloud Storage or Azure Blob Storage.

An object appears under its key only when all of it arrived. The last bytes of a file are handed on
only if the whole file is right: an upload that breaks off before leaves no object. Parts of a large
file that was not finished stay invisible, and the next run goes on with them (`_multipart`), except
in Google's store and with a role instead of a key; let the bucket drop them after some days.

Readers need the extra for private buckets only: our own client downloads, by signed URLs.
"""

import io
from functools import cached_property, partial

from msgspec.structs import replace

from downloader.network.client import Client
from downloader.network.object_store import ObjectStore
from downloader.sources.object_store import bucket_of, split
from downloader.transfer._multipart import Joined, send
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
        key, size, part = blob_path(blob.sha256), blob.size, self._store.part_bytes(blob.size)
        if size > part and self._store.is_resumable:
            location = self._store.location(key)
            send(self._client, location, blob, part, partial(self.has, blob.sha256, size))
        else:
            self._store.put(key, Joined(blob.parts()), size)

    def write(self, edition: Edition) -> None:
        """See Place."""
        for name, text in edition.documents.items():
            if self._store.head(name) is None:
                self._store.put(name, io.BytesIO(text), len(text))
