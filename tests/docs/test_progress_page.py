"""docs/progress.md is held against the events."""

import json
import re
from typing import get_args

from downloader.progress import events
from downloader.progress._text import as_line
from tests.docs.documents import blocks, first_cells, page

PAGE = page("progress.md")


def test_the_examples_have_every_field_of_their_event() -> None:
    """In their order."""
    (text,) = blocks(PAGE, "json")
    kinds = {kind.event: kind for kind in get_args(events.Event)}
    for shown in map(json.loads, text.splitlines()):
        fields = [*kinds[shown["event"]].__struct_fields__]
        assert list(shown) == ["event", *fields]


def test_the_table_tells_every_field() -> None:
    """The row of each event names all of them."""
    rows = {line.split("`")[1]: line for line in PAGE.splitlines() if line.startswith("| `")}
    for kind in get_args(events.Event):
        fields = {*kind.__struct_fields__} - {"is_finding"}  # for people
        assert fields <= set(re.findall(r"`(\w+)`", rows[kind.event])), kind.event


def test_the_table_tells_every_event() -> None:
    """And no other."""
    told = {cell.strip("`") for cell in first_cells(PAGE)}
    assert {kind.event for kind in get_args(events.Event)} | {"interrupted"} <= told


def test_seconds_are_rounded() -> None:
    """Digits that nobody measured only make lines long."""
    event = events.Retry(model="m", path="p", cause="c", delay_seconds=0.123456)
    assert json.loads(as_line(event))["delay_seconds"] == 0.123
