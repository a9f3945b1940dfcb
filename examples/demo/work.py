"""What the tasks do. Plain functions that know nothing of the pool: they run the same in a loop.

    path --read--> Facts --survey--> Survey --merge--> ... --merge--> one Survey of everything
                     '----sketch---> Sketch --compare (in blocks)--> pairs --closest--> the closest pairs
"""

from __future__ import annotations

import ast
import heapq
import itertools
import warnings
from collections import Counter
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

BRANCHES = (ast.If, ast.For, ast.While, ast.ExceptHandler, ast.BoolOp, ast.IfExp, ast.comprehension)
SKETCH_SIZE = 64
FEWEST_NAMES = 40
TOP = 3


class Function(NamedTuple):
    """One function of one module."""

    where: str  # "json/decoder.py:343 raw_decode"
    lines: int
    branches: int
    shape: int  # equal for functions that do the same, whatever they are called


class Facts(NamedTuple):
    """What is known about one module."""

    module: str
    lines: int
    names: Counter[str]
    imports: frozenset[str]
    functions: list[Function]


class Survey(NamedTuple):
    """What is known about many modules."""

    modules: int
    lines: int
    functions: int
    names: Counter[str]
    imports: Counter[str]
    longest: list[Function]
    knottiest: list[Function]  # with the most branches
    shapes: dict[int, list[str]]  # where each function of that shape stands


class Sketch(NamedTuple):
    """The smallest hashes of a module's names: enough to guess how much two modules have in common."""

    module: str
    hashes: frozenset[int]


class Pair(NamedTuple):
    """Two modules, and the share of their names that both have."""

    likeness: float
    one: str
    other: str


# ---- one module


def read(root: str, module: str) -> Facts:
    """Read one file, and take it apart."""
    source = (Path(root) / module).read_bytes()
    names = Counter[str]()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about what is old-fashioned in the code that is read
            tree = ast.parse(source)
    except (SyntaxError, ValueError):  # a template, or for another Python: it still has lines
        return Facts(module, source.count(b"\n"), names, frozenset(), [])
    imports, functions = set[str](), []
    for node in ast.walk(tree):
        if isinstance(node, ast.Name):
            names[node.id] += 1
        elif isinstance(node, ast.Attribute):
            names[node.attr] += 1
        elif isinstance(node, ast.arg):
            names[node.arg] += 1
        elif isinstance(node, ast.Import):
            imports.update(alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imports.add(node.module.partition(".")[0])
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            names[node.name] += 1
            functions.append(_function(module, node))
    return Facts(module, source.count(b"\n"), names, frozenset(imports), functions)


def _function(module: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Function:
    body = node.body
    if ast.get_docstring(node, clean=False) is not None:
        body = body[1:]
    text = ast.dump(node.args) + "".join(map(ast.dump, body))
    return Function(
        f"{module}:{node.lineno} {node.name}",
        (node.end_lineno or node.lineno) - node.lineno + 1,
        sum(isinstance(part, BRANCHES) for part in ast.walk(node)),
        _hash(text),
    )


def _hash(text: str) -> int:
    """Not hash(): that one differs from process to process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "replace"), digest_size=8).digest(), "little")


# ---- all modules


def survey(facts: Facts) -> Survey:
    """The survey of a single module."""
    shapes: dict[int, list[str]] = {}
    for function in facts.functions:
        if function.lines >= 10:  # below that, everybody writes the same
            shapes.setdefault(function.shape, []).append(function.where)
    return Survey(
        1,
        facts.lines,
        len(facts.functions),
        facts.names,
        Counter(facts.imports),
        _largest(facts.functions, "lines"),
        _largest(facts.functions, "branches"),
        shapes,
    )


def merge(surveys: list[Survey]) -> Survey:
    """Several surveys as one. In whatever order and groups they are merged, the same comes out."""
    names, imports = Counter[str](), Counter[str]()
    shapes: dict[int, list[str]] = {}
    for part in surveys:
        names.update(part.names)
        imports.update(part.imports)
        for shape, places in part.shapes.items():
            shapes[shape] = sorted(shapes.get(shape, []) + places)
    return Survey(
        sum(part.modules for part in surveys),
        sum(part.lines for part in surveys),
        sum(part.functions for part in surveys),
        names,
        imports,
        _largest([function for part in surveys for function in part.longest], "lines"),
        _largest([function for part in surveys for function in part.knottiest], "branches"),
        shapes,
    )


def _largest(functions: list[Function], by: str) -> list[Function]:
    return heapq.nsmallest(TOP, functions, key=lambda function: (-getattr(function, by), function.where))


# ---- modules beside each other


def sketch(facts: Facts) -> Sketch:
    """A module in 64 numbers. Modules of a few names get none: they would all look alike."""
    if len(facts.names) < FEWEST_NAMES:
        return Sketch(facts.module, frozenset())
    return Sketch(facts.module, frozenset(heapq.nsmallest(SKETCH_SIZE, map(_hash, facts.names))))


def compare(some: list[Sketch], others: list[Sketch]) -> list[Pair]:
    """The closest pairs of one of these and one of those."""
    pairs = (
        Pair(_likeness(one, other), *sorted((one.module, other.module)))
        for one, other in itertools.product(some, others)
        if one.module != other.module
    )
    return closest([list(pairs)])


def _likeness(one: Sketch, other: Sketch) -> float:
    if not one.hashes or not other.hashes:
        return 0.0
    smallest = sorted(one.hashes | other.hashes)[:SKETCH_SIZE]
    return len(one.hashes.intersection(other.hashes, smallest)) / len(smallest)


def closest(lists: list[list[Pair]]) -> list[Pair]:
    """The closest pairs of several lists, each pair once."""
    pairs = {pair for pairs in lists for pair in pairs}
    return heapq.nsmallest(TOP, pairs, key=lambda pair: (-pair.likeness, pair.one, pair.other))
