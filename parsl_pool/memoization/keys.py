"""When two calls are the same: the key of a call, and what differs between two keys.

    function, arguments  ->  parts: (name, bytes) for the function's code, its defaults, each argument ...
                         ->  CallKey: one digest of all parts, and one of each
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial, singledispatch
from hashlib import blake2b
from operator import is_
from types import FunctionType
from typing import Any
from weakref import ref

from parsl_pool.errors import UnknownMemoType
from parsl_pool.memoization import functions, libraries, plain
from parsl_pool.memoization.encoder import Encoder, Kind, class_name, framed, listed, text
from parsl_pool.memoization.signatures import Plan, as_given, make_plan

SPECIAL = ("walltime", "parsl_resource_specification", "label")
"""Keywords of a call that say how it runs, not what it computes."""

OUTPUTS = frozenset(("outputs", "stdout", "stderr"))
"""Arguments that say where results go."""

AUTO_LOGNAME = -1
"""As `parsl_pool.AUTO_LOGNAME`: a name that is made up for each task, and so no part of any key."""

_VERSION = b"parsl_pool call 1"


@singledispatch
def id_for_memo(obj: object, output_ref: bool = False) -> bytes:
    """Bytes that are the same for two objects if, and only if, they are the same for memoization.

    Add a type with `id_for_memo.register`; the function gets the object and `output_ref`, which is true where the
    object says where results go (in `outputs=[...]`) and not what is computed from.

    Raises:
        UnknownMemoType: nobody has said when two objects of this type are the same.
    """
    return _encoder(output_ref).encode(obj)


_BUILT_IN: dict[type, Kind] = {**plain.KINDS, **functions.KINDS}


class _Kinds:
    """How values of exactly these types are encoded: built-in ones that no user has registered."""

    def __init__(self) -> None:
        self.registered = 0
        self.kinds = _BUILT_IN
        self.atoms = plain.ATOM_KINDS

    def now(self) -> Mapping[type, Kind]:
        registry = id_for_memo.registry
        if len(registry) != self.registered:  # a type can be registered again, but never taken out
            self.kinds = {cls: kind for cls, kind in _BUILT_IN.items() if cls not in registry}
            self.atoms = {cls: kind for cls, kind in plain.ATOM_KINDS.items() if cls not in registry}
            self.registered = len(registry)
        return self.kinds


_KINDS = _Kinds()
_DEFAULT = id_for_memo.dispatch(object)


def _encoder(output_ref: bool = False) -> Encoder:
    return Encoder(_KINDS.now(), _find, output_ref)


def _find(value: Any) -> Kind:
    """The kind of a value of a type that is not built in: first of all, what users have registered."""
    if id_for_memo.dispatch(type(value)) is not _DEFAULT:
        return _registered
    kind = libraries.find(value) or plain.find(value) or functions.find(value)
    if kind is None:
        raise plain.refusal(value)
    return kind


def _registered(encoder: Encoder, value: Any) -> bytes:
    key = id_for_memo(value, output_ref=encoder.output_ref)
    if not isinstance(key, (bytes, bytearray)):
        impl = id_for_memo.dispatch(type(value))
        raise TypeError(
            f"{getattr(impl, '__qualname__', impl)}, which id_for_memo.register knows for "
            f"{type(value).__qualname__}, must return bytes, not {type(key).__name__}"
        )
    return b"U" + class_name(type(value)) + framed(b"", key)


def function_identity(fn: Callable[..., Any]) -> bytes:
    """32 bytes that are the same for two functions if they are the same: see `parsl_pool.memoization.functions`.

    Raises:
        UnknownMemoType: a default, or a variable that it closes over, is of an unknown type.
    """
    return _digest_of(_function_parts(fn, frozenset()))


def _function_parts(fn: Callable[..., Any], left_out: frozenset[str]) -> functions.Parts:
    try:
        return functions.function_parts(_encoder(), fn, left_out)
    except UnknownMemoType as error:
        raise error.of(functions.name_of(fn)) from None


def _digest_of(parts: Iterable[tuple[str, bytes]]) -> bytes:
    flat = [part for name, encoded in parts for part in (text(name), encoded)]
    return blake2b(listed(_VERSION, flat), digest_size=32).digest()


class CallKey:
    """What a call is known by.

    Attributes:
        digest: 32 bytes; equal if and only if the calls are the same.
        function: the function's name, with its module.
        parts: (name, 16-byte digest) for what the function is made of (names with "@") and for each argument.
    """

    __slots__ = ("_make_parts", "_parts", "digest", "function")

    def __init__(
        self,
        digest: bytes,
        function: str,
        parts: tuple[tuple[str, bytes], ...] | None = None,
        make_parts: Callable[[], functions.Parts] | None = None,
    ) -> None:
        self.digest, self.function = digest, function
        self._parts, self._make_parts = parts, make_parts

    @property
    def parts(self) -> tuple[tuple[str, bytes], ...]:
        make = self._make_parts  # first: who makes them sets it to None last
        parts = self._parts
        if parts is None:  # made when first asked for: most calls are never compared
            encoded = make() if make is not None else []
            parts = tuple([(name, blake2b(part, digest_size=16).digest()) for name, part in encoded])
            self._parts, self._make_parts = parts, None
        return parts

    def __eq__(self, other: object) -> bool:
        return isinstance(other, CallKey) and other.digest == self.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        return f"<CallKey {self.digest.hex()[:12]} of {self.function}>"


# ---- the key of a call


class _Prepared:
    """What all calls of one function have in common: its own parts, and how its arguments are named."""

    __slots__ = (
        "left_out", "more", "name", "name_of", "outputs", "parts", "plan", "prefix", "short", "simple", "whole", "words"
    )  # fmt: skip

    def __init__(self, fn: Callable[..., Any], ignore: tuple[str, ...], special: tuple[str, ...]) -> None:
        self.name = functions.name_of(fn)
        self.short = self.name.rpartition(".")[2]
        self.plan: Plan | None = make_plan(fn)
        order = self.plan.order if self.plan is not None else ()
        # A function's own argument may be called `label`, and then it is one of what the function computes from.
        self.left_out = frozenset(ignore) | {name for name in special if name not in order or name != "label"}
        self.more = None
        self.outputs: Mapping[str, str] = {name: name for name in OUTPUTS}
        if self.plan is not None:
            self.plan.check_ignored(self.name, ignore, (*special, *OUTPUTS, "inputs"))
            self.left_out = frozenset(map(self.plan.name_as_bound, self.left_out)) | self.left_out
            self.outputs = {self.plan.name_as_bound(name): name for name in OUTPUTS}
            if self.plan.more in ignore:
                self.more = f"{self.plan.more}["
            if self.plan.defaults and functions.is_of_a_library(fn):
                self.plan = self.plan._replace(defaults=_known(self.plan.defaults))
        self.parts = _function_parts(fn, self.left_out)
        self.prefix = text(self.name) + _digest_of(self.parts)
        self.name_of = {name: text(name) for name in order}
        # How many arguments there are, if they can all be given by position and no others can be.
        self.simple = len(order) if self.plan is not None and self.plan.positional == order else -1
        # The same, if moreover all of them count as what is computed from; and the names' bytes, in their order.
        self.whole = -1 if any(name in self.left_out or name in self.outputs for name in order) else self.simple
        self.words = [self.name_of[name] for name in order]

    def digest_of_atoms(self, args: Sequence[Any]) -> tuple[bytes, list[bytes]] | None:
        """The digest of a call with simple arguments only, all given by position, and the bytes behind it.

        None if it is another one. This is the usual way of a call that is known already: it is short for that.
        """
        if len(args) != self.whole:
            return None
        _KINDS.now()
        kinds = _KINDS.atoms
        flat = [self.prefix]
        for word, value in zip(self.words, args):
            kind = kinds.get(type(value))
            if kind is None:
                return None
            flat += word, kind(_FOR_ATOMS, value)
        return blake2b(b"".join(flat), digest_size=32).digest(), flat

    def parts_of(self, flat: list[bytes]) -> functions.Parts:
        """The parts of the call that has these bytes."""
        assert self.plan is not None
        return [*self.parts, *zip(self.plan.order, flat[2::2])]

    def bind(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterable[tuple[str, Any]]:
        """Each argument with its name, in an order that does not depend on how they were given."""
        if self.plan is None:
            return as_given(args, kwargs).items()
        if len(args) == self.simple and not kwargs:
            return zip(self.plan.positional, args)
        return self.plan.bind(args, kwargs).items()


def _known(defaults: Mapping[str, Any]) -> Mapping[str, Any]:
    """Without those that have no key, such as a library's own mark for "not given"."""
    found = {}
    for name, value in defaults.items():
        with contextlib.suppress(UnknownMemoType):
            _encoder().encode(value)
            found[name] = value
    return found


