"""A manager as a program of its own: joins a run, works until it is told to end or nobody is there.

Program: `manager_program TICKET BLOCK`. TICKET is the private file that says where the interchange is, and has
the keys; BLOCK names the block that the manager belongs to.
"""

from __future__ import annotations

import gc
import os
import signal
import socket
import sys
from time import monotonic

from parsl_pool import portable
from parsl_pool._version import __version__
from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, curve, launch, lent, no_way, place, race, shared_memory, wire
from parsl_pool.interchange.inline import inline_message, inline_results, inline_tasks
from parsl_pool.interchange.log_file import ProcessLog, make_private
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.manager import Manager, Upward
from parsl_pool.interchange.object_records import OBJECT_RECORDS
from parsl_pool.interchange.page import CLAIMS_NAME
from parsl_pool.interchange.parent_death import end_with_parent
from parsl_pool.interchange.relief import Relief
from parsl_pool.interchange.rubbish import Rubbish, check
from parsl_pool.interchange.task_messages import TaskMessage
from parsl_pool.interchange.uplink import Uplink
from parsl_pool.interchange.wanted import UnfitNode

_BEAT_S = 5.0
_ENDING_S = 0.3  # between the first and the last process of a job that a scheduler signals
_PATIENCE_S = 120.0  # until the interchange has said how long it may be silent
_DOUBT_LEAST_MS = 2000  # so that nobody is doubted who is only slow: another connection begins anew with what it sends
_ASK_S = 3.5  # a second packet is sent after 1 s, a third one after 3 s
_ASK_SOON_S = 0.5
NO_WAY = 4
"""The exit code if the interchange could not be reached at all."""


