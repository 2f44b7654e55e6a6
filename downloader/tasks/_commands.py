"""The commands beside `fetch`: for each its doit task, its flags, and what it prints.

`adopt`, `bundle`, `ci-key`, `lock`, `outdated`, `plan`, `prune`, `publish`, `serve`, `verify`. Each
imports its operation when it runs, so that a run with nothing to do loads none of them.
"""

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from downloader.artifact import bytes_text, counted
from downloader.errors import (
    OFFLINE_HINT,
    IntegrityError,
    Interrupted,
    LockError,
    ModelmakeError,
    SettingError,
    StoreError,
    TransferError,
    shown,
)
from downloader.progress.streams import say, say_json, tell
from downloader.project.project import Model, check_current
from downloader.settings import FILES_AT_ONCE, user_path
from downloader.targets.state import load_receipts
from downloader.tasks._runtime import current, failing, typed_path
from downloader.tasks._words import Named, vocabulary
from downloader.tasks.plugins import CommandTask

if TYPE_CHECKING:
    from downloader.network.api import Session
    from downloader.operations import plan as planning
    from downloader.operations.adopt import AdoptReport
    from downloader.operations.bundle import Bundle
    from downloader.operations.outdated import Outdated
    from downloader.operations.verify import FileCheck
    from downloader.project.project import Declaration


UNTOUCHED_STREAMS: dict[str, Any] = {"io": {"capture": False}, "verbosity": 0}
"""doit swaps sys.stdout around each captured action, without a lock between its threads."""


def command(
    act: Callable[..., object], doc: str, *options: dict[str, Any], takes_names: bool = False
) -> CommandTask:
    """Return the task of a command, which has the name of what it does.

    Args:
        act: What it does; takes the options, and `names` if it takes names.
        doc: Its line in `doit list`.
        options: What `option` returns.
        takes_names: Whether models may be named after the command.
    """
    return CommandTask(
        act.__name__.replace("_", "-"),
        [act],
        params=options,
        pos_arg="names" if takes_names else None,
        doc=doc,
        **UNTOUCHED_STREAMS,
    )


def option(name: str, text: str, kind: type[str | bool] = str) -> dict[str, Any]:
    """Return an option: `--name=VALUE`, empty if it is not given; of bool: `--name`."""
    python_name = name.replace("-", "_")
    return {"name": python_name, "long": name, "type": kind, "default": kind(), "help": text}


def as_finding(error: ModelmakeError) -> ModelmakeError:
    """Mark an error as what a command found, so that it is not said to have failed."""
    error.is_finding = True
    return error


def session(notice: Callable[[str], None] = tell) -> "Session":
    """Return what asks providers in this run.

    Args:
        notice: Told about each wait.
    """
    from downloader.network.api import Session  # noqa: PLC0415 - imports requests

    return Session(current().syncer.transport, notice)


def model_names(words: Iterable[str]) -> list[str]:
    """Return the models that the words after a command name; a file stands for its model.

    Raises:
        ModelmakeError: A word names nothing.
    """
    return list(dict.fromkeys(each.model for each in vocabulary().select(words)))


def wanted_models(words: Iterable[str]) -> list[Model]:
    """Return the named models; with no word those that are not optional or have a file here.

    Raises:
        ModelmakeError: A word names nothing.
    """
    wanted = model_names(words)
    return [
        model
        for model in current().project.models()
        if (model.name in wanted if wanted else _is_expected(model))
    ]


def _is_expected(model: Model) -> bool:
    return not model.declared.is_optional or bool(load_receipts(model.folder))


def task_ci_key() -> CommandTask:
    """Make the task that prints a cache key."""
    return command(
        ci_key,
        "print a cache key for CI",
        option("json", "print the paths to cache and the sizes too, as JSON", bool),
        takes_names=True,
    )


@failing
def ci_key(names: list[str], *, json: bool = False) -> None:
    """Say the key, or all of it as JSON, and nothing else on standard output."""
    from downloader.operations import cache_key  # noqa: PLC0415 - the no-op run has no use

    found = cache_key.of_project(current().project, model_names(names))
    if json:
        say_json(cache_key.as_json(found))
    else:
        say(found.key)


