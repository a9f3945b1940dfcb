"""The page on configuration has every option, with its default: its tables are held against the signatures."""

import ast
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, ThreadPoolExecutor
from parsl_pool.options import RULES

GUIDE = Path(__file__).parents[2] / "docs" / "guide"
_ROW = re.compile(r"\| `(\w+)` \|(?: `([^`]*)` \|)?(.*)\|")

TABLES: dict[str, Callable[..., Any]] = {
    "Options of a Config": Config,
    "HighThroughputExecutor": HighThroughputExecutor,
    "ThreadPoolExecutor": ThreadPoolExecutor,
    "ParslPoolExecutor": ParslPoolExecutor,
}


def rows(page: str, heading: str) -> list[tuple[str, str | None, str]]:
    """Option, default and meaning, below a heading."""
    text = (GUIDE / page).read_text()
    (section,) = re.findall(rf"^## {heading}\n(.*?)(?=^## |\Z)", text, re.DOTALL | re.MULTILINE)
    found = [_ROW.fullmatch(line) for line in section.splitlines()]
    return [(match[1], match[2], match[3].strip()) for match in found if match is not None]


@pytest.mark.parametrize("heading", TABLES)
def test_every_option_is_in_the_table_with_its_default(heading: str) -> None:
    parameters = inspect.signature(TABLES[heading]).parameters.values()
    told = rows("configuration.md", heading)
    assert [name for name, _, _ in told] == [each.name for each in parameters], "docs/guide/configuration.md"
    assert all(meaning for _, _, meaning in told)
    wrong = [
        f"{each.name}: the page says {default}, it is {each.default!r}"
        for each, (_, default, _) in zip(parameters, told)
        if default is None or ast.literal_eval(default) != each.default
    ]
    assert not wrong, wrong


def test_every_option_of_a_call_is_in_the_guide() -> None:
    told = [name for name, _, _ in rows("submitting.md", "Options of single calls")]
    assert told == list(RULES), "docs/guide/submitting.md"
