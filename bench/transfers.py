"""The cases that move bytes: one big file, the same with limited connections, many small ones."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from math import isnan
from pathlib import Path
from statistics import median

from bench import many, peers
from bench.machine import cores
from bench.measure import Contender, Race, Usage, race
from bench.origin import DELAY_SECONDS, Origin
from bench.plan import Plan
from bench.projects import FIXED_NAME, Project
from bench.scratch import Payload, payload
from bench.table import MEGA, OURS, Goal, Report, paired, times_as_fast, times_as_long
from bench.throttled import Throttled
from downloader.settings import FILES_AT_ONCE

BIG_PEERS = (
    peers.CURL_PEER,
    peers.WGET_PEER,
    peers.ARIA2C_16_PEER,
    peers.ARIA2C_PEER,
    peers.POOCH_PEER,
    peers.HF_PEER,
    peers.PICOGPT_PEER,
    peers.PICOGPT_SHA256_PEER,
    peers.READINTO_PEER,
    peers.SHA256_PEER,
)
FIXED = (8, 16, 32)
FIXED_PEERS = tuple(peers.fixed_peer(number) for number in FIXED)
LIMITED_PEERS = (replace(peers.CURL_PEER, is_slow=True), peers.ARIA2C_16_PEER, *FIXED_PEERS)
HTTPS_PEERS = (peers.CURL_PEER, peers.ARIA2C_16_PEER, peers.ARIA2C_PEER)
PEAK_BYTES = 100 * MEGA
KNOWN = "doit, the same with a known SHA-256"
UNTHREADED = "doit -n 0"
MORE_CONNECTIONS = f"ours, MODELMAKE_CONNECTIONS={FILES_AT_ONCE}"
THROTTLED_RATE = 10_000_000
"""Of each connection. The proxy that limits them shares the machine with what it limits."""
LATENCIES = (0.0, 0.02)


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What every case is given: its sizes, the folder of everything, the server."""

    plan: Plan
    scratch: Path
    origin: Origin

    def race(self, contenders: Sequence[Contender]) -> Race:
        """Race them, the server's CPU seconds counted."""
        plan = self.plan
        return race(contenders, plan.pairs, self.origin.cpu_seconds, warms_all=plan.with_slow)


def big(setting: Setting) -> Report:
    """Race over one big file with a known SHA-256."""
    file = payload(setting.origin.root, "big.bin", setting.plan.big_bytes)
    raced = _one_file(setting, file, str, BIG_PEERS)
    return Report(
        title=f"One file of {file.size / MEGA:,.0f} MB, SHA-256 verified",
        race=raced,
        amount=file.size / MEGA,
        unit="MB",
        goals=_big_goals(raced),
        notes=["`doit` as a whole process, its lock made beforehand; unverified where it says so."],
    )


def _big_goals(raced: Race) -> list[Goal]:
    two = f"the faster of `{peers.ARIA2C}` and `{peers.ARIA2C_16}`"
    return [
        Goal(text=f"time of {two} / ours", ratios=_best_aria2c(raced), at_least=1.9),
        Goal(
            text=f"time of `{peers.CURL}` / ours",
            ratios=times_as_fast(raced, peers.CURL),
            at_least=3,
        ),
        Goal(
            text="our CPU / (unverified + SHA-256 alone)", ratios=_over_floors(raced), at_most=1.15
        ),
        Goal(text="our time / (all CPU / cores)", ratios=_over_cores(raced), at_most=1.12),
        _peak_goal(raced),
    ]


def _best_aria2c(raced: Race) -> list[float]:
    default, sixteen = (times_as_fast(raced, name) for name in (peers.ARIA2C, peers.ARIA2C_16))
    return [min(pair) for pair in zip(default, sixteen, strict=False)]


def _over_floors(raced: Race) -> list[float]:
    runs = (raced.runs.get(name, []) for name in (OURS, peers.READINTO, peers.SHA256))
    return [
        ours.cpu_seconds / (moved.cpu_seconds + hashed.cpu_seconds)
        for ours, moved, hashed in zip(*runs, strict=False)
    ]


