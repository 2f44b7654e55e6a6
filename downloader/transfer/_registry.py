"""A repository of an OCI registry as a place for published copies: `oci://registry/repository`.

Files are blobs, which a registry names by their SHA-256 anyway. An edition is a manifest that lists
them with their paths as ORAS does, with models.lock and models.pieces beside them: so `oras pull`
gives the files, and the registry deletes none of them as unused. It is tagged by the SHA-256 of the
lock, and `latest`.

A blob is sent in one request (POST, PUT), or in parts if it is large (PATCH), which go on after a
failure where the registry says it stopped. A registry that takes no parts gets it in one request
(OCI distribution-spec 1.1: Pushing).
"""

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from http import HTTPStatus
from typing import TypeAlias, TypeVar
from urllib.parse import urlsplit

from msgspec.structs import replace

from downloader.errors import BadResponse, ModelmakeError, SettingError
from downloader.network.client import Client, Reply, is_inside
from downloader.sources.oci import location_in
from downloader.transfer.places import Edition, Upload
from downloader.urls import Location, has_same_origin, host, join, may_have_credential

T = TypeVar("T")
Body: TypeAlias = bytes | Callable[[], Iterable[bytes]]

PART_BYTES = 64 << 20
"""Of a large blob in one request. Some registries take no less than 5 MiB, none wants so many that
each costs a round trip."""
MANIFEST = "application/vnd.oci.image.manifest.v1+json"
EMPTY = "application/vnd.oci.empty.v1+json"
FILE = "application/octet-stream"
LOCK = "application/vnd.modelmake.lock.v1+json"
PIECES = "application/vnd.modelmake.pieces.v1"
ARTIFACT = "application/vnd.modelmake.models.v1"
TITLE = "org.opencontainers.image.title"
MOST_MANIFEST_BYTES = 4 << 20
"""What a registry must take at least (distribution-spec 1.1)."""
REDIRECTS = frozenset({301, 302, 303, 307, 308})
NO_PARTS = frozenset({400, 404, 405, 411, 413, 415, 416, 501})
"""What registries answer to a PATCH that they do not know, or to a part of this size."""
STOPPED = re.compile(r"(?:bytes=)?0-([0-9]{1,18})")


