"""Check what models.lock says, whatever its manifest is, before any of it is used. Pure.

Each path is safe, no two files of a model are one, each file names an archive that the model has,
and no text holds anything that would mean more elsewhere: in a header, a name, a terminal.
"""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from downloader import gate
from downloader.artifact import Artifact, Checkpoint
from downloader.errors import LockError
from downloader.safe_path import check_paths, unsafe

if TYPE_CHECKING:
    from downloader.lock.lockfile import LockedModel

RESTORE_HINT = "Take it back from version control, or delete it and run `doit lock`."
UNCLEAN = "is too long, or holds a control or invisible character"
MOST_BYTES = 2**63 - 1
"""Of all files together: sums of sizes are shown and written as JSON, which have an end there."""
NOT_HEX = "is not written in lower-case hex digits"


def check(models: Mapping[str, "LockedModel"], name: str) -> None:
    """Refuse models of a lockfile with a value that may not be used.

    Args:
        models: By name.
        name: The lockfile's name, for messages.

    Raises:
        LockError: Names the file, the model and the field.
    """
    for key, model in models.items():
        if not gate.is_name(key):
            what = f"{key[:100]!a} cannot be a model's name"
        elif _is_sound(model):
            continue
        else:
            place, why = next(_problems(model))
            what = f"models.{key}{place} {why}"
        raise LockError(f"{name}: {what}.", hint=RESTORE_HINT)
    if sum(map(_size, models.values())) > MOST_BYTES:
        raise LockError(f"{name}: its sizes add up to more than any disk has.", hint=RESTORE_HINT)


def _size(model: "LockedModel") -> int:
    every = (*model.archives, *model.files) if model.archives else model.files
    return sum([each.size or 0 for each in every])


def _is_sound(model: "LockedModel") -> bool:
    """Whether a few looks at all values together find nothing; ten thousand files are common."""
    every = (*model.archives, *model.files) if model.archives else model.files
    texts = [each.etag or "" for each in every] + [each.url or "" for each in every]
    digests = [each.sha256 or "" for each in every] + [each.root or "" for each in every]
    digests += [each.md5 or "" for each in every]
    is_plain = (
        gate.are_plain([*texts, model.source, model.revision or ""])
        and gate.is_hex("".join(digests))
        and {(each.archive, each.into, each.checkpoint) for each in every} <= {(None, None, None)}
        and not check_paths([each.path for each in every])
    )
    return is_plain or not any(_problems(model))


def _problems(model: "LockedModel") -> Iterator[tuple[str, str]]:
    """Yield each field with what is wrong with it; the slow look, which names them."""
    for place, text in ((".source", model.source), (".revision", model.revision or "")):
        if not gate.is_clean(text):
            yield place, UNCLEAN
    every = [(f".archives[{number}]", each) for number, each in enumerate(model.archives)]
    every += [(f".files[{number}]", each) for number, each in enumerate(model.files)]
    for place, each in every:
        for field, why in _of_artifact(each):
            yield f"{place}.{field}", why
    yield from _relations(model)
    if why := check_paths([each.path for _, each in every]):
        yield ":", why


def _of_artifact(each: Artifact) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with an artifact alone."""
    for field, path in (("path", each.path), ("into", each.into), ("archive", each.archive)):
        yield from ((field, why) for why in unsafe([path] if path is not None else []))
    for field, text in (("sha256", each.sha256), ("root", each.root), ("md5", each.md5)):
        if not gate.is_hex(text or ""):
            yield field, NOT_HEX
    if each.etag and not gate.is_etag(each.etag):
        yield "etag", "cannot be the validator of a reply"
    if not gate.is_clean(each.url or ""):
        yield "url", UNCLEAN
    if found := each.checkpoint:
        yield from _of_checkpoint(found)


def _of_checkpoint(found: Checkpoint) -> Iterator[tuple[str, str]]:
    if not gate.is_clean(found.request):
        yield "checkpoint.request", UNCLEAN
    if found.created is not None and not gate.MOMENT.fullmatch(found.created):
        yield "checkpoint.created", "is not a time"


def _relations(model: "LockedModel") -> Iterator[tuple[str, str]]:
    """Yield what archives and the files that come out of them do not have in common."""
    archives = {each.path: each for each in model.archives}
    for number, each in enumerate(model.archives):
        if each.archive is not None:
            yield f".archives[{number}].archive", "says that an archive comes out of another"
    for number, each in enumerate(model.files):
        for field, why in _of_file(each, archives):
            yield f".files[{number}].{field}", why


def _of_file(each: Artifact, archives: Mapping[str, Artifact]) -> Iterator[tuple[str, str]]:
    if each.into is not None:
        yield "into", "is for archives only"
    if each.checkpoint and archives:
        yield "checkpoint", "is for archives only"
    archive = archives.get(each.archive) if each.archive is not None else None
    if each.archive is not None and archive is None:
        yield "archive", f"{each.archive!a} is not in the list of archives"
    elif archive and archive.into and not each.path.startswith(f"{archive.into}/"):
        yield "path", f"{each.path!a} is not in its archive's folder {archive.into!a}"