PACKED = frozenset({".tar", ".tgz", ".gz", ".zst", ".zip", ".bz2", ".xz"})
"""Names of files that nobody means for a folder."""


def task_bundle() -> CommandTask:
    """Make the task that writes a bundle."""
    return command(
        bundle,
        "copy models for an offline machine: --out DIR",
        option("out", "the folder to write"),
        takes_names=True,
    )


@failing
def bundle(names: list[str], out: str) -> None:
    """Write the named models, or all that are here, into a folder."""
    from downloader.operations import bundle as bundles  # noqa: PLC0415 - the no-op run has no use

    if not out:
        raise ModelmakeError("--out is required.", hint="Write `doit bundle --out DIR`.")
    project, place = current().project, typed_path(out)
    if place.suffix in PACKED and not place.is_dir():
        pack = "`doit bundle --out bundle`, then `tar -cf bundle.tar bundle`"
        raise ModelmakeError(f"{place} would be a folder. To make a tar of it, run {pack}.")
    models = wanted_models(names)
    what = bundles.contents(project, models)
    is_watched = project.settings.is_preflight
    there = bundles.write(what, place, current().stop.check, is_watched=is_watched)
    before = f", {there:,} there already" * bool(there)
    files = f"{counted(len(models), 'model')}, {counted(what.files, 'file')}"
    say(f"bundled {files} ({bytes_text(what.size)}{before}) in {place}")


def task_publish() -> CommandTask:
    """Make the task that fills a mirror."""
    return command(
        publish,
        "copy models to a mirror for your team: --to PLACE",
        option("to", "a folder, s3://bucket/prefix, gs://…, az://… or oci://registry/repository"),
        option("dry-run", "say what would be uploaded, and upload nothing", bool),
        takes_names=True,
    )


@failing
def publish(names: list[str], to: str, *, dry_run: bool = False) -> None:
    """Upload what the place does not have of the named models, or of all that are here."""
    from downloader.operations import publish as publishing  # noqa: PLC0415
    from downloader.transfer.places import open_place  # noqa: PLC0415 - imports requests

    project, url = current().project, _place_url(to)
    models = wanted_models(names)
    what = publishing.contents(project, models)
    if project.settings.is_offline and not url.startswith("file:"):
        raise TransferError("MODELMAKE_OFFLINE is set, so nothing is uploaded.")
    place, stop = open_place(url, current().syncer.transport), current().stop
    todo = publishing.missing(place, what, stop)
    if dry_run:
        for blob in todo:
            say(f"would publish {blob.name} ({bytes_text(blob.size)})")
    else:
        publishing.upload(place, todo, current().shown_run(), stop)
        place.write(what.edition)
    did, count = "would publish" if dry_run else "published", len(todo)
    there = len(what.blobs) - count
    before = f", {there:,} there already" * bool(there)
    size = bytes_text(sum(blob.size for blob in todo))
    say(f"{did} {counted(count, 'file')} ({size}{before}) to {to}")
    if private := [model.name for model in models if model.declared.entry.is_private]:
        say(f"whoever can read {to} can read your private models: {', '.join(private)}")


def _place_url(to: str) -> str:
    """Return the URL of the place that an option names."""
    from downloader.urls import PLACES, published_url, redact  # noqa: PLC0415 - rarely

    if not (to := to.strip()):
        raise ModelmakeError("--to is required.", hint="Write `doit publish --to PLACE`.")
    try:
        return published_url(to, typed_path)
    except ValueError as error:
        raise ModelmakeError(f"--to {redact(to)}: {error}.", hint=f"Name {PLACES}.") from None


