"""A task's arguments to bytes, in the thread that submits: errors show at once, and what is sent is frozen.

Futures among them, at any depth of anything that pickles, become numbered tokens; their results take the
tokens' places on the worker, without the client having opened them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from parsl_pool.dataflow.staged import FilesInArguments
from parsl_pool.errors import InternalError, SerializationError, described
from parsl_pool.executors.high_throughput.large_arguments import SharedPayload, limit
from parsl_pool.executors.high_throughput.templates import Template, template_of
from parsl_pool.executors.high_throughput.warm_memory import WarmMemory
from parsl_pool.futures import FutureInArguments
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.interchange import inherited, serialize

inherited.refuse_connections()

InPlace = Callable[[Any], bool]


class Dependent:
    """Arguments with tokens in them, and the futures that the tokens stand for."""

    __slots__ = ("arguments", "futures")

    def __init__(self, arguments: bytes | Template, futures: list[Future[Any]]) -> None:
        self.arguments, self.futures = arguments, futures


class PreparedCall:
    """A call that can be launched, more than once: its arguments are frozen."""

    __slots__ = ("__weakref__", "futures", "name", "number", "payload")

    def __init__(self, number: int, name: str, payload: bytes | SharedPayload | Dependent) -> None:
        self.number, self.name, self.payload = number, name, payload
        self.futures = payload.futures if isinstance(payload, Dependent) else []

    def with_results(self, payloads: list[Any], shared: WarmMemory | None) -> bytes | SharedPayload:
        """What is sent, when the results of the futures are known."""
        if isinstance(self.payload, Dependent):
            return filled(self.payload.arguments, payloads, shared)
        return self.payload

    def values(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments as the task will see them; its futures are done. Raises what their opening raises."""
        if not isinstance(self.payload, Dependent):
            raise InternalError("only asked for where there are futures")
        packed = _ValueUnpickler(io.BytesIO(_with_tokens(self.payload.arguments)), self.futures).load()
        return (tuple(packed[0]), packed[1]) if isinstance(packed, list) else (packed, {})


class _ValueUnpickler(pickle.Unpickler):
    def __init__(self, file: io.BytesIO, futures: list[Future[Any]]) -> None:
        super().__init__(file)
        self._futures = futures

    def persistent_load(self, pid: Any) -> Any:
        return self._futures[pid[0]].result()


def dump_arguments(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    shared: WarmMemory | None,
    in_place: InPlace | None = None,
) -> bytes | SharedPayload | Dependent:
    """A payload.

    Args:
        shared: where large ones may go; None if workers share no memory with us.
        in_place: tells whether all files in a value are where the task will need them; None: they are.

    Raises:
        SerializationError: one of them can't be pickled; it says which.
        FilesInArguments: there are files that are not in place.
    """
    if not kwargs:
        template = template_of(args)
        if template is not None:
            return Dependent(*template)
    packed: Any = [args, kwargs] if kwargs else args
    data: bytes | list[Any]
    try:
        data, buffers = serialize.dump_parts(packed)
        if serialize.names_main(data) and not _are_files_alone(data, packed, in_place):
            buffers.clear()
            data = serialize.dump_by_value(packed, name, buffers)
    except FutureInArguments:
        return _dump_with_tokens(packed, args, kwargs, name, in_place)
    except FilesInArguments:
        raise
    except BaseException as problem:  # told below, or overcome by pickling by value
        serialize.pass_on(problem, lambda: pickle.dumps(packed, 5))
        if _has_future(problem, packed):
            return _dump_with_tokens(packed, args, kwargs, name, in_place)
        buffers = []
        try:
            data = serialize.dump_by_value(packed, name, buffers)
        except SerializationError:
            # There may be a future beside, or inside, what failed first; if not, this tells what is to blame.
            return _dump_with_tokens(packed, args, kwargs, name, in_place)
        _are_files_alone(data, packed, in_place)
    payload = serialize.with_buffers(data, buffers) if buffers else data
    return finish_payload(payload, shared)


def _are_files_alone(data: bytes | list[Any], packed: Any, in_place: InPlace | None) -> bool:
    """True if a pickle that names `__main__` does so for its files alone. Raises FilesInArguments."""
    if not serialize.names_file(data):
        return False
    if in_place is not None and not in_place(packed):
        raise FilesInArguments
    return not serialize.names_main_but_for_files(data)


def filled(arguments: bytes | Template, results: list[Any], shared: WarmMemory | None) -> bytes | SharedPayload:
    """The payload of a task that has waited, now that the payloads of what it waited for are there."""
    if type(arguments) is Template:
        data = arguments.filled(results)
        if data is not None:
            return data
    return finish_payload(serialize.dump_with_results(_with_tokens(arguments), results), shared)


def _with_tokens(arguments: bytes | Template) -> bytes:
    return arguments.with_tokens() if isinstance(arguments, Template) else arguments


