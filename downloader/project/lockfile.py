"""models.lock: its text, its place on disk, and whether it follows from models.yaml.

One file a line, models and paths sorted: diffs read well, two branches merge, and 10,000 files
load in milliseconds. The same artifacts always give the same bytes. Before any of it is used, each
path is safe, no two files of a model are one, each file names an archive that the model has, and no
text holds anything that would mean more elsewhere: in a header, a name, a terminal.

Several runs may change it at once: one at a time, none undoes another. Each part is compared with
how this run found it: what only one of the two changed is as that one has it. The parts are the
models and, if both runs changed a model of one entry, its files; an archive is one part with all
that came out of it. A file that both pinned keeps the pin that was written first. The lock is held
on a file of its own, since models.lock is replaced. If locks are of no use the time between
reading and writing is short, and what is lost then is pinned by the next run.
"""

import contextlib
import hashlib
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from operator import attrgetter
from pathlib import Path
from typing import TypeVar

import msgspec

from downloader.artifact import (
    CHECKSUM,
    MOMENT,
    Artifact,
    Checkpoint,
    LockedModel,
    are_plain,
    check_paths,
    is_clean,
    is_etag,
    is_hex,
    is_name,
    unsafe,
)
from downloader.errors import RESTORE_HINT, LockError, StoreError, shown
from downloader.fs.files import private_folder, write_file
from downloader.fs.rooted_path import RootedPath, read_own

UNCLEAN = "is too long, or holds a control or invisible character"
MOST_BYTES = 2**63 - 1
"""Of all files together: sums of sizes are shown and written as JSON, which have an end there."""
NOT_HEX = "is not written in lower-case hex digits"


def check_values(models: Mapping[str, "LockedModel"], name: str) -> None:
    """Refuse models of a lockfile with a value that may not be used.

    Args:
        models: By name.
        name: The lockfile's name, for messages.

    Raises:
        LockError: Names the file, the model and the field.
    """
    for key, model in models.items():
        if not is_name(key):
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
    stored = [e for e in every if e.version is not None or e.checksum is not None]
    of_git = [each for each in every if each.git_sha1]
    digests += [each.git_sha1 or "" for each in of_git]
    is_plain = (
        are_plain([*texts, model.source, model.revision or ""])
        and not any(any(_of_object(each)) for each in stored)
        and is_hex("".join(digests))
        and {(each.archive, each.into, each.checkpoint) for each in every} <= {(None, None, None)}
        and all(each.size is not None for each in of_git)
        and all(each.content is None or _is_whole(each) for each in every)
        and not check_paths([each.path for each in every])
    )
    return is_plain or not any(_problems(model))


def _problems(model: "LockedModel") -> Iterator[tuple[str, str]]:
    """Yield each field with what is wrong with it; the slow look, which names them."""
    for place, text in ((".source", model.source), (".revision", model.revision or "")):
        if not is_clean(text):
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
    for field in ("sha256", "root", "md5", "git_sha1"):
        if not is_hex(getattr(each, field) or ""):
            yield field, NOT_HEX
    if each.git_sha1 and each.size is None:
        yield "git_sha1", "needs a `size`"
    if each.etag and not is_etag(each.etag):
        yield "etag", "cannot be the validator of a reply"
    if each.content is not None and not _is_whole(each):
        yield "content", "is not what its sha256 says"
    yield from _of_object(each)
    if not is_clean(each.url or ""):
        yield "url", UNCLEAN
    if found := each.checkpoint:
        yield from _of_checkpoint(found)