def task_lock() -> CommandTask:
    """Make the task that writes models.lock."""
    return command(
        lock,
        "bring models.lock up to date; downloads no files",
        option("check", "write nothing, and fail when models.lock is stale", bool),
        option("upgrade", "look also for newer checkpoints and changed files upstream", bool),
        option("allow-downgrade", "with --upgrade: take also what is older than the lock", bool),
        option(
            "pieces",
            "also note the pieces of large files that are here, so that they can be checked",
            bool,
        ),
        takes_names=True,
    )


@failing
def lock(
    names: list[str], *, check: bool, upgrade: bool, allow_downgrade: bool, pieces: bool
) -> None:
    """Bring models.lock up to date, or only look whether it is."""
    from downloader.operations import lock as locking  # noqa: PLC0415 - imports requests

    if check and pieces:
        raise ModelmakeError(
            "--check writes nothing, and --pieces is there to write.",
            hint="Run `doit lock --check`, or `doit lock --pieces`.",
        )
    names = model_names(names)
    fills = not current().project.settings.is_offline
    options = locking.LockOptions(
        names=tuple(names), upgrade=upgrade, allow_downgrade=allow_downgrade, fills=fills
    )
    project = current().project
    try:
        if check:
            check_current(project, options.names)
        is_told = not check and locking.lock(project, session(), say, options)
    except ModelmakeError:
        current().has_lock_failed = True
        raise
    if not is_told:
        about = f" for {', '.join(names)}" if names else ""
        say(f"{project.lock_path.name} is up to date{about}.")
    if pieces:
        from downloader.operations.add_pieces import add_pieces  # noqa: PLC0415 - reads whole files

        reading = current().shown_run().reading("reading")
        add_pieces(project, wanted_models(names), say, current().stop, reading)


NO_TERMINAL = (100, 24)


def task_plan() -> CommandTask:
    """Make the task that says what `fetch` would do."""
    return command(
        plan,
        "show what would be downloaded, and whether it fits",
        option("json", "one JSON document on standard output", bool),
        takes_names=True,
    )


@failing
def plan(names: list[str], *, json: bool = False) -> None:
    """Say what would be done; fail if `doit` cannot be expected to do it."""
    from downloader.operations import plan as planning  # noqa: PLC0415 - no other run has a use for it

    made = planning.make_plan(current().project, model_names(names), _reading)
    if not names and (why := current().why_none()):
        tell(why)
    if json:
        say_json(made.dump().decode())
    else:
        for line in planning.plan_lines(made, shutil.get_terminal_size(NO_TERMINAL).columns):
            say(line)
    if not made.is_possible:
        raise as_finding(_impossible(made))


def _reading(count: int, count_bytes: int) -> None:
    tell(f"hashing {counted(count, 'file')} ({bytes_text(count_bytes)}) not verified yet")


def _impossible(made: "planning.Plan") -> ModelmakeError:
    """Return why `doit` cannot be expected to bring everything up to date."""
    if made.refusal:
        what, _, hint = made.refusal.partition("\n")
        return ModelmakeError(what, hint=hint.strip())
    for each in made.volumes:
        if not each.fits:
            return StoreError(
                f"It does not fit: the disk of {each.folder} needs {bytes_text(each.peak_bytes)} "
                f"and has {bytes_text(each.free_bytes or 0)} free.",
                hint="Free some space there, or download fewer models at a time.",
            )
    if missing := made.files("missing"):
        return ModelmakeError(
            f"{counted(len(missing), 'file')} can neither be linked nor downloaded: "
            "MODELMAKE_OFFLINE is set.",
            hint=OFFLINE_HINT,
        )
    return ModelmakeError("Not everything can be brought up to date; the lines above say why.")


DAYS = 7.0
"""Days that partials and quarantined files are kept by default."""


def task_prune() -> CommandTask:
    """Make the task that removes what nobody needs."""
    return command(
        prune,
        "remove files and leftovers that nothing needs",
        option("dry-run", "say what would be removed, and remove nothing", bool),
        option("unused", "also stored files that no project has in place now", bool),
        option(
            "older-than", f"age of partials and quarantined files in days, {DAYS:.0f} if not given"
        ),
    )


