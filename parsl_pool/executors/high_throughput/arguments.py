"""A task's arguments to bytes, in the thread that submits: errors show at once, and what is sent is frozen.

Futures among them, at any depth of anything that pickles, become numbered tokens; their results take the
tokens' places on the worker, without the client having opened them.
"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from concurrent.futures import Future
from functools import partial
from typing import Any

from parsl_pool.dataflow.staged import FILES, FilesInArguments, Instead
from parsl_pool.errors import InternalError, SerializationError, described
from parsl_pool.executors.high_throughput.large_arguments import SharedPayload, limit
from parsl_pool.executors.high_throughput.templates import Template, template_of
from parsl_pool.executors.high_throughput.warm_memory import WarmMemory
from parsl_pool.files import File
from parsl_pool.futures import FutureInArguments
from parsl_pool.futures.data_future import DataFuture
from parsl_pool.interchange import inherited, serialize
from parsl_pool.objects import Objects, Stored, found_in, held_by, holding, named_in

inherited.refuse_connections()

InPlace = Callable[[list[Any]], bool]


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


Payload = bytes | SharedPayload | Dependent


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
    objects: Objects | None = None,
) -> Payload:
    """A payload.

    Args:
        shared: where large ones may go; None if workers share no memory with us.
        in_place: tells whether all of these files are where the task will need them; None: they are.
        objects: those of the pool, if it has any.

    Raises:
        SerializationError: one of them can't be pickled, or is another pool's Ref; it says which.
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
        is_by_value = False
    except FutureInArguments:
        return _dump_with_tokens(packed, args, kwargs, name, in_place, objects)
    except BaseException as problem:  # told below, or overcome by pickling by value
        serialize.pass_on(problem, lambda: pickle.dumps(packed, 5))
        if _has_future(problem, packed):
            return _dump_with_tokens(packed, args, kwargs, name, in_place, objects)
        is_by_value = True
    try:
        if is_by_value:
            buffers = []
            data = serialize.dump_by_value(packed, name, buffers)
            _are_ours_alone(data, packed, in_place)
        elif serialize.names_main(data) and not _are_ours_alone(data, packed, in_place):
            buffers.clear()
            data = serialize.dump_by_value(packed, name, buffers)
    except SerializationError:
        # There may be a future beside, or inside, what failed first; if not, this tells what is to blame.
        return _dump_with_tokens(packed, args, kwargs, name, in_place, objects)
    held = found_in(data, objects, f"an argument of {name}")
    payload = serialize.with_buffers(data, buffers) if buffers else data
    return finish_payload(payload, shared, held)


def _are_ours_alone(data: bytes | list[Any], packed: Any, in_place: InPlace | None) -> bool:
    """True if a pickle that names `__main__` does so for its files and Refs alone. Raises FilesInArguments."""
    has_file = serialize.names_file(data)
    if has_file and in_place is not None:
        refuse_files(packed, in_place)
    return (has_file or serialize.names_object(data)) and not serialize.names_main_but_for_ours(data)


def filled(arguments: bytes | Template, results: list[Any], shared: WarmMemory | None) -> bytes | SharedPayload:
    """The payload of a task that has waited, now that the payloads of what it waited for are there."""
    if type(arguments) is Template:
        data = arguments.filled(results)
        if data is not None:
            return data
    held = held_by(arguments)
    for result in results:  # a Ref may be one
        held += named_in(result)
    return finish_payload(serialize.dump_with_results(_with_tokens(arguments), results), shared, held)


def size_of(payload: Payload) -> int:
    """Bytes of it, as far as they are ours: results of other tasks that it is filled with are not."""
    if isinstance(payload, SharedPayload):
        return payload.size
    arguments = payload.arguments if isinstance(payload, Dependent) else payload
    return 0 if isinstance(arguments, Template) else len(arguments)


def _with_tokens(arguments: bytes | Template) -> bytes:
    return arguments.with_tokens() if isinstance(arguments, Template) else arguments


