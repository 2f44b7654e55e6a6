"""Which checkpoints an entry means, and what the lock keeps of that."""

from pathlib import Path
from typing import Any

import pytest

from downloader.errors import LockError, ManifestError
from tests.e2e.together.projects import (
    CHECKPOINTS,
    JOB,
    bot,
    downloads,
    locked_archives,
    sync,
    write_manifest,
)
from tests.projects import edit_lock, lock, project
from tests.servers.together.archives import lora_archive
from tests.servers.together.server import TogetherServer

FORMS: list[tuple[dict[str, Any], list[int | None]]] = [
    ({}, [None]),
    ({"checkpoint": "final"}, [None]),
    ({"checkpoint": 10}, [10]),
    ({"checkpoint": [20, 10, 10]}, [10, 20]),
    ({"checkpoint": ["final", 10, 20]}, [10, 20, None]),
    ({"checkpoint": [30, "final", "final"]}, [30, None]),
    ({"checkpoint": ["final"]}, [None]),
    ({"checkpoint": "all"}, [10, 20, 30]),
    ({"checkpoint": {"last": 2}}, [20, 30]),
    ({"checkpoint": {"last": 9}}, [10, 20, 30]),
    ({"checkpoint": {"from": 15, "to": 30}}, [20, 30]),
    ({"checkpoint": {"from": 20}}, [20, 30]),
    ({"checkpoint": {"to": 10}}, [10]),
    ({"job": f"{JOB}:20"}, [20]),
]


@pytest.fixture
def three(together: TogetherServer) -> TogetherServer:
    """Give the fake with a job of three checkpoints, the last of which is final."""
    steps: Any = {step: {"adapter": lora_archive(step)} for step in (10, 20, 30)}
    steps[30]["merged"] = lora_archive(31)
    together.job(JOB).checkpoints = steps
    return together


@pytest.mark.parametrize(("keys", "steps"), FORMS, ids=lambda each: str(each)[:40])
def test_each_form_of_checkpoint_means_its_steps(
    tmp_path: Path, three: TogetherServer, keys: dict[str, Any], steps: list[int | None]
) -> None:
    """`checkpoint` and a step in `job` choose among what the job has, both ends included."""
    lock(tmp_path, {"m": bot(**keys)})

    assert [each.checkpoint.step for each in locked_archives(tmp_path)] == steps


def test_a_list_that_mixes_is_fetched_and_stays_current(
    tmp_path: Path, three: TogetherServer
) -> None:
    """`final` in a list is the job's result, in a folder of that name; the lock follows from it."""
    keys: dict[str, Any] = {"checkpoint": ["final", 10], "extract": True}
    sync(tmp_path, **keys)

    for folder in ("final", "step-10"):
        assert (tmp_path / f"models/m/{folder}/adapter_config.json").is_file()
    assert project(tmp_path).is_stale is False
    assert lock(tmp_path, {"m": bot(**keys)}) == []


def test_a_list_with_final_waits_for_the_end_of_the_job(
    tmp_path: Path, three: TogetherServer
) -> None:
    """Steps can be had before, the result cannot."""
    three.job(JOB).status = "running"
    with pytest.raises(LockError, match="is not completed"):
        lock(tmp_path, {"m": bot(checkpoint=["final", 10])})


def test_the_list_of_checkpoints_is_not_asked_for_the_final_one(
    tmp_path: Path, together: TogetherServer
) -> None:
    """The final model needs one look-up, and the first two bytes."""
    lock(tmp_path, {"m": bot()})

    assert CHECKPOINTS not in [seen.path for seen in together.requests]
    assert downloads(together) == [{"ft_id": JOB, "checkpoint": "merged"}]


def test_the_last_step_is_asked_for_without_its_number(
    tmp_path: Path, together: TogetherServer
) -> None:
    """The API ignores the type where a step is named; it names the final model without one."""
    lock(tmp_path, {"m": bot(checkpoint=[10, 20], type="adapter")})

    assert downloads(together) == [
        {"ft_id": JOB, "checkpoint": "adapter", "checkpoint_step": "10"},
        {"ft_id": JOB, "checkpoint": "adapter"},
    ]
    sync(tmp_path, checkpoint=20, type="adapter")
    assert lora_archive(20) in [each.read_bytes() for each in tmp_path.glob("models/m/*.zst")]


@pytest.mark.parametrize("step", [11, 0])
def test_a_wrong_step_names_those_that_exist(
    tmp_path: Path, together: TogetherServer, step: int
) -> None:
    """The error says which steps the job has; nothing is locked."""
    with pytest.raises(LockError, match=f"has no checkpoint of step {step}") as caught:
        lock(tmp_path, {"m": bot(checkpoint=[10, step])})

    assert caught.value.hint == "It has steps 10, 20."
    assert not project(tmp_path).lockfile.models


def test_a_wrong_step_among_very_many_is_told_in_one_line(
    tmp_path: Path, together: TogetherServer
) -> None:
    """A thousand steps are told by their number and their ends."""
    content: Any = {"adapter": b"never read"}
    together.job(JOB).checkpoints = dict.fromkeys(range(1, 1001), content)

    with pytest.raises(LockError) as caught:
        lock(tmp_path, {"m": bot(checkpoint=1001)})

    assert caught.value.hint == "It has 1,000 steps from 1 to 1000."


