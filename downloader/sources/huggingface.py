"""The Hugging Face Hub: repositories of models, datasets and spaces.

A revision is resolved to its commit, and the tree of that commit lists every file with its size and
a digest: the SHA-256 of a file in LFS, and of any other the id that git gives it. The files come
from `/resolve/COMMIT/PATH`, which redirects to a CDN or to a cache of the Hub (huggingface_hub
2.4.0; hub-docs). That route serves ranges, so a download can be resumed; no Xet client is needed.

The token and the endpoint come from the variables and files of Hugging Face's own client.
"""

import functools
import hashlib
import itertools
import os
import re
from collections.abc import Container, Hashable, Iterable, Iterator
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import quote, unquote

import msgspec
from msgspec import Meta

from downloader.artifact import MAX_PART_BYTES, Artifact, LeftOut, LockedModel
from downloader.errors import (
    AccessDenied,
    BadResponse,
    NotFound,
    SettingError,
    SourceError,
    TransferError,
)
from downloader.sources._formats import Format, choose, weights_of
from downloader.sources.interface import Entry, Fault, Provider, Reference, Resolution, Text
from downloader.urls import Location, has_same_origin, host, may_have_credential

T = TypeVar("T")

ENDPOINT = "https://huggingface.co"
COMMIT = re.compile(r"[0-9a-f]{40}")
MOST_FILES = 200_000
"""The Hub recommends less than 100,000 files in a repository (hub-docs)."""
MOST_BYTES = 2**56
"""More than any repository has; so the sums of several stay numbers that a lock can hold."""
NO_FIELDS = (None,) * 6
"""Of a locked file: what no file of the Hub has."""
SNAPSHOT = re.compile(r"\A[^/]+/snapshots/[0-9a-f]{40}/")
FOLDERS = {"model": "", "dataset": "datasets/", "space": "spaces/"}
"""What stands before the name of a repository in the URL of a file, by `repo_type`."""
TRUE_WORDS = frozenset({"1", "on", "yes", "true"})
"""Of Hugging Face's variables, in either case."""


class HuggingFaceEntry(Entry, frozen=True, kw_only=True, tag="huggingface"):
    """A repository of the Hugging Face Hub."""

    reference_forms = {  # noqa: RUF012
        "hf:OWNER/NAME[@REVISION]": "a repository of the Hugging Face Hub",
        "hf:OWNER/NAME:Q4_K_M": "one variant of its GGUF files",
        "https://huggingface.co/OWNER/NAME": "the same; also the page of a revision or a file",
    }
    reference_slips = {  # noqa: RUF012
        r"([\w-]+/[\w.-]+/(?:resolve|blob|tree)/.+)": r"https://huggingface.co/\1",
        r"(?:huggingface|hub|hf)[:/]+(.+)": r"hf:\1",
    }

    repo: Annotated[
        str,
        Meta(
            pattern=r"(?a)^(?!.*(--|\.\.))(\w[\w.-]*/)?\w[\w.-]{0,95}\Z",
            extra={"form": "owner/name"},
            description="`owner/name`, or the one word of an old repository; the Hub's own rules "
            "for names.",
        ),
    ]
    revision: Annotated[
        Text, Meta(description="A branch, tag or commit; the lock holds the commit.")
    ] = "main"
    repo_type: Annotated[
        Literal["model", "dataset", "space"], Meta(description="What the repository holds.")
    ] = "model"

    format: Annotated[
        Format | None,
        Meta(description="Only the weights in this format, with tokenizer and configuration."),
    ] = None
    variant: Annotated[
        Text | None,
        Meta(
            description="With `format`: which of several weights, such as Q4_K_M, fp16 or the "
            "name of a folder."
        ),
    ] = None

    layout: Annotated[
        Literal["files", "hf-cache"],
        Meta(
            description="files as the repository has them, or hf-cache: the folder is a cache of "
            "the Hugging Face tools."
        ),
    ] = "files"

    @classmethod
    def read_reference(cls, text: str) -> Reference | None:
        """See Entry: the short form, hf:// as in their client, or the address of a page."""
        if bare := _BARE.match(text):
            text = f"hf:{bare['short']}" if bare["short"] else f"https://{text}"
        if found := _SHORT.fullmatch(text):
            variant = {"format": "gguf", "variant": found["variant"]} if found["variant"] else {}
            keys = _keys(found)
            return Reference(keys | variant, _names(found["repo"]))
        return _of_page(text)

    def faults(self, given: Container[str]) -> Iterator[Fault]:
        """See Entry."""
        if "variant" in given and self.format is None:
            yield Fault(("variant",), "it needs `format`", "Add `format`, such as `format: gguf`.")

    def source(self) -> "HuggingFace":
        """See Entry."""
        return HuggingFace(self)

    @property
    def needs_own_folder(self) -> bool:
        """See Entry."""
        return self.layout == "files"

    def identity(self) -> Hashable:
        """See Entry: in a cache a repository has a folder of its own."""
        return None if self.layout == "files" else (self.repo_type, self.repo)

    def wants(self, path: str) -> bool:
        """See Entry; patterns are of paths in the repository."""
        return path == self.ref_path or super().wants(self.path_in_repo(path))

    @property
    def cache_folder(self) -> str:
        """The repository's folder in a cache of huggingface_hub (2.4.0: repo_folder_name)."""
        return f"{self.repo_type}s--{self.repo.replace('/', '--')}"

    @property
    def ref_path(self) -> str | None:
        """Where a cache notes which commit the revision is; None if it is one itself."""
        if self.layout == "files" or COMMIT.fullmatch(self.revision):
            return None
        return f"{self.cache_folder}/refs/{self.revision}"

    def placed(self, commit: str, file: Artifact) -> Artifact:
        """Return a file of the repository at its place in the model's folder."""
        if self.layout == "files":
            return file
        path = f"{self.cache_folder}/snapshots/{commit}/{file.path}"
        return msgspec.structs.replace(file, path=path)

    def path_in_repo(self, path: str) -> str:
        """Return the path in the repository of a file in the model's folder."""
        return path if self.layout == "files" else SNAPSHOT.sub("", path)