def finish_payload(
    payload: bytes | list[Any], shared: WarmMemory | None, held: tuple[Stored, ...] = ()
) -> bytes | SharedPayload:
    """Put a large payload into shared memory, if that is allowed and there is room. held: objects that it names.

    Raises:
        SerializationError: there isn't, and it is too large for a message.
    """
    if shared is not None and serialize.size_of(payload) >= serialize.LARGE:
        try:
            if serialize.first_byte(payload) == 0x80 or len(shared.out) < limit():
                made = SharedPayload(payload, shared)
                made.held = held
                return made
        except OSError:
            pass  # no memory or descriptors for it: through the socket, which is slower
    if (size := serialize.size_of(payload)) > serialize.MAX_PAYLOAD:
        raise serialize.too_large("the arguments", size)
    return holding(serialize.join(payload), held)


def hold_also(payload: Payload, more: tuple[Stored, ...]) -> Payload:
    """The payload, which holds these objects as well."""
    if not more:
        return payload
    if isinstance(payload, Dependent):
        data = _with_tokens(payload.arguments)
        payload.arguments = holding(data, held_by(payload.arguments) + more)
    elif isinstance(payload, SharedPayload):
        payload.held += more
    else:
        return holding(payload, held_by(payload) + more)
    return payload


def _has_future(problem: BaseException, packed: object) -> bool:
    """A plain Future fails to pickle by its lock; only then is it worth looking for one."""
    return isinstance(problem, TypeError) and "pickle" in described(problem) and _Finder().finds(packed)


class _Tokens:
    """Numbers the futures met while pickling; and puts others in the places of files."""

    def __init__(self, instead: Instead | None = None) -> None:
        self._instead = instead
        self.replaces_files = instead is not None
        self.futures: list[Future[Any]] = []
        self._numbers: dict[int, int] = {}

    def token(self, thing: object) -> tuple[int, tuple[Any, ...]] | None:
        """The persistent id of a future; None for everything else."""
        if self._instead is not None and isinstance(thing, FILES):
            thing = self._instead.of(thing)
        if not isinstance(thing, Future):
            return None
        number = self._numbers.get(id(thing))
        if number is None:
            number = self._numbers[id(thing)] = len(self.futures)
            self.futures.append(thing)
        return number, ()


    def reduced(self, thing: object) -> Any:
        """What pickle is to write for a File; NotImplemented for everything else, and for one that stays."""
        if self._instead is None or not isinstance(thing, File):
            return NotImplemented
        return self._instead.of(thing).__reduce__()


class _FilesFound(_Tokens):
    """Finds files. What is pickled meanwhile is of no use.

    Attributes:
        files: by their ids.
    """

    def __init__(self) -> None:
        super().__init__()
        self.files: dict[int, Any] = {}

    def token(self, thing: object) -> Any:
        """See the base class."""
        if isinstance(thing, FILES):
            self.files[id(thing)] = thing
        return super().token(thing)


Beside = Callable[[pickle.PickleBuffer], Any]


class _TokenPickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, tokens: _Tokens, beside: Beside | None = None) -> None:
        super().__init__(file, 5, buffer_callback=beside)
        self._tokens = tokens

    def persistent_id(self, obj: object) -> Any:
        return self._tokens.token(obj)


class _StagingPickler(_TokenPickler):
    def reducer_override(self, obj: object) -> Any:
        return self._tokens.reduced(obj)


def _pickler(file: io.BytesIO, tokens: _Tokens, beside: Beside | None = None) -> _TokenPickler:
    return (_StagingPickler if tokens.replaces_files else _TokenPickler)(file, tokens, beside)


def _by_value(file: io.BytesIO, tokens: _Tokens, beside: Beside | None = None) -> Any:
    """The same by cloudpickle."""
    from parsl_pool.interchange import by_value  # on first need: 20 ms

    class ByValue(by_value.Pickler):
        def persistent_id(self, obj: object) -> Any:
            return tokens.token(obj)

        def reducer_override(self, obj: Any) -> Any:
            reduced = tokens.reduced(obj)
            return super().reducer_override(obj) if reduced is NotImplemented else reduced

    return ByValue(file, 5, buffer_callback=beside)


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
    tokens = _Tokens()
    try:
        _by_value(io.BytesIO(), tokens).dump(packed)
    except BaseException as problem:  # the error is told by others; here only the question counts
        serialize.pass_on(problem, lambda: _by_value(io.BytesIO(), _Tokens()).dump(packed))
    return bool(tokens.futures)


