"""One entry of Together AI: asked what there is, and told where it is now."""

from urllib.parse import urlencode

from downloader.artifact import Artifact, Checkpoint, Location
from downloader.errors import AccessDenied, BadResponse, NotFound, NotReady, SourceError
from downloader.lock.lockfile import LockedModel
from downloader.manifest.entries import TogetherEntry
from downloader.sources.interface import Provider, Resolution, Start
from downloader.sources.together import account, choice
from downloader.sources.together.job import (
    DONE,
    NO_API_HINT,
    OVER,
    Job,
    Listed,
    read_checkpoints,
    read_job,
)
from downloader.urls import host

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
        chosen = choice.choose(job, self._entry, self._listed(provider))
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
        return "" if choice.may_mean(self._entry, steps) else "its list of steps"

    def locate(self, artifact: Artifact) -> tuple[Location, ...]:
        """See Source."""
        if artifact.checkpoint is None:
            raise SourceError(f"{self._id} has no file {artifact.path}.")
        return (self._download(artifact.checkpoint),)

    def _is_meant(self, artifact: Artifact) -> bool:
        """Whether an archive in the lock can be one of the entry's."""
        found = artifact.checkpoint
        return (
            found is not None
            and found.request in choice.may_request(self._entry)
            and artifact.into == self._into(found)
            and self._entry.archive in (None, artifact.path)
            and (artifact.url, artifact.archive, artifact.md5) == (None, None, None)
        )

    def _location(self, path: str) -> Location:
        base = account.base_url(self._entry.base_url)
        return Location(
            url=f"{base}/v1/{path}",
            headers=account.headers(base),
            named_hosts=frozenset({host(base)}),
            credential_hint=account.KEY_HINT,
        )

    def _download(self, wanted: Checkpoint) -> Location:
        """Return where a checkpoint is served.

        The API ignores `checkpoint` where a step is given, and serves the final model for the last
        step: so that one is asked for without it, and the type counts.
        """
        query = {"ft_id": self._id, "checkpoint": wanted.request}
        if wanted.step is not None and not wanted.is_final:
            query["checkpoint_step"] = str(wanted.step)
        return self._location(f"finetune/download?{urlencode(query)}")

    def _downloadable(self, provider: Provider) -> Job:
        """Return the job when there is something to download, after a wait where one is wished.

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
        if choice.wanted_steps(self._entry) is None or job.state == "pending":
            raise _not_done(job)
        return job  # single steps can be had before the job is done, where there are any

    def _job(self, provider: Provider) -> Job:
        try:
            return read_job(self._read(provider, f"fine-tunes/{self._id}"), self._id)
        except NotFound:
            raise NotFound(
                f"Together AI knows no job {self._id}.",
                hint="Look for it with `together fine-tuning list`; the key's project must own it.",
            ) from None
        except AccessDenied as error:
            raise AccessDenied(
                f"Together AI refuses to tell of {self._id}: {error}", hint=account.KEY_HINT
            ) from None

    def _listed(self, provider: Provider) -> list[Listed]:
        if choice.wanted_steps(self._entry) is None and self._entry.checkpoint == "final":
            return []
        try:
            return read_checkpoints(self._read(provider, f"fine-tunes/{self._id}/checkpoints"))
        except NotFound as error:
            raise SourceError(
                f"Together AI lists no checkpoints of {self._id}: {error}", hint=NO_API_HINT
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
                f"Together AI does not give {what} of {job.id}, which is {job.state}: {error}",
                hint="A job can be downloaded when it is completed; look at it with "
                f"`together fine-tuning retrieve {job.id}`.",
            ) from None

    def _into(self, chosen: Checkpoint) -> str | None:
        """Return the folder of one of several checkpoints."""
        if not (self._entry.extract and choice.is_several(self._entry)):
            return None
        return f"step-{chosen.step}"

    def _stem(self, job: Job, chosen: Checkpoint) -> str:
        step = "" if chosen.step is None else f"-checkpoint-{chosen.step}"
        kind = "" if self._entry.type == "default" else f"-{self._entry.type}"
        return f"{job.file_name}{step}{kind}"


def _is_member(file: Artifact) -> bool:
    """Whether a file says what one that came out of an archive does, and no more."""
    fields = file.url, file.checkpoint, file.into, file.md5, file.etag
    return file.archive is not None and file.is_pinned and fields == (None,) * len(fields)


def _not_done(job: Job) -> SourceError:
    if job.state in OVER:
        return SourceError(
            f"{job.id} ends without a model: its state is {job.state}.",
            hint=f"`together fine-tuning list-events {job.id}` says why. Name another job.",
        )
    return NotReady(
        f"{job.id} is not completed: its state is {job.state}.",
        hint="Come back when it is completed, or write `wait: true` in models.yaml.",
    )