class _Cache:
    """What was prepared for functions that cannot have changed since: all that they hold is immutable."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[FunctionType], tuple[object, ...], dict[object, _Prepared]]] = {}

    def get(self, fn: Callable[..., Any], ignore: tuple[str, ...], special: tuple[str, ...]) -> _Prepared:
        if type(fn) is not FunctionType:
            return _Prepared(fn, ignore, special)
        found = self._known.get(id(fn))
        if found is not None and found[0]() is fn and not fn.__closure__ and not fn.__kwdefaults__:
            state = found[1]
            if len(state) == 2 and state[0] is fn.__code__ and state[1] is fn.__defaults__:
                prepared = found[2].get((ignore, special))
                if prepared is not None:
                    return prepared
        return self._looked_at(fn, ignore, special)

    def _looked_at(self, fn: FunctionType, ignore: tuple[str, ...], special: tuple[str, ...]) -> _Prepared:
        try:
            cells = [cell.cell_contents for cell in fn.__closure__ or ()]
        except ValueError:  # one has no value yet
            return _Prepared(fn, ignore, special)
        state = (fn.__code__, fn.__defaults__, *(fn.__kwdefaults__ or {}).values(), *cells)
        found = self._known.get(id(fn))
        if found is None or found[0]() is not fn or len(found[1]) != len(state) or not all(map(is_, found[1], state)):
            if not all(type(value) in plain.ATOMS for value in (*(fn.__defaults__ or ()), *state[2:])):
                return _Prepared(fn, ignore, special)
            found = self._remember(fn, state)
        prepared = found[2].get((ignore, special))
        if prepared is None:
            prepared = found[2][ignore, special] = _Prepared(fn, ignore, special)
        return prepared

    def _remember(
        self, fn: FunctionType, state: tuple[object, ...]
    ) -> tuple[ref[FunctionType], tuple[object, ...], dict[object, _Prepared]]:
        key, known = id(fn), self._known

        def forget(gone: ref[FunctionType]) -> None:
            found = known.get(key)
            if found is not None and found[0] is gone:  # not the entry of a new one at the same place
                del known[key]

        entry = known[key] = (ref(fn, forget), state, {})
        return entry


_CACHE = _Cache()
_FOR_ATOMS = _encoder()  # for any thread: nothing is remembered in it


def key_of_call(
    fn: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    ignore: Iterable[str] = (),
    special: tuple[str, ...] = SPECIAL,
) -> CallKey:
    """What tells this call from others: the function, and the arguments as the function will see them.

    Args:
        ignore: names of arguments that don't count.
        special: keywords that say how the call runs, and don't count either; () if all keywords are the function's.

    Raises:
        UnknownMemoType: an argument is of an unknown type; the text has the way to it.
        ConfigurationError: `ignore` names something that the function does not take.
    """
    prepared = _CACHE.get(fn, tuple(ignore), special)
    if not kwargs:
        digest = prepared.digest_of_atoms(args)
        if digest is not None:
            return CallKey(digest[0], prepared.name, None, partial(prepared.parts_of, digest[1]))
    encoder = _encoder()
    kinds, name_of, left_out = encoder.kinds, prepared.name_of, prepared.left_out
    encoded: functions.Parts = []
    flat = [prepared.prefix]
    name = ""
    try:
        for name, value in prepared.bind(args, kwargs):
            if name in left_out or (prepared.more and name.startswith(prepared.more)):
                continue
            if name in prepared.outputs:
                if prepared.outputs[name] != "outputs" and type(value) is int and value == AUTO_LOGNAME:
                    continue
                part = _encoder(output_ref=True).encode(value)
            else:
                kind = kinds.get(type(value))
                part = kind(encoder, value) if kind is not None else encoder.encode(value)
            encoded.append((name, part))
            flat += (name_of.get(name) or text(name), part)
    except UnknownMemoType as error:
        raise error.of(f"argument {name} of {prepared.short}") from None
    digest_of_all = blake2b(b"".join(flat), digest_size=32).digest()
    return CallKey(digest_of_all, prepared.name, None, lambda: [*prepared.parts, *encoded])


# ---- why was there no hit?


def explain_miss(key: CallKey, earlier: Iterable[CallKey]) -> str:
    """The earlier call that is nearest to this one, and in what they differ, in a sentence."""
    parts = dict(key.parts)
    nearest: list[str] | None = None
    for other in earlier:
        if other.function != key.function:
            continue
        if other.digest == key.digest:
            return f"this call of {key.function} is known already"
        theirs = dict(other.parts)
        differing = [name for name in {**parts, **theirs} if parts.get(name) != theirs.get(name)]
        if nearest is None or len(differing) <= len(nearest):
            nearest = [_difference(name, name in parts, name in theirs) for name in differing]
    if nearest is None:
        return f"there is no earlier call of {key.function}"
    return f"the nearest earlier call of {key.function} differs in {', and in '.join(nearest) or 'what is not kept'}"


def _difference(name: str, is_here: bool, was_there: bool) -> str:
    when = ""
    if not (is_here and was_there):
        when = ", which only this call has" if is_here else ", which this call does not have"
    of = name.partition(" ")[2]
    texts = {
        functions.CODE: "the function's code",
        functions.of_default(of): f"the default of {of}",
        functions.of_variable(of): f"the variable {of}, over which it closes",
        functions.of_bound(of): f"the bound argument {of}",
    }
    return texts.get(name, f"argument {name}") + when
