"""Exceptions on their way to the client: whatever the user's class does, something useful must arrive."""

import builtins
import json
import sys
import threading
from collections.abc import Callable
from typing import Any

import pytest

from parsl_pool.errors import RemoteError
from parsl_pool.interchange import envelope


class Traceback(Exception):
    """What the client makes of the traceback's text."""


def there_and_back(error: BaseException) -> BaseException:
    return envelope.load_exception(envelope.dump_exception(error), Traceback)


def raised(call: Callable[[], Any]) -> BaseException:
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("it did not raise")


def chain_of(error: BaseException) -> list[BaseException]:
    """The error and its causes, without the traceback's stand-in."""
    links = [error]
    cause = error.__cause__
    assert isinstance(cause, Traceback)
    while (cause := cause.__cause__) is not None:
        links.append(cause)
    return links


class NeedsMore(Exception):
    """Its `args` do not fit its constructor."""

    def __init__(self, code: int, place: str) -> None:
        super().__init__(f"{code} at {place}")
        self.code, self.place = code, place


class KeepsArgs(Exception):
    def __init__(self, code: int, place: str) -> None:
        super().__init__(code, place)
        self.code, self.place = code, place


class BadText(Exception):
    def __str__(self) -> str:
        raise ValueError("no text")

    __repr__ = __str__


class NotAText(Exception):
    def __str__(self) -> str:
        return 5  # type: ignore[return-value]


class BadReduce(Exception):
    def __reduce__(self) -> Any:
        raise ValueError("not me")


class BadReduceWithBadText(Exception):
    def __reduce__(self) -> Any:
        raise BadText


class BecomesSomethingElse(Exception):
    def __reduce__(self) -> Any:
        return int, (5,)


class BadState(Exception):
    """Can be pickled, and not be opened again."""

    def __reduce__(self) -> Any:
        return BadState, (), {"x": 1}

    def __setstate__(self, state: Any) -> None:
        raise ValueError("no state")


class EndsTheProgram(Exception):
    def __reduce__(self) -> Any:
        return sys.exit, (3,)


class TakesNoAttributes(Exception):
    def __setattr__(self, name: str, value: Any) -> None:
        raise AttributeError("I am frozen")


class Empty(Exception):
    """Is false, as an error that counts its parts may be."""

    def __len__(self) -> int:
        return 0


