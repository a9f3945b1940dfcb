"""The rules of the house, as tests: who may import whom, what pure cores stay away from, what imports cost.

When one fails for a new file or room, the question is where the file belongs; the tables here come second.
"""

import ast
import io
import os
import subprocess
import sys
import tokenize
from collections.abc import Iterator, Sequence
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
# Where the packages really are: the links in parsl_pool/ are not followed, an unpacked sdist has none.
PACKAGES = {
    "parsl_pool": ROOT / "parsl_pool",
    "parsl_pool.interchange": ROOT / "interchange",
    "parsl_pool.providers": ROOT / "providers",
}

# A room is a folder of parsl_pool, or a module beside them; `errors`, `portable` and `_version` are open to all.
# `lost`, `provider_errors` and `staging_errors` are the parts of `errors` that are loaded late.
OPEN_TO_ALL = {"errors", "loggers", "lost", "portable", "provider_errors", "staging_errors", "_version"}
MAY_USE: dict[str, set[str]] = {
    "_version": set(),
    "errors": set(),
    "lost": set(),
    "loggers": set(),
    "portable": set(),
    "provider_errors": set(),
    "staging_errors": set(),
    "interchange": set(),
    "checks": set(),
    "recipe": set(),
    "resources": {"checks", "dataflow", "interchange"},
    "addresses": {"address_query", "checks", "interchange"},
    "address_query": set(),
    "providers": {"checks", "recipe"},
    "files": set(),
    "forked": set(),
    "objects": {"interchange"},
    "futures": {"checks", "files"},
    "dataflow": {"files", "forked", "futures", "interchange"},
    "run_directory": set(),
    "run_log": {"interchange", "loggers"},
    "memoization": {"dataflow", "futures", "interchange"},
    "scaling": {"checks", "providers", "run_directory"},
    "staging": {"checks", "dataflow", "files", "futures", "interchange", "providers", "recipe"},
    "executors": {"addresses", "checks", "dataflow", "files", "forked", "futures", "interchange", "objects",
                  "providers", "recipe", "resources", "run_directory", "run_log", "scaling", "staging"},
    "config_file": set(),
    "config": {"checks", "config_file", "dataflow", "executors", "recipe", "sandboxing"},
    "status": {"executors", "futures"},
    "progress": {"executors"},
    "exit_hook": set(),
    "logs": set(),
    "mapping": {"checks", "executors"},
    "streams": {"checks", "files"},
    "sandboxing": {"checks", "dataflow", "staging", "streams"},
    "options": {"checks", "dataflow", "futures", "mapping", "resources", "sandboxing"},
    "kernel_face": {
        "config", "dataflow", "executors", "futures", "interchange", "memoization", "objects", "run_directory",
        "staging", "status", "streams",
    },
    "backends": {"checks", "config", "executors", "run_directory"},
    "executor": {
        "backends", "checks", "config", "dataflow", "executors", "exit_hook", "futures", "kernel_face", "mapping",
        "options", "progress", "sandboxing", "status", "usage",
    },
    "usage": set(),
    "doctor": {"config", "executor", "executors", "interchange", "providers", "run_directory"},
    "cli": {"config", "doctor", "memoization", "run_directory", "scaling", "staging", "usage"},
    "__main__": {"cli"},
    "configs": {"config", "executors"},
    "session": {"config", "executor"},
    "apps": {
        "checks", "dataflow", "executor", "files", "futures", "interchange", "options", "resources", "sandboxing",
        "session", "streams",
    },
    "task": {"interchange"},
    "simulation": {"interchange"},
    "__init__": {
        "addresses", "apps", "config", "configs", "executor", "executors", "files", "futures", "logs", "memoization",
        "objects", "providers", "session", "streams", "task",
    },
}

# Events in, effects out: these have no sockets, threads, processes or clocks.
PURE = [
    "interchange/broker.py",
    "interchange/columns.py",
    "interchange/fields.py",
    "interchange/affinity.py",
    "interchange/manager_core.py",
    "interchange/places.py",
    "interchange/wire.py",
    "parsl_pool/dataflow/graph.py",
    "parsl_pool/scaling/blame.py",
    "parsl_pool/scaling/decision.py",
    "parsl_pool/scaling/fuses.py",
    "parsl_pool/scaling/streak.py",
    "parsl_pool/scaling/table.py",
    "parsl_pool/simulation/queue.py",
]
IMPURE = set("asyncio multiprocessing select selectors socket subprocess threading time zmq".split())

# What neither `import parsl_pool` nor a worker's start may pay for.
HEAVY = set("asyncio cloudpickle multiprocessing paramiko psutil sqlalchemy typing_extensions zmq".split())
HEAVY_FOR_A_WORKER = set("concurrent dataclasses hashlib inspect logging platform random shutil subprocess tempfile "
                         "traceback".split())


