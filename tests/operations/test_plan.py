"""A plan as people read it."""

from typing import Any

import pytest

from downloader.operations.plan import (
    Extraneous,
    Plan,
    PlannedFile,
    PlannedModel,
    Volume,
    plan_lines,
)

GIGABYTE = 10**9


def planned(**keys: Any) -> PlannedFile:
    """Return a file that is fetched, unless other fields say otherwise."""
    usual = {"path": "a.bin", "action": "fetch", "outcome": "fetched", "why": "missing"}
    size = keys.get("size", GIGABYTE)
    return PlannedFile(**{**usual, "size": size, "bytes_to_move": size, **keys})


def model(*files: PlannedFile, **keys: Any) -> PlannedModel:
    """Return a locked model of these files."""
    usual = {"name": "m", "folder": "models/m", "state": "locked"}
    return PlannedModel(**{**usual, **keys}, files=files)


def made(*models: PlannedModel, **keys: Any) -> Plan:
    """Return a plan of these models."""
    usual: dict[str, Any] = {"lock": "current", "offline": False, "refusal": None, "volumes": ()}
    return Plan(**{**usual, **keys}, models=models)


def text(plan: Plan, width: int = 100) -> list[str]:
    """Return the plan's lines."""
    return list(plan_lines(plan, width))


PRESENT = planned(path="b.bin", action="present", outcome=None, why="", bytes_to_move=0)


def test_a_table_and_what_is_behind_it() -> None:
    """A row for each model, a line for each file that is not up to date, and the sums."""
    volume = Volume(
        folder="/data",
        peak_bytes=2 * GIGABYTE,
        freed_bytes=GIGABYTE,
        free_bytes=3 * GIGABYTE,
        is_at_least=False,
    )
    half = planned(bytes_to_move=GIGABYTE // 2, bytes_resumed=GIGABYTE // 2)
    assert text(made(model(half, PRESENT), volumes=(volume,))) == [
        "MODEL  PRESENT  FETCH   TO MOVE",
        "m            1      1  500.0 MB",
        "fetch   m/a.bin (1.0 GB, 500.0 MB of it here already, missing)",
        "500.0 MB to move.",
        "Disk of /data: 2.0 GB more (1.0 GB freed at the end), 3.0 GB free.",
    ]


@pytest.mark.parametrize("width", [20, 30, 60, 200])
def test_nothing_is_wider_than_a_narrow_terminal(width: int) -> None:
    """The table is told model by model then; no line is broken within a name."""
    link = planned(path="c.bin", action="link", bytes_to_move=0)
    shown = text(made(model(planned(), link, PRESENT)), width)
    assert max(map(len, shown)) <= max(width, 24)
    assert any("TO MOVE" in line for line in shown) == (width >= 36)
    assert sum("fetch" in line and "m/a.bin" in line for line in shown) == 1


def test_nothing_to_do_is_said() -> None:
    """Only where all is present; a stale lock is something to do."""
    assert text(made(model(PRESENT)))[-1] == "Nothing to do."
    stale = text(made(model(PRESENT, state="stale"), lock="stale"))
    assert stale[0] == "models.lock is stale: `doit` brings it up to date first."
    assert "Nothing to do." not in stale


def test_what_is_refused_is_not_promised() -> None:
    """Where models.lock may not be written, nobody says that `doit` does."""
    refused = text(
        made(model(PRESENT, state="stale"), lock="stale", refusal="models.lock is stale.")
    )
    assert not any("brings it up to date" in line for line in refused)


def test_unknown_sizes_are_said_as_such() -> None:
    """A sum of what is known is at least that."""
    unknown = planned(path="b.bin", size=None, bytes_to_move=None)
    shown = text(made(model(planned(), unknown)))
    assert shown[1].endswith("1.0 GB + ?")
    assert "fetch   m/b.bin (size unknown, missing)" in shown
    assert shown[-1] == "At least 1.0 GB to move; 1 size unknown."


def test_a_model_that_cannot_be_told() -> None:
    """Its reason is told in place of a row."""
    shown = text(made(model(name="bot", state="unknown", why="not locked yet")))
    assert shown == ["bot: not locked yet."]


def test_long_lists_end_with_a_count() -> None:
    """Twenty files of each kind, and how many more there are."""
    many = [planned(path=f"{number}.bin") for number in range(25)]
    left = tuple(Extraneous(path=f"{number}.old", size=1) for number in range(21))
    shown = text(made(model(*many, extraneous=left)))
    assert sum(line.startswith("fetch ") for line in shown) == 20
    assert "  and 5 files more; --json has them all." in shown
    assert "  and 1 file more; --json has them all." in shown
