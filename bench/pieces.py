"""The cases of one file whose piece layer is known: fetched, and read again."""

from bench import peers
from bench.measure import Contender, Race
from bench.projects import Project
from bench.scratch import payload
from bench.still import hashing
from bench.table import MEGA, OURS, Goal, Report, paired
from bench.transfers import Setting

START = "doit verify of one byte: its start"
WHOLE = "doit, the same without pieces: one long SHA-256"


def fetched(setting: Setting) -> Report:
    """Race a fetch that checks pieces against one that hashes the file as a whole."""
    file = payload(setting.origin.root, "big.bin", setting.plan.big_bytes)
    project = Project(setting.scratch, [file], setting.origin.url, is_pinned=False)
    project.doit()
    without = project.lock.read_bytes()
    project.doit("lock", "--pieces")
    with_root = project.lock.read_bytes()

    raced = setting.race(
        [project.fetching_locked(with_root), project.fetching_locked(without, WHOLE)]
    )
    file.path.unlink()
    ratios = paired(raced, OURS, WHOLE, lambda usage: usage.wall_seconds)
    costs = paired(raced, OURS, WHOLE, lambda usage: usage.cpu_seconds)
    return Report(
        title=f"One file of {file.size / MEGA:,.0f} MB, its root locked and its pieces known",
        race=raced,
        amount=file.size / MEGA,
        unit="MB",
        goals=[
            Goal(text="our time / without pieces", ratios=ratios, at_most=1),
            Goal(text="our CPU / without pieces", ratios=costs, at_most=1.15),
        ],
    )


def verified(setting: Setting) -> Report:
    """Race `doit verify` of one file with a piece layer against the SHA-256 of one core."""
    file = payload(setting.origin.root, "big.bin", setting.plan.big_bytes)
    project = Project(setting.scratch, [file], setting.origin.url, is_pinned=False)
    project.doit()
    file.path.unlink()
    project.doit("lock", "--pieces")
    tiny = _of_one_byte(setting)
    raced = setting.race(
        [
            Contender(name=OURS, command=project.command("verify")),
            Contender(name=START, command=tiny.command("verify")),
            hashing(setting, project, peers.SHA256, peers.loop("sha256")),
        ]
    )
    project.forget()
    return Report(
        title=f"One file of {file.size / MEGA:,.0f} MB read again, its pieces known",
        race=raced,
        amount=file.size / MEGA,
        unit="MB",
        notes=["doit's own start is left out of the ratio, and not of the time."],
        goals=[
            Goal(
                text="our rate, reading / SHA-256 of one core",
                ratios=_reading(raced),
                at_least=1.75,
            )
        ],
    )


def _reading(raced: Race) -> list[float]:
    """Return how many times as fast as one core the reading alone is."""
    runs = (raced.runs.get(name, []) for name in (OURS, START, peers.SHA256))
    return [
        hashed.wall_seconds / (ours.wall_seconds - start.wall_seconds)
        for ours, start, hashed in zip(*runs, strict=False)
        if ours.wall_seconds > start.wall_seconds
    ]


def _of_one_byte(setting: Setting) -> Project:
    """Return a project where there is next to nothing to read."""
    folder = setting.scratch / "tiny"
    folder.mkdir(exist_ok=True)
    file = payload(setting.origin.root, "tiny.bin", 1)
    project = Project(folder, [file], setting.origin.url)
    project.doit()
    return project