_SHORT = re.compile(
    r"(?i:hf):(?://)?(?P<kind>models/|datasets/|spaces/)?"
    r"(?!/)(?P<repo>[^/@:]*(?:/[^/@:]*)?)(?:@(?P<revision>refs/(?:convert|pr)/[^/]+|[^/:]+))?"
    r"(?:/(?P<path>.+)|:(?P<variant>[^/:]+))?/?"
)
"""`hf:owner/name@revision`; with a path as in `hf://` of huggingface_hub 2.4.0 (hf_file_system.py).

A variant is written as for llama.cpp and Ollama.
"""
_SITE = re.compile(r"(?i)https?://(?:www\.)?(?:huggingface|hf)\.co(?=/)")
_BARE = re.compile(
    r"(?i)(?:www\.)?(?:huggingface|hf)\.co/"
    r"(?P<short>(?:[^/@:?#]+/){0,2}[^/@:?#]+[@:][^/?#]+\Z)?"
)
"""An address without its scheme; llama.cpp and Ollama have a variant behind one: `hf.co/o/n:Q8`."""
_PAGE = re.compile(
    r"/(?P<kind>datasets/|spaces/)?(?P<repo>[\w.-]+(?:/(?!(?:tree|blob|resolve|raw)/)[\w.-]+)?)"
    r"(?:/(?P<what>tree|blob|resolve|raw|commit|commits)"
    r"/(?P<revision>refs/(?:convert|pr)/[^/]+|[^/]+)(?:/(?P<path>.+))?|/.*)?"
)
_NO_REPOSITORIES = frozenset(
    ("api", "blog", "chat", "collections", "datasets", "docs", "enterprise", "inference", "join",
     "learn", "login", "models", "new", "organizations", "papers", "posts", "pricing", "search",
     "settings", "spaces", "tasks")
)  # fmt: skip
"""First words of the path of other pages of the site."""


def _of_page(url: str) -> Reference | None:
    """Return the entry for the address of a repository, or of a folder or a file in it."""
    site = _SITE.match(url)
    endpoint = (os.environ.get("HF_ENDPOINT") or "").rstrip("/")
    is_ours = bool(endpoint) and url.startswith(f"{endpoint}/") and has_same_origin(url, endpoint)
    if not (site or is_ours):
        return None
    path = re.sub(r"[?#].*", "", url[site.end() if site else len(endpoint) :]).rstrip("/")
    found = _PAGE.fullmatch(path)
    if not found or found["repo"].partition("/")[0] in _NO_REPOSITORIES:
        return None
    is_page = found["what"] in {"tree", "blob"}
    keys = _keys(found, is_folder=found["what"] == "tree")
    return Reference(keys, _names(found["repo"]), is_page=is_page)