def finish_payload(payload: bytes | list[Any], shared: WarmMemory | None) -> bytes | SharedPayload:
    """Put a large payload into shared memory, if that is allowed and there is room.

    Raises:
        SerializationError: there isn't, and it is too large for a message.
    """
    if shared is not None and serialize.size_of(payload) >= serialize.LARGE:
        try:
            if serialize.first_byte(payload) == 0x80 or len(shared.out) < limit():
                return SharedPayload(payload, shared)
        except OSError:
            pass  # no memory or descriptors for it: through the socket, which is slower
    if (size := serialize.size_of(payload)) > serialize.MAX_PAYLOAD:
        raise serialize.too_large("the arguments", size)
    return serialize.join(payload)


def _has_future(problem: BaseException, packed: object) -> bool:
    """A plain Future fails to pickle by its lock; only then is it worth looking for one."""
    return isinstance(problem, TypeError) and "pickle" in described(problem) and _Finder().finds(packed)


class _Tokens:
    """Numbers the futures met while pickling."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []
        self._numbers: dict[int, int] = {}

    def token(self, thing: object) -> tuple[int, tuple[Any, ...]] | None:
        """The persistent id of a future; None for everything else."""
        if not isinstance(thing, Future):
            return None
        number = self._numbers.get(id(thing))
        if number is None:
            number = self._numbers[id(thing)] = len(self.futures)
            self.futures.append(thing)
        return number, ()


class _TokenPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, tokens: _Tokens) -> None:
        super().__init__(file, 5)
        self._tokens = tokens

    def persistent_id(self, obj: object) -> Any:
        return self._tokens.token(obj)


class _Finder(pickle.Pickler):
    """Looks for a future in something that can't be pickled."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), 5)
        self._found = False

    def persistent_id(self, obj: object) -> Any:
        if isinstance(obj, Future):
            self._found = True
            return 0
        return None

    def finds(self, packed: object) -> bool:
        try:
            self.dump(packed)
        except BaseException as problem:  # the error is told by the next step; here only the question counts
            serialize.pass_on(problem, lambda: _Finder().dump(packed))
        return self._found


def has_future(packed: object) -> bool:
    """True if there is a future in something that can't be pickled."""
    from parsl_pool.interchange import by_value  # on first need: 20 ms

    tokens = _Tokens()

    class ByValue(by_value.Pickler):
        def persistent_id(self, obj: object) -> Any:
            return tokens.token(obj)

    try:
        ByValue(io.BytesIO(), 5).dump(packed)
    except BaseException as problem:  # the error is told by others; here only the question counts
        serialize.pass_on(problem, lambda: ByValue(io.BytesIO(), 5).dump(packed))
    return bool(tokens.futures)


def _dump_with_tokens(
    packed: object, args: tuple[Any, ...], kwargs: dict[str, Any], name: str, in_place: InPlace | None
) -> Dependent:
    dependent = _dumped_with_tokens(packed, args, kwargs, name)
    if in_place is not None and not in_place([each for each in dependent.futures if isinstance(each, DataFuture)]):
        raise FilesInArguments
    _are_files_alone(dependent.arguments, packed, in_place)  # type: ignore[arg-type]  # no template
    return dependent


def _dumped_with_tokens(packed: object, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Dependent:
    tokens = _Tokens()
    file = io.BytesIO()
    try:
        _TokenPickler(file, tokens).dump(packed)
        data = file.getvalue()
        if serialize.names_main(data) and serialize.names_main_but_for_files(data):
            raise pickle.PicklingError("refers to __main__")
    except BaseException as problem:  # told in the SerializationError, if by value does not work either
        serialize.pass_on(problem, lambda: _TokenPickler(io.BytesIO(), _Tokens()).dump(packed))
        from parsl_pool.interchange import by_value  # on first need: 20 ms

        tokens = _Tokens()

        class ByValue(by_value.Pickler):
            def persistent_id(self, obj: object) -> Any:
                return tokens.token(obj)

        file = io.BytesIO()
        try:
            ByValue(file, 5).dump(packed)
        except BaseException as second:  # whatever user code raises while it is pickled
            serialize.pass_on(second, lambda: ByValue(io.BytesIO(), 5).dump(packed))
            from parsl_pool.interchange.diagnose import unpicklable_part  # only when something is wrong

            path, reason = unpicklable_part(packed, problem, (Future,))
            raise _named(SerializationError(name, path, reason), args, kwargs, name) from second
        data = file.getvalue()
    return Dependent(data, tokens.futures)


def _named(
    error: SerializationError, args: tuple[Any, ...], kwargs: dict[str, Any], name: str
) -> SerializationError:
    """The same error, saying which argument instead of which place in our tuple."""
    path = error.path
    where = f"an argument of {name}"
    if kwargs and path.startswith("[0]["):
        path = path[3:]
    elif kwargs and path.startswith("[1]["):
        key, _, rest = path[4:].partition("]")
        return SerializationError(f"argument {key.strip(chr(39))} of {name}", rest, error.reason)
    if path.startswith("["):
        index, _, rest = path[1:].partition("]")
        if index.isdigit() and int(index) < len(args):
            return SerializationError(f"argument {int(index) + 1} of {name}", rest, error.reason)
    return SerializationError(where, path, error.reason)
