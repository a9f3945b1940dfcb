"""Calls that running tasks make to their own pool: the client's side.

    a task in a worker (interchange/nest.py) --Call--> Nested --> the executor, as any call;  <--Ended-- its future

Such a call is a task like any other. What is special: its function and arguments have been pickled in the worker, and
stay bytes here; its outcome goes back as bytes, to the try that has made the call; and it is bound to that: when that
is lost, or fails, what it has asked for and has not begun is cancelled.
"""

from __future__ import annotations

import ast
from collections.abc import Callable
from functools import partial
from typing import Any

from parsl_pool import checks, resources
from parsl_pool.dataflow.record import Options
from parsl_pool.errors import ConfigurationError, PoolElsewhere, shown
from parsl_pool.executors.high_throughput.arguments import Dependent, finish_payload
from parsl_pool.executors.high_throughput.outcomes import Failed
from parsl_pool.futures import AppFuture
from parsl_pool.interchange import calls, envelope, serialize, wire

_ENVELOPES = (wire.RAISED, wire.UNREADABLE, wire.UNSENDABLE)
_RULES: dict[str, Callable[[str, Any], Any]] = {
    "retries": checks.budget,
    "lost_retries": checks.budget,
    "priority": checks.whole(least=-(1 << 31), most=(1 << 31) - 1),
    "label": checks.short_text,
    "walltime": checks.optional(checks.number(above=0, most=4e6, kind="a number of seconds")),
    "resources": resources.asked,
}


class _Child:
    """One call."""

    __slots__ = ("future", "is_theirs", "number")

    def __init__(self, number: int, future: AppFuture[Any]) -> None:
        self.number, self.future = number, future
        self.is_theirs = False  # the task that made it runs it itself


class _Children(dict[int, _Child]):
    """The calls of one try that it may still ask for, by number."""

    newest = 0


