"""Launchers: from the command that starts one manager to shell text that starts it on every node of a block.

A command is shell text, quoted by whoever built it, and goes into the script as it is: it is read by a shell
exactly once. Other launchers (srun, mpiexec, aprun, ...) are classes like these.
"""

from __future__ import annotations

import inspect
import shlex
from abc import ABC, abstractmethod
from collections.abc import Callable

from parsl_pool import checks
from parsl_pool.errors import BadLauncher, shown

LauncherLike = Callable[[str, int, int], str]
"""What a provider takes: any callable with these arguments, a `Launcher` or not."""


class Launcher(ABC):
    """Base of the launchers. `debug` makes the text tell on stdout what it starts and how that ended.

    Attributes:
        program: what it has run in the job, where that is no part of every system; "" if nothing.
        all_nodes: it starts the command on all nodes of a block, and not on the first one alone.
    """

    program: str = ""
    all_nodes: bool = False

    def __init__(self, debug: bool = True) -> None:
        self.debug = checks.flag("debug", debug)

    @abstractmethod
    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        """Shell text that runs `command`, `tasks_per_node` times on each of `nodes_per_block` nodes.

        The text ends when the last of them has, with an exit code for the block.
        """

    def __repr__(self) -> str:
        options = ", ".join(f"{name}={value!r}" for name, value in vars(self).items())
        return f"{type(self).__name__}({options})"


class SimpleLauncher(Launcher):
    """The command as it is: once, on the block's first node."""

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        return command


class WrappedLauncher(Launcher):
    """The command with other text before it, such as ``time`` or ``docker run image``.

    The first word of the command must be one that `prepend` can run: a program.

    Args:
        prepend: shell text: whoever writes it quotes what needs it.
        launcher: starts the wrapped command on the nodes; None: it runs once, as it is.
    """

    def __init__(self, prepend: str, debug: bool = True, launcher: LauncherLike | None = None) -> None:
        super().__init__(debug)
        self.prepend = checks.any_text("prepend", prepend)
        self.launcher = None if launcher is None else check_launcher(launcher)

    @property
    def program(self) -> str:  # type: ignore[override]  # an attribute there
        try:
            words = shlex.split(self.prepend)
        except ValueError:  # half of a quoted text: the shell will say so
            return ""
        return next((word for word in words if "=" not in word), "")

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        wrapped = f"{self.prepend} {command}"
        if self.launcher is None:
            return wrapped
        return launched(self.launcher, wrapped, tasks_per_node, nodes_per_block)


_CORES = "CORES=$(nproc 2>/dev/null || getconf _NPROCESSORS_ONLN)\nexport CORES\n"  # macOS has no nproc

_COPY = """\
parsl_pool_copy() {{
{command}
}}
"""

# No `&` for a single copy: a shell lets what it puts in the background ignore SIGINT, for good.
_RUN_ONE = "parsl_pool_copy\n"

# On SIGTERM a shell lets what runs in its foreground finish first, but its `wait` returns at once: hence the
# second `wait`, and a trap in each copy, so that nobody is gone before what it has started.
_RUN_MANY = """\
trap 'wait; exit 143' TERM
parsl_pool_pids=
parsl_pool_count=0
while [ "$parsl_pool_count" -lt {copies} ]; do
    {{ trap 'exit 143' TERM; parsl_pool_copy; }} &
    parsl_pool_pids="$parsl_pool_pids $!"
    parsl_pool_count=$((parsl_pool_count + 1))
done
parsl_pool_failed=0
parsl_pool_code=0
for parsl_pool_pid in $parsl_pool_pids; do
    wait "$parsl_pool_pid" || {{
        parsl_pool_code=$?
        parsl_pool_failed=$((parsl_pool_failed + 1))
{report}    }}
done
[ "$parsl_pool_failed" -ge {failures_needed} ] || parsl_pool_code=0
trap 'exit 143' TERM
(exit "$parsl_pool_code")
"""

_REPORT = """\
        echo "process $parsl_pool_pid, one of {copies} copies, ended with exit code $parsl_pool_code"
"""


class SingleNodeLauncher(Launcher):
    """The command `tasks_per_node` times side by side on one node, with the node's cores in ``CORES``.

    The block fails if all copies do or, with `fail_on_any`, if one does; its exit code is the last failure's.
    """

    def __init__(self, debug: bool = True, fail_on_any: bool = False) -> None:
        super().__init__(debug)
        self.fail_on_any = checks.flag("fail_on_any", fail_on_any)

    def __call__(self, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
        say = f'echo "copies: {tasks_per_node}, CORES: $CORES"\n' if self.debug else ""
        return _CORES + say + _COPY.format(command=command) + self._run(tasks_per_node)

    def _run(self, copies: int) -> str:
        if copies == 1:
            return _RUN_ONE
        return _RUN_MANY.format(
            copies=copies,
            failures_needed=1 if self.fail_on_any else copies,
            report=_REPORT.format(copies=copies) if self.debug else "",
        )


def check_launcher(launcher: object) -> LauncherLike:
    """The same object, if a provider can use it.

    Raises:
        BadLauncher: it is no callable, or not one for (command, tasks_per_node, nodes_per_block).
    """
    if not callable(launcher):
        raise BadLauncher(shown(launcher), "it cannot be called; give an object such as SingleNodeLauncher()")
    if inspect.isclass(launcher):
        raise BadLauncher(shown(launcher), f"it is a class; give an object: {launcher.__name__}(...)")
    try:
        inspect.signature(launcher).bind("command", 1, 1)
    except TypeError as error:
        raise BadLauncher(
            shown(launcher), f"it must take (command, tasks_per_node, nodes_per_block): {error}"
        ) from None
    except ValueError:
        pass  # a callable written in C does not tell its signature
    return launcher


def launched(launcher: LauncherLike, command: str, tasks_per_node: int, nodes_per_block: int) -> str:
    """What `launcher` makes of `command`; BadLauncher if that is no text."""
    text = launcher(command, tasks_per_node, nodes_per_block)
    if not isinstance(text, str):
        raise BadLauncher(shown(launcher), f"for the command {shlex.quote(command)} it gave no text, but {shown(text)}")
    return text
