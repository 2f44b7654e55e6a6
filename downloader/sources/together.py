"""Together AI's fine-tuned models, as their SDKs download them.

A job (`GET /v1/fine-tunes/{id}`) has checkpoints (`…/{id}/checkpoints`), and each comes as one
archive from `GET /v1/finetune/download?ft_id=&checkpoint=&checkpoint_step=` (together 1.5.34 and
3.1.1; togethercomputer/openapi). Nobody publishes a digest of it: the first download pins one.

The API key and the address come from the environment and the file of Together's CLI. Of the
documents about a job we read only what we need.
"""

import contextlib
import os
import re
import sys
import time
from collections.abc import Container, Hashable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Literal, TypeVar
from urllib.parse import urlencode

import msgspec
from msgspec import Meta

from downloader.artifact import MOMENT, Artifact, Checkpoint, LockedModel, check_path
from downloader.errors import (
    AccessDenied,
    BadResponse,
    NotFound,
    NotReady,
    SettingError,
    SourceError,
    shown,
)
from downloader.sources.interface import (
    Entry,
    Fault,
    Keys,
    Provider,
    Reference,
    Resolution,
    Start,
    Step,
    Text,
)
from downloader.urls import Location, has_same_origin, host, may_have_credential, redact

Steps = Annotated[
    tuple[Annotated[Step | Literal["final"], Meta(extra={"choices": ["a step"]})], ...],
    Meta(min_length=1),
]


