"""How much work each case is, and the command line that chooses it."""

import argparse
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

KIBI = 1024
UNITS = {"": 1, "K": KIBI, "M": KIBI**2, "G": KIBI**3}
CASES = (
    "big",
    "first-use",
    "pieces",
    "https",
    "limited",
    "numbers",
    "many",
    "many-late",
    "kept",
    "start",
    "noop",
    "verify",
    "verify-one",
)
"""In the order in which they are run; bench/__main__.py has their code."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sizes of the cases.

    Attributes:
        cases: Which are run.
        pairs: How many counted rounds each has.
        with_slow: Whether peers race that are slow and tell little, and all warm up.
        big_bytes: The one file.
        first_use_bytes: The one file whose SHA-256 is not known.
        limited_bytes: The one file, where each connection is limited.
        numbers_bytes: The one file where numbers of connections are compared.
        fixed_numbers: Which numbers.
        many_files: How many small files; `late_files` where each answer is late.
        small_bytes: How long each of those is.
        noop_files: How many files there is nothing to do for.
        verify_bytes: Each of the eight files that are read again.
        kept_seconds: How long the bounded rate is watched.
    """

    cases: Sequence[str] = CASES
    pairs: int = 3
    with_slow: bool = True
    big_bytes: int = 2 * KIBI**3
    first_use_bytes: int = KIBI**3
    limited_bytes: int = 256 * KIBI**2
    numbers_bytes: int = 512 * KIBI**2
    fixed_numbers: Sequence[int] = (1, 2, 4, 8, 16, 32)
    many_files: int = 2_000
    late_files: int = 2_000
    small_bytes: int = 20_000
    noop_files: Sequence[int] = (10, 1_000, 10_000)
    verify_bytes: int = 512 * KIBI**2
    kept_seconds: int = 10

    @property
    def needed_bytes(self) -> int:
        """The room the largest case takes: what is served, what is fetched, and a little."""
        largest = max(self.big_bytes, self.limited_bytes, 8 * self.verify_bytes)
        return 2 * largest + 256 * KIBI**2


QUICK = Plan(
    pairs=2,
    with_slow=False,
    big_bytes=256 * KIBI**2,
    first_use_bytes=256 * KIBI**2,
    limited_bytes=64 * KIBI**2,
    numbers_bytes=32 * KIBI**2,
    fixed_numbers=(1, 32),
    many_files=1_000,
    late_files=400,
    noop_files=(10, 1_000),
    verify_bytes=64 * KIBI**2,
    kept_seconds=3,
)


def plan_of(arguments: Sequence[str] | None = None) -> Plan:
    """Return what the command line asks for; argparse ends the program where it is wrong.

    Args:
        arguments: The words after the program's name; default: those of this process.
    """
    said = _parser().parse_args(arguments)
    plan = QUICK if said.quick else Plan()
    return replace(
        plan,
        cases=tuple(name for name in CASES if name in (said.case or CASES)),
        pairs=said.pairs or plan.pairs,
        big_bytes=said.size or plan.big_bytes,
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.description = "Race this program against its peers; Markdown on standard output."
    parser.add_argument("--quick", action="store_true", help="small files, two minutes")
    parser.add_argument("--size", type=size, metavar="N", help="the one big file, as 512M or 2G")
    parser.add_argument("--pairs", type=count, metavar="N", help="counted rounds of each case")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; repeatable")
    return parser


def size(text: str) -> int:
    """Return a number of bytes; K, M and G count in 1024s.

    Raises:
        ArgumentTypeError: It is none.
    """
    found = re.fullmatch(r"([1-9]\d*)([KMG]?)", text.strip().upper())
    if found is None:
        raise argparse.ArgumentTypeError(f"{text!r} is no size; 512M and 2G are")
    return int(found[1]) * UNITS[found[2]]


def count(text: str) -> int:
    """Return a number above 0.

    Raises:
        ArgumentTypeError: It is none.
    """
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"{text!r} is no number above 0")
    return int(text)
