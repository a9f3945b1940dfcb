"""What a worker has to be given by its ancestors: descriptors of `multiprocessing` objects, and their authkey.

Loaded in workers only where the client uses `multiprocessing` itself.
"""

from __future__ import annotations

import copyreg
import os
import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

TYPE_CHECKING = False  # checkers know the name; taking it from `typing` would load that
if TYPE_CHECKING:
    from typing import Any

_descriptors: list[int] = []


def provide(descriptors: list[int]) -> None:
    """These are the descriptors that the initializer's arguments refer to, by position."""
    _descriptors[:] = descriptors


class InheritedDescriptor:
    """Stands for a descriptor in a pickle, as multiprocessing's `DupFd` does when it starts a process."""

    def __init__(self, position: int) -> None:
        self.position = position

    def detach(self) -> int:
        """The descriptor, the caller's own."""
        return os.dup(_descriptors[self.position])


class _AtImport:
    """Does something to a module when it is first imported: importing it for that alone would cost each start."""

    def __init__(self, name: str, act: Callable[[ModuleType], object]) -> None:
        self._name, self._act = name, act

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != self._name:
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            self._act(module)

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader object
        return spec


def set_authkey(authkey: bytes) -> None:
    """Have multiprocessing use this key in this process and its children.

    Proxies of a Manager connect with it: a worker without the client's key is turned away.
    """

    def act(module: ModuleType) -> None:
        module.current_process().authkey = authkey

    _once_imported("multiprocessing.process", act)


def refuse_connections() -> None:
    """Have pickle refuse the ends of a Pipe.

    It takes one for a number, which is a descriptor of something else in another process: what is sent there is lost,
    or worse, and its end closes whatever that is. ForkingPickler, by which multiprocessing starts processes, knows
    better, and is not changed by this.
    """
    _once_imported("multiprocessing.connection", _refuse_those_of)


def _once_imported(name: str, act: Callable[[ModuleType], object]) -> None:
    module = sys.modules.get(name)
    if module is not None:
        act(module)
    else:
        sys.meta_path.insert(0, _AtImport(name, act))


def _refuse_those_of(module: ModuleType) -> None:
    copyreg.dispatch_table.setdefault(module.Connection, _refuse)


def _refuse(connection: object) -> Any:
    raise RuntimeError("Connection objects should only be shared with workers as initargs of the pool")
