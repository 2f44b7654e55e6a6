"""Object stores: a prefix of S3 and what speaks like it, Google Cloud Storage, Azure Blob Storage.

The list of a prefix says which objects there are. Each is then asked for by name: only a reply to
that tells its version, and the digest that the store keeps. S3 and Google answer with the same
kind of list (Google's XML API), Azure with one of its own.

    s3://bucket/prefix/             https://bucket.s3.amazonaws.com/KEY?versionId=…
    gs://bucket/prefix/             https://storage.googleapis.com/bucket/KEY?generation=…
    az://account/container/prefix/  https://account.blob.core.windows.net/container/KEY?versionid=…

Nothing here knows a credential: network/object_store.py signs the URLs, if the environment has any.
"""

import base64
import binascii
import contextlib
import functools
import os
import re
from collections.abc import Container, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple
from urllib.parse import quote, urlencode

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from downloader.artifact import Artifact, LeftOut, LockedModel, check_path, is_clean
from downloader.errors import BadResponse, NotFound, SettingError, SourceError, shown
from downloader.sources.interface import (
    VARIABLE,
    Entry,
    Fault,
    Provider,
    Question,
    Reference,
    Resolution,
    Start,
)
from downloader.urls import Bucket, Location, host, may_have_credential

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

ADDRESS = r"^(s3|gs)://[^/?#]+(/[^?#]*)?\Z|^az://[^/?#]+/[^/?#]+(/[^?#]*)?\Z"
_AZURE_HOST = r"(?:blob|dfs)\.core\.windows\.net"
_S3_HOST = r"s3[.-](?:[\w-]+\.)*amazonaws\.com(?:\.cn)?"
NAME = re.compile(r"[A-Za-z0-9$][A-Za-z0-9._-]{1,220}")
"""Of a bucket, container or account; the services are stricter, each in its own way."""
Region = Annotated[
    str,
    Meta(pattern=r"^[a-z0-9-]{2,40}\Z", extra={"form": "a region such as eu-central-1"}),
]
MOST_OBJECTS = 200_000
MOST_BYTES = 2**56
LONGEST_KEY = 4096
"""All three services take no key over 1,024 characters."""
PAGE = 1000
"""Objects in a page of a list: all three services have no more."""


class ObjectStoreEntry(Entry, frozen=True, kw_only=True, tag="object-store"):
    """Objects of S3, Google Cloud Storage, Azure Blob Storage, or a store that speaks like one."""

    may_be_private = True

    reference_forms = {  # noqa: RUF012
        "s3://BUCKET/PREFIX/": "the objects below a prefix in S3",
        "gs://BUCKET/PREFIX/": "the same in Google Cloud Storage",
        "az://ACCOUNT/CONTAINER/PREFIX/": "the same in Azure Blob Storage",
    }
    reference_slips = {  # noqa: RUF012
        r"(?:s3[an]?|minio|r2):/*(.+)": r"s3://\1",
        r"(?:gs|gcs|google):/*(.+)": r"gs://\1",
        r"(?:az|azure|abfss?|wasbs?):/*([^@]+)": r"az://\1",
        rf"(?:abfss?|wasbs?)://([\w$-]+)@(\w+)\.{_AZURE_HOST}(/.*)?": r"az://\2/\1\3",
        rf"https://([\w.-]{{3,63}})\.{_S3_HOST}(/[^?#%]*)?": r"s3://\1\2",
        rf"https://{_S3_HOST}/([^?#%]+)": r"s3://\1",
        r"https://storage\.(?:googleapis|cloud\.google)\.com/([^?#%]+)": r"gs://\1",
        rf"https://(\w+)\.{_AZURE_HOST}/([^?#%]+)": r"az://\1/\2",
    }

    url: Annotated[
        str,
        Meta(
            pattern=ADDRESS,
            description="`s3://bucket/prefix/`, `gs://bucket/prefix/` or "
            "`az://account/container/prefix/`; without the last slash also a single object.",
            extra={"form": "s3://bucket/prefix/, gs://bucket/prefix/ or az://account/container/"},
        ),
    ]
    region: Annotated[
        Region | None,
        Meta(
            description="The region of an S3 bucket; default: AWS_REGION, or us-east-1.",
        ),
    ] = None

    @classmethod
    def read_reference(cls, text: str) -> Reference | None:
        """See Entry: the address itself, named by its last part."""
        if not re.match(ADDRESS, text):
            return None
        last = text.rstrip("/").rpartition("/")[2]
        return Reference({"url": text}, (last.partition(".")[0], last))

    def faults(self, given: Container[str]) -> Iterator[Fault]:
        """See Entry."""
        kind, bucket, account, prefix = split(self.url)
        if re.search(VARIABLE, self.url):
            yield Fault(("url",), "variables are not expanded here", "Write the value itself.")
        elif not NAME.fullmatch(bucket) or not (NAME.fullmatch(account) or kind != "az"):
            what = "the bucket" if kind != "az" else "the account or the container"
            form = f"{kind}://my-bucket" if kind != "az" else "az://account/container"
            yield Fault(("url",), f"not a name of {what}", f"Write it like {form}/models/.")
        elif prefix.rstrip("/"):
            try:
                check_path(prefix.removesuffix("/"))
            except ValueError as error:
                yield Fault(("url",), f"its prefix cannot be used: {error}")
        if "region" in given and kind != "s3":
            yield Fault(("region",), "it is for s3:// only", "Remove it.")

    def source(self) -> "ObjectStore":
        """See Entry."""
        return ObjectStore(self)

    @property
    def needs_own_folder(self) -> bool:
        """See Entry."""
        return True

    @property
    def prefix(self) -> str:
        """What the keys of its objects begin with."""
        return split(self.url).prefix


