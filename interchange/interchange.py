"""The interchange: one process between the user's process and the managers.

    client --inherited unix socket--> Interchange --call--> a manager inside
                                          '------zmq, CURVE--> managers elsewhere (managers_door.py)

Program: `interchange FD CLIENT_PID inside|apart WORDS STDERR`. It lives exactly as long as the client holds the other
end of FD. What it is started with as stderr is WORDS, a file of the client's for its last words.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from parsl_pool._version import __version__
from parsl_pool.errors import BadMessage
from parsl_pool.interchange import broker, columns, launch, lent, stream, title, wire
from parsl_pool.interchange.free_memory import Ebb
from parsl_pool.interchange.last_words import Words
from parsl_pool.interchange.log_file import ProcessLog
from parsl_pool.interchange.loop import Loop
from parsl_pool.interchange.manager import Manager, Upward
from parsl_pool.interchange.object_desk import ObjectDesk
from parsl_pool.interchange.object_records import OBJECT_RECORDS, Object
from parsl_pool.interchange.packing import Has
from parsl_pool.interchange.rubbish import Rubbish, check
from parsl_pool.interchange.set_aside import settled_of
from parsl_pool.interchange.standing import Standing
from parsl_pool.interchange.task_messages import TaskMessage
from parsl_pool.interchange.wanted import UnfitNode

INSIDE = "inside"
_REASON = 2000  # characters


class Interchange:
    """Gives the broker's core its sockets. Everything happens in the loop's thread."""

    def __init__(
        self,
        loop: Loop,
        client: stream.Stream,
        fork_server: launch.Helper | None = None,
        before_ready: Callable[[], None] = lambda: None,
    ) -> None:
        self._loop, self._client = loop, client
        self._fork_server = fork_server
        self._before_ready = before_ready
        self._broker = broker.Broker(monotonic)
        self._draining: dict[str, str] = {}  # managers that are to end when they have finished, and why
        self._inside: Manager | None = None
        self._door: Any = None  # ManagersDoor, when managers are apart
        self._claiming: Any = None  # Claiming, if the client has sent its table
        self._rubbish = Rubbish(lambda text: self._tell(wire.Notice(30, text)))
        self._ebb = Ebb()
        self._undelivered: list[TaskMessage] = []  # on their way to the client
        self._untold: dict[str, wire.Window | None] = {}  # that the client may not have heard of: see `_announce`
        self._stopping = False
        self._greeted = self._has_managed = False
        self._to_remove: list[str] = []
        self._is_heir = False  # the client could not remove them
        self._settings: wire.Settings | None = None
        self._log = ProcessLog("interchange")
        self._objects = ObjectDesk(self._tell, self._log.write)
        loop.add_reader(client.fileno(), self._from_client)
        loop.after_reads.append(self._flush_client)

    # -- the client

    def _from_client(self) -> None:
        try:
            messages = self._client.receive()
        except stream.PeerGone:
            self._client_gone()
            return
        except BadMessage as problem:
            # Nobody can say where the next message begins. The client starts another interchange; ending without
            # a word leaves everything to be found by that: finished results in pages, managers with their tasks.
            self._log.write(f"the client's connection is damaged: {problem}", 40)
            print(f"parsl_pool: the client's connection is damaged: {problem}", file=sys.stderr, flush=True)
            os._exit(os.EX_PROTOCOL)
        for kind, body, descriptors in messages:
            self.handle(kind, body, descriptors)

    def handle(self, kind: int, body: bytes, descriptors: list[int]) -> None:
        """One message of the client's. A bad one is counted, logged and dropped."""
        try:
            if kind == wire.TASKS:
                self._ebb.came(len(body))
                self._take(columns.Tasks.decode(body, descriptors or None))
                return
            if kind == wire.ASKING:
                self._take(columns.Tasks.decode_asking(body, descriptors or None))
                return
            record = wire.decode(kind, body)
            if descriptors and not isinstance(record, (wire.Settings, Object)):
                raise BadMessage(f"{type(record).__name__} with descriptors")
            check(record)
            self._obey(record, descriptors)
        except BadMessage as problem:
            for fd in descriptors:
                os.close(fd)
            self._rubbish.drop(problem)

    def _take(self, tasks: columns.Tasks) -> None:
        unknown = self._broker.unknown_functions(tasks)
        if not unknown:
            self._perform(self._broker.tasks_submitted(tasks))
            return
        # A worker would wait for the function for ever, and the client for the tasks.
        for fd in tasks.descriptors or ():
            os.close(fd)
        reason = f"it calls function {min(unknown)}, which has not been defined"
        facts = wire.encode(wire.Facts(["reason"], [reason]))
        for task in tasks.task_ids():
            self._client.put(columns.result_of(task, wire.LOST, facts).frame())
        self._rubbish.drop(f"Tasks: {reason}")

    def _obey(self, record: wire.Record, descriptors: list[int]) -> None:
        if isinstance(record, OBJECT_RECORDS):
            self._objects.from_client(record, descriptors)
        elif isinstance(record, wire.Function):
            self._perform(self._broker.function_defined(record.number, record.data))
        elif isinstance(record, wire.Forget):
            self._perform(self._broker.functions_forgotten(record.numbers))
        elif isinstance(record, wire.Kill):
            self._kill(record)
        elif isinstance(record, wire.KillWorkers):
            if self._inside is not None:
                self._inside.kills.kill_workers(record.signal)
            if self._door is not None:
                self._door.broadcast(record)
        elif isinstance(record, wire.ForTask):
            self._to_task(record)
        elif isinstance(record, wire.Hold):
            self._broker.manager_closed(record.manager)
        elif isinstance(record, wire.Drain):
            self._drain(record)
        elif isinstance(record, wire.Ranks):
            self._broker.managers_ranked(record.managers)
        elif isinstance(record, wire.BlockOver):
            if self._door is not None:
                self._door.block_over(record)
        elif isinstance(record, wire.Ping):
            self._tell(wire.Pong(record.number))
        elif isinstance(record, wire.Ask):
            self._tell(self._state(record.number))
        elif isinstance(record, wire.Stop):
            self._stop(bool(record.now))
        elif isinstance(record, wire.Hello):
            self._greet(record)
        elif isinstance(record, wire.Settings):
            self._begin(record, descriptors)
        else:
            raise BadMessage(f"{type(record).__name__} is not for the interchange")

    def _greet(self, hello: wire.Hello) -> None:
        if hello.protocol != wire.PROTOCOL:
            raise BadMessage(f"protocol {hello.protocol}, this is {wire.PROTOCOL}")
        if self._greeted:
            raise BadMessage("a second Hello")
        self._greeted = True
        self._to_remove = hello.remove
        if not hello.inside:
            from parsl_pool.interchange.managers_door import ManagersDoor  # zmq only where it is needed

            self._door = ManagersDoor(self._loop, hello, self.from_manager, self.manager_gone, self._rubbish.drop)
            self._objects.door = self._door

    def _begin(self, settings: wire.Settings, descriptors: list[int]) -> None:
        if not self._greeted or self._settings is not None:
            raise BadMessage("Settings before a Hello" if not self._greeted else "Settings for a second time")
        self._settings = settings
        self._broker.managers_most = settings.managers_most
        self._log.open(settings.log_dir, lambda text: self._tell(wire.Notice(30, f"the interchange {text}")))
        self._log.write(f"begun for client {settings.client_pid}, {settings.workers} workers to a manager")
        if self._door is not None:
            from parsl_pool.interchange.claiming import Claiming  # as the door

            self._door.settings = settings
            if descriptors:
                self._claiming = Claiming(descriptors[0])
            for fd in descriptors:
                os.close(fd)
            self._before_ready()
            self._tell(wire.Ready(os.getpid(), self._door.address))
            return
        try:
            self._inside = Manager(
                self._loop, INSIDE, settings, descriptors, self._from_inside, self._stopped, self._log.keep,
                self._fork_server,
            )  # fmt: skip
        except UnfitNode as problem:
            self._tell(wire.Broken("node", f"this node ({socket.gethostname()}): {problem}", ""))
            return
        self._objects.inside = self._inside.objects
        self._perform(self._broker.manager_registered(INSIDE, [], self._inside.core.aside.has))
        self._inside.begin()
        self._tell(wire.Ready(os.getpid(), ""))

    def _kill(self, record: wire.Kill) -> None:
        name = self._broker.holder(record.task)
        if name == INSIDE and self._inside is not None:
            self._inside.kills.kill(record)
        elif name is not None:
            self._door.send(name, record)

    def _drain(self, record: wire.Drain) -> None:
        """Give a manager no more tasks, then tell it so; it ends when it has finished what it has begun."""
        if self._door is None:
            self._log.write("no manager is apart that could be drained: one inside ends with the interchange", 30)
            return
        self._broker.manager_closed(record.manager)
        self._door.send(record.manager, record)

    def _drains(self, message: wire.Draining) -> None:
        """It says so by each of its connections."""
        self._drain(wire.Drain(message.manager, message.reason))
        if message.manager not in self._draining:
            self._draining[message.manager] = message.reason
            self._tell(message)

    def _to_task(self, record: wire.ForTask) -> None:
        name = self._broker.holder(record.task)
        if self._inside is not None:
            self._inside.messages.for_task(record)
        elif self._door is not None and record.task == wire.NO_TASK:
            self._door.broadcast(record)
        elif name is not None:
            self._door.send(name, record)

    def _from_task(self, name: str, message: TaskMessage) -> None:
        if self._broker.holds(name, message.record.task):
            self._tell(message.record, message.descriptors)
            self._undelivered.append(message)
        else:
            message.drop()

    def _tell(self, record: wire.Record, descriptors: list[int] | None = None) -> None:
        self._log.note(record)
        self._client.put(wire.frame(record, len(descriptors or ())), descriptors)

    def _flush_client(self) -> None:
        if not (self._broker.waiting or self._broker.asking):
            self._ebb.nothing_waits()
        if self._client.wants_write:
            try:
                done = self._client.flush()
            except stream.PeerGone:
                return  # its end is handled where we read
            self._loop.want_write(self._client.fileno(), None if done else self._flush_client)
            if not done:
                return
            if self._inside is not None:
                self._inside.release_pages()
            if self._undelivered:
                delivered, self._undelivered = self._undelivered, []
                for message in delivered:
                    message.delivered()
        if self._door is not None:
            self._door.client_has_all()
        untold, self._untold = self._untold, {}
        for name, window in untold.items():
            if window is not None:
                self.from_manager(name, window)

    # -- managers

    def _from_inside(self, message: Upward) -> None:
        if type(message) is columns.Results and self._loop.is_alone and not self._client.wants_write:
            # Nothing else has come in this turn: the client goes on while we keep our books.
            self._client.put(message.frame(), message.descriptors)
            self._flush_client()
            effects = self._broker.results_arrived(INSIDE, message)
            # Delivered they are; but what the broker makes of results that are nobody's is told.
            self._perform([effect for effect in effects if type(effect) is not broker.Deliver])
            return
        self.from_manager(INSIDE, message)

    def from_manager(self, name: str, message: Upward | columns.Tasks) -> None:
        """One message of a manager's."""
        if type(message) is columns.Results:
            effects = self._broker.results_arrived(name, message)
            if message.descriptors and not any(type(effect) is broker.Deliver for effect in effects):
                lent.close(message.descriptors)  # nobody wants it any more
            self._perform(effects)
        elif type(message) is columns.Tasks:
            self._perform(self._broker.tasks_returned(name, message))
        elif isinstance(message, TaskMessage):
            self._from_task(name, message)
        elif isinstance(message, OBJECT_RECORDS):
            self._objects.from_manager(name, message)
        elif isinstance(message, wire.Window):
            if name in self._untold:
                self._untold[name] = message
            else:
                self._perform(self._broker.window_set(name, message.tasks, message.lent, message.least))
        elif isinstance(message, wire.Register):
            self._register(name, message)
            self._announce(name, message)
        elif isinstance(message, wire.Unfit):
            self._unfit(f"node {message.host} (block {message.block}): {message.reason[:_REASON]}")
        elif isinstance(message, wire.WorkerUp) and name == INSIDE and self._inside is not None:
            self._tell(message, [os.dup(self._inside.page_descriptor(message.worker))])
        elif isinstance(message, wire.Dropped):
            self._rubbish.drop(f"at manager {name}: {message.reason}")
        elif isinstance(message, (wire.WorkerUp, wire.WorkerGone, wire.Draining)) and message.manager != name:
            self._rubbish.drop(f"{type(message).__name__} of another manager, from {name}")
        elif isinstance(message, (wire.WorkerUp, wire.WorkerGone, wire.Broken, wire.Notice, wire.ManagerRefused)):
            self._tell(message)
        elif isinstance(message, wire.Draining):
            self._drains(message)
        else:
            self._rubbish.drop(f"{type(message).__name__} from a manager")

    def _announce(self, name: str, record: wire.Register) -> None:
        """The client hears of a manager before that gets any tasks. Should we end, it knows who may have some."""
        up = wire.ManagerUp(name, record.host, record.pid, record.workers, record.block, record.shares, record.held)
        self._tell(up)
        self._untold[name] = None
        self._flush_client()

    def _register(self, name: str, message: wire.Register) -> None:
        """A manager that comes back says what it holds; what else it should have is lost."""
        self._has_managed = True
        self._objects.forget(name)
        has, settled = Has(message.workers, *message.node), settled_of(message.settled)
        for effect in self._broker.manager_registered(name, message.held, has, settled):
            if isinstance(effect, broker.TasksLost) and effect.tasks:
                self._tell(wire.TasksLost(name, message.host, effect.tasks))
            elif isinstance(effect, broker.NotHeld):
                self._not_held(effect)
            elif isinstance(effect, broker.Refuse):
                self._refuse(effect)

    def _unfit(self, text: str) -> None:
        """A node can't have a single worker. If it is the first one, what is wanted fits none, most likely."""
        if self._has_managed:
            self._tell(wire.Notice(40, f"{text}; it is not used"))
        else:
            self._tell(wire.Broken("node", text, ""))

    def manager_gone(self, name: str, host: str, block: str, reason: str, expected: bool) -> None:
        """A manager's connection has ended, or it has been silent for too long."""
        why = self._draining.pop(name, None)
        self._objects.forget(name)
        expected = expected or self._stopping
        for effect in self._broker.manager_gone(name):
            if isinstance(effect, broker.TasksLost):
                if why is not None and not effect.tasks:  # we may see its end before its last word
                    expected, reason = True, f"it was drained: {why}"
                self._tell(wire.ManagerGone(name, host, block, reason, effect.tasks, expected))

    def _perform(self, effects: list[broker.Effect]) -> None:
        cancelled: list[tuple[str, columns.Results]] = []
        for effect in effects:
            if type(effect) is broker.Deliver:
                results = effect.results
                self._client.put(results.frame(), results.descriptors)
            elif type(effect) is broker.SendTasks:
                if effect.manager == INSIDE and self._inside is not None:
                    self._inside.tasks(effect.tasks)
                else:
                    self._send_apart(effect.manager, effect.tasks, cancelled)
            elif type(effect) is broker.SendFunction:
                record = wire.Function(effect.number, effect.data)
                if effect.manager == INSIDE and self._inside is not None:
                    self._inside.function(record)
                else:
                    self._door.send(effect.manager, record)
            elif type(effect) is broker.SendForget:
                if effect.manager == INSIDE and self._inside is not None:
                    self._inside.forget(effect.numbers)
                else:
                    self._door.send(effect.manager, wire.Forget(effect.numbers))
            elif type(effect) is broker.NotHeld:
                self._not_held(effect)
            elif type(effect) is broker.Refuse:
                self._refuse(effect)
        for name, results in cancelled:
            self._perform(self._broker.results_arrived(name, results))

    def _send_apart(self, name: str, tasks: columns.Tasks, cancelled: list[tuple[str, columns.Results]]) -> None:
        """Send a manager tasks; those that turn out to be cancelled are added to `cancelled`."""
        if self._claiming is None or self._door.claims(name):
            self._door.send_tasks(name, tasks)
            return
        left, results = self._claiming.claim(tasks)
        if left is not None:
            self._door.send_tasks(name, left)
        if results is not None:
            cancelled.append((name, results))

    def _refuse(self, effect: broker.Refuse) -> None:
        lent.close(effect.tasks.descriptors or [])
        label = self._settings.label if self._settings is not None else ""
        facts = wire.encode(wire.Facts(["executor", "reason"], [label, effect.reason]))
        self._client.put(columns.result_of(effect.tasks.task_ids()[0], wire.REFUSED, facts).frame())

    def _not_held(self, effect: broker.NotHeld) -> None:
        self._rubbish.drop(f"manager {effect.manager} spoke of {effect.tasks} tasks that it does not hold")

    def _state(self, number: int) -> wire.State:
        lines = [line for load in self._broker.loads() if (line := self._line(load))]
        waiting = self._broker.waiting + self._broker.asking
        return wire.State(number, waiting, self._broker.placed, self._rubbish.count, lines)

    def _line(self, load: broker.Load) -> str:
        if self._inside is None:
            standing = self._door.standing(load, int(load.manager in self._draining))
            return standing.line() if standing is not None else ""
        return Standing(
            load.manager, load.held, load.window, load.is_open, 0, int(1000 * load.idle_s), self._inside.core.workers,
            self._inside.block, self._inside.host, os.getpid(), launch.python_version(), __version__,
        ).line()  # fmt: skip

    # -- the end

    def _client_gone(self) -> None:
        self._loop.remove(self._client.fileno())
        self._is_heir = True
        self._log.write("the client is gone")
        self._stop(now=True)

    def _stop(self, now: bool) -> None:
        if self._stopping:
            return
        self._stopping = True
        self._log.write("ending at once" if now else "ending when workers have ended")
        if self._inside is not None:
            self._inside.stop(now)
        elif self._door is not None:
            self._door.stop(now, self._stopped)
        else:
            self._stopped()

    def _stopped(self) -> None:
        end = monotonic() + 1.0
        try:  # what the client has not read yet: WorkerGone and the like
            while not self._client.flush() and monotonic() < end:
                select.select([], [self._client], [], 0.05)
        except stream.PeerGone:
            pass
        if self._is_heir:
            for path in self._to_remove:
                _remove(path)
        self._loop.stop()


