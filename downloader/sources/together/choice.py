"""Which of a job's checkpoints an entry means, and what has to be asked for. Pure."""

from collections.abc import Sequence

from downloader.artifact import Checkpoint
from downloader.errors import SourceError
from downloader.manifest.entries import CheckpointRange, TogetherEntry
from downloader.sources.together.job import Job, Listed

REQUESTS = {"default": "merged", "merged": "merged", "adapter": "adapter"}
"""What the API is asked for a LoRA job, by the entry's type: both SDKs take default for merged."""
FULL_REQUEST = "model_output_path"
MOST_TOLD = 30


def may_request(entry: TogetherEntry) -> frozenset[str]:
    """Return what the API may have been asked for, whichever training the job proved to be."""
    full = {FULL_REQUEST} if entry.type == "default" else set()
    return frozenset({REQUESTS[entry.type], *full})


def wanted_steps(entry: TogetherEntry) -> tuple[int, ...] | None:
    """Return the steps that the entry names one by one; None where it names none."""
    if ":" in entry.job:
        return (int(entry.job.partition(":")[2]),)
    wanted = entry.checkpoint
    if isinstance(wanted, int):
        return (wanted,)
    return tuple(dict.fromkeys(wanted)) if isinstance(wanted, tuple) else None


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
            f"{job.id} is trained in a way that is not known here: {job.training[:40]!a}.",
            hint="Update modelmake, from where you have it.",
        )
    if entry.type != "default":
        raise SourceError(
            f"{job.id} is a full training, which has no {entry.type} of its own.",
            hint="Remove `type` from models.yaml: there is only one form of a full training.",
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


def choose(job: Job, entry: TogetherEntry, listed: Sequence[Listed]) -> list[Checkpoint]:
    """Return the checkpoints that the entry means, by step.

    Args:
        job: The job.
        entry: The entry.
        listed: The job's checkpoints by step; not looked at where only the final one is meant.

    Raises:
        SourceError: One that is meant does not exist; names those that do.
    """
    request = request_of(job, entry)
    if entry.checkpoint == "final" and ":" not in entry.job:
        return [Checkpoint(request=request)]
    return [
        Checkpoint(step=each.step, request=request, is_final=each.is_final, created=each.created)
        for each in _meant(job, entry, listed)
    ]


def _meant(job: Job, entry: TogetherEntry, listed: Sequence[Listed]) -> Sequence[Listed]:
    steps = wanted_steps(entry)
    if steps is not None:
        by_step = {each.step: each for each in listed}
        for step in steps:
            if step not in by_step:
                raise _missing(job, f"no checkpoint of step {step}", listed)
        return [by_step[step] for step in sorted(steps)]
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
    return SourceError(f"{job.id} has {what}{state}.", hint=_told(listed))


def _told(listed: Sequence[Listed]) -> str:
    if not listed:
        return "It has no checkpoints yet."
    steps = [str(each.step) for each in listed]
    if len(steps) > MOST_TOLD:
        return f"It has {len(steps):,} steps from {steps[0]} to {steps[-1]}."
    return (
        f"It has step {steps[0]} only." if len(steps) == 1 else f"It has steps {', '.join(steps)}."
    )
