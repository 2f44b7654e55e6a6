"""A run for programs: an event a line, each a JSON object. docs/progress.md is the contract."""

import dataclasses
import json
from typing import Any

from downloader.reporting import events

EVENT_SECONDS = 1.0
"""`progress` comes at most this often."""


def as_line(event: events.Event) -> str:
    """Return the event as one JSON object, `event` first, without a line end."""
    return json.dumps({"event": event.event, **_rounded(dataclasses.asdict(event))})


def _rounded(value: Any) -> Any:  # noqa: ANN401 - whatever JSON has
    """Round seconds and rates: digits that nobody measured only make lines long."""
    if isinstance(value, float):
        return round(value, 3)
    if isinstance(value, (list, tuple)):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value
