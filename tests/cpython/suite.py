"""Finds CPython's test_concurrent_futures for the running interpreter, and names its classes."""

import importlib
import os
import pkgutil
import sys
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

SUITE = "test_concurrent_futures"
ELSEWHERE = "PARSL_POOL_CPYTHON_TESTS"  # environment: a folder that holds `test/test_concurrent_futures`
MINOR = f"{sys.version_info.major}.{sys.version_info.minor}"

# How a pool is built in the suite: with a context of that start method. Default is ours: default_context.py.
CONTEXTS = ("Fork", "Forkserver", "Spawn", "Default")

MIXINS = (
    "ProcessPoolExecutorTest",
    "ProcessPoolShutdownTest",
    "WaitTests",
    "AsCompletedTests",
    "InitializerMixin",
    "FailingInitializerMixin",
    "ExecutorDeadlockTest",
)

# Without a context its test looks for the initializer's log in this process, where only threads write it.
NEEDS_CONTEXT = frozenset({"FailingInitializerMixin"})

# Classes that concern us, and that are not made of a mixin and a context.
ALONE = ("FutureTests", "FailingInitializerResourcesTest")


class SuiteMissing(Exception):
    """This interpreter's version of CPython's tests is not on this machine."""


@dataclass(frozen=True)
class Suite:
    """Where the suite is: `root` holds `test`; None if the interpreter's own library has it all."""

    root: Path | None
    is_package: bool


def class_name(context: str, mixin: str) -> str:
    """The name that the suite itself gives to a mixin run on that context."""
    for ending in ("Mixin", "Tests", "Test"):
        if mixin.endswith(ending):
            mixin = mixin.removesuffix(ending)
            break
    return f"ProcessPool{context}{mixin}Test"


def mixin_of(name: str) -> tuple[str, str]:
    """(context, mixin) of a class that `class_name` named; ("", name) for one that stands alone."""
    for context in CONTEXTS:
        for mixin in MIXINS:
            if class_name(context, mixin) == name:
                return context, mixin
    return "", name


def class_names() -> tuple[str, ...]:
    """All classes of the running version's suite that concern process pools."""
    names = [
        class_name(context, mixin)
        for mixin in MIXINS
        for context in CONTEXTS
        if not (context == "Default" and mixin in NEEDS_CONTEXT)
    ]
    return (*names, *(ALONE if sys.version_info >= (3, 12) else ALONE[:1]))


def find(scratch: Path) -> Suite:
    """The suite of exactly this minor version; `scratch` is an empty folder which it may fill.

    Raises:
        SuiteMissing: it is nowhere; the text says where it was looked for, and how to get it.
    """
    own = Path(sysconfig.get_path("stdlib"))
    places = [own, Path("/usr/lib") / f"python{MINOR}", Path("/usr/local/lib") / f"python{MINOR}"]
    if ELSEWHERE in os.environ:
        places.insert(0, Path(os.environ[ELSEWHERE]))
    for place in places:
        for found in (place / "test" / SUITE, place / "test" / f"{SUITE}.py"):
            if found.exists():
                return Suite(None if place == own else _overlay(scratch, own, found), found.is_dir())
    raise SuiteMissing(
        f"CPython {MINOR}'s test/{SUITE} is in none of {', '.join(map(str, places))}:"
        f" install it (Debian: libpython{MINOR}-testsuite), or point {ELSEWHERE} at a source's Lib folder"
    )


def load() -> list[ModuleType]:
    """The suite's modules, if it can be imported; under the names that their functions are pickled by."""
    whole = importlib.import_module(f"test.{SUITE}")
    if not hasattr(whole, "__path__"):
        return [whole]
    inner = [name for _, name, _ in pkgutil.iter_modules(whole.__path__) if name != "__main__"]
    return [importlib.import_module(f"test.{SUITE}.{name}") for name in inner]


def _overlay(scratch: Path, own: Path, found: Path) -> Path:
    """A folder whose `test` is the interpreter's own, plus the suite found elsewhere.

    The folder of another build never goes on the path itself: its library would shadow this interpreter's.
    The support package must be that of the interpreter, which knows what its own build can do.
    """
    package = scratch / "test"
    package.mkdir(parents=True)
    support = own / "test" if (own / "test" / "support").is_dir() else found.parent
    for link, target in (
        ("__init__.py", support / "__init__.py"),
        ("support", support / "support"),
        (found.name, found),
    ):
        (package / link).symlink_to(target)
    return scratch