@pytest.mark.parametrize("wanted", [{"from": 11, "to": 19}, "all"])
def test_a_choice_of_nothing_is_an_error(
    tmp_path: Path, together: TogetherServer, wanted: object
) -> None:
    """A range without a checkpoint in it, and a job without any, are told; nothing is locked."""
    if wanted == "all":
        together.job(JOB).checkpoints = {}
    with pytest.raises(LockError, match="has no such checkpoint"):
        lock(tmp_path, {"m": bot(checkpoint=wanted)})


def test_step_zero_is_never_asked_for(tmp_path: Path, together: TogetherServer) -> None:
    """The API serves the final model for step 0, so an intermediate one of that number is none."""
    together.job(JOB).checkpoints = {0: {"adapter": b""}, **together.job(JOB).checkpoints}
    lock(tmp_path, {"m": bot(checkpoint="all")})

    assert [each.checkpoint.step for each in locked_archives(tmp_path)] == [10, 20]


@pytest.mark.parametrize("wanted", [10, "all", "final"])
def test_a_step_in_job_and_in_checkpoint_is_refused(tmp_path: Path, wanted: object) -> None:
    """Both at once is an error of the manifest, as in Together's SDK, before any request."""
    write_manifest(tmp_path, job=f"{JOB}:10", checkpoint=wanted)

    with pytest.raises(ManifestError, match="`job` has a step already"):
        project(tmp_path).models()


@pytest.mark.parametrize(
    "wanted",
    [-1, "newest", [], {"last": 0}, {"last": 1, "from": 2}, {"from": 3, "to": 2}, {}, 1.5, [-1]],
    ids=str,
)
def test_a_checkpoint_that_means_nothing_is_refused(tmp_path: Path, wanted: object) -> None:
    """Other forms are errors of the manifest that name the key, before any request."""
    write_manifest(tmp_path, checkpoint=wanted)

    with pytest.raises(ManifestError, match=r"models\.m\.checkpoint"):
        project(tmp_path).models()


@pytest.mark.parametrize(
    "job", [f"{JOB}:{'9' * 5000}", f"ft-{'a' * 5000}", "ft-ABC", "x", f"{JOB}:"]
)
def test_a_job_that_cannot_be_one_is_refused(tmp_path: Path, job: str) -> None:
    """An id of any length or alphabet is no reason to crash."""
    write_manifest(tmp_path, job=job)

    with pytest.raises(ManifestError, match=r"models\.m\.job"):
        project(tmp_path).models()


@pytest.mark.parametrize("wanted", ["all", {"last": 5}, {"from": 10}])
def test_the_lock_freezes_the_steps(
    tmp_path: Path, together: TogetherServer, wanted: object
) -> None:
    """A new checkpoint upstream changes nothing until `lock --upgrade`, and no pin even then."""
    sync(tmp_path, checkpoint=wanted)
    job = together.job(JOB)
    job.checkpoints = {15: {"adapter": lora_archive(15)}, **job.checkpoints}
    before, asked = (tmp_path / "models.lock").read_bytes(), len(together.requests)

    assert lock(tmp_path) == []
    sync(tmp_path, checkpoint=wanted)
    assert (tmp_path / "models.lock").read_bytes() == before
    assert len(together.requests) == asked

    changed, added = lock(tmp_path, upgrade=True)
    assert changed.startswith("changed m: steps 10, 20 -> 10, 15, 20; 2 files, ")
    assert added.startswith("  added ")
    steps = {each.checkpoint.step: each.is_pinned for each in locked_archives(tmp_path)}
    assert steps == {10: True, 15: False, 20: True}


CHANGES: list[tuple[dict[str, Any], tuple[str, str], str]] = [
    ({"checkpoint": [10, 20]}, ('"step":10', '"step":15'), "its list of steps"),
    ({"checkpoint": {"to": 10}}, ('"step":10', '"step":15'), "its list of steps"),
    ({"checkpoint": "all"}, ('"step":10', '"step":20'), "its list of steps"),
    ({"checkpoint": "all"}, ('"step":10,', ""), "its list of steps"),
    ({}, ('{"request"', '{"step":10,"request"'), "its list of steps"),
    ({"type": "adapter"}, ('"request":"adapter"', '"request":"merged"'), "its list of archives"),
    ({"archive": "b.tar.zst"}, ("b.tar.zst", "c.tar.zst"), "its list of archives"),
    ({}, (f'"revision": "{JOB}"', '"revision": "ft-1"'), "its revision"),
    ({}, ('"request":"merged"', '"request":"secrets"'), "its list of archives"),
]


@pytest.mark.parametrize(("keys", "change", "part"), CHANGES)
def test_a_lock_of_other_checkpoints_is_refused(
    tmp_path: Path,
    together: TogetherServer,
    keys: dict[str, Any],
    change: tuple[str, str],
    part: str,
) -> None:
    """What a hand changed in models.lock is no checkpoint of the entry, and is not asked for."""
    lock(tmp_path, {"m": bot(**keys)})
    edit_lock(tmp_path, *change)

    with pytest.raises(LockError, match=part):
        project(tmp_path).models()


def test_a_lock_that_lost_a_checkpoint_is_refused(tmp_path: Path, together: TogetherServer) -> None:
    """Of steps that the entry names, none may be missing."""
    lock(tmp_path, {"m": bot(checkpoint=[10, 20])})
    text = (tmp_path / "models.lock").read_text()
    lines = [line for line in text.splitlines(keepends=True) if '"step":20' not in line]
    (tmp_path / "models.lock").write_text("".join(lines).replace("},\n]", "}\n]"))

    with pytest.raises(LockError, match="its list of steps"):
        project(tmp_path).models()
