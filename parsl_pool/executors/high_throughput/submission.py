"""How calls become tasks of a link: what a `HighThroughputExecutor` does with a call, and with a call tried again."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from pickle import dumps
from time import time
from types import BuiltinFunctionType, FunctionType
from typing import Any
from weakref import WeakSet

from parsl_pool.dataflow.kernel import Kernel
from parsl_pool.dataflow.record import Options, TaskRecord
from parsl_pool.dataflow.staged import FilesInArguments, Instead
from parsl_pool.errors import SerializationError
from parsl_pool.executors.block_provider import BlockProviderExecutor
from parsl_pool.executors.high_throughput import capacity
from parsl_pool.executors.high_throughput.arguments import (
    Dependent,
    Payload,
    PreparedCall,
    dump_arguments,
    dump_staged,
    filled,
    finish_payload,
    has_future,
    hold_also,
    refuse_files,
    size_of,
)
from parsl_pool.executors.high_throughput.functions import name_of
from parsl_pool.executors.high_throughput.link import Link, Stage
from parsl_pool.executors.high_throughput.resumed_payload import first, try_of
from parsl_pool.executors.high_throughput.templates import Template
from parsl_pool.executors.high_throughput.weights import Weights
from parsl_pool.futures import PENDING, AppFuture, Failure, FutureInArguments, frameless
from parsl_pool.interchange import serialize
from parsl_pool.interchange.calls import NEST
from parsl_pool.interchange.object_records import DropObjects, ObjectTaken, WantObject
from parsl_pool.interchange.request import Asked
from parsl_pool.objects import Objects, Stored, answer, found_in, known

_PLAIN = frozenset({int, float, bool, str, type(None), complex})
_FIXED_KINDS = frozenset({FunctionType, BuiltinFunctionType, type})


class Submission(BlockProviderExecutor):
    """The half of the executor that takes calls. The other one, `HighThroughputExecutor`, says where they run."""

    wants_payloads = True

    link: Link
    kernel: Kernel
    mpi_launcher = ""  # what starts MPI programs; "": tasks are none

    def take_calls(self, link: Link, kernel: Kernel) -> None:
        """From now on calls go there."""
        self.link, self.kernel = link, kernel
        self._shared = link.tries.warm  # where large payloads go; the interchange opens them for other hosts
        self._fixed = link.functions.fixed
        self._is_held: Callable[[], bool] = lambda: False
        self.weights = Weights()
        link.functions.was_pickled = self.weights.pickled
        self._prepared: WeakSet[PreparedCall] = WeakSet()  # changed and read under _preparing
        self._preparing = threading.Lock()
        self.coming: set[Future[Any]] = set()  # calls of tasks that are being prepared; each change is one step
        link.is_awaited = self._is_awaited
        kernel.emptied = link.wake  # a shutdown may wait for that
        link.outgoing.awaiting_functions = self._awaiting_functions
        link.channel.on(NEST, self._hear_nested)
        link.channel.on_object = self._object_asked
        if self.mpi_launcher:
            self.__dict__["call"] = self._call  # each is looked at: none may go without its nodes

    def call(
        self,
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        options: Options | None = None,
    ) -> AppFuture[Any]:
        """Run `fn(*args, **kwargs)`. What can't be pickled makes a future that has failed already."""
        number = self._fixed.get(fn) if type(fn) in _FIXED_KINDS else None
        if number is not None and not kwargs and options is None:
            for argument in args:
                if type(argument) not in _PLAIN:
                    break
            else:
                data = dumps(args, 5)
                if len(data) < serialize.LARGE and b"__main__" not in data:
                    return self.link.submit(number, data)
        return self._call(fn, args, dict(kwargs), options)

    def _call(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], options: Options | None = None
    ) -> AppFuture[Any]:
        name = name_of(fn)
        self._expect_nodes(options)
        try:
            number = self._number(fn, name)
            payload = dump_arguments(args, kwargs, name, self._shared, self.in_place_for(kwargs), self.objects)
            if type(payload) is not bytes or len(payload) >= serialize.LARGE:
                self.weights.called(fn, args, kwargs, size_of(payload))
            payload = self._with_function_s(payload, number, name)
        except SerializationError as error:
            return _failed(error)
        except FilesInArguments:
            return self._call_with_files(fn, args, kwargs, options)
        record = None if options is None else self.record(options, name)
        if isinstance(payload, Dependent):
            return self.submit_dependent(number, payload, record)
        return self.link.submit(number, payload, record)

    def _call_with_files(self, *call: Any) -> AppFuture[Any]:
        assert self.call_with_files is not None  # set with files_are_in_place
        return self.call_with_files(*call)

    def call_chunk(
        self, fn: Callable[..., Any], calls: list[tuple[Any, ...]], options: Options | None = None
    ) -> AppFuture[Any]:
        """Run several calls of one function as one task; the result is the list of theirs.

        Raises:
            FutureInArguments: there are futures among the arguments.
        """
        name = name_of(fn)
        self._expect_nodes(options)
        try:
            number = self._number(fn, name)
            dumped = serialize.dump_chunk(calls, f"arguments of {name}")
            if self.files_are_in_place is not None and serialize.names_file(dumped):
                refuse_files(calls, self.files_are_in_place)
            held = found_in(dumped, self.objects, f"an argument of {name}") + self._held_by_function(number, name)
            payload = finish_payload(dumped, self._shared, held)
            self.weights.called(fn, calls[0], {}, size_of(payload))
        except FilesInArguments:
            raise FutureInArguments from None  # each call is one that has to wait
        except SerializationError as error:
            if has_future(calls):
                raise FutureInArguments from None
            return _failed(error)
        return self.link.submit(number, payload, None if options is None else self.record(options, name))

    def _number(self, fn: Callable[..., Any], name: str) -> int:
        number = self._fixed.get(fn) if type(fn) in _FIXED_KINDS else None
        if number is None:
            number = self.link.functions.number_of(fn)
            self.link.names[number] = name
        return number

    def record(self, options: Options, name: str) -> TaskRecord:
        """For a task that has options of its own."""
        if options.priority or options.walltime or options.resources is not None:
            self.link.outgoing.sends_singly = True
        return TaskRecord(0, options, name, time())  # 0: it has the number of its first try

    def _expect_nodes(self, options: Options | None) -> None:
        if self.mpi_launcher:
            capacity.expect_nodes(self, options)

    def check_resources(self, asked: Asked) -> None:
        """See the base class."""
        capacity.check(self, asked)

    def submit_dependent(self, number: int, payload: Dependent, record: TaskRecord | None) -> AppFuture[Any]:
        """Run a task when its futures are done. number: the function's."""
        future: AppFuture[Any] = AppFuture()
        future._state = PENDING
        future._fn = number
        future._record = record
        future._tid = next(self.link._ids)
        if record is not None:
            record.task = future._tid
        self.kernel.submit(future, payload.arguments, payload.futures, self)
        return future

    def launch(self, future: AppFuture[Any], arguments: bytes | Template, results: list[Any]) -> None:
        """The kernel has all that a task needs."""
        payload = filled(arguments, results, self._shared)
        if self.link.stage in (Stage.STOPPING, Stage.CLOSED):
            raise self.link.broken or RuntimeError("the pool has ended")
        if future._record is not None:
            payload = first(payload, future._record.task)
        self.link.launch(future, payload)

    # -- calls that are launched more than once

    def new_id(self) -> int:
        """See the base class."""
        return next(self.link._ids)

    def unfinished(self) -> list[Future[Any]]:
        """See the base class."""
        return [*self.kernel.waiting(), *list(self.link.tries.table.values()), *self.coming.copy()]

    def hold(self, is_busy: Callable[[], bool]) -> None:
        """See the base class."""
        self._is_held = is_busy

    def wake(self) -> None:
        """See the base class."""
        self.link.wake()

    def prepare(self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> PreparedCall:
        """See the base class."""
        name = name_of(fn)
        payload = dump_arguments(args, kwargs, name, self._shared, self.in_place_for(kwargs), self.objects)
        self.weights.called(fn, args, kwargs, size_of(payload))
        return self._call_of(fn, name, payload)

    def prepare_staged(
        self, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], instead: Instead | None = None
    ) -> PreparedCall:
        """See the base class."""
        name = name_of(fn)
        if instead is None:
            return self._call_of(fn, name, dump_arguments(args, kwargs, name, self._shared, None, self.objects))
        return self._call_of(fn, name, dump_staged(args, kwargs, name, self._shared, instead, self.objects))

    def _call_of(self, fn: Callable[..., Any], name: str, payload: Payload) -> PreparedCall:
        number = self._number(fn, name)
        call = PreparedCall(number, name, self._with_function_s(payload, number, name))
        with self._preparing:
            self._prepared.add(call)
        return call

    def launch_try(
        self, call: PreparedCall, results: list[Any], options: Options, of: TaskRecord | None = None
    ) -> AppFuture[Any]:
        """See the base class."""
        self._expect_nodes(options)
        name = call.name if of is None else of.label  # what a bash app launches is called otherwise than the app
        record, payload = self.record(options, name), call.with_results(results, self._shared)
        return self.link.submit(call.number, payload if of is None else try_of(of, record, payload), record)

    def _with_function_s(self, payload: Payload, number: int, name: str) -> Payload:
        return hold_also(payload, self._held_by_function(number, name)) if Objects.are_there else payload

    def _held_by_function(self, number: int, name: str) -> tuple[Stored, ...]:
        """The objects whose Refs a function closes over, or has as globals."""
        data = self.link.functions.data.get(number, b"")
        return found_in(data, self.objects, name) if Objects.are_there else ()

    def _object_asked(self, record: WantObject | ObjectTaken) -> None:
        """The interchange asks for an object, the first time that a task needs it; or whether one is known still."""
        stored = known(record.key)  # had until the answer is on its way: else who gets it may have been told to drop it
        if isinstance(record, WantObject):
            self.link.send(*answer(record.key, stored, self.objects))
        elif stored is None:
            self.link.send(DropObjects([record.key]))

    def object_dropped(self, key: str) -> None:
        """The last reference to an object is gone. Any thread, anywhere."""
        if self.link.stage in (Stage.OPEN, Stage.DRAINING):
            self.link.send(DropObjects([key]))

    def _is_awaited(self) -> bool:
        return self.kernel.is_waiting() or self._is_held() or bool(self.coming)

    def _awaiting_functions(self) -> set[int]:
        with self._preparing:
            prepared = {call.number for call in self._prepared}
        return self.kernel.functions() | prepared

    def _hear_nested(self, parent: AppFuture[Any], task: int, body: bytes | memoryview) -> None:
        from parsl_pool.executors.high_throughput.nested import Nested  # only for tasks that make calls

        nested = Nested(self)
        self.link.channel.on(NEST, nested.hear)
        nested.hear(parent, task, body)

    def name_of(self, future: AppFuture[Any]) -> str:
        """See `Link.name_of`."""
        return self.link.name_of(future)

    def pump(self, future: AppFuture[Any], deadline: float | None) -> bool:
        """See `Link.pump`."""
        return self.link.pump(future, deadline)


def _failed(error: BaseException) -> AppFuture[Any]:
    future: AppFuture[Any] = AppFuture()
    future.finish(Failure(frameless(error)))
    return future
