"""The reference has every public name. That it can be made is checked by `sphinx-build -W`."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import parsl_pool

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_public_name_is_in_the_reference() -> None:
    told = set(re.findall(r"(?:autoclass|autofunction|py:data):: parsl_pool\.(\w+)$", PAGE.read_text(), re.MULTILINE))
    assert told == set(parsl_pool.__all__) - {"__version__", "task"}
    assert "parsl_pool.task" in PAGE.read_text()


INTERNAL = {
    "ParslPoolExecutor": {
        "check_options", "default_options", "automatic", "log_name", "new_task_id", "submit_call", "submit_chunk",
        "submit_with",
    },
    "AppFuture": {"disown", "finish", "set_exception", "set_result"},
}  # fmt: skip
"""For ourselves, and for executors."""


@pytest.mark.parametrize("cls", [parsl_pool.ParslPoolExecutor, parsl_pool.AppFuture])
def test_every_public_method_is_in_the_reference(cls: type) -> None:
    (members,) = re.findall(rf":: parsl_pool.{cls.__name__}\n   :members: ((?:.|\n)*?)\n\n", PAGE.read_text())
    told = {name.strip() for name in members.split(",")}
    ours = [base for base in cls.__mro__ if base.__module__.startswith("parsl_pool")]
    names = {name for base in ours for name in vars(base) if not name.startswith("_")}
    assert names - INTERNAL[cls.__name__] <= told, names - INTERNAL[cls.__name__] - told
    for name in told:
        assert getattr(cls, name).__doc__, name


def test_modules_are_there_when_the_package_is_imported() -> None:
    """A fresh interpreter has none of them."""
    names = [path.stem for path in (PAGE.parents[1] / "parsl_pool").iterdir() if path.stem in MODULES]
    assert set(names) == MODULES
    for name in names:
        code = f"import parsl_pool; assert {name!r} in dir(parsl_pool); print(parsl_pool.{name}.__name__)"
        done = subprocess.run([sys.executable, "-c", code], cwd=PAGE.parents[1], capture_output=True, text=True)
        assert done.stdout == f"parsl_pool.{name}\n", done.stderr


MODULES = {"addresses", "config", "configs", "errors", "executors", "providers", "task"}
"""Those whose names users write."""


def test_every_public_name_says_what_it_is() -> None:
    for name in set(parsl_pool.__all__) - {"__version__", "AUTO_LOGNAME"}:
        thing = getattr(parsl_pool, name)
        assert thing.__doc__, name
