"""What `doit list` says of a model and of a file."""

from downloader.artifact import Artifact, Checkpoint
from downloader.model import Model
from downloader.progress import bytes_text, counted


def file_doc(artifact: Artifact) -> str:
    """Return what is known of one file."""
    size = "size unknown" if artifact.size is None else bytes_text(artifact.size)
    pin = f"sha256:{artifact.sha256}" if artifact.sha256 else "not pinned yet"
    return f"{size}, {pin}{checkpoint_text(artifact.checkpoint)}"


def checkpoint_text(found: Checkpoint | None) -> str:
    """Return which checkpoint an archive holds; nothing for any other file."""
    if found is None:
        return ""
    step = "final model" if found.step is None else f"step {found.step}"
    parts = [step, f"{found.request} asked for"]
    parts += [f"holds {found.came}"] * bool(found.came)
    parts += [f"made {found.created}"] * bool(found.created)
    return "".join(f", {part}" for part in parts)


def model_doc(model: Model, stale: int) -> str:
    """Return how many files a model has, their size, and how many of them are stale."""
    if model.locked is None:
        return why_unknown(model)
    sizes = [artifact.size for artifact in model.artifacts]
    state = f"{stale} of {len(sizes)} to fetch" if stale else "up to date"
    optional = ", optional" if model.declared.entry.optional else ""
    return f"{counted(len(sizes), 'file')}, {_total(sizes)}, {state}{optional}"


def _total(sizes: list[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return "size unknown"
    return bytes_text(sum(known)) + "+" * (len(known) < len(sizes))


def why_unknown(model: Model) -> str:
    """Return why nothing is known of a model's files."""
    if model.declared.is_known:
        return "its provider could not tell its files"
    return f"the source {model.source_name!r} is not there yet"


def asking_doc(model: Model) -> str:
    """Return what is said of a model as long as its provider was not asked."""
    optional = ", optional" * model.declared.entry.optional
    return f"its files are not known yet: `doit lock` asks for them{optional}"
