"""The cases that move next to nothing: a first file, nothing to do, every file read again."""

import shutil
import sys
from dataclasses import replace

from bench import peers
from bench.machine import cores
from bench.measure import Contender
from bench.projects import MODEL, Project
from bench.scratch import Payload, emptied, payload
from bench.table import MEGA, OURS, Goal, Report, times_as_fast, times_as_long
from bench.transfers import Setting

BARE = "bare doit, as many trivial tasks"
BARE_DODO = """
DOIT_CONFIG = {{"backend": "sqlite3", "dep_file": "bare.db"}}

def nothing():
    pass

def task_bare():
    for number in range({count}):
        yield {{"name": f"{{number:05d}}", "actions": [nothing], "uptodate": [True]}}
"""
STATS = "floor: Python, a stat of each file"
FLOOR = "floor: import requests, one GET"
LEAST_COUNTED, MANY = 1_000, 10_000
"""Below the first, the start of Python and doit decides."""
START_BYTES, START_SECONDS = 1_000, 0.2
FOLDER = "still"
TINY_BYTES = 100
VERIFIED_FILES = 8


def nothing_to_do(setting: Setting, count: int) -> Report:
    """Race a run that finds all `count` files up to date against bare doit with as many tasks."""
    project = _fetched(setting, count)
    folder = setting.scratch / "bare"
    emptied(folder)
    (folder / "dodo.py").write_text(BARE_DODO.format(count=count))
    listed = setting.scratch / "stats.txt"
    listed.write_text("\n".join(project.targets()))
    against = {
        BARE: [sys.executable, "-m", "doit"],
        STATS: peers.loop("stats", str(listed)),
    }
    others = [
        Contender(name=name, command=peers.command(setting.scratch, folder, words))
        for name, words in against.items()
    ]
    raced = setting.race([Contender(name=OURS, command=project.command()), *others])
    most = 0.8 if count >= LEAST_COUNTED else 1.3
    return Report(
        title=f"Nothing to do for {count:,} files",
        race=raced,
        goals=[
            Goal(text=f"our time / {BARE}", ratios=times_as_long(raced, BARE), at_most=most),
            Goal(text=f"our time / {STATS}", ratios=times_as_long(raced, STATS), at_most=4),
        ][: 2 if count >= MANY else 1],
    )


def start(setting: Setting) -> Report:
    """Race `downloader.ensure` of one small file, imports and all, against requests alone."""
    file = payload(setting.origin.root, "start.bin", START_BYTES)
    project = Project(setting.scratch, [file], setting.origin.url)
    words = [sys.executable, "-c", f"import downloader; downloader.ensure({MODEL!r})"]
    fetch = f"import requests; requests.get({setting.origin.url(file.name)!r}).content"
    floor = peers.command(setting.scratch, project.folder, [sys.executable, "-c", fetch])
    ours = replace(project.fetching(), command=replace(project.command(), words=words))
    raced = setting.race([ours, Contender(name=FLOOR, command=floor)])
    seconds = [usage.wall_seconds / START_SECONDS for usage in raced.runs.get(OURS, [])]
    return Report(
        title="One file of 1 kB from Python, a fresh interpreter and its imports included",
        race=raced,
        goals=[Goal(text=f"our time / {START_SECONDS} s", ratios=seconds, at_most=1)],
    )


def verify(setting: Setting) -> Report:
    """Race `doit verify` over eight files."""
    size = setting.plan.verify_bytes
    project = _placed(setting, VERIFIED_FILES, size)
    raced = setting.race(
        [
            Contender(name=OURS, command=project.command("verify")),
            hashing(setting, project, peers.SHA256SUM, ["sha256sum"]),
            hashing(setting, project, peers.SHA256, peers.loop("sha256")),
        ]
    )
    project.forget()
    ratios = [each / cores() for each in times_as_fast(raced, peers.SHA256)]
    return Report(
        title=f"{VERIFIED_FILES} files of {size / MEGA:,.0f} MB read again",
        race=raced,
        amount=VERIFIED_FILES * size / MEGA,
        unit="MB",
        notes=["doit's own start is part of our time: of small files, as in --quick, most of it."],
        goals=[Goal(text="our rate / (cores x SHA-256 of one)", ratios=ratios, at_least=0.9)],
    )


def _fetched(setting: Setting, count: int) -> Project:
    """Return a project with that many tiny files, fetched and noted by `doit` itself."""
    payloads = _payloads(setting, count, TINY_BYTES)
    project = Project(setting.scratch, payloads, setting.origin.url, is_pinned=False)
    project.doit()
    shutil.rmtree(setting.origin.root / FOLDER)
    return project


def _placed(setting: Setting, count: int, size: int) -> Project:
    """Return a project whose files were moved into place, so that `doit` only had to hash them."""
    payloads = _payloads(setting, count, size)
    project = Project(setting.scratch, payloads, setting.origin.url)
    for each in payloads:
        target = project.target(each.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        each.path.replace(target)
    project.doit()
    return project


def _payloads(setting: Setting, count: int, size: int) -> list[Payload]:
    names = [f"{FOLDER}/{number:05d}.bin" for number in range(count)]
    return [payload(setting.origin.root, name, size) for name in names]


def hashing(setting: Setting, project: Project, name: str, words: list[str]) -> Contender:
    """Return who hashes all files of the project: the command's words without their names."""
    absent = peers.missing(words[:1])
    if absent:
        return Contender(name=name, absent=absent)
    return Contender(
        name=name,
        command=peers.command(setting.scratch, project.folder, [*words, *project.targets()]),
    )
