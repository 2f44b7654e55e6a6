"""`source: oci` from models.yaml to the files: Debian's docker-registry, filled by ORAS, and fakes.

The fake is for what docker-registry cannot do: tokens that end, and signed links of storage.
"""

import base64
import json
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from tests.e2e.content import bytes_of
from tests.e2e.project import Project
from tests.sdk.oras import Oras
from tests.servers import honest
from tests.servers.exchange import Exchange
from tests.servers.fake_registry import FakeRegistry, digest_of
from tests.servers.faults import timing
from tests.servers.faulty import FaultyServer
from tests.servers.nginx import Nginx
from tests.servers.registry import DockerRegistry
from tests.servers.reply import Reply

MIB = 1 << 20
FILES = {"config.json": b"{}", "model.safetensors": bytes_of("weights", 3 * MIB), "empty": b""}
BIG = bytes_of("big", MIB) * 24 + b"the end"
"""Enough for several connections."""
USER, PASSWORD = "ada", "correct horse"
HTPASSWD = f"{USER}:$2y$04$abcdefghijklmnopqrstuujydOTSfIH/d5oUHpsygqV5X9xJLQc6e\n"
"""The one form that docker-registry reads: bcrypt."""

StartRegistry = Callable[..., DockerRegistry]


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """Give a fake registry with a model of several files and a large one."""
    with FakeRegistry() as running:
        running.push("team/model", "v1", FILES)
        running.push("team/big", "v1", {"model.gguf": BIG})
        yield running


@pytest.fixture
def project(tmp_path: Path) -> Project:
    """Give a project; no store has its files."""
    return Project(tmp_path / "project", MODELMAKE_STORE="off")


def push(registry: DockerRegistry, image: str, folder: Path, **variables: str) -> None:
    """Push FILES with the client of ORAS."""
    folder.mkdir(exist_ok=True)
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    Oras(registry.name, folder, **variables).push(image, *FILES)


def below(project: Project, name: str) -> dict[str, bytes]:
    """Return a model's files by path."""
    folder = project.target(name, "")
    found = (path for path in folder.rglob("*") if path.is_file())
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in found
        if ".modelmake" not in path.parts
    }


def test_what_oras_pushed_is_fetched(
    docker_registry: StartRegistry, project: Project, tmp_path: Path
) -> None:
    """Everything is known before the first byte; a second run makes no request."""
    registry = docker_registry()
    push(registry, "team/model:v1", tmp_path / "pushed")
    project.declare({"m": {"source": "oci", "image": f"{registry.name}/team/model:v1"}})
    assert project.doit("lock").status == 0
    _, headers, _ = registry.call(
        "GET", "/v2/team/model/manifests/v1", Accept="application/vnd.oci.image.manifest.v1+json"
    )
    locked = json.loads(project.lock.read_text())["models"]["m"]
    assert locked["revision"] == headers["docker-content-digest"]
    assert {each["path"]: each["sha256"] for each in locked["files"]} == {
        path: digest_of(content).removeprefix("sha256:") for path, content in FILES.items()
    }
    assert project.doit().status == 0
    assert below(project, "m") == FILES
    before = registry.log
    assert "Nothing to do" in project.doit().stdout
    assert registry.log == before
    assert project.doit("verify").status == 0


def test_a_tag_that_moved_is_told_and_locked_again(
    docker_registry: StartRegistry, project: Project, tmp_path: Path
) -> None:
    """`outdated` says it, `doit` keeps to the lock, `doit lock --upgrade` follows."""
    registry = docker_registry()
    first = registry.push("m", "v1", [("a/b", b"one", {"org.opencontainers.image.title": "a.bin"})])
    project.declare({"m": {"source": "oci", "image": f"{registry.name}/m:v1"}})
    assert project.doit().status == 0
    second = registry.push(
        "m", "v1", [("a/b", b"two", {"org.opencontainers.image.title": "a.bin"})]
    )
    assert first != second
    told = project.doit("outdated", "--json")
    (model,) = json.loads(told.stdout)["models"]
    assert (model["state"], model["upstream"]["revision"]) == ("newer", second)
    assert "Nothing to do" in project.doit().stdout
    assert project.target("m", "a.bin").read_bytes() == b"one"
    assert project.doit("lock", "--upgrade").status == 0
    assert project.doit().status == 0
    assert project.target("m", "a.bin").read_bytes() == b"two"


def test_a_registry_with_passwords(
    docker_registry: StartRegistry, project: Project, tmp_path: Path
) -> None:
    """docker-registry asks for Basic; the log-in is that of `docker login`, in no file of ours."""
    htpasswd = tmp_path / "htpasswd"
    htpasswd.write_text(HTPASSWD)
    registry = docker_registry({"htpasswd": {"realm": "a realm", "path": str(htpasswd)}})
    log_in = {"ORAS_AUTH": "basic", "ORAS_USER": USER, "ORAS_PASSWORD": PASSWORD}
    push(registry, "team/model:v1", tmp_path / "pushed", **log_in)
    project.declare({"m": {"source": "oci", "image": f"{registry.name}/team/model:v1"}})
    refused = project.doit()
    assert refused.status == 1
    assert f"docker login {registry.name}" in refused.stderr
    docker = tmp_path / "docker"
    docker.mkdir()
    helper = docker / "docker-credential-test"
    answer = json.dumps({"ServerURL": registry.name, "Username": USER, "Secret": PASSWORD})
    helper.write_text(f"#!/bin/sh\necho '{answer}'\n")
    helper.chmod(0o755)
    config = {"credHelpers": {registry.name: "test"}}
    (docker / "config.json").write_text(json.dumps(config))
    path = f"{docker}:/usr/bin:/bin"
    run = project.doit(DOCKER_CONFIG=str(docker), PATH=path, MODELMAKE_DEBUG="1")
    assert run.status == 0, run.stderr
    assert below(project, "m") == FILES
    check_no_secret(project, run.text, PASSWORD)


