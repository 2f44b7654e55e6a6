"""The shape of the code, held by tests: layers, budgets, platforms, and errors that are raised."""

import ast
import os
import pkgutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import downloader
from downloader import errors
from tests.conftest import IN_CI

PACKAGE = Path(downloader.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]
TREES = {
    name: ast.parse(path.read_text(encoding="utf-8"))
    for name, path in zip(NAMES, FILES, strict=True)
}

MOST_FUNCTION_LINES = 40
MOST_MEDIAN_LINES = 10
MOST_FILE_LINES = 250
DUMPS = {"utils.py", "util.py", "common.py", "helpers.py", "misc.py"}
ONE_PLATFORM_MODULES = {"fcntl", "grp", "msvcrt", "pwd", "resource", "termios", "tty", "winreg"}
POSIX_ONLY = {
    "fchmod",
    "fork",
    "geteuid",
    "getuid",
    "preadv",
    "pwrite",
    "pwritev",
    "pread",
    "readv",
}
POSIX_ONLY |= {"mkfifo", "posix_fadvise", "posix_fallocate", "sendfile", "statvfs", "writev"}
SEPARATORS = {"sep", "altsep", "pathsep", "linesep"}
ERROR_CLASSES = {
    name
    for name, found in vars(errors).items()
    if isinstance(found, type) and issubclass(found, errors.ModelmakeError)
}

every_file = pytest.mark.parametrize("tree", TREES.values(), ids=list(TREES))


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield node


def length(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """Return a function's length in lines, docstring included."""
    return (function.end_lineno or function.lineno) - function.lineno + 1


def unraised(tree: ast.AST) -> list[int]:
    """Return the lines where an error is built and thrown away, as a statement of its own.

    together-python 1.x built DownloadError for a short file so, and put the file in place.
    """
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Call)
        and last_name(node.value.func) in ERROR_CLASSES
    ]


def last_name(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""


def imported(statements: list[ast.stmt]) -> Iterator[str]:
    """Yield the modules that these statements import outside every `if`, `try` and function."""
    for statement in statements:
        if isinstance(statement, ast.Import):
            yield from (alias.name for alias in statement.names)
        elif isinstance(statement, ast.ImportFrom):
            yield statement.module or ""


def uses_of_os(tree: ast.AST, names: set[str]) -> list[str]:
    """Return where attributes of `os` or `os.path` with these names are used."""
    found = [
        f"line {node.lineno}: {ast.unparse(node)}"
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and node.attr in names
        and ast.unparse(node.value) in ("os", "os.path")
    ]
    return found + [
        f"line {node.lineno}: from {node.module} import"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        and node.module in ("os", "os.path")
        and names & {alias.name for alias in node.names}
    ]


def test_every_import_points_downwards() -> None:
    """The contracts of import-linter in pyproject.toml are kept."""
    if not os.environ.get(IN_CI):
        pytest.importorskip("importlinter")
    ended = subprocess.run(
        [
            sys.executable,
            "-c",
            "from importlinter.cli import lint_imports_command; lint_imports_command()",
            "--no-cache",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "0 broken" in ended.stdout


@every_file
def test_no_function_is_longer_than_a_screen(tree: ast.Module) -> None:
    """A function has at most 40 lines."""
    long = {each.name: length(each) for each in functions(tree)}
    assert {name: lines for name, lines in long.items() if lines > MOST_FUNCTION_LINES} == {}


def test_half_of_all_functions_are_read_at_a_glance() -> None:
    """The median function has fewer than 10 lines."""
    lengths = [length(each) for tree in TREES.values() for each in functions(tree)]
    assert statistics.median(lengths) < MOST_MEDIAN_LINES


@pytest.mark.parametrize("path", FILES, ids=NAMES)
def test_no_file_is_long_or_a_dump(path: Path) -> None:
    """A file has at most 250 lines, and a name that says what it is about."""
    assert len(path.read_text(encoding="utf-8").splitlines()) <= MOST_FILE_LINES
    assert path.name not in DUMPS


@every_file
def test_every_error_that_is_built_is_used(tree: ast.Module) -> None:
    """No error is constructed as a statement of its own, where `raise` was forgotten."""
    assert unraised(tree) == []


def test_an_error_that_is_thrown_away_would_be_found() -> None:
    """The check sees a forgotten `raise`, and accepts raising, returning and collecting."""
    forgotten = 'SizeMismatch("short")\nerrors.LockError("x")\n'
    used = 'failures.append(SizeMismatch("x"))\nraise LockError("x")\nerror = LockError("x")\n'
    assert unraised(ast.parse(forgotten)) == [1, 2]
    assert unraised(ast.parse(used)) == []


@pytest.mark.parametrize("name", sorted(ERROR_CLASSES))
def test_every_class_of_error_is_used_somewhere(name: str) -> None:
    """A class that nothing raises, returns or catches is not kept; the base is there to catch."""
    used = {
        last_name(node)
        for file, tree in TREES.items()
        if file != "errors.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    }
    assert name in used


def test_loading_the_tasks_imports_no_network_and_no_yaml() -> None:
    """`doit list` must be quick: requests, PyYAML and a display are loaded when they are needed."""
    script = (
        "import sys, downloader.tasks;"
        "print([m for m in ('requests', 'urllib3', 'http.client', 'ssl', 'yaml', 'rich',"
        " 'downloader.syncing.syncing', 'downloader.manifest.manifest') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"


@every_file
def test_every_platform_can_import_every_module(tree: ast.Module) -> None:
    """Modules of one platform are imported behind a platform check only."""
    assert {name.partition(".")[0] for name in imported(tree.body)} & ONE_PLATFORM_MODULES == set()


@every_file
def test_no_function_of_one_platform_is_called(tree: ast.Module) -> None:
    """What `os` has on POSIX only is not used; `getattr` with a default is the way."""
    assert uses_of_os(tree, POSIX_ONLY) == []


@every_file
def test_no_separator_of_a_platform_is_used(tree: ast.Module) -> None:
    """Paths are joined by pathlib and written as posix, never with os.sep."""
    assert uses_of_os(tree, SEPARATORS) == []


def test_these_checks_see_what_they_look_for() -> None:
    """Each platform check finds an offender, and leaves a guarded import alone."""
    offender = ast.parse("import fcntl\nimport os\nos.readv(1, [])\nprint(os.path.sep)\n")
    guarded = ast.parse("import sys\nif sys.platform != 'win32':\n    import fcntl\n")
    assert "fcntl" in set(imported(offender.body))
    assert "fcntl" not in set(imported(guarded.body))
    assert uses_of_os(offender, POSIX_ONLY) == ["line 3: os.readv"]
    assert uses_of_os(offender, SEPARATORS) == ["line 4: os.path.sep"]
    assert len(uses_of_os(ast.parse("from os import sep, getuid"), SEPARATORS | POSIX_ONLY)) == 1


def test_no_module_has_the_name_of_a_public_function() -> None:
    """Importing `downloader.sync` as a module would put it in the place of the function."""
    modules = {found.name for found in pkgutil.iter_modules(downloader.__path__)}
    assert modules & set(downloader.__all__) == set()
