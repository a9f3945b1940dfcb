"""Which cores each worker of a node gets, by the words of `cpu_affinity`.

    block          the first worker gets the first cores:    (0, 1), (2, 3)
    block-reverse  the first worker gets the last ones:      (3, 2), (1, 0)
    alternating    they are dealt out like cards:            (0, 2), (1, 3)
    list:0-1:2,3   as it says, a part for each worker
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from parsl_pool.interchange.wanted import NOT_BOUND

WORDS = (NOT_BOUND, "block", "block-reverse", "alternating")
LIST = "list:"
_MOST = 1 << 16  # the number of a core


def is_list(word: str) -> bool:
    """True if it says itself who gets which cores, and so how many workers there are to be."""
    return word.startswith(LIST)


def parts_of(word: str) -> list[list[int]]:
    """The cores in `list:...`, a list for each worker.

    Raises:
        ValueError: it is not of that form.
    """
    return [_part(part) for part in word[len(LIST) :].split(":")]


def _part(text: str) -> list[int]:
    """`0-3,8` is 0, 1, 2, 3, 8."""
    cores: list[int] = []
    for piece in text.split(","):
        first, dash, last = piece.strip().partition("-")
        begin, end = _core(first, piece), _core(last, piece) if dash else _core(first, piece)
        if end < begin:
            raise ValueError(f"{piece.strip()!r} goes backwards")
        cores += range(begin, end + 1)
    if len(set(cores)) < len(cores):
        raise ValueError(f"{text!r} has a core twice")
    return cores


def _core(text: str, piece: str) -> int:
    plain = text.strip()
    if not (plain.isascii() and plain.isdigit()):
        raise ValueError(f"{piece.strip()!r} is neither a core's number nor a range such as 0-7")
    if len(plain) > 6 or int(plain) >= _MOST:
        raise ValueError(f"there is no core {plain}")
    return int(plain)


def assign(word: str, cores: Sequence[int], workers: int) -> list[list[int]]:
    """A list of cores for each worker; empty ones for the word `none`. Each core goes to one worker, unless `list:`
    says otherwise; where they do not go up evenly, the first workers have one more.

    Raises:
        ValueError: it does not fit this node, with the reason.
    """
    if word == NOT_BOUND:
        return [[] for _ in range(workers)]
    if is_list(word):
        return _listed(word, cores, workers)
    if workers > len(cores):
        raise ValueError(f"cpu_affinity={word!r} needs a core for each of {workers} workers; there are {len(cores)}")
    if word == "alternating":
        return [list(cores[rank::workers]) for rank in range(workers)]
    ordered = list(cores) if word == "block" else list(reversed(cores))
    size, more = divmod(len(ordered), workers)
    ends = [rank * size + min(rank, more) for rank in range(workers + 1)]
    return [ordered[begin:end] for begin, end in pairwise(ends)]


def _listed(word: str, cores: Sequence[int], workers: int) -> list[list[int]]:
    parts = parts_of(word)
    if len(parts) != workers:
        raise ValueError(f"cpu_affinity={word!r} is for {len(parts)} workers, and there are to be {workers}")
    missing = sorted({core for part in parts for core in part} - set(cores))
    if missing:
        raise ValueError(
            f"cpu_affinity={word!r} names cores that this process may not use, or that are not there: "
            f"{shortly(missing)}; it may use {shortly(cores)}"
        )
    return parts


def shortly(cores: Sequence[int]) -> str:
    """0-3,8 for 0, 1, 2, 3, 8."""
    runs: list[list[int]] = []
    for core in sorted(cores):
        if runs and core == runs[-1][1] + 1:
            runs[-1][1] = core
        else:
            runs.append([core, core])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in runs)


def variables(cores: Sequence[int]) -> list[str]:
    """What tells the usual OpenMP libraries, in the worker or in what it starts, of its cores."""
    if not cores:
        return []
    listed = ",".join(map(str, cores))
    return [
        f"OMP_NUM_THREADS={len(cores)}",
        f"GOMP_CPU_AFFINITY={listed}",
        f"KMP_AFFINITY=explicit,proclist=[{listed}]",
    ]
