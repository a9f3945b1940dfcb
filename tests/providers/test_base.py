from collections.abc import Sequence
from typing import Any

import pytest

from parsl_pool.errors import ConfigurationError
from parsl_pool.providers import BlockLimits, ExecutionProvider, JobState, JobStatus


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"init_blocks": 0, "min_blocks": 0, "max_blocks": 0},  # workers that are started by hand
        {"init_blocks": 2, "min_blocks": 2, "max_blocks": 2, "nodes_per_block": 100},
        {"init_blocks": 1, "max_blocks": 1000, "parallelism": 0},
        {"parallelism": 0.5},
    ],
)
def test_limits_that_make_sense_are_kept(options: dict[str, Any]) -> None:
    limits = BlockLimits(**options)
    assert {name: getattr(limits, name) for name in options} == options


@pytest.mark.parametrize(
    "options, text",
    [
        ({"init_blocks": 3, "max_blocks": 2}, "raise max_blocks to 3, or lower init_blocks"),
        ({"init_blocks": 0, "min_blocks": 1}, "raise init_blocks to 1, or lower min_blocks"),
        ({"min_blocks": -1}, "cannot be negative"),
        ({"init_blocks": 0, "max_blocks": -1}, "cannot be negative"),
        ({"max_blocks": 1.5}, "max_blocks must be a whole number, got 1.5"),
        ({"max_blocks": "2"}, "max_blocks must be a whole number, got '2'"),
        ({"init_blocks": True}, "init_blocks must be a whole number, got True"),
        ({"nodes_per_block": 0}, "nodes_per_block must be at least 1"),
        ({"parallelism": 1.01}, "parallelism must be from 0"),
        ({"parallelism": -1}, "parallelism must be from 0"),
        ({"parallelism": float("nan")}, "parallelism must be from 0"),
        ({"parallelism": None}, "parallelism must be a number"),
    ],
)
def test_limits_that_make_no_sense_say_what_would(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        BlockLimits(**options)


class Forgetful(ExecutionProvider):
    """The least that a provider can be."""

    def __init__(self) -> None:
        self.limits = BlockLimits(
            init_blocks=2, min_blocks=1, max_blocks=3, nodes_per_block=4, parallelism=0.5
        )

    @property
    def label(self) -> str:
        return "forgetful"

    def submit(self, command: str, tasks_per_node: int, job_name: str = "parsl_pool.auto") -> str:
        return job_name

    def status(self, job_ids: Sequence[str]) -> list[JobStatus]:
        return [JobStatus(JobState.UNKNOWN) for _ in job_ids]

    def cancel(self, job_ids: Sequence[str]) -> list[bool]:
        return [False for _ in job_ids]


def test_a_provider_shows_its_limits() -> None:
    provider = Forgetful()
    assert (provider.init_blocks, provider.min_blocks, provider.max_blocks) == (2, 1, 3)
    assert (provider.nodes_per_block, provider.parallelism) == (4, 0.5)
    assert (provider.cores_per_node, provider.mem_per_node, provider.script_dir) == (None, None, None)


def test_what_lacks_a_part_of_the_contract_is_no_provider() -> None:
    class Half(Forgetful):
        cancel = ExecutionProvider.cancel

    with pytest.raises(TypeError, match="cancel"):
        Half()
