"""Every fenced block of docs/ is run, loaded or compared by a test, and this says by which."""

import ast
import re
from collections import Counter

import pytest

from tests.docs.documents import FENCE
from tests.e2e.project import REPOSITORY

DOCS = REPOSITORY / "docs"
PAGES = {
    path.relative_to(DOCS).as_posix(): path.read_text(encoding="utf-8")
    for path in DOCS.rglob("*.md")
}
FOUND = Counter((name, block[0]) for name, text in PAGES.items() for block in FENCE.findall(text))

ADDING = "docs/test_adding_page.py::test_the_contract_passes"
ADDED = "docs/test_adding_page.py::test_the_commands_of_the_page_work"
PYTHON = "e2e/test_python_page.py::test_a_snippet_of_the_page_does_what_it_says"
STEPS = "ci/test_docs_ci.py::test_the_steps_of_the_page_are_those_of_the_workflow"
CI_COMMANDS = "ci/test_docs_ci.py::test_each_command_does_what_it_says"
MIRRORS = "docs/test_mirrors_page.py::test_the_commands_fill_and_use_a_mirror"
MANIFESTS = "docs/test_mirrors_page.py::test_the_manifests_load"
OFFLINE = "docs/test_offline_page.py::test_every_command_of_the_page_is_run_here"
OUTDATED = "e2e/test_docs_outdated.py::test_a_command_of_the_page_runs"
SAID = "e2e/test_docs_outdated.py::test_what_the_page_shows_is_said"
LOCKED = "e2e/test_docs_lock.py::test_the_example_and_the_diff_are_of_real_runs"
START = "test_main.py::test_the_commands_of_the_page_begin_a_project"
SMALLEST = "docs/test_sources_page.py::test_each_source_has_its_smallest_entry"

FLEET = "e2e/test_fleet.py::test_the_page_names_options_and_variables_that_exist"
RELEASE = "ci/test_release.py::test_the_page_names_what_the_workflow_does"

