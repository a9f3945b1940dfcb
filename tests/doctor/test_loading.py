"""How a Config is named on the command line."""

import sys
from pathlib import Path

import pytest

from parsl_pool import Config
from parsl_pool.doctor.loading import load_config
from parsl_pool.errors import ConfigurationError

MODULE = """
from beside import NAME
from parsl_pool import Config, ThreadPoolExecutor

assert __name__ != "__main__"
here = Config([ThreadPoolExecutor(NAME)])


def config():
    return here


def wrong():
    return Config([ThreadPoolExecutor(max_threads=0)])


def broken():
    return 1 / 0


nothing = 17
"""


@pytest.fixture(autouse=True)
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "site_for_test.py").write_text(MODULE)
    (tmp_path / "beside.py").write_text("NAME = 'from_beside'")
    (tmp_path / "site.toml").write_text('[[executors]]\ntype = "ThreadPoolExecutor"\nlabel = "toml"\n')
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    for name in ("beside", "site_for_test"):
        monkeypatch.delitem(sys.modules, name, raising=False)


@pytest.mark.parametrize(
    "what, label",
    [
        ("site_for_test.py", "from_beside"),
        ("./site_for_test.py:here", "from_beside"),
        ("site_for_test", "from_beside"),
        ("site_for_test:config", "from_beside"),
        ("site.toml", "toml"),
        ("parsl_pool.configs.local_threads", "threads"),
        ("parsl_pool.configs.local_threads:config", "threads"),
    ],
)
def test_ways_to_name_one(what: str, label: str) -> None:
    config = load_config(what)
    assert isinstance(config, Config) and config.executors[0].label == label


@pytest.mark.parametrize(
    "what, text",
    [
        ("missing.py", "missing.py can't be read: FileNotFoundError"),
        ("missing.toml", "missing.toml can't be read"),
        ("no_such_module_here", "can't be read: ModuleNotFoundError"),
        ("site_for_test.py:absent", "has no 'absent'"),
        ("site_for_test.py:wrong", r"site_for_test.py, wrong\(\): max_threads must be"),
        ("site_for_test.py:broken", r"broken\(\) fails: ZeroDivisionError"),
        ("site_for_test:nothing", "nothing must be a Config, or a function that gives one, got 17"),
    ],
)
def test_wrong_ones(what: str, text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        load_config(what)
