"""What makes two functions the same one: their code and what they were made with, not where they stand.

A function is its code (with the constants and the docstring in it), its defaults and the values that it closes over.
What it calls does not count, nor do file and line: a function that is defined again, in a notebook's cell or by the
next run of a script, is the same function if it reads the same. What has no code in Python goes by its name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from inspect import getattr_static
from types import (
    BuiltinFunctionType,
    ClassMethodDescriptorType,
    CodeType,
    FunctionType,
    GetSetDescriptorType,
    MemberDescriptorType,
    MethodDescriptorType,
    MethodType,
    MethodWrapperType,
    ModuleType,
    WrapperDescriptorType,
)
from typing import Any
from weakref import ref

from parsl_pool.errors import UnknownMemoType
from parsl_pool.memoization.encoder import (
    Encoder,
    Kind,
    class_name,
    listed,
    module_name,
    name_of_type,
    text,
)
from parsl_pool.memoization.plain import ATOMS

# Optimized, new locals, *args, **kwargs, generator, coroutine, asynchronous generator. Other flags tell of the
# surroundings: nested, __future__ imports.
_FLAGS = 0x1 | 0x2 | 0x4 | 0x8 | 0x20 | 0x80 | 0x100 | 0x200

CODE, SELF = "@code", "self"
"""Names of parts of a call's key beside its arguments; those of arguments are identifiers."""


def of_default(name: str) -> str:
    return f"@default {name}"


def of_variable(name: str) -> str:
    return f"@variable {name}"


def of_bound(name: str) -> str:
    return f"@bound {name}"


Parts = list[tuple[str, bytes]]


def function_parts(encoder: Encoder, fn: Callable[..., Any], left_out: frozenset[str] = frozenset()) -> Parts:
    """What a function is made of, each part with its name. Defaults of arguments that are left out don't count.

    Raises:
        UnknownMemoType: a default, a variable it closes over, or the object it is a method of.
    """
    if type(fn) is FunctionType:
        return _python_function(encoder, fn, left_out)
    if type(fn) is MethodType:
        return [*function_parts(encoder, fn.__func__, left_out), (SELF, _named(encoder, fn.__self__, SELF))]
    if type(fn) is partial:
        return _partial(encoder, fn, left_out)
    call = getattr_static(type(fn), "__call__", None)
    if type(call) is FunctionType and not isinstance(fn, type):  # an object that can be called
        return [*function_parts(encoder, call, left_out), (SELF, _named(encoder, fn, SELF))]
    return [(CODE, encoder.encode(fn))]


def _named(encoder: Encoder, value: Any, name: str, *, is_fixed: bool = False) -> bytes:
    """A part that is said by a name in an error's text. A fixed one may be unknown: nobody can change it."""
    try:
        return encoder.encode(value)
    except UnknownMemoType as error:
        if is_fixed:
            return b"?" + class_name(type(value))
        path = f"{name}, {error.path.lstrip('.')}" if error.path else name
        raise UnknownMemoType(error.type_name, error.where, path, error.reason) from None


def _python_function(encoder: Encoder, fn: FunctionType, left_out: frozenset[str]) -> Parts:
    if id(fn) in encoder.open:  # it closes over itself, as a recursive function inside another does
        return [(CODE, b"R%x;" % (len(encoder.open) - encoder.open[id(fn)]))]
    code = fn.__code__
    is_fixed = is_of_a_library(fn) and _is_importable(fn)
    encoder.enter(fn)
    try:
        parts = [(CODE, text(module_name(fn)) + text(fn.__qualname__) + _code(encoder, code))]
        for name, value in _defaults(fn):
            if name not in left_out:
                encoded = _named(encoder, value, f"the default of {name}", is_fixed=is_fixed)
                parts.append((of_default(name), encoded))
        for name, cell in zip(code.co_freevars, fn.__closure__ or ()):
            parts.append((of_variable(name), _cell(encoder, name, cell, is_fixed)))
        return parts
    finally:
        encoder.leave(fn)