class CheckpointRange(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """`{last: 3}`, the newest N checkpoints, or `{from: 100, to: 500}`, both ends included."""

    last: Annotated[
        Annotated[int, Meta(ge=1, le=2**63 - 1)] | None,
        Meta(description="How many, counted from the newest."),
    ] = None
    start: Annotated[Step | None, Meta(description="The first step that is wanted.")] = (
        msgspec.field(name="from", default=None)
    )
    stop: Annotated[Step | None, Meta(description="The last step that is wanted.")] = msgspec.field(
        name="to", default=None
    )


class TogetherEntry(Entry, frozen=True, kw_only=True, tag="together"):
    """A fine-tuned model of Together AI, or its checkpoints."""

    not_about_bytes = Entry.not_about_bytes | {"keep_archive", "unpack_limits", "wait"}
    may_be_private = True
    collision_hint = "Give one of the two another `to`, or an `archive` name of its own."
    is_private = True
    reference_forms = {  # noqa: RUF012
        "together:ft-0123abcd-0123[:STEP]": "a fine-tuning job of Together AI, or a checkpoint"
    }

    job: Annotated[
        str,
        Meta(
            pattern=r"^ft-[0-9a-f-]{1,120}(:[0-9]{1,18})?\Z",
            extra={"form": "ft-0123abcd-0123, or with a step ft-0123abcd-0123:100"},
            description="The fine-tuning job: ft-0123abcd-0123, or with a step "
            "ft-0123abcd-0123:100.",
        ),
    ]
    checkpoint: Annotated[
        Literal["final", "all"] | Step | Steps | CheckpointRange,
        Meta(
            extra={"choices": ["a step", "a list of those", "{last: 3}", "{from: 100, to: 500}"]},
            description="final, a step, a list of those, all, {last: 3}, or {from: 100, to: 500}.",
        ),
    ] = "final"
    type: Annotated[
        Literal["default", "merged", "adapter"],
        Meta(
            description="Of a LoRA job: the merged model or the adapter alone; default is what the "
            "API serves."
        ),
    ] = "default"
    extract: Annotated[
        bool,
        Meta(
            description="Whether the files in the archive are the model's, not the archive itself."
        ),
    ] = False
    keep_archive: Annotated[
        bool, Meta(description="With `extract`: whether the archive stays beside its files.")
    ] = True
    unpack_limits: Annotated[
        Annotated[int, Meta(ge=1, le=1000)],
        Meta(
            description="With `extract`: how many times the usual limits an archive may reach, "
            "such as 200 bytes unpacked for each of its own. Raise it for archives that you trust."
        ),
    ] = 1
    archive: Annotated[Text | None, Meta(description="Another name for the archive.")] = None
    wait: Annotated[bool, Meta(description="Whether to wait for a job that still trains.")] = False

    @classmethod
    def read_reference(cls, text: str) -> Reference | None:
        """See Entry."""
        prefix, _, job = text.partition(":")
        return Reference({"job": job}, (job,)) if prefix == "together" else None

    @property
    def needs_own_folder(self) -> bool:
        """See Entry."""
        return self.extract

    @property
    def keeps_archives(self) -> bool:
        """See Entry."""
        return self.keep_archive

    @property
    def limit_factor(self) -> int:
        """See Entry."""
        return self.unpack_limits

    def source(self) -> "Together":
        """See Entry."""
        return Together(self)

    def faults(self, given: Container[str]) -> Iterator[Fault]:
        """See Entry."""
        if "checkpoint" in given and ":" in self.job:
            yield Fault(("checkpoint",), "`job` has a step already", "Remove one of the two.")
        if isinstance(self.checkpoint, CheckpointRange):
            yield from _range_faults(self.checkpoint)
        yield from self._archive_faults()
        if not self.keep_archive and not self.extract:
            yield Fault(
                ("keep_archive",),
                "without `extract` the archive is the only file there is",
                "Add `extract: true`, or remove `keep_archive`.",
            )

    def _archive_faults(self) -> Iterator[Fault]:
        """Refuse a name that cannot be one file's, or that several archives would have."""
        if self.archive is None:
            return
        keys = ("archive",)
        try:
            check_path(self.archive)
        except ValueError as error:
            yield Fault(keys, str(error), "It is a file's name, such as bot.tar.zst.")
        if "/" in self.archive:
            yield Fault(keys, "expected a file name without a folder", "`to` names the folder.")
        if not isinstance(self.checkpoint, int) and self.checkpoint != "final":
            yield Fault(
                keys,
                "one name for several checkpoints' archives",
                "Remove it: each archive's own name holds its step.",
            )

    def targets(self) -> Iterator[tuple[Keys, str]]:
        """See Entry."""
        if self.archive is not None:
            yield ("archive",), self.archive

    def identity(self) -> Hashable:
        """See Entry: what Together makes the archive's name of."""
        job, _, step = self.job.partition(":")
        named = job, int(step) if step else self.checkpoint, self.type
        return named if self.archive is None else None


def _range_faults(wanted: CheckpointRange) -> Iterator[Fault]:
    keys = ("checkpoint",)
    has_bounds = wanted.start is not None or wanted.stop is not None
    if has_bounds == (wanted.last is not None):
        yield Fault(keys, "expected either `last`, or `from` and `to`")
    if wanted.start is not None and wanted.stop is not None and wanted.start > wanted.stop:
        yield Fault(keys, f"`from` {wanted.start} is greater than `to` {wanted.stop}")


T = TypeVar("T")

DONE = "completed"
OVER = frozenset({"completed", "cancelled", "error", "user_error", "cancel_requested"})
"""States that waiting does not change: a cancelled job may stay at cancel_requested for ever."""
NO_API_HINT = "Try again later. If TOGETHER_BASE_URL is set, check that it is the API's address."
NAME_BYTES = 150
MOST_CHECKPOINTS = 100_000
ODD_CHARACTER = re.compile(r"[^a-z0-9_ -]")
DEVICE = re.compile(r"(con|prn|aux|nul|com[0-9]|lpt[0-9])(?=\.|$)")


class Training(msgspec.Struct, frozen=True):
    """How the job trains."""

    type: str = ""


class Job(msgspec.Struct, frozen=True):
    """A fine-tuning job, `GET /v1/fine-tunes/{id}`."""

    id: str = ""
    status: str = ""
    model_output_name: str | None = None
    training_type: Training | str | None = None

    @property
    def state(self) -> str:
        """The status in the words of all API versions, fit to be shown."""
        word = ODD_CHARACTER.sub("?", self.status[:40].strip().lower())
        return word or "in an unknown state"

    @property
    def training(self) -> str:
        """`lora`, `full`, or another word that Together came up with since.

        An empty type counts as full training, as in the 1.5 SDK.
        """
        found = self.training_type
        word = found.type if isinstance(found, Training) else found
        return "full" if word == "" else (word or "lora").lower()

    @property
    def file_name(self) -> str:
        """The model's name as a file's name that is safe everywhere.

        As the 1.5 SDK's normalize_key, and what is left of `account/base:suffix:job` made safe.
        """
        name = (self.model_output_name or self.id).lower()
        name = name.replace("/", "--").replace("_", "-").replace(" ", "-")
        name = re.sub(r"[^a-z0-9.+@-]", "-", name)[:NAME_BYTES].strip("-.")
        return DEVICE.sub(r"\1-model", name or self.id)


class Listed(msgspec.Struct, frozen=True):
    """One line of `GET /v1/fine-tunes/{id}/checkpoints`."""

    step: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    checkpoint_type: str = ""
    created_at: str | None = None

    @property
    def created(self) -> str | None:
        """When it was made, if that is a valid time: it is shown and stands in models.lock."""
        return self.created_at if re.fullmatch(MOMENT, self.created_at or "") else None

    @property
    def is_final(self) -> bool:
        """Whether it is the job's result: `Final`, `Final Merged` or `Final Adapter`."""
        return "final" in self.checkpoint_type.lower()


class _Checkpoints(msgspec.Struct, frozen=True):
    data: Annotated[list[Listed], Meta(max_length=MOST_CHECKPOINTS)] = []


def read_job(text: bytes, job_id: str) -> Job:
    """Read a job.

    Args:
        text: The document.
        job_id: Which job was asked for; it is not taken from the document.

    Raises:
        BadResponse: It is not such a document.
    """
    return msgspec.structs.replace(_read(text, Job, "job"), id=job_id)


def read_checkpoints(text: bytes) -> list[Listed]:
    """Read a job's checkpoints, by step; of several with one step the final one, else the first.

    Step 0 is left out unless it is the final one: asked for by its number, the API serves the
    final model (types of together 3.1.1).

    Raises:
        BadResponse: It is not such a document.
    """
    found: dict[int, Listed] = {}
    lines = _read(text, _Checkpoints, "list of checkpoints").data
    for each in sorted(lines, key=lambda each: (each.step, not each.is_final)):
        if each.step or each.is_final:
            found.setdefault(each.step, each)
    return list(found.values())


def _read(text: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (ValueError, RecursionError):
        raise BadResponse(
            f"Together AI answered with something that is not a {what}.",
            hint=NO_API_HINT,
        ) from None


BASE_URL = "https://api.together.ai"
BASE_URL_VARIABLE = "TOGETHER_BASE_URL"
KEY_VARIABLE = "TOGETHER_API_KEY"
PROJECT_VARIABLE = "TOGETHER_PROJECT_ID"
CREDENTIALS_VARIABLE = "TOGETHER_CREDENTIALS_PATH"
KEY_HINT = (
    f"Set {KEY_VARIABLE}. A member of the project that trained the model can create a key at "
    "https://api.together.ai/settings/api-keys."
)


class _Credential(msgspec.Struct, frozen=True):
    access_token: str
    name: str | None = None
    project_id: str | None = None
    issuer: str | None = None
    expires_at: float | None = None

    def __repr__(self) -> str:
        return f"_Credential(name={self.name!r})"

    @property
    def key(self) -> str:
        return self.name or self.project_id or "default"


class _Credentials(msgspec.Struct, frozen=True):
    """The file that `tg login` writes (together 3.1.1: lib/cli/auth.py)."""

    current: str | None = None
    credentials: tuple[msgspec.Raw, ...] = ()


def account_url(declared: str | None) -> str:
    """Return the API's address without `/v1`: the environment's, the entry's, or Together's own.

    The 1.5 SDK's TOGETHER_BASE_URL ends with `/v1`, the 3.x SDK's does not: both are understood.

    Raises:
        SettingError: The environment's is not a URL that a key may be sent to.
    """
    named = os.environ.get(BASE_URL_VARIABLE) or declared or BASE_URL
    if not may_have_credential(named):
        raise SettingError(
            f"{BASE_URL_VARIABLE} must be an https URL without user and query.",
            hint=f"Write it like {BASE_URL}, or unset it to use that.",
        )
    return named.rstrip("/").removesuffix("/v1").rstrip("/")


def account_headers(base: str) -> dict[str, str]:
    """Return what authenticates the caller to Together.

    No SDK sends TOGETHER_PROJECT_ID along: a key belongs to one project. Here it chooses among
    the projects of `tg switch`.

    Args:
        base: Where it will be sent: what `tg login` got is for its issuer alone.

    Raises:
        SettingError: There is no key, or it cannot be one.
    """
    key = os.environ.get(KEY_VARIABLE) or _logged_in(base)
    if not key:
        raise SettingError(
            f"Together AI needs an API key, and {KEY_VARIABLE} is not set.", hint=KEY_HINT
        )
    if not (key.isascii() and key.isprintable()) or " " in key:
        raise SettingError(
            f"{KEY_VARIABLE} holds a space, a line break or another character "
            "that no key can have.",
            hint=KEY_HINT,
        )
    return {"Authorization": f"Bearer {key}"}


def _logged_in(base: str) -> str:
    """Return the token that `tg login` left, if it is for this place; empty if there is none.

    Raises:
        SettingError: It is for another place, or has expired.
    """
    found = _chosen()
    if found is None:
        return ""
    if not has_same_origin(found.issuer or BASE_URL, base):
        raise SettingError(
            f"The log-in of `tg login` is not for {redact(base)}, and {KEY_VARIABLE} is not set.",
            hint=f"Unset {BASE_URL_VARIABLE}, or set {KEY_VARIABLE}.",
        )
    if found.expires_at is not None and found.expires_at <= time.time():
        raise SettingError(
            f"The log-in of `tg login` has expired, and {KEY_VARIABLE} is not set.",
            hint=f"Run `tg whoami`, which renews it, or set {KEY_VARIABLE}.",
        )
    return found.access_token


def _chosen() -> _Credential | None:
    """Return the log-in of TOGETHER_PROJECT_ID, or the current one; a damaged file has none."""
    try:
        file = msgspec.json.decode(_credentials_path().read_bytes(), type=_Credentials)
    except (OSError, ValueError, RuntimeError):  # RuntimeError: too deep, or no home folder
        return None
    project = os.environ.get(PROJECT_VARIABLE)
    for each in _readable(file.credentials):
        if each.project_id == project if project else each.key == file.current:
            return each
    return None


def _readable(lines: Iterable[msgspec.Raw]) -> Iterator[_Credential]:
    for line in lines:
        with contextlib.suppress(ValueError, RecursionError):
            yield msgspec.json.decode(line, type=_Credential)


def _credentials_path() -> Path:
    named = os.environ.get(CREDENTIALS_VARIABLE)
    if named:
        return Path(named)
    if sys.platform == "win32" and (data := os.environ.get("APPDATA")):
        return Path(data) / "Together" / "credentials.json"
    folder = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    return Path(folder) / "together" / "credentials.json"


FOREIGN = ("url", "archive", "md5", "git_sha1", "content")
"""Fields of a locked archive that none of Together has."""
REQUESTS = {"default": "merged", "merged": "merged", "adapter": "adapter"}
"""What the API is asked for a LoRA job, by the entry's type: both SDKs take default for merged."""
FULL_REQUEST = "model_output_path"
MOST_TOLD = 30


def may_request(entry: TogetherEntry) -> frozenset[str]:
    """Return what the API may have been asked for, whichever training the job proved to be."""
    full = {FULL_REQUEST} if entry.type == "default" else set()
    return frozenset({REQUESTS[entry.type], *full})


def wanted_steps(entry: TogetherEntry) -> tuple[int | None, ...] | None:
    """Return the steps that the entry names one by one; None if it names none.

    In a list, None stands for `final`: the job's result, whichever step that is.
    """
    if ":" in entry.job:
        return (int(entry.job.partition(":")[2]),)
    wanted = entry.checkpoint
    if isinstance(wanted, int):
        return (wanted,)
    if not isinstance(wanted, tuple):
        return None
    return tuple(dict.fromkeys(None if each == "final" else each for each in wanted))


def is_several(entry: TogetherEntry) -> bool:
    """Whether the entry may mean more than one checkpoint, so that each has a folder of its own.

    Judged by its form, not by how many there are now: another checkpoint must not move the first.
    """
    return entry.checkpoint == "all" or isinstance(entry.checkpoint, (tuple, CheckpointRange))


def request_of(job: Job, entry: TogetherEntry) -> str:
    """Return what to ask the API for (together 3.1.1: resources/fine_tuning.py).

    Raises:
        SourceError: The job has no such thing.
    """
    if job.training == "lora":
        return REQUESTS[entry.type]
    if job.training != "full":
        raise SourceError(
            f"{job.id} has a training type that this version does not know: "
            f"'{shown(job.training, 60)}'.",
            hint="Update modelmake.",
        )
    if entry.type != "default":
        raise SourceError(
            f"{job.id} is a full training and has no {entry.type}.",
            hint="Remove `type` from models.yaml: a full training has only one form.",
        )
    return FULL_REQUEST


def may_mean(entry: TogetherEntry, steps: Sequence[int | None]) -> bool:
    """Whether the entry can mean exactly these steps, whatever the job has by now.

    Args:
        entry: The entry.
        steps: Of locked archives; None is the final model, asked for without its step.
    """
    named = wanted_steps(entry)
    if named is not None:
        return sorted(map(str, steps)) == sorted(map(str, named))
    if entry.checkpoint == "final":
        return list(steps) == [None]
    numbers = {step for step in steps if step is not None}
    if not numbers or len(numbers) < len(steps):
        return False
    wanted = entry.checkpoint
    if not isinstance(wanted, CheckpointRange):
        return True
    if wanted.last is not None:
        return len(numbers) <= wanted.last
    return all(_is_between(wanted, step) for step in numbers)


def chosen_checkpoints(
    job: Job, entry: TogetherEntry, listed: Sequence[Listed]
) -> list[Checkpoint]:
    """Return the checkpoints that the entry means, by step.

    Args:
        job: The job.
        entry: The entry.
        listed: The job's checkpoints by step; ignored if only the final one is meant.

    Raises:
        SourceError: One that is meant does not exist; names those that do.
    """
    request = request_of(job, entry)
    final = Checkpoint(request=request)
    if entry.checkpoint == "final" and ":" not in entry.job:
        return [final]
    chosen = [
        Checkpoint(step=each.step, request=request, is_final=each.is_final, created=each.created)
        for each in _meant(job, entry, listed)
    ]
    return [*chosen, *[final] * (None in (wanted_steps(entry) or ()))]


def _meant(job: Job, entry: TogetherEntry, listed: Sequence[Listed]) -> Sequence[Listed]:
    steps = wanted_steps(entry)
    if steps is not None:
        by_step = {each.step: each for each in listed}
        numbers = [step for step in steps if step is not None]
        for step in numbers:
            if step not in by_step:
                raise _missing(job, f"no checkpoint of step {step}", listed)
        return [by_step[step] for step in sorted(numbers)]
    meant = _within(entry.checkpoint, listed)
    if not meant:
        raise _missing(job, "no such checkpoint", listed)
    return meant


def _within(wanted: object, listed: Sequence[Listed]) -> Sequence[Listed]:
    if not isinstance(wanted, CheckpointRange):
        return listed
    if wanted.last is not None:
        return listed[-wanted.last :]
    return [each for each in listed if _is_between(wanted, each.step)]


def _is_between(wanted: CheckpointRange, step: int) -> bool:
    is_late = wanted.start is None or step >= wanted.start
    return is_late and (wanted.stop is None or step <= wanted.stop)


def _missing(job: Job, what: str, listed: Sequence[Listed]) -> SourceError:
    state = "" if job.state == "completed" else f", and is {job.state}"
    return SourceError(f"{job.id} has {what}{state}.", hint=_listed_hint(listed))


def _listed_hint(listed: Sequence[Listed]) -> str:
    if not listed:
        return "It has no checkpoints yet."
    steps = [str(each.step) for each in listed]
    if len(steps) > MOST_TOLD:
        return f"It has {len(steps):,} steps from {steps[0]} to {steps[-1]}."
    return (
        f"It has step {steps[0]} only." if len(steps) == 1 else f"It has steps {', '.join(steps)}."
    )


GZIP = b"\x1f\x8b"
FIRST_WAIT_SECONDS = 2.0
LONGEST_WAIT_SECONDS = 60.0


class Together:
    """The source of one `together` entry."""

    def __init__(self, entry: TogetherEntry) -> None:
        self._entry = entry
        self._id = entry.job.partition(":")[0]

    def outline(self) -> None:
        """See Source: names, sizes and steps are Together's to tell."""

    def resolve(self, provider: Provider) -> Resolution:
        """See AskingSource."""
        job = self._downloadable(provider)
        chosen = chosen_checkpoints(job, self._entry, self._listed(provider))
        archives = tuple(self._archive(provider, job, each) for each in chosen)
        if self._entry.extract:
            return Resolution(revision=self._id, archives=archives)
        return Resolution(revision=self._id, artifacts=archives)

    def check(self, locked: LockedModel) -> str:
        """See AskingSource."""
        if locked.revision != self._id:
            return "its revision"
        is_packed = not self._entry.extract
        archives = locked.files if is_packed else locked.archives
        if bool(locked.archives) == is_packed or not all(map(self._is_meant, archives)):
            return "its list of archives"
        if not is_packed and not all(map(_is_member, locked.files)):
            return "a field of a file that came out of an archive"
        steps = [each.checkpoint.step for each in archives if each.checkpoint]
        return "" if may_mean(self._entry, steps) else "its list of steps"

    def locate(self, artifact: Artifact, revision: str | None) -> tuple[Location, ...]:  # noqa: ARG002 - an entry of this source names it
        """See Source."""
        if artifact.checkpoint is None:
            raise SourceError(f"{self._id} has no file {artifact.path}.")
        return (self._download(artifact.checkpoint),)

    def _is_meant(self, artifact: Artifact) -> bool:
        """Whether an archive in the lock can be one of the entry's."""
        found = artifact.checkpoint
        return (
            found is not None
            and found.request in may_request(self._entry)
            and artifact.into == self._into(found)
            and self._entry.archive in (None, artifact.path)
            and all(getattr(artifact, field) is None for field in FOREIGN)
        )

    def _location(self, path: str) -> Location:
        base = account_url(self._entry.base_url)
        return Location(
            url=f"{base}/v1/{path}",
            headers=account_headers(base),
            named_hosts=frozenset({host(base)}),
            credential_hint=KEY_HINT,
        )

    def _download(self, wanted: Checkpoint) -> Location:
        """Return where a checkpoint is served.

        The API ignores `checkpoint` if a step is given, and serves the final model for the last
        step: so that one is asked for without it, and the type counts.
        """
        query = {"ft_id": self._id, "checkpoint": wanted.request}
        if wanted.step is not None and not wanted.is_final:
            query["checkpoint_step"] = str(wanted.step)
        return self._location(f"finetune/download?{urlencode(query)}")

    def _downloadable(self, provider: Provider) -> Job:
        """Return the job when there is something to download, after a wait if one is wanted.

        Raises:
            SourceError: It is not there, or in a state that gives nothing.
        """
        wait_seconds = FIRST_WAIT_SECONDS
        while True:
            job = self._job(provider)
            if job.state == DONE:
                return job
            if job.state in OVER or not self._entry.wait:
                break
            provider.wait(f"{self._id} is {job.state}", wait_seconds)
            wait_seconds = min(wait_seconds * 1.5, LONGEST_WAIT_SECONDS)
        steps = wanted_steps(self._entry)
        if steps is None or None in steps or job.state == "pending":
            raise _not_done(job)
        return job  # single steps can be had before the job is done, if there are any

    def _job(self, provider: Provider) -> Job:
        try:
            return read_job(self._read(provider, f"fine-tunes/{self._id}"), self._id)
        except NotFound:
            raise NotFound(
                f"Together AI knows no job {self._id}.",
                hint="Find it with `together fine-tuning list`. The key must be of its project.",
            ) from None
        except AccessDenied as error:
            raise AccessDenied(
                f"Together AI denies access to {self._id}: {error}", hint=KEY_HINT
            ) from None

    def _listed(self, provider: Provider) -> list[Listed]:
        if wanted_steps(self._entry) is None and self._entry.checkpoint == "final":
            return []
        try:
            return read_checkpoints(self._read(provider, f"fine-tunes/{self._id}/checkpoints"))
        except NotFound as error:
            raise SourceError(
                f"Together AI does not list the checkpoints of {self._id}: {error}",
                hint=NO_API_HINT,
            ) from None

    def _read(self, provider: Provider, path: str) -> bytes:
        try:
            return provider.read(self._location(path))
        except BadResponse as error:
            raise BadResponse(str(error), hint=error.hint or NO_API_HINT) from None

    def _archive(self, provider: Provider, job: Job, chosen: Checkpoint) -> Artifact:
        start = self._start(provider, job, chosen)
        suffix = ".tar.gz" if start.magic == GZIP else ".tar.zst"
        return Artifact(
            path=self._entry.archive or f"{self._stem(job, chosen)}{suffix}",
            size=start.size,
            etag=start.etag,
            checkpoint=chosen,
            into=self._into(chosen),
        )

    def _start(self, provider: Provider, job: Job, chosen: Checkpoint) -> Start:
        try:
            return provider.start(self._download(chosen))
        except (BadResponse, NotFound) as error:
            what = "the final model" if chosen.step is None else f"step {chosen.step}"
            raise SourceError(
                f"Together AI does not serve {what} of {job.id}, which is {job.state}: {error}",
                hint="A job can be downloaded when it is completed; look at it with "
                f"`together fine-tuning retrieve {job.id}`.",
            ) from None

    def _into(self, chosen: Checkpoint) -> str | None:
        """Return the folder of one of several checkpoints."""
        if not (self._entry.extract and is_several(self._entry)):
            return None
        return "final" if chosen.step is None else f"step-{chosen.step}"

    def _stem(self, job: Job, chosen: Checkpoint) -> str:
        step = "" if chosen.step is None else f"-checkpoint-{chosen.step}"
        kind = "" if self._entry.type == "default" else f"-{self._entry.type}"
        return f"{job.file_name}{step}{kind}"


def _is_member(file: Artifact) -> bool:
    """Whether a file says what one that came out of an archive does, and no more."""
    fields = file.url, file.checkpoint, file.into, file.md5, file.git_sha1, file.etag, file.content
    return file.archive is not None and file.is_pinned and fields == (None,) * len(fields)


def _not_done(job: Job) -> SourceError:
    if job.state in OVER:
        return SourceError(
            f"{job.id} ended without a model: its state is {job.state}.",
            hint=f"`together fine-tuning list-events {job.id}` says why. Name another job.",
        )
    return NotReady(
        f"{job.id} is not completed: its state is {job.state}.",
        hint="Try again when it is completed, or write `wait: true` in models.yaml.",
    )
