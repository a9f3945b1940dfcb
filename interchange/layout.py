"""The places for workers on this node; how they come about is in node.py, which only those load who need it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from parsl_pool.interchange.wanted import Node, Place, Wanted, rank_variable


def arrange(wanted: Wanted, environ: Mapping[str, str]) -> Node:
    """The places on this node. Raises UnfitNode."""
    if wanted.is_plain:
        return Node([Place([], [rank_variable(rank)]) for rank in range(wanted.workers)], [], [])
    from parsl_pool.interchange.node import arranged  # rarely needed

    return arranged(wanted, environ)


def place_of(node: Node, ranks: Sequence[int]) -> Place:
    """What belongs to a worker with these places."""
    if len(ranks) == 1:
        return node.places[ranks[0]]
    from parsl_pool.interchange.node import joined  # as above

    return joined([node.places[rank] for rank in ranks])
