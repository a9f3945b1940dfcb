"""Checks of what users give: a rule for each kind of argument, and one form of error for all of them.

    WORKERS = whole(above=0)
    count = WORKERS("max_workers", value)        # a plain int, or the error: name, value, and what would be right

A wrong value is a ConfigurationError, which is a ValueError; a wrong type is a WrongType, which is a TypeError too.
So whoever catches what the standard library raises for the same mistake catches ours.
"""

from __future__ import annotations

import operator
import os
import sys
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, Generic, TypeVar

from parsl_pool.errors import ConfigurationError, WrongType, shown

T = TypeVar("T")

MOST_WORKERS = 1 << 16
_LONGEST_NAME = 200
_LONGEST_S = 1e8  # three years: what is longer was meant in another unit, or as "for ever"
_EXACT = 1 << 53


class Rule(Generic[T]):
    """What one kind of argument may be.

    Attributes:
        kind: the right type, in words.
        limits: which of its values are right; "" if all are.
    """

    __slots__ = ("_accept", "kind", "limits")

    def __init__(self, kind: str, limits: str, accept: Callable[[Any], T]) -> None:
        """accept: gives the value as we want it. Raises TypeError or ValueError; what their text says is added."""
        self.kind, self.limits, self._accept = kind, limits, accept

    def __call__(self, name: str, value: object) -> T:
        """The value, as we want it.

        Raises:
            WrongType, ConfigurationError: it is not; name is what the user knows the argument by.
        """
        try:
            return self._accept(value)
        except TypeError as problem:
            wanted = ", ".join(filter(None, (self.kind, self.limits)))
            raise WrongType(_text(name, wanted, value, problem)) from None
        except ValueError as problem:
            raise ConfigurationError(_text(name, self.limits or self.kind, value, problem)) from None


def _text(name: str, wanted: str, value: object, problem: Exception) -> str:
    more = f": {problem}" if str(problem) else ""
    return f"{name} must be {wanted}, got {shown(value)}{more}"


def optional(rule: Rule[T]) -> Rule[T | None]:
    """The same, or None."""
    return Rule(
        rule.kind if rule.limits else f"{rule.kind}, or None",
        f"{rule.limits}, or None" if rule.limits else "",
        lambda value: None if value is None else rule._accept(value),
    )


def or_word(rule: Rule[T], word: str) -> Rule[T | str]:
    """The same, or this text."""

    def accept(value: Any) -> T | str:
        if not isinstance(value, str):
            return rule._accept(value)
        if value != word:
            raise ValueError
        return word

    more = f", or {word!r}"
    return Rule(rule.kind if rule.limits else rule.kind + more, rule.limits + more if rule.limits else "", accept)


# ---- numbers


def whole(
    *, above: int | None = None, least: int | None = None, most: int | None = None,
    limits: str = "", kind: str = "a whole number",
) -> Rule[int]:  # fmt: skip
    """A whole number. Those of numpy are; True is not."""
    first = above + 1 if above is not None else least

    def accept(value: Any) -> int:
        if isinstance(value, bool):
            raise TypeError
        try:
            number = operator.index(value)
        except Exception:  # there is none, or the one that is there fails: our error says that it is no number
            raise TypeError from None
        if (first is not None and number < first) or (most is not None and number > most):
            raise ValueError
        return number

    return Rule(kind, limits or _limits(above, least, most), accept)


def number(
    *, above: float | None = None, least: float | None = None, most: float | None = None,
    limits: str = "", kind: str = "a number",
) -> Rule[float]:  # fmt: skip
    """A number, whole or not; never "not a number"."""

    def accept(value: Any) -> float:
        plain = _float(value)
        if plain != plain:
            raise ValueError("it is not a number")
        if above is not None and plain <= above:
            raise ValueError
        if (least is not None and plain < least) or (most is not None and plain > most):
            raise ValueError
        return plain

    return Rule(kind, limits or _limits(above, least, most), accept)


def _float(value: Any) -> float:
    # Nothing of these is to be caught below: what is raised here may come from a signal's handler.
    if type(value) is float:
        return value
    if type(value) is int and abs(value) < _EXACT:
        return float(value)
    if isinstance(value, (bool, str, bytes, bytearray)):
        raise TypeError
    try:
        return float(value)
    except OverflowError:
        return float("inf") if value > 0 else float("-inf")
    except Exception:  # as for whole numbers
        raise TypeError from None


