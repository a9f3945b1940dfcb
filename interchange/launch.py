"""Starting the helper processes: fresh interpreters, and never a fork of the user's process.

The commands name modules of this room, found through this installation's root: not through PATH, and not through
the current directory, where a user's `queue.py` would be taken for the standard library's.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from collections.abc import Callable
from time import monotonic, sleep

from parsl_pool.interchange import stream
from parsl_pool.interchange.named_tuple import NamedTuple

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(sys.modules["parsl_pool"].__file__ or "")))

_PAUSE_S = 0.001
_BOOT = (
    "import sys; sys.path[0:1] = []; sys.path.append({root!r}); "
    "from parsl_pool.interchange.{module} import main; main()"
)


class Helper(NamedTuple):
    """A fork server's process, and our ends of the socket to it and of its stderr."""

    pid: int
    sock: socket.socket
    stderr: int


def helper_command(module: str, arguments: list[object]) -> list[str]:
    """The command that runs `main()` of a module of this room."""
    # `-c` puts the current directory first, and the command takes it off again before importing anything.
    return [sys.executable, "-c", _BOOT.format(root=_ROOT, module=module), *map(str, arguments)]


def spawn_helper(module: str, arguments: list[object], descriptors: list[int], stderr: int = 2) -> int:
    """Start one; it inherits the descriptors under the same numbers, and stderr. Returns its process id.

    Raises:
        OSError: the interpreter can't be started.
    """
    for fd in descriptors:
        os.set_inheritable(fd, True)
    try:
        return os.posix_spawn(
            sys.executable, helper_command(module, arguments), os.environ,
            file_actions=[] if stderr == 2 else [(os.POSIX_SPAWN_DUP2, stderr, 2)],
        )  # fmt: skip
    finally:
        for fd in descriptors:
            os.set_inheritable(fd, False)


def start_fork_server() -> Helper:
    """A fork server in a fresh interpreter.

    Raises:
        OSError: the interpreter can't be started.
    """
    ours, theirs = stream.pair()
    read, write = os.pipe()
    try:
        pid = spawn_helper("fork_server", [theirs.fileno(), os.getpid()], [theirs.fileno()], write)
    except OSError:
        ours.close()
        os.close(read)
        raise
    finally:
        theirs.close()
        os.close(write)
    return Helper(pid, ours, read)


def fork_off(client: int, serve: Callable[[socket.socket, int], None]) -> Helper:
    """A fork of this process that does nothing but `serve(socket to us, our process id)`.

    This process must be as a fresh one: one thread, and nothing open but the descriptor of its client.

    Raises:
        OSError: there can be no more processes.
    """
    ours, theirs = stream.pair()
    read, write = os.pipe()
    parent = os.getpid()
    pid = os.fork()
    if pid:
        theirs.close()
        os.close(write)
        return Helper(pid, ours, read)
    try:
        ours.close()
        os.dup2(write, 2)
        for fd in (client, read, write):
            os.close(fd)
        serve(theirs, parent)
    except BaseException:  # printed, and we see that it has ended
        sys.excepthook(*sys.exc_info())
    finally:
        os._exit(1)


def wait(pid: int, patience_s: float, meanwhile: Callable[[], object] = lambda: None) -> int:
    """Wait for a child that ends by itself, or is killed after that time. meanwhile: called again and again.

    Returns its status as from `Popen.returncode`, 0 if somebody else has waited for it.
    """
    end = monotonic() + patience_s
    try:
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            if monotonic() > end:
                kill(pid)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            meanwhile()
            sleep(_PAUSE_S)
    except ChildProcessError:
        return 0


def kill(pid: int) -> None:
    """End a child at once."""
    try:
        os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        return


def signal_name(number: int) -> str:
    """"SIGSEGV" for 11."""
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def describe_status(status: int) -> str:
    """"exit code 3", or "SIGSEGV"."""
    return signal_name(-status) if status < 0 else f"exit code {status}"