def _over_cores(raced: Race) -> list[float]:
    ratios = [_over_its_cores(usage) for usage in raced.runs.get(OURS, [])]
    return [ratio for ratio in ratios if not isnan(ratio)]


def _over_its_cores(usage: Usage) -> float:
    return usage.wall_seconds * cores() / (usage.cpu_seconds + usage.server_cpu_seconds)


def _peak_goal(raced: Race) -> Goal:
    peaks = [usage.peak_bytes / PEAK_BYTES for usage in raced.runs.get(OURS, [])]
    return Goal(text=f"our peak memory / {PEAK_BYTES / MEGA:.0f} MB", ratios=peaks, at_most=1)


def https(setting: Setting) -> Report:
    """Race over one big file by TLS."""
    origin = setting.origin
    if origin.certificate is None:
        return Report(
            title="One file by HTTPS",
            race=Race(absent={OURS: "missing: openssl(1) makes no certificate here"}),
        )
    file = payload(origin.root, "big.bin", setting.plan.big_bytes)
    project = Project(setting.scratch, [file], origin.https_url, certificate=origin.certificate)
    job = peers.Job(
        scratch=setting.scratch,
        payload=file,
        url=origin.https_url(file.name),
        with_slow=setting.plan.with_slow,
        certificate=origin.certificate,
    )
    against = [peer.contender(job) for peer in HTTPS_PEERS]
    raced = setting.race([project.fetching(), *against])
    file.path.unlink()
    return Report(
        title=f"One file of {file.size / MEGA:,.0f} MB by HTTPS, SHA-256 verified",
        race=raced,
        amount=file.size / MEGA,
        unit="MB",
        goals=[
            Goal(
                text=f"time of `{peers.CURL}` / ours",
                ratios=times_as_fast(raced, peers.CURL),
                at_least=2,
            ),
            _peak_goal(raced),
        ],
    )


def first_use(setting: Setting) -> Report:
    """Race over one file whose SHA-256 nobody knows, against the same with a known one."""
    file = payload(setting.origin.root, "first.bin", setting.plan.first_use_bytes)
    project = Project(setting.scratch, [file], setting.origin.url, is_pinned=False)
    unknown = project.lock.read_bytes()
    project.doit()
    known = project.lock.read_bytes()

    raced = setting.race([project.fetching_locked(unknown), project.fetching_locked(known, KNOWN)])
    file.path.unlink()
    walls = paired(raced, OURS, KNOWN, lambda usage: usage.wall_seconds)
    costs = paired(raced, OURS, KNOWN, lambda usage: usage.cpu_seconds)
    return Report(
        title=f"One file of {file.size / MEGA:,.0f} MB, its SHA-256 not known before",
        race=raced,
        amount=file.size / MEGA,
        unit="MB",
        goals=[
            Goal(text="our time / with a known SHA-256", ratios=walls, at_most=1.1),
            Goal(text="our CPU / with a known SHA-256", ratios=costs, at_most=1.1),
        ],
    )


def limited_cases() -> Iterator[tuple[str, Callable[[Setting], Report]]]:
    """Yield a case for each latency, with a short name."""
    for seconds in LATENCIES:
        yield f"limited, {seconds * 1000:.0f} ms", partial(limited, latency_seconds=seconds)


def limited(setting: Setting, latency_seconds: float) -> Report:
    """Race over one file where each connection is limited from its first byte on."""
    file = payload(setting.origin.root, "limited.bin", setting.plan.limited_bytes)
    with Throttled(setting.origin.port, THROTTLED_RATE, latency_seconds) as proxy:
        raced = _one_file(
            setting, file, proxy.url, LIMITED_PEERS, FIXED[not setting.plan.with_slow :]
        )
    title = f"One file of {file.size / MEGA:,.0f} MB, {THROTTLED_RATE / MEGA:.0f} MB/s on each "
    title += "connection"
    if latency_seconds:
        title += f", a round trip of {latency_seconds * 1000:.0f} ms"
    return Report(
        title=title,
        race=raced,
        amount=file.size / MEGA,
        unit="MB",
        goals=[
            Goal(
                text=f"time of `{peers.ARIA2C_16}` / ours",
                ratios=times_as_fast(raced, peers.ARIA2C_16),
                at_least=1.5,
            ),
            Goal(text="our time / best fixed number", ratios=over_fixed(raced), at_most=1.25),
            _peak_goal(raced),
        ],
        notes=[
            "A token bucket limits each connection from its first byte on (bench/throttled.py).",
            "A fixed number is ours with that many from the first byte on; floors verify nothing.",
            "aria2c makes no segment under 20 MiB: a small file gets fewer than 16 connections.",
        ],
    )


