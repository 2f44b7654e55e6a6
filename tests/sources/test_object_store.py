"""Object stores keep the contract of sources that ask; and what they alone promise.

The fake of S3 stands for the service here; tests/e2e/test_object_stores.py has real servers.
"""

import base64
import hashlib
import importlib.util
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from downloader.artifact import Artifact
from downloader.errors import BadResponse, ManifestError, NotFound, SettingError, SourceError
from downloader.manifest import manifest
from downloader.network.api import ApiClient
from downloader.network.client import Client
from downloader.project.resolve import ask, facts
from downloader.settings import Settings
from downloader.sources import object_store
from downloader.sources.interface import Provider, Start
from downloader.sources.object_store import (
    ObjectStore,
    ObjectStoreEntry,
    bucket_of,
)
from downloader.sources.registry import find_reference
from tests.servers.buckets import BUCKET, S3Server, as_xml, refused
from tests.sources.asking_contract import AskingSourceContract

FILES = {
    "m/config.json": b"{}",
    "m/weights/model 1+2=3.safetensors": b"weights",
    "m/weights/größe.bin": b"more weights",
    "m/empty": b"",
    "m/single.bin": b"the object",
    "m/single.bin/inside.txt": b"in a folder of that name",
    "m2/other.bin": b"of another model",
    "top.bin": b"of the bucket",
}
URL = f"s3://{BUCKET}"


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    """Give a public bucket with the files, three on a page, as AWS_ENDPOINT_URL."""
    with S3Server(is_public=True, page_size=3) as s3:
        for key, body in FILES.items():
            s3.put(key, body)
        monkeypatch.setenv("AWS_ENDPOINT_URL", s3.url)
        yield s3


@pytest.fixture
def provider() -> Iterator[Provider]:
    """Give the program's own way to ask."""
    with closing(Client(Settings(timeout_seconds=5.0, retries=1))) as client:
        yield ApiClient(client, lambda _: None)


class TestObjectStore(AskingSourceContract):
    """The contract, for a folder, with and without its slash, an object, and patterns."""

    entries: tuple[ObjectStoreEntry, ...] = (
        ObjectStoreEntry(url=f"{URL}/m/"),
        ObjectStoreEntry(url=f"{URL}/m"),
        ObjectStoreEntry(url=f"{URL}/m/weights/", mirrors=("https://mirror.example/m/",)),
        ObjectStoreEntry(url=f"{URL}/m/config.json"),
        ObjectStoreEntry(url=f"{URL}/m/", include=("weights/",), exclude=("*.bin",)),
        ObjectStoreEntry(url=f"{URL}/m2", region="eu-central-1"),
    )

    @pytest.fixture(autouse=True)
    def provider_is_there(self, s3: S3Server) -> None:
        """Let versions and checksums be told too."""
        del s3.versions["m/single.bin/inside.txt"]  # both at once are no model: see below
        s3.is_versioned = True
        s3.put_summed("m/sum.bin", b"with a checksum")


def resolved(url: str, provider: Provider, **keys: tuple[str, ...]) -> dict[str, Artifact]:
    """Return the files of an entry by path."""
    entry = ObjectStoreEntry(url=url, **keys)  # type: ignore[arg-type]
    return {each.path: each for each in ask("m", entry, ObjectStore(entry), provider).files}


@pytest.mark.parametrize(
    ("url", "paths"),
    [
        ("/m/", ["config.json", "empty", "single.bin/inside.txt", "weights/größe.bin"]),
        ("/m/weights", ["model 1+2=3.safetensors", "größe.bin"]),
        ("/m/weights/", ["model 1+2=3.safetensors", "größe.bin"]),
        ("/m/config.json", ["config.json"]),
        ("/m2/", ["other.bin"]),
        ("", ["top.bin", "m/config.json", "m2/other.bin"]),
        ("/", ["top.bin", "m/config.json", "m2/other.bin"]),
    ],
)
def test_paths_are_keys_below_the_prefix(
    s3: S3Server, provider: Provider, url: str, paths: list[str]
) -> None:
    """A prefix is a folder, with or without its slash: `m` is not also `m2`."""
    del s3.versions["m/single.bin"]
    found = resolved(f"{URL}{url}", provider, include=tuple(paths))

    assert sorted(found) == sorted(paths)


