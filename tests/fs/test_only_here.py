"""Files are opened, written, renamed and removed by `fs/` alone; all other code goes through it."""

import ast
from pathlib import Path

import pytest

import downloader

PACKAGE = Path(downloader.__file__).parent
FILES = [path for path in sorted(PACKAGE.rglob("*.py")) if path.parent.name != "fs"]

CHANGING = {
    "unlink", "rename", "renames", "rmdir", "removedirs", "rmtree", "mkdir", "makedirs", "symlink",
    "symlink_to", "link_to", "chmod", "lchmod", "chown", "utime", "touch", "mkfifo",
    "write_text", "write_bytes", "copyfile", "copytree", "copy2", "move", "mkstemp", "mkdtemp",
}  # fmt: skip
"""Attributes whose call changes something on a disk, of os, shutil, tempfile and Path."""
OF_OS = {"open", "remove", "replace", "link", "truncate"}
"""What other things have too, so that it counts on `os` alone."""
ALLOWED = {
    "streams.py": "opens the null device only",
}


def changes(tree: ast.Module) -> list[str]:
    """Return the calls that touch a disk without a root."""
    return [found for node in ast.walk(tree) if (found := change(node))]


def change(node: ast.AST) -> str:
    """Return a call that touches a disk without a root, as text; empty where it is none."""
    if not isinstance(node, ast.Call):
        return ""
    called, text = node.func, ast.unparse(node)
    if isinstance(called, ast.Name):
        return text if called.id == "open" else ""
    if not isinstance(called, ast.Attribute):
        return ""
    is_of_os = isinstance(called.value, ast.Name) and called.value.id == "os"
    if is_of_os and called.attr in OF_OS | CHANGING:
        return text
    if called.attr in CHANGING:
        return text
    has_one = (
        len(node.args) == 1 and not node.keywords and not isinstance(node.args[0], ast.Starred)
    )
    is_path_replace = called.attr == "replace" and has_one
    return text if is_path_replace or opens_to_write(node, called) else ""


def opens_to_write(node: ast.Call, called: ast.Attribute) -> bool:
    """Whether it is `path.open("w")`, or of another mode that writes."""
    modes = [*node.args[:1], *(each.value for each in node.keywords if each.arg == "mode")]
    texts = [each.value for each in modes if isinstance(each, ast.Constant)]
    is_mode = [isinstance(each, str) and set(each) <= set("rwxabt+") for each in texts]
    return called.attr == "open" and any(is_mode) and bool(set(str(texts[0])) & set("wxa+"))


@pytest.mark.parametrize("path", FILES, ids=[str(each.relative_to(PACKAGE)) for each in FILES])
def test_nothing_else_touches_a_disk(path: Path) -> None:
    """A check that is forgotten elsewhere does no harm as long as this holds."""
    if path.name in ALLOWED:
        return
    assert changes(ast.parse(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    "text",
    [
        "os.unlink(path)",
        "path.unlink()",
        "os.replace(a, b)",
        "path.replace(other)",
        "shutil.rmtree(path)",
        "os.open(path, flags)",
        "open(path)",
        "path.open('wb')",
        "path.open(mode='a')",
        "path.write_bytes(b'')",
        "path.parent.mkdir(parents=True)",
        "os.link(a, b)",
        "path.chmod(0o400)",
        "os.utime(path)",
        "os.rename(a, b)",
    ],
)
def test_such_a_use_is_found(text: str) -> None:
    """Each way that the language has."""
    assert changes(ast.parse(text)) != []


@pytest.mark.parametrize(
    "text",
    ["text.replace('a', 'b')", "msgspec.structs.replace(model, files=files)", "path.open(READ)"],
)
def test_what_only_looks_like_one_is_not(text: str) -> None:
    """Texts and values have a `replace` too."""
    assert changes(ast.parse(text)) == []