def _of_object(each: Artifact) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with what only an object in an object store has."""
    if each.checksum is not None and not re.fullmatch(CHECKSUM, each.checksum):
        yield "checksum", "is not the name of one and its value in base64"
    if each.version is not None and not (each.version and is_clean(each.version)):
        yield "version", UNCLEAN


def _is_whole(each: Artifact) -> bool:
    """Whether a file that the lock holds itself is the one that its other fields mean."""
    data = (each.content or "").encode()
    return (each.size, each.sha256) == (len(data), hashlib.sha256(data).hexdigest())


def _of_checkpoint(found: Checkpoint) -> Iterator[tuple[str, str]]:
    if not is_clean(found.request):
        yield "checkpoint.request", UNCLEAN
    if found.created is not None and not re.fullmatch(MOMENT, found.created):
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


VERSION = 1
CONFLICT_MARKERS = (b"<<<<<<<", b"=======", b">>>>>>>")


class Lockfile(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """models.lock."""

    version: int = VERSION
    models: dict[str, LockedModel]


EMPTY = Lockfile(models={})


Pins = dict[tuple[str, str], Artifact]
"""Artifacts by model and path."""


class _AnyVersion(msgspec.Struct):
    version: int


def load(text: bytes, name: str = "models.lock") -> Lockfile:
    """Read a lockfile.

    Raises:
        LockError: It is torn, of a newer version, in the middle of a merge, not a lockfile, or has
            a value that may not be used.
    """
    try:
        lockfile = msgspec.json.decode(text, type=Lockfile)
    except (ValueError, RecursionError) as error:  # msgspec's own, and what its text made of it
        _check_version(text, name)
        raise _unreadable(text, name, error) from None
    is_as_written = lockfile.version == VERSION and dump(lockfile) == text
    if not is_as_written:
        _check_version(text, name)
    check_values(lockfile.models, name)
    if not is_as_written:  # but by hand, or merged: only then the slow look for doublets
        _check_no_double_keys(text, name)
    return lockfile


def _check_version(text: bytes, name: str) -> None:
    try:
        version = msgspec.json.decode(text, type=_AnyVersion).version
    except (ValueError, RecursionError) as error:
        raise _unreadable(text, name, error) from None
    if version != VERSION:
        raise LockError(
            f"{name} has version {version}, and this program knows version {VERSION}.",
            hint="Update modelmake, from where you have it.",
        )


def dump(lockfile: Lockfile) -> bytes:
    """Return the text of a lockfile, which `load` gives back."""
    models = b",\n".join(
        [_dump_model(name, model) for name, model in sorted(lockfile.models.items())]
    )
    return b'{\n"version": %d,\n"models": {\n%b\n}\n}\n' % (lockfile.version, models)


def with_pins(locked: Lockfile, pins: Pins) -> Lockfile:
    """Return the lockfile with these artifacts in the places of those of the same paths."""
    models = dict(locked.models)
    for name in {name for name, _ in pins}:
        files, archives = (
            tuple(pins.get((name, each.path), each) for each in found)
            for found in (models[name].files, models[name].archives)
        )
        models[name] = msgspec.structs.replace(models[name], files=files, archives=archives)
    return Lockfile(models=models)


def with_unpacked(
    locked: Lockfile, name: str, archive: Artifact, members: Iterable[Artifact]
) -> Lockfile:
    """Return the lockfile with a model's archive as it proved to be, and the files out of it."""
    before = locked.models[name]
    known = {each.path: each for each in before.files}
    members = (each.with_root_of(known.get(each.path)) for each in members)
    archives = tuple(archive if each.path == archive.path else each for each in before.archives)
    files = (*before.not_from(archive.path), *members)
    after = msgspec.structs.replace(before, archives=archives, files=files)
    return Lockfile(models={**locked.models, name: after})


def _dump_model(name: str, model: LockedModel) -> bytes:
    head: dict[str, object] = {"entry": model.entry, "source": model.source}
    if model.revision is not None:
        head["revision"] = model.revision
    if model.left_out is not None:
        head["left_out"] = model.left_out
    if model.gated:
        head["gated"] = True
    fields = b", ".join([b"%b: %b" % (_encode(key), _encode(value)) for key, value in head.items()])
    archives = b', "archives": [\n%b]' % _dump_files(model.archives) if model.archives else b""
    files = _dump_files(model.files) or b"\n"
    return b'%b: {%b%b, "files": [\n%b]}' % (_encode(name), fields, archives, files)


def _dump_files(files: Sequence[Artifact]) -> bytes:
    """Return a line for each file; JSON has no line end in a text."""
    lines: bytes = _encoder.encode_lines(sorted(files, key=attrgetter("path")))
    return lines.replace(b"\n", b",\n", max(len(files) - 1, 0))