class Registry:
    """A repository; safe to share between threads.

    Args:
        url: As `oci://registry/repository`.
        client: Opens the connections.
    """

    at_once = 8

    def __init__(self, url: str, client: Client) -> None:
        self._url, self._client = url.rstrip("/"), client
        parts = urlsplit(self._url)
        registry, repository = parts.netloc.lower(), parts.path.strip("/")
        self._name = f"{registry}/{repository}"
        self._registry, self._repository = registry, repository
        api = re.escape(self._location("").url)
        self._api_url = re.compile(rf"{api}[^\s:]*(?::[0-9a-f]+)?")
        self._takes_parts = True

    def location(self, sha256: str) -> Location:
        """See Place."""
        return self._location(f"blobs/sha256:{sha256}", writes=False)

    def has(self, sha256: str, size: int) -> bool:
        """See Place: a registry that keeps its blobs elsewhere answers with a redirect."""
        location = self._location(f"blobs/sha256:{sha256}")

        def ask() -> bool:
            with self._client.send("HEAD", location) as reply:
                status = reply.head.status
                if status == HTTPStatus.OK:
                    return reply.head.length in (None, size)
                if status != HTTPStatus.NOT_FOUND and status not in REDIRECTS:
                    raise reply.refusal(location)
                return status != HTTPStatus.NOT_FOUND

        return self._tried(ask)

    def upload(self, blob: Upload) -> None:
        """See Place."""
        if self._takes_parts and blob.size > PART_BYTES:
            try:
                _InParts(self, self._client, blob).upload()
            except _NoPartsError:
                self._takes_parts = False
            else:
                return
        self._put(blob.sha256, blob.size, blob.parts)

    def write(self, edition: Edition) -> None:
        """See Place.

        Raises:
            SettingError: There are too many files for one manifest.
        """
        layers = [*_files(edition), self._document(LOCK, edition.lock, "models.lock")]
        if edition.pieces:
            layers.append(self._document(PIECES, edition.pieces, "models.pieces"))
        manifest = {
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": ARTIFACT,
            "config": self._document(EMPTY, b"{}"),
            "layers": layers,
        }
        text = json.dumps(manifest, separators=(",", ":")).encode()
        if len(text) > MOST_MANIFEST_BYTES:
            raise SettingError(
                f"These models have too many files for one manifest of {self._name}.",
                hint="Publish fewer models at once: `doit publish --to PLACE MODEL`.",
            )
        for tag in (edition.sha256, "latest"):
            self._tried(partial(self._tag, tag, text))

    def begin(self) -> Location:
        """Begin an upload; return where its bytes go.

        Raises:
            ModelmakeError: The registry takes none.
        """
        location = self._location("blobs/uploads/")
        with self._client.send("POST", location) as reply:
            check(reply, location, HTTPStatus.ACCEPTED)
            return self.next_place(reply, location)

    def next_place(self, reply: Reply, location: Location) -> Location:
        """Return where the registry wants the next request of an upload.

        Only the registry itself gets the token, and only one in a private network may lead there.

        Raises:
            BadResponse: It says nothing usable.
        """
        target = reply.head.first("Location")
        try:
            url = join(location.url, target) if target else ""
        except ValueError:
            url = ""
        if not may_have_credential(url.partition("?")[0]):
            raise BadResponse(f"{reply.head.place} does not say where to send the file.")
        own = self._location("blobs/uploads/")
        if has_same_origin(url, own.url):
            return replace(own, url=url)
        is_free = is_inside(reply.url, reply.peer)
        outside = "" if is_free else reply.head.place
        return Location(url=url, named_hosts=frozenset({host(url)}), outside=outside)

    def end(self, place: Location, sha256: str, length: int = 0, body: Body = b"") -> None:
        """End an upload, with its last bytes; it is refused unless it has this SHA-256.

        Raises:
            ModelmakeError: The registry did not take it.
        """
        mark = "&" if "?" in place.url else "?"
        place = replace(place, url=f"{place.url}{mark}digest=sha256:{sha256}")
        headers = {"Content-Type": FILE}
        with self._client.send("PUT", place, body=body, length=length, headers=headers) as reply:
            check(reply, place, HTTPStatus.CREATED)

    def _put(self, sha256: str, size: int, body: Body) -> None:
        """Send a blob in one request; one that was kept although its reply was lost is not sent."""
        is_first = True

        def put() -> None:
            nonlocal is_first
            if is_first or not self.has(sha256, size):
                is_first = False
                self.end(self.begin(), sha256, size, body)

        self._tried(put)

    def _document(self, kind: str, content: bytes, title: str = "") -> dict[str, object]:
        """Upload a document unless it is there; return its descriptor."""
        sha256 = hashlib.sha256(content).hexdigest()
        if not self.has(sha256, len(content)):
            self._put(sha256, len(content), content)
        return _descriptor(kind, sha256, len(content), title)

    def _tag(self, tag: str, manifest: bytes) -> None:
        location = self._location(f"manifests/{tag}")
        headers = {"Content-Type": MANIFEST}
        with self._client.send("PUT", location, body=manifest, headers=headers) as reply:
            check(reply, location, HTTPStatus.CREATED)

    def _tried(self, act: Callable[[], T]) -> T:
        retries = self._client.retries(lambda *_: None)
        try:
            while True:
                with retries:
                    return act()
        except ModelmakeError as error:  # it names a blob, by 64 digits
            error.args = (self._api_url.sub(self._url, str(error)),)
            raise

    def _location(self, path: str, *, writes: bool = True) -> Location:
        found = location_in(self._registry, self._repository, path, writes=writes)
        return replace(found, mirror=self._url)


