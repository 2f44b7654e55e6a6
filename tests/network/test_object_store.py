"""Signed requests to object stores, and uploads: against the fake of S3, with obstore as it is.

tests/e2e/test_object_stores.py has the servers that nobody here wrote.
"""

import hashlib
import io
import json
import subprocess
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime, timedelta, tzinfo
from importlib.util import find_spec
from pathlib import Path

import pytest

from downloader.errors import (
    AccessDenied,
    ConnectionLost,
    Interrupted,
    ModelmakeError,
    NotFound,
    Offline,
    SettingError,
    Stop,
    StoreError,
    one_line,
)
from downloader.network import _signing, object_store
from downloader.network._signing import ANONYMOUS, credentials_of
from downloader.network.client import Client
from downloader.network.object_store import ObjectStore
from downloader.settings import Settings
from downloader.sources.object_store import bucket_of
from downloader.urls import Bucket, Location
from tests.servers.buckets import BUCKET, KEY, SECRET, S3Server, refused
from tests.servers.object_stores import boto, boto3_python
from tests.servers.process import NotInstalled

URL = f"s3://{BUCKET}/m/"


@pytest.fixture
def needs_obstore() -> None:
    """Skip without the extra `object-store`."""
    if find_spec("obstore") is None:
        raise NotInstalled("obstore is not installed (pip install 'modelmake[object-store]')")


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch, needs_obstore: None) -> Iterator[S3Server]:
    """Give a private bucket with an object, and its key in the environment."""
    with S3Server() as s3:
        s3.put("m/a.bin", b"weights")
        for name, value in s3.environment.items():
            monkeypatch.setenv(name, value)
        yield s3


@pytest.fixture
def client() -> Iterator[Client]:
    """Give a client that does not try again."""
    with closing(Client(Settings(timeout_seconds=5.0, retries=1))) as client:
        yield client


def read(client: Client, location: Location, **conditions: str) -> bytes:
    """Return a document, or raise why there is none."""
    named = {name.replace("_", "-"): value for name, value in conditions.items()}
    with client.open(location, named, is_pinned=False) as reply:
        if reply.head.status not in (200, 206):
            raise reply.refusal(location)
        return reply.read_some(1000)


def in_bucket(key: str = "m/a.bin", query: str = "") -> Location:
    """Return where an object is."""
    return bucket_of(URL).location(key, query)


def test_a_request_is_signed_with_its_query_and_headers(s3: S3Server, client: Client) -> None:
    """The fake computes each signature itself; S3's own headers become a part of the query."""
    version = s3.put("m/ü +%2F.bin", b"other weights")
    found = in_bucket("m/ü +%2F.bin", f"versionId={version.number}")
    assert read(client, found, Range="bytes=0-4") == b"other"
    assert read(client, found, x_amz_checksum_mode="ENABLED") == b"other weights"
    assert b"<Key>m/a.bin</Key>" in read(client, in_bucket("", "list-type=2&prefix=m%2F"))
    assert len(s3.signatures) == 3


def test_a_signature_is_used_again_until_it_is_refused(s3: S3Server, client: Client) -> None:
    """Then it is computed anew, once, for the same request."""
    assert [read(client, in_bucket()) for _ in range(3)] == [b"weights"] * 3
    assert len(s3.signatures) == 1
    s3.worn |= s3.signatures
    # A signature of the same second is the same: as if time had passed.
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_signing, "LIFETIME", timedelta(minutes=30))
        assert read(client, in_bucket()) == b"weights"
    assert len(s3.signatures) == 2
    assert [each.status for each in s3.requests] == [200, 200, 200, 403, 200]