@failing
def prune(*, dry_run: bool = False, unused: bool = False, older_than: str = "") -> None:
    """Find what nobody needs, in the store and in all its projects, and remove it or name it.

    Raises:
        SettingError: The age is none.
        ModelmakeError: Something is unknown, or could not be removed; everything else was.
    """
    from downloader.operations.prune import Ages, Pruner, summary  # noqa: PLC0415 - the no-op run has no use

    ages = Ages.of_days(_days(older_than))
    pruner = Pruner(current().project, ages, tell, unused=unused)
    found = pruner.find()
    for line in found.lines(dry_run=dry_run):
        say(line)
    removed = found.garbage if dry_run else list(pruner.remove(found))
    say(summary(removed, dry_run=dry_run))
    _check_pruned(found.hindrances)


def _days(text: str) -> float:
    try:
        days = float(text or DAYS)
    except ValueError:
        days = -1.0
    if not 0 <= days < 10**6:
        raise SettingError(
            f"--older-than is {shown(repr(text))}; it must be a number of days.",
            hint="0 removes them whatever their age.",
        )
    return days


def _check_pruned(hindrances: Sequence[ModelmakeError]) -> None:
    for each in hindrances[:-1]:
        tell(each.report())
    if hindrances:
        raise hindrances[-1]


def task_outdated() -> CommandTask:
    """Make the task that looks upstream."""
    return command(
        outdated,
        "check upstream for newer or removed files",
        option("json", "say it as one JSON document", bool),
        takes_names=True,
    )


@failing
def outdated(names: list[str], *, json: bool) -> None:
    """Say what upstream has of the named models, or of all; status 1 unless all are up to date."""
    from downloader.operations import outdated as looking  # noqa: PLC0415 - imports requests

    project = current().project
    if project.settings.is_offline:
        raise TransferError("MODELMAKE_OFFLINE is set, and only upstream can tell what it has.")
    found: list[Outdated] = []
    with closing(looking.look(project, _wanted(names), session())) as looks:
        for each in looks:
            if not json:
                say("\n".join(looking.outlook_lines(each)))
                _say_hint(each, found)
            found.append(each)
    if json:
        order = {each.name: number for number, each in enumerate(project.declared)}
        say_json(looking.document(sorted(found, key=lambda each: order[each.model])))
    _check_current(found)


def _say_hint(each: "Outdated", before: "list[Outdated]") -> None:
    """Say what to do about a model, unless that was said before."""
    if each.hint and each.hint not in {other.hint for other in before}:
        say(f"  {each.hint}")


def _wanted(names: list[str]) -> "list[Declaration]":
    """Return the named models; with no name all.

    Raises:
        ModelmakeError: There is no model of that name.
    """
    named = set(model_names(names))
    return [each for each in current().project.declared if not named or each.name in named]


def _check_current(found: "list[Outdated]") -> None:
    """End with status 1 if a model is not up to date, or nobody could tell.

    Raises:
        ModelmakeError: Says how many of each kind, and how to take what is newer.
    """
    from downloader.operations import outdated as looking  # noqa: PLC0415

    if text := looking.count_text(found):
        newer = " ".join(sorted(each.model for each in found if each.is_upgradable))
        hints = [f"Take what is newer with `doit lock --upgrade {newer}`."] * bool(newer)
        if any(each.state == "not-locked" for each in found):
            hints.append("Lock what is not locked with `doit lock`.")
        what = f"Of {counted(len(found), 'model')}: {text}."
        raise as_finding(ModelmakeError(what, hint=" ".join(hints)))


HUGGING_FACE = "huggingface"
HINT = "Run `doit` to fetch what is missing."


def task_adopt() -> CommandTask:
    """Make the task that takes files which are here already."""
    return command(
        adopt,
        "use files you have, or a bundle: --from DIR",
        {**option("place", "folder, file, bundle, or `huggingface` for its cache"), "long": "from"},
        option("hardlink", "let targets be the same files as those that are found", bool),
        takes_names=True,
    )


