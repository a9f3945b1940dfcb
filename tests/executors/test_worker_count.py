"""How many workers a HighThroughputExecutor has, by what it was told."""

import warnings

import pytest

from parsl_pool import HighThroughputExecutor
from parsl_pool.executors.high_throughput.arrangement import available_cores


def test_the_old_name_says_the_same_and_warns_where_it_stands() -> None:
    with pytest.warns(DeprecationWarning, match="max_workers is now max_workers_per_node") as caught:
        executor = HighThroughputExecutor(max_workers=3)
    assert executor.max_workers_per_node == 3
    assert [each.filename for each in caught] == [__file__]


def test_the_new_one_and_none_at_all_do_not_warn() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert HighThroughputExecutor(max_workers_per_node=3).max_workers_per_node == 3
        assert HighThroughputExecutor().max_workers_per_node == available_cores()
