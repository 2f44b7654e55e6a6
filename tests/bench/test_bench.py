"""The benchmark's arithmetic and honesty; nothing here is timed, and no server is started."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
import requests

from bench import peers
from bench.kept import rates
from bench.measure import Command, Contender, Failed, Race, Usage, race, run
from bench.plan import CASES, QUICK, Plan, plan_of
from bench.projects import FIXED_NAME
from bench.scratch import Arrived, payload
from bench.shared import Bucket, SharedRate
from bench.table import OURS, Goal, Report, markdown, times_as_fast, times_as_long
from bench.transfers import BIG_PEERS, over_fixed


def usages(*walls: float) -> list[Usage]:
    return [Usage(wall_seconds=wall, cpu_seconds=wall, peak_bytes=10_000_000) for wall in walls]


def python(folder: Path, text: str) -> Command:
    return Command(words=[sys.executable, "-c", text], folder=folder, variables=dict(os.environ))


def row_of(text: str, name: str) -> list[str]:
    line = next(line for line in text.splitlines() if line.startswith(f"| {name} "))
    return [cell.strip() for cell in line.strip("|").split("|")]


def job(tmp_path: Path, *, with_slow: bool) -> peers.Job:
    file = payload(tmp_path, "file.bin", 10)
    return peers.Job(scratch=tmp_path, payload=file, url="http://127.0.0.1:9/", with_slow=with_slow)


def test_ratios_are_taken_within_each_round() -> None:
    """A peer's run is divided by ours of the same round, never by a median over all."""
    raced = Race(runs={OURS: usages(1, 2, 4), "peer": usages(3, 4, 4)})

    assert times_as_fast(raced, "peer") == [3, 2, 1]
    assert times_as_long(raced, "peer") == [1 / 3, 1 / 2, 1]


def test_no_ratio_against_an_absent_peer() -> None:
    """There is no figure for a peer that did not run."""
    assert times_as_fast(Race(runs={OURS: usages(1)}), "peer") == []


@pytest.mark.parametrize(
    ("goal", "row"),
    [
        (Goal(text="x", ratios=[3, 1, 2], at_least=2), ["x", ">= 2", "1.00", "2.00", "yes"]),
        (Goal(text="x", ratios=[3, 1, 2], at_least=2.1), ["x", ">= 2.1", "1.00", "2.00", "NO"]),
        (Goal(text="x", ratios=[3, 1, 2], at_most=2), ["x", "<= 2", "3.00", "2.00", "yes"]),
        (Goal(text="x", ratios=[3, 1, 2], at_most=1.9), ["x", "<= 1.9", "3.00", "2.00", "NO"]),
        (Goal(text="x", ratios=[], at_most=2), ["x", "<= 2", "-", "-", "not measured"]),
    ],
)
def test_goal_is_judged_by_its_median_and_shows_its_worst_round(goal: Goal, row: list[str]) -> None:
    """The median decides; the worst is the smallest of a lower bound, the largest of an upper."""
    assert goal.row() == row


def test_table_has_medians_rate_and_paired_ratios() -> None:
    """A line holds median wall, rate, CPU, server CPU, peak, and the ratios' minimum and median."""
    raced = Race(runs={OURS: usages(1, 2, 4), "peer": usages(3, 4, 4)})
    text = markdown(Report(title="t", race=raced, amount=100, unit="MB"))

    assert row_of(text, OURS) == [OURS, "2.000", "50", "2.00", "0.00", "10", "1.00", "1.00"]
    assert row_of(text, "peer") == ["peer", "4.000", "25", "4.00", "0.00", "10", "1.00", "2.00"]


def test_missing_peer_is_named_with_its_reason(tmp_path: Path) -> None:
    """A peer whose program is not installed stands in the report, and says what is missing."""
    peer = peers.Peer(name="peer", words=lambda _: [], programs=("no-such-program-here",))
    raced = race([peer.contender(job(tmp_path, with_slow=True))], pairs=1)

    text = markdown(Report(title="t", race=raced))
    assert "- `peer`: missing: no-such-program-here not installed" in text


def test_missing_python_package_is_named() -> None:
    """A peer that is a Python package is looked for where Python would find it."""
    assert peers.missing([], ["no_such_package"]) == "missing: no_such_package not installed"
    assert peers.missing([], ["requests"]) == ""


