"""What `doit list` says of a model and of a file."""

from collections.abc import Sequence

from downloader.artifact import Artifact, Checkpoint
from downloader.freshness import Rule
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


def model_doc(model: Model, stale: Sequence[Rule]) -> str:
    """Return how many files a model has, their size, and what is to be done with them.

    Args:
        model: The model.
        stale: The rules that make files of it stale.
    """
    optional = ", optional" * model.declared.entry.optional
    if model.locked is None:
        return why_unknown(model) + optional
    sizes = [artifact.size for artifact in model.artifacts]
    return f"{counted(len(sizes), 'file')}, {_total(sizes)}, {_state(stale, len(sizes))}{optional}"


def aligned(docs: Sequence[str]) -> list[str]:
    """Return what `model_doc` says of several models with number and size in columns."""
    rows = [doc.split(", ", 2) for doc in docs]
    widths = [max((len(row[n]) for row in rows if _is_row(row)), default=0) for n in (0, 1)]
    return [
        f"{row[0]:>{widths[0]}}, {row[1]:>{widths[1]}}, {row[2]}" if _is_row(row) else doc
        for row, doc in zip(rows, docs, strict=True)
    ]


def _is_row(row: Sequence[str]) -> bool:
    return len(row) == 3 and row[0][0].isdigit()  # noqa: PLR2004 - files, size, state


def _state(stale: Sequence[Rule], count: int) -> str:
    fetch = sum(rule.must_fetch for rule in stale)
    verify = len(stale) - fetch
    parts = [f"{fetch:,} of {count:,} to fetch"] * bool(fetch)
    parts += [f"{verify:,} of {count:,} to verify"] * bool(verify)
    return ", ".join(parts) or "up to date"


def _total(sizes: list[int | None]) -> str:
    known = [size for size in sizes if size is not None]
    if not known:
        return "size unknown"
    return bytes_text(sum(known)) + "+" * (len(known) < len(sizes))


def why_unknown(model: Model) -> str:
    """Return why nothing is known of a model's files, and what helps."""
    if model.declared.is_known:
        return "its files are not known yet: `doit lock` asks for them"
    return f"the source {model.source_name!r} is not there yet"