_encoder = msgspec.json.Encoder()
_encode = _encoder.encode


def _unreadable(text: bytes, name: str, error: Exception) -> LockError:
    if any(line.startswith(CONFLICT_MARKERS) for line in text.splitlines()):
        return LockError(
            f"{name} holds conflict markers of a merge.",
            hint=f"Take either side of it (`git checkout --ours {name}`), then run `doit lock`.",
        )
    return LockError(f"{name} cannot be read: {shown(error)}.", hint=RESTORE_HINT)


def _check_no_double_keys(text: bytes, name: str) -> None:
    def pairs(found: list[tuple[str, object]]) -> dict[str, object]:
        counts = Counter(key for key, _ in found)
        if len(counts) < len(found):
            double = counts.most_common(1)[0][0]
            raise LockError(
                f"{name} has the key {shown(repr(double))} twice in one place.",
                hint=RESTORE_HINT,
            )
        return dict(found)

    json.loads(text, object_pairs_hook=pairs)


P = TypeVar("P")
Part = tuple[tuple[Artifact, ...], tuple[Artifact, ...]]
"""Archives and files."""


def merge(found: Lockfile, ours: Lockfile, theirs: Lockfile) -> Lockfile:
    """Return a lockfile with the changes of both runs.

    Args:
        found: As this run read it.
        ours: As this run wants it.
        theirs: As it is now, which another run may have written.
    """
    models = _merged(found.models, ours.models, theirs.models, _one_model)
    return Lockfile(models=models)


def _merged(
    found: Mapping[str, P],
    ours: Mapping[str, P],
    theirs: Mapping[str, P],
    settle: Callable[[P | None, P, P], P],
) -> dict[str, P]:
    merged = {}
    for key in (*theirs, *(key for key in ours if key not in theirs)):
        before, mine, other = found.get(key), ours.get(key), theirs.get(key)
        if mine == before:
            kept = other
        elif other == before or mine is None or other is None:
            kept = mine
        else:
            kept = settle(before, mine, other)
        if kept is not None:
            merged[key] = kept
    return merged


def _one_model(before: LockedModel | None, mine: LockedModel, other: LockedModel) -> LockedModel:
    if mine.entry != other.entry:
        is_mine_older = before is not None and mine.entry == before.entry
        return other if is_mine_older else mine
    known = _parts(before) if before and before.entry == mine.entry else {}
    parts = _merged(known, _parts(mine), _parts(other), _one_part)
    return msgspec.structs.replace(
        mine,
        archives=_sorted(each for archives, _ in parts.values() for each in archives),
        files=_sorted(each for _, files in parts.values() for each in files),
    )


def _one_part(_before: Part | None, mine: Part, other: Part) -> Part:
    archives, files = other
    if not all(each.is_pinned for each in archives or files):
        return mine
    return _with_roots(archives, mine[0]), _with_roots(files, mine[1])


def _with_roots(kept: tuple[Artifact, ...], mine: tuple[Artifact, ...]) -> tuple[Artifact, ...]:
    """Return what is kept, with what this run found out about the same bytes."""
    known = {each.path: each for each in mine}
    return tuple(each.with_root_of(known.get(each.path)) for each in kept)


def _parts(model: LockedModel) -> dict[str, Part]:
    parts: dict[str, Part] = {each.path: ((each,), ()) for each in model.archives}
    for each in model.files:
        key = each.archive or each.path
        archives, files = parts.get(key, ((), ()))
        parts[key] = archives, (*files, each)
    return parts