def _remove(path: str) -> None:
    """A file, or a directory with what is in it."""
    import shutil  # only when the client could not do it

    if os.path.isdir(path):
        shutil.rmtree(path, ignore_errors=True)
        return
    try:
        os.unlink(path)
    except OSError:
        return  # as above


def _be_fork_server(words: Words, sock: socket.socket, parent: int) -> None:
    """In a fork of this process, which halves the time until there are workers."""
    words.close()
    title.be_called_fork_server()
    from parsl_pool.interchange import fork_server  # what the interchange itself does not need

    fork_server.serve(sock, parent)


def main() -> None:
    """Program: `interchange FD CLIENT_PID inside|apart WORDS STDERR`."""
    words = Words(int(sys.argv[4]), int(sys.argv[5]))
    is_inside = sys.argv[3] == INSIDE
    if is_inside:
        words.take_stderr()  # the fork server has the same
    # Ctrl-C is the user's process's to decide about; we are in a session of our own anyway.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        os.setsid()
    except PermissionError:
        pass  # already the leader of one
    client = int(sys.argv[1])
    # Before anything else exists that the fork server and its workers should not have.
    fork_server = launch.fork_off(client, partial(_be_fork_server, words)) if is_inside else None
    gc.freeze()
    gc.set_threshold(50_000)  # cycles are rare here, and a collection is a pause for everybody
    loop = Loop()
    Interchange(loop, stream.Stream(stream.from_descriptor(client)), fork_server, words.take_stderr)
    loop.run()
    os._exit(0)  # no teardown: nothing is left to do
