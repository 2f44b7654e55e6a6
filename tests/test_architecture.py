"""The shape of the code, held by tests: rooms, layers, platforms, and errors that are raised."""

import ast
import functools
import pkgutil
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

import downloader
from downloader import errors
from tests.examples import GIVEN, IN_CI

PACKAGE = Path(downloader.__file__).parent
ROOT = PACKAGE.parent
FILES = sorted(PACKAGE.rglob("*.py"))
NAMES = [path.relative_to(PACKAGE).as_posix() for path in FILES]
TREES = {
    name: ast.parse(path.read_text(encoding="utf-8"))
    for name, path in zip(NAMES, FILES, strict=True)
}

MOST_ROOMS = 16
MOST_FLOORS = 9
MOST_MODULES = 110
MOST_PUBLIC_MODULES = 5
MOST_NAMES = 10
WIDE_FACES = {
    "artifact": (31, "the vocabulary of all rooms: a file of the lock, and which values are safe"),
    "errors": (30, "a class for each kind of failure, what may be shown, and Stop"),
    "fs": (91, "eight tools, each with a face of its own: no room uses all of them"),
    "network": (23, "the client, and its arithmetic of ranges, which the transfer does too"),
    "operations": (25, "fifteen verbs of one to three names each"),
    "progress": (21, "the events, what subscribes to them, and the ways to both streams"),
    "project": (20, "the manifest, the lock and the differences between two locks"),
    "settings": (13, "every variable, read once, and how an address is written"),
    "sources": (27, "what a source and its provider answer, what a text means, a bucket's place"),
    "targets": (30, "state, plan and engine, which every operation asks"),
    "transfer": (15, "one download, the mirrors that are asked first, and what fills them"),
    "urls": (
        19,
        "the location, and what seven rooms ask of a URL: origin, host, what may be shown",
    ),
}
"""Rooms whose face has more than MOST_NAMES names: how many at most, and why."""
ONE_THING_A_FILE = {"fs", "operations", "sources"}
"""Rooms whose files are all public: a tool for files, a verb, a provider each."""
OUTSIDE = {"bench", "ci", "docs", "e2e", "recorded", "sdk", "servers"}
"""Folders of tests that belong to no room."""
LEAST_MODULE_LINES = 60
SMALL = {
    "transfer/_object_place.py": "one kind of place; only whoever names it loads XML and obstore",
    "errors.py": "the tree of all errors: most of it is the docstring that draws it",
    "operations/remove.py": "a verb whose text is edited in the room of the manifest",
    "targets/_peers.py": "what may be shared, which a run and `doit serve` ask alike",
    "network/ranges.py": "arithmetic of byte ranges, which two rooms use and no other module fits",
}
LONG_FUNCTION_LINES = 60
GATES = {
    "doit": "tasks/",
    "requests": "network/",
    "urllib3": "network/",
    "rich": "progress/_live.py",
}
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
    "importlinter"
]["contracts"]
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


def room_of(name: str) -> str:
    """Return the room of a file: its folder at the top, or the module itself."""
    return name.partition("/")[0].removesuffix(".py")


def private_imports(tree: ast.Module, room: str) -> list[str]:
    """Return what a module of a room imports out of other rooms' private modules."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            for alias in node.names:
                package, other, module, *_ = f"{node.module}.{alias.name}.-.-".split(".")
                is_private = module.startswith("_") and f"{other}/{module}.py" in NAMES
                if package == "downloader" and other != room and is_private:
                    found.append(f"line {node.lineno}: {other}.{module}")
    return found


def offered(trees: Mapping[str, ast.Module], room: str) -> set[str]:
    """Return the names of a room that modules of other rooms import."""
    return {
        f"{node.module}.{alias.name}"
        for name, tree in trees.items()
        if room_of(name) != room
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
        if f"{node.module}.{alias.name}.".startswith(f"downloader.{room}.")
    }


def private_names(tree: ast.Module) -> list[str]:
    """Return the names with a leading underscore that a module imports from another of ours.

    A module of its own room may have such a name.
    """
    return [
        f"line {node.lineno}: {node.module}.{alias.name}"
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("downloader")
        for alias in node.names
        if alias.name.startswith("_") and not alias.name.startswith("__")
        if f"{node.module}.{alias.name}".partition(".")[2].replace(".", "/") + ".py" not in NAMES
    ]


def libraries(tree: ast.Module) -> set[str]:
    """Return the top-level packages that a module imports anywhere."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add((node.module or "").partition(".")[0])
    return found