def _limits(above: float | None, least: float | None, most: float | None) -> str:
    parts = []
    if above is not None:
        parts.append(f"greater than {above:g}")
    if least is not None:
        parts.append(f"at least {least:g}")
    if most is not None:
        parts.append(f"at most {most:,.0f}")
    return " and ".join(parts)


def _deadline_seconds(value: Any) -> float | None:
    plain = _float(value)
    if plain != plain:
        raise ValueError("it is not a number")
    return plain if plain <= _LONGEST_S else None


# ---- texts


def _plain_text(value: Any, errors: str = "strict") -> str:
    if not isinstance(value, str):
        raise TypeError
    plain = str.__str__(value)
    if "\0" in plain:
        raise ValueError("it has a null character")
    try:
        plain.encode("utf-8", errors)
    except UnicodeEncodeError:
        raise ValueError("it can't be encoded as UTF-8") from None
    return plain


def _any_text(value: Any) -> str:
    """A path in it may be of another encoding than the locale's."""
    return _plain_text(value, "surrogateescape")


def _name(value: Any) -> str:
    plain = _plain_text(value)
    if not plain.strip():
        raise ValueError("it is empty")
    return _short(plain)


def _short(value: Any) -> str:
    plain = _plain_text(value)
    if len(plain) > _LONGEST_NAME:
        raise ValueError(f"it has {len(plain)} characters")
    if any(character < " " for character in plain):
        raise ValueError("it has control characters")
    return plain


def _path(value: Any) -> str:
    try:
        plain = os.fspath(value)
    except Exception:  # as for whole numbers
        raise TypeError from None
    if not isinstance(plain, str):
        raise TypeError("it is made of bytes; os.fsdecode() makes a text of it")
    if not plain:
        raise ValueError("it is empty")
    if "\0" in plain:
        raise ValueError("it has a null character")
    return plain


def _address(value: Any) -> str:
    plain = _short(value)
    host, _, port = plain.rpartition(":")
    if not host or " " in plain or (":" in host and not (host[0] == "[" and host[-1] == "]")):
        raise ValueError
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16):
        raise ValueError("the port is a number from 1 to 65,535")
    return plain


def one_of(*allowed: str) -> Rule[str]:
    """One of these texts."""

    def accept(value: Any) -> str:
        if not isinstance(value, str):
            raise TypeError
        if value not in allowed:
            raise ValueError
        return str.__str__(value)

    return Rule("a text", f"one of {', '.join(map(repr, allowed))}", accept)


# ---- the others


def _flag(value: Any) -> bool:
    if value is True or value is False:
        return value
    raise TypeError


def _function(value: Any) -> Callable[..., Any]:
    if not callable(value):
        raise TypeError
    return value  # type: ignore[no-any-return]  # whatever it is


def _mapping(value: Any) -> dict[str, str]:
    if not isinstance(value, Mapping):
        raise TypeError
    return {_any_text(name): _any_text(text) for name, text in value.items()}


def instance_of(kind: type[T], wanted: str) -> Rule[T]:
    """An object of a class. Giving the class itself is the usual mistake."""

    def accept(value: Any) -> T:
        if isinstance(value, kind):
            return value
        if isinstance(value, type) and issubclass(value, kind):
            raise TypeError(f"it is the class; give an object, {value.__name__}(...)")
        raise TypeError

    return Rule(wanted, "", accept)


def list_of(rule: Rule[T], wanted: str) -> Rule[list[T]]:
    """Any iterable whose items keep to a rule, as a list. A single text is none, though it is iterable."""

    def accept(value: Any) -> list[T]:
        return [_item(rule, position, item) for position, item in enumerate(_items(value))]

    return Rule(wanted, "", accept)


def _items(value: Any) -> Any:
    if isinstance(value, (str, bytes, bytearray, dict)):
        raise TypeError
    try:
        return iter(value)
    except TypeError:
        raise TypeError from None  # what it says would be said twice


def _item(rule: Rule[T], position: int, item: Any) -> T:
    try:
        return rule(f"item {position}", item)
    except WrongType as problem:
        raise TypeError(str(problem)) from None
    except ConfigurationError as problem:
        raise ValueError(str(problem)) from None