def _sorted(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    return tuple(sorted(artifacts, key=lambda each: each.path))


def replace(path: Path, found: Lockfile, ours: Lockfile, refuse: Callable[[], None]) -> bool:
    """Write models.lock when it would change, and return whether it did.

    Args:
        path: Of models.lock.
        found: As this run read it.
        ours: As this run wants it; what others changed meanwhile is kept.
        refuse: Raises if it must not be written.

    Raises:
        LockError: It may not be written, or can no longer be read.
        StoreError: The disk refused.
    """
    if _is_written(path, found, ours):
        return False
    refuse()
    check_values(ours.models, path.name)  # what could not be read again is not written
    with alone(path):
        write_file(RootedPath.of(path), _wanted(path, found, ours)[1])
    return True


def _is_written(path: Path, found: Lockfile, ours: Lockfile) -> bool:
    text, wanted = _wanted(path, found, ours)
    return text == wanted


def _wanted(path: Path, found: Lockfile, ours: Lockfile) -> tuple[bytes | None, bytes]:
    """Return the text of models.lock, None when there is none, and what it should be."""
    text = read_own(path) if path.exists() else None
    if text is None or text == dump(found):  # nobody else was there
        return text, dump(ours)
    return text, dump(merge(found, ours, load(text, path.name)))


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other runs from writing the same file of the project during the block."""
    from downloader.fs.locks import LockWait, open_locked  # noqa: PLC0415 - a run with nothing to do writes no lock

    folder = private_folder(path.parent)
    folder.make_folder()
    name = folder / f"{path.name}.turn"
    file = open_locked(name, LockWait())
    try:
        yield
    finally:
        file.close()
        if file.path != name:  # locks are of no use here, and it is ours alone
            with contextlib.suppress(StoreError):
                file.path.remove()


def check_follows(name: str, locked: LockedModel, outlined: LockedModel) -> None:
    """Refuse a lock that says other than its manifest entry: somebody changed it by hand.

    Raises:
        LockError: It names other files or archives, another place, or another digest than is
            published.
    """
    if (locked.source, locked.revision) != (outlined.source, outlined.revision):
        raise tampered(name, "its source or revision differs")
    _check_list(name, "archives", outlined.archives, locked.archives)
    _check_list(name, "files", outlined.files, locked.files)


def _check_list(
    name: str, kind: str, declared: Sequence[Artifact], locked: Sequence[Artifact]
) -> None:
    found = {each.path: each for each in locked}
    wanted = {each.path for each in declared}
    if found.keys() != wanted or len(found) < len(locked):
        raise tampered(name, f"{kind}: {_other(wanted, set(found))}")
    for each in declared:
        if not agree(each, found[each.path]):
            raise tampered(f"{name}/{each.path}", f"{_field(each, found[each.path])} differs")


def _other(wanted: set[str], found: set[str]) -> str:
    """Return which path is in one of the lists only."""
    if more := sorted(found - wanted):
        return f"{more[0]!a} is not one of them"
    if less := sorted(wanted - found):
        return f"{less[0]!a} is missing"
    return "one stands there twice"


def check_asked(name: str, locked: LockedModel, difference: str) -> None:
    """Refuse a lock of a model whose provider tells its files, if the entry cannot mean it.

    Args:
        name: The model's name.
        locked: What models.lock holds of it.
        difference: What its source says is not as the entry wants it; empty when all is.

    Raises:
        LockError: It cannot have been written from this entry.
    """
    if difference:
        raise tampered(name, f"{difference} differs")
    archives = {each.path for each in locked.archives}
    if archives and not {each.archive for each in locked.files} <= archives:
        raise tampered(name, "a file is of an archive that is not listed")


def tampered(what: str, why: str) -> LockError:
    """Return the error for a lock that says what its manifest does not lead to."""
    return LockError(
        f"models.lock does not follow from models.yaml for {what}: {why}.",
        hint=RESTORE_HINT,
    )


def agree(declared: Artifact, locked: Artifact) -> bool:
    """Whether the lock repeats every field that the entry fixes, and has no other."""
    return (
        declared.url == locked.url
        and declared.sha256 in (None, locked.sha256)
        and not (locked.first_use and declared.is_pinned)
        and declared.size in (None, locked.size)
        and declared.archive == locked.archive
        and declared.into == locked.into
        and declared.checkpoint == locked.checkpoint
        and declared.git_sha1 == locked.git_sha1
        and declared.content == locked.content
    )


def _field(declared: Artifact, locked: Artifact) -> str:
    """Return which field keeps the two from agreeing."""
    for field in ("url", "archive", "into", "checkpoint", "git_sha1", "content"):
        if getattr(declared, field) != getattr(locked, field):
            return f"`{field}`"
    return "`size` or `sha256`"
