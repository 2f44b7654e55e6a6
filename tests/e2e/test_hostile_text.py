"""Hostile text by every way in: no output steers a terminal, forges a line or floods the screen."""

import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.archive.building import header, member, pax, refused, zst
from tests.e2e.content import pinned_toy, toy, toy_content
from tests.e2e.project import Project, Run
from tests.e2e.watching import injected
from tests.servers.exchange import Exchange
from tests.servers.faults import statuses
from tests.servers.faulty import FaultyServer
from tests.servers.reply import Reply

FORGED = "FORGED: all is well"
TEXTS = {
    "colour": f"\x1b[31m{FORGED}",
    "title": f"\x1b]0;{FORGED}\x07",
    "NUL": f"a\0{FORGED}",
    "DEL": f"a\x7f\x7f{FORGED}",
    "C1": f"\x9b31m{FORGED}",
    "next line": f"a\x85{FORGED}",
    "second line": f"a\n{FORGED}",
    "line drawn over": f"a\r{FORGED}",
    "separator": f"a\u2028{FORGED}",
    "reversed": f"\u202e{FORGED}",
    "long": "k" * 100_000,
    "long, with spaces": "k k " * 25_000,
}
IN_A_FILE_NAME = {name: text for name, text in TEXTS.items() if "\0" not in text}
MODES = {"plain": {}, "JSON": {"MODELMAKE_PROGRESS": "json"}, "debug": {"MODELMAKE_DEBUG": "1"}}
COMMANDS = ((), ("list", "--all"), ("info", "fetch:one"), ("plan",), ("lock",), ("verify",))

every_text = pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))


def texts_in(run: Run) -> Iterator[str]:
    """Yield each line, and each text of an event, that a run shows."""
    for line in run.text.split("\n"):
        event = json.loads(line) if line.startswith('{"event"') else line
        yield from strings(event)


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield from value.split("\n")
    elif isinstance(value, dict):
        yield from (each for inner in value.values() for each in strings(inner))
    elif isinstance(value, list):
        yield from (each for inner in value for each in strings(inner))


def assert_harmless(run: Run) -> None:
    for line in texts_in(run):
        assert line.isprintable(), ascii(line)
        assert not line.lstrip().startswith(FORGED), line
        assert line.count("k") <= 300, line[:1000]  # ours are some of them