def test_an_object_that_is_also_a_folder_is_refused_unless_one_is_left_out(
    s3: S3Server, provider: Provider
) -> None:
    """No disk has both; the keys of a store may."""
    with pytest.raises(SourceError, match=r"'single.bin' and 'single.bin/inside.txt'"):
        resolved(f"{URL}/m/", provider)
    assert "single.bin" in resolved(f"{URL}/m/", provider, exclude=("single.bin/",))


def test_objects_that_stand_for_folders_are_no_files(s3: S3Server, provider: Provider) -> None:
    """The web pages of stores, and Hadoop, create empty objects for folders."""
    for key in ("n/", "n/sub/", "n/sub_$folder$", "n/sub/file"):
        s3.put(key, b"1" if key == "n/sub/file" else b"")
    assert list(resolved(f"{URL}/n/", provider)) == ["sub/file"]
    s3.put("n/full/", b"1")
    with pytest.raises(SourceError, match=r"'full/' is not a safe path: it ends with a slash"):
        resolved(f"{URL}/n/", provider)


@pytest.mark.parametrize(
    "key", ["h//etc/passwd", "h/../up", "h/a/../../up", "h/.modelmake/x", "h/a\\b", "h/CON"]
)
def test_keys_that_are_no_safe_paths_are_refused(
    s3: S3Server, provider: Provider, key: str
) -> None:
    """Nothing is written; what is left out does no harm."""
    s3.put("h/good.bin", b"1")
    s3.put(key, b"hostile")
    with pytest.raises(SourceError, match="has an object that cannot be a file") as error:
        resolved(f"{URL}/h/", provider)
    assert "exclude" in error.value.hint
    assert list(resolved(f"{URL}/h/", provider, include=("good.bin",))) == ["good.bin"]


@pytest.mark.parametrize("url", ["/nothing/", "/nothing", "/m/conf", "/M/"])
def test_a_prefix_without_objects_says_so(s3: S3Server, provider: Provider, url: str) -> None:
    """Such as a misspelt one, or a part of a name."""
    with pytest.raises(NotFound, match=r"has no objects\.") as error:
        resolved(f"{URL}{url}", provider)
    assert "case of letters" in error.value.hint


def test_all_pages_are_read(s3: S3Server, provider: Provider) -> None:
    """S3 lists a thousand objects a page."""
    s3.page_size = 1000
    for number in range(1003):
        s3.put(f"many/{number:04}.bin", b"1")
    assert len(resolved(f"{URL}/many/", provider)) == 1003
    lists = [each for each in s3.requests if "list-type" in each.target]
    assert len(lists) == 2


def test_each_object_is_locked_with_what_its_reply_tells(s3: S3Server, provider: Provider) -> None:
    """Version, size, SHA-256 if S3 keeps one of the whole object, else MD5 and other checksums."""
    s3.is_versioned = True
    version = s3.put_summed("v/sum.bin", b"summed")
    s3.put("v/crc.bin", b"crc", x_amz_checksum_crc64nvme="AAAAAAAAAAA=")
    found = resolved(f"{URL}/v/", provider)

    assert found["sum.bin"] == Artifact(
        path="sum.bin",
        size=6,
        sha256=hashlib.sha256(b"summed").hexdigest(),
        etag=version.etag,
        version=version.number,
    )
    assert found["crc.bin"].md5 == hashlib.md5(b"crc").hexdigest()
    assert found["crc.bin"].checksum == "crc64nvme:AAAAAAAAAAA="


def test_without_the_permission_to_read_versions_none_is_locked(
    s3: S3Server, provider: Provider
) -> None:
    """Public buckets often give s3:GetObject alone; the current object can be had."""
    s3.is_versioned = True
    assert resolved(f"{URL}/m2/", provider)["other.bin"].version
    s3.denies_versions = True
    found = resolved(f"{URL}/m2/", provider)["other.bin"]
    assert found.version is None
    assert found.etag


