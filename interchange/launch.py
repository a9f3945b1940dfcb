"""Starting the helper processes: fresh interpreters, and never a fork of the user's process.

The commands name modules of this room, found through this installation's root: not through PATH, and not through
the current directory, where a user's `queue.py` would be taken for the standard library's.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
import sys
from collections.abc import Callable, Mapping
from time import monotonic, sleep

from parsl_pool.interchange import standard_streams, stream
from parsl_pool.interchange.named_tuple import NamedTuple

_ROOT = os.path.dirname(os.path.dirname(os.path.abspath(sys.modules["parsl_pool"].__file__ or "")))

_FIRST_PAUSE_S, _PAUSE_S = 0.0001, 0.001
_VERSION = sys.version_info[:2]
_EXECUTABLE = sys.executable
MISMATCH = "parsl_pool: version mismatch"
_BOOT = (
    "import sys; sys.version_info[:2] == {version} or "
    "sys.exit('{mismatch}: this is Python %d.%d, the program runs {version}: "
    "use one environment for both' % sys.version_info[:2]); "
    "sys.path[:] = filter(None, sys.path); sys.path += {roots!r}; "
    "from parsl_pool.interchange.{module} import main; main()"
)

# Options of an interpreter, and the variable of the environment, which helpers inherit anyway, that says the same.
_OPTIONS = {
    "ignore_environment": ("-E", ""),
    "safe_path": ("-P", "PYTHONSAFEPATH"),
    "no_user_site": ("-s", "PYTHONNOUSERSITE"),
    "no_site": ("-S", ""),
    "dont_write_bytecode": ("-B", "PYTHONDONTWRITEBYTECODE"),
    "optimize": ("-O", "PYTHONOPTIMIZE"),
    "bytes_warning": ("-b", ""),
}
_X_OPTIONS = {"dev": "PYTHONDEVMODE", "utf8": "PYTHONUTF8", "faulthandler": "PYTHONFAULTHANDLER"}


class Helper(NamedTuple):
    """A fork server's process, and our ends of the socket to it and of its stderr."""

    pid: int
    sock: socket.socket
    stderr: int


def interpreter() -> str:
    """The program of this Python. One that is embedded in another program may have to be told by multiprocessing.

    Raises:
        FileNotFoundError: nobody knows it.
    """
    spawn = sys.modules.get("multiprocessing.spawn")
    named = spawn.get_executable() if spawn is not None else None
    has_changed = sys.executable != _EXECUTABLE  # a program that says it anew means it
    chosen = (has_changed and sys.executable) or named or sys.executable
    if chosen:
        return os.fsdecode(chosen)
    name = "bin/python{}.{}".format(*_VERSION)
    for prefix in (sys.exec_prefix, sys.base_exec_prefix):
        path = os.path.join(prefix, name)
        if os.access(path, os.X_OK):
            return path
    raise FileNotFoundError(
        errno.ENOENT,
        f"this Python does not know its own program (sys.executable is {sys.executable!r}), as one that is embedded "
        "in another program; name it by multiprocessing.set_executable()",
    )


def helper_command(module: str, arguments: list[object]) -> list[str]:
    """The command that runs `main()` of a module of this room. Raises FileNotFoundError as `interpreter` does."""
    # `-c` puts the current directory first, and the command takes it off again before importing anything.
    boot = _BOOT.format(version=_VERSION, mismatch=MISMATCH, roots=_roots(), module=module)
    return [interpreter(), *_options(), "-c", boot, *map(str, arguments)]


def command_elsewhere(module: str, arguments: list[object]) -> list[str]:
    """The same for a machine that has its own Python, and this project installed: the first python3 on its PATH."""
    boot = _BOOT.format(version=_VERSION, mismatch=MISMATCH, roots=[], module=module)
    return ["python3", "-c", boot, *map(str, arguments)]


def tells_of_mismatch(text: str) -> bool:
    """Whether a helper has said there that it is another Python. Its command has the same words, without a number."""
    return any(f"{MISMATCH}: this is Python {first}" in text for first in "234")


def _roots() -> list[str]:
    """Where this project is, and libzmq's binding: a program may have put that on its path by itself."""
    zmq = sys.modules.get("zmq")
    root = os.path.dirname(os.path.dirname(os.path.abspath(zmq.__file__))) if zmq and zmq.__file__ else _ROOT
    return [_ROOT] if root == _ROOT else [_ROOT, root]


def _options() -> list[str]:
    """What our interpreter was told on its command line: tasks should see `-O` and `-W error`, and nobody what `-I`
    keeps out."""
    inherited: Mapping[str, str] = {} if sys.flags.ignore_environment else os.environ
    given = ["-I"] if sys.flags.isolated else []
    for name, (option, variable) in _OPTIONS.items():
        if not inherited.get(variable) and not (sys.flags.isolated and option in ("-E", "-P", "-s")):
            given += [option] * getattr(sys.flags, name, 0)  # safe_path is new in 3.11
    if sys.version_info >= (3, 11) and "-P" not in given and "-I" not in given and not _has_directory():
        given.append("-P")  # Python 3.13.0 looks there, and a missing attribute of any module becomes a SystemError
    for name, value in sys._xoptions.items():
        if not inherited.get(_X_OPTIONS.get(name, "")):
            given += ["-X", name if value is True else f"{name}={value}"]
    from_environment = inherited.get("PYTHONWARNINGS", "").split(",")
    given += [f"-W{option}" for option in sys.warnoptions if option not in from_environment]
    return given


def _has_directory() -> bool:
    try:
        os.getcwd()
    except OSError:
        return False
    return True


def inside_of(around: list[str] | None, command: list[str]) -> list[str]:
    """The command in the place of the word `{command}` among others."""
    if not around:
        return command
    place = around.index("{command}")
    return [*around[:place], *command, *around[place + 1 :]]


def spawn_helper(
    module: str, arguments: list[object], descriptors: list[int], stderr: int = 2, around: list[str] | None = None
) -> int:
    """Start one; it inherits the descriptors under the same numbers, all above 2. Returns its process id.

    around: the words of a command that is to start it, and be replaced by it; see `inside_of`.

    It has no standard input, which is the program's; and nothing blocked: who blocks all signals waits for them in a
    thread of his own, where a helper has none.

    Raises:
        OSError: the interpreter can't be started.
    """
    command = inside_of(around, helper_command(module, arguments))
    for fd in descriptors:
        os.set_inheritable(fd, True)
    try:
        actions = standard_streams.for_helper(stderr)
        start = os.posix_spawnp if around else os.posix_spawn  # only what the user names is looked for on PATH
        return start(command[0], command, os.environ, file_actions=actions, setsigmask=[])
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
    begun = monotonic()
    try:
        while True:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                return os.waitstatus_to_exitcode(status)
            waited_s = monotonic() - begun
            if waited_s > patience_s:
                kill(pid)
                return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            meanwhile()
            sleep(min(_PAUSE_S, max(_FIRST_PAUSE_S, waited_s / 4)))  # it takes a millisecond to end, as a rule
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


def python_version() -> str:
    """What must agree between client and workers: major.minor."""
    return f"{sys.version_info.major}.{sys.version_info.minor}"
