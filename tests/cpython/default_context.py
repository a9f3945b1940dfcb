"""The suite's tests for a pool that is made without mp_context, as most programs make theirs.

The suite has such classes for threads only. These can be imported by name, which workers need: some of the
tests send their own class along. child.py sets `executor_type`.
"""

import multiprocessing
from multiprocessing.context import BaseContext
from typing import Any

from tests.cpython import suite

_FOUND: dict[str, Any] = {name: value for module in suite.load() for name, value in vars(module).items()}


_Base: Any = _FOUND["ExecutorMixin"]


class ProcessPoolDefaultMixin(_Base):  # type: ignore[misc]    # only at run time it is known what it is
    def get_context(self) -> BaseContext:
        return multiprocessing.get_context()


def setUpModule() -> None:
    _FOUND.get("setup_module", _FOUND["setUpModule"])()


for _mixin in suite.MIXINS:
    if _mixin not in suite.NEEDS_CONTEXT:
        _name = suite.class_name("Default", _mixin)
        _bases = (_FOUND[_mixin], ProcessPoolDefaultMixin, _FOUND["BaseTestCase"])
        globals()[_name] = type(_name, _bases, {"__module__": __name__})