def check_no_secret(project: Project, said: str, *secrets: str) -> None:
    """Fail if a secret was shown or written into the project."""
    texts = {path: path.read_bytes() for path in project.folder.rglob("*") if path.is_file()}
    for secret in secrets:
        assert secret not in said
        assert not [path for path, text in texts.items() if secret.encode() in text]


def test_blobs_that_are_elsewhere(
    docker_registry: StartRegistry,
    nginx: Callable[..., Nginx],
    project: Project,
    tmp_path: Path,
) -> None:
    """docker-registry with its redirect middleware sends a 307 to nginx, which has the bytes."""
    plain = docker_registry()
    push(plain, "team/model:v1", tmp_path / "pushed")
    storage = nginx(plain.data)
    registry = docker_registry(redirect_to=storage.url(""), data=plain.data)
    project.declare({"m": {"source": "oci", "image": f"{registry.name}/team/model:v1"}})
    assert project.doit().status == 0
    assert below(project, "m") == FILES
    assert any("/blobs/sha256/" in line for line in storage.log())


@pytest.mark.parametrize("redirects", [False, True])
def test_tokens_end_in_the_middle_of_a_file(
    fake: FakeRegistry, project: Project, *, redirects: bool
) -> None:
    """Each is good for two requests, and the connection breaks every two MiB."""
    fake.redirects = redirects
    fake.requires_token(uses=2)
    blob = f"/v2/team/big/blobs/{digest_of(BIG)}"
    if not redirects:
        fake.api.always(blob, timing.drop_after(2 * MIB))
    project.declare({"m": {"source": "oci", "image": f"{fake.name}/team/big:v1"}})
    # One connection: others would use up a token, which a clock ends for all of them alike.
    variables = {"MODELMAKE_RETRIES": "9", "MODELMAKE_CONNECTIONS": "1", "MODELMAKE_DEBUG": "1"}
    run = project.doit(**variables)
    assert run.status == 0, run.stderr
    assert below(project, "m") == {"model.gguf": BIG}
    assert len(fake.issued) > 2 or redirects
    assert fake.storage.with_credentials == []
    sent = sum(each.body_bytes_sent for each in fake.requests if each.path == blob)
    assert redirects or sent < len(BIG) * 1.1
    check_no_secret(project, run.text, *fake.issued)


def test_a_registry_with_a_token_service(
    docker_registry: StartRegistry, project: Project, tmp_path: Path
) -> None:
    """docker-registry checks the signed token, so that service and scope are proven."""
    plain = docker_registry()
    push(plain, "team/model:v1", tmp_path / "pushed")
    with TokenService(tmp_path) as service:
        registry = docker_registry(service.section, data=plain.data)
        project.declare({"m": {"source": "oci", "image": f"{registry.name}/team/model:v1"}})
        run = project.doit(MODELMAKE_DEBUG="1")
        assert run.status == 0, run.stderr
        assert below(project, "m") == FILES
        assert service.scopes[-1] == ["repository:team/model:pull"]
        check_no_secret(project, run.text, *service.issued)


class TokenService(FaultyServer):
    """A token service that docker-registry believes: it signs (distribution/spec/auth/jwt.md).

    Anybody may pull.

    Args:
        folder: Where its certificate goes.

    Attributes:
        scopes: What each token was asked for.
        issued: The tokens.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__(self._give)
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "tokens")])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(self._key.public_key())
            .serial_number(1)
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .sign(self._key, hashes.SHA256())
        )
        der = certificate.public_bytes(serialization.Encoding.DER)
        self._head = {"typ": "JWT", "alg": "RS256", "x5c": [base64.b64encode(der).decode()]}
        self._bundle = folder / "tokens.pem"
        self._bundle.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        self.scopes: list[list[str]] = []
        self.issued: list[str] = []

    @property
    def section(self) -> dict[str, Any]:
        """The section `auth` of the registry's configuration."""
        return {
            "token": {
                "realm": self.url("/token"),
                "service": "registry of the tests",
                "issuer": "tokens of the tests",
                "rootcertbundle": str(self._bundle),
            }
        }

    def _give(self, exchange: Exchange) -> Reply:
        query = exchange.request.query
        self.scopes.append([value for name, value in query if name == "scope"])
        access = []
        for scope in self.scopes[-1]:
            kind, name, wanted = scope.split(":")
            actions = [each for each in wanted.split(",") if each == "pull"]
            access.append({"type": kind, "name": name, "actions": actions})
        now = int(time.time())
        claims = {
            "iss": "tokens of the tests",
            "sub": "",
            "aud": dict(query)["service"],
            "exp": now + 300,
            "nbf": now - 10,
            "iat": now,
            "jti": str(len(self.issued)),
            "access": access,
        }
        signed = b".".join(_encoded(json.dumps(each).encode()) for each in (self._head, claims))
        signature = self._key.sign(signed, padding.PKCS1v15(), hashes.SHA256())
        self.issued.append(b".".join((signed, _encoded(signature))).decode())
        answer = json.dumps({"token": self.issued[-1]}).encode()
        return honest.dated(Reply(status=200).with_body(answer))


def _encoded(data: bytes) -> bytes:
    return base64.urlsafe_b64encode(data).rstrip(b"=")