def _keys(found: re.Match[str], *, is_folder: bool = False) -> dict[str, object]:
    keys: dict[str, object] = {"repo": found["repo"]}
    if found["kind"] in {"datasets/", "spaces/"}:
        keys["repo_type"] = found["kind"].removesuffix("s/")
    if found["revision"] not in {None, "main"}:
        keys["revision"] = unquote(found["revision"])
    if found["path"]:
        path = re.sub(r"[*?[]", r"[\g<0>]", unquote(found["path"]))
        keys["include"] = [path + "/" * is_folder]
    return keys


def _names(repo: str) -> tuple[str, ...]:
    owner, _, name = repo.rpartition("/")
    return (name, f"{owner}-{name}")


class _Lfs(msgspec.Struct, frozen=True):
    oid: Annotated[str, Meta(pattern=r"\A[0-9a-f]{64}\Z")]
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)]


class _Item(msgspec.Struct, frozen=True):
    """One entry of `GET /api/models/{repo}/tree/{commit}`."""

    type: str
    path: str
    oid: str = ""
    size: Annotated[int, Meta(ge=0, le=2**63 - 1)] = 0
    lfs: _Lfs | None = None

    def artifact(self) -> Artifact:
        """Return the file; `oid` of one in LFS is its pointer's, and useless."""
        if max(map(len, self.path.split("/"))) > MAX_PART_BYTES:
            raise ValueError(self.path)
        if self.lfs:
            return Artifact(path=self.path, size=self.lfs.size, sha256=self.lfs.oid)
        if not COMMIT.fullmatch(self.oid):
            raise ValueError(self.oid)
        return Artifact(path=self.path, size=self.size, git_sha1=self.oid)


class _Revision(msgspec.Struct, frozen=True):
    """What is read of `GET /api/models/{repo}/revision/{revision}`."""

    sha: Annotated[str, Meta(pattern=r"\A[0-9a-f]{40}\Z")]
    private: bool = False
    gated: bool | str = False


