"""What a worker has to be given by its ancestors: descriptors of `multiprocessing` objects, and their authkey.

Loaded only in workers of pools that use such objects.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

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


class _AuthkeySetter:
    """Sets the authkey when multiprocessing is first imported: importing it for that alone would cost each start.

    Proxies of a Manager connect with it: a worker without the client's key is turned away.
    """

    def __init__(self, authkey: bytes) -> None:
        self._authkey = authkey

    def find_spec(self, name: str, path: Sequence[str] | None, target: ModuleType | None = None) -> ModuleSpec | None:
        if name != "multiprocessing.process":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or spec.loader is None:
            return None
        execute = spec.loader.exec_module

        def exec_module(module: ModuleType) -> None:
            execute(module)
            module.current_process().authkey = self._authkey

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]  # of this one loader object
        return spec


def set_authkey(authkey: bytes) -> None:
    """Have multiprocessing use this key in this process and its children."""
    module = sys.modules.get("multiprocessing.process")
    if module is not None:
        module.current_process().authkey = authkey
    else:
        sys.meta_path.insert(0, _AuthkeySetter(authkey))