def _defaults(fn: FunctionType) -> Iterator[tuple[str, Any]]:
    positional = fn.__defaults__ or ()
    names = fn.__code__.co_varnames[: fn.__code__.co_argcount]
    if positional:
        yield from zip(names[-len(positional) :], positional)
    yield from sorted((fn.__kwdefaults__ or {}).items())


def _cell(encoder: Encoder, name: str, cell: Any, is_fixed: bool) -> bytes:
    try:
        value = cell.cell_contents
    except ValueError:  # it has none yet
        return b"_"
    return _named(encoder, value, f"the variable {name}, over which it closes", is_fixed=is_fixed)


def _partial(encoder: Encoder, fn: partial[Any], left_out: frozenset[str]) -> Parts:
    parts = function_parts(encoder, fn.func, left_out)
    bound = [*((str(index), value) for index, value in enumerate(fn.args)), *sorted(fn.keywords.items())]
    for name, value in bound:
        if name not in left_out:
            parts.append((of_bound(name), _named(encoder, value, f"the bound argument {name}")))
    return [(CODE, b"p"), *parts]


class CodeCache:
    """Codes' bytes, for as long as the codes live. By id: comparing codes compares all that they hold."""

    def __init__(self) -> None:
        self._known: dict[int, tuple[ref[CodeType], bytes]] = {}

    def get(self, code: CodeType) -> bytes | None:
        found = self._known.get(id(code))
        return found[1] if found is not None and found[0]() is code else None

    def put(self, code: CodeType, encoded: bytes) -> None:
        key, known = id(code), self._known

        def forget(gone: ref[CodeType]) -> None:
            found = known.get(key)
            if found is not None and found[0] is gone:  # not the entry of a new one at the same place
                del known[key]

        known[key] = (ref(code, forget), encoded)


_CODES = CodeCache()


def _code(encoder: Encoder, code: CodeType) -> bytes:
    """A code, without what tells where it was written down."""
    encoded = _CODES.get(code)
    if encoded is None:
        does, constants = _what_it_does(code)
        plain: list[Any] = [
            code.co_name,
            does,
            code.co_flags & _FLAGS,
            (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount),
            (code.co_names, code.co_varnames, code.co_freevars, code.co_cellvars),
            getattr(code, "co_exceptiontable", b""),  # from 3.11 on
            constants,
        ]
        encoded = listed(b"K", encoder.items(code, plain))
        _CODES.put(code, encoded)
    return encoded


def _what_it_does(code: CodeType) -> tuple[object, object]:
    """A code's instructions and its constants."""
    if "__firstlineno__" not in code.co_names:
        return code.co_code, code.co_consts
    # From Python 3.13 on, the code of a class has the line at which it stands among its constants. So each step is
    # taken with the constant that it loads, and without that one.
    import dis  # for few functions: those that make classes

    steps: list[tuple[str, object]] = []
    for step in dis.get_instructions(code):
        if step.argval == "__firstlineno__" and step.opname.startswith("STORE"):
            steps[-1] = (steps[-1][0], None)
        steps.append((step.opname, step.argval if step.opcode in dis.hasconst else step.arg))
    return steps, None


# ---- functions and their like as values


def _function(encoder: Encoder, fn: Callable[..., Any]) -> bytes:
    return listed(b"Y", [part for name, encoded in function_parts(encoder, fn) for part in (text(name), encoded)])


def _builtin(encoder: Encoder, fn: BuiltinFunctionType) -> bytes:
    owner = fn.__self__  # of a plain function, its module
    if owner is None or isinstance(owner, ModuleType):
        return b"G" + text(f"{module_name(fn)}.{fn.__qualname__}")
    return b"g" + text(fn.__name__) + encoder.items(fn, [owner], lambda _: ".__self__")[0]


def _descriptor(encoder: Encoder, fn: Any) -> bytes:
    """A method of a built-in type, as `str.upper`."""
    return b"G" + class_name(fn.__objclass__) + text(fn.__name__)


def _bound_wrapper(encoder: Encoder, fn: MethodWrapperType) -> bytes:
    return b"g" + text(fn.__name__) + encoder.items(fn, [fn.__self__], lambda _: ".__self__")[0]


