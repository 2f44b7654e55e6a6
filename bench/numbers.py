"""The case about the number of connections: chosen by ours, against every fixed one.

Five servers, all on loopback: one without limits; one that gives LIMITED_RATE to all connections
together (bench/shared.py, since nginx limits connections only); one that ignores ranges; one that
answers 429 above MOST_CONNECTIONS; one that answers late. The case `limited` has limited ones.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

from bench.measure import Race
from bench.origin import DELAY_SECONDS, LIMITED_RATE, MOST_CONNECTIONS
from bench.projects import Project
from bench.scratch import payload
from bench.shared import SharedRate
from bench.table import MEGA, OURS, Goal, Report
from bench.transfers import Setting, over_fixed

Url = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """One of the five.

    Attributes:
        about: What it does.
        place: Where on the origin; None for the server of bench/shared.py.
        divisor: By how much the file is smaller, where it would take long.
    """

    about: str
    place: str | None
    divisor: int = 1


RATE = f"{LIMITED_RATE / MEGA:.0f} MB/s"
SERVERS = (
    Server(about="no limit", place=""),
    Server(about=f"{RATE} in all", place=None, divisor=8),
    Server(about="ranges ignored", place="whole/"),
    Server(about=f"429 above {MOST_CONNECTIONS} connections of {RATE}", place="few/", divisor=4),
    Server(about=f"{DELAY_SECONDS * 1000:.0f} ms before each answer", place="delayed/"),
)


def cases() -> Iterator[tuple[str, Callable[[Setting], Report]]]:
    """Yield a case for each server, with a short name."""
    for server in SERVERS:
        yield f"numbers, {server.about}", partial(numbers, server=server)


def numbers(setting: Setting, server: Server) -> Report:
    """Race ours, free, against ours with a fixed number of connections."""
    file = payload(setting.origin.root, "numbers.bin", setting.plan.numbers_bytes // server.divisor)
    title = f"One file of {file.size / MEGA:,.0f} MB, {server.about}"
    if server.place is None:
        with SharedRate(setting.origin.root, LIMITED_RATE) as shared:
            raced = _race(setting, Project(setting.scratch, [file], shared.url))
    elif server.place == "delayed/" and not setting.origin.has_delay:
        raced = Race(absent={OURS: "missing: nginx's echo module is not installed"})
    else:
        url = partial(setting.origin.url, place=server.place)
        raced = _race(setting, Project(setting.scratch, [file], url))
    file.path.unlink()
    return Report(
        title=title,
        race=raced,
        amount=file.size / MEGA,
        unit="MB",
        goals=[Goal(text="our time / best fixed number", ratios=over_fixed(raced), at_most=1.1)],
        notes=["A fixed number is that many from the first byte on, where the server gives them."],
    )


def _race(setting: Setting, project: Project) -> Race:
    fixed = [project.fetching_fixed(count) for count in setting.plan.fixed_numbers]
    return setting.race([project.fetching(), *fixed])