def test_many_questions_that_wait_for_one_cause_say_so_once(s3: S3Server) -> None:
    """A store that asks to slow down answers sixteen requests so, and then all of them."""
    busy = refused(503, "SlowDown", "Please reduce your request rate.")
    for number in range(30):
        s3.put(f"many/{number:02}.bin", b"1")
        s3.site.script(f"/{BUCKET}/many/{number:02}.bin", lambda *_: busy)
    said: list[str] = []
    with closing(Client(Settings(timeout_seconds=5.0))) as client:
        assert len(resolved(f"{URL}/many/", ApiClient(client, said.append))) == 30
    assert 1 <= len(said) <= 4
    assert "server busy (503 SlowDown)" in said[0]


SHA = base64.b64encode(hashlib.sha256(b"x").digest()).decode()
MD5 = base64.b64encode(hashlib.md5(b"x").digest()).decode()
ETAG = f'"{hashlib.md5(b"x").hexdigest()}"'


@pytest.mark.parametrize(
    ("kind", "etag", "headers", "fields"),
    [
        ("s3", ETAG, {}, {"md5"}),
        ("s3", ETAG.replace('"', ""), {}, {"md5"}),
        ("s3", '"0123456789abcdef0123456789abcdef-3"', {}, set()),
        ("s3", ETAG, {"x-amz-server-side-encryption": "aws:kms"}, set()),
        ("s3", ETAG, {"x-amz-server-side-encryption": "aws:kms:dsse"}, set()),
        ("s3", ETAG, {"x-amz-server-side-encryption": "AES256"}, {"md5"}),
        ("s3", ETAG, {"x-amz-server-side-encryption-customer-algorithm": "AES256"}, set()),
        ("s3", ETAG, {"x-amz-storage-class": "EXPRESS_ONEZONE"}, set()),
        ("s3", ETAG, {"x-amz-checksum-sha256": SHA}, {"sha256"}),
        ("s3", '"x-2"', {"x-amz-checksum-sha256": f"{SHA}-2"}, set()),
        (
            "s3",
            '"x-2"',
            {"x-amz-checksum-sha256": SHA, "x-amz-checksum-type": "COMPOSITE"},
            set(),
        ),
        (
            "s3",
            '"x-2"',
            {"x-amz-checksum-crc32c": "AAAAAA==", "x-amz-checksum-type": "COMPOSITE"},
            set(),
        ),
        ("s3", '"x-2"', {"x-amz-checksum-crc32c": "AAAAAA=="}, {"checksum"}),
        ("s3", '"x-2"', {"x-amz-version-id": "null"}, set()),
        ("s3", '"x-2"', {"x-amz-version-id": "3/L4kqtJlcpXroDTDmJ+"}, {"version"}),
        ("gs", '"CJ=="', {"x-goog-hash": "crc32c=AAAAAA=="}, {"checksum"}),
        ("gs", '"CJ=="', {"x-goog-hash": f"crc32c=AAAAAA==,md5={MD5}"}, {"checksum", "md5"}),
        ("gs", ETAG, {"x-goog-generation": "1795974832343853"}, {"version"}),
        ("az", '"0x8D"', {"content-md5": MD5}, {"md5"}),
        ("az", '"0x8D"', {"x-ms-blob-content-md5": MD5}, {"md5"}),
        ("az", '"0x8D"', {"x-ms-version-id": "2026-11-29T12:00:00.0000000Z"}, {"version"}),
        ("az", ETAG, {"x-amz-checksum-sha256": SHA}, set()),
    ],
)
def test_only_what_the_service_calls_a_digest_of_the_object_counts(
    kind: str, etag: str, headers: dict[str, str], fields: set[str]
) -> None:
    """Composite checksums, ETags of parts or of encrypted objects are none."""
    url = {"s3": "s3://b-b/p/", "gs": "gs://b-b/p/", "az": "az://acc/con/p/"}[kind]
    source = ObjectStore(ObjectStoreEntry(url=url))
    start = Start(size=1, etag=etag, magic=b"x", headers=headers)
    found = source._artifact("a", start)

    told = {"sha256", "md5", "checksum", "version"}
    assert {name for name in told if getattr(found, name) is not None} == fields
    assert found.sha256 in (None, hashlib.sha256(b"x").hexdigest())
    assert found.md5 in (None, hashlib.md5(b"x").hexdigest())