def check(reply: Reply, location: Location, wanted: HTTPStatus) -> None:
    """Raise unless a reply has this status; one without a body leaves its connection free.

    Raises:
        ModelmakeError: What the reply means.
    """
    if reply.head.status != wanted:
        raise reply.refusal(location)
    if not reply.head.length:
        reply.read_some(1)


class _NoPartsError(ModelmakeError):
    """The registry takes a blob in one request only."""


class _InParts:
    """One large blob on its way, in parts."""

    def __init__(self, registry: Registry, client: Client, blob: Upload) -> None:
        self._registry, self._client, self._blob = registry, client, blob
        self._place: Location | None = None
        self._start = 0
        """Where the next part begins."""
        self._pieces: Iterator[bytes] = iter(())
        self._rest = b""
        self._read_to = -1

    def upload(self) -> None:
        """Send it; after a failure, go on where the registry says that it stopped.

        Raises:
            _NoPartsError: The registry takes no parts; nothing was sent.
            ModelmakeError: It did not take it; or from the blob.
        """
        retries = self._client.retries(lambda *_: None)
        is_first = True
        while True:
            with retries:
                if not is_first:
                    if self._registry.has(self._blob.sha256, self._blob.size):
                        return  # only the last reply was lost
                    self._find_start()
                is_first = False
                place = self._place = self._place or self._begin()
                while self._start < self._blob.size:
                    place = self._send_part(place)
                    retries.present = self._start
                self._registry.end(place, self._blob.sha256)
                return

    def _begin(self) -> Location:
        self._start = 0
        return self._registry.begin()

    def _find_start(self) -> None:
        """Ask how much the registry has; begin anew if it does not say."""
        if self._place is None:
            return
        with self._client.send("GET", self._place) as reply:
            found = STOPPED.fullmatch(reply.head.first("Range"))
            if reply.head.status == HTTPStatus.NO_CONTENT and found:
                self._start = int(found[1]) + 1
                self._place = self._registry.next_place(reply, self._place)
            else:
                self._place = None

    def _send_part(self, place: Location) -> Location:
        """Send the next part; return where the one after it goes."""
        start, count = self._start, min(PART_BYTES, self._blob.size - self._start)
        headers = {"Content-Type": FILE, "Content-Range": f"{start}-{start + count - 1}"}
        body = partial(self._read, start, count)
        with self._client.send("PATCH", place, body=body, length=count, headers=headers) as reply:
            if start == 0 and reply.head.status in NO_PARTS:
                raise _NoPartsError("no parts")
            check(reply, place, HTTPStatus.ACCEPTED)
            found = STOPPED.fullmatch(reply.head.first("Range"))
            self._start = int(found[1]) + 1 if found else start + count
            if not start < self._start <= start + count:
                raise BadResponse(f"{reply.head.place} took another part than it was sent.")
            self._place = self._registry.next_place(reply, place)
            return self._place

    def _read(self, start: int, count: int) -> Iterator[bytes]:
        """Yield so many bytes of the file; what was read on the way to them is not read again."""
        if self._read_to != start:
            self._pieces, self._rest, self._read_to = self._blob.parts(start), b"", start
        while count:
            piece = self._rest or next(self._pieces)
            piece, self._rest = piece[:count], piece[count:]
            count -= len(piece)
            self._read_to += len(piece)
            yield piece
        if self._read_to == self._blob.size:
            next(self._pieces, None)  # so that it notes its end


def _files(edition: Edition) -> Iterator[dict[str, object]]:
    """Yield a descriptor for each file that the lock names and the place has."""
    published = dict(edition.blobs)
    for name, model in json.loads(edition.lock)["models"].items():
        for file in (*model.get("archives", ()), *model["files"]):
            if (sha256 := file.get("sha256")) in published:
                yield _descriptor(FILE, sha256, published[sha256], f"{name}/{file['path']}")


def _descriptor(kind: str, sha256: str, size: int, title: str) -> dict[str, object]:
    found: dict[str, object] = {"mediaType": kind, "digest": f"sha256:{sha256}", "size": size}
    return {**found, "annotations": {TITLE: title}} if title else found
