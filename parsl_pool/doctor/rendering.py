"""What an executor would hand to its provider: a manager's command and a block's script. Nothing is started."""

from __future__ import annotations

import os
import re
import subprocess
from typing import Any, NamedTuple

from parsl_pool.doctor.finding import Finding, good, problem, warning
from parsl_pool.errors import ParslPoolError
from parsl_pool.executors.high_throughput import launch_command
from parsl_pool.providers.base import Preview

_PLACEHOLDER = re.compile(r"\bYOUR_\w+|<(?:YOUR|SPECIFY|MY)_\w+>")
_BASH = "/bin/bash"
_CHECK_S = 10.0


class Rendered(NamedTuple):
    """What would be run. `preview` is None if the provider does not show it."""

    command: str
    preview: Preview | None


def render(executor: Any, provider: Any) -> tuple[Rendered, list[Finding]]:
    """The command, the script, and what is wrong with them."""
    command = manager_command(executor, provider)
    try:
        preview = provider.preview(command, 1, f"parsl_pool.{executor.label}.0")
    except ParslPoolError as trouble:
        return Rendered(command, None), [
            problem("script", f"the script can't be made: {trouble}", "put right the provider's launcher= or options")
        ]
    return Rendered(command, preview), _about(preview)


def manager_command(executor: Any, provider: Any) -> str:
    """The command that a block runs; where the run's directory will be stands RUN."""
    command = launch_command.of(executor, executor._commands.manager, executor._node, False, "/RUN")
    return command.text("/RUN/ticket", "0", "tcp://ADDRESS:PORT", provider.sees_our_files)


def _about(preview: Preview | None) -> list[Finding]:
    if preview is None:
        return [warning("script", "this provider does not show its script", "give it a method preview()")]
    found = []
    wanted = sorted(set(_PLACEHOLDER.findall(preview.script + preview.description + preview.submit)))
    if wanted:
        found.append(
            problem("placeholder", f"the script still has {', '.join(wanted)}", "put in what is yours, in the Config")
        )
    wrong = _shell_says(preview.script)
    if wrong:
        found.append(
            problem(
                "script-syntax", f"bash can't read the script: {wrong}",
                "look at worker_init and the launcher's options: a quote or bracket that is not closed?",
            )
        )  # fmt: skip
    return found or [good("script", f"the script has {len(preview.script.splitlines())} lines, and bash can read it")]


def _shell_says(script: str) -> str:
    """What bash has against its syntax; "" if nothing, or if there is no bash here."""
    if not os.access(_BASH, os.X_OK):
        return ""
    done = subprocess.run(
        [_BASH, "-n"], input=script.encode("utf-8", "surrogateescape"), capture_output=True, timeout=_CHECK_S
    )
    return done.stderr.decode(errors="replace").strip() if done.returncode else ""