class Address(NamedTuple):
    """The parts of an s3://, gs:// or az:// address."""

    kind: Literal["s3", "gs", "az"]
    bucket: str
    account: str
    prefix: str


KINDS: dict[str, Literal["s3", "gs", "az"]] = {"s3": "s3", "gs": "gs", "az": "az"}


def split(url: str) -> Address:
    """Return the parts of an address that has the form `ADDRESS`."""
    scheme, _, rest = url.partition("://")
    kind = KINDS[scheme]
    account, rest = rest.split("/", 1) if kind == "az" else ("", rest)
    bucket, _, prefix = rest.partition("/")
    return Address(kind, bucket, account, prefix)


def bucket_of(url: str, *, endpoint: str = "", region: str = "") -> Bucket:
    """Return the bucket of an address, where the environment says that its service is.

    Args:
        url: The address.
        endpoint: Where models.yaml says that the service is, if the environment does not.
        region: The same of an S3 bucket's region.

    Raises:
        SettingError: It has another form, or the environment has no usable endpoint.
    """
    if not re.match(ADDRESS, url):
        raise SettingError(
            f"{shown(url)} is not an address in an object store.",
            hint="Write it like s3://bucket/prefix/, gs://bucket/ or az://account/container/.",
        )
    kind, name, account, _ = split(url)
    find = {"s3": _s3_base, "gs": _gs_base, "az": _az_base}[kind]
    if kind == "s3":
        env, profile = os.environ, aws_profile()[1]
        named = env.get("AWS_REGION") or env.get("AWS_DEFAULT_REGION")
        region = region or named or profile.get("region", "")
    base = find(endpoint.rstrip("/"), name, account or region)
    if not may_have_credential(base.partition("$")[0], allows_plain=True):
        raise SettingError(
            f"The endpoint of {kind}:// in the environment is not an http or https URL.",
            hint="docs/sources/object-store.md has the variables.",
        )
    return Bucket(
        kind=kind,
        name=name,
        base=base,
        account=account,
        region=region,
        is_named=bool(endpoint) and base.startswith(f"{endpoint.rstrip('/')}/"),
    )


def _s3_base(endpoint: str, name: str, region: str) -> str:
    env = os.environ
    named = env.get("AWS_ENDPOINT_URL_S3") or env.get("AWS_ENDPOINT_URL")
    if found := named or endpoint or aws_profile()[1].get("endpoint_url"):
        return f"{found.rstrip('/')}/{name}"
    where = f"s3.{region}.amazonaws.com" if region else "s3.amazonaws.com"
    where += ".cn" if region.startswith("cn-") else ""  # Amazon's own, in China
    # A certificate for *.s3.amazonaws.com is not for a name with a dot in it.
    return f"https://{where}/{name}" if "." in name else f"https://{name}.{where}"


