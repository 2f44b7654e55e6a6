"""`python -m downloader`: what is done before there is a dodo.py. All else is doit's."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from downloader.errors import ModelmakeError
from downloader.streams import say, tell
from downloader.version import __version__


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command, and return the exit status.

    Args:
        arguments: Of the command line; default: those of this process.
    """
    chosen = _parser().parse_args(arguments)
    try:
        if chosen.command == "init":
            _init(chosen.folder)
        else:
            _schema()
    except ModelmakeError as error:
        tell(error.report())
        return 1
    return 0


def _init(folder: Path) -> None:
    from downloader.starting import init  # noqa: PLC0415 - `--version` needs none of it

    for line in init(folder):
        say(line)


def _schema() -> None:
    from downloader.manifest import schema  # noqa: PLC0415 - as above

    say(schema.text().rstrip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m downloader",
        description="Begins a project of modelmake, make for model weights.",
        epilog="All else is doit's: `doit list`, `doit`, `doit fetch:MODEL`, `doit help`.",
    )
    parser.add_argument("--version", action="version", version=f"modelmake {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    what = "write models.yaml, dodo.py and .gitignore lines; nothing is overwritten"
    init = commands.add_parser("init", help=what, description=what)
    init.add_argument("folder", nargs="?", type=Path, default=Path(), help="default: this one")
    what = "print the JSON Schema of models.yaml"
    commands.add_parser("schema", help=what, description=what)
    return parser


if __name__ == "__main__":
    sys.exit(main())
