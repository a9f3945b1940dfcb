"""The rules by which arguments are checked. Where each applies is tested in tests/client/test_wrong_values.py."""

import itertools
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import checks
from parsl_pool.errors import ConfigurationError, ParslPoolError, WrongType, described, shown


class Index:
    def __init__(self, value: Any) -> None:
        self.value = value

    def __index__(self) -> Any:
        if isinstance(self.value, Exception):
            raise self.value
        return self.value


@pytest.mark.parametrize(
    "rule, value, taken",
    [
        (checks.whole(), -5, -5),
        (checks.whole(above=0), Index(3), 3),
        (checks.whole(least=2, most=2), 2, 2),
        (checks.number(), Fraction(1, 2), 0.5),
        (checks.number(above=0, most=1), Decimal("0.25"), 0.25),
        (checks.number(), float("inf"), float("inf")),
        (checks.number(), 10**400, float("inf")),
        (checks.number(), -(10**400), float("-inf")),
        (checks.timeout, None, None),
        (checks.timeout, -1, -1.0),
        (checks.timeout, float("inf"), None),
        (checks.any_text, "", ""),
        (checks.name, " a name ", " a name "),
        (checks.path, Path("a") / "b", "a/b"),
        (checks.one_of("a", "b"), "b", "b"),
        (checks.flag, False, False),
        (checks.function, int, int),
        (checks.optional(checks.flag), None, None),
        (checks.optional(checks.workers), 3, 3),
        (checks.or_word(checks.workers, "all"), 3, 3),
        (checks.or_word(checks.workers, "all"), "all", "all"),
        (checks.arguments, iter("ab"), ("a", "b")),
        (checks.module_names, (name for name in ["os.path"]), ["os.path"]),
        (checks.instance_of(Path, "a Path"), Path("a"), Path("a")),
    ],
)
def test_what_is_right_is_taken_as_what_we_work_with(rule: checks.Rule[Any], value: Any, taken: Any) -> None:
    got = rule("it", value)
    assert got == taken and type(got) is type(taken)


class Text(str):
    """As numpy's, or a member of an enumeration."""

    def __str__(self) -> str:
        return "something else"


def test_a_text_of_a_class_of_its_own_becomes_a_plain_one() -> None:
    for rule in (checks.any_text, checks.name, checks.one_of("a")):
        got = rule("it", Text("a"))
        assert type(got) is str and got == "a"


@pytest.mark.parametrize(
    "rule, value, error, text",
    [
        (checks.workers, "4", WrongType, "it must be a whole number, greater than 0 and at most 65,536, got '4'"),
        (checks.workers, 0, ConfigurationError, "it must be greater than 0 and at most 65,536, got 0"),
        (checks.whole(), Index(ZeroDivisionError()), WrongType, "it must be a whole number, got <tests.test_"),
        (checks.optional(checks.budget), -1, ConfigurationError, "it must be at least 0, or None, got -1"),
        (checks.optional(checks.flag), "no", WrongType, "it must be True or False, or None, got 'no'"),
        (checks.seconds, float("nan"), ConfigurationError, "got nan: it is not a number"),
        (checks.number(least=0), True, WrongType, "it must be a number, at least 0, got True"),
        (checks.one_of("a", "b"), "c", ConfigurationError, "it must be one of 'a', 'b', got 'c'"),
        (checks.arguments, "one", WrongType, "got 'one': a tuple of one is written (value,)"),
        (checks.module_names, ["os", "a b"], ConfigurationError, "item 1 must be the name of a module, got 'a b'"),
        (checks.module_names, ["os", 5], WrongType, "item 1 must be the name of a module, got 5"),
        (checks.instance_of(Path, "a Path"), Path, WrongType, "it is the class; give an object, Path(...)"),
        (checks.path, b"a", WrongType, "os.fsdecode() makes a text of it"),
    ],
)
def test_what_is_wrong_is_told_with_name_value_and_what_would_be_right(
    rule: checks.Rule[Any], value: Any, error: type[Exception], text: str
) -> None:
    with pytest.raises(error) as caught:
        rule("it", value)
    assert type(caught.value) is error and text in str(caught.value)
    assert caught.value.__cause__ is None and caught.value.__suppress_context__


def test_a_wrong_type_is_all_that_programs_catch() -> None:
    assert issubclass(WrongType, TypeError) and issubclass(WrongType, ValueError)
    assert issubclass(WrongType, ConfigurationError) and issubclass(WrongType, ParslPoolError)


def test_unknown_names_are_told_with_those_that_there_are() -> None:
    checks.reject_unknown(["a"], {"a": 1, "b": 2}, "option")
    with pytest.raises(ConfigurationError, match="there is no option 'c'; there are: a, b"):
        checks.reject_unknown(["a", "c"], {"a": 1, "b": 2}, "option")


class Fails:
    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __repr__(self) -> str:
        raise self.error


class List(list[object]):
    def __repr__(self) -> str:
        raise ValueError


def recursive() -> object:
    items: list[object] = []
    items.append(items)
    return items


@pytest.mark.parametrize(
    "value, text",
    [
        (5, "5"),
        ("text", "'text'"),
        ([1, {"a": None}], "[1, {'a': None}]"),
        ("x" * 1_000_000, "'xxx"),
        (list(range(1_000_000)), "[0, 1, 2"),
        ([["deep"] * 100] * 100, "[['deep'"),
        (10**5000, ""),
        (recursive(), "[["),
        (Fails(SystemExit(3)), "a Fails (whose repr() raises SystemExit)"),
        (Fails(ValueError()), "Fails"),
        ([Fails(SystemExit(3))], "a list (whose repr() raises SystemExit)"),
        (List(), "List"),
        (type("Lines", (), {"__repr__": lambda self: "one\n  other"})(), "one other"),
        (type("Long" * 1000, (), {"__repr__": lambda self: sys.exit()})(), "a LongLong"),
        (type("NoText", (), {"__repr__": lambda self: 5})(), "NoText"),
    ],
    ids=itertools.count(),
)
def test_any_value_can_be_shown_in_one_short_line(value: object, text: str) -> None:
    line = shown(value)
    assert text in line and 0 < len(line) <= 120 and "\n" not in line
    assert len(shown(value, 40)) <= 40


def test_any_error_can_be_described_in_bearable_length() -> None:
    class Speaks(Exception):
        def __str__(self) -> str:
            return "and so on, " * 100_000

    class IsSilent(Exception):
        def __str__(self) -> str:
            raise SystemExit

    assert described(ValueError("why")) == "ValueError: why"
    assert described(ValueError()) == "ValueError"
    assert described(IsSilent()) == "IsSilent"
    assert described(Speaks()).startswith("Speaks: and so on, and") and len(described(Speaks())) < 2100
    with pytest.raises(KeyboardInterrupt):
        described(Interrupts())


class Interrupts(Exception):
    def __str__(self) -> str:
        raise KeyboardInterrupt


def test_ctrl_c_is_not_kept_by_a_value_that_is_shown() -> None:
    with pytest.raises(KeyboardInterrupt):
        shown(Fails(KeyboardInterrupt()))