class Nested:
    """The calls of one executor's tasks. Messages come in the link's I/O thread; calls end in any."""

    def __init__(self, backend: Any) -> None:
        self._backend, self._link = backend, backend.link
        self._children: dict[int, _Children] = {}  # by try
        self._link.tries.on_failed = self._try_failed

    def hear(self, parent: AppFuture[Any], task: int, body: bytes | memoryview) -> None:
        """That try says something. Raises BadMessage."""
        record = calls.decode(bytes(body))
        if task not in self._children:
            self._children[task] = _Children()
            parent.add_done_callback(partial(self._parent_done, task))
        children = self._children.get(task)
        if children is None:
            return
        if isinstance(record, calls.Call):
            if record.number > children.newest:  # else it comes again, after a lost connection
                children.newest = record.number
                self._call(task, children, record)
        elif isinstance(record, calls.Await):
            self._await(task, children, record)
        elif isinstance(record, calls.Withdraw):
            child = children.get(record.number)
            done = child is not None and not child.is_theirs and child.future.cancel()
            self._say(task, calls.Withdrawn(record.number, int(done)))
        elif isinstance(record, calls.Ran):
            self._ran(task, children, record)

    def _say(self, task: int, record: calls.Record) -> None:
        self._link.channel.send(task, calls.NEST, calls.encode(record))

    # -- calls

    def _call(self, task: int, children: _Children, record: calls.Call) -> None:
        try:
            future = self._start(children, record)
        except Exception as error:  # the task gets it as that of its call
            self._say(task, calls.Ended(record.number, wire.RAISED, envelope.dump_exception(error)))
            return
        child = children[record.number] = _Child(record.number, future)
        future.add_done_callback(partial(self._child_done, task, child))

    def _start(self, children: _Children, record: calls.Call) -> AppFuture[Any]:
        backend = self._backend
        if record.token != backend.token:
            raise PoolElsewhere("this task is another pool's")
        needed = [children[number].future for number in record.needed if number in children]
        if len(needed) != len(record.needed):
            raise PoolElsewhere("it was given a future that is not known any more")
        options = _options(record.options, backend.options)
        if options is not None and options.resources is not None:
            backend.check_resources(options.resources)
        if backend.call_with_files is not None and serialize.names_file(record.arguments):
            from parsl_pool.executors.high_throughput import nested_files  # rarely needed

            return nested_files.begun(backend, record, needed, options)
        number = self._link.functions.register(record.function)
        self._link.names[number] = record.name
        story = None if options is None else backend.record(options, record.name)
        future: AppFuture[Any]
        if needed:
            future = backend.submit_dependent(number, Dependent(record.arguments, list(needed)), story)
        else:
            future = self._link.submit(number, finish_payload(record.arguments, self._link.tries.warm), story)
        return future

    def _child_done(self, task: int, child: _Child, future: AppFuture[Any]) -> None:
        self._link.tries.withdrawn.discard(future._tid)
        if child.is_theirs or task not in self._children:
            return
        data = future._data
        if type(data) is bytes or future.cancelled() or (type(data) is Failed and data.status in _ENVELOPES):
            self._tell(task, child)
        else:  # to be mapped, or put into words
            self._backend.kernel.in_helper(lambda: self._tell(task, child))

    def _tell(self, task: int, child: _Child) -> None:
        status, data = _outcome(child.future)
        if status in _ENVELOPES:
            (child.future._owner or self._link).failure_seen(child.future)
        self._say(task, calls.Ended(child.number, status, data))

    def _await(self, task: int, children: _Children, record: calls.Await) -> None:
        for number in record.received:
            children.pop(number, None)
        if record.again:
            for number in record.numbers:
                child = children.get(number)
                if child is not None and child.is_theirs:
                    self._say(task, calls.Yours(number))
                elif child is not None and child.future.done():
                    self._child_done(task, child, child.future)
            return
        for number in reversed(record.mine):  # the last ones first: the others are more likely to be begun any moment
            child = children.get(number)
            if child is not None and not child.is_theirs and self._take_back(child.future):
                child.is_theirs = True
                self._say(task, calls.Yours(number))
                return
        self._say(task, calls.Yours(0))

    def _take_back(self, future: AppFuture[Any]) -> bool:
        """Make sure that no worker begins a call. False if one has, or it waits for others."""
        tries, task, record = self._link.tries, future._tid, future._record
        if task not in tries.table or (record is not None and record.options.resources is not None):
            return False  # nor if what it asks for is not there
        tries.withdrawn.add(task)
        if self._link.claims.take_back(task) and tries.table.pop(task, None) is not None:
            tries.withdrawn.discard(task)
            return True
        return False

    def _ran(self, task: int, children: _Children, record: calls.Ran) -> None:
        child = children.get(record.number)
        if child is None or not child.is_theirs:
            return
        # It is told of a failure, or of what comes of another try; but what it has it need not be told.
        child.is_theirs = record.status == wire.OK
        self._link.tries.ended_elsewhere(child.future, record.status, record.data)

    # -- the end of who made them

    def _parent_done(self, task: int, parent: AppFuture[Any]) -> None:
        if parent.has_failed():
            self._parent_lost(task)
        else:
            self._children.pop(task, None)  # what it did not wait for goes on

    def _try_failed(self, future: AppFuture[Any]) -> None:
        self._link.tries.withdrawn.discard(future._tid)
        self._parent_lost(future._tid)

    def _parent_lost(self, task: int) -> None:
        """What the try has asked for is of no use to anybody, unless it has begun."""
        for child in list((self._children.pop(task, None) or {}).values()):
            if child.is_theirs and not child.future.done():
                child.future._become_cancelled()
            else:
                child.future.cancel()


def _options(text: str, defaults: Options) -> Options | None:
    if not text:
        return None
    try:
        given = ast.literal_eval(text)
        items = given.items()
    except (ValueError, SyntaxError, AttributeError):
        raise ConfigurationError(f"options() got something else than numbers and texts: {shown(text)}") from None
    changes = {}
    for name, value in items:
        if name not in _RULES:
            raise ConfigurationError(f"calls inside of a task have no option {shown(name)}")
        changes[name] = _RULES[name](name, value)
    made = defaults._replace(**changes)
    return resources.asking(made, made.resources, changes.get("priority")) if "resources" in changes else made


def _outcome(future: AppFuture[Any]) -> tuple[int, bytes]:
    """Status and payload of a call that has ended."""
    if future.cancelled():
        return wire.CANCELLED, b""
    data = future._data
    if type(data) is bytes:
        return wire.OK, data
    if type(data) is Failed and data.status in _ENVELOPES:
        return data.status, data.data
    view = getattr(data, "view", None)
    if view is not None:
        return wire.OK, bytes(view)
    try:
        error = future.exception(0)
        if error is None:
            return wire.OK, serialize.join(serialize.dump_value(future.result(0), "the result"))
    except BaseException as problem:  # the user's, as it was opened; the task gets it
        error = problem
    return wire.RAISED, envelope.dump_exception(error)
