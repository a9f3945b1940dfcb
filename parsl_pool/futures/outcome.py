"""What a future ends with: a value, an error, or the bytes of either, which are opened when somebody asks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from parsl_pool.errors import InternalError, SerializationError, bounded, described

if TYPE_CHECKING:
    from parsl_pool.futures.states import Attempt


class Unopened(Protocol):
    """An outcome that is still to be opened."""

    failed: bool  # the task's own error is in it, as far as is known without opening it

    def open(self) -> Any:
        """The value.

        Raises:
            BaseException: the task's error.
        """


class Failure:
    """An outcome that is an error, and what is known of the only try, if there was one and nobody else knows."""

    __slots__ = ("attempt", "error")

    def __init__(self, error: BaseException, attempt: Attempt | None = None) -> None:
        self.error, self.attempt = error, attempt


class Value:
    """An outcome that is a value."""

    __slots__ = ("value",)

    def __init__(self, value: object) -> None:
        self.value = value


def frameless(error: BaseException) -> BaseException:
    """The error as a future may keep it: with its traceback as a text, as one that came from a worker.

    A frame holds its caller's, and with it all variables of whoever called submit(). The future among them would
    make a cycle, in which arguments of any size live on until the garbage collector finds it.
    """
    import traceback  # only when something is wrong, as the next
    from concurrent.futures.process import _RemoteTraceback

    try:
        text = bounded("".join(traceback.format_exception(error)))
    except Exception as problem:  # an attribute of the user's class
        text = f"(the traceback of a {type(error).__name__} can't be formatted: {described(problem)})"
    links: dict[int, BaseException] = {}
    todo: list[BaseException | None] = [error]
    while todo:
        link = todo.pop()
        if link is not None and id(link) not in links:
            links[id(link)] = link
            BaseException.with_traceback(link, None)
            todo += (link.__cause__, link.__context__)
    told = _RemoteTraceback(f'\n"""\n{text}"""')  # type: ignore[arg-type]  # typeshed is wrong: it is a text
    cause = error.__cause__
    told.__cause__ = error.__context__ if cause is None and not error.__suppress_context__ else cause  # may be false
    BaseException.__setattr__(error, "__cause__", told)
    return error


def opened_outcome(data: Any) -> tuple[Value | Failure, BaseException | None]:
    """An outcome opened; and what a signal's handler raised meanwhile, if that was taken for the outcome's fault."""
    if type(data) is not bytes and (data.failed or getattr(data, "may_raise", False)):
        try:
            return Value(data.open()), None
        except BaseException as error:  # the task's own error; the caller raises it
            if isinstance(error, KeyboardInterrupt) and not getattr(error, "__cause__", None):
                raise  # Ctrl-C while opening: nothing is known yet
            # Without our frames: they have the error among their variables: a cycle.
            return Failure(error.with_traceback(None), getattr(data, "attempt", None)), None
    try:
        return Value(_open_bytes(data) if type(data) is bytes else data.open()), None
    except SerializationError as error:
        first = error.with_traceback(None)
    try:
        # What can't be rebuilt can't be rebuilt twice. Else a handler has raised while it was: a time-out, say.
        return Value(_open_bytes(data) if type(data) is bytes else data.open()), first.__cause__
    except SerializationError:
        return Failure(first), None


def _nobody_opens(data: bytes) -> Any:
    raise InternalError(f"{len(data)} bytes of a result, and nobody to open them")


_open_bytes: Callable[[bytes], Any] = _nobody_opens


def set_opener(opener: Callable[[bytes], Any]) -> None:
    """Say how results that are plain bytes are opened; there is one format in a process."""
    global _open_bytes
    _open_bytes = opener
