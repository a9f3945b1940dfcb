"""A script and all that it starts, as one process group that does not outlive this process.

                     lifeline (socket pair)
    this process  ==========================  guard (sh, leader of the session)
                                                |-- watcher (sh): end of file on the lifeline: kills the group
                                                '-- the script and what it starts

The watcher is part of the group, so the group's number cannot pass to strangers while it may still kill it.
The guard sends the script's exit code through the lifeline, then kills what is left of the group, itself
included: a background process of a script that has ended does not stay. Nobody polls.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import threading
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from parsl_pool import portable

GUARD_SHELL = "/bin/sh"

# A shell's child loses a SIGTERM that comes between its fork and its exec, and the shell then waits for the
# child (measured: up to a quarter of those sent in the first 3 ms of a script, some after 10 ms). What is so
# young has nothing to tidy up, so that SIGKILL does.
_BEGINNING_S = 0.03

# Argument 1 is the script's shell, 2 the script. Descriptor 3 is the lifeline, which the script does not get.
# The guard handles SIGTERM (by doing nothing) so that the script can end first, in its own time, and leave an
# exit code. It may not ignore it as the watcher does: what a shell ignores, its children ignore too.
# The script runs in the foreground since what is started with `&` ignores SIGINT.
_GUARD = """\
exec 3<&0 </dev/null
trap '' HUP INT TERM
{
    read -r rest <&3
    kill -KILL 0
} &
watcher=$!
trap : HUP INT TERM
"$1" "$2" 3<&-
echo "$?" >&3
exec 2>/dev/null
kill -KILL "$watcher"
wait "$watcher"
kill -KILL 0
"""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a group's script ended: with `exit_code`; or its shell was killed (None), by `signal_number`.

    A shell's exit code of 128 + n gives both. Neither: someone else in this process has waited for the child.
    """

    exit_code: int | None
    signal_number: int | None

    def __str__(self) -> str:
        if self.exit_code is None and self.signal_number is None:
            return "ended; its exit code was taken by another wait() in this process"
        if self.exit_code is None:
            return f"its shell was killed by {_signal_name(self.signal_number)}"
        if self.signal_number is not None:
            return f"killed by {_signal_name(self.signal_number)} (exit code {self.exit_code})"
        meaning = {126: ": a command could not be run", 127: ": a command was not found"}
        return f"exit code {self.exit_code}{meaning.get(self.exit_code, '')}"


