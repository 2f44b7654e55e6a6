"""What README.md says of speed: machine, date, and two short tables of the whole run."""

import time
from collections.abc import Sequence
from pathlib import Path
from statistics import median

from bench.measure import Failed
from bench.table import OURS, Report, bullets, grid, middle, times_as_fast

BEGIN, END = "<!-- bench: begin -->", "<!-- bench: end -->"


def summary(facts: Sequence[str], reports: Sequence[Report]) -> str:
    """Return the summary as Markdown.

    Args:
        facts: The lines about machine, versions and rounds.
        reports: All that was measured, in order.
    """
    work = ["work", "ours", "the others took so many times as long (median of paired rounds)"]
    goals = ["work", "must reach", "wanted", "worst", "median", "met"]
    judged = [[report.title, *goal.row()] for report in reports for goal in report.goals]
    dated = f"Measured on {time.strftime('%Y-%m-%d')}"
    parts = [
        *bullets([dated, *facts]),
        grid(work, [_work(each) for each in reports if each.race.runs]),
    ]
    return "\n\n".join([*parts, grid(goals, judged)])


def fill(file: Path, text: str) -> None:
    """Put the text between the two markers of a file.

    Raises:
        Failed: The file has no such markers.
    """
    old = file.read_text(encoding="utf-8")
    before, begin, rest = old.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise Failed(f"{file} has no lines {BEGIN} and {END}")
    file.write_text(f"{before}{BEGIN}\n{text}\n{END}{after}", encoding="utf-8")


def _work(report: Report) -> list[str]:
    runs = report.race.runs.get(OURS, [])
    seconds = middle(runs, lambda usage: usage.wall_seconds) if runs else 0.0
    rate = f", {report.amount / seconds:,.0f} {report.unit}/s" if seconds and report.amount else ""
    others = [
        f"{name}: {median(ratios):.2f}"
        for name in report.race.runs
        if name != OURS and (ratios := times_as_fast(report.race, name))
    ]
    return [report.title, f"{seconds:.2f} s{rate}" if runs else "-", "; ".join(others)]