def _arguments(value: Any) -> tuple[Any, ...]:
    if isinstance(value, (str, bytes, bytearray)):
        raise TypeError("a tuple of one is written (value,)")
    return tuple(_items(value))


def _module(value: Any) -> str:
    plain = _plain_text(value)
    if not all(part.isidentifier() for part in plain.split(".")):
        raise ValueError
    return plain


def _place(value: Any) -> str:
    """An address, network, host name or interface of this machine. Whether there is such a one is found out later."""
    if not isinstance(value, str):
        raise TypeError
    plain = _name(value)
    if plain[0] == "[" and plain[-1] == "]":
        plain = plain[1:-1]
    try:
        return _usable(plain)
    except ValueError as problem:
        if str(problem):
            raise
    labels = plain.rstrip(".").split(".")
    if not all(label and label.isascii() and label.replace("-", "").replace("_", "").isalnum() for label in labels):
        raise ValueError("ports are said by worker_port_range=" if ":" in plain else "")
    if labels[-1].isdigit():
        raise ValueError("it is an address with a part too few or too many")
    return plain


def _usable(text: str) -> str:
    """Raises ValueError, without a text if it is neither an address nor a network."""
    import ipaddress  # only when one is given

    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        if "/" in text:
            raise ValueError("a network is written as in '10.0.0.0/8'") from None
        raise ValueError from None
    if "/" not in text and network.network_address.is_unspecified:
        raise ValueError("nobody can connect to that; None stands for all addresses")
    if network.is_link_local or network.is_multicast:
        raise ValueError("nobody on another machine can use that")
    return text


def _loopback(value: Any) -> str:
    import ipaddress  # only when one is given

    if not isinstance(value, str):
        raise TypeError
    if value == "localhost":
        return "127.0.0.1"
    if not ipaddress.ip_address(value).is_loopback:
        raise ValueError
    return str.__str__(value)


def _port_pair(value: Any) -> tuple[int, int]:
    numbers = [_item(_port, position, item) for position, item in enumerate(_items(value))]
    if len(numbers) != 2:
        raise ValueError
    return numbers[0], numbers[1]


def _port_range(value: Any) -> tuple[int, int]:
    numbers = [_item(_port, position, item) for position, item in enumerate(_items(value))]
    if len(numbers) != 2 or numbers[0] > numbers[1]:
        raise ValueError
    return numbers[0], numbers[1]


def reject_unknown(names: Iterable[str], known: Collection[str], what: str) -> None:
    """Raise ConfigurationError for the first name that is not known."""
    for name in names:
        if name not in known:
            raise ConfigurationError(f"there is no {what} {shown(name)}; there are: {', '.join(known)}")


_port = whole(least=1, most=65535)
place = Rule(
    "a text",
    "an address of this machine ('192.168.0.7', 'fd00::7'), a network in which it has one ('10.0.0.0/8'), a host name, "
    "a network interface ('ib0'), or 'tunnel'",
    _place,
)
loopback = Rule("a text", "an address that leads to this machine alone, such as '127.0.0.1' or '::1'", _loopback)
port_pair = Rule("a pair of ports", "two ports, such as (54000, 54001)", _port_pair)
any_text = Rule("a text", "", _any_text)
name = Rule("a text", f"1 to {_LONGEST_NAME} printable characters", _name)
short_text = Rule("a text", f"at most {_LONGEST_NAME} printable characters", _short)
path = Rule("a path (str or os.PathLike)", "", _path)
address = Rule("a text", '"host:port", or "[host]:port" for IPv6', _address)
flag = Rule("True or False", "", _flag)
mapping = Rule("a mapping of texts to texts", "", _mapping)
function = Rule("a callable", "", _function)
arguments = Rule("a tuple of arguments", "", _arguments)
module_names = list_of(Rule("the name of a module", "", _module), "a list of module names")
budget = whole(least=0)
seconds = number(above=0, most=_LONGEST_S, kind="a number of seconds")
workers = whole(above=0, most=MOST_WORKERS)
port_range = Rule("a pair of ports", "the first one and the last one, such as (54000, 55000)", _port_range)
size = whole(above=0, most=sys.maxsize, limits="greater than 0")
timeout = Rule("a number of seconds, or None", "", lambda value: None if value is None else _deadline_seconds(value))
