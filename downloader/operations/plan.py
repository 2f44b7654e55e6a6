"""A plan for people: a table where it fits, then what is not up to date, then the sums."""

from collections.abc import Iterable, Iterator, Sequence

from downloader.artifact import bytes_text, counted
from downloader.targets.plan import Action, Plan, PlannedFile, PlannedModel, Volume

MOST_LINES = 20
COLUMNS: tuple[Action, ...] = (
    "present",
    "adopt",
    "link",
    "fetch",
    "unpack",
    "missing",
    "refuse",
)
LOCK_NOTES = {
    "current": "",
    "stale": "models.lock is stale: `doit` brings it up to date first.",
    "missing": "There is no models.lock: `doit` writes it first.",
}


def plan_lines(plan: Plan, width: int) -> Iterator[str]:
    """Yield the lines of a plan.

    Args:
        plan: The plan.
        width: How many columns there are; where a table is wider, models are told one by one.
    """
    if plan.refusal is None and (note := LOCK_NOTES[plan.lock]):
        yield note
    yield from _models(plan, width)
    yield from _files(plan, width)
    yield from _strangers(plan)
    yield from _sums(plan)


def _models(plan: Plan, width: int) -> Iterator[str]:
    known = [each for each in plan.models if each.files]
    table = list(_table(known))
    if max(map(len, table), default=0) <= width:
        yield from table
    else:
        for each in known:
            yield each.name
            yield from (f"  {part}" for part in _parts(each))
    for each in plan.models:
        if each.why:
            yield f"{each.name}: {each.why}."


def _table(models: Sequence[PlannedModel]) -> Iterator[str]:
    """Yield the table's lines; columns in which nothing stands are left out."""
    if not models:
        return
    shown = [action for action in COLUMNS if any(each.count(action) for each in models)]
    rows = [["MODEL", *(action.upper() for action in shown), "TO MOVE"]]
    for each in models:
        counts = [str(each.count(action) or "") for action in shown]
        rows.append([each.name, *counts, _to_move(each)])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        name, *cells = (
            cell.rjust(wide) if at else cell.ljust(wide)
            for at, (cell, wide) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join([name, *cells]).rstrip()


def _parts(model: PlannedModel) -> Iterator[str]:
    for action in COLUMNS:
        if count := model.count(action):
            yield f"{action} {count}"
    if text := _to_move(model):
        yield f"to move {text}"


def _to_move(model: PlannedModel) -> str:
    count = model.bytes_to_move
    if model.unknown_sizes:
        return f"{bytes_text(count)} + ?" if count else "?"
    return bytes_text(count) if count else ""


def _files(plan: Plan, width: int) -> Iterator[str]:
    found = plan.files(*(action for action in COLUMNS if action != "present"))
    for model, file in found[:MOST_LINES]:
        name, details = f"{file.action:<7} {model.name}/{file.path}", ", ".join(_details(file))
        if len(name) + len(details) + 3 <= width:
            yield f"{name} ({details})"
        else:
            yield name
            yield f"        {details}"
    yield from _more(len(found), "file")


def _details(file: PlannedFile) -> Iterator[str]:
    yield bytes_text(file.size) if file.size is not None else "size not known"
    if file.bytes_resumed:
        yield f"{bytes_text(file.bytes_resumed)} of it here already"
    if file.why:
        yield file.why


def _strangers(plan: Plan) -> Iterator[str]:
    found = [(model, each) for model in plan.models for each in model.extraneous]
    if found:
        yield "Named by no model, and left alone:"
    for model, each in found[:MOST_LINES]:
        yield f"  {model.folder}/{each.path} ({bytes_text(each.size)})"
    yield from _more(len(found), "file")


def _more(count: int, noun: str) -> Iterator[str]:
    if count > MOST_LINES:
        yield f"  and {counted(count - MOST_LINES, noun)} more; --json has them all."


def _sums(plan: Plan) -> Iterator[str]:
    if plan.bytes_to_move or plan.is_at_least:
        least = "At least " if plan.is_at_least else ""
        more = f"; {_sizes(plan.unknown_sizes)} not known" * bool(plan.unknown_sizes)
        yield f"{least}{bytes_text(plan.bytes_to_move)} to move{more}."
    elif _is_all_present(plan.models):
        yield "Nothing to do."
    for each in plan.volumes:
        yield from _volume(each)


def _sizes(count: int) -> str:
    return f"{counted(count, 'size')} {'is' if count == 1 else 'are'}"


def _is_all_present(models: Iterable[PlannedModel]) -> bool:
    return all(
        each.state == "locked" and each.count("present") == len(each.files) for each in models
    )


def _volume(volume: Volume) -> Iterator[str]:
    least = "at least " if volume.is_at_least else ""
    freed = f" ({bytes_text(volume.freed_bytes)} freed at the end)" if volume.freed_bytes else ""
    free = "unknown" if volume.free_bytes is None else bytes_text(volume.free_bytes)
    more = f"{least}{bytes_text(volume.peak_bytes)} more{freed}"
    yield f"Disk of {volume.folder}: {more}, {free} free."