def test_an_object_that_google_would_decode_is_refused() -> None:
    """Its bytes on the wire are not those that were hashed."""
    headers = {"x-goog-stored-content-encoding": "gzip"}
    source = ObjectStore(ObjectStoreEntry(url="gs://bbb/p/"))
    with pytest.raises(SourceError, match="Content-Encoding gzip"):
        source._artifact("a", Start(size=1, etag=None, magic=b"", headers=headers))


ENDLESS = (
    "<ListBucketResult><IsTruncated>true</IsTruncated>"
    "<NextContinuationToken>again</NextContinuationToken></ListBucketResult>"
)
LONG_KEY = (
    f"<ListBucketResult><Contents><Key>m/{'a' * 5000}</Key><Size>1</Size></Contents>"
    "</ListBucketResult>"
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<html></html>",
        "<ListBucketResult><Contents><Key>m/a</Key></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Size>1</Size></Contents></ListBucketResult>",
        "<ListBucketResult><Contents><Key>m/a</Key><Size>-1</Size></Contents></ListBucketResult>",
        f"<ListBucketResult><Contents><Key>a</Key><Size>{2**63}</Size></Contents></ListBucketResult>",
        '<!DOCTYPE a [<!ENTITY b "c">]><ListBucketResult>&b;</ListBucketResult>',
        "<ListBucketResult>" + "<a>" * 5000,
        ENDLESS,
        LONG_KEY,
    ],
    ids=range(10),
)
def test_what_is_no_list_is_refused(s3: S3Server, provider: Provider, text: str) -> None:
    """A proxy's page, sizes that are none, entities, a list that does not end."""
    s3.site.always(f"/{BUCKET}", lambda *_: as_xml(200, text))
    with pytest.raises(BadResponse, match="not about the objects of s3://bucket/m/"):
        resolved(f"{URL}/m/", provider)


def test_an_object_and_one_of_its_name_in_a_folder_of_its_name(
    s3: S3Server, provider: Provider
) -> None:
    """The first is what the address names; what is locked is of that one alone."""
    s3.put("both", b"the object")
    s3.put("both/both", b"in the folder")
    entry = ObjectStoreEntry(url=f"{URL}/both")
    (locked,) = resolved(entry.url, provider).values()
    assert (locked.path, locked.size, locked.url) == ("both", len(b"the object"), entry.url)
    (location,) = ObjectStore(entry).locate(locked, None)
    assert location.url.partition("?")[0] == f"{s3.url}/{BUCKET}/both"


