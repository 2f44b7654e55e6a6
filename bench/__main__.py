"""`python -m bench`: every case raced, the tables on standard output, progress on standard error.

    python -m bench --quick                 two minutes
    python -m bench --case big --size 1G    one case, a size of one's own
    python -m bench > report.md             all cases; docs/speed.md is a summary of one report

Exit status 0 when all of ours came to their end (whether or not the goals are met), 1 when not.
"""

import signal
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial

from bench import kept, numbers, pieces, still, transfers
from bench.machine import facts
from bench.measure import Failed, Race, say
from bench.origin import Origin
from bench.plan import Plan, plan_of
from bench.scratch import memory_folder, scratch_folder
from bench.table import OURS, Report, bullets, markdown
from bench.transfers import Setting

Case = Callable[[Setting], Report]
CASES: dict[str, Case] = {
    "big": transfers.big,
    "first-use": transfers.first_use,
    "pieces": pieces.fetched,
    "https": transfers.https,
    "many": transfers.many_files,
    "many-late": transfers.many_late_files,
    "kept": kept.kept,
    "start": still.start,
    "verify": still.verify,
    "verify-one": pieces.verified,
}


def main() -> int:
    """Run what the command line asks for, and return the exit status."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that everything is cleaned up
    plan = plan_of()
    try:
        with scratch_folder(plan.needed_bytes) as scratch, Origin(scratch / "origin") as origin:
            return show(plan, cases(Setting(plan=plan, scratch=scratch, origin=origin)))
    except Failed as error:
        say(f"ERROR: {error}")
        return 1
    except KeyboardInterrupt:
        return 130


def cases(setting: Setting) -> Iterator[Report]:
    """Yield the report of each chosen case when it is done; a case that fails says why."""
    for title, case in chosen(setting.plan):
        say(title)
        try:
            yield case(setting)
        except Failed as error:
            yield Report(title=title, race=Race(absent={OURS: f"failed: {error}"}))


def chosen(plan: Plan) -> Iterator[tuple[str, Case]]:
    """Yield the chosen cases, each with a short name."""
    for name in plan.cases:
        if name == "numbers":
            yield from numbers.cases()
        elif name == "limited":
            yield from transfers.limited_cases()
        elif name == "noop":
            for count in plan.noop_files:
                yield f"{name}, {count:,} files", partial(still.nothing_to_do, count=count)
        else:
            yield name, CASES[name]


def show(plan: Plan, reports: Iterator[Report]) -> int:
    """Print the machine, then each report as it comes; return the exit status."""
    place = f"tmpfs {memory_folder()}" if memory_folder() else "a disk: no tmpfs here, figures vary"
    rounds = f"each case: a warm-up, then {plan.pairs} counted rounds; medians, and paired ratios"
    head = [f"measured on {time.strftime('%Y-%m-%d')}", *facts(place), rounds]
    print("\n\n".join(["# Side by side", *bullets(head)]), "\n", flush=True)
    has_failed = False
    for report in reports:
        print(markdown(report), flush=True)
        has_failed |= report.has_failed
    return int(has_failed)


if __name__ == "__main__":
    sys.exit(main())