def in_some_way(project: Project, case: str) -> None:
    """Run one command in one mode, another one for the next case."""
    number = zlib.crc32(case.encode())
    mode = list(MODES.values())[number % len(MODES)]
    command = COMMANDS[number // len(MODES) % len(COMMANDS)]
    assert_harmless(project.doit(*command, MODELMAKE_RETRIES="1", **mode))


ONE = "version: 1\nmodels:\n  one:\n    source: http\n    files: [{url: URL}]\n"
MANIFESTS = {
    "key": f"{ONE}TEXT: 1\n",
    "model": ONE.replace("one", "TEXT"),
    "key of a model": f"{ONE}    TEXT: 1\n",
    "source": ONE.replace("http", "TEXT"),
    "URL": ONE.replace("URL", "TEXT"),
    "path": ONE.replace("URL", "URL, path: TEXT"),
    "digest": ONE.replace("URL", "URL, sha256: TEXT"),
    "folder": f"{ONE}    to: TEXT\n",
    "twice": f"{ONE}TEXT: 1\nTEXT: 1\n",
    "version": ONE.replace("1", "TEXT"),
}


@pytest.mark.sampled(keep=6)
@every_text
@pytest.mark.parametrize("form", MANIFESTS.values(), ids=list(MANIFESTS))
def test_models_yaml(
    request: pytest.FixtureRequest, project: Project, server: FaultyServer, form: str, text: str
) -> None:
    """Keys and values, as YAML's escapes write them."""
    server.put("/toy/a.bin", toy_content("a.bin"))
    url = server.url("/toy/a.bin")
    project.write(form.replace("TEXT", json.dumps(text)).replace("URL", url))
    in_some_way(project, request.node.name)


LOCKS: dict[str, Callable[[dict[str, Any], str], object]] = {
    "key": lambda content, text: content.update({text: 1}),
    "model": lambda content, text: content["models"].update({text: content["models"]["one"]}),
    "field of a model": lambda content, text: content["models"]["one"].update({text: 1}),
    "field of a file": lambda content, text: _file(content).update({text: 1}),
    "path": lambda content, text: _file(content).update(path=text),
    "etag": lambda content, text: _file(content).update(etag=text),
    "url": lambda content, text: _file(content).update(url=text),
    "sha256": lambda content, text: _file(content).update(sha256=text),
    "size": lambda content, text: _file(content).update(size=text),
    "archive": lambda content, text: _file(content).update(archive=text),
    "source": lambda content, text: content["models"]["one"].update(source=text),
    "entry": lambda content, text: content["models"]["one"].update(entry=text),
    "version": lambda content, text: content.update(version=text),
}


def _file(content: dict[str, Any]) -> dict[str, Any]:
    file: dict[str, Any] = content["models"]["one"]["files"][0]
    return file


@pytest.mark.sampled(keep=6)
@every_text
@pytest.mark.parametrize("put", LOCKS.values(), ids=list(LOCKS))
def test_models_lock(
    request: pytest.FixtureRequest,
    project: Project,
    server: FaultyServer,
    put: Callable[[dict[str, Any], str], object],
    text: str,
) -> None:
    """Keys and values, as JSON's escapes write them, in a lock that is right otherwise."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    assert project.doit("lock").status == 0
    content = json.loads(project.lock.read_text())
    put(content, text)
    project.lock.write_text(json.dumps(content))
    in_some_way(project, request.node.name)


HEADERS: tuple[str, ...] = (
    "Content-Range",
    "Content-Encoding",
    "Transfer-Encoding",
    "Content-Length",
    "ETag",
)
HEADERS += ("Content-Type", "Retry-After", "Date", "Location", "Content-MD5")


def replies(text: str) -> Iterator[Reply]:
    """Yield replies that hold the text somewhere; a line end would end a header."""
    line = text.replace("\n", " ").encode().decode("latin-1")[:30_000]
    for status in (200, 206, 302, 403, 416, 503):
        reason = f"HTTP/1.1 {status} {line}"
        yield Reply(status=status, status_line=reason).with_body(b"<html>" + text.encode())
        for name in HEADERS:
            yield Reply(status=status).with_body(b"").with_header(name, line)
    yield Reply(status=400).with_body(b"<Error><Code>" + text.encode() + b"</Code></Error>")
    yield Reply(status=302).with_body(b"").with_header("Location", f"/{line}")
    yield Reply(status=302).with_body(b"").with_header("Location", f"//{line}/a")
    yield Reply(status=302).with_body(b"").with_header("Location", f"{line}://a/")
    yield Reply(status=200, status_line=line).with_body(b"")
    yield Reply(status=200, status_line=f"HTTP/1.1 200 OK\r\n{line}: {line}").with_body(b"")


@pytest.mark.sampled(keep=3)
@every_text
def test_a_server(project: Project, server: FaultyServer, text: str) -> None:
    """Reason phrases, headers, redirect targets and bodies: each is what some file gets."""
    found = list(replies(text))
    names = [f"{number}.bin" for number in range(len(found))]
    project.declare({"one": toy(server, names)})
    for name, reply in zip(names, found, strict=True):
        server.always(f"/toy/{name}", _always(reply))
    for variables in MODES.values():
        run = project.doit(MODELMAKE_RETRIES="1", MODELMAKE_TIMEOUT="1", **variables)
        assert run.status in (0, 1), run.text
        assert_harmless(run)


def _always(reply: Reply) -> Callable[[Exchange, Reply], Reply]:
    return lambda _, __: reply


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("text", IN_A_FILE_NAME.values(), ids=list(IN_A_FILE_NAME))
def test_file_names(project: Project, server: FaultyServer, tmp_path: Path, text: str) -> None:
    """Of a project's own folder, and of files that `adopt` looks at."""
    name = text[:100].replace("/", "")
    old = tmp_path / "old" / name
    old.mkdir(parents=True)
    (old / name).write_bytes(toy_content("a.bin"))
    (old / "b").symlink_to(name)
    (old / "dead").symlink_to("nothing")
    inside = Project(tmp_path / name)
    inside.declare({"one": pinned_toy(server, ["a.bin", "b.bin"])})
    server.always("/toy/b.bin", statuses.status(404))
    for command in (("adopt", "--from", str(old)), *COMMANDS, ("lock",), ("adopt", "--from", name)):
        assert_harmless(inside.doit(*command))
    inside.lock.write_text("{")
    assert_harmless(inside.doit())


@pytest.mark.sampled(keep=2)
@pytest.mark.parametrize("text", IN_A_FILE_NAME.values(), ids=list(IN_A_FILE_NAME))
def test_the_environment(project: Project, server: FaultyServer, text: str) -> None:
    """CI may take a variable from the name of a branch."""
    project.declare({"one": pinned_toy(server, ["a.bin"])})
    for variable in ("PROGRESS", "TIMEOUT", "LIMIT_RATE"):
        assert_harmless(project.doit(**{f"MODELMAKE_{variable}": text[:50_000]}))
    assert_harmless(project.doit(MODELMAKE_STORE=text[:100]))


@pytest.mark.sampled(keep=2)
@every_text
def test_an_error_of_ours(
    project: Project, server: FaultyServer, tmp_path: Path, text: str
) -> None:
    """The text of an exception that nobody foresaw, in a task and before all tasks."""
    project.declare({"one": toy(server, ["a.bin"])})
    for place in ("downloader.targets.state.append_receipt", "downloader.targets.plan.decide"):
        module, _, name = place.rpartition(".")
        said = tmp_path / "said"
        said.write_bytes(text.encode())
        lines = f"import {module}\ndef broken(*_, **__):\n"
        lines += f"    raise RuntimeError(open({str(said)!r}, 'rb').read().decode())\n"
        project.variables |= injected(tmp_path / name, f"{lines}{module}.{name} = broken\n")
        for mode, variables in MODES.items():
            run = project.doit(**variables)
            assert run.status in (2, 3)
            assert mode == "debug" or "an error in modelmake itself" in run.text
            assert_harmless(run)


@every_text
def test_names_of_members(tmp_path: Path, text: str) -> None:
    """A member's name, in the header and in an extended one, and the first bytes of no archive."""
    name = text.encode()
    extended = pax(path=b"../" + name[:5000].replace(b"\n", b"")) + member(b"a", b"x")
    archives = [
        zst(header(name[:90], 0, b"2", link=b"x") + bytes(1024)),
        zst(header(b"../" + name[:90], 0) + bytes(1024)),
        zst(extended + bytes(1024)),
        name,
    ]
    for index, archive in enumerate(archives):
        message = refused(tmp_path / f"{index}", archive, "")
        assert_harmless(Run(1, "", message))
