"""What a transfer tells of itself while it runs. Whoever wants to show it observes it."""

from typing import Protocol


class Observer(Protocol):
    """Told about one file's transfer; called from the thread that moves the bytes."""

    def started(self, have_bytes: int, total_bytes: int | None) -> None:
        """A reply came; `have_bytes` of the file are there from before."""

    def moved(self, count_bytes: int) -> None:
        """So many more bytes are written."""

    def waiting(self, reason: str, delay_seconds: float) -> None:
        """An attempt failed; the next one comes after the delay."""

    def notice(self, text: str) -> None:
        """Something the user should know: what is waited for, or what is not as it should be."""

    def unpacked(self, count_bytes: int) -> None:
        """So many more bytes came out of the archive."""


class Silent:
    """An observer that shows nothing."""

    def started(self, have_bytes: int, total_bytes: int | None) -> None:
        """See Observer."""

    def moved(self, count_bytes: int) -> None:
        """See Observer."""

    def waiting(self, reason: str, delay_seconds: float) -> None:
        """See Observer."""

    def notice(self, text: str) -> None:
        """See Observer."""

    def unpacked(self, count_bytes: int) -> None:
        """See Observer."""


def counted(count: int, noun: str) -> str:
    """Return a number of things for people: `1 file`, `1,000 files`."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def bytes_text(count: int) -> str:
    """Return a number of bytes for people, in decimal units, as disks and networks are sold."""
    if count < 1000:  # noqa: PLR2004
        return f"{count} B"
    value, units = count / 1000, ["kB", "MB", "GB", "TB"]
    while value >= 999.95 and len(units) > 1:  # noqa: PLR2004 - what would round to 1000.0
        value /= 1000
        units.pop(0)
    return f"{value:.1f} {units[0]}"
