"""What the guide shows, works."""

import re
from pathlib import Path
from typing import Any

import pytest

from parsl_pool.providers import ExecutionProvider, JobState

GUIDE = Path(__file__).parents[2] / "docs" / "providers.md"


def test_the_guides_examples_run_one_after_the_other(capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for example in re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL):
        exec(example.replace("source ~/venv/bin/activate", ""), names)
    assert "FAILED exit code 3" in capsys.readouterr().out
    assert isinstance(names["NoMachines"](), ExecutionProvider)


def test_the_guide_explains_every_state() -> None:
    assert set(re.findall(r"^\| `([A-Z]+)` \|", GUIDE.read_text(), re.MULTILINE)) == {
        s.name for s in JobState
    }
