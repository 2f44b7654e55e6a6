"""`source: object-store` against servers that nobody here wrote: SeaweedFS, fake-gcs, Azurite."""

import base64
import hashlib
import hmac
import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlencode

import pytest

from tests.e2e.project import Project, finish
from tests.e2e.watching import wait_until, without_sockets
from tests.servers import azurite as azure
from tests.servers.azurite import Azurite
from tests.servers.buckets import S3Server
from tests.servers.faulty import FaultyServer
from tests.servers.object_stores import KEY, SECRET, FakeGcs, SeaweedFS

FILES = {
    "config.json": b"{}",
    "a b/größe 1+2=3%.bin": b"weights" * 5000,
    "empty": b"",
}
LARGE = bytes(range(256)) * (1 << 15)


@dataclass
class Store:
    """A place in a store: its address, how a reader gets at it, and how it is written."""

    url: str
    put: Callable[[str, bytes], object]
    variables: dict[str, str]
    secrets: tuple[str, ...] = ()
    keeps_versions: bool = False
    options: dict[str, str] = field(default_factory=dict)

    def entry(self, prefix: str = "m/") -> dict[str, str]:
        """Return the entry for a prefix."""
        return {"source": "object-store", "url": f"{self.url}/{prefix}", **self.options}


STORES = ["s3-public", "s3-private", "s3-versioned", "gs", "az-public", "az-key", "az-sas"]


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """Give an empty place in the store that the test is for."""
    kind, _, form = request.param.partition("-")
    with ExitStack() as running:
        if kind == "s3":
            yield _s3(request, form, tmp_path.name)
        elif kind == "gs":
            gcs = running.enter_context(FakeGcs())
            variables = {"STORAGE_EMULATOR_HOST": gcs.url.removeprefix("http://")}
            yield Store("gs://public", gcs.put, variables)
        else:
            yield _azure(running.enter_context(Azurite()), form)


def _s3(request: pytest.FixtureRequest, bucket: str, name: str) -> Store:
    server: SeaweedFS = request.getfixturevalue("seaweed")
    if bucket != "public":
        request.getfixturevalue("needs_extra")
    place = re.sub(r"[^a-z0-9]", "-", name.lower())
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    return Store(
        f"s3://{bucket}/{place}",
        lambda key, body: server.put(bucket, f"{place}/{key}", body),
        {"AWS_ENDPOINT_URL": server.url, **(keys if bucket != "public" else {})},
        secrets=(KEY, SECRET),
        keeps_versions=bucket == "versioned",
    )


def _azure(server: Azurite, form: str) -> Store:
    server.create("models", "container" if form == "public" else "")
    endpoint = server.url("")
    key = base64.b64encode(azure.KEY).decode()
    parts = {"AccountName": azure.ACCOUNT, "BlobEndpoint": endpoint}
    token = sas_token()
    parts |= {"key": {"AccountKey": key}, "sas": {"SharedAccessSignature": token}}.get(form, {})
    text = ";".join(f"{name}={value}" for name, value in parts.items())
    return Store(
        f"az://{azure.ACCOUNT}/models",
        lambda name, body: server.upload(f"/models/{name.replace('%', '%25')}", body),
        {"AZURE_STORAGE_CONNECTION_STRING": text},
        secrets=(key, token.rpartition("sig=")[2]),
    )