def test_every_peer_is_entered_or_its_absence_explained(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With nothing on PATH and --quick, each peer still has a command or a reason."""
    monkeypatch.setenv("PATH", "")
    offered = job(tmp_path, with_slow=False)
    entered = [peer.contender(offered) for peer in BIG_PEERS]

    assert all((each.command is None) == bool(each.absent) for each in entered)
    assert "missing: curl, sha256sum not installed" in [each.absent for each in entered]
    assert [each.name for each in entered if "--quick" in each.absent] == [
        "picoGPT's loop, unverified",
        "picoGPT's loop, SHA-256",
    ]


def test_only_ours_warms_up_if_time_is_short(tmp_path: Path) -> None:
    """The others find the memory touched."""
    words = ["open('runs', 'a').write('x')"]
    both = [Contender(name=each, command=python(tmp_path / each, *words)) for each in "ab"]
    for each in both:
        (tmp_path / each.name).mkdir()
    raced = race(both, pairs=2, warms_all=False)

    assert [(tmp_path / name / "runs").read_text() for name in "ab"] == ["xxx", "xx"]
    assert [len(raced.runs[name]) for name in "ab"] == [2, 2]


def test_failing_contender_leaves_the_race_with_its_reason(tmp_path: Path) -> None:
    """One that ends badly has no figures, its words are kept, and the others go on."""
    bad = Contender(name="bad", command=python(tmp_path, "raise SystemExit('no such host')"))
    good = Contender(name="good", command=python(tmp_path, ""))
    raced = race([bad, good], pairs=2)

    assert raced.absent == {"bad": "failed: status 1: no such host"}
    assert list(raced.runs) == ["good"]
    assert len(raced.runs["good"]) == 2


def test_command_that_does_not_end_is_killed(tmp_path: Path) -> None:
    """A run is bounded in time; one that takes longer fails."""
    with pytest.raises(Failed, match="not done after"):
        run(python(tmp_path, "import time; time.sleep(600)"), limit_seconds=0.2)


def test_children_are_counted(tmp_path: Path) -> None:
    """The peak of a pipeline is that of its largest process, not of the shell around it."""
    big = python(tmp_path, "bytearray(64_000_000)").words
    shell = Command(words=peers.then(["true"], big), folder=tmp_path, variables=dict(os.environ))

    assert run(shell).peak_bytes > 64_000_000


def test_other_bytes_of_the_same_size_are_found(tmp_path: Path) -> None:
    """A contender that leaves wrong bytes does not count as having done the work."""
    served = payload(tmp_path, "served.bin", 1000)
    target = tmp_path / "target.bin"
    target.write_bytes(served.path.read_bytes())
    Arrived([(served, target)])()

    target.write_bytes(bytes(1000))
    with pytest.raises(Failed, match="other bytes"):
        Arrived([(served, target)])()


@pytest.mark.parametrize(
    ("absent", "has_failed"), [("failed: status 1: ", True), ("missing: a module", False)]
)
def test_only_a_failure_of_ours_fails_the_benchmark(absent: str, *, has_failed: bool) -> None:
    """What cannot be measured on this machine is told, and is no failure."""
    assert Report(title="t", race=Race(absent={OURS: absent})).has_failed is has_failed


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        ([], Plan()),
        (["--quick"], QUICK),
        (["--size", "1G", "--pairs", "5"], Plan(big_bytes=1 << 30, pairs=5)),
        (["--case", "verify", "--case", "big"], Plan(cases=("big", "verify"))),
    ],
)
def test_command_line_chooses_the_plan(arguments: Sequence[str], wanted: Plan) -> None:
    """Sizes, rounds and cases are what was asked for; cases keep their order."""
    assert plan_of(arguments) == wanted


@pytest.mark.parametrize("arguments", [["--size", "2T"], ["--pairs", "0"], ["--case", "none"]])
def test_wrong_command_line_is_a_usage_error(
    arguments: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """What cannot be understood ends the program with status 2, and is named."""
    with pytest.raises(SystemExit) as ended:
        plan_of(arguments)

    assert ended.value.code == 2
    assert arguments[1] in capsys.readouterr().err


def test_every_case_has_its_code() -> None:
    """What --case offers can be run."""
    from bench.__main__ import chosen  # noqa: PLC0415 - a program: imported where it is looked at

    names = [title.partition(",")[0] for title, _ in chosen(Plan(noop_files=(1,)))]
    assert list(dict.fromkeys(names)) == list(CASES)


def test_rates_are_taken_after_the_first_second() -> None:
    """The mean is over all; the fullest second is none of those that begin in the first one."""
    seen = [(0.0, 0), (0.5, 40), (1.0, 45), (1.5, 50), (2.0, 55), (2.5, 75), (3.0, 80), (4.0, 90)]
    mean, fullest = rates(seen, 10)

    assert mean == pytest.approx(90 / 4 / 10)
    assert fullest == pytest.approx(25 / 10)


def test_best_fixed_number_is_the_one_with_the_least_median() -> None:
    """Ours is divided by one and the same number in all rounds, not by each round's luckiest."""
    runs = {OURS: usages(2, 2, 2), "floor": usages(1, 1, 1)}
    runs |= {f"{FIXED_NAME}4": usages(1, 4, 4), f"{FIXED_NAME}8": usages(2, 2, 2)}
    assert over_fixed(Race(runs=runs)) == [1, 1, 1]


def test_shared_rate_serves_ranges_and_the_whole_file(tmp_path: Path) -> None:
    """All connections draw on one bucket, and get exactly what they asked for."""
    file = payload(tmp_path, "file.bin", 100_000)
    with SharedRate(tmp_path, 1e9) as shared:
        whole = requests.get(shared.url("file.bin"), timeout=10)
        ranged = requests.get(shared.url("file.bin"), headers={"Range": "bytes=5-99"}, timeout=10)

    body = file.path.read_bytes()
    assert (whole.status_code, whole.content) == (200, body)
    assert (ranged.status_code, ranged.content) == (206, body[5:100])
    assert ranged.headers["Content-Range"] == "bytes 5-99/100000"


def test_bucket_lets_no_more_pass_than_its_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    """Draws at one moment wait one after the other; the clock is ours, and nothing sleeps."""
    slept = list[float]()
    monkeypatch.setattr(
        "bench.shared.time", SimpleNamespace(monotonic=lambda: 5.0, sleep=slept.append)
    )
    bucket = Bucket(1000)
    for _ in range(3):
        bucket.draw(500)
    assert slept == pytest.approx([0.5, 1.0, 1.5])
