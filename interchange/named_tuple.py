"""`NamedTuple`: what of `typing.NamedTuple` this project uses, at a tenth of its price.

That one compiles a constructor for each class, 0.1 ms each, and every process of a pool begins by making sixty.
Type checkers are told that this is the real one.
"""

from __future__ import annotations

from operator import itemgetter
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import NamedTuple as NamedTuple
else:

    class NamedTuple(tuple):
        """Base of records: the annotations of a subclass are its fields. None of them has a default."""

        __slots__ = ()
        _fields = ()

        def __init_subclass__(cls):
            cls._fields = cls.__match_args__ = tuple(cls.__annotations__)
            for place, name in enumerate(cls._fields):
                setattr(cls, name, property(itemgetter(place)))

        def __new__(cls, *values, **named):
            if named:
                values += tuple([named.pop(name) for name in cls._fields[len(values) :] if name in named])
            if named or len(values) != len(cls._fields):
                raise TypeError(f"{cls.__name__} takes {', '.join(cls._fields)}; got {values} and {named}")
            return tuple.__new__(cls, values)

        def _replace(self, **changes):
            return type(self)(*[changes.pop(name, value) for name, value in zip(self._fields, self)], **changes)

        def __getnewargs__(self):
            return tuple(self)

        def __repr__(self):
            fields = ", ".join([f"{name}={value!r}" for name, value in zip(self._fields, self)])
            return f"{type(self).__name__}({fields})"
