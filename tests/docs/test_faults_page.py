"""The table of faults of files in docs/testing.md is that of the tests."""

from __future__ import annotations

import re
from pathlib import Path

from tests.staging import test_faults

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "testing.md").read_text().split("## When files can't be brought", 1)[1].split("\n## ", 1)[0]


def test_all_tests_that_the_table_names_are_there() -> None:
    named = set(re.findall(r"`((?:transfers/)?test_\w+)`", PAGE))
    files = {name for name in named if (ROOT / "tests" / "staging" / f"{name}.py").exists()}
    assert named - files <= set(vars(test_faults)), "neither a file nor a test of test_faults"
    assert len(files) >= 10


def test_all_faults_of_the_tests_are_in_the_table() -> None:
    for name in [*test_faults.COMING, *test_faults.GOING]:
        assert f'"{name}"' in PAGE
    assert all(f"`{name}`" in PAGE for name in vars(test_faults) if re.fullmatch("test_a_(file|name|working)_.*", name)
               if "that_can_t_come" not in name and "that_can_t_go" not in name)  # fmt: skip