class ManagerProgram:
    """Gives a Manager its link to the interchange."""

    def __init__(self, loop: Loop, ticket: str, block: str) -> None:
        # Managers in containers may have the same host name, and the same process id.
        self.name = f"{socket.gethostname()}-{os.getpid()}-{os.urandom(2).hex()}"
        self._loop, self._block = loop, block
        self._path, self._ticket = ticket, curve.read_ticket(ticket)
        self._manager: Manager | None = None
        self._claims = -1
        self._started, self._patience_s, self._doubt_s = monotonic(), _PATIENCE_S, _PATIENCE_S / 6
        self._rubbish = Rubbish(self._say)
        self._stopping = False
        self._address = self._ticket.address  # that leads to the interchange
        self._doubted = ""  # the address at which nobody has said anything for long
        self._relief: Relief | None = None
        self._draining = ""  # why
        self._is_empty = self._is_released = False  # no task is here; none is on its way to us
        self.exit_code = 0
        self._log = ProcessLog(f"manager-{self.name}")
        self._link = Uplink(loop, self.name, self)
        self._beat()

    # -- the Owner of the uplink

    def find(self) -> curve.Ticket:
        """Where the interchange is; another one may not have got the first one's port."""
        try:
            self._ticket = curve.read_ticket(self._path)
        except (OSError, ValueError, TypeError):
            pass  # it is being removed: the run ends
        return self._ticket

    def connected(self, address: str, troubles: dict[str, str]) -> None:
        """There is a connection, by that address."""
        doubted, self._address, self._doubted = self._doubted, address, ""
        others = ", ".join(f"{other} ({trouble})" for other, trouble in troubles.items())
        text = f"connected to the interchange at {address}" + (f", not to {others}" if others else "")
        self._log.write(text)
        if others and self._manager is None:  # there is no log yet
            print(f"parsl_pool manager {self.name}: {text}", file=sys.stderr, flush=True)
        elif doubted and doubted != address:
            self._warn_soon(f"heard no more by {doubted}, and goes on by {address}")

    def greet(self, kept: list[int]) -> None:
        """Say who we are, and what we hold."""
        manager, elapsed_ms = self._manager, int(1000 * (monotonic() - self._started))
        self._link.send(
            wire.Register(
                wire.PROTOCOL, self.name, socket.gethostname(), os.getpid(),
                manager.core.workers if manager is not None else 0, launch.python_version(), __version__, self._block,
                self._claims >= 0, [*kept, *manager.core.held_tasks()] if manager is not None else [],
                manager.core.aside.node(elapsed_ms) if manager is not None else [],
                manager.core.settled_tasks() if manager is not None else [], place.here(),
            )
        )  # fmt: skip
        if manager is not None:
            self._link.send(wire.Window(manager.core.window, manager.core.lent(), manager.core.least))
            manager.objects.ask_again()
        if self._draining:
            self._link.send(wire.Draining(self.name, self._draining))

    def dropped(self, reason: str) -> None:
        """A message of the interchange's was none."""
        self._rubbish.drop(reason)
        if self._manager is not None:  # else it would not listen
            self._link.send(wire.Dropped(reason))

    def _say(self, text: str) -> None:
        print(f"parsl_pool manager {self.name}: {text}", file=sys.stderr, flush=True)
        self._log.write(text, 40)

    def copied(self) -> None:
        """Workers may overwrite what they have reported."""
        if self._manager is not None:
            self._manager.release_pages()

    def _report(self, message: Upward) -> None:
        if isinstance(message, columns.Results):
            if message.descriptors and self._claims >= 0 and portable.has_proc():
                self._link.send_shared(message)
            else:
                self._link.send_results(inline_results(message))
        elif isinstance(message, columns.Tasks):
            self._link.send_back(inline_tasks(message))
        elif isinstance(message, TaskMessage):
            shares = self._claims >= 0 and portable.has_proc()
            self._link.send_message(message if shares else inline_message(message))
        else:
            self._log.note(message)
            self._link.send(message)

    def _warn_soon(self, text: str) -> None:
        """Tell the client; in the next turn, for the interchange listens to nobody who has not registered."""
        notice = wire.Notice(30, f"manager {self.name} {text}")
        self._loop.call_at(monotonic(), lambda: self._report(notice))

    def receive(self, kind: int, body: bytes, names: list[lent.Name]) -> None:
        """One message of the interchange's. Raises BadMessage."""
        manager = self._manager
        if kind == wire.TASKS and manager is not None:
            self._take(manager, columns.Tasks.decode(body), names)
            return
        if kind == wire.ASKING and manager is not None:
            self._take(manager, columns.Tasks.decode_asking(body), names)
            return
        record = wire.decode(kind, body)
        check(record)
        if isinstance(record, wire.Settings):
            if manager is None:
                self._begin(record)
        elif isinstance(record, wire.Refused):
            self._log.write(f"the interchange has refused this manager: {record.reason}", 40)
            print(f"parsl_pool manager {self.name} was refused: {record.reason}", file=sys.stderr)
            sys.stderr.flush()
            os._exit(3)
        elif isinstance(record, wire.WhoAreYou):
            self._log.write("the interchange asks who this is: registering again")
            self._link.renew()
        elif isinstance(record, wire.Ping):
            self._link.send(wire.Pong(0))
        elif isinstance(record, wire.Stop):
            self.stop(bool(record.now))
        elif manager is None:
            raise BadMessage(f"{type(record).__name__} before Settings")
        elif isinstance(record, OBJECT_RECORDS):
            self._take_object(manager, record, names)
        elif isinstance(record, wire.Function):
            manager.function(record)
        elif isinstance(record, wire.Forget):
            manager.forget(record.numbers)
        elif isinstance(record, wire.Kill):
            manager.kills.kill(record)
        elif isinstance(record, wire.ForTask):
            manager.messages.for_task(record)
        elif isinstance(record, wire.KillWorkers):
            manager.kills.kill_workers(record.signal)
        elif isinstance(record, wire.Drain):
            self._is_released = True
            self._drain(manager, record.reason)
            self.delivered()
        elif not isinstance(record, wire.Pong):
            raise BadMessage(f"a {type(record).__name__}")

    def _take(self, manager: Manager, tasks: columns.Tasks, names: list[lent.Name]) -> None:
        if names:
            if tasks.count > 1:
                raise BadMessage(f"{tasks.count} tasks with memory")
            try:
                tasks.descriptors = lent.open_named(names)
            except OSError as problem:
                reason = f"its arguments can't be read on {manager.host}: {problem}"
                self._report(lent.lost(tasks.task_ids()[0], manager.host, reason))
                return
        manager.tasks(tasks)
        if self._relief is not None:
            self._relief.watch()

    def _take_object(self, manager: Manager, record: wire.Record, names: list[lent.Name]) -> None:
        try:
            descriptors = lent.open_named(names)
        except OSError:
            manager.objects.by_parts(getattr(record, "key", ""))
            return
        try:
            manager.objects.came(record, descriptors)
        except BadMessage:
            lent.close(descriptors)
            raise

    def _begin(self, settings: wire.Settings) -> None:
        # Longer than the client takes to notice that the interchange hangs, and to start another one.
        self._patience_s = 2 * settings.threshold_ms / 1000
        # Who is in the midst of a large message hears nothing but a Ping at each heartbeat.
        self._doubt_s = max(settings.threshold_ms / 3, 1.5 * settings.heartbeat_ms, _DOUBT_LEAST_MS) / 1000
        if settings.worker_log_dir and settings.worker_log_dir != settings.log_dir:
            make_private(settings.worker_log_dir)
        self._log.open(settings.worker_log_dir, self._warn_soon)
        settings = settings._replace(manager=self.name, block=self._block)
        self._claims = self._open_claims(settings)
        descriptors = [self._claims] if self._claims >= 0 else []
        if descriptors:
            descriptors += [_open_of(settings.client_pid, fd) for fd in settings.descriptors]
        try:
            self._manager = Manager(
                self._loop, self.name, settings, descriptors, self._report, self._stopped, self._log.keep
            )
        except UnfitNode as problem:
            self._unfit(str(problem))
            return
        self._manager.on_drained = self._emptied
        self._relief = Relief(self._loop, self._manager.core, self._manager.relieve)
        self._manager.ending_s = _ENDING_S
        workers, where = self._manager.core.workers, self._address
        self._log.write(f"begun in block {self._block!r}, {workers} workers, interchange at {where}")
        if settings.drain_ms:
            self._drain_at(self._manager, settings.drain_ms / 1000)
        self.greet([])  # now with what we know
        self._manager.begin()

    def _unfit(self, reason: str) -> None:
        """No worker can run here. The client is told, and whoever reads the job's output."""
        self._log.write(reason, 40)
        print(f"parsl_pool manager {self.name}: this node can't be used: {reason}", file=sys.stderr, flush=True)
        self._link.send(wire.Unfit(socket.gethostname(), self._block, reason))
        self.exit_code = 3
        self.stop(True)

    def _open_claims(self, settings: wire.Settings) -> int:
        """The client's claims table, if it is on this host: there its descriptors have names, or it has one itself."""
        if settings.client_place != place.here() or settings.claims_fd < 0:
            return -1
        try:
            if not portable.has_proc():
                return shared_memory.open_named(os.path.join(os.path.dirname(self._path), CLAIMS_NAME))
            return os.open(f"/proc/{settings.client_pid}/fd/{settings.claims_fd}", os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            return -1

    # -- draining

    def _drain_at(self, manager: Manager, seconds: float) -> None:
        """The job has a limit of time, and that is near."""
        reason = f"it has run for {seconds:g} s, its drain_period"
        self._loop.call_at(self._started + seconds, lambda: self._drain(manager, reason))

    def _drain(self, manager: Manager, reason: str) -> None:
        """Finish what runs, give back the rest, and end when all of it has arrived."""
        if self._draining or self._stopping:
            return
        self._draining = reason
        self._log.write(f"draining: {reason}")
        self._link.send(wire.Draining(self.name, reason))
        manager.drain()

    def _emptied(self) -> None:
        self._is_empty = True
        self.delivered()

    def delivered(self) -> None:
        """The client has all that we have said, or something else has come that we had to wait for."""
        if self._is_empty and self._is_released:
            self._loop.call_at(monotonic(), self._leave)  # not in the midst of a message

    def _leave(self) -> None:
        if self._is_empty and self._link.has_delivered():
            self.stop(False)

    def interrupted(self) -> None:
        """Ctrl-C, where somebody has started it by hand: what runs may finish; once more, and it ends at once."""
        if self._manager is None or self._draining:
            self.stop(True)
            return
        print("parsl_pool manager: finishing what runs; Ctrl-C again ends it at once", file=sys.stderr, flush=True)
        self._drain(self._manager, "Ctrl-C, where it runs")

    # -- the end

    def _beat(self) -> None:
        now = monotonic()
        if not self._link.has_been_up and now - self._started > self._ticket.patience_s:
            self._give_up(now - self._started)
        silent = now - (self._link.heard if self._manager is not None else self._started)
        if silent > self._patience_s:
            where, trouble = self._address, self._link.trouble or "it says nothing that would be of use"
            self._say(f"no interchange at {where} for {silent:.0f} s ({trouble}), ending")
            self.stop(True)
            return
        self._doubt(silent)
        if self._manager is not None:
            self._link.send(wire.Ping(0))
        patience_s = self._patience_s if self._link.has_been_up else min(self._patience_s, self._ticket.patience_s)
        self._loop.call_at(now + min(patience_s / 8, _BEAT_S), self._beat)

    def _doubt(self, silent: float) -> None:
        """Is there a better way, after so many seconds without a word?"""
        limit = self._patience_s / 6  # enough if the interchange has moved, as a tunnel does
        if silent <= limit:
            return
        if self._address in self.find().addresses:
            limit = self._doubt_s
        if silent > limit and self._link.doubt(limit):
            self._doubted = self._address
            self._log.write(f"nothing came from {self._address} for {silent:.0f} s: trying every address", 30)

    def _give_up(self, seconds: float) -> None:
        """There is no way to the interchange."""
        if not os.path.exists(self._path):
            self._say(f"the run is over: its ticket {self._path} is gone, ending")
            os._exit(NO_WAY)
        self._explain(seconds, _ASK_S)
        os._exit(NO_WAY)

    def _explain(self, seconds: float, ask_s: float) -> None:
        """What became of the addresses, in the job's output."""
        troubles = dict.fromkeys(self._ticket.addresses, race.SILENT) | self._link.troubles
        text = no_way.explanation(self.name, socket.gethostname(), seconds, troubles, ask_s)
        print(text, file=sys.stderr, flush=True)

    def stop(self, now: bool) -> None:
        if self._stopping:
            return
        self._stopping = True
        if not self._link.has_been_up:  # whoever ends us may have waited for us in vain
            self._explain(monotonic() - self._started, _ASK_SOON_S)
        self._log.write("ending at once" if now else "ending when workers have ended")
        if self._manager is not None:
            self._manager.stop(now)
        else:
            self._stopped()

    def _stopped(self) -> None:
        self._link.send(wire.Stop(0))
        self._link.close()
        self._loop.stop()


def _open_of(pid: int, fd: int) -> int:
    """Another process's pipe or file, opened as that process has it. Raises OSError."""
    with open(f"/proc/{pid}/fdinfo/{fd}") as file:
        flags = next(int(line.split()[1], 8) for line in file if line.startswith("flags:"))
    return os.open(f"/proc/{pid}/fd/{fd}", flags & os.O_ACCMODE | os.O_CLOEXEC)


def main() -> None:
    """Program: `manager_program TICKET BLOCK`."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = os.getppid()
    if parent != 1:
        end_with_parent(parent)  # the job's shell: when a scheduler ends that, it means us too
    gc.freeze()
    gc.set_threshold(50_000)  # as in the interchange
    loop = Loop()
    try:
        program = ManagerProgram(loop, sys.argv[1], sys.argv[2])
    except (OSError, ValueError, TypeError) as problem:
        sys.exit(f"parsl_pool manager: cannot read its ticket {sys.argv[1]}: {problem}")
    loop.on_signal(signal.SIGTERM, lambda: program.stop(True))
    if sys.argv[2] == wire.BY_HAND:
        loop.on_signal(signal.SIGINT, program.interrupted)
    loop.run()
    sys.stdout.flush()
    os._exit(program.exit_code)


if __name__ == "__main__":
    main()