@failing
def adopt(names: list[str], place: str, *, hardlink: bool = False) -> None:
    """Take what the named models need, or all of them, and tell what is missing."""
    from downloader.operations import bundle as bundles  # noqa: PLC0415
    from downloader.operations import lock as locking  # noqa: PLC0415 - imports requests
    from downloader.operations.adopt import Adopter, take_lock  # noqa: PLC0415 - imports requests

    project, here = current().project, _place(place)
    is_tar = here.suffix == ".tar" and here.is_file()
    if is_tar and not project.manifest_path.exists():
        raise _no_tar(place)
    bundle = bundles.read(here)
    if bundle:
        for line in take_lock(project, bundle):
            say(line)
    locking.lock_offline(project)
    models = _models(names, bundle)
    locked = [each for each in models if not each.is_stale and each.locked]
    adopter = Adopter(project, current().syncer, current().stop.check, tell)
    report = adopter.adopt(locked, here, shares=hardlink)
    project.write_pins()
    if is_tar and not report.done:
        raise _no_tar(place)
    for line in report.lines():
        say(line)
    _check_adopted(
        report, [each for each in models if each not in locked], must=bool(names or bundle)
    )


def _no_tar(place: str) -> ModelmakeError:
    """Return why a tar is of no use that is not itself a model's file."""
    extract = f"`tar -xf {place}`, then `doit adopt --from FOLDER`"
    return ModelmakeError(f"{place} is a tar, which modelmake does not read. Run {extract}.")


def _place(place: str) -> Path:
    if not place:
        raise ModelmakeError("--from is required.", hint="Write `doit adopt --from DIR`.")
    found = typed_path(place)
    if place == HUGGING_FACE and not found.exists():
        found = hugging_face_cache()
    if not found.exists():
        raise StoreError(
            f"{found.absolute()} does not exist.",
            hint="Name a folder, a file or a bundle that exists: `doit adopt --from DIR`.",
        )
    return found


def hugging_face_cache() -> Path:
    """Return where the Hugging Face tools keep files, as their documentation says."""
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    home = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    hub = os.environ.get("HF_HUB_CACHE") or os.environ.get("HUGGINGFACE_HUB_CACHE")
    return user_path(hub or f"{home}/hub")


def _models(names: Sequence[str], bundle: "Bundle | None") -> list[Model]:
    """Return the models that are named, else those of the bundle, else those expected here."""
    if names or bundle is None:
        return wanted_models(names)
    declared = {each.name for each in current().project.declared}
    for name in bundle.models:
        if name not in declared:
            tell(f"{name} of the bundle is left out: models.yaml does not declare it")
    return wanted_models(each for each in bundle.models if each in declared)


def _check_adopted(report: "AdoptReport", unlocked: Sequence[Model], *, must: bool) -> None:
    if unlocked:
        names = ", ".join(each.name for each in unlocked)
        raise LockError(
            f"models.lock does not say which files these are: {names}.",
            hint="Run `doit lock`, which asks for them, then the same command again.",
        )
    if report.failed:
        raise StoreError(f"{counted(report.failed, 'file')} could not be put in place.", hint=HINT)
    if must and report.missing:
        raise LockError(f"{counted(len(report.missing), 'file')} not found.", hint=HINT)


def task_serve() -> CommandTask:
    """Make the task that shares files with peers."""
    return command(
        serve,
        "share files with named peers: --listen HOST:PORT",
        option("listen", "where this machine listens, ADDRESS:PORT"),
        option("peers", "who may connect: HOST:PORT,… or a file of them"),
    )


@failing
def serve(*, listen: str = "", peers: str = "") -> None:
    """Share what the project and the store have until the run is stopped."""
    from downloader.operations.serve import Server  # noqa: PLC0415 - needs an extra

    runtime = current()
    if peers and os.path.isfile(file := typed_path(peers)):  # noqa: PTH113 - see peer_addresses
        peers = str(file)
    Server(runtime.project, runtime.syncer.peers, listen, peers, runtime.stop).serve(say, tell)


