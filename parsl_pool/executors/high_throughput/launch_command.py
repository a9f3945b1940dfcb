"""The commands that start a manager and an interchange, where the user wants other ones than ours.

    launch_cmd              a line of shell, a template:  "singularity exec node.sif {command}"
    interchange_launch_cmd  a list of words:              ["numactl", "--cpunodebind=0", "{command}"]
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from parsl_pool import checks
from parsl_pool.interchange import launch, wire
from parsl_pool.interchange.wanted import Wanted
from parsl_pool.loggers import careful_logger

log = careful_logger("parsl_pool.blocks")

COMMAND = "{command}"
DEFAULT = COMMAND

OWN = ("command", "python", "ticket", "block", "block_id", "label", "mem_per_worker", "max_workers_per_node",
       "cpu_affinity", "prefetch_capacity", "poll_period")  # fmt: skip
OF_PARSL = ("debug", "task_url", "result_url", "cores_per_worker", "nodes_per_block", "heartbeat_period",
            "heartbeat_threshold", "logdir")  # fmt: skip
PLACEHOLDERS = (*OWN, *OF_PARSL)


def _template(value: Any) -> str:
    text = checks.any_text._accept(value)
    import string  # rarely needed

    names = set()
    for _, name, form, conversion in string.Formatter().parse(text):  # ValueError: a brace that stands alone
        if name is None:
            continue
        if name not in PLACEHOLDERS or form or conversion:
            shown = "{" + name + (f"!{conversion}" if conversion else "") + (f":{form}" if form else "") + "}"
            raise ValueError(f"there is no placeholder {shown}; there are {', '.join(PLACEHOLDERS)}")
        names.add(name)
    if "\n" in text:
        raise ValueError("it has more than one line")
    if not names & {"command", "ticket"}:
        raise ValueError(f"without {COMMAND} or {{ticket}} no manager finds its interchange")
    return text


def _words(value: Any) -> list[str]:
    words = checks.list_of(checks.any_text, "a list of words")._accept(value)
    if words.count(COMMAND) != 1 or not words[0]:
        raise ValueError
    return words


launch_cmd = checks.Rule("a text", f"a template with {COMMAND}", _template)
interchange_launch_cmd = checks.Rule(
    "a list of words", f"the words of a command, of which one is {COMMAND!r}", _words
)


class Commands(NamedTuple):
    """What the user has said of commands."""

    manager: str | None  # a template; None: ours
    interchange: list[str] | None


def commands(manager: str | None, interchange: Iterable[str] | None) -> Commands:
    """The options, checked. Raises ConfigurationError."""
    return Commands(
        checks.optional(launch_cmd)("launch_cmd", manager),
        checks.optional(interchange_launch_cmd)("interchange_launch_cmd", interchange),
    )


class ManagerCommand:
    """Makes the shell command of each block's manager. values: for placeholders that are the same for all."""

    def __init__(self, label: str, template: str | None, values: Mapping[str, object]) -> None:
        self._label, self._template, self._values = label, template or DEFAULT, dict(values)
        self._told: set[str] = set()  # blocks whose command is on the log; belongs to the thread that keeps blocks

    def text(self, ticket: str, block: str, address: str, has_our_files: bool = True) -> str:
        """The command. address: where the interchange is. has_our_files: this Python is there, too."""
        command = launch.helper_command if has_our_files else launch.command_elsewhere
        words = command("manager_program", [ticket, block])
        ours = shlex.join(words)
        if self._template == DEFAULT:
            text = ours
        else:
            quoted = {name: value if name == "debug" else _quoted(value) for name, value in self._values.items()}
            text = self._template.format(
                **quoted, command=ours, python=_quoted(words[0]), ticket=_quoted(ticket),
                block=_quoted(block), block_id=_quoted(block), label=_quoted(self._label),
                task_url=_quoted(address), result_url=_quoted(address),
            )  # fmt: skip
        if block not in self._told and block != wire.BY_HAND:  # whose command is told where it is asked for
            self._told.add(block)
            log.info("pool %s: block %s: the manager's command is %s", self._label, block, text)
        return text


def of(executor: Any, template: str | None, node: Wanted, debug: bool, logs: str) -> ManagerCommand:
    """The command of an executor's managers. logs: where these and workers are to write theirs."""
    return ManagerCommand(executor.label, template, {
        "debug": "--debug" * debug,
        "cores_per_worker": node.cores_per_worker / 1e9,
        "mem_per_worker": node.memory_per_worker / 2**30 or "None",
        "max_workers_per_node": node.workers or "inf",
        "cpu_affinity": node.affinity,
        "prefetch_capacity": max(0, node.prefetch),
        "nodes_per_block": executor.provider.nodes_per_block,
        "heartbeat_period": executor.heartbeat_period,
        "heartbeat_threshold": executor.heartbeat_threshold,
        "poll_period": executor.poll_period,
        "logdir": logs,
    })  # fmt: skip


def _quoted(value: object) -> str:
    return shlex.quote("" if value is None else str(value))