class Import(NamedTuple):
    """One imported module, and how it is imported."""

    module: str
    line: int
    is_for_types: bool
    is_late: bool  # inside a function


class Module(NamedTuple):
    """One of our modules, read but not run."""

    name: str
    path: Path
    tree: ast.Module
    imports: tuple[Import, ...]

    @property
    def room(self) -> str:
        return room_of(self.name)

    @property
    def place(self) -> str:
        return str(self.path.relative_to(ROOT))


def room_of(name: str) -> str:
    """`parsl_pool.dataflow.graph` is in the room `dataflow`; the package's own file is a room, too."""
    return (name.split(".") + ["__init__"])[1]


def python_files(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):  # which does not follow links
        folders[:] = sorted(name for name in folders if not name.startswith((".", "__pycache__")))
        yield from (Path(where, name) for name in sorted(names) if name.endswith(".py"))


@cache
def our_paths() -> dict[str, Path]:
    """Where each module of ours is, by the name it is imported by."""
    paths = {}
    for package, folder in PACKAGES.items():
        for path in python_files(folder):
            parts = [package, *path.relative_to(folder).with_suffix("").parts]
            paths[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return paths


@cache
def our_modules() -> Sequence[Module]:
    modules = []
    for name, path in our_paths().items():
        tree = ast.parse(path.read_text())
        modules.append(Module(name, path, tree, tuple(imports(tree, name, path.name == "__init__.py"))))
    return modules


def imports(tree: ast.AST, name: str, is_package: bool) -> Iterator[Import]:
    """All imports below the tree, wherever they stand."""

    def visit(node: ast.AST, is_for_types: bool, is_late: bool) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            for module in imported(child, name, is_package):
                yield Import(module, getattr(child, "lineno", 0), is_for_types, is_late)
            late = is_late or isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda))
            yield from visit(child, is_for_types or is_type_checking(child), late)

    return visit(tree, False, False)


def imported(node: ast.AST, name: str, is_package: bool) -> list[str]:
    """What one statement imports: of `from a import b`, `a.b` if that is a module of ours, else `a`."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    base = node.module or ""
    if node.level:
        parents = name.split(".") + ([""] if is_package else [])
        base = ".".join([*parents[: -node.level], *([base] if base else [])])
    candidates = [f"{base}.{alias.name}" for alias in node.names]
    return [candidate if candidate in our_paths() else base for candidate in candidates]


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) in {"TYPE_CHECKING", "typing.TYPE_CHECKING"}


def comment_lines(source: str) -> set[int]:
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    return {token.start[0] for token in tokens if token.type == tokenize.COMMENT}


def test_every_room_is_in_the_table_and_has_files() -> None:
    rooms = {module.room for module in our_modules()}
    assert rooms == set(MAY_USE), "a new room needs its line in MAY_USE: what is below it, and nothing else"


def test_rooms_import_only_what_they_may() -> None:
    wrong = [
        f"{module.place}:{used.line}: {used.module}"
        for module in our_modules()
        for used in module.imports
        if used.module.split(".")[0] == "parsl_pool"
        if room_of(used.module) not in MAY_USE.get(module.room, set()) | OPEN_TO_ALL | {module.room}
    ]
    assert not wrong, "these rooms may not import that (MAY_USE):\n" + "\n".join(wrong)


def test_the_table_has_no_cycle() -> None:
    TopologicalSorter(MAY_USE).prepare()


STDOUT_IS = ("parsl_pool.futures.app_future", "parsl_pool.futures.data_future")


def test_no_module_imports_itself_in_a_circle() -> None:
    """Imports for types and late ones count too, but for `errors`, whose late parts are built on it, and for the type
    of `future.stdout`, which may be a future again."""
    graph = {
        module.name: {
            used.module
            for used in module.imports
            if used.module in our_paths() and used.module != module.name
            if not (used.is_for_types and (module.name, used.module) == STDOUT_IS)
            if not (
                module.name == "parsl_pool.errors"
                and used.module in ("parsl_pool.lost", "parsl_pool.provider_errors", "parsl_pool.staging_errors")
            )
        }
        for module in our_modules()
        if module.name != "parsl_pool"  # its names are fetched late, by text
    }
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail("a circle: " + " -> ".join(reversed(error.args[1])), pytrace=False)


@pytest.mark.parametrize("place", PURE)
def test_a_pure_core_has_no_sockets_threads_processes_or_clocks(place: str) -> None:
    (module,) = [module for module in our_modules() if module.place == place]
    assert module.imports
    assert not {used.module.split(".")[0] for used in module.imports if not used.is_for_types} & IMPURE


def loaded_by(statement: str) -> set[str]:
    """The modules that a fresh interpreter loads for the statement, beyond those it has anyway."""
    script = f"import sys; had = set(sys.modules); {statement}; print(*(set(sys.modules) - had))"
    return set(subprocess.check_output([sys.executable, "-c", script], cwd=ROOT, text=True).split())


def test_importing_the_package_loads_nothing_but_itself() -> None:
    assert loaded_by("import parsl_pool") <= {"__future__", "parsl_pool", "parsl_pool._version"}


def test_importing_the_class_loads_its_base_class_and_little_else() -> None:
    loaded = loaded_by("from parsl_pool import ParslPoolExecutor")
    base = loaded_by("import concurrent.futures.process")
    assert "parsl_pool.executor" in loaded and "multiprocessing" in base
    ours = {f"parsl_pool{name}" for name in ("", "._version", ".errors", ".executor", ".exit_hook", ".kernel_face",
                                          ".lost")}
    beside = {"__future__", "concurrent.futures.thread",  # see exit_hook
              "importlib", "importlib._bootstrap", "importlib._bootstrap_external", "warnings"}  # fmt: skip
    assert loaded - base <= ours | beside


WORKERS_NEED = 70
"""Modules that a worker's interpreter loads, at most. There were 63 to 69 of them, by version of Python."""


