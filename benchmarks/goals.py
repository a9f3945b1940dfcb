"""What the figures are held against.

A goal is a ratio to a peer (or, without one, an absolute figure) of one of our two arrangements. `target` is
what the best prototype of the design reached, `minimum` is what must hold on any machine. With neither, the ratio is
only shown.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from benchmarks.lines.curves import CURVES


@dataclass(frozen=True)
class Goal:
    """One figure to reach; `peer` is empty for an absolute one."""

    metric: str
    subject: str
    peer: str
    target: float | None
    minimum: float | None = None


def _against_all(metric: str, subject: str, minimum: float | None, **targets: float | None) -> Iterable[Goal]:
    """The same metric against several peers; the minimum counts for ProcessPoolExecutor."""
    for peer, target in targets.items():
        yield Goal(metric, subject, peer, target, minimum if peer == "ppe" else None)


LINEAR, LINEAR_AT_LEAST = 1.3, 2.0    # a task in a graph over one in a graph of a sixteenth of the size

GOALS: Sequence[Goal] = (
    *_against_all("submit", "inside", 8, ppe=25, loky=38, parsl=360, dask=840),
    *_against_all("submit", "apart", 6, ppe=19, loky=29, parsl=280, dask=650),
    *_against_all("map1", "inside", 10, ppe=32, loky=52, parsl=540, dask=1_300),
    *_against_all("map100", "inside", 1, ppe=3, loky=3.6),
    *_against_all("latency_median", "inside", 1, ppe=0.55, loky=0.33, parsl=0.037, dask=0.006),
    *_against_all("latency_p99", "inside", None, ppe=0.68, loky=0.28, parsl=0.035, dask=0.0053),
    Goal("latency_spread", "inside", "", None, 2),
    *_against_all("import", "inside", 1, ppe=0.85, loky=0.42, parsl=0.066, dask=0.058),
    Goal("import_class", "inside", "ppe", None, 1.3),
    Goal("first_result", "inside", "", None, 150),
    Goal("first_result", "inside", "ppe-spawn", 0.69),
    *_against_all("shutdown", "inside", None, ppe=0.15, loky=0.006, parsl=0.02, dask=0.003),
    Goal("idle_ticks", "inside", "", 0, 0),
    Goal("idle_ticks", "apart", "", 0, 0),
    *_against_all("megabyte", "inside", 2, ppe=3.9, loky=4.3, parsl=24, dask=23),
    Goal("megabyte", "inside", "parsl-encrypted", 100),
    *_against_all("array", "inside", 0.3, ppe=0.11, loky=0.14, parsl=0.023, dask=0.45),
    Goal("array_rss", "inside", "ppe", 0.22),
    Goal("array_pss", "inside", "", None, 3),
    *_against_all("closure", "inside", None, loky=200, parsl=460, dask=900),
    *_against_all("chain", "inside", None, parsl=17, dask=57),
    *_against_all("reducer", "inside", None, parsl=0.0043, dask=0.0022),
    *_against_all("tree", "inside", None, parsl=92, dask=230),
    *_against_all("pairs", "inside", None, parsl=None, dask=None),
    *_against_all("fanout", "inside", None, parsl=None),
    *_against_all("hits", "inside", None, parsl=130, dask=None),
    *_against_all("checkpoint", "inside", None, parsl=350),
    *(Goal(f"{curve.name}_growth", "inside", "", LINEAR, LINEAR_AT_LEAST) for curve in CURVES),
    Goal("overhead_submit", "inside", "", None, 15),
    Goal("overhead_app", "inside", "", None, 15),
    Goal("overhead_options", "inside", "", None, 15),
    Goal("resume_first", "inside", "", None, 5),
    *_against_all("queued_bytes", "inside", None, ppe=0.08, loky=0.08),
    Goal("queued_bytes", "inside", "", 164, 400),
    Goal("million_left", "inside", "", None, 50),
    Goal("million_left", "apart", "", None, 50),
    Goal("broker_growth", "inside", "", 2),
    Goal("file", "inside", "curl", 1, 1.1),
    Goal("file_memory", "inside", "", None, 30),
    Goal("file_requests", "inside", "", None, 1),
    Goal("files", "inside", "wget", None, 1),
    Goal("files_connections", "inside", "", None, 8),
    Goal("files_alone", "inside", "wget", None, 1),
    Goal("files_alone_connections", "inside", "", None, 8),
    Goal("scale1000_registered", "apart", "", None, 10),
    Goal("scale1000_share", "apart", "", None, 0.8),
    Goal("scale1000_beats", "apart", "", None, 5),
    Goal("scale1000_memory", "apart", "", None, 50),
    Goal("scale1000_memory_after", "apart", "", None, 50),
    Goal("scale1000_descriptors", "apart", "", None, 1),
    Goal("scale8000_descriptors", "apart", "", None, 1),
    Goal("object_first", "inside", "", 1.1, 1.5),
    Goal("object_memory", "inside", "", None, 2.1),
    Goal("object_written", "inside", "", None, 1.1),
    Goal("busy", "inside", "", 1.1, 1.2),
    Goal("busy", "apart", "", None, 1.2),
)