def _class(encoder: Encoder, cls: type) -> bytes:
    """A class: its name and, if it was made in Python, what its own methods and plain attributes are."""
    name = b"C" + class_name(cls)
    if not cls.__flags__ & _HEAP_TYPE or id(cls) in encoder.open or is_of_a_library(cls):
        return name
    encoder.enter(cls)
    try:
        parts = [encoder.encode(base) for base in cls.__bases__]
        for attribute, value in sorted(vars(cls).items()):
            if attribute not in _NO_CONTENT:
                parts += [text(attribute), *_attribute(encoder, value)]
        return name + listed(b"", parts)
    finally:
        encoder.leave(cls)


_HEAP_TYPE = 1 << 9  # Py_TPFLAGS_HEAPTYPE: not part of an interpreter's or extension's static data
_NO_CONTENT = {"__module__", "__qualname__", "__firstlineno__", "__static_attributes__", "__dict__", "__weakref__"}


def is_of_a_library(thing: Any) -> bool:
    """What it is does not change while its user works: it comes from the standard library or from site-packages."""
    if module_name(thing) == "__main__":
        return False
    module = sys.modules.get(module_name(thing))
    place = getattr(module, "__file__", None)
    if place is None:
        return module is not None
    return str(place).startswith(_LIBRARIES) or "site-packages" in place


_LIBRARIES = tuple({f"{path}/lib/python" for path in (sys.prefix, sys.base_prefix)})


def _attribute(encoder: Encoder, value: Any) -> list[bytes]:
    """An attribute of a class: functions count by their code, simple values as they are, others not at all."""
    functions = [value]
    if isinstance(value, (staticmethod, classmethod)):
        functions = [value.__func__]
    elif isinstance(value, property):
        functions = [value.fget, value.fset, value.fdel]
    return [
        _code(encoder, part.__code__) if isinstance(part, FunctionType) else encoder.encode(part)
        for part in functions
        if isinstance(part, FunctionType) or type(part) in ATOMS
    ]


def _module(encoder: Encoder, module: ModuleType) -> bytes:
    return b"m" + text(module.__name__)


KINDS: dict[type, Kind] = {
    FunctionType: _function,
    MethodType: _function,
    partial: _function,
    BuiltinFunctionType: _builtin,
    MethodDescriptorType: _descriptor,
    WrapperDescriptorType: _descriptor,
    ClassMethodDescriptorType: _descriptor,
    GetSetDescriptorType: _descriptor,
    MemberDescriptorType: _descriptor,
    MethodWrapperType: _bound_wrapper,
    ModuleType: _module,
    CodeType: _code,
    type: _class,
}


def find(value: Any) -> Kind | None:
    """The kind of a callable whose type is none of the above."""
    if isinstance(value, type):  # its class is a metaclass
        return _class
    if not callable(value):
        return None
    is_importable = _is_importable(value)
    if is_importable and is_of_a_library(value):
        return _by_name
    if callable(getattr(value, "__wrapped__", None)) and is_of_a_library(type(value)):
        return _wrapper  # functools.lru_cache, compilers of functions
    return _by_name if is_importable else None


def _wrapper(encoder: Encoder, value: Any) -> bytes:
    return b"W" + class_name(type(value)) + encoder.items(value, [value.__wrapped__], lambda _: ".__wrapped__")[0]


def _is_importable(value: Any) -> bool:
    """Its module has it under its name, so that this name says all (a numpy.ufunc, a compiled function)."""
    name = getattr(value, "__qualname__", None) or getattr(value, "__name__", None)
    found: Any = sys.modules.get(module_name(value))
    for step in str(name).split("."):
        found = getattr(found, step, None)
    return found is value and module_name(value) != "__main__"


def _by_name(encoder: Encoder, value: Any) -> bytes:
    name = getattr(value, "__qualname__", None) or value.__name__
    return b"G" + class_name(type(value)) + text(f"{module_name(value)}.{name}")


def name_of(fn: Callable[..., Any]) -> str:
    """What a function is called, with its module: `stats.fit`."""
    while isinstance(fn, partial):
        fn = fn.func
    fn = getattr(fn, "__func__", fn)
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None) or name_of_type(fn)
    module = module_name(fn)
    return f"{module}.{name}" if module and module != "builtins" else str(name)
