"""docs/progress.md is held against the events."""

import dataclasses
import json
from typing import get_args

from downloader.progress import events
from downloader.progress._text import as_line
from tests.docs.documents import blocks, first_cells, page

PAGE = page("progress.md")


def test_the_examples_have_every_field_of_each_event() -> None:
    """Each kind has one, with its fields in their order; one more is of a signal."""
    (text,) = blocks(PAGE, "json")
    shown = {each["event"]: list(each) for each in map(json.loads, text.splitlines())}
    kinds = get_args(events.Event)
    fields = {
        kind.event: ["event", *(each.name for each in dataclasses.fields(kind))] for kind in kinds
    }
    fields["failed"].remove("is_finding")  # for people only
    assert shown == {**fields, "interrupted": ["event", "text"]}


def test_the_table_tells_every_event() -> None:
    """And no other."""
    told = {cell.strip("`") for cell in first_cells(PAGE)}
    assert {kind.event for kind in get_args(events.Event)} | {"interrupted"} <= told


def test_seconds_are_rounded() -> None:
    """Digits that nobody measured only make lines long."""
    event = events.Retry(model="m", path="p", cause="c", delay_seconds=0.123456)
    assert json.loads(as_line(event))["delay_seconds"] == 0.123