def test_a_prefix_of_too_many_other_objects_is_told(
    s3: S3Server, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a slash at its end it is a prefix of their keys too; the list is as it should be."""
    for number in range(9):
        s3.put(f"model-{number}", b"")
    monkeypatch.setattr(object_store, "MOST_OBJECTS", 2)
    monkeypatch.setattr(object_store, "PAGE", 2)
    with pytest.raises(SourceError, match="/model has more than 2 objects") as caught:
        resolved(f"{URL}/model", provider)
    assert "slash" in caught.value.hint


def test_entities_are_seen_in_utf_16_too(s3: S3Server, provider: Provider) -> None:
    """A list of some kilobytes could else become one of gigabytes."""
    text = (
        '<?xml version="1.0" encoding="UTF-16"?><!DOCTYPE a [<!ENTITY b "cc">]><ListBucketResult>'
        "<Contents><Key>m/&b;</Key><Size>1</Size></Contents></ListBucketResult>"
    )
    reply = as_xml(200, "").with_body(text.encode("utf-16"))
    s3.site.always(f"/{BUCKET}", lambda *_: reply)
    with pytest.raises(BadResponse, match="not about the objects of s3://bucket/m/"):
        resolved(f"{URL}/m/", provider)


def test_an_object_that_goes_away_while_it_is_locked_is_named(
    s3: S3Server, provider: Provider
) -> None:
    """The list had it a moment ago."""
    gone = refused(404, "NoSuchKey", "The specified key does not exist.")
    s3.site.always("/bucket/m2/other.bin", lambda *_: gone)
    with pytest.raises(NotFound, match=r"/bucket/m2/other\.bin"):
        resolved(f"{URL}/m2/", provider)


def test_one_version_is_asked_for() -> None:
    """Each service has its own name for it."""
    file = Artifact(path="a b", size=1, version="1/2+3")
    for url, query in (
        ("s3://bbb/p/", "versionId=1%2F2%2B3"),
        ("gs://bbb/p/", "generation=1%2F2%2B3"),
        ("az://account/con/p/", "versionid=1%2F2%2B3"),
    ):
        (location,) = ObjectStore(ObjectStoreEntry(url=url)).locate(file, None)
        assert location.url.endswith(f"/p/a%20b?{query}")


@pytest.mark.parametrize(
    ("url", "variables", "base"),
    [
        ("s3://my-bucket/p/", {}, "https://my-bucket.s3.amazonaws.com"),
        ("s3://my.bucket/p/", {}, "https://s3.amazonaws.com/my.bucket"),
        ("s3://bbb", {"AWS_REGION": "eu-west-1"}, "https://bbb.s3.eu-west-1.amazonaws.com"),
        ("s3://bbb", {"AWS_DEFAULT_REGION": "eu-west-1"}, "https://bbb.s3.eu-west-1.amazonaws.com"),
        ("s3://bbb", {"AWS_REGION": "cn-north-1"}, "https://bbb.s3.cn-north-1.amazonaws.com.cn"),
        ("s3://bbb", {"AWS_ENDPOINT_URL": "http://minio:9000/"}, "http://minio:9000/bbb"),
        (
            "s3://bbb",
            {"AWS_ENDPOINT_URL": "http://no", "AWS_ENDPOINT_URL_S3": "https://s3.hf.co"},
            "https://s3.hf.co/bbb",
        ),
        ("gs://bbb/p", {}, "https://storage.googleapis.com/bbb"),
        ("gs://bbb/p", {"STORAGE_EMULATOR_HOST": "localhost:4443"}, "http://localhost:4443/bbb"),
        ("az://acc/con/p", {}, "https://acc.blob.core.windows.net/con"),
        (
            "az://devstoreaccount1/con",
            {"AZURE_STORAGE_CONNECTION_STRING": "UseDevelopmentStorage=true"},
            "http://127.0.0.1:10000/devstoreaccount1/con",
        ),
        (
            "az://acc/con",
            {
                "AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;AccountKey=a2V5;"
                "BlobEndpoint=https://store.example.org/acc/"
            },
            "https://store.example.org/acc/con",
        ),
        (
            "az://acc/con",
            {
                "AZURE_STORAGE_CONNECTION_STRING": "DefaultEndpointsProtocol=https;"
                "AccountName=acc;AccountKey=a2V5;EndpointSuffix=core.chinacloudapi.cn"
            },
            "https://acc.blob.core.chinacloudapi.cn/con",
        ),
        (
            "az://acc/con",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;EndpointSuffix=core.o.org"},
            "https://acc.blob.core.windows.net/con",
        ),
        (
            "az://acc/con",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountKey=a2V5;EndpointSuffix=core.o.org"},
            "https://acc.blob.core.windows.net/con",
        ),
        (
            "az://acc/con",
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=other;BlobEndpoint=https://o.org"},
            "https://acc.blob.core.windows.net/con",
        ),
    ],
)
def test_the_environment_says_where_a_service_is(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str], base: str
) -> None:
    """The variables are those of the services' own tools."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert bucket_of(url).base == base


def test_a_profile_says_region_and_endpoint(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """~/.aws/config has them; the section of another profile has another form of name."""
    config = tmp_path / "config"
    config.write_text(
        "[default]\nregion = eu-north-1\n[profile minio]\nendpoint_url = https://minio.example/\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(config))
    assert bucket_of("s3://bbb").base == "https://bbb.s3.eu-north-1.amazonaws.com"
    monkeypatch.setenv("AWS_PROFILE", "minio")
    assert bucket_of("s3://bbb").base == "https://minio.example/bbb"


@pytest.mark.parametrize("value", ["ftp://minio", "minio:9000", "https://user:pw@minio", "http://"])
def test_an_endpoint_that_is_no_url_is_a_setting_error(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    """It is named, and not shown: it may hold a password."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    with pytest.raises(SettingError, match="endpoint of s3://") as error:
        bucket_of("s3://bbb")
    assert "pw" not in error.value.report()


@pytest.mark.parametrize("url", ["s3:/b", "s3://", "https://b/c", "az://acc", "s3://b/p?x=1", "s3"])
def test_what_is_no_address_is_refused(url: str) -> None:
    """Here, and in models.yaml."""
    with pytest.raises(SettingError, match="not an address"):
        bucket_of(url)
    text = f"models: {{m: {{source: object-store, url: '{url}'}}}}".encode()
    with pytest.raises(ManifestError, match=r"url"):
        manifest.load(text)


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ("url: 's3://bbb/../c/'", "its prefix cannot be used"),
        ("url: 's3://bbb//c/'", "its prefix cannot be used"),
        ("url: 's3://${BUCKET}/c/'", "variables are not expanded here"),
        ("url: 's3://a bucket/c/'", "not a name of the bucket"),
        ("url: 'az://a c/b/'", "not a name of the account or the container"),
        ("url: 'gs://bbb/c/', region: eu-west-1", "it is for s3:// only"),
        ("url: 's3://bbb/c/', region: 'eu west'", "a region such as eu-central-1"),
    ],
)
def test_faults_of_an_entry_are_named(keys: str, said: str) -> None:
    """With the key and what to write."""
    text = f"models: {{m: {{source: object-store, {keys}}}}}".encode()
    with pytest.raises(ManifestError) as error:
        manifest.load(text)
    assert said in error.value.report()


def test_an_address_is_a_short_form() -> None:
    """As `aws s3 ls` has it."""
    found = find_reference("s3://bbb/models/bert.v2/")
    assert found is not None
    assert found.keys == {"source": "object-store", "url": "s3://bbb/models/bert.v2/"}
    assert found.names == ("bert", "bert.v2")


def test_what_the_store_listed_stays_with_a_file_until_it_is_fetched() -> None:
    """A download is checked against the size, MD5 and validator that were locked."""
    listed = Artifact(path="a", size=3, md5="0" * 32, etag='"x"', version="1")
    assert facts(listed, None) == listed


def test_a_lock_of_another_entry_is_not_taken() -> None:
    """Fields that no object has, or another object's URL."""
    source = ObjectStore(ObjectStoreEntry(url="s3://bbb/p/a.bin", exclude=("b*",)))
    good = Artifact(path="a.bin", size=1, url="s3://bbb/p/a.bin")

    def said(*files: Artifact, **keys: object) -> str:
        from downloader.artifact import LockedModel  # noqa: PLC0415

        locked = LockedModel(entry=f"sha256:{'0' * 64}", source="object-store", files=files)
        return source.check(msgspec.structs.replace(locked, **keys))

    assert said(good) == ""
    assert said(good, revision="1")
    assert said()
    for wrong in (
        {"url": "s3://bbb/secret"},
        {"path": "other"},
        {"size": None},
        {"git_sha1": "0" * 40},
        {"content": "x"},
        {"path": "b", "url": None},
    ):
        assert said(msgspec.structs.replace(good, **wrong)), wrong


def test_a_refusal_of_the_list_is_the_stores_own(s3: S3Server, provider: Provider) -> None:
    """With what to do about it."""
    s3.site.always(f"/{BUCKET}", lambda *_: refused(403, "AccessDenied", "Access Denied"))
    with pytest.raises(SourceError, match="access denied") as error:
        resolved(f"{URL}/m/", provider)
    assert "AWS_ACCESS_KEY_ID" in error.value.hint
    is_there = importlib.util.find_spec("obstore") is not None
    assert "set AWS_ACCESS_KEY_ID" in error.value.hint
    assert ("modelmake[object-store]" in error.value.hint) != is_there