RUN_BY = {
    ("adding-a-source.md", "diff"): [ADDING],
    ("adding-a-source.md", "yaml"): [ADDED],
    ("adding-a-source.md", "sh"): [ADDED, "docs/test_adding_page.py::test_the_linters_pass"],
    ("architecture.md", "layers"): [
        "docs/test_pages.py::test_the_picture_of_the_layers_is_what_the_linter_checks",
    ],
    ("checking.md", "sh"): ["docs/test_checking_page.py::test_its_commands_are_understood"],
    ("ci.md", "sh"): [CI_COMMANDS],
    ("ci.md", "bash"): ["ci/test_docs_ci.py::test_the_recipe_restores_what_it_saved"],
    ("ci.md", "yaml"): [STEPS],
    ("contributing.md", "sh"): ["docs/test_readme.py::test_contributing_runs_what_ci_runs"],
    ("commands.md", "sh"): [
        "docs/test_commands_page.py::test_the_commands_run_one_after_the_other",
    ],
    ("fleet.md", "sh"): [
        "e2e/test_fleet.py::test_the_first_commands_of_the_page_work",
        "e2e/test_fleet.py::test_the_loop_of_the_page_fills_all_machines",
    ],
    ("fleet.md", "text"): [FLEET, FLEET],
    ("fleet.md", "yaml"): [FLEET],
    ("formats.md", "json"): ["docs/test_pages.py::test_the_example_of_a_receipt_is_one_line"],
    ("formats.md", "text"): ["docs/test_pages.py::test_the_example_of_a_journal_is_one"],
    ("lock.md", "json"): [LOCKED],
    ("lock.md", "diff"): [LOCKED],
    ("lock.md", "sh"): [
        "e2e/test_docs_lock.py::test_a_conflict_is_settled_as_the_page_says",
        "e2e/test_docs_lock.py::test_a_job_refuses_what_the_table_says",
    ],
    ("manifest.md", "yaml"): ["docs/test_manifest_page.py::test_a_manifest_of_the_page_loads"],
    ("mirrors.md", "sh"): [MIRRORS, MIRRORS],
    ("mirrors.md", "yaml"): [MANIFESTS, MANIFESTS],
    ("offline.md", "sh"): [OFFLINE, OFFLINE, OFFLINE, OFFLINE],
    ("offline.md", "yaml"): ["docs/test_offline_page.py::test_the_manifest_of_the_page_loads"],
    ("outdated.md", "sh"): [OUTDATED],
    ("outdated.md", "text"): [SAID],
    ("outdated.md", "json"): [
        "e2e/test_docs_outdated.py::test_the_example_is_what_the_command_says",
    ],
    ("pieces.md", "sh"): ["docs/test_pieces_page.py::test_its_commands_work"],
    ("pieces.md", "json"): ["docs/test_pieces_page.py::test_the_example_begins_a_line"],
    ("plan.md", "sh"): ["docs/test_plan_page.py::test_its_commands_work"],
    ("progress.md", "json"): [
        "docs/test_progress_page.py::test_the_examples_have_every_field_of_their_event",
    ],
    ("python.md", "python"): [PYTHON, PYTHON, PYTHON],
    ("releasing.md", "sh"): [RELEASE],
    ("start.md", "sh"): [
        START,
        START,
        "tasks/test_completion.py::test_tab_completes_what_begins_so",
    ],
    ("start.md", "text"): [
        "test_main.py::test_the_line_for_editors_on_the_page_is_the_written_one",
    ],
    ("start.md", "zsh"): ["tasks/test_completion_zsh.py::test_tab_completes_what_begins_so"],
    ("store.md", "sh"): ["docs/test_store_page.py::test_a_command_of_the_page_runs"],
    ("sources/http.md", "yaml"): [SMALLEST],
    ("sources/huggingface.md", "yaml"): [
        SMALLEST,
        *["docs/test_sources_page.py::test_a_manifest_of_the_hub_is_fetched"] * 2,
        "docs/test_sources_page.py::test_the_snippet_loads_from_the_cache_of_its_example",
    ],
    ("sources/huggingface.md", "python"): [
        "docs/test_sources_page.py::test_the_snippet_loads_from_the_cache_of_its_example",
    ],
    ("sources/object-store.md", "yaml"): [
        SMALLEST,
        "docs/test_sources_page.py::test_the_examples_of_object_stores_load",
    ],
    ("sources/object-store.md", "json"): [
        "docs/test_sources_page.py::test_the_examples_of_object_stores_load",
    ],
    ("sources/oci.md", "yaml"): [
        SMALLEST,
        "docs/test_sources_page.py::test_a_manifest_of_registries_is_fetched",
    ],
    ("sources/openai-gpt2.md", "yaml"): [SMALLEST],
    ("sources/together.md", "yaml"): [
        SMALLEST,
        "docs/test_sources_page.py::test_a_manifest_of_together_is_fetched",
    ],
}
"""The test of each block of a page and language, in the order of the page."""


def test_every_block_is_claimed() -> None:
    """A new block has to be run by a test, which is then named above; an old name is removed."""
    assert FOUND
    assert Counter({place: len(tests) for place, tests in RUN_BY.items()}) == FOUND


@pytest.mark.parametrize("place", RUN_BY, ids="-".join)
def test_whoever_claims_a_block_reads_its_page(place: tuple[str, str]) -> None:
    """Each test exists, and its module opens the page and blocks of that language."""
    page, language = place
    for name in RUN_BY[place]:
        file, _, function = name.partition("::")
        text = (REPOSITORY / "tests" / file).read_text(encoding="utf-8")
        defined = {n.name for n in ast.walk(ast.parse(text)) if isinstance(n, ast.FunctionDef)}
        assert function in defined, name
        assert f'page("{page}")' in text, name
        assert re.search(rf'"{language}"|commands\(|edits\(|MODULE_FILE|language', text), name


@pytest.mark.parametrize("name", PAGES)
def test_no_block_hides_behind_an_indent(name: str) -> None:
    """Code is fenced, so that it is seen here: no line after an empty one is indented by four."""
    assert not re.search(r"\n\n {4}", FENCE.sub("", PAGES[name]))


def test_every_fence_is_closed() -> None:
    """The number of fences is even, or the pattern would see other blocks than readers do."""
    for name, text in PAGES.items():
        assert len(re.findall(r"^```", text, re.MULTILINE)) == 2 * len(FENCE.findall(text)), name
