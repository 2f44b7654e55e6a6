"""Models in OCI registries: CNCF ModelPack, KitOps, Docker's models, Ollama's, and ORAS artifacts.

A tag leads to a manifest, whose SHA-256 is the revision. It lists each file as a layer with size
and SHA-256, so that everything is known before the first byte (OCI image-spec and distribution-spec
1.1). A file's name stands in an annotation; Ollama, Docker and KitOps say by the media type instead
what a layer is. A layer that is a tar stays one: it is a file with the suffix of its kind.

Log-ins are Docker's, and asked for only if a registry wants one (network/_auth.py).
"""

import hashlib
import re
from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Annotated, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta
from msgspec.structs import replace

from downloader.artifact import Artifact, LeftOut, LockedModel, check_path
from downloader.errors import AccessDenied, BadResponse, NotFound, SourceError, shown
from downloader.sources._docker_config import DOCKER_HUB, docker_log_in
from downloader.sources.interface import Entry, Provider, Reference, Resolution
from downloader.urls import Challenge, Location, host, is_loopback

API_HOSTS = {DOCKER_HUB: "registry-1.docker.io"}
"""Where registries answer that do not answer at their name."""
TOKEN_HOSTS = {DOCKER_HUB: "auth.docker.io", "registry.ollama.ai": "ollama.com"}
"""Token services of another domain than their registry's, by the registry."""
OLLAMA = "registry.ollama.ai"
ALIASES = {
    "index.docker.io": DOCKER_HUB,
    "registry-1.docker.io": DOCKER_HUB,
    "registry.hub.docker.com": DOCKER_HUB,
    "ollama.com": OLLAMA,
}
DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PART = r"[A-Za-z0-9]+(?:[._-]+[A-Za-z0-9]+)*"
_IMAGE = (
    rf"(?:[A-Za-z0-9.-]+:[0-9]{{1,5}}/|ollama:)?{_PART}(?:/{_PART})*"
    r"(?::[A-Za-z0-9_][A-Za-z0-9._-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_REGISTRY = r"(?:[\w-]+(?:\.[\w-]+)+|localhost|[\w-]+(?=:\d))(?::\d+)?"
"""A host that can be nothing else, before the name of a repository."""
_SPLIT = re.compile(
    r"(?P<name>.+?)(?::(?P<tag>[A-Za-z0-9_][\w.-]{0,127}))?(?:@(?P<digest>sha256:.+))?"
)

MANIFESTS = (
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
)
INDEXES = (
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
)
ACCEPT = ", ".join((*MANIFESTS, *INDEXES))
MOST_MANIFEST_BYTES = 4 << 20
"""What registries must take at least, and all that most do (distribution-spec 1.1)."""
MOST_BYTES = 2**56
"""More than any model has; so the sums of several stay numbers that a lock can hold."""
MOST_LISTED = 5
"""Manifests of an index that a message lists."""
NAME_KEYS = ("org.cncf.model.filepath", "org.cnai.model.filepath", "org.opencontainers.image.title")
"""Annotations that hold a file's name: ModelPack's path, now and before, and the name of ORAS."""
IMAGE_LAYER = re.compile(r"application/vnd\.(oci\.image\.layer\.|docker\.image\.rootfs\.).*tar.*")
"""File systems of containers, unless an annotation gives them a name."""
ATTESTATION = "vnd.docker.reference.type"
"""Annotation of a manifest in an index that is about another one of it."""


class Image(NamedTuple):
    """An image's name, in its parts.

    Attributes:
        registry: Its host, with its port.
        repository: Its name there.
        tag: Empty if a digest is given.
        digest: Of the manifest; empty if a tag is given.
    """

    registry: str
    repository: str
    tag: str
    digest: str

    def __str__(self) -> str:
        """Write it out in full."""
        version = f"@{self.digest}" if self.digest else f":{self.tag}"
        return f"{self.registry}/{self.repository}{version}"


def parse_image(text: str) -> Image:
    """Return the parts of an image's name, with what Docker and Ollama leave out.

    The first part is a registry if it has a dot or a port, or is `localhost`; if it is none, Docker
    Hub is meant (distribution/reference: normalize.go), and Ollama's registry behind `ollama:`.
    """
    is_ollama = text.startswith("ollama:")
    found = _SPLIT.fullmatch(text.removeprefix("ollama:"))
    assert found
    first, slash, rest = found["name"].partition("/")
    if slash and ({"."} & {*first} or ":" in first or first == "localhost"):
        registry, repository = first.lower(), rest
    else:
        registry, repository = OLLAMA if is_ollama else DOCKER_HUB, found["name"]
    registry = ALIASES.get(registry, registry)
    if registry in (OLLAMA, DOCKER_HUB) and "/" not in repository:
        repository = f"library/{repository}"
    digest = found["digest"] or ""
    return Image(registry, repository, "" if digest else found["tag"] or "latest", digest)


def endpoint(registry: str) -> str:
    """Return the URL of a registry: https, and plain http on this machine, as Docker has it."""
    scheme = "http" if is_loopback(registry.rpartition(":")[0] or registry) else "https"
    return f"{scheme}://{API_HOSTS.get(registry, registry)}"


def challenge_for(registry: str, repository: str, actions: str = "pull") -> Challenge:
    """Return how to answer a registry that asks who wants something of a repository."""
    return Challenge(
        server=registry,
        scope=f"repository:{repository}:{actions}",
        token_hosts=frozenset({TOKEN_HOSTS[registry]} if registry in TOKEN_HOSTS else ()),
        log_in=docker_log_in,
    )


class OciEntry(Entry, frozen=True, kw_only=True, tag="oci"):
    """A model in an OCI registry."""

    may_be_private = True

    reference_forms = {  # noqa: RUF012
        "oci://REGISTRY/NAME:TAG": "a model in an OCI registry",
        "ollama:NAME:TAG": "a model of Ollama's library",
        "https://ollama.com/library/NAME[:TAG]": "the same",
    }
    reference_slips = {  # noqa: RUF012
        rf"(?:(?:oci|docker):/*)?({_REGISTRY}/.+)": r"oci://\1",
        rf"(?:oci|docker):/*(?!{_REGISTRY}/)([^/].*)": rf"oci://{DOCKER_HUB}/\1",
        r"ollama:?/+(.+)": r"ollama:\1",
    }

    image: Annotated[
        str,
        Meta(
            pattern=rf"^{_IMAGE}\Z",
            extra={
                "form": "registry/name:tag or registry/name@sha256:…",
            },
            description="`registry/name:tag`, or `@sha256:…` in place of the tag; the lock holds "
            "the digest of the manifest. `ollama:name:tag` means Ollama's library.",
        ),
    ]

    @classmethod
    def read_reference(cls, text: str) -> Reference | None:
        """See Entry: oci://, as Helm and ORAS write it; ollama:; pages of both libraries."""
        if found := _PAGE.fullmatch(text):
            text = f"ollama:{found['name']}"
        elif found := _HUB_PAGE.fullmatch(text):
            text = f"{DOCKER_HUB}/{found['name']}"
        elif text[:6].lower() == "oci://" and not ("/" not in text[6:] and text[6:]):
            text = text[6:]
        elif not re.match("ollama:(?!/)", text):
            return None
        if not re.fullmatch(_IMAGE, text):
            return Reference({"image": text}, ())
        image = parse_image(text)
        owner, _, name = image.repository.rpartition("/")
        names = f"{name}-{image.tag}", name, f"{owner.rpartition('/')[2]}-{name}"
        return Reference({"image": text}, names[image.tag in ("", "latest") :])

    @property
    def is_published(self) -> bool:
        """See Entry: the manifest has the SHA-256 of every layer."""
        return True

    @property
    def needs_own_folder(self) -> bool:
        """See Entry."""
        return True

    def source(self) -> "Oci":
        """See Entry."""
        return Oci(self)

    def identity(self) -> Hashable:
        """See Entry."""
        return parse_image(self.image)


_PAGE = re.compile(
    r"(?:https?://)?(?:www\.)?ollama\.com/(?:library/|(?!(?:api|blog|docs|public|settings)/)(?=[^/]+/))"
    r"(?P<name>[\w.-]+(?:/[\w.-]+)?(?::[\w.-]+)?)/?"
)
_HUB_PAGE = re.compile(
    r"(?:https?://)?hub\.docker\.com/r/(?P<name>[\w.-]+/[\w.-]+)(?:/[^?#]*)?(?:[?#].*)?"
)


class _Layer(msgspec.Struct, frozen=True, rename="camel"):
    """A descriptor (image-spec: descriptor.md)."""

    digest: str
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    media_type: str = ""
    annotations: dict[str, str] | None = None
    name: str = ""
    """Of a file of Ollama's newer models."""
    platform: dict[str, object] | None = None

    @property
    def is_attestation(self) -> bool:
        """Whether it is about another manifest of its index."""
        return ATTESTATION in (self.annotations or {})


class _Manifest(msgspec.Struct, frozen=True, rename="camel"):
    """What is read of a manifest, or of an index, which has `manifests` instead of `layers`."""

    schema_version: int = 0
    layers: tuple[_Layer, ...] | None = None
    manifests: tuple[_Layer, ...] | None = None


class Oci:
    """The source of one `oci` entry."""

    def __init__(self, entry: OciEntry) -> None:
        self._entry = entry
        self._image = parse_image(entry.image)

    def outline(self) -> None:
        """See Source: which files there are, the manifest says."""

    def resolve(self, provider: Provider) -> Resolution:
        """See AskingSource: one request, and another one if the tag names an index."""
        image = self._image
        manifest, digest = self._manifest(provider, image.digest or image.tag)
        if manifest.manifests is not None:
            manifest, _ = self._manifest(provider, self._chosen(manifest.manifests))
        if manifest.layers is None:
            raise _unusable(image, "its manifest is of an old kind, or lists no layers")
        files = _named(self._image, manifest.layers)
        wanted = tuple(each for each in files if self._entry.wants(each.path))
        if not wanted:  # the error about that lists what there is
            return Resolution(revision=digest, artifacts=files)
        count = len(files) - len(wanted)
        size = sum(each.size or 0 for each in files) - sum(each.size or 0 for each in wanted)
        left_out = LeftOut(files=count, size=size) if count else None
        return Resolution(revision=digest, artifacts=wanted, left_out=left_out)

    def check(self, locked: LockedModel) -> str:
        """See AskingSource."""
        revision, wanted = locked.revision or "", self._image.digest
        if not DIGEST.fullmatch(revision) or (wanted and revision != wanted):
            return "its revision"
        if locked.archives or not locked.files:
            return "its list of files"
        return "" if all(map(self._may_be_ours, locked.files)) else "a field of a file"

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:
        """See Source: the registry, then the mirrors, which have its repositories too."""
        if revision is None or artifact.sha256 is None:
            raise SourceError(f"{self._image} has no file {artifact.path} in models.lock.")
        path = f"blobs/sha256:{artifact.sha256}"
        bases = (self._base, *(each.rstrip("/") for each in self._entry.bases))
        named = frozenset(map(host, bases))
        return tuple(self._location(base, path, named) for base in bases)

    @property
    def _base(self) -> str:
        return (self._entry.base_url or endpoint(self._image.registry)).rstrip("/")

    def _may_be_ours(self, file: Artifact) -> bool:
        """Whether a file in the lock can be a layer; every run asks it for each file."""
        own = Artifact(path=file.path, size=file.size, sha256=file.sha256, root=file.root)
        is_layer = file.sha256 is not None and file.size is not None
        return is_layer and file == own and self._entry.wants(file.path)

    def _manifest(self, provider: Provider, reference: str) -> tuple[_Manifest, str]:
        """Return a manifest and its digest, which is that of its bytes.

        Raises:
            SourceError: There is none, or it is not for us.
            BadResponse: It is not the one that was asked for, or no manifest.
        """
        named = frozenset({host(self._base)})
        try:
            text = provider.read(self._location(self._base, f"manifests/{reference}", named))
        except (AccessDenied, NotFound) as error:
            raise self._explained(error) from None
        if len(text) > MOST_MANIFEST_BYTES:
            raise _unusable(
                self._image, f"its manifest has more than {MOST_MANIFEST_BYTES:,} bytes"
            )
        digest = f"sha256:{hashlib.sha256(text).hexdigest()}"
        if DIGEST.fullmatch(reference) and digest != reference:
            raise BadResponse(
                f"{host(self._base)} sent another manifest than {reference} of {self._image}.",
                hint="The registry, or a proxy before it, is damaged. Try again later.",
            )
        try:
            return msgspec.json.decode(text, type=_Manifest), digest
        except (ValueError, RecursionError):
            raise _unusable(self._image, "its manifest cannot be read") from None

    def _chosen(self, manifests: Sequence[_Layer]) -> str:
        """Return the digest of the only manifest in an index.

        Raises:
            BadResponse: There are several, or none.
        """
        found = {each.digest: each for each in manifests if not each.is_attestation}
        if len(found) == 1 and DIGEST.fullmatch(digest := next(iter(found))):
            return digest
        image = self._image
        lines = [f"`{each}` ({_platform(layer)})" for each, layer in found.items()]
        more = f" and {len(lines) - MOST_LISTED} more" if len(lines) > MOST_LISTED else ""
        listed = shown(", ".join(lines[:MOST_LISTED]) + more, 600, is_reply=True)
        raise SourceError(
            f"{image} is an index of {len(found)} manifests, and modelmake takes one: {listed}.",
            hint=f"Write the digest: `image: {image.registry}/{image.repository}@sha256:…`.",
        )

    def _location(self, base: str, path: str, named: frozenset[str]) -> Location:
        """Return where the registry's API answers."""
        image = self._image
        # A mirror has log-ins of its own.
        is_own = self._entry.base_url is None and base == self._base
        server = image.registry if is_own else urlsplit(base).netloc.lower()
        found = location_in(server, image.repository, path, base=base)
        return replace(found, named_hosts=named)

    def _explained(self, error: SourceError) -> SourceError:
        """Return the error in words about the image, if the registry says what is missing."""
        image, code = self._image, error.code
        repository = f"{image.registry}/{image.repository}"
        if code == "MANIFEST_UNKNOWN":
            version = f"manifest {image.digest}" if image.digest else f"tag {image.tag}"
            hint = f"Check the {version.partition(' ')[0]} of `image` in models.yaml."
            return NotFound(f"{repository} has no {version}.", hint=hint, code=code)
        if code in ("NAME_UNKNOWN", "NAME_INVALID"):
            return NotFound(
                f"There is no {repository}, or it is private.", hint=error.hint, code=code
            )
        if code in ("UNAUTHORIZED", "DENIED"):
            what = f"{repository} is private, or does not exist ({code})."
            return AccessDenied(what, hint=error.hint, code=code)
        return error


def location_in(
    registry: str, repository: str, path: str, *, base: str = "", writes: bool = False
) -> Location:
    """Return where a registry's API answers about a repository.

    Args:
        registry: What its log-in is kept under.
        repository: Its name there.
        path: Below the repository, such as `blobs/sha256:…`.
        base: The registry's URL, if it does not follow from its name.
        writes: Whether the repository is to be changed.
    """
    base = base or endpoint(registry)
    advice = _advice(registry, "write to" if writes else "read")
    return Location(
        url=f"{base}/v2/{repository}/{path}",
        headers={"Accept": ACCEPT} if path.startswith("manifests/") and not writes else {},
        named_hosts=frozenset({host(base)}),
        credential_hint=advice["DENIED"],
        advice=advice,
        challenge=challenge_for(registry, repository, "pull,push" if writes else "pull"),
    )


def _advice(server: str, act: str) -> dict[str, str]:
    """Return what to do, by the error codes of the distribution specification.

    Args:
        server: The registry.
        act: What the user's account must be allowed to do with the repository.
    """
    log_in = f"Run `docker login {server}` with an account that may {act} it."
    if server == OLLAMA:
        log_in = "Only public models can be downloaded from Ollama's registry."
    return {
        "NAME_UNKNOWN": f"Check `image` in models.yaml. If it is private: {log_in}",
        "UNAUTHORIZED": log_in,
        "DENIED": log_in,
        "BLOB_UNKNOWN": "The registry lost this file, or it was deleted. Push it again, or run "
        "`doit lock --upgrade` if the tag means another manifest now.",
        "TOOMANYREQUESTS": "Run the same command again later. "
        f"If you are not logged in, `docker login {server}` may raise the limit.",
    }


def _unusable(image: Image, why: str, hint: str = "") -> BadResponse:
    return BadResponse(f"{image}: {why}.", hint=hint or "Check `image` in models.yaml.")


def _platform(manifest: _Layer) -> str:
    found = manifest.platform or {}
    words = [str(found[each]) for each in ("os", "architecture", "variant") if found.get(each)]
    return "/".join(words) or manifest.media_type


OLLAMA_NAMES = {
    "model": "model.gguf",
    "projector": "projector.gguf",
    "adapter": "adapter.gguf",
    "draft": "draft.gguf",
    "embed": "embed.bin",
    "template": "template.txt",
    "prompt": "prompt.txt",
    "system": "system.txt",
    "license": "license.txt",
    "params": "params.json",
    "messages": "messages.json",
}
"""By what follows `application/vnd.ollama.image.` (ollama: server/images.go, types/model)."""
DOCKER_NAMES = {
    "gguf.v3": "model.gguf",
    "gguf.v3.lora": "adapter.gguf",
    "model.file.v1+gguf": "model.gguf",
    "safetensors": "model.safetensors",
    "mmproj": "model.mmproj",
    "dduf": "model.dduf",
    "license": "LICENSE",
    "chat.template.jinja": "template.jinja",
    "vllm.config.tar": "config.tar",
    "dir.tar": "files.tar",
}
"""By what follows `application/vnd.docker.ai.`; the names that Docker gives (model-runner:
pkg/distribution/internal/bundle/unpack.go)."""
FAMILIES = (
    ("application/vnd.ollama.image.", OLLAMA_NAMES),
    ("application/vnd.docker.ai.", DOCKER_NAMES),
)
KITOPS = re.compile(r"application/vnd\.kitops\.modelkit\.(\w{1,40})\.v1\.tar(?:\+gzip)?")
TARS = re.compile(r"application/vnd\.(?:cncf\.model|cnai\.model|kitops\.modelkit)\..*\.tar(\+\w+)?")
"""Tars whatever their names say; ORAS and Docker write a name that says it too."""
FOLDERS = "application/vnd.oci.image.layer.v1.tar+gzip"
"""What ORAS calls a folder that it packed; a file is none, even if ORAS calls it `…v1.tar`."""
SUFFIXES = {None: ".tar", "+gzip": ".tar.gz", "+zstd": ".tar.zst"}
WEIGHTS = (".gguf", ".safetensors")


def _named(image: Image, layers: Sequence[_Layer]) -> tuple[Artifact, ...]:
    """Return the layers as files.

    Raises:
        BadResponse: One has no name, an unsafe one, or no SHA-256; or two have the same name.
    """
    kinds = [_kind(image, number, each) for number, each in enumerate(layers, 1)]
    total, seen = Counter(kind for kind, is_own in kinds if not is_own), Counter[str]()
    files: dict[str, Artifact] = {}
    for (name, is_own), layer in zip(kinds, layers, strict=True):
        path = name
        if not is_own and total[name] > 1:
            seen[name] += 1
            path = _numbered(name, seen[name], total[name])
        if not DIGEST.fullmatch(layer.digest):
            raise _unusable(image, f"{shown(path)} has no SHA-256, but {shown(layer.digest, 20)}")
        file = Artifact(path=path, size=layer.size, sha256=layer.digest.removeprefix("sha256:"))
        if files.setdefault(path, file) != file:
            raise _unusable(image, f"two of its layers have the name {shown(path)}")
    if not files or sum(each.size or 0 for each in files.values()) > MOST_BYTES:
        raise _unusable(image, "its manifest lists no files" if not files else "it is too large")
    return tuple(files.values())


def _kind(image: Image, number: int, layer: _Layer) -> tuple[str, bool]:
    """Return a layer's name, and whether it is its own or only that of its kind.

    Raises:
        BadResponse: It has none, or an unsafe one.
    """
    notes, kind = layer.annotations or {}, layer.media_type.partition(";")[0].strip()
    given = next((notes[key] for key in NAME_KEYS if notes.get(key)), layer.name)
    if given:
        name = re.sub(r"\A(\./)+", "", given)
        tar = TARS.fullmatch(kind)
        suffix = ".tar.gz" if kind == FOLDERS else SUFFIXES.get(tar[1], "") if tar else ""
        name += suffix if not name.endswith((suffix, ".tgz")) else ""
        try:
            check_path(name)
        except ValueError as error:
            raise _unusable(image, f"layer {number}: {error}") from None
        return name, True
    for prefix, names in FAMILIES:
        if kind.startswith(prefix) and (usual := names.get(kind.removeprefix(prefix))):
            return usual, False
    if found := KITOPS.fullmatch(kind):
        return f"{found[1]}{'.tar.gz' if kind.endswith('+gzip') else '.tar'}", False
    if IMAGE_LAYER.fullmatch(kind):
        hint = "modelmake downloads files, such as ModelPack, KitOps, Ollama and ORAS store them."
        raise _unusable(image, "it is a container's image: its layers are file systems", hint)
    kind = shown(kind, 80, is_reply=True) or "no media type"
    hint = f"Its publisher has to name it in the annotation {NAME_KEYS[-1]}."
    raise _unusable(image, f"layer {number} ({kind}) has no file name", hint)


def _numbered(name: str, number: int, total: int) -> str:
    """Return the name of one of several layers of a kind; weights as llama.cpp and others split."""
    stem, dot, suffix = name.partition(".")
    if name.endswith(WEIGHTS):
        return f"{stem}-{number:05d}-of-{total:05d}.{suffix}"
    return f"{stem}-{number}{dot}{suffix}"
