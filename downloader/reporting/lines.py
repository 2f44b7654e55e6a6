"""A run in lines, where there is no terminal: what ended, what waits, and a heartbeat."""

from collections.abc import Callable

from downloader.progress import bytes_text
from downloader.reporting import events, wording

HEARTBEAT_SECONDS = 30.0


class Lines:
    """A subscriber that writes a line about each event that people want to see.

    Args:
        tell: Writes a line.
        is_all: Whether ended files are told; doit's own reporters tell them themselves.
    """

    def __init__(self, tell: Callable[[str], None], *, is_all: bool = True) -> None:
        self._tell, self._is_all = tell, is_all

    def __call__(self, event: events.Event) -> None:
        """Take an event."""
        if text := self._text(event):
            self._tell(text)

    def _text(self, event: events.Event) -> str:
        match event:
            case events.Done() if self._is_all:
                return wording.done_line(event)
            case events.Resumed():
                return f"{event.model}/{event.path}: goes on at {bytes_text(event.bytes)}"
            case events.RunStatus() if event.moving:
                return wording.heartbeat_line(event)
            case events.Retry() | events.Notice():
                return wait_line(event)
            case _:
                return ""


def wait_line(event: events.Retry | events.Notice) -> str:
    """Return what is said of something that holds a file up."""
    name = "/".join(filter(None, (event.model, event.path)))
    if isinstance(event, events.Notice):
        return f"{name}: {event.text}" if name else event.text
    return f"{name}: tries again in {event.delay_seconds:.1f} s: {event.cause}"