class ProcessGroup:
    """A running script. Its methods may be called by any thread.

    Letting go of the object ends the group.
    """

    _lifeline: socket.socket
    _process: subprocess.Popen[bytes]

    def __init__(self, shell: str, script: Path, stdout: Path, stderr: Path) -> None:
        """Starts it. OSError: it could not be started, and nothing is left but perhaps the two files."""
        self._lock = threading.Lock()  # guards _ending, and the pid: it is reaped and signalled under it only
        self._ending: Ending | None = None
        self._inherited = False
        self.started = time.monotonic()
        theirs = _give_lifeline(self)
        try:
            with theirs, _private_file(stdout) as out, _private_file(stderr) as err:
                self._process = subprocess.Popen(
                    [GUARD_SHELL, "-c", _GUARD, "parsl_pool.providers.block", shell, str(script)],
                    stdin=theirs.fileno(),
                    stdout=out,
                    stderr=err,
                    start_new_session=True,
                    preexec_fn=_unblock_all if signal.pthread_sigmask(signal.SIG_BLOCK, []) else None,
                )
        except BaseException:  # Ctrl-C too: nobody would have the lifeline, and so nobody close it
            self._lifeline.close()
            raise

    @property
    def pid(self) -> int:
        """The guard's, which is the number of the process group and of the session, too."""
        return self._process.pid

    @property
    def is_inherited(self) -> bool:
        """This process is a fork of the one that started the group: it can say and do nothing about it."""
        return self._inherited

    def poll(self) -> Ending | None:
        """How it ended; None while it runs."""
        with self._lock:
            return self._poll()

    def wait(self, deadline: float) -> bool:
        """Whether it has ended by `deadline`, in `time.monotonic()`'s seconds."""
        pause_s = 0.001
        while self.poll() is None:  # as subprocess does it: not every system gives an event that can time out
            left_s = deadline - time.monotonic()
            if left_s <= 0:
                return False
            time.sleep(min(pause_s, left_s))
            pause_s = min(2 * pause_s, 0.05)
        return True

    def send_signal(self, number: signal.Signals) -> None:
        """To every process of the group; nothing if it has ended."""
        with self._lock:
            if self._poll() is None and not self._inherited:
                _signal_group(self._process.pid, number)

    def _poll(self) -> Ending | None:
        if self._ending is None and not self._inherited and self._guard_has_ended():
            self._ending = self._conclude(self._process.returncode)
        return self._ending

    def _guard_has_ended(self) -> bool:
        if portable.has(os, "waitid"):  # macOS has it from Python 3.13 on
            try:
                look = os.WEXITED | os.WNOHANG | os.WNOWAIT
                if os.waitid(os.P_PID, self._process.pid, look) is None:
                    return False
            except ChildProcessError:  # reaped by someone else: Popen.poll copes with that
                pass
            else:
                # Guard and watcher may both have been killed from outside. While the guard is not reaped
                # its number is not given away, so that this hits what is left of the group and nobody else.
                _signal_group(self._process.pid, signal.SIGKILL)
        return self._process.poll() is not None

    def _conclude(self, returncode: int) -> Ending:
        try:
            report = self._lifeline.recv(16, socket.MSG_DONTWAIT)
        except OSError:  # nothing was sent
            report = b""
        self._lifeline.close()  # if only the guard was killed, the watcher now ends the rest
        if report:
            code = int(report)
            return Ending(code, code - 128 if 128 < code < 128 + signal.NSIG else None)
        if returncode > 0:
            return Ending(returncode, None)  # the guard's own: it could not start the script
        return Ending(None, -returncode if returncode < 0 else None)

    def _disown(self) -> None:
        """After a fork, in the child: not its group. The lifeline must not stay open in two processes."""
        self._inherited = True
        self._lock = threading.Lock()  # whoever held it does not exist here
        self._lifeline.close()
        if hasattr(self, "_process"):  # not so if the fork happened while another thread was starting it
            self._process.returncode = 0  # keeps its finalizer from looking for a child that is none


def terminate_all(groups: Sequence[ProcessGroup], *, grace_s: float, timeout_s: float) -> None:
    """SIGTERM to all; SIGKILL to who remains after `grace_s`. Returns after `timeout_s` at the latest."""
    start = time.monotonic()
    for group in groups:
        is_beginning = start - group.started < _BEGINNING_S
        group.send_signal(signal.SIGKILL if is_beginning else signal.SIGTERM)
    stubborn = [group for group in groups if not group.wait(start + grace_s)]
    for group in stubborn:
        group.send_signal(signal.SIGKILL)
    for group in stubborn:
        group.wait(start + timeout_s)


def _signal_group(group: int, number: signal.Signals) -> None:
    try:
        os.killpg(group, number)
    except (ProcessLookupError, PermissionError):  # nobody left; macOS says EPERM if there are only zombies
        pass


def _signal_name(number: int | None) -> str:
    try:
        return signal.Signals(number or 0).name
    except ValueError:  # the real-time signals between SIGRTMIN and SIGRTMAX have no names
        return f"signal {number}"


def _unblock_all() -> None:
    """A program that waits for its signals blocks them; a block would never hear that it is to end."""
    signal.pthread_sigmask(signal.SIG_SETMASK, [])


def _private_file(path: Path) -> BinaryIO:
    file = open(path, "wb", opener=lambda name, flags: os.open(name, flags, 0o600))
    os.fchmod(file.fileno(), 0o600)  # whatever the umask is
    return file


# A fork of this process would keep the lifelines open, and the groups alive after our end.
_groups: weakref.WeakSet[ProcessGroup] = weakref.WeakSet()
_making_lifeline = threading.Lock()  # guards _groups, and makes "has a lifeline" and "is in _groups" one


def _give_lifeline(group: ProcessGroup) -> socket.socket:
    """Gives `group` one end of a new lifeline; the other is returned."""
    with _making_lifeline:
        group._lifeline, theirs = socket.socketpair()
        _groups.add(group)
    return theirs


def _after_fork_in_child() -> None:
    _making_lifeline.release()
    for group in list(_groups):
        group._disown()
    _groups.clear()


os.register_at_fork(
    before=_making_lifeline.acquire,
    after_in_parent=_making_lifeline.release,
    after_in_child=_after_fork_in_child,
)