@pytest.mark.parametrize(
    "error",
    [
        ValueError("why"),
        KeyError("key"),
        OSError(2, "No such file", "/path"),
        FileNotFoundError(2, "No such file", "/path"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "bad"),
        json.JSONDecodeError("bad", "doc", 1),
        StopIteration(5),
        SystemExit(3),
        SystemExit(),
        KeyboardInterrupt(),
        GeneratorExit(),
        Exception(),
        Exception({"any": ["args"]}, 5),
        KeepsArgs(3, "there"),
        TakesNoAttributes("why"),
        Empty("why"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_an_exception_comes_back_as_itself(error: BaseException) -> None:
    got = there_and_back(error)
    assert type(got) is type(error)
    assert (got.args, str(got), got.__dict__) == (error.args, str(error), error.__dict__)
    assert isinstance(got.__cause__, Traceback)


def test_attributes_and_notes_come_along() -> None:
    error = KeepsArgs(3, "there")
    error.found = [1, 2]  # type: ignore[attr-defined]
    vars(error)["__notes__"] = ["it was late"]
    got = there_and_back(error)
    assert got.found == [1, 2] and got.__notes__ == ["it was late"]  # type: ignore[attr-defined]


def test_a_class_that_cannot_be_imported_comes_by_value() -> None:
    class Local(Exception):
        code = 7

    got = there_and_back(Local("why"))
    assert type(got).__name__ == "Local" and got.code == 7 and got.args == ("why",)  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "error, text, reason",
    [
        (NeedsMore(3, "there"), "3 at there", "place"),
        (BadReduce("why"), "why", "not me"),
        (BadReduceWithBadText("why"), "why", "BadText"),
        (BecomesSomethingElse("why"), "why", "it unpickles to something else"),
        (BadState("why"), "why", "no state"),
        (EndsTheProgram("why"), "why", "SystemExit"),
        (BadText("why"), "(str() of it raises ValueError)", ""),
        (NotAText("why"), "(str() of it raises TypeError)", ""),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_cannot_come_itself_is_described(error: Exception, text: str, reason: str) -> None:
    try:
        got = there_and_back(raised(lambda: fail(error)))
    except SystemExit:
        pytest.fail("it ended the program")
    if isinstance(error, (BadText, NotAText)):  # only its text is bad
        assert type(got) is type(error) and got.args == ("why",)
        return
    assert isinstance(got, RemoteError)
    assert (got.text, got.type_name.split(".")[-1]) == (text, type(error).__name__)
    assert reason in got.reason
    assert "in fail" in got.traceback_text or "can't be formatted" in got.traceback_text


def fail(error: BaseException) -> None:
    raise error


def test_an_unpicklable_attribute_is_named() -> None:
    error = KeepsArgs(3, "there")
    error.lock = threading.Lock()  # type: ignore[attr-defined]
    got = there_and_back(error)
    assert isinstance(got, RemoteError) and ".lock" in got.reason and got.text == "(3, 'there')"


def test_the_traceback_comes_as_text_without_our_own_frames() -> None:
    error = raised(lambda: fail(ValueError("why")))
    (text,) = envelope.load_exception(envelope.dump_exception(error, 2), Traceback).__cause__.args  # type: ignore[union-attr]
    assert "in fail" in text and "ValueError: why" in text and "in raised" not in text
    (whole,) = there_and_back(error).__cause__.args  # type: ignore[union-attr]
    assert "in raised" in whole
    (nothing_left,) = envelope.load_exception(envelope.dump_exception(error, 9), Traceback).__cause__.args  # type: ignore[union-attr]
    assert "in fail" in nothing_left, "the last frame is always told"


# ---- chains


def chained(first: Exception, second: Exception, how: str) -> BaseException:
    def call() -> None:
        try:
            raise first
        except Exception as error:
            if how == "from":
                raise second from error
            if how == "from none":
                raise second from None
            raise second  # noqa: B904  # that is what is tested

    return raised(call)


@pytest.mark.parametrize("how, links", [("from", 2), ("in the handler of", 2), ("from none", 1)])
def test_causes_and_contexts_come_behind_the_traceback(how: str, links: int) -> None:
    got = chain_of(there_and_back(chained(KeyError("first"), ValueError("second"), how)))
    assert [type(link) for link in got] == [ValueError, KeyError][:links]


def test_a_link_that_cannot_come_does_not_cost_the_others() -> None:
    middle = chained(KeyError("first"), BadReduce("second"), "from")
    assert isinstance(middle, Exception)
    got = chain_of(there_and_back(chained(middle, ValueError("third"), "from")))
    assert [type(link) for link in got] == [ValueError, RemoteError, KeyError]


@pytest.mark.parametrize("cause", [Empty("false"), TakesNoAttributes("frozen")], ids=["false", "frozen"])
@pytest.mark.parametrize("how", ["from", "in the handler of"])
def test_odd_links_are_links(cause: Exception, how: str) -> None:
    middle = chained(KeyError("first"), cause, how)
    assert isinstance(middle, Exception)
    got = chain_of(there_and_back(chained(middle, ValueError("third"), how)))
    assert [type(link) for link in got] == [ValueError, type(cause), KeyError]


def test_a_chain_that_bites_its_tail_ends() -> None:
    one, other = ValueError("one"), KeyError("other")
    one.__cause__, other.__cause__ = other, one
    assert [type(link) for link in chain_of(there_and_back(one))] == [ValueError, KeyError]
    one.__cause__ = one
    assert [type(link) for link in chain_of(there_and_back(one))] == [ValueError]


def test_a_very_long_chain_is_cut() -> None:
    error: Exception = ValueError(0)
    for number in range(1, 300):
        following = ValueError(number)
        following.__cause__ = error
        error = following
    got = chain_of(there_and_back(error))
    assert 10 < len(got) <= 100 and got[0].args == (299,)


def test_a_recursion_error_comes_back() -> None:
    def deeper() -> None:
        deeper()

    got = there_and_back(raised(deeper))
    assert isinstance(got, RecursionError)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="ExceptionGroup came with Python 3.11")
@pytest.mark.parametrize("inner, kind", [(ValueError("one"), "ExceptionGroup"), (BadReduce("one"), "RemoteError")])
def test_a_group_comes_back_with_its_members_or_described(inner: Exception, kind: str) -> None:
    kind_of_group: Any = getattr(builtins, "ExceptionGroup")  # noqa: B009  # see the mark: 3.10 has none
    group = kind_of_group("several", [inner, KeyError("two")])
    got: Any = there_and_back(raised(lambda: fail(group)))
    assert type(got).__name__ == kind
    if kind == "ExceptionGroup":
        assert got.message == "several" and [type(each) for each in got.exceptions] == [ValueError, KeyError]
    else:
        assert "several" in got.text


def test_a_summary_does_not_open_the_error() -> None:
    assert envelope.summary_of_exception(envelope.dump_exception(EndsTheProgram("why")))[1] == "why"
    place = ("here", 12, 1.0, 2.0)
    summary = envelope.summary_of_exception(envelope.dump_exception(ValueError("why"), 0, place))
    assert summary == ("ValueError", "why", place)


class Verbose(Exception):
    """Little to carry, and much to say."""

    def __str__(self) -> str:
        return "begin " + "x" * 5_000_000 + " end"


def test_of_a_huge_text_the_two_ends_travel_and_the_error_itself_is_whole() -> None:
    error = raised(lambda: fail(Verbose()))
    assert len(envelope.dump_exception(error)) < 200_000
    got = there_and_back(error)
    assert str(got) == str(Verbose()), "its own"
    (text,) = got.__cause__.args  # type: ignore[union-attr]  # the traceback
    assert "in fail" in text and "begin xxx" in text and text.endswith("xxx end\n")
    assert len(text) < 70_000 and "characters left out" in text
    with_arguments = there_and_back(ValueError("y" * 5_000_000))
    assert with_arguments.args == ("y" * 5_000_000,)


def test_of_the_huge_text_of_an_error_that_cannot_travel_the_two_ends_do() -> None:
    class Stays(Verbose):
        def __reduce__(self) -> Any:
            raise TypeError("no")

    got = there_and_back(Stays())
    assert isinstance(got, RemoteError)
    assert got.text.startswith("begin xxx") and got.text.endswith("xxx end") and len(got.text) < 70_000
