"""How a run of doit ended, and where the program under test lies."""

from dataclasses import dataclass
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
RUN_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Run:
    """How one run of doit ended."""

    status: int
    stdout: str
    stderr: str

    @property
    def text(self) -> str:
        """All it said."""
        return self.stdout + self.stderr

    @property
    def error_lines(self) -> list[str]:
        """The lines of standard error."""
        return self.stderr.splitlines()