def _dump_with_tokens(
    packed: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    in_place: InPlace | None,
    objects: Objects | None,
) -> Dependent:
    dependent = _dumped_with_tokens(packed, args, kwargs, name, _Tokens)
    data = dependent.arguments
    assert isinstance(data, bytes)  # no template
    if in_place is not None:
        if any(isinstance(each, DataFuture) for each in dependent.futures) or serialize.names_file(data):
            refuse_files(packed, in_place)
    return _holding(dependent, objects, name)


def _holding(dependent: Dependent, objects: Objects | None, name: str) -> Dependent:
    data = dependent.arguments
    assert isinstance(data, bytes)  # no template
    dependent.arguments = holding(data, found_in(data, objects, f"an argument of {name}"))
    return dependent


def dump_staged(
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    shared: WarmMemory | None,
    instead: Instead,
    objects: Objects | None = None,
) -> Payload:
    """A payload with others in the places of its files. Raises SerializationError."""
    packed: Any = [args, kwargs] if kwargs else args
    buffers: list[pickle.PickleBuffer] = []
    dependent = _dumped_with_tokens(packed, args, kwargs, name, partial(_Tokens, instead), buffers)
    if dependent.futures:
        if buffers:
            dependent = _dumped_with_tokens(packed, args, kwargs, name, partial(_Tokens, instead))
        return _holding(dependent, objects, name)
    data = dependent.arguments
    assert isinstance(data, bytes)  # no template
    held = found_in(data, objects, f"an argument of {name}")
    return finish_payload(serialize.with_buffers(data, buffers) if buffers else data, shared, held)


def refuse_files(packed: object, in_place: InPlace) -> None:
    """Raise FilesInArguments if there are files, at any depth of it, that are not in place."""
    files = files_in(packed)
    if files and not in_place(files):
        raise FilesInArguments(files)


def files_in(packed: object) -> list[Any]:
    """The Files and DataFutures in something that can be pickled."""
    finding = _FilesFound()
    try:
        _TokenPickler(io.BytesIO(), finding, _left_out).dump(packed)
    except BaseException as problem:  # by value, then; that it can't be pickled is told by others
        serialize.pass_on(problem, lambda: _TokenPickler(io.BytesIO(), _FilesFound(), _left_out).dump(packed))
        finding = _FilesFound()
        _by_value(io.BytesIO(), finding, _left_out).dump(packed)
    return list(finding.files.values())


def _left_out(_: pickle.PickleBuffer) -> bool:
    """What pickle is to do with a buffer where nobody will see the pickle."""
    return False


def _dumped_with_tokens(
    packed: object,
    args: tuple[Any, ...],
    kwargs: dict[str, Any],
    name: str,
    make: Callable[[], _Tokens],
    buffers: list[pickle.PickleBuffer] | None = None,
) -> Dependent:
    """make: what numbers the futures. buffers: large ones are added to these; None: all stay in the pickle."""
    tokens = make()
    file = io.BytesIO()
    beside = None if buffers is None else partial(serialize.keep_in_band, buffers=buffers)
    try:
        _pickler(file, tokens, beside).dump(packed)
        data = file.getvalue()
        if serialize.names_main(data) and serialize.names_main_but_for_ours(data):
            raise pickle.PicklingError("refers to __main__")
    except BaseException as problem:  # told in the SerializationError, if by value does not work either
        serialize.pass_on(problem, lambda: _pickler(io.BytesIO(), make()).dump(packed))
        tokens = make()
        file = io.BytesIO()
        if buffers:
            buffers.clear()
        try:
            _by_value(file, tokens, beside).dump(packed)
        except BaseException as second:  # whatever user code raises while it is pickled
            serialize.pass_on(second, lambda: _by_value(io.BytesIO(), make()).dump(packed))
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
