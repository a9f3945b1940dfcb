"""Commands of the user's that start managers and the interchange."""

import logging
import os
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor
from parsl_pool.errors import ConfigurationError, StartError
from parsl_pool.executors.high_throughput.launch_command import PLACEHOLDERS, ManagerCommand

pytestmark = pytest.mark.timeout(90)


def command(template: str | None, **values: Any) -> list[str]:
    """The words of what a template becomes."""
    defaults: dict[str, Any] = dict.fromkeys(PLACEHOLDERS, "x")
    for name in ("command", "python", "ticket", "block", "block_id", "label", "task_url", "result_url"):
        del defaults[name]
    made = ManagerCommand("a label", template, {**defaults, **values})
    return shlex.split(made.text("/run dir/ticket", "7", "tcp://10.0.0.1:5"))


def test_ours_is_the_default_and_names_ticket_and_block() -> None:
    assert command(None) == command("{command}")
    assert command(None)[0] == sys.executable and command(None)[-2:] == ["/run dir/ticket", "7"]


def test_it_stands_where_the_template_says() -> None:
    assert command("time -p {command} --more") == ["time", "-p", *command(None), "--more"]


def test_each_placeholder_has_its_value_and_is_quoted() -> None:
    template = " ".join("{" + name + "}" for name in PLACEHOLDERS if name not in ("command", "debug"))
    words = command(template, logdir="/my logs/$HOME", cores_per_worker=0.5, mem_per_worker=None)
    found = dict(zip([name for name in PLACEHOLDERS if name not in ("command", "debug")], words, strict=True))
    assert found["ticket"] == "/run dir/ticket" and found["block"] == found["block_id"] == "7"
    assert found["task_url"] == found["result_url"] == "tcp://10.0.0.1:5" and found["label"] == "a label"
    assert found["logdir"] == "/my logs/$HOME" and found["cores_per_worker"] == "0.5"
    assert found["mem_per_worker"] == "" and found["python"] == sys.executable


def test_debug_is_an_option_or_nothing() -> None:
    assert command("x {debug} {ticket}", debug="--debug")[:2] == ["x", "--debug"]
    assert command("x {debug} {ticket}", debug="") == ["x", "/run dir/ticket"]


@pytest.mark.parametrize(
    "template, reason",
    [
        ("{comand}", r"there is no placeholder \{comand\}; there are command, python, ticket"),
        ("{command.real}", r"there is no placeholder \{command.real\}"),
        ("{command!r}", r"there is no placeholder \{command!r\}"),
        ("{ticket:>9}", r"there is no placeholder \{ticket:>9\}"),
        ("{} {command}", r"there is no placeholder \{\}"),
        ("{command", "expected '}'"),
        ("run", r"without \{command\} or \{ticket\} no manager finds its interchange"),
        ("{command}\nrm -r x", "it has more than one line"),
    ],
)
def test_a_wrong_template_is_an_error_when_it_is_given(template: str, reason: str) -> None:
    with pytest.raises(ConfigurationError, match=f"launch_cmd must be a template.*{reason}"):
        HighThroughputExecutor(launch_cmd=template)


def test_a_manager_inside_has_no_command() -> None:
    assert not HighThroughputExecutor(launch_cmd="nice {command}").manager_inside
    with pytest.raises(ConfigurationError, match="manager_inside=True can't be: launch_cmd says how managers apart"):
        HighThroughputExecutor(launch_cmd="nice {command}", manager_inside=True)


def of_my_manager() -> str | None:
    return os.environ.get("STARTED_BY")


def test_a_manager_is_started_by_it_and_the_log_has_the_command(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.INFO, logger="parsl_pool")
    by_hand = "env STARTED_BY=me {python} -m parsl_pool.interchange.manager_program {ticket} {block}"
    for template in ("env STARTED_BY=me {command}", by_hand):
        caplog.clear()
        executor = HighThroughputExecutor(max_workers_per_node=1, launch_cmd=template)
        with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
            assert pool.submit(of_my_manager).result(40) == "me"
        messages = [record.getMessage() for record in caplog.records]
        told = [text for text in messages if "the manager's command is env STARTED_BY=me" in text]
        assert len(told) == 1 and "block 0" in told[0]


@pytest.mark.parametrize("words", [["nice"], ["{command}", "{command}"], ["", "{command}"], []])
def test_the_interchanges_command_needs_a_place_for_ours(words: list[str]) -> None:
    with pytest.raises(ConfigurationError, match="interchange_launch_cmd must be the words of a command, of which one"):
        HighThroughputExecutor(interchange_launch_cmd=words)


def test_the_interchange_is_started_by_it(manager_inside: bool, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, logger="parsl_pool")
    executor = HighThroughputExecutor(
        max_workers_per_node=1, manager_inside=manager_inside, interchange_launch_cmd=["nice", "-n", "1", "{command}"]
    )
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool:
        assert pool.submit(abs, -1).result(40) == 1
        process = executor.link._process
        assert process is not None
        own = os.getpriority(os.PRIO_PROCESS, 0)
        assert os.getpriority(os.PRIO_PROCESS, process.pid) == min(own + 1, 19)
    assert "the interchange's command is nice -n 1" in caplog.text


def test_a_command_that_is_not_there_is_a_clear_error() -> None:
    executor = HighThroughputExecutor(interchange_launch_cmd=["no-such-command", "{command}"])
    with ParslPoolExecutor(Config([executor], run_dir=None)) as pool, pytest.raises(StartError, match="no-such"):
        pool.submit(abs, -1)
