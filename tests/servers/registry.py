"""Debian's docker-registry, on a free port of this machine, with its blobs in a folder.

with DockerRegistry() as registry:
    oras.push(f"{registry.name}/team/model:v1", ...)

It answers ranges, and 416 with a wrong Content-Length (docker-registry 2.8.2+ds1). `redirect_to` is
the address of another server over `registry.data`: every blob is then a 307 to there.
"""

import hashlib
import json
import shutil
import tempfile
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.servers.process import NotInstalled, Program, free_port

PORT_TRIES = 5
CONFIG: dict[str, Any] = {"version": "0.1", "log": {"level": "info"}}
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


def binary() -> str:
    """Return the path of docker-registry.

    Raises:
        NotInstalled: It is not on PATH.
    """
    found = shutil.which("docker-registry")
    if found is None:
        raise NotInstalled("docker-registry is not installed")
    return found


class DockerRegistry:
    """A context manager around one docker-registry.

    Args:
        auth: Its section `auth`, as `{"htpasswd": {...}}`.
        redirect_to: The URL of a server over `data`, to which blobs are redirected.
        data: The folder of its blobs; a new one by default.
    """

    def __init__(
        self,
        auth: Mapping[str, Any] | None = None,
        *,
        redirect_to: str = "",
        data: Path | None = None,
    ) -> None:
        self._auth, self._redirect_to = auth, redirect_to
        self.folder = Path(tempfile.mkdtemp(prefix="registry-"))
        self.folder.chmod(0o755)
        self.data = data or self.folder / "data"

    def __enter__(self) -> Self:
        program = binary()
        for _ in range(PORT_TRIES):
            if self._start(program):
                return self
        said = self._program.said
        shutil.rmtree(self.folder)
        raise RuntimeError(f"docker-registry does not start: {said}")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None
    ) -> None:
        self._program.end()
        shutil.rmtree(self.folder)

    @property
    def name(self) -> str:
        """What images call it."""
        return f"127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has written: a line for each request."""
        return self._program.said

    def call(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        """Send a request as it is; return status, headers in lower case, and body."""
        url = path if path.startswith("http") else f"http://{self.name}{path}"
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        request = urllib.request.Request(url, data=body, headers=names, method=method)
        try:
            with urllib.request.urlopen(request) as reply:
                found = {name.lower(): value for name, value in reply.headers.items()}
                return reply.status, found, reply.read()
        except urllib.error.HTTPError as error:
            return error.code, {}, error.read()

    def put_blob(self, repository: str, content: bytes) -> str:
        """Upload a blob; return its digest."""
        digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
        _, headers, _ = self.call("POST", f"/v2/{repository}/blobs/uploads/", b"")
        place = headers["location"]
        mark = "&" if "?" in place else "?"
        kind = "application/octet-stream"
        status, _, said = self.call(
            "PUT", f"{place}{mark}digest={digest}", content, Content_Type=kind
        )
        assert status == 201, said
        return digest

    def put_manifest(self, repository: str, tag: str, manifest: bytes, kind: str = MANIFEST) -> str:
        """Upload a manifest; return its digest."""
        path = f"/v2/{repository}/manifests/{tag}"
        status, headers, said = self.call("PUT", path, manifest, Content_Type=kind)
        assert status == 201, said
        return headers["docker-content-digest"]

    def push(
        self,
        repository: str,
        tag: str,
        layers: list[tuple[str, bytes, Mapping[str, str]]],
        **top: Any,
    ) -> str:
        """Push layers as (media type, content, annotations), as other tools do; return the digest.

        Args:
            repository: Where to.
            tag: Its name.
            layers: In order.
            top: Further fields of the manifest; `mediaType` too.
        """
        config = self.put_blob(repository, b"{}")
        listed = [
            {
                "mediaType": kind,
                "digest": self.put_blob(repository, content),
                "size": len(content),
                **({"annotations": dict(notes)} if notes else {}),
            }
            for kind, content, notes in layers
        ]
        kind = top.pop("mediaType", MANIFEST)
        described = {"mediaType": top.pop("config", MANIFEST), "digest": config, "size": 2}
        manifest = {
            "schemaVersion": 2,
            "mediaType": kind,
            "config": described,
            "layers": listed,
            **top,
        }
        return self.put_manifest(repository, tag, json.dumps(manifest).encode(), kind)

    def _start(self, program: str) -> bool:
        self.port = free_port()
        own = {
            "http": {"addr": self.name},
            "storage": {
                "filesystem": {"rootdirectory": str(self.data)},
                "delete": {"enabled": True},
            },
        }
        config: dict[str, Any] = {**CONFIG, **own}
        if self._auth:
            config["auth"] = self._auth
        if self._redirect_to:
            options = {"baseurl": self._redirect_to}
            config["middleware"] = {"storage": [{"name": "redirect", "options": options}]}
        path = self.folder / "config.json"  # JSON is YAML
        path.write_text(json.dumps(config))
        self._program = Program([program, "serve", str(path)], self.folder / "log")
        return self._program.wait_until(self._is_ready)

    def _is_ready(self) -> bool:
        try:
            return self.call("GET", "/v2/")[0] in (200, 401)
        except OSError:
            return False
