"""The command `modelmake`, also `python -m downloader`.

`init` writes what a project needs and overwrites nothing; `schema` prints the JSON Schema of
models.yaml. Every other word is a doit task or command, which runs in the project that the working
directory belongs to.
"""

import argparse
import contextlib
import errno
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from downloader import __version__
from downloader.errors import ModelmakeError, StoreError
from downloader.fs.files import PRIVATE_FOLDER
from downloader.fs.rooted_path import APPEND, NEW_FILE, RootedPath
from downloader.progress.streams import say, tell

LINE_LENGTH = 100

MODELS_YAML = """\
# The models of this project. `doit list` shows them, `doit` downloads what is missing or changed.
version: 1

models:
  # OpenAI's GPT-2 as TensorFlow files: 499.7 MB, no login, each SHA-256 known in advance.
  gpt2-124M:
    source: openai-gpt2
    size: 124M # or 355M, 774M, 1558M

  # An optional model is downloaded only if you name it: `doit gpt2-355M`.
  gpt2-355M:
    source: openai-gpt2
    size: 355M
    optional: true

  # A repository of the Hugging Face Hub; `format` leaves out its copies for other frameworks.
  # bge-small:
  #   source: huggingface
  #   repo: BAAI/bge-small-en-v1.5
  #   format: safetensors

  # Any files that have a URL. If you give no sha256, the first download pins one in models.lock.
  # whisper:
  #   source: http
  #   files:
  #     - url: https://example.org/whisper/model.bin
  #       sha256: 9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08

  # A fine-tuned model of Together AI. The key comes from TOGETHER_API_KEY, never from this file.
  # support-bot:
  #   source: together
  #   job: ft-0123abcd-0123
  #   extract: true
  #   optional: true
"""

NOT_FOR_GIT = ("models/", f"{PRIVATE_FOLDER}/", ".doit.db*")

TASKS_HINT = """\
To run the tasks with `doit` too, add this to it (`modelmake` needs no dodo.py):
  from downloader.tasks import *
"""
DEFAULT_TASKS = """\
`doit` alone then downloads the models, and no longer runs your own tasks. To have both, add:
  DOIT_CONFIG = {**DOIT_CONFIG, "default_tasks": ["fetch", "NAME-OF-YOUR-TASK"]}"""
OWN_DEFAULT_TASKS = """\
Add it above DOIT_CONFIG, and give that `default_tasks`: else `doit` alone runs every command."""
NEXT = """\
Next: declare your models in models.yaml. `doit list` shows them with their sizes.
Then: `doit` downloads them and writes models.lock. Commit it with models.yaml and dodo.py."""


def init(folder: Path) -> Iterator[str]:
    """Write models.yaml with its schema, dodo.py and .gitignore lines, unless they exist.

    Args:
        folder: The project's; it is made when it is not there.

    Yields:
        What was done, a line a file, and at last what to do next.

    Raises:
        StoreError: The disk refused.
    """
    from downloader.manifest import schema  # noqa: PLC0415 - imports YAML: a run has no use for it

    project = RootedPath(folder)
    project.make_folder()
    schema.write(project / schema.FILE)
    text = f"{schema.LINE}\n{MODELS_YAML}"
    hint = f"For completion in editors, make this its first line: {schema.LINE}"
    yield _created(project / "models.yaml", text, schema.LINE, hint)
    dodo = project / "dodo.py"
    defaults = OWN_DEFAULT_TASKS if _has(dodo, "DOIT_CONFIG") else DEFAULT_TASKS
    yield _created(dodo, dodo_py(), "downloader.tasks", f"{TASKS_HINT}  {defaults}")
    yield _ignored(project / ".gitignore")
    then = NEXT if _has(dodo, "downloader.tasks") else NEXT.replace("`doit", "`modelmake")
    yield then if folder == Path() else f"Next: `cd {shlex.quote(str(folder))}`.\n{then}"


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
    """Append what git is to leave alone, unless it is there, and return what to say."""
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
    words = list(sys.argv[1:] if arguments is None else arguments)
    if len(words) > 1 and words[0] == "help" and words[1] in OWN_COMMANDS:
        words = [words[1], "--help"]
    if not words or words[0] not in OWN_COMMANDS:
        from downloader.tasks import program  # noqa: PLC0415 - imports doit

        return program.run(words)
    if words[0] == "--version":
        say(f"modelmake {__version__}")
        return 0
    chosen = _parser().parse_args(words)
    try:
        if chosen.command == "init":
            for line in init(chosen.folder):
                say(line)
        else:
            from downloader.manifest import schema  # noqa: PLC0415 - as above

            say(schema.text().rstrip())
    except ModelmakeError as error:
        tell(error.report())
        return 1
    return 0


OWN_COMMANDS = ("init", "schema", "--version")
"""Commands that need neither a project nor doit."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("modelmake", description="Make for model weights.")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    what = "Write models.yaml, dodo.py and .gitignore lines. Nothing is overwritten."
    init = commands.add_parser("init", description=what)
    init.add_argument("folder", nargs="?", type=Path, default=Path(), help="default: this one")
    commands.add_parser("schema", description="Print the JSON Schema of models.yaml.")
    return parser


if __name__ == "__main__":
    sys.exit(main())
