"""Ratios of paired runs, what they must reach, and both as Markdown. Pure."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from statistics import median

from bench.measure import Race, Usage

MEGA = 1_000_000
OURS = "ours"


@dataclass(frozen=True, slots=True, kw_only=True)
class Goal:
    """A ratio that must be reached.

    Attributes:
        text: What is divided by what.
        ratios: One of each round; empty when it could not be measured.
        at_least: The ratio that is enough; None where it is an upper bound.
        at_most: The upper bound; None where it is a lower one.
    """

    text: str
    ratios: Sequence[float]
    at_least: float | None = None
    at_most: float | None = None

    @property
    def worst(self) -> float:
        """The round that speaks most against us."""
        return max(self.ratios) if self.at_least is None else min(self.ratios)

    @property
    def is_met(self) -> bool:
        """Whether the median reaches it."""
        middle = median(self.ratios)
        return middle >= (self.at_least or 0) and middle <= (self.at_most or math.inf)

    def row(self) -> list[str]:
        """Return its cells: what, wanted, worst, median, met."""
        wanted = f">= {self.at_least:g}" if self.at_least is not None else f"<= {self.at_most:g}"
        if not self.ratios:
            return [self.text, wanted, "-", "-", "not measured"]
        met = "yes" if self.is_met else "NO"
        return [self.text, wanted, f"{self.worst:.2f}", f"{median(self.ratios):.2f}", met]


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One case, raced.

    Attributes:
        title: What the work is.
        race: The counted runs.
        amount: How much one run does, in `unit`; 0 when a rate says nothing.
        unit: What the rate counts, as "MB".
        goals: What must be reached.
        notes: What a reader must know to judge the figures.
    """

    title: str
    race: Race
    amount: float = 0.0
    unit: str = ""
    goals: Sequence[Goal] = ()
    notes: Sequence[str] = field(default_factory=tuple)

    @property
    def has_failed(self) -> bool:
        """Whether we ourselves did not come to the end."""
        return self.race.absent.get(OURS, "").startswith("failed")


def times_as_fast(race: Race, peer: str, ours: str = OURS) -> list[float]:
    """Return per round how many times as long the peer took; empty when either is absent."""
    return paired(race, peer, ours, lambda usage: usage.wall_seconds)


def times_as_long(race: Race, floor: str, ours: str = OURS) -> list[float]:
    """Return per round how many times as long we took; empty when either is absent."""
    return paired(race, ours, floor, lambda usage: usage.wall_seconds)


def paired(race: Race, above: str, below: str, cost: Callable[[Usage], float]) -> list[float]:
    """Return `above` divided by `below`, round by round; empty when either is absent."""
    tops, bottoms = race.runs.get(above, []), race.runs.get(below, [])
    return [cost(top) / cost(bottom) for top, bottom in zip(tops, bottoms, strict=False)]


def markdown(report: Report) -> str:
    """Return the whole report: title, contenders, who is absent and why, goals, notes."""
    head = ["", "wall s", f"{report.unit}/s" if report.unit else "rate", "CPU s", "server CPU s"]
    head += ["peak MB", "time / ours: min", "median"]
    parts = [f"## {report.title}", grid(head, list(_run_rows(report)))]
    absent = [f"`{name}`: {' '.join(why.split())}" for name, why in report.race.absent.items()]
    parts += bullets(absent)
    if report.goals:
        goals = [goal.row() for goal in report.goals]
        parts.append(grid(["must reach", "wanted", "worst", "median", "met"], goals))
    parts += bullets(report.notes)
    return "\n\n".join(parts) + "\n"


def bullets(lines: Sequence[str]) -> list[str]:
    """Return a Markdown list as one paragraph; none where there is nothing to say."""
    return ["\n".join(f"- {line}" for line in lines)] if lines else []


def _run_rows(report: Report) -> Iterator[list[str]]:
    for name, runs in report.race.runs.items():
        wall = middle(runs, lambda usage: usage.wall_seconds)
        ratios = times_as_fast(report.race, name)
        yield [
            name,
            f"{wall:.3f}",
            f"{report.amount / wall:,.0f}" if report.amount else "-",
            number(middle(runs, lambda usage: usage.cpu_seconds)),
            number(middle(runs, lambda usage: usage.server_cpu_seconds)),
            f"{middle(runs, lambda usage: usage.peak_bytes) / MEGA:.0f}",
            f"{min(ratios):.2f}" if ratios else "-",
            f"{median(ratios):.2f}" if ratios else "-",
        ]


def middle(runs: Sequence[Usage], cost: Callable[[Usage], float]) -> float:
    """Return the median of one cost."""
    return median(cost(usage) for usage in runs)


def number(seconds: float) -> str:
    """Return seconds as a cell; "-" for what is not known."""
    return "-" if math.isnan(seconds) else f"{seconds:.2f}"


def grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table with aligned columns, readable as plain text too."""
    widths = [max(3, *map(len, column)) for column in zip(head, *rows, strict=True)]
    lines = [_line(head, widths), _line(["-" * width for width in widths], widths)]
    return "\n".join([*lines, *(_line(row, widths) for row in rows)])


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    padded = (cell.ljust(width) for cell, width in zip(cells, widths, strict=True))
    return f"| {' | '.join(padded)} |"
