"""A task's arguments to bytes, in the thread that submits: errors show at once, and what is sent is frozen.

Futures among them, at any depth of anything that pickles, become numbered tokens; their results take the
tokens' places on the worker, without the client having opened them.
"""

from __future__ import annotations

import io
import os
import pickle
import resource
from concurrent.futures import Future
from pickle import dumps
from typing import Any

from parsl_pool.errors import SerializationError
from parsl_pool.futures import FutureInArguments
from parsl_pool.interchange import serialize

_PLAIN = frozenset({int, float, bool, str, type(None), complex})
_BYTES = frozenset({bytes, bytearray, str})


class SharedPayload:
    """Arguments in shared memory, kept for another try until the task is over."""

    __slots__ = ("fd", "short")
    count = 0
    limit = 0

    def __init__(self, short: bytes, fd: int) -> None:
        self.short, self.fd = short, fd
        SharedPayload.count += 1

    def __del__(self) -> None:
        SharedPayload.count -= 1
        os.close(self.fd)


class Dependent:
    """Arguments with tokens in them, and the futures that the tokens stand for."""

    __slots__ = ("arguments", "futures")

    def __init__(self, arguments: bytes, futures: list[Future[Any]]) -> None:
        self.arguments, self.futures = arguments, futures


def dump_arguments(
    args: tuple[Any, ...], kwargs: dict[str, Any], name: str, shared: bool
) -> bytes | SharedPayload | Dependent:
    """A payload. shared: large ones may go through shared memory.

    Raises:
        SerializationError: one of them can't be pickled; it says which.
    """
    packed: Any = [args, kwargs] if kwargs else args
    buffers: list[pickle.PickleBuffer] = []
    try:
        data = dumps(packed, 5, buffer_callback=lambda b: serialize._keep_in_band(b, buffers))
        if b"__main__" in data:
            buffers.clear()
            data = serialize.dump_by_value(packed, name, buffers)
    except FutureInArguments:
        return _dump_with_tokens(packed, args, kwargs, name)
    except Exception as problem:  # told below, or overcome by pickling by value
        if _has_future(problem, packed):
            return _dump_with_tokens(packed, args, kwargs, name)
        buffers.clear()
        try:
            data = serialize.dump_by_value(packed, name, buffers)
        except SerializationError:
            # There may be a future beside, or inside, what failed first; if not, this tells what is to blame.
            return _dump_with_tokens(packed, args, kwargs, name)
    payload = serialize._with_buffers(data, buffers) if buffers else data
    return finish_payload(payload, shared)


def finish_payload(payload: bytes | list[Any], shared: bool) -> bytes | SharedPayload:
    """Put a large payload into shared memory, if that is allowed and there is room."""
    if shared and serialize.size_of(payload) >= serialize.LARGE and SharedPayload.count < _limit():
        try:
            return SharedPayload(*serialize.to_shared_memory(payload, "arguments"))
        except OSError:
            pass  # no memory or descriptors for it: through the socket, which is slower
    return serialize.join(payload)


def _limit() -> int:
    """How many descriptors arguments may take: each counts here, in the interchange and on its way."""
    if not SharedPayload.limit:
        SharedPayload.limit = max(16, min(128, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8))
    return SharedPayload.limit


def _has_future(problem: BaseException, packed: object) -> bool:
    """A plain Future fails to pickle by its lock; only then is it worth looking for one."""
    return isinstance(problem, TypeError) and "pickle" in str(problem) and _Finder().finds(packed)


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
        except Exception:  # the error is told by the next step; here only the question counts
            pass
        return self._found


def has_future(packed: object) -> bool:
    """True if there is a future in something that can't be pickled."""
    import cloudpickle  # on first need: 20 ms

    tokens = _Tokens()

    class ByValue(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
        def persistent_id(self, obj: object) -> Any:
            return tokens.token(obj)

    try:
        ByValue(io.BytesIO(), 5).dump(packed)
    except Exception:  # the error is told by others; here only the question counts
        pass
    return bool(tokens.futures)


def _dump_with_tokens(packed: object, args: tuple[Any, ...], kwargs: dict[str, Any], name: str) -> Dependent:
    tokens = _Tokens()
    file = io.BytesIO()
    try:
        _TokenPickler(file, tokens).dump(packed)
        data = file.getvalue()
        if b"__main__" in data:
            raise pickle.PicklingError("refers to __main__")
    except Exception as problem:  # told in the SerializationError, if by value does not work either
        import cloudpickle  # on first need: 20 ms

        tokens = _Tokens()

        class ByValue(cloudpickle.Pickler):  # type: ignore[misc]  # cloudpickle has no types
            def persistent_id(self, obj: object) -> Any:
                return tokens.token(obj)

        file = io.BytesIO()
        try:
            ByValue(file, 5).dump(packed)
        except Exception as second:  # whatever user code raises while it is pickled
            from parsl_pool.interchange.diagnose import unpicklable_part

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