def undocumented(body: list[ast.stmt], prefix: str = "") -> list[str]:
    """Return the public classes, functions and methods without a docstring."""
    found = []
    for node in body:
        if isinstance(node, ast.If | ast.Try):  # where a platform is asked
            found += undocumented([*node.body, *node.orelse], prefix)
        if not isinstance(node, ast.ClassDef | ast.FunctionDef) or node.name.startswith("_"):
            continue
        if not ast.get_docstring(node):
            found.append(prefix + node.name)
        if isinstance(node, ast.ClassDef):
            found += undocumented(node.body, f"{prefix}{node.name}.")
    return found


def code_lines(tree: ast.Module, text: str) -> int:
    """Return the lines of a file without blank ones, comments and docstrings."""
    texts = {
        line
        for node in ast.walk(tree)
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for line in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    lines = enumerate(text.splitlines(), 1)
    return sum(
        bool(each.strip()) and not each.strip().startswith("#")
        for at, each in lines
        if at not in texts
    )


def unexplained(tree: ast.Module, text: str) -> list[str]:
    """Return the long functions that have no comment on the line of their name, or above it."""
    lines = text.splitlines()
    return [
        each.name
        for each in functions(tree)
        if length(each) - len((ast.get_docstring(each) or "").splitlines()) > LONG_FUNCTION_LINES
        and "# " not in lines[each.lineno - 1]
        and not lines[each.lineno - 2].strip().startswith("#")
    ]


def test_every_import_points_downwards() -> None:
    """The contracts of import-linter in pyproject.toml are kept."""
    if not GIVEN.get(IN_CI):
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
    assert name in names_used()


@functools.cache
def names_used() -> set[str]:
    """Return every name that stands somewhere outside errors.py."""
    return {
        last_name(node)
        for file, tree in TREES.items()
        if file != "errors.py"
        for node in ast.walk(tree)
        if isinstance(node, ast.Name | ast.Attribute)
    }


def test_loading_the_tasks_imports_no_network_and_no_yaml() -> None:
    """`doit list` must be quick: requests, PyYAML and a display are loaded when they are needed."""
    script = (
        "import sys, downloader.tasks;"
        "print([m for m in ('requests', 'urllib3', 'http.client', 'ssl', 'yaml', 'rich',"
        " 'downloader.targets.engine', 'downloader.manifest.manifest',"
        " 'downloader.progress.callbacks') if m in sys.modules])"
    )
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert said.stdout == "[]\n"


def test_a_first_file_from_python_waits_for_no_import_it_does_not_need() -> None:
    """A small file from a new process takes as long as what is imported before its request."""
    script = (
        "import sys, downloader.operations.sync;"
        "print([m for m in ('yaml', 'rich', 'doit', 'downloader.archive',"
        " 'downloader.operations.lock', 'downloader.progress.display',"
        " 'downloader.progress.callbacks') if m in sys.modules])"
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


def test_there_are_few_rooms_floors_and_modules() -> None:
    """A newcomer can hold the rooms in their head (docs/decisions/0022)."""
    rooms = {room_of(name) for name in NAMES} - {"__init__", "__main__"}
    assert len(rooms) <= MOST_ROOMS
    assert len([name for name in NAMES if not name.endswith("__init__.py")]) <= MOST_MODULES
    floors = CONTRACTS[0]["layers"]
    assert len(floors) <= MOST_FLOORS
    assert not any(" -> downloader." in each for each in CONTRACTS[0]["ignore_imports"])
    assert sorted(re.findall(r"downloader\.(\w+)", " ".join(floors))) == sorted(
        {*rooms, "__main__"}
    )


def test_the_tests_mirror_the_rooms() -> None:
    """A folder of tests is a room's, or one of a few that look at the program from outside."""
    folders = {path.parent.name for path in ROOT.glob("tests/*/__init__.py")}
    rooms = {name.partition("/")[0] for name in NAMES if "/" in name}
    assert rooms <= folders
    assert folders - rooms <= OUTSIDE


def texts(tree: ast.AST) -> set[str]:
    """Return the texts of a module, without its docstrings."""
    said = [node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)]
    return {
        node.value
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in said
    }


@pytest.mark.parametrize(
    ("text", "home"), [("fetch:", "artifact.py"), ("MODELMAKE_MANIFEST", "settings.py")]
)
def test_a_name_is_spelled_in_one_place(text: str, home: str) -> None:
    """Others ask its home, so that it can be changed there; a message may contain it."""
    spelled = {name: [each.endswith(text) for each in texts(tree)] for name, tree in TREES.items()}
    assert {name for name, found in spelled.items() if any(found)} == {home}


@pytest.mark.parametrize("library", sorted(GATES))
def test_a_library_has_one_gate(library: str) -> None:
    """One room, or one module of it, imports it; import-linter refuses any other."""
    users = {name for name, tree in TREES.items() if library in libraries(tree)}
    assert users
    assert {name for name in users if not name.startswith(GATES[library])} == set()
    refused = [
        *(each.get("forbidden_modules", []) for each in CONTRACTS if each["type"] == "forbidden")
    ]
    assert [library in each for each in refused].count(True) == 1


@pytest.mark.parametrize("name", [name for name in NAMES if name.startswith("network/")])
def test_a_library_is_imported_before_a_part_of_it(name: str) -> None:
    """Two threads import the network at once: only a whole package waits for the other one.

    The import of `requests.utils` goes on while another thread is halfway through `requests`, and
    ends with "partially initialized module".
    """
    seen: set[str] = set()
    for node in TREES[name].body:
        if isinstance(node, ast.Import):
            seen |= {each.name for each in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            library = node.module.partition(".")[0]
            seen.add(node.module)
            assert library not in GATES or library in seen, node.module


@pytest.mark.parametrize("room", sorted({room_of(name) for name in NAMES} - {"__init__"}))
def test_a_room_offers_few_names(room: str) -> None:
    """What other rooms import fits into a head, or it is counted above, with a reason."""
    most, _reason = WIDE_FACES.get(room, (MOST_NAMES, ""))
    assert len(offered(TREES, room)) <= most


def test_no_wide_face_is_listed_in_vain() -> None:
    """A room that became small leaves the list."""
    assert all(len(offered(TREES, room)) > MOST_NAMES for room in WIDE_FACES)


@pytest.mark.parametrize("name", NAMES)
def test_no_module_imports_a_private_name(name: str) -> None:
    """A name with a leading underscore belongs to its module."""
    assert private_names(TREES[name]) == []


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_has_a_docstring(name: str) -> None:
    """In private modules too: their functions are public to their room."""
    assert undocumented(TREES[name].body) == []


@pytest.mark.parametrize("room", sorted({room_of(name) for name in NAMES if "/" in name}))
def test_a_room_has_few_public_modules(room: str) -> None:
    """What others may import is small; the rest has a leading underscore."""
    public = [name for name in NAMES if name.startswith(f"{room}/") and "/_" not in name]
    assert len(public) <= MOST_PUBLIC_MODULES or room in ONE_THING_A_FILE


@pytest.mark.parametrize("name", NAMES)
def test_no_room_imports_a_private_module_of_another(name: str) -> None:
    """A module with a leading underscore belongs to its room alone."""
    assert private_imports(TREES[name], room_of(name)) == []


@pytest.mark.parametrize("name", NAMES)
def test_a_small_module_has_a_reason(name: str) -> None:
    """Under 60 lines of code it is a face, a source or table of one, or in the list above."""
    lines = code_lines(TREES[name], (PACKAGE / name).read_text(encoding="utf-8"))
    is_face = name.endswith("__init__.py") or room_of(name) == "sources"
    assert lines >= LEAST_MODULE_LINES or is_face or name in SMALL
    assert PACKAGE.joinpath(name).name not in DUMPS


@pytest.mark.parametrize("name", NAMES)
def test_a_long_function_has_a_reason(name: str) -> None:
    """One of more than 60 lines, docstring left out, says in a comment why it is not cut."""
    assert unexplained(TREES[name], (PACKAGE / name).read_text(encoding="utf-8")) == []


def test_the_checks_of_the_rooms_see_what_they_look_for() -> None:
    """Each finds an offender, and leaves the room's own imports alone."""
    late = "def f():\n    from downloader.network._response import Head\n"
    tree = ast.parse(f"from downloader.network import _response\n{late}")
    assert len(private_imports(tree, "transfer")) == 2
    assert private_imports(tree, "network") == []
    assert private_imports(ast.parse("from downloader.errors import _x"), "network") == []
    assert offered({"tasks/__init__.py": tree}, "network") == {
        "downloader.network._response",
        "downloader.network._response.Head",
    }
    assert offered({"network/api.py": tree}, "network") == set()
    hidden = "from downloader.errors import _x\nfrom downloader.network import _response, __doc__\n"
    assert private_names(ast.parse(hidden)) == ["line 1: downloader.errors._x"]
    bare = (
        "if x:\n    def f(): pass\nclass C:\n    'd'\n    def m(self): pass\n    def _n(self): 0\n"
    )
    assert undocumented(ast.parse(bare).body) == ["f", "C.m"]
    long = "def f():\n" + "    x = 1\n" * 61
    assert unexplained(ast.parse(long), long) == ["f"]
    assert unexplained(ast.parse(f"# a table\n{long}"), f"# a table\n{long}") == []
    text = '"""Doc."""\n\n# comment\nx = 1\n"""of x"""\n'
    assert code_lines(ast.parse(text), text) == 1
