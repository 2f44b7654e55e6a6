"""Which files a run is about, read off doit's tasks."""

from types import SimpleNamespace

from downloader.tasks._reporter import SelectedTask, is_ours, stale_files


def task(
    name: str,
    deps: tuple[str, ...] = (),
    setup: tuple[str, ...] = (),
    *,
    is_up_to_date: bool = False,
) -> SelectedTask:
    return SimpleNamespace(
        name=name, task_dep=deps, setup_tasks=setup, uptodate=[(is_up_to_date, None, None)]
    )


TASKS = {
    each.name: each
    for each in (
        task("fetch", setup=("lock", "fetch:a")),
        task("fetch:a", setup=("lock", "fetch:a/x", "fetch:a/d/y", "fetch:a/there")),
        task("fetch:b", setup=("fetch:b/z",)),
        task("fetch:a/x"),
        task("fetch:a/d/y"),
        task("fetch:a/there", is_up_to_date=True),
        task("fetch:b/z"),
        task("lock"),
        task("train", deps=("fetch:b/z", "train")),
        task("use", setup=("fetch:b",)),
    )
}


def chosen(*selected: str) -> set[tuple[str, str]]:
    return set(stale_files(TASKS, selected))


def test_a_group_is_its_files() -> None:
    """Bare `doit` is what `fetch` needs: no optional model, and nothing that is up to date."""
    assert chosen("fetch") == {("a", "x"), ("a", "d/y")}
    assert chosen("fetch:b", "fetch:a/x") == {("b", "z"), ("a", "x")}


def test_what_a_users_task_depends_on_is_meant() -> None:
    """A file it depends on is fetched before it."""
    assert chosen("train") == {("b", "z")}


def test_setup_of_a_users_task_is_left_out() -> None:
    """It runs only where the user's task has to, which nobody knows yet."""
    assert chosen("use") == set()


def test_unknown_names_are_nobodys() -> None:
    """Doit itself complains of them."""
    assert chosen("none", "lock") == set()
    assert is_ours("lock")
    assert not is_ours("train")
