"""`doit publish` to object stores that nobody here wrote: SeaweedFS and Azurite.

fake-gcs-server has no XML API to write with, so of Google's store only the reading is tried here.
"""

import base64
import os
import random
import re
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

from downloader.transfer.places import blob_path
from tests.e2e.content import bytes_of, sha256
from tests.e2e.project import Project
from tests.e2e.run import Run
from tests.e2e.watching import injected
from tests.servers import azurite as azure
from tests.servers.azurite import Azurite
from tests.servers.faulty import FaultyServer
from tests.servers.object_stores import KEY, SECRET, FakeGcs, SeaweedFS

S = TypeVar("S", SeaweedFS, FakeGcs, Azurite)
CONTENTS = {
    "empty": b"",
    "a.bin": bytes_of("a", 3000),
    "deep/b.bin": bytes_of("b", 1_000_000),
    "large.bin": bytes_of("large", (33 << 20) + 1),
}
"""The last one is uploaded in three parts."""


@dataclass(frozen=True)
class Bucket:
    """A place to publish to, and what gives access to it."""

    url: str
    variables: dict[str, str]
    s3: SeaweedFS | None = None

    @property
    def prefix(self) -> str:
        """What stands before its keys."""
        return f"{self.url.rstrip('/').rpartition('/')[2]}/"


@pytest.fixture
def s3(needs_extra: None, seaweed: SeaweedFS, tmp_path: Path) -> Bucket:
    """Give an empty prefix of a bucket that nobody may read without a key."""
    keys = {"AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET}
    place = re.sub(r"[^a-z0-9]", "-", tmp_path.name.lower())
    return Bucket(f"s3://private/{place}", {"AWS_ENDPOINT_URL": seaweed.url, **keys}, seaweed)


@pytest.fixture(params=["s3", "az"])
def bucket(request: pytest.FixtureRequest, needs_extra: None) -> Iterator[Bucket]:
    """Give such a place of each kind that can be written here."""
    if request.param == "s3":
        yield request.getfixturevalue("s3")
        return
    with Azurite() as server:
        parts = {
            "AccountName": azure.ACCOUNT,
            "AccountKey": base64.b64encode(azure.KEY).decode(),
            "BlobEndpoint": f"http://127.0.0.1:{server.port}/{azure.ACCOUNT}",
        }
        text = ";".join(f"{name}={value}" for name, value in parts.items())
        place = f"az://{azure.ACCOUNT}/{azure.CONTAINER.strip('/')}/team/"
        yield Bucket(place, {"AZURE_STORAGE_CONNECTION_STRING": text})


@pytest.fixture
def full(project: Project, server: FaultyServer) -> Project:
    """Give a project whose files are here."""
    for name, content in CONTENTS.items():
        server.put(f"/{name}", content)
    files = [
        {"url": server.url(f"/{name}"), "path": name, "sha256": sha256(content)}
        for name, content in CONTENTS.items()
    ]
    project.declare({"m": {"source": "http", "files": files}})
    run = project.doit()
    assert run.status == 0, run.text
    return project


def reader(project: Project, folder: Path, bucket: Bucket, *, only: bool = False) -> Project:
    """Return the project on a machine that uses the bucket."""
    is_only = {"MODELMAKE_MIRROR_ONLY": "1"} if only else {}
    other = Project(folder, MODELMAKE_MIRROR=bucket.url, **bucket.variables, **is_only)
    shutil.copy(project.manifest, other.manifest)
    shutil.copy(project.lock, other.lock)
    return other


def is_whole(project: Project) -> bool:
    """Whether every file is there, with its bytes."""
    return all(project.target("m", path).read_bytes() == CONTENTS[path] for path in CONTENTS)


def test_a_bucket_is_filled_and_used(
    full: Project, bucket: Bucket, server: FaultyServer, tmp_path: Path
) -> None:
    """Each blob is uploaded once; a reader's provider gets no request; no key is shown."""
    first = full.doit("publish", "--to", bucket.url, **bucket.variables)
    second = full.doit("publish", "--to", bucket.url, **bucket.variables)
    before = len(server.requests)
    other = reader(full, tmp_path / "other", bucket)
    run = other.doit()

    assert first.status == 0, first.text
    assert first.stdout == f"published 4 files (35.6 MB) to {bucket.url}\n"
    assert second.stdout == f"published 0 files (0 B, 4 there already) to {bucket.url}\n"
    assert run.status == 0, run.text
    assert is_whole(other)
    assert len(server.requests) == before
    for said in (first, second, run):
        assert SECRET not in said.text
        assert base64.b64encode(azure.KEY).decode() not in said.text


def test_a_changed_file_becomes_no_object(full: Project, bucket: Bucket, tmp_path: Path) -> None:
    """Its last bytes are wrong, and it is large: neither it nor parts of it are there after."""
    target = full.target("m", "large.bin")
    status = target.stat()
    target.chmod(0o644)
    with target.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"!")
    os.utime(target, ns=(status.st_atime_ns, status.st_mtime_ns))

    run = full.doit("publish", "--to", bucket.url, **bucket.variables)

    assert run.status == 1
    assert "so not published: m/large.bin" in run.stderr
    other = reader(full, tmp_path / "other", bucket, only=True)
    read = other.doit()
    assert "3 fetched" in read.stdout
    assert "No mirror gave m/large.bin" in read.stderr
    if bucket.s3:
        keys, parts = bucket.s3.boto(
            ("list_objects_v2", {"Bucket": "private", "Prefix": bucket.prefix}),
            ("list_multipart_uploads", {"Bucket": "private", "Prefix": bucket.prefix}),
        )
        assert not [each for each in keys["Contents"] if "/locks/" in each["Key"]]
        assert not parts.get("Uploads")