class HuggingFace:
    """The source of one `huggingface` entry."""

    def __init__(self, entry: HuggingFaceEntry) -> None:
        self._entry = entry

    def outline(self) -> None:
        """See Source: which files there are, the Hub says."""

    def resolve(self, provider: Provider) -> Resolution:
        """See AskingSource: one request for the commit, then one for each page of its tree."""
        entry = self._entry
        commit = entry.revision
        try:
            asked = self._api(f"revision/{quote(commit, safe='')}")
            found = self._decoded(provider.read(asked), _Revision)
            commit = found.sha
            pages = provider.pages(self._api(f"tree/{commit}?recursive=true&expand=false"))
            files = tuple(itertools.islice(self._listed(pages), MOST_FILES + 1))
        except (AccessDenied, NotFound) as error:
            raise self._explained(error) from None
        if len(files) > MOST_FILES or sum(each.size or 0 for each in files) > MOST_BYTES:
            raise self._unusable()
        wanted = tuple(each for each in files if entry.wants(each.path))
        if not wanted:  # the error about that lists what there is
            return Resolution(revision=commit, artifacts=files)
        if entry.format:
            wanted = choose(wanted, entry.format, entry.variant or "")
        count = len(files) - len(wanted)
        size = sum(each.size or 0 for each in files) - sum(each.size or 0 for each in wanted)
        left_out = LeftOut(files=count, size=size) if count else None
        placed = [entry.placed(commit, each) for each in wanted]
        if path := entry.ref_path:
            digest = hashlib.sha256(commit.encode()).hexdigest()
            placed.append(Artifact(path=path, size=len(commit), sha256=digest, content=commit))
        is_gated = found.private or bool(found.gated)
        return Resolution(
            revision=commit, artifacts=tuple(placed), left_out=left_out, gated=is_gated
        )

    def check(self, locked: LockedModel) -> str:
        """See AskingSource."""
        commit, wanted = locked.revision or "", self._entry.revision
        if not COMMIT.fullmatch(commit) or (COMMIT.fullmatch(wanted) and commit != wanted):
            return "its revision"
        if locked.archives or not locked.files:
            return "its list of files"
        files = {each.path: each for each in locked.files}
        ref = files.pop(self._entry.ref_path or "", None)
        if (ref.content if ref else None) != (commit if self._entry.ref_path else None):
            return "its revision"
        is_ours = functools.partial(self._may_be_ours, commit)
        return "" if all(map(is_ours, files.values())) else "a field of a file"

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:
        """See Source: the Hub, then the mirrors, which have its layout and get no token."""
        is_listed = artifact.is_pinned or artifact.git_sha1
        if revision is None or not is_listed:
            raise SourceError(f"{self._entry.repo} has no file {artifact.path} in models.lock.")
        entry, name = self._entry, quote(self._entry.path_in_repo(artifact.path))
        path = f"{FOLDERS[entry.repo_type]}{entry.repo}/resolve/{revision}/{name}"
        first = self._location(path, "resolvers", wants_range=not artifact.git_sha1)
        named = first.named_hosts | {host(base) for base in entry.bases}
        mirrors = (
            Location(url=f"{base.rstrip('/')}/{path}", named_hosts=named) for base in entry.bases
        )
        return (first, *mirrors)

    def _may_be_ours(self, commit: str, file: Artifact) -> bool:
        """Whether a file in the lock can be one that the Hub lists.

        Its digest is published by the Hub: a SHA-256, or git's id, beside which a SHA-256 is one
        that we pinned. Every run asks it for each file, so it calls little.
        """
        entry, path = self._entry, file.path
        foreign = file.url, file.checkpoint, file.into, file.archive, file.content, file.md5
        if foreign != NO_FIELDS or file.etag is not None or file.size is None:
            return False
        if file.git_sha1 is None:
            has_digest = file.sha256 is not None and not file.first_use
        else:
            has_digest = (file.sha256 is not None) == file.first_use
        if entry.layout == "hf-cache":
            path = entry.path_in_repo(path)
            if entry.placed(commit, msgspec.structs.replace(file, path=path)).path != file.path:
                return False
        at = weights_of(path) if entry.format else None
        return has_digest and entry.wants(path) and (at is None or at.format == entry.format)

    def _explained(self, error: SourceError) -> SourceError:
        """Return the error in words about the repository, if the Hub says what is missing."""
        kind, repo = self._entry.repo_type, self._entry.repo
        missing = {
            "RepoNotFound": f"The Hub has no {kind} {repo}, or it is private.",
            "RevisionNotFound": f"{repo} has no revision '{self._entry.revision}'.",
        }
        return NotFound(missing[error.code], hint=error.hint) if error.code in missing else error

    def _listed(self, pages: Iterable[bytes]) -> Iterator[Artifact]:
        for item in (item for page in pages for item in self._decoded(page, list[_Item])):
            if item.type == "file":
                try:
                    yield item.artifact()
                except ValueError:
                    raise self._unusable() from None

    def _decoded(self, text: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(text, type=kind)
        except (ValueError, RecursionError):
            raise self._unusable() from None

    def _unusable(self) -> BadResponse:
        return BadResponse(
            f"{host(self._endpoint()[0])} answered with something that is not about the files of "
            f"{self._entry.repo}.",
            hint="Try again later. If HF_ENDPOINT is set, check that it is a Hub's address.",
        )

    def _api(self, what: str) -> Location:
        """Return where the Hub's API answers: its list vouches for the files, so not plain http.

        Raises:
            SettingError: HF_ENDPOINT is plain http, and not on this machine.
        """
        entry = self._entry
        if not may_have_credential(self._endpoint()[0]):
            raise SettingError(
                "HF_ENDPOINT is plain http, so nobody vouches for the list of files it sends.",
                hint="Use https to lock. Files that models.lock pins may come from there.",
            )
        return self._location(f"api/{entry.repo_type}s/{entry.repo}/{what}", "api")

    def _location(self, path: str, limit: str, *, wants_range: bool = False) -> Location:
        env = os.environ
        if _is_on(env.get("HF_HUB_OFFLINE") or env.get("TRANSFORMERS_OFFLINE")):
            variable = "HF_HUB_OFFLINE" if env.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
            raise TransferError(
                f"{self._entry.repo} was not requested: {variable} is set.",
                hint=f"Unset {variable} to download from the Hub.",
            )
        base, headers, advice = self._access
        return Location(
            url=f"{base}/{path}",
            headers=headers,
            named_hosts=frozenset({host(base)}),
            credential_hint=advice["RepoNotFound"],
            advice=advice,
            rate_limit=limit,
            wants_range=wants_range,
            is_link_doubted=True,
        )

    @functools.cached_property
    def _access(self) -> tuple[str, dict[str, str], dict[str, str]]:
        """The Hub's address, the headers for it, and what to do if it refuses; one for a run.

        Raises:
            SettingError: HF_ENDPOINT is not a URL, or the token cannot be one.
        """
        base, is_trusted = self._endpoint()
        token = _token() if is_trusted else ""
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return base, headers, self._advice(base, has_token=bool(token))

    def _endpoint(self) -> tuple[str, bool]:
        """Return the Hub's address, and whether the user's token may be sent there.

        It may if the address is Hugging Face's, or the user's own HF_ENDPOINT: models.yaml may come
        from anybody.

        Raises:
            SettingError: HF_ENDPOINT is not a URL.
        """
        named = (os.environ.get("HF_ENDPOINT") or "").rstrip("/")
        if named and not may_have_credential(named, allows_plain=True):
            raise SettingError(
                "HF_ENDPOINT must be an http or https URL without user and query.",
                hint=f"Write it like {ENDPOINT}, or unset it to use that.",
            )
        base = named or (self._entry.base_url or ENDPOINT).rstrip("/")
        return base, bool(named) or has_same_origin(base, ENDPOINT)

    def _advice(self, base: str, *, has_token: bool) -> dict[str, str]:
        """Return what to do, by the X-Error-Code or X-Error-Message of a refusal."""
        entry = self._entry
        page = f"{base}/{FOLDERS[entry.repo_type]}{entry.repo}"
        settings = f"{base}/settings/tokens"
        account = "the account of your token" if has_token else "your account"
        token = "" if has_token else f" Then set HF_TOKEN to a token from {settings}."
        private = (
            "Your token may not be allowed to read it."
            if has_token
            else f"If it is private, set HF_TOKEN to a token from {settings}."
        )
        return {
            "GatedRepo": f"Accept its terms at {page} with {account}.{token}",
            "RepoNotFound": f"Check `repo` and `repo_type` in models.yaml: {page}. {private}",
            "RevisionNotFound": f"Check `revision` in models.yaml: {page}/tree/main lists them.",
            "EntryNotFound": f"Run `doit lock --upgrade`; {page}/tree/main lists the files.",
            "Invalid credentials in Authorization header": "The token is not valid. Make one at "
            f"{settings}, and set HF_TOKEN to it or run `hf auth login`.",
            "Access to this resource is disabled.": f"The Hub disabled it: {page} says why.",
            "RateLimit": "" if has_token else "A token in HF_TOKEN raises the limit.",
        }


def _token() -> str:
    """Return the user's token, from where their client takes it; empty if there is none.

    HF_TOKEN, HUGGING_FACE_HUB_TOKEN, the file HF_TOKEN_PATH, or `token` in HF_HOME (huggingface_hub
    2.4.0: utils/_auth.py and constants.py). Its token exchange in CI (HF_OIDC_RESOURCE) and the
    secrets of Google Colab are not asked.

    Raises:
        SettingError: What is there cannot be a token.
    """
    env = os.environ
    if _is_on(env.get("HF_HUB_DISABLE_IMPLICIT_TOKEN")):
        return ""
    if named := env.get("HF_TOKEN") or env.get("HUGGING_FACE_HUB_TOKEN"):
        name = "HF_TOKEN" if env.get("HF_TOKEN") else "HUGGING_FACE_HUB_TOKEN"
        if token := _checked(named, name):
            return token
    try:
        path = env.get("HF_TOKEN_PATH") or str(hub_home() / "token")
        return _checked(Path(os.path.expandvars(path)).expanduser().read_text(), path)
    except (OSError, RuntimeError, UnicodeDecodeError):  # Runtime: there is no home folder
        return ""


def _is_on(value: str | None) -> bool:
    return (value or "").lower() in TRUE_WORDS


def hub_home() -> Path:
    """Return the folder of Hugging Face's own client: HF_HOME, or `huggingface` in the cache."""
    if named := os.environ.get("HF_HOME"):
        return Path(os.path.expandvars(named)).expanduser()
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(cache).expanduser() / "huggingface"


def _checked(text: str, where: str) -> str:
    token = text.replace("\r", "").replace("\n", "").strip()
    if not (token.isascii() and token.isprintable()) or " " in token:
        raise SettingError(
            f"{where} holds a space or another character that no token can have.",
            hint="A token begins with hf_. Set it again, or run `hf auth login`.",
        )
    return token