def _gs_base(endpoint: str, name: str, _: str) -> str:
    found = os.environ.get("STORAGE_EMULATOR_HOST", "").rstrip("/") or endpoint
    if found and "://" not in found:
        found = f"http://{found}"
    return f"{found or 'https://storage.googleapis.com'}/{name}"


def _az_base(endpoint: str, name: str, account: str) -> str:
    found = azure_settings(account).get("BlobEndpoint", "").rstrip("/") or endpoint
    return f"{found or f'https://{account}.blob.core.windows.net'}/{name}"


class _Object(NamedTuple):
    """One object of a list."""

    key: str
    size: int
    is_folder: bool
    """Whether it only stands for a folder, as the services' own web pages create them."""


class ObjectStore:
    """The source of one `object-store` entry."""

    def __init__(self, entry: ObjectStoreEntry) -> None:
        self._entry = entry

    def outline(self) -> None:
        """See Source: which objects there are, the store says."""

    def resolve(self, provider: Provider) -> Resolution:
        """See AskingSource: the pages of the list, then each object's own reply."""
        entry, found = self._entry, dict[str, _Object]()
        for each in self._listed(provider):
            path = self._path(each.key)
            is_taken = path in found and found[path].key == entry.prefix  # what `url` itself names
            if path and not (each.is_folder or is_taken):
                found[path] = each
            if len(found) > MOST_OBJECTS:
                raise self._too_many()
        if not found:
            raise NotFound(
                f"{entry.url} has no objects.",
                hint="Check `url` in models.yaml: the case of letters counts.",
            )
        wanted = {path: each for path, each in found.items() if entry.wants(path)}
        if not wanted:  # the error about that lists what there is
            return Resolution(artifacts=tuple(Artifact(path=path) for path in found))
        for path in wanted:
            self._check(path)
        questions = [self._question(each) for each in wanted.values()]
        starts = provider.starts(questions)
        files = [self._artifact(path, start) for path, start in zip(wanted, starts, strict=True)]
        if not self._can_read_versions(provider, files):
            files = [msgspec.structs.replace(each, version=None) for each in files]
        size = sum(each.size for path, each in found.items() if path not in wanted)
        count = len(found) - len(wanted)
        left_out = LeftOut(files=count, size=size) if count else None
        return Resolution(artifacts=tuple(files), left_out=left_out)

    def check(self, locked: LockedModel) -> str:
        """See AskingSource."""
        if locked.revision is not None:
            return "its revision"
        if locked.archives or not locked.files:
            return "its list of files"
        return "" if all(map(self._may_be_ours, locked.files)) else "a field of a file"

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:  # noqa: ARG002 - an object has a version of its own
        """See Source: the store, then the mirrors, which have the paths below the prefix."""
        entry = self._entry
        if artifact.size is None:
            raise SourceError(f"{entry.url} has no object {artifact.path} in models.lock.")
        first = self._first_place(artifact)
        urls = [f"{base.rstrip('/')}/{quote(artifact.path)}" for base in entry.bases]
        named = first.named_hosts | {*map(host, urls)}
        mirrors = (Location(url=url, named_hosts=named) for url in urls)
        return (replace(first, named_hosts=named), *mirrors)

    def _first_place(self, artifact: Artifact) -> Location:
        bucket, version = self._bucket, artifact.version
        query = urlencode({VERSION[bucket.kind]: version}) if version else ""
        return bucket.location(self._key(artifact), query)

    @functools.cached_property
    def _bucket(self) -> Bucket:
        entry = self._entry
        return bucket_of(entry.url, endpoint=entry.base_url or "", region=entry.region or "")

    def _path(self, key: str) -> str:
        """Return the path in the model's folder of an object; empty if the entry is not about it.

        A prefix without a slash at its end means an object of that name, or a folder.
        """
        prefix = self._entry.prefix
        if not prefix or prefix.endswith("/"):
            return key.removeprefix(prefix)
        if key == prefix:
            return prefix.rpartition("/")[2]
        return key.removeprefix(f"{prefix}/") if key.startswith(f"{prefix}/") else ""

    def _key(self, artifact: Artifact) -> str:
        """Return the key of the object that a locked file is."""
        prefix = self._entry.prefix
        if artifact.url:  # it is the object that the entry names, and not in a folder of that name
            return prefix
        folder = f"{prefix}/" if prefix and not prefix.endswith("/") else prefix
        return f"{folder}{artifact.path}"

    def _check(self, path: str) -> None:
        """Refuse an object that cannot be a file of that path.

        Raises:
            SourceError: Says what to do about it.
        """
        try:
            check_path(path)
        except ValueError as error:
            raise SourceError(
                f"{self._entry.url} has an object that cannot be a file: {error}.",
                hint="Leave it out with `exclude`, or give it another key.",
            ) from None

    def _listed(self, provider: Provider) -> Iterator[_Object]:
        """Yield the objects whose keys begin with the prefix.

        Raises:
            BadResponse: The store answers with something else than their list.
            SourceError: They are too many.
        """
        bucket, marker = self._bucket, ""
        is_azure = bucket.kind == "az"
        asked = {"restype": "container", "comp": "list"} if is_azure else {"list-type": "2"}
        if self._entry.prefix:
            asked["prefix"] = self._entry.prefix
        for _ in range(MOST_OBJECTS // PAGE * 2):
            query = asked | ({MARKER[bucket.kind]: marker} if marker else {})
            text = provider.read(bucket.location(query=urlencode(query, quote_via=quote)))
            try:
                objects, following = (_azure_page if is_azure else _page)(text)
            except (ValueError, RecursionError):
                raise self._unusable() from None
            yield from objects
            if not following:
                return
            if following == marker:
                raise self._unusable()
            marker = following
        raise self._too_many()

    def _question(self, found: _Object) -> Question:
        """Return how an object is asked for what only its own reply tells.

        S3 tells checksums in answer to a request for the whole object only: its body is not read.
        An empty object has no first byte.
        """
        location = self._bucket.location(found.key)
        if self._bucket.kind == "s3":
            return location, {"x-amz-checksum-mode": "ENABLED"}
        return location, {"Range": "bytes=0-0"} if found.size else {}

    def _artifact(self, path: str, start: Start) -> Artifact:
        header, kind = start.headers.get, self._bucket.kind
        if start.size is None:
            raise self._unusable()
        stored = header("x-goog-stored-content-encoding", "identity")
        if stored not in {"", "identity"}:
            raise SourceError(
                f"{self._entry.url}: {path} is stored with Content-Encoding {shown(stored, 40)}.",
                hint="Google would send it decoded, as other bytes. Upload it again without.",
            )
        sums = _checksums(start, kind)
        is_single = self._path(self._entry.prefix) == path and bool(self._entry.prefix)
        is_single = is_single and not self._entry.prefix.endswith("/")
        version = header(VERSION_HEADER[kind], "")
        return Artifact(
            path=path,
            size=start.size,
            sha256=sums.get("sha256"),
            md5=None if "sha256" in sums else sums.get("md5"),
            etag=start.etag,
            url=self._entry.url if is_single else None,
            version=version if version not in {"", "null"} and is_clean(version) else None,
            checksum=next((f"{name}:{sums[name]}" for name in CHECKSUMS if name in sums), None),
        )

    def _can_read_versions(self, provider: Provider, files: Sequence[Artifact]) -> bool:
        """Whether an object may be requested by its version, tried with one of them.

        On S3 that is a permission of its own, s3:GetObjectVersion, which public buckets often do
        not give. Without it the current object is requested, and its ETag or SHA-256 decides.
        """
        versioned = [each for each in files if each.version and each.size]
        if not versioned:
            return True
        try:
            provider.start(self._first_place(versioned[0]))
        except SourceError:
            return False
        return True

    def _may_be_ours(self, file: Artifact) -> bool:
        """Whether a file in the lock can be an object that the store lists."""
        foreign = file.checkpoint, file.into, file.archive, file.content, file.git_sha1
        if foreign != (None,) * 5 or file.size is None:
            return False
        last = self._entry.prefix.rpartition("/")[2]
        is_named = file.url is None or (file.url, file.path) == (self._entry.url, last)
        return is_named and self._entry.wants(file.path)

    def _too_many(self) -> SourceError:
        return SourceError(
            f"{self._entry.url} has more than {MOST_OBJECTS:,} objects.",
            hint="Name a longer prefix in `url`, with a slash at its end.",
        )

    def _unusable(self) -> BadResponse:
        return BadResponse(
            f"{host(self._bucket.base)} answered with something that is not about the objects of "
            f"{self._entry.url}.",
            hint="Check the endpoint: it must be that of the service, not of its web page.",
        )


VERSION = {"s3": "versionId", "gs": "generation", "az": "versionid"}
"""The parameter that asks for one version of an object."""
VERSION_HEADER = {"s3": "x-amz-version-id", "gs": "x-goog-generation", "az": "x-ms-version-id"}
MARKER = {"s3": "continuation-token", "gs": "continuation-token", "az": "marker"}
CHECKSUMS = ("crc64nvme", "crc32c", "crc32")
"""What a store knows beside SHA-256 and MD5. They are compared with what was locked before, and not
computed: in Python that takes longer than the download."""


def _page(text: bytes) -> tuple[list[_Object], str]:
    """Return the objects of one page of S3's list, and the token of the next page.

    Raises:
        ValueError: It is no such list.
    """
    root = xml_root(text, "ListBucketResult")
    listed = root.iterfind("{*}Contents")
    objects = [_object(_text(entry, "Key"), _text(entry, "Size")) for entry in listed]
    is_cut = _text(root, "IsTruncated").lower() == "true"
    return objects, _text(root, "NextContinuationToken") if is_cut else ""


def _azure_page(text: bytes) -> tuple[list[_Object], str]:
    """Return the same of Azure's list."""
    root = xml_root(text, "EnumerationResults")
    objects = []
    for blob in root.iterfind("{*}Blobs/{*}Blob"):
        properties = blob.find("{*}Properties")
        if properties is None:
            raise ValueError(text[:100])
        found = _object(_text(blob, "Name"), _text(properties, "Content-Length"))
        is_folder = _text(properties, "ResourceType") == "directory"
        objects.append(found._replace(is_folder=found.is_folder or is_folder))
    return objects, _text(root, "NextMarker")


def _object(key: str, size: str) -> _Object:
    is_number = size.isascii() and size.isdecimal()
    if not 0 < len(key) <= LONGEST_KEY or not is_number or int(size) > MOST_BYTES:
        raise ValueError(key[:LONGEST_KEY])
    is_empty = int(size) == 0
    return _Object(key, int(size), is_empty and key.endswith(("/", "_$folder$")))


def xml_root(text: bytes, name: str) -> "Element":
    """Return the root of an XML document of a store.

    Raises:
        ValueError: It is none, or has another name.
    """
    from xml.etree.ElementTree import ParseError, fromstring  # noqa: PLC0415 - only to lock

    # No store sends one, nor UTF-16, in which it could not be seen here.
    if b"\0" in text or b"<!DOCTYPE" in text[:1000] or b"<!ENTITY" in text:
        raise ValueError(name)
    try:
        root = fromstring(text)  # noqa: S314 - without entities, and of a bounded size
    except ParseError:
        raise ValueError(name) from None
    if root.tag.rpartition("}")[2] != name:
        raise ValueError(root.tag)
    return root


def _text(element: "Element", name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


SHA256_BYTES, MD5_BYTES = 32, 16
KMS = ("aws:kms", "aws:kms:dsse")


def _checksums(start: Start, kind: str) -> dict[str, str]:
    """Return what a store knows of the bytes of a whole object: SHA-256 and MD5 in hex.

    A composite checksum of S3 is one of the checksums of parts, and no digest of the object. Its
    ETag is the MD5 if the object came in one part and is not encrypted with a key of its own
    (Amazon S3 API reference, Object); in directory buckets it is not.
    """
    header = start.headers.get
    sums: dict[str, str] = {}
    if kind == "gs":
        pairs = (part.strip().partition("=") for part in header("x-goog-hash", "").split(","))
        sums = {name: value for name, _, value in pairs}
    elif kind == "az":
        sums = {"md5": header("x-ms-blob-content-md5") or header("content-md5", "")}
    elif header("x-amz-checksum-type", "FULL_OBJECT") == "FULL_OBJECT":
        names = ("sha256", *CHECKSUMS)
        sums = {name: header(f"x-amz-checksum-{name}", "") for name in names}
    digests = {"sha256": SHA256_BYTES, "md5": MD5_BYTES}
    found = {name: sums[name] for name in CHECKSUMS if CHECKSUM.fullmatch(sums.get(name, ""))}
    for name, length in digests.items():
        if len(data := _decoded(sums.get(name, ""))) == length:
            found[name] = data.hex()
    etag = (start.etag or "").strip('"')
    is_of_key = header("x-amz-server-side-encryption") in KMS
    is_of_key |= "x-amz-server-side-encryption-customer-algorithm" in start.headers
    is_other = is_of_key or header("x-amz-storage-class") == "EXPRESS_ONEZONE"
    if kind == "s3" and re.fullmatch(r"[0-9a-f]{32}", etag) and not is_other:
        found["md5"] = etag
    return found


CHECKSUM = re.compile(r"[A-Za-z0-9+/]{6,86}={0,2}")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""


def aws_profile() -> tuple[str, dict[str, str]]:
    """Return the name of the profile that the environment chooses, and what the files say of it.

    `~/.aws/credentials` comes before `~/.aws/config`, whose sections have another form of name.
    """
    import configparser  # noqa: PLC0415 - a run with nothing to do asks for no endpoint

    env = os.environ
    name = env.get("AWS_PROFILE") or env.get("AWS_DEFAULT_PROFILE") or "default"
    found: dict[str, str] = {}
    in_config = name if name == "default" else f"profile {name}"
    for place, section in (
        (env.get("AWS_CONFIG_FILE") or "~/.aws/config", in_config),
        (env.get("AWS_SHARED_CREDENTIALS_FILE") or "~/.aws/credentials", name),
    ):
        parser = configparser.RawConfigParser(strict=False)
        with contextlib.suppress(OSError, configparser.Error, UnicodeDecodeError, RuntimeError):
            parser.read(Path(place).expanduser(), encoding="utf-8")
            found |= dict(parser[section]) if parser.has_section(section) else {}
    return name, found


AZURITE = "devstoreaccount1"
"""The account of Microsoft's emulator; its key is published."""
AZURITE_URL = f"http://127.0.0.1:10000/{AZURITE}"
AZURITE_KEY = (
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)


def azure_settings(account: str) -> dict[str, str]:
    """Return what the environment says of a storage account, in the words of connection strings.

    That of another account, or of one that only models.yaml names, is not for this one. `who` is
    the variable that said it.
    """
    env = os.environ
    if text := env.get("AZURE_STORAGE_CONNECTION_STRING"):
        pairs = (part.partition("=")[::2] for part in text.split(";"))
        found = {name.strip(): value for name, value in pairs}
        if found.get("UseDevelopmentStorage", "").lower() == "true":
            found = {"AccountName": AZURITE, "AccountKey": AZURITE_KEY, "BlobEndpoint": AZURITE_URL}
        named = found.get("AccountName", "")
        suffix = found.get("EndpointSuffix")
        if named and suffix and not found.get("BlobEndpoint"):
            found["BlobEndpoint"] = f"https://{named}.blob.{suffix}"  # as of Azure China
        found["who"] = "AZURE_STORAGE_CONNECTION_STRING"
    else:
        named = env.get("AZURE_STORAGE_ACCOUNT") or env.get("AZURE_STORAGE_ACCOUNT_NAME") or ""
        found = {"BlobEndpoint": env.get("AZURE_STORAGE_ENDPOINT", "")}
    if named != account and (named or not found.get("BlobEndpoint")):
        return {}  # models.yaml may come from anybody, and must not say who gets a token
    if "who" in found:
        return found
    if token := env.get("AZURE_STORAGE_SAS_TOKEN"):
        found |= {"SharedAccessSignature": token, "who": "AZURE_STORAGE_SAS_TOKEN"}
    elif key := env.get("AZURE_STORAGE_KEY") or env.get("AZURE_STORAGE_ACCOUNT_KEY"):
        found |= {"AccountKey": key, "who": "AZURE_STORAGE_KEY"}
    return found