def test_an_old_signature_is_not_sent(
    s3: S3Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that begins late may end after it."""
    monkeypatch.setattr(_signing, "FRESH_SECONDS", -1.0)
    read(client, in_bucket())
    monkeypatch.setattr(_signing, "LIFETIME", timedelta(minutes=30))
    read(client, in_bucket())
    assert len(s3.signatures) == 2


@pytest.mark.parametrize(("hours", "where"), [(2, "behind"), (-2, "ahead of")])
def test_a_wrong_clock_is_named(s3: S3Server, client: Client, hours: int, where: str) -> None:
    """Ours is compared with that of the reply; S3 only says that it was refused."""
    s3.clock = timedelta(hours=hours)
    with pytest.raises(AccessDenied, match=f"clock is 120 minutes {where}") as error:
        read(client, in_bucket())
    assert "Set this machine's clock" in error.value.hint


def test_another_region_is_named(s3: S3Server, client: Client) -> None:
    """Whether S3 says so in an error or by a redirect that leads nowhere."""
    s3.region = "eu-west-1"
    for s3.is_elsewhere in (False, True):
        with pytest.raises(ModelmakeError) as error:
            read(client, in_bucket())
        assert "`region: eu-west-1`" in error.value.hint
        assert "AWS_REGION" in error.value.hint


def test_a_new_bucket_in_another_region_is_followed(s3: S3Server, client: Client) -> None:
    """For a day S3 answers for it with a redirect that has the region too, and leads there."""
    there = f"{s3.url}/{BUCKET}/m/there.bin"
    redirect = refused(307, "TemporaryRedirect", "Please re-send this request there.")
    redirect = redirect.with_header("x-amz-bucket-region", "eu-west-1").with_header(
        "Location", there
    )
    s3.put("m/there.bin", b"there")
    s3.is_public = True
    s3.site.script(f"/{BUCKET}/m/a.bin", lambda *_: redirect)
    assert read(client, in_bucket()) == b"there"


def test_the_region_of_the_environment_is_signed_for(
    s3: S3Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the entry's, which comes first."""
    s3.region = "eu-west-1"
    monkeypatch.setenv("AWS_REGION", "eu-west-1")
    assert read(client, in_bucket()) == b"weights"
    monkeypatch.setenv("AWS_REGION", "us-west-2")
    assert read(client, bucket_of(URL, region="eu-west-1").location("m/a.bin")) == b"weights"


def test_no_message_shows_a_signature(s3: S3Server, client: Client) -> None:
    """Nor a key; a server may repeat what it was sent."""
    s3.denied.add("m/a.bin")
    with pytest.raises(AccessDenied) as error:
        read(client, in_bucket())
    said = error.value.report()
    assert "AWS_ACCESS_KEY_ID" in said
    assert "X-Amz" not in said
    assert KEY not in said
    assert SECRET not in said


def test_without_the_extra_a_public_bucket_works_and_a_private_one_says_what_to_install(
    s3: S3Server, client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials alone need nothing to be installed."""
    monkeypatch.setattr(_signing, "has_extra", lambda: False)
    with pytest.raises(AccessDenied, match="access denied") as error:
        read(client, in_bucket())
    assert error.value.hint == (
        "The credentials of AWS_ACCESS_KEY_ID were not used: that needs "
        "`pip install 'modelmake[object-store]'`."
    )
    monkeypatch.setattr(object_store, "has_extra", lambda: False)
    with pytest.raises(ModelmakeError, match="needs the extra `object-store`"):
        ObjectStore(URL, Settings())
    s3.is_public = True
    assert read(client, in_bucket()) == b"weights"


def test_plain_http_elsewhere_carries_no_signature(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens could use it for an hour."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://minio.example:9000")
    found = in_bucket()
    assert found.bucket is not None
    request = _signing.Signer().sign(found, found.bucket, {})
    assert request.location.url == found.url


AZURE = Bucket(kind="az", name="con", account="acc", base="https://acc.blob.core.windows.net/con")


@pytest.mark.parametrize(
    ("bucket", "variables", "who"),
    [
        (AZURE, {}, ""),
        (AZURE, {"AZURE_STORAGE_KEY": "a2V5", "AZURE_STORAGE_ACCOUNT": "acc"}, "AZURE_STORAGE_KEY"),
        (
            AZURE,
            {"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x", "AZURE_STORAGE_ACCOUNT_NAME": "acc"},
            "AZURE_STORAGE_SAS_TOKEN",
        ),
        (
            AZURE,
            {"AZURE_STORAGE_SAS_TOKEN": "s", "AZURE_STORAGE_ENDPOINT": "https://acc.example"},
            "AZURE_STORAGE_SAS_TOKEN",
        ),
        (AZURE, {"AZURE_STORAGE_KEY": "a2V5"}, ""),
        (AZURE, {"AZURE_STORAGE_SAS_TOKEN": "?sv=1&sig=x"}, ""),
        (AZURE, {"AZURE_STORAGE_KEY": "a2V5", "AZURE_STORAGE_ACCOUNT": "other"}, ""),
        (AZURE, {"AZURE_STORAGE_KEY": "a2V5", "AZURE_SKIP_SIGNATURE": "1"}, ""),
        (AZURE, {"AZURE_CLIENT_ID": "i", "AZURE_TENANT_ID": "t"}, "AZURE_CLIENT_ID"),
        (
            AZURE,
            {"AZURE_STORAGE_CONNECTION_STRING": "AccountName=acc;AccountKey=a2V5="},
            "AZURE_STORAGE_CONNECTION_STRING",
        ),
        (
            AZURE,
            {"AZURE_STORAGE_CONNECTION_STRING": "BlobEndpoint=https://b;SharedAccessSignature=s"},
            "AZURE_STORAGE_CONNECTION_STRING",
        ),
        (AZURE, {"AZURE_STORAGE_CONNECTION_STRING": "SharedAccessSignature=s"}, ""),
        (
            Bucket(kind="s3", name="b", base="https://b.s3.amazonaws.com"),
            {"AWS_WEB_IDENTITY_TOKEN_FILE": "/f", "AWS_ROLE_ARN": "r"},
            "the machine's role",
        ),
        (
            Bucket(kind="s3", name="b", base="https://b.s3.amazonaws.com"),
            {"AWS_ACCESS_KEY_ID": "k", "AWS_SECRET_ACCESS_KEY": "s", "AWS_SKIP_SIGNATURE": "1"},
            "",
        ),
    ],
)
def test_the_environment_has_the_credentials(
    monkeypatch: pytest.MonkeyPatch, bucket: Bucket, variables: dict[str, str], who: str
) -> None:
    """In the variables of each service's own tools, for the account that they name."""
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    found = credentials_of(bucket)
    assert found.who == who
    assert (found == ANONYMOUS) == (not who)


def test_a_key_of_azure_goes_to_no_address_that_only_models_yaml_names(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Its signature is good at the real account too, and models.yaml may come from anybody."""
    monkeypatch.setenv("AZURE_STORAGE_KEY", "a2V5")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acc")
    url = "az://acc/con/m/"
    foreign = bucket_of(url, endpoint="https://evil.example/acc")
    assert credentials_of(foreign) == ANONYMOUS
    for endpoint in (
        "https://acc.blob.core.windows.net.evil.example",
        "https://evil.example/.blob",
    ):
        assert credentials_of(bucket_of(url, endpoint=endpoint)) == ANONYMOUS
    ours = bucket_of(url, endpoint="https://acc.blob.core.usgovcloudapi.net")
    assert credentials_of(ours) != ANONYMOUS
    monkeypatch.setenv("AZURE_STORAGE_ENDPOINT", "https://evil.example/acc")
    assert credentials_of(bucket_of(url, endpoint="https://other.example")) != ANONYMOUS


@pytest.mark.parametrize(
    ("kind", "can_sign"), [("service_account", True), ("authorized_user", False)]
)
def test_a_login_of_google_without_a_key_is_not_signed_with(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, needs_obstore: None, kind: str, can_sign: bool
) -> None:
    """`gcloud auth application-default login` gives one."""
    file = tmp_path / "key.json"
    file.write_text(json.dumps({"type": kind}))
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
    found = credentials_of(bucket_of("gs://bbb/m/"))
    assert found.can_sign == can_sign
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "localhost:1")
    assert credentials_of(bucket_of("gs://bbb/m/")) == ANONYMOUS


def test_a_key_that_is_no_base64_is_a_setting_error(
    client: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It names the variable, and does not show it."""
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT", "acc")
    monkeypatch.setenv("AZURE_STORAGE_KEY", "no base64!")
    with pytest.raises(SettingError, match="AZURE_STORAGE_KEY is not base64") as error:
        read(client, bucket_of("az://acc/con/").location("a"))
    assert "no base64!" not in error.value.report()


def test_an_identity_of_azure_cannot_list(
    client: Client, monkeypatch: pytest.MonkeyPatch, needs_obstore: None
) -> None:
    """Obstore signs single blobs with it: what to set instead is said."""
    monkeypatch.setenv("AZURE_CLIENT_ID", "identity")
    monkeypatch.setenv("AZURE_TENANT_ID", "directory")
    with pytest.raises(AccessDenied, match="cannot be listed with AZURE_CLIENT_ID") as error:
        read(client, bucket_of("az://acc/con/").location(query="restype=container&comp=list"))
    assert "AZURE_STORAGE_SAS_TOKEN" in error.value.hint


def test_the_path_of_a_key_file_is_no_secret(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, needs_obstore: None
) -> None:
    """A message may name it."""
    file = str(tmp_path / "key.json")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
    found = bucket_of("gs://bbb/m/")
    with pytest.raises(AccessDenied, match="GOOGLE_APPLICATION_CREDENTIALS cannot be used"):
        ObjectStore("gs://bbb/m/", Settings())
    with pytest.raises(AccessDenied, match="GOOGLE_APPLICATION_CREDENTIALS cannot be used"):
        _signing.Signer().sign(found.location("a"), found, {})
    assert file in one_line(f"no {file}")


def test_nothing_is_asked_offline(s3: S3Server) -> None:
    """MODELMAKE_OFFLINE."""
    with pytest.raises(Offline):
        ObjectStore(URL, Settings(is_offline=True))
    assert s3.requests == []


def test_a_place_that_is_not_there_cannot_be_reached(
    monkeypatch: pytest.MonkeyPatch, needs_obstore: None
) -> None:
    """Obstore's own words hold the whole URL; ours do not."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setitem(_signing.RETRY, "max_retries", 0)
    store = ObjectStore(URL, Settings())
    with pytest.raises(ConnectionLost, match=f"^{URL}: the store could not be reached"):
        store.head("a")


def test_the_stop_and_the_files_own_errors_end_an_upload(s3: S3Server) -> None:
    """Obstore makes an OSError of either."""
    stop = Stop()
    stop.set()
    with pytest.raises(Interrupted):
        ObjectStore(URL, Settings(), stop).put("a", io.BytesIO(b"x"), 1)

    class Broken(io.BytesIO):
        def read(self, _count: int | None = -1, /) -> bytes:
            raise StoreError("the disk is broken")

    with pytest.raises(StoreError, match="the disk is broken"):
        ObjectStore(URL, Settings()).put("a", Broken(), 1)


def test_the_fake_is_understood_by_obstore_and_boto3(s3: S3Server) -> None:
    """Lists in pages, heads, errors: two clients that nobody here wrote."""
    s3.page_size = 1
    s3.put("m/ü +.bin", b"more")
    store = ObjectStore(URL, Settings())
    assert [each.key for each in store.list()] == ["a.bin", "ü +.bin"]
    found = store.head("a.bin")
    assert found is not None
    assert found.size == 7
    assert store.head("nothing") is None
    with pytest.raises(NotFound, match="NoSuchBucket"):
        list(ObjectStore("s3://nobucket/", Settings()).list())
    listed, gone = boto(
        s3.url,
        ("list_objects_v2", {"Bucket": BUCKET, "Prefix": "m/"}),
        ("get_object", {"Bucket": BUCKET, "Key": "nothing"}),
        key=KEY,
        secret=SECRET,
    )
    assert [each["Key"] for each in listed["Contents"]] == ["m/a.bin"]
    assert listed["IsTruncated"]
    assert gone["Error"]["Code"] == "NoSuchKey"


def test_the_fake_takes_the_signatures_of_boto3(s3: S3Server, client: Client) -> None:
    """Which it computes by a program of its own: then ours are right by two judges."""
    (url,) = boto(s3.url, ("presign", {"Bucket": BUCKET, "Key": "m/a.bin"}), key=KEY, secret=SECRET)
    assert read(client, Location(url=str(url))) == b"weights"
    with pytest.raises(AccessDenied, match="SignatureDoesNotMatch"):
        read(client, Location(url=str(url).replace("Expires=600", "Expires=601")))


@pytest.mark.usefixtures("needs_obstore")
@pytest.mark.parametrize(
    ("url", "variables"),
    [
        ("s3://bucket/m/", {"AWS_ENDPOINT_URL": "http://minio.example:9000"}),
        (
            "az://account/bucket/m/",
            {
                "AZURE_STORAGE_ENDPOINT": "http://azure.example",
                "AZURE_STORAGE_SAS_TOKEN": "sv=1&sig=canary",
            },
        ),
    ],
)
def test_no_credential_is_sent_in_plain_text(
    monkeypatch: pytest.MonkeyPatch, url: str, variables: dict[str, str]
) -> None:
    """Our own client leaves them out there; obstore would send them."""
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingError, match="without https") as caught:
        ObjectStore(url, Settings())
    assert "canary" not in one_line(caught.value)


AMAZON = "https://examplebucket.s3.amazonaws.com"
AMAZONS = {
    "access_key_id": "AKIAIOSFODNN7EXAMPLE",
    "secret_access_key": "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
}
NOTHING = hashlib.sha256(b"").hexdigest()


class Amazons(datetime):
    """The clock of Amazon's examples."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> "Amazons":
        """Return always the same."""
        return cls(2013, 5, 24, tzinfo=tz)


@pytest.mark.parametrize(
    ("query", "signature"),
    [
        ("lifecycle", "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
        ("max-keys=2&prefix=J", "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
    ],
)
def test_amazons_examples_are_signed_as_there(
    monkeypatch: pytest.MonkeyPatch, query: str, signature: str
) -> None:
    """Amazon S3 API reference, "Signature calculations: transferring payload in one chunk"."""
    monkeypatch.setattr(_signing, "datetime", Amazons)
    headers = {"x-amz-content-sha256": NOTHING}
    found = _signing._aws_headers("GET", f"{AMAZON}/?{query}", headers, "us-east-1", AMAZONS)
    assert found == {
        "x-amz-date": "20130524T000000Z",
        "Authorization": "AWS4-HMAC-SHA256 "
        "Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        f"SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature={signature}",
    }


BOTOCORE = """
import datetime, json, sys
import botocore.auth, botocore.awsrequest, botocore.credentials
now = datetime.datetime(2013, 5, 24)
botocore.auth.get_current_datetime = lambda **_: now
for method, url, headers, key, secret, token in json.load(sys.stdin):
    request = botocore.awsrequest.AWSRequest(method, url, headers, b"")
    owner = botocore.credentials.Credentials(key, secret, token)
    botocore.auth.S3SigV4Auth(owner, "s3", "eu-west-1").add_auth(request)
    print(request.headers["Authorization"])
"""
ODD = [
    f"{AMAZON}/a%20b/%C3%A9%2B~.bin?partNumber=1&uploadId=a%2Fb%2Bc.%3D%3D",
    f"{AMAZON}:8443/a?uploads=&prefix=a%20%2A%2Fb",
    "http://127.0.0.1:9000/bucket/a?x-b=&x=1",
    "http://[::1]/bucket/a",
]


def test_botocore_signs_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Odd names and queries, ports, headers and the token of a session too."""
    monkeypatch.setattr(_signing, "datetime", Amazons)
    config = {**AMAZONS, "session_token": "a token/of+a=session"}
    headers = {"x-amz-content-sha256": NOTHING, "x-amz-checksum-sha256": "a+b/c="}
    calls = [("PUT", url, headers, *config.values()) for url in ODD]
    command = [boto3_python(), "-c", BOTOCORE]
    ended = subprocess.run(
        command, input=json.dumps(calls), capture_output=True, text=True, check=True, timeout=60
    )
    assert ended.stdout.splitlines() == [
        _signing._aws_headers("PUT", url, headers, "eu-west-1", config)["Authorization"]
        for url in ODD
    ]


def test_a_refused_write_shows_no_signature(s3: S3Server, client: Client) -> None:
    """It names the variable with the key, whose permissions are to be looked at."""
    denial = refused(403, "AccessDenied", "Access Denied")
    s3.site.script(f"/{BUCKET}/m/new.bin", lambda *_: denial)
    location = in_bucket("m/new.bin", "partNumber=1&uploadId=secret-name")
    headers = {"x-amz-content-sha256": NOTHING}
    with client.send("PUT", location, headers=headers) as reply:
        said = reply.refusal(location).report()
    assert "Check what AWS_ACCESS_KEY_ID may do there." in said
    for each in ("Signature", "secret-name", KEY, SECRET):
        assert each not in said