def over_fixed(raced: Race) -> list[float]:
    """Return our time over that of the fixed number with the best median, round by round."""
    fixed = [name for name in raced.runs if name.startswith(FIXED_NAME) and raced.runs[name]]
    if not fixed:
        return []
    best = min(fixed, key=lambda name: median(each.wall_seconds for each in raced.runs[name]))
    return paired(raced, OURS, best, lambda usage: usage.wall_seconds)


def _one_file(
    setting: Setting,
    file: Payload,
    through: Callable[[str], str],
    entered: Sequence[peers.Peer],
    fixed: Sequence[int] = (),
) -> Race:
    url = through(setting.origin.url(file.name))
    project = Project(setting.scratch, [file], lambda _: url)
    job = peers.Job(
        scratch=setting.scratch, payload=file, url=url, with_slow=setting.plan.with_slow
    )
    own = [project.fetching_fixed(count) for count in fixed]
    against = [peer.contender(job) for peer in entered]
    raced = setting.race([project.fetching(), *own, *against])
    file.path.unlink()
    return raced


def many_files(setting: Setting) -> Report:
    """Race over small files."""
    raced = _race_many(setting, "")
    return Report(
        title=f"{_many(setting.plan, setting.plan.many_files)}, no latency",
        race=raced,
        amount=setting.plan.many_files,
        unit="files",
        goals=[
            Goal(text="our files/s / 800", ratios=_over_800(raced, setting.plan), at_least=1),
            Goal(
                text=f"our time / `{UNTHREADED}`",
                ratios=times_as_long(raced, UNTHREADED),
                at_most=1,
            ),
        ],
    )


def many_late_files(setting: Setting) -> Report:
    """Race over small files, each answer late."""
    plan = setting.plan
    title = f"{_many(plan, plan.late_files)}, {DELAY_SECONDS * 1000:.0f} ms before each answer"
    if not setting.origin.has_delay:
        why = "missing: nginx's echo module is not installed, and no answer can be made late"
        return Report(title=title, race=Race(absent={OURS: why}))
    raced = _race_many(setting, "delayed/")
    return Report(
        title=title,
        race=raced,
        amount=plan.late_files,
        unit="files",
        goals=[
            Goal(
                text=f"time of `{many.CURL_PARALLEL}` / ours",
                ratios=times_as_fast(raced, many.CURL_PARALLEL),
                at_least=0.7,
            ),
            Goal(
                text=f"time of `{many.ARIA2C_LIST}` / ours",
                ratios=times_as_fast(raced, many.ARIA2C_LIST),
                at_least=2,
            ),
        ],
    )


def _many(plan: Plan, files: int) -> str:
    return f"{files:,} files of {plan.small_bytes / 1000:.0f} kB"


def _over_800(raced: Race, plan: Plan) -> list[float]:
    return [plan.many_files / usage.wall_seconds / 800 for usage in raced.runs.get(OURS, [])]


def _race_many(setting: Setting, place: str) -> Race:
    root, plan = setting.origin.root, setting.plan
    count = plan.late_files if place else plan.many_files
    names = [f"small/{number:05d}.bin" for number in range(count)]
    payloads = [payload(root, name, plan.small_bytes) for name in names]

    def url(name: str) -> str:
        return setting.origin.url(name, place)

    project = Project(setting.scratch, payloads, url)
    files = many.Files(setting.scratch, payloads, url)
    own = project.fetching()
    if place:
        other = project.command(MODELMAKE_CONNECTIONS=str(FILES_AT_ONCE))
        beside = replace(own, name=MORE_CONNECTIONS, command=other)
    else:  # one at a time takes too long if each answer is late
        beside = replace(own, name=UNTHREADED, command=project.command("-n", "0"))
    return setting.race([own, beside, files.aria2c(), files.curl()])
