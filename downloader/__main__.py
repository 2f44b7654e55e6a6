"""`python -m downloader`: the commands that you need before there is a dodo.py.

`init` writes what a project needs and overwrites nothing; `schema` prints the JSON Schema of
models.yaml. Every other command is a doit task.
"""

import argparse
import contextlib
import errno
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from downloader import __version__
from downloader.errors import ModelmakeError, StoreError
from downloader.fs.files import PRIVATE_FOLDER
from downloader.fs.rooted_path import APPEND, NEW_FILE, RootedPath
from downloader.manifest import schema
from downloader.progress.streams import say, tell

LINE_LENGTH = 100

MODELS_YAML = f"""\
{schema.LINE}
# The models this project wants. `doit list` shows them, `doit` fetches what is missing or changed.
version: 1

models:
  # OpenAI's GPT-2 as TensorFlow files: 499.7 MB, no log-in, each SHA-256 known in advance.
  gpt2-124M:
    source: openai-gpt2
    size: 124M # or 355M, 774M, 1558M

  # Any files that have a URL. Without a sha256 the first verified fetch pins one in models.lock.
  # whisper:
  #   source: http
  #   files:
  #     - url: https://example.org/whisper/model.bin
  #       sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

  # A fine-tuned model of Together AI. Its key comes from TOGETHER_API_KEY, never from this file.
  # support-bot:
  #   source: together
  #   job: ft-0123abcd-0123
  #   extract: true
  #   optional: true # only when asked for: doit fetch:support-bot
"""

NOT_FOR_GIT = ("models/", f"{PRIVATE_FOLDER}/", ".doit.db*")

COMPLETION_HINT = f"For completion in editors, make this its first line: {schema.LINE}"
TASKS_HINT = "For the tasks, import DOIT_CONFIG and each task_… of downloader.tasks in it."
NEXT = """\
Next: say in models.yaml which models you want; `doit list` shows them with their sizes.
Then: `doit` fetches them, and writes models.lock: commit it with models.yaml and dodo.py."""


def init(folder: Path) -> Iterator[str]:
    """Write models.yaml with its schema, dodo.py and .gitignore lines, where they are not there.

    Args:
        folder: The project's; it is made when it is not there.

    Yields:
        What was done, a line a file, and at last what to do next.

    Raises:
        StoreError: The disk refused.
    """
    project = RootedPath(folder)
    project.make_folder()
    schema.write(project / schema.FILE)
    yield _created(project / "models.yaml", MODELS_YAML, schema.LINE, COMPLETION_HINT)
    yield _created(project / "dodo.py", dodo_py(), "downloader.tasks", TASKS_HINT)
    yield _ignored(project / ".gitignore")
    yield NEXT


def dodo_py() -> str:
    """Return the dodo.py that brings every task there is, formatted as this repository's."""
    from downloader.tasks import __all__ as tasks  # noqa: PLC0415 - imports doit

    names = sorted(tasks)
    quoted = [f'"{name}"' for name in names]
    return (
        '"""The tasks by name; `doit list` shows them. Copy this file beside any models.yaml."""\n'
        f"\n{_listed('from downloader.tasks import ', names, '', '()')}"
        f"\n\n{_listed('__all__ = ', quoted, '[]', '[]')}\n"
    )


def _listed(before: str, names: list[str], short: str, long: str) -> str:
    """Return a list on one line between the brackets `short`, or a name a line between `long`."""
    inner = ", ".join(names)
    line = f"{before}{short[:1]}{inner}{short[1:]}"
    if len(line) <= LINE_LENGTH:
        return line
    lines = "".join(f"    {name},\n" for name in names)
    return f"{before}{long[0]}\n{lines}{long[1]}"


def _created(path: RootedPath, text: str, sign: str, hint: str) -> str:
    """Write a file that is not there yet, and return what to say of it.

    Args:
        path: Of the file.
        text: What is to be in it.
        sign: The part of the text by which a file that is there does what this one would.
        hint: What to say of a file without that.
    """
    try:
        with path.open(NEW_FILE) as file, _removed_when_torn(path):
            file.append(text.encode())
    except StoreError as error:
        if error.errno != errno.EEXIST:
            raise
        said = f"left {path.name} as it is: it is there already"
        return said if _has(path, sign) else f"{said}\n  {hint}"
    return f"wrote {path.name}"


@contextlib.contextmanager
def _removed_when_torn(path: RootedPath) -> Iterator[None]:
    try:
        yield
    except BaseException:
        path.remove(missing_ok=True)
        raise


def _has(path: RootedPath, sign: str) -> bool:
    try:
        return sign.encode() in path.read_bytes()
    except StoreError:  # a folder, or not for us: that is for doit to say
        return True


def _ignored(path: RootedPath) -> str:
    """Append what git is to leave alone, as far as it is not there, and return what to say."""
    there = path.read_bytes() if path.is_file() else b""
    known = {line.strip().strip(b"/") for line in there.splitlines()}
    missing = [each for each in NOT_FOR_GIT if each.strip("/").encode() not in known]
    if not missing:
        return f"left {path.name} as it is: all is in it"
    ending = "\n" if there and not there.endswith(b"\n") else ""
    with path.open(APPEND) as file:
        file.append((ending + "".join(f"{each}\n" for each in missing)).encode())
    return f"{'added to' if there else 'wrote'} {path.name}: {' '.join(missing)}"


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