def task_verify() -> CommandTask:
    """Make the task that reads every file again."""
    return command(
        verify,
        "read every file and compare it with models.lock",
        option("repair", "download again what is bad", bool),
        takes_names=True,
    )


@failing
def verify(names: list[str], *, repair: bool = False) -> None:
    """Hash every file of the named models, or of all that are here, and tell what is bad."""
    from downloader.operations import verify as verifying  # noqa: PLC0415
    from downloader.targets.shared import KnownLayers  # noqa: PLC0415
    from downloader.targets.state import extra  # noqa: PLC0415 - the no-op run has no use for it

    models = wanted_models(names)
    named = set(vocabulary().select(names))
    known = [_only(model, named) for model in _locked(models)]
    reading = current().shown_run().reading("verifying")
    layer_of = KnownLayers(current().project, tell).find
    verdicts = verifying.verify(known, reading, current().stop, layer_of)
    whole = [each for each in known if not named or Named(each.name) in named]
    verdicts += map(verifying.of_extra, extra(whole, current().project.models()))
    never = {} if repair else verifying.not_here(whole, verdicts)
    for line in verifying.lines(verdicts, never):
        say(line)
    bad = [each for each in verdicts if each.is_bad]
    repaired = _repaired(bad) if repair and bad else 0
    say(verifying.summary(verdicts, repaired, reading.summary if reading.moved_bytes else ""))
    if left := len(bad) - repaired:
        hint = "" if repair else verifying.hint(current().project, bad, never)
        if all(each.model in never for each in verdicts):
            what = "Nothing is here."
        elif all(each.model in never for each in bad):
            what = f"{counted(left, 'file')} {'is' if left == 1 else 'are'} not here."
        else:
            what = (
                f"{counted(left, 'file')} {'is' if left == 1 else 'are'} not as models.lock says."
            )
        raise as_finding(IntegrityError(what, hint=hint))
    if stale := [model.name for model in models if model.is_stale]:
        raise LockError(
            f"Not verified, since models.lock does not say what models.yaml asks for now: "
            f"{', '.join(stale)}."
        )


def _only(model: Model, named: Collection[Named]) -> Model:
    """Return the model with the named ones of its files; all if it is named itself, or nothing."""
    if not named or Named(model.name) in named or model.locked is None:
        return model
    paths = {each.path for each in named if each.model == model.name}
    kept = {
        field: tuple(each for each in getattr(model.locked, field) if each.path in paths)
        for field in ("files", "archives")
    }
    return msgspec.structs.replace(model, locked=msgspec.structs.replace(model.locked, **kept))


def _locked(models: Sequence["Model"]) -> list["Model"]:
    """Return those of the models that models.lock knows as models.yaml asks for them.

    Raises:
        LockError: There is no lock at all.
    """
    project = current().project
    if not project.lockfile.models:
        raise LockError(
            f"There is no {project.lock_path.name}, so nothing says which bytes are right.",
            hint="Run `doit` to lock and fetch, or `doit lock` to lock only.",
        )
    return [each for each in models if not each.is_stale]


def _repaired(bad: Sequence["FileCheck"]) -> int:
    """Fetch what is bad, and return how many that went well for; one failure stops no other."""
    from concurrent.futures import ThreadPoolExecutor  # noqa: PLC0415 - loads logging

    current().syncer.plan((each.model, each.path) for each in bad)
    with ThreadPoolExecutor(min(FILES_AT_ONCE, len(bad))) as pool:
        return sum(pool.map(_is_repaired, bad))


def _is_repaired(bad: "FileCheck") -> bool:
    try:
        with current().observer(bad.model, bad.path) as observer:
            done = current().syncer.repair(bad.model, bad.path, observer)
    except Interrupted:
        raise
    except ModelmakeError as error:
        tell(f"not repaired: {bad.model}/{bad.path}: {error.report()}")
        return False
    tell(f"repaired {bad.model}/{bad.path} ({bytes_text(done.size)})")
    return True