@pytest.mark.parametrize("module", ["worker", "fork_server", "spawned"])
def test_a_worker_s_start_loads_interchange_and_little_else(module: str) -> None:
    loaded = loaded_by(f"import parsl_pool.interchange.{module}")
    assert f"parsl_pool.interchange.{module}" in loaded
    rooms = {room_of(name) for name in loaded if name.startswith("parsl_pool")}
    assert rooms <= {"__init__", "interchange", "errors", "portable", "_version"}
    assert not {name.split(".")[0] for name in loaded} & (HEAVY | HEAVY_FOR_A_WORKER)
    assert len(loaded) <= WORKERS_NEED, f"{len(loaded)}: {sorted(loaded)}"


def test_an_interchange_s_start_loads_nothing_heavy() -> None:
    loaded = loaded_by("import parsl_pool.interchange.interchange")
    assert not {name.split(".")[0] for name in loaded} & (HEAVY | HEAVY_FOR_A_WORKER)


def test_no_relative_imports() -> None:
    """One spelling for each module, so that a search for its name finds its users."""
    wrong = [
        f"{module.place}:{node.lineno}"
        for module in our_modules()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level
    ]
    assert not wrong, "\n".join(wrong)


def test_a_late_import_has_its_reason_beside_it() -> None:
    wrong = []
    for module in our_modules():
        commented = comment_lines(module.path.read_text())
        late = {used.line for used in module.imports if used.is_late}
        for line in sorted(late):
            first = line
            while first - 1 in late:  # imports below each other share a reason
                first -= 1
            if not {line, first, first - 1} & commented:
                wrong.append(f"{module.place}:{line}")
    assert not wrong, "imports inside a function, without a comment that says why:\n" + "\n".join(wrong)


@cache
def files_for_readers() -> Sequence[Path]:
    """What is installed, and what is shown to users. Tests say it all in their names."""
    return [*our_paths().values(), *python_files(ROOT / "benchmarks"), *python_files(ROOT / "examples")]


def test_every_module_says_what_it_is_for() -> None:
    wrong = [
        str(path.relative_to(ROOT))
        for path in files_for_readers()
        if not ast.get_docstring(ast.parse(path.read_text()))
    ]
    assert not wrong, "no docstring:\n" + "\n".join(wrong)


def test_a_broad_except_says_who_sees_the_error_now() -> None:
    wrong = []
    for path in files_for_readers():
        source = path.read_text()
        commented = comment_lines(source)
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ExceptHandler) and is_broad(node.type) and not is_raised_again(node):
                beside = range(node.lineno - 1, (node.body[0].end_lineno or node.lineno) + 1)
                if not commented.intersection(beside):
                    wrong.append(f"{path.relative_to(ROOT)}:{node.lineno}")
    assert not wrong, "a broad except without a comment beside it:\n" + "\n".join(wrong)


def is_broad(caught: ast.expr | None) -> bool:
    if isinstance(caught, ast.Tuple):
        return any(map(is_broad, caught.elts))
    return caught is None or ast.unparse(caught) in {"Exception", "BaseException"}


def is_raised_again(handler: ast.ExceptHandler) -> bool:
    """Then everybody sees it who would have seen it anyway."""
    last = handler.body[-1]
    return isinstance(last, ast.Raise) and last.exc is None


def test_no_logger_lets_a_handler_s_failure_into_our_threads() -> None:
    """Handlers are the user's code. Those below only add handlers, log for others, or run in a worker."""
    plain = {
        module.place
        for module in our_modules()
        if "logging.getLogger(" in module.path.read_text() and module.room != "loggers"
    }
    expected = {
        "parsl_pool/executor.py", "parsl_pool/futures/app_future.py", "parsl_pool/logs.py", "parsl_pool/run_log.py",
        "interchange/worker.py",
    }  # fmt: skip
    assert plain == expected, "take it from parsl_pool.loggers"
