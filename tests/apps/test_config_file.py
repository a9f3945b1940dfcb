"""A Config from a TOML file, and from the environment."""

import re
import sys
from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ConfigurationError
from parsl_pool.providers import LocalProvider

if sys.version_info < (3, 11):
    pytest.importorskip("tomli", reason="needs Python 3.11, or tomli")

SITE = """
retries = 2
exit_mode = "wait"

[[executors]]
type = "HighThroughputExecutor"
label = "local"
max_workers_per_node = 1

[executors.provider]
type = "LocalProvider"
worker_init = "export FROM_SITE=yes"

[executors.provider.launcher]
type = "SingleNodeLauncher"

[[executors]]
type = "ThreadPoolExecutor"
label = "here"
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    path = tmp_path / "site.toml"
    path.write_text(SITE)
    return path


def environment_variable(name: str) -> str:
    import os

    return os.environ[name]


@pytest.mark.timeout(60)
def test_a_pool_from_a_file(site: Path) -> None:
    config = Config.from_toml(site)
    assert (config.retries, config.exit_mode) == (2, "wait")
    assert config.is_same_as(
        Config(
            [
                HighThroughputExecutor(
                    "local", max_workers_per_node=1, provider=LocalProvider(worker_init="export FROM_SITE=yes")
                ),
                config.executors[1],
            ],
            retries=2,
            exit_mode="wait",
        )
    )
    with ParslPoolExecutor(config) as pool:
        assert pool.options(executors="local").submit(environment_variable, "FROM_SITE").result(30) == "yes"


@pytest.mark.parametrize(
    ("before", "after", "text"),
    [
        ("retries = 2", "checkpoint_period = 2026-11-22", "checkpoint_period must be"),
        ("retries = 2", "retry = 2", "there is no option 'retry'; there are: executors, app_cache"),
        ("retries = 2", "retries = -2", "retries must be at least 0, got -2"),
        ("retries = 2", "retries = ", "is no TOML"),
        ('type = "ThreadPoolExecutor"', 'type = "Threads"', "executor 2: type must be one of HighThroughputExecutor"),
        ('type = "ThreadPoolExecutor"', "", "executor 2: type must be one of"),
        ('label = "here"', 'label = "local"', "two have the label 'local'"),
        ('label = "here"', "threads = 5", "executor 2: a ThreadPoolExecutor has no option 'threads'; there are: label"),
        ('worker_init = "export', 'worker_inits = "export', "executor 1, provider: a LocalProvider has no option"),
        ("max_workers_per_node = 1", 'max_workers_per_node = "1"', "executor 1: max_workers_per_node must be"),
        ("[[executors]]", "[executors]", "site.toml"),
    ],
)
def test_a_mistake_is_told_with_its_place(site: Path, before: str, after: str, text: str) -> None:
    site.write_text(SITE.replace(before, after))
    with pytest.raises(ConfigurationError, match=re.escape(text)) as raised:
        Config.from_toml(site)
    assert "site.toml" in str(raised.value)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.toml can't be read: No such file"):
        Config.from_toml(tmp_path / "none.toml")


def test_from_the_environment(site: Path) -> None:
    variables = {"PARSL_POOL_CONFIG": str(site), "PARSL_POOL_RETRIES": "5", "PARSL_POOL_RUN_DIR": "some/where"}
    config = Config.from_environment(variables)
    assert (config.retries, config.run_dir, config.exit_mode) == (5, "some/where", "wait")
    assert Config.from_environment({"PARSL_POOL_APP_CACHE": "false"}).app_cache is False
    with pytest.raises(ConfigurationError, match="PARSL_POOL_RETRIES: retries must be a whole number"):
        Config.from_environment({"PARSL_POOL_RETRIES": "many"})
    assert [executor.label for executor in Config.from_environment({}).executors] == ["threads"]


def test_values_that_toml_would_take_for_something_else(site: Path) -> None:
    """A time of day, a date, a number; and what Python calls true."""
    variables = {"CHECKPOINT_PERIOD": "01:30:00", "RUN_DIR": "2026-11-22", "PROJECT_NAME": "7", "APP_CACHE": "True"}
    config = Config.from_environment({f"PARSL_POOL_{name}": value for name, value in variables.items()})
    assert (config.checkpoint_period, config.app_cache) == (5400.0, True)
    assert (config.run_dir, config.project_name) == ("2026-11-22", "7")
    site.write_text('checkpoint_period = 00:00:05\n[[executors]]\ntype = "HighThroughputExecutor"\n'
                    'provider = {type = "SlurmProvider", walltime = 02:00:00}')  # fmt: skip
    config = Config.from_toml(site)
    assert config.checkpoint_period == 5.0
    assert config.executors[0].recipe()["provider"].recipe()["walltime"] == "02:00:00"
    config.executors[0].shutdown()
