"""How many examples a property test tries: all of them in CI, a few on a developer's machine."""

import os

GIVEN = dict(os.environ)
"""The environment that the tests were started with; in a test, variables of ours are gone."""
IN_CI = "MODELMAKE_CI"
"""Set by .ci/run: the real servers are there, and every sweep runs whole."""


def examples(full: int) -> int:
    """Return the number of Hypothesis examples for a slow property: `full` in CI, else a third."""
    return full if GIVEN.get(IN_CI) else full // 3
