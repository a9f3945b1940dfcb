"""What a worker answers, and exceptions on their way: in an envelope that can always be read, whatever users write."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from pickle import dumps, loads
from time import monotonic_ns, time
from typing import Any

from parsl_pool.errors import RemoteError, SerializationError, bounded, described
from parsl_pool.interchange import serialize, wire
from parsl_pool.interchange.page import SINCE

Place = tuple[str, int, float, float]
"""Where and when something was raised: host, process id, when the task began, and now; `time()` seconds."""


def dump_exception(error: BaseException, skip_frames: int = 0, place: Place | None = None) -> bytes:
    """An exception with its traceback text and its chain of causes, so that reading it can't fail.

    Each link is pickled by itself and read back once, here: one that doesn't survive becomes a `RemoteError`.
    """
    import traceback  # on first need: it costs 8 ms

    frames = error.__traceback__
    for _ in range(skip_frames):
        frames = frames.tb_next if frames is not None and frames.tb_next is not None else frames
    try:
        text = bounded("".join(traceback.format_exception(type(error), error, frames)))
    except BaseException as problem:  # a __str__ of the user's: say so in place of the traceback
        text = f"(the traceback of a {type(error).__name__} can't be formatted: {described(problem)})"
    links: list[tuple[bytes | None, str, str, str]] = []
    link: BaseException | None = error
    seen: set[int] = set()
    while link is not None and id(link) not in seen and len(links) < 100:
        seen.add(id(link))
        links.append(_dump_link(link))
        cause = link.__cause__
        link = link.__context__ if cause is None and not link.__suppress_context__ else cause  # it may be false
    return dumps((text, links, place), 5)


def _dump_link(error: BaseException) -> tuple[bytes | None, str, str, str]:
    cls = type(error)
    name = cls.__qualname__ if cls.__module__ in ("builtins", "__main__") else f"{cls.__module__}.{cls.__qualname__}"
    try:
        text = bounded(str(error))
    except BaseException as problem:  # a __str__ of the user's
        text = f"(str() of it raises {type(problem).__name__})"
    try:
        try:
            data = dumps(error, 5)
        except Exception:  # not importable, perhaps: by value then, or the error below
            data = serialize.dump_by_value(error, "the exception")
        if not isinstance(loads(data), BaseException):
            return None, name, text, "it unpickles to something else"
        return data, name, text, ""
    except BaseException as problem:  # the reason goes to the user in the RemoteError; rebuilt, it may exit
        return None, name, text, described(problem)


def load_exception(envelope: serialize.Payload, wrap: Callable[[str], BaseException]) -> BaseException:
    """The exception in an envelope, its `__cause__` being `wrap(traceback text)`, the user's chain behind that."""
    text, links, _ = loads(envelope)
    chain = [_load_link(link, text) for link in links]
    error = chain[0]
    cause = wrap(text)
    for above, below in zip([error, cause, *chain[1:]], [cause, *chain[1:]]):
        BaseException.__setattr__(above, "__cause__", below)  # the user's class may take no attributes
    return error


def summary_of_exception(envelope: serialize.Payload) -> tuple[str, str, Place | None]:
    """Class name and text of the error in an envelope, and its place; the error itself is not rebuilt."""
    _, links, place = loads(envelope)
    return links[0][1], links[0][2], place


def _load_link(link: tuple[bytes | None, str, str, str], traceback_text: str) -> BaseException:
    data, name, text, reason = link
    if data is not None:
        try:
            error = loads(data)
        except KeyboardInterrupt:
            raise
        except BaseException as problem:  # importable there, not here; or it ends the interpreter when rebuilt
            reason = f"{described(problem)} (when it was rebuilt here)"
        else:
            if isinstance(error, BaseException):
                return error
            reason = "it unpickles to something else here"
    return RemoteError(name, text, traceback_text, reason)


# ---- what a worker answers to a call


def dump_result(value: object, call: Any) -> tuple[int, Any]:
    """Status and payload of what a call has returned."""
    try:
        return wire.OK, serialize.dump_value(value, "the result")
    except SerializationError as problem:
        told = SerializationError(f"the result of {_name_of(call)}", problem.path, problem.reason)
        exit_ = problem.__cause__
        if isinstance(exit_, SystemExit):  # as if the task had raised it, as in the standard library's pools
            exit_.__context__ = exit_.__cause__ = None
            told.__cause__ = told.__context__ = None
            exit_.__cause__ = told
            return wire.RAISED, answer_with_error(exit_, 0)
        told.__cause__ = problem.__cause__
    except BaseException as problem:  # a KeyboardInterrupt: no signal has that effect here, so it is the object's own
        told = SerializationError(f"the result of {_name_of(call)}", "", type(problem).__name__)
        told.__cause__ = problem
    return wire.UNSENDABLE, answer_with_error(told, 0)


def _name_of(call: Any) -> str:
    while type(call) is partial:
        call = call.func
    try:
        return str(call.__qualname__)
    except BaseException:  # a callable object, perhaps one with ways of its own
        return type(call).__name__


page_words: Any = None
"""Of this worker's page: when the task began is only asked for when it fails."""


def _place() -> Place:
    now = time()
    began = now if page_words is None else now - (monotonic_ns() - page_words[SINCE]) / 1e9
    return os.uname().nodename, os.getpid(), began, now


def answer_with_error(problem: BaseException, skip_frames: int = 1) -> bytes:
    """The payload for a call's error."""
    try:
        return dump_exception(problem, skip_frames, _place())
    except BaseException as second:  # the user's exception defends itself: its name must do
        name = type(problem).__name__
        return dumps(("", [(None, name, "", f"{type(second).__name__} while it was described")], _place()), 5)