def sas_token() -> str:
    """Return an account SAS to read and list, as Azure's portal makes it (version 2020-12-06)."""
    end = (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    fields = {"sv": "2020-12-06", "ss": "b", "srt": "sco", "sp": "rl", "se": end}
    text = [azure.ACCOUNT, "rl", "b", "sco", "", end, "", "", "2020-12-06", "", ""]
    digest = hmac.digest(azure.KEY, "\n".join(text).encode(), "sha256")
    return urlencode({**fields, "sig": base64.b64encode(digest).decode()})


each_store = pytest.mark.parametrize("store", STORES, indirect=True)


def files_below(folder: Path) -> dict[str, bytes]:
    """Return a model's files by path, without ours."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and ".modelmake" not in path.parts
    }


def all_text(folder: Path) -> str:
    """Return whatever was written below a folder, but the models themselves."""
    return "".join(
        path.read_text(errors="replace")
        for path in folder.rglob("*")
        if path.is_file() and ("models" not in path.parts or ".modelmake" in path.parts)
    )


@each_store
def test_a_prefix_is_locked_downloaded_and_checked(
    project: Project, store: Store, tmp_path: Path
) -> None:
    """Lock, download, nothing to do without a request, verify, outdated; no secret anywhere."""
    for path, body in FILES.items():
        store.put(f"m/{path}", body)
    store.put("m2/other.bin", b"of another prefix")
    project.declare({"m": store.entry()})
    project.variables |= store.variables
    locked = project.doit("lock")
    assert locked.status == 0, locked.text
    noted = project.locked("m")
    assert {path: noted[path]["size"] for path in noted} == {p: len(FILES[p]) for p in FILES}
    assert all("first_use" not in each for each in noted.values())

    ran = project.doit()
    assert ran.status == 0, ran.text
    assert files_below(project.target("m", "")) == FILES
    pinned = project.locked("m")
    for path, body in FILES.items():
        assert pinned[path]["sha256"] == hashlib.sha256(body).hexdigest()
        assert {**pinned[path], **noted[path]} == pinned[path]
    again = project.doit(**without_sockets(tmp_path / "no sockets"))
    assert again.stdout == "Nothing to do.\n", again.text
    later = [project.doit("verify"), project.doit("outdated"), project.doit("lock", "--upgrade")]
    assert [each.status for each in later] == [0, 0, 0], [each.text for each in later]
    assert "m: up to date" in later[1].stdout
    assert project.locked("m") == pinned
    said = "".join(run.text for run in (locked, ran, *later)) + all_text(project.folder)
    assert not [each for each in store.secrets if each in said]
    assert "X-Amz-Signature" not in said
    assert "sig=" not in said


@each_store
def test_an_object_that_changes_before_its_first_download_is_refused(
    project: Project, store: Store
) -> None:
    """Where the store keeps versions the locked one comes; else the new one needs a new lock."""
    store.put("m/a.bin", b"old bytes")
    project.declare({"m": store.entry()})
    project.variables |= store.variables
    assert project.doit("lock").status == 0
    store.put("m/a.bin", b"new bytes")
    run = project.doit()
    if store.keeps_versions:
        assert project.target("m", "a.bin").read_bytes() == b"old bytes", run.text
        assert "changed a.bin" in project.doit("outdated").stdout
    else:
        assert run.status == 1
        assert not project.target("m", "a.bin").exists()
        assert "doit lock --upgrade" in run.text
    upgraded = project.doit("lock", "--upgrade")
    assert upgraded.status == 0, upgraded.text
    run = project.doit()
    assert run.status == 0, run.text
    assert project.target("m", "a.bin").read_bytes() == b"new bytes"


@each_store
def test_a_pinned_object_that_changes_is_not_taken(project: Project, store: Store) -> None:
    """Its pinned version comes, or nothing; `doit outdated` says that there is a newer one."""
    store.put("m/a.bin", b"old bytes")
    project.declare({"m": store.entry()})
    project.variables |= store.variables
    assert project.doit().status == 0
    store.put("m/a.bin", b"new bytes")
    outdated = project.doit("outdated")
    assert "up to date" not in outdated.stdout, outdated.text
    project.target("m", "a.bin").unlink()
    run = project.doit()
    if store.keeps_versions:
        assert project.target("m", "a.bin").read_bytes() == b"old bytes", run.text
    else:
        assert run.status == 1
        assert not project.target("m", "a.bin").exists()


@pytest.mark.sampled(keep=2)
@each_store
def test_a_killed_download_resumes(project: Project, store: Store) -> None:
    """SIGKILL in the middle; the next run asks for the rest only, with a new signature."""
    store.put("m/large.bin", LARGE)
    project.declare({"m": store.entry("m/large.bin")})
    project.variables |= {**store.variables, "MODELMAKE_CONNECTIONS": "1"}
    assert project.doit("lock").status == 0
    process = project.start(MODELMAKE_LIMIT_RATE="3M")
    journals = project.target("m", ".modelmake/partials")
    wait_until(lambda: noted_bytes(journals) >= len(LARGE) // 4)
    process.kill()
    assert finish(process).status == -signal.SIGKILL

    events = project.doit(MODELMAKE_PROGRESS="json").stderr
    assert files_below(project.target("m", "")) == {"large.bin": LARGE}, events
    kept = [json.loads(line) for line in events.splitlines() if '"resumed"' in line]
    assert [each["bytes"] >= len(LARGE) // 4 for each in kept] == [True], events


def noted_bytes(folder: Path) -> int:
    """Return how many bytes a journal confirms: the end of its last whole line."""
    text = "".join(path.read_text() for path in folder.glob("*.journal"))
    found = re.findall(r"^\[\[0,(\d+)\]\]$", text, re.MULTILINE)
    return int(found[-1]) if found else 0


@each_store
def test_what_is_not_there_says_what_to_do(project: Project, store: Store) -> None:
    """A prefix without objects, and a bucket that does not exist."""
    project.variables |= store.variables
    project.declare({"m": store.entry("nothing/")})
    run = project.doit("lock")
    assert run.status == 1
    assert "has no objects" in run.text
    kind, _, rest = store.url.partition("://")
    if kind == "gs":  # fake-gcs-server answers 500 to the list of a bucket that does not exist
        return
    other = {"az": f"az://{rest.partition('/')[0]}/nobucket/m/"}.get(kind, f"{kind}://nobucket/m/")
    project.declare({"m": {**store.entry(), "url": other}})
    run = project.doit("lock")
    assert run.status == 1
    assert re.search(r"not found \(404|access denied \(403|has no objects", run.text), run.text
    assert "Traceback" not in run.text


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, ["access denied (403 AccessDenied)", "If it is private, set AWS_ACCESS_KEY_ID"]),
        (
            {"AWS_ACCESS_KEY_ID": "AKIANOBODYKNOWSTHIS1", "AWS_SECRET_ACCESS_KEY": SECRET},
            ["(403 InvalidAccessKeyId)", "does not know the access key of AWS_ACCESS_KEY_ID"],
        ),
        (
            {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": "not the secret of this key"},
            ["(403 SignatureDoesNotMatch)", "secret key of AWS_ACCESS_KEY_ID does not belong"],
        ),
        ({"AWS_ACCESS_KEY_ID": KEY}, ["is set without AWS_SECRET_ACCESS_KEY", "Set both"]),
        ({"AWS_PROFILE": "none"}, ["The AWS profile none has no keys", "export-credentials"]),
    ],
)
@pytest.mark.usefixtures("needs_extra")
def test_wrong_or_missing_keys_say_what_to_do(
    project: Project, seaweed: SeaweedFS, variables: dict[str, str], said: list[str]
) -> None:
    """One line each with what to do, and no secret."""
    project.declare({"m": {"source": "object-store", "url": "s3://private/m/"}})
    project.variables |= {"AWS_ENDPOINT_URL": seaweed.url, **variables}
    run = project.doit("lock")
    assert run.status != 0
    assert [each for each in said if each not in run.text] == [], run.text
    assert "Traceback" not in run.text
    assert SECRET not in run.text


@pytest.mark.usefixtures("needs_extra")
def test_the_keys_of_a_profile_are_used(
    project: Project, seaweed: SeaweedFS, tmp_path: Path
) -> None:
    """~/.aws/credentials, in the section that AWS_PROFILE names."""
    seaweed.put("private", "profile/a.bin", b"weights")
    file = tmp_path / "credentials"
    file.write_text(f"[team]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
    project.declare({"m": {"source": "object-store", "url": "s3://private/profile/"}})
    project.variables |= {
        "AWS_ENDPOINT_URL": seaweed.url,
        "AWS_SHARED_CREDENTIALS_FILE": str(file),
        "AWS_PROFILE": "team",
    }
    run = project.doit()
    assert run.status == 0, run.text
    assert project.target("m", "a.bin").read_bytes() == b"weights"


@pytest.mark.usefixtures("needs_extra")
def test_a_multipart_object_with_a_composite_checksum_is_pinned_on_first_use(
    project: Project, seaweed: SeaweedFS
) -> None:
    """Its ETag is no MD5, and its checksum none of the whole: neither is taken for one."""
    from obstore.store import S3Store  # noqa: PLC0415 - an extra

    config = {"access_key_id": KEY, "secret_access_key": SECRET, "region": "us-east-1"}
    store = S3Store(
        "private",
        config={**config, "endpoint": seaweed.url, "checksum_algorithm": "SHA256"},
        client_options={"allow_http": True},
    )
    store.put("parts/large.bin", LARGE, use_multipart=True, chunk_size=5 << 20)
    project.declare({"m": {"source": "object-store", "url": "s3://private/parts/"}})
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    project.variables |= {"AWS_ENDPOINT_URL": seaweed.url, **keys}
    assert project.doit("lock").status == 0
    (noted,) = project.locked("m").values()
    assert noted["etag"].endswith('-2"')
    assert not {"sha256", "md5"} & set(noted)
    run = project.doit()
    assert run.status == 0, run.text
    assert project.target("m", "large.bin").read_bytes() == LARGE


@pytest.mark.usefixtures("needs_extra")
def test_a_published_sha256_is_locked_before_the_first_byte(
    project: Project, seaweed: SeaweedFS
) -> None:
    """S3 tells it in answer to a signed request for the whole object."""
    seaweed.put("private", "sum/a.bin", b"weights", ChecksumAlgorithm="SHA256")
    project.declare({"m": {"source": "object-store", "url": "s3://private/sum/a.bin"}})
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    project.variables |= {"AWS_ENDPOINT_URL": seaweed.url, **keys}
    assert project.doit("lock").status == 0
    assert project.locked("m")["a.bin"]["sha256"] == hashlib.sha256(b"weights").hexdigest()
    assert project.doit(MODELMAKE_LOCKED="1").status == 0
    assert "first_use" not in project.lock.read_text()


@pytest.mark.parametrize("ignores", [False, True])
def test_a_changed_object_without_any_digest_is_refused_by_its_etag(
    project: Project, ignores: bool
) -> None:
    """Also by a store that does not heed If-Match; here the ETag is no MD5, as with a KMS key."""
    kms = {"x_amz_server_side_encryption": "aws:kms"}
    with S3Server(is_public=True) as s3:
        s3.ignores_conditions = ignores
        s3.put("m/a.bin", b"old bytes", **kms)
        project.declare({"m": {"source": "object-store", "url": "s3://bucket/m/"}})
        project.variables["AWS_ENDPOINT_URL"] = s3.url
        assert project.doit("lock").status == 0
        assert "md5" not in project.locked("m")["a.bin"]
        s3.put("m/a.bin", b"new bytes", **kms)
        run = project.doit()
    assert run.status == 1
    assert "is not the file any more that models.lock means" in run.text
    assert "doit lock --upgrade" in run.text
    assert not project.target("m", "a.bin").exists()


def test_a_mirror_serves_what_the_store_lost(project: Project, server: FaultyServer) -> None:
    """It has validators of its own: the store's is not asked of it, and the MD5 decides."""
    with S3Server(is_public=True) as s3:
        for path, body in FILES.items():
            s3.put(f"m/{path}", body)
            server.put(f"/mirror/{path}", body)
        mirrors = {"mirrors": [server.url("/mirror/")]}
        entry = {"source": "object-store", "url": "s3://bucket/m/", **mirrors}
        project.declare({"m": entry})
        project.variables["AWS_ENDPOINT_URL"] = s3.url
        assert project.doit("lock").status == 0
        s3.versions.clear()
        run = project.doit()
        assert run.status == 0, run.text
        assert files_below(project.target("m", "")) == FILES