def test_a_wrong_key_is_one_error(full: Project, s3: Bucket) -> None:
    """It names the variable, not the key."""
    run = full.doit(
        "publish", "--to", s3.url, **{**s3.variables, "AWS_SECRET_ACCESS_KEY": "not this one"}
    )
    assert run.status == 1
    assert "AWS_ACCESS_KEY_ID" in run.stderr
    assert "not this one" not in run.text
    assert len(run.error_lines) == 2
    assert "/sha256/" not in run.text, "which of its keys we ask for is nobody's business"


def test_without_a_key_it_says_which_to_set(full: Project, s3: Bucket) -> None:
    """The extra is there, and need not be installed."""
    run = full.doit(
        *("publish", "--to", s3.url),
        **{**s3.variables, "AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": ""},
    )
    assert run.status == 1
    assert run.error_lines == [
        f"failed publish: {s3.url.rstrip('/')}/: access denied (403).",
        "  Set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE.",
    ]


def test_a_reader_without_a_key_asks_the_provider(
    full: Project, s3: Bucket, tmp_path: Path
) -> None:
    """It is told once which variables would let it use the mirror."""
    full.doit("publish", "--to", s3.url, **s3.variables)
    other = reader(full, tmp_path / "other", s3)
    run = other.doit(AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert run.status == 0, run.text
    assert is_whole(other)
    assert run.stderr.count("The mirror refuses a file") == 1
    assert "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY" in run.stderr
    assert "pip install" not in run.stderr, "the extra is installed"


def test_a_reader_of_googles_store(
    needs_extra: None, full: Project, server: FaultyServer, tmp_path: Path
) -> None:
    """Blobs that are there under the names of the formats page are downloaded, without a key."""
    with FakeGcs() as gcs:
        for content in CONTENTS.values():
            gcs.put(f"team/{blob_path(sha256(content))}", content)
        variables = {"STORAGE_EMULATOR_HOST": gcs.url.removeprefix("http://")}
        before = len(server.requests)
        other = reader(full, tmp_path / "other", Bucket("gs://public/team/", variables))
        run = other.doit()
    assert run.status == 0, run.text
    assert is_whole(other)
    assert len(server.requests) == before


SITE = """
import itertools, os, signal
from downloader.network import object_store
from downloader.network.client import Client
from downloader.network.object_store import ObjectStore
from downloader.transfer._multipart import Joined

object_store.PART_BYTES = {part_bytes}
count, log = itertools.count(1), os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

def step():
    os.write(log, b".")
    if next(count) == {kill_at}:
        os.kill(os.getpid(), signal.SIGKILL)

def counted(owner, name):
    act = getattr(owner, name)
    def counting(self, *arguments, **keys):
        step()
        result = act(self, *arguments, **keys)
        step()
        return result
    setattr(owner, name, counting)

counted(ObjectStore, "put")
counted(ObjectStore, "head")
counted(Client, "send")
counted(Joined, "read")
"""
PART_BYTES = 5 << 20
"""The least that S3 takes."""
PARTS = range(1, 8)
"""Of the large file."""


@pytest.mark.sampled(keep=1)
@pytest.mark.parametrize("seed", range(6))
def test_killed_anywhere(full: Project, s3: Bucket, tmp_path: Path, seed: int) -> None:
    """No wrong object; the next run uploads only what is missing."""
    log, chance, kills = tmp_path / "log", random.Random(seed), 0

    def publish(place: str, kill_at: int) -> Run:
        code = SITE.format(log=str(log), kill_at=kill_at, part_bytes=PART_BYTES)
        site = injected(tmp_path / f"site {kill_at} {kills}", code)
        return full.doit("publish", "--to", place, **site, **s3.variables)

    assert publish(f"{s3.url}-undisturbed", 0).status == 0
    steps = log.stat().st_size
    for turn in range(2):
        there = published(s3)
        run = publish(s3.url, chance.randint(5, steps - 4 * len(there)))
        kills += run.status == -signal.SIGKILL
        now = published(s3)
        assert now.items() >= there.items(), "what was there is as it was"
        other = reader(full, tmp_path / f"reader {turn}", s3, only=True)
        other.doit()
        then = published(s3)  # the store may still have ended what was in flight
        for name, content in CONTENTS.items():
            target = other.target("m", name)
            if target.exists():
                assert target.read_bytes() == content
                assert sha256(content) in then
            else:
                assert sha256(content) not in now
    left = len(CONTENTS) - len(published(s3))

    run = publish(s3.url, 0)

    assert int(run.stdout.split()[1]) <= left, run.text
    assert not unfinished(s3)
    assert published(s3).keys() == {sha256(content) for content in CONTENTS.values()}
    assert kills, f"seed {seed}"


def published(bucket: Bucket) -> dict[str, str]:
    """Return when each blob below the place was written, by its digest."""
    assert bucket.s3
    place = {"Bucket": "private", "Prefix": f"{bucket.prefix}sha256/"}
    (found,) = bucket.s3.boto(("list_objects_v2", place))
    return {
        each["Key"].rpartition("/")[2]: each["LastModified"] for each in found.get("Contents", ())
    }


def unfinished(bucket: Bucket) -> list[str]:
    """Return the names of the uploads below the place that nobody has completed."""
    assert bucket.s3
    place = {"Bucket": "private", "Prefix": bucket.prefix}
    (found,) = bucket.s3.boto(("list_multipart_uploads", place))
    return [each["UploadId"] for each in found.get("Uploads", ())]


PARTED = """
import os, signal, threading
from downloader.errors import AccessDenied, NotFound
from downloader.network import object_store
from downloader.transfer import _multipart
from downloader.transfer._multipart import _Asker, _AzureBlocks, _S3Upload

object_store.PART_BYTES = {part_bytes}
log = os.open({log!r}, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
arrived, step = set(), threading.Lock()

def logged(kind):
    put = kind.put
    def logging(self, part):
        os.write(log, b"%d+ " % part.number)
        put(self, part)
        with step:
            arrived.add(part.number)
            os.write(log, b"%d. " % part.number)
            if {is_killed} and 1 in arrived and len(arrived) > 1:
                os.kill(os.getpid(), signal.SIGKILL)
    kind.put = logging

logged(_S3Upload)
logged(_AzureBlocks)
{more}
"""


class Publisher:
    """Publishes in parts of 5 MiB, and notes which parts of the large file it sends."""

    def __init__(self, project: Project, bucket: Bucket, folder: Path) -> None:
        self._project, self._bucket, self._folder = project, bucket, folder
        self._runs = 0

    def publish(
        self, *, is_killed: bool = False, more: str = ""
    ) -> tuple[Run, list[int], set[int]]:
        """Run it; return the run, the parts that it began to send, and those that arrived.

        Args:
            is_killed: Whether it is killed when the first part and another one arrived.
            more: Python to run before.
        """
        self._runs += 1
        log = self._folder / f"parts {self._runs}"
        log.touch()
        code = PARTED.format(log=str(log), is_killed=is_killed, part_bytes=PART_BYTES, more=more)
        site = injected(self._folder / f"site of parts {self._runs}", code)
        to = ("publish", "--to", self._bucket.url)
        run = self._project.doit(*to, **site, **self._bucket.variables)
        words = log.read_text().split()
        begun = [int(word[:-1]) for word in words if word.endswith("+")]
        return run, begun, {int(word[:-1]) for word in words if word.endswith(".")}


@pytest.fixture
def publisher(full: Project, bucket: Bucket, tmp_path: Path) -> Publisher:
    """Give a publisher to each kind of bucket."""
    return Publisher(full, bucket, tmp_path)


@pytest.fixture
def to_s3(full: Project, s3: Bucket, tmp_path: Path) -> Publisher:
    """Give a publisher to S3."""
    return Publisher(full, s3, tmp_path)


def is_right(project: Project, folder: Path, bucket: Bucket) -> bool:
    """Whether a reader gets every file from the bucket."""
    other = reader(project, folder, bucket, only=True)
    run = other.doit()
    assert run.status == 0, run.text
    return is_whole(other)


def test_a_killed_upload_goes_on(
    full: Project, publisher: Publisher, bucket: Bucket, tmp_path: Path
) -> None:
    """No part that arrived is sent again; what the store knows of the object is as ever."""
    killed, _, arrived = publisher.publish(is_killed=True)
    run, sent, _ = publisher.publish()

    assert killed.status == -signal.SIGKILL
    assert len(arrived) > 1
    assert run.status == 0, run.text
    assert sorted(sent) == sorted(set(sent)), "each once"
    assert not arrived & set(sent)
    assert arrived | set(sent) <= set(PARTS)
    assert len(PARTS) - len(arrived) - len(sent) <= 4, "some arrived whose reply did not"
    assert is_right(full, tmp_path / "other", bucket)
    assert base64.b64encode(azure.KEY).decode() not in run.text
    if bucket.s3:
        assert not unfinished(bucket)
        large = f"{bucket.prefix}{blob_path(sha256(CONTENTS['large.bin']))}"
        place = {"Bucket": "private", "Key": large, "ChecksumMode": "ENABLED"}
        (found,) = bucket.s3.boto(("head_object", place))
        assert found["ChecksumSHA256"].endswith(f"-{len(PARTS)}")


def test_a_part_of_another_version_is_sent_again(
    full: Project, publisher: Publisher, bucket: Bucket, tmp_path: Path
) -> None:
    """The file was damaged when it was sent, and is right now."""
    target = full.target("m", "large.bin")
    change(target, b"!")
    killed, _, arrived = publisher.publish(is_killed=True)
    change(target, CONTENTS["large.bin"][:1])
    _, sent, _ = publisher.publish()

    assert killed.status == -signal.SIGKILL
    assert arrived & set(sent) == {1}
    assert is_right(full, tmp_path / "other", bucket)


def change(path: Path, start: bytes) -> None:
    """Write other first bytes; the file looks as if it were not touched."""
    status = path.stat()
    path.chmod(0o644)
    with path.open("r+b") as file:
        file.write(start)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def begun_by_another(s3: Bucket, parts: dict[int, bytes]) -> str:
    """Begin an upload of the large file as boto3 does, with these parts; return its name."""
    assert s3.s3
    key = f"{s3.prefix}{blob_path(sha256(CONTENTS['large.bin']))}"
    place = {"Bucket": "private", "Key": key}
    (made,) = s3.s3.boto(("create_multipart_upload", {**place, "ChecksumAlgorithm": "SHA256"}))
    name = str(made["UploadId"])
    for number, body in parts.items():
        text = base64.b64encode(body).decode()
        part = {**place, "UploadId": name, "PartNumber": number, "Body": text}
        s3.s3.boto(("upload_part", {**part, "ChecksumAlgorithm": "SHA256"}))
    return name


def test_parts_of_another_publisher(
    full: Project, to_s3: Publisher, s3: Bucket, tmp_path: Path
) -> None:
    """Those that are right are kept, though they come on several pages; a wrong one is replaced."""
    large = CONTENTS["large.bin"]
    parts = [large[at : at + PART_BYTES] for at in range(0, len(large), PART_BYTES)]
    begun_by_another(s3, {1: parts[0][::-1], 2: parts[1], 4: parts[3], 7: parts[6]})
    paged = """
root = _Asker.root
def in_pages(self, query, name, **more):
    paged = {"max-parts": "1"} if "part-number-marker" in query else {}
    return root(self, {**query, **paged}, name, **more)
_Asker.root = in_pages
"""
    run, sent, _ = to_s3.publish(more=paged)

    assert sorted(sent) == [1, 3, 5, 6], run.text
    assert not unfinished(s3)
    assert is_right(full, tmp_path / "other", s3)


def test_an_upload_with_other_parts_is_left_alone(
    full: Project, to_s3: Publisher, s3: Bucket, tmp_path: Path
) -> None:
    """Its publisher may be at work; only its own upload is completed."""
    name = begun_by_another(s3, {1: CONTENTS["large.bin"][: PART_BYTES + 1]})
    _, sent, _ = to_s3.publish()

    assert sorted(sent) == [*PARTS]
    assert unfinished(s3) == [name]
    assert is_right(full, tmp_path / "other", s3)


BLIND = """
def refuse(self):
    raise AccessDenied("it may not look")
_S3Upload.find = refuse
"""
DROPPED = """
put = _S3Upload.put
def dropping(self, part):
    if part.number == 3 and not os.path.exists({mark!r}):
        open({mark!r}, "x").close()
        self.drop()
    put(self, part)
_S3Upload.put = dropping
"""
LOST = """
finish = _S3Upload.finish
def lost(self):
    finish(self)
    raise NotFound("no such upload: the first reply was lost")
_S3Upload.finish = lost
"""


@pytest.mark.parametrize("more", [BLIND, DROPPED, LOST], ids=["blind", "dropped", "lost"])
def test_nothing_else_ends_an_upload(
    full: Project, to_s3: Publisher, s3: Bucket, tmp_path: Path, more: str
) -> None:
    """Uploads may not be listed, another publisher drops this one, the last reply is lost."""
    run, sent, _ = to_s3.publish(more=more.replace("{mark!r}", repr(str(tmp_path / "mark"))))

    assert run.status == 0, run.text
    assert set(sent) == {*PARTS}
    assert (len(sent) > len(PARTS)) == (more == DROPPED)
    assert not unfinished(s3)
    assert is_right(full, tmp_path / "other", s3)
