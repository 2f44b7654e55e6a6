"""The task of a file is to doit what one that doit made would be."""

import pickle

import pytest
from doit.task import Task

from downloader.artifact import Artifact
from downloader.tasks._fetch import FileTask, OurTask

MADE_BY_DOIT = vars(OurTask("fetch:m/a.bin", None))


def file_task(why: str | None = None) -> FileTask:
    artifact = Artifact(path="a.bin", size=1, sha256="0" * 64, url="https://example.org/a.bin")
    return FileTask("fetch:m", artifact, "models/m/a.bin", why, ["_lock"])


@pytest.mark.parametrize("name", MADE_BY_DOIT)
def test_it_has_what_doit_gives_each_task(name: str) -> None:
    """Also what doit's next version may add."""
    assert hasattr(file_task(), name)


@pytest.mark.parametrize("name", MADE_BY_DOIT)
def test_it_shares_nothing_that_can_change(name: str) -> None:
    """Doit and users change lists of a task, and that of one file is not another's."""
    first, second = getattr(file_task(), name), getattr(file_task(), name)
    assert first is not second or not isinstance(first, (list, set, dict))


def test_what_was_changed_stays() -> None:
    task = file_task()
    task.values.update(verb="Downloaded")
    task.teardown.append("x")
    assert (task.values, task.teardown) == ({"verb": "Downloaded"}, ["x"])


def test_what_no_task_has_it_has_not() -> None:
    """Doit asks tasks for attributes of other kinds (`hasattr`)."""
    with pytest.raises(AttributeError, match="no_such"):
        _ = file_task().no_such


def test_it_can_go_to_another_process() -> None:
    """As `doit -P process` sends it there, and takes back what came of it."""
    task = file_task("missing: not here")
    sent = pickle.loads(pickle.dumps(task))
    assert (sent.name, sent.targets, sent.place) == (task.name, task.targets, ("m", "a.bin"))
    sent.values["verb"] = "Downloaded"
    task.update_from_pickle(sent.pickle_safe_dict())
    assert task.values == {"verb": "Downloaded"}
    assert set(Task("x", None).pickle_safe_dict()) <= {*sent.pickle_safe_dict(), "doc"}
