"""What is seen without asking for a node."""

from pathlib import Path

import pytest

from parsl_pool import Config, HighThroughputExecutor, ThreadPoolExecutor
from parsl_pool.doctor import reach
from parsl_pool.doctor.inspection import Inspection, inspect
from parsl_pool.errors import ChannelError
from parsl_pool.providers import (
    AdHocProvider,
    LocalChannel,
    LocalProvider,
    MpiExecLauncher,
    SimpleLauncher,
    SimulatedProvider,
    SlurmProvider,
    WrappedLauncher,
)
from parsl_pool.providers.channels.base import CommandResult
from tests.doctor.conftest import Cluster


def seen(provider: object, **options: object) -> Inspection:
    executor = HighThroughputExecutor("site", provider=provider, **options)  # type: ignore[arg-type]  # any option
    try:
        return inspect(Config([executor]), executor)
    finally:
        executor.begin_shutdown(kill=True)


def codes(found: Inspection, level: str) -> set[str]:
    return {one.code for one in found.findings if one.level.value == level}


def test_executors_without_blocks_have_nothing_to_reach() -> None:
    for executor in (ThreadPoolExecutor(), HighThroughputExecutor("inside")):
        found = inspect(Config([executor]), executor)
        assert not found.is_wrong and found.rendered is None and found.blocks == ""
        executor.begin_shutdown(kill=True)


def test_a_script_that_still_has_what_the_user_must_put_in(cluster: Cluster) -> None:
    found = seen(SlurmProvider(account="YOUR_ACCOUNT", worker_init="conda activate YOUR_ENVIRONMENT"))
    (text,) = (one.text for one in found.findings if one.code == "placeholder")
    assert "YOUR_ACCOUNT, YOUR_ENVIRONMENT" in text


def test_a_launcher_for_one_node_in_blocks_of_several(cluster: Cluster) -> None:
    assert "launcher" in codes(seen(SlurmProvider(nodes_per_block=2, launcher=SimpleLauncher())), "warning")
    assert "launcher" not in codes(seen(SlurmProvider(nodes_per_block=2, launcher=MpiExecLauncher())), "warning")


def test_a_temporary_run_directory_is_not_seen_by_nodes(cluster: Cluster) -> None:
    executor = HighThroughputExecutor("site", provider=SlurmProvider())
    found = inspect(Config([executor], run_dir=None), executor)
    executor.begin_shutdown(kill=True)
    assert "run-dir-private" in codes(found, "problem")


def test_ports_that_are_all_taken(cluster: Cluster) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        found = seen(LocalProvider(max_blocks=2), address="127.0.0.1", worker_port_range=(port, port))
    assert codes(found, "problem") == {"ports"}


@pytest.mark.parametrize("options", [{}, {"address": "lo"}, {"worker_port_range": (40000, 50000)}], ids=repr)
def test_where_managers_connect(options: dict[str, object], cluster: Cluster) -> None:
    found = seen(SlurmProvider(), **options)
    assert not found.is_wrong
    (text,) = (one.text for one in found.findings if one.code.startswith("address"))
    assert "tcp://" in text


def test_a_container_s_command_is_looked_for() -> None:
    found = seen(LocalProvider(launcher=WrappedLauncher("A=1 no-such-container-program run")))
    assert codes(found, "problem") == {"launcher-command-missing"}


def test_made_up_nodes_are_not_tried() -> None:
    found = seen(SimulatedProvider(max_blocks=4))
    assert codes(found, "ok") == {"simulated"} and not found.can_be_tried and "0 to 4" in found.blocks


def test_the_command_of_a_user_s_own_is_shown(cluster: Cluster) -> None:
    found = seen(SlurmProvider(), launch_cmd="singularity exec node.sif {command}")
    assert found.rendered is not None and found.rendered.preview is not None
    assert "singularity exec node.sif" in found.rendered.preview.script


def test_each_host_of_a_list_is_asked() -> None:
    class Away(LocalChannel):
        def execute_wait(self, command: str, *arguments: object, **options: object) -> CommandResult:
            raise ChannelError("no route to host", "", "n2")

    found = seen(AdHocProvider([LocalChannel(), Away()]))
    (there,) = (one.text for one in found.findings if one.code == "host" and one.level.value == "ok")
    (away,) = (one.text for one in found.findings if one.code == "host" and one.level.value == "problem")
    assert "answers, and has python3" in there and "no route to host" in away


def test_a_directory_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (found,) = reach.about_directory(str(tmp_path / "file" / "below"), LocalProvider())
    assert found.level.value in ("problem", "ok")


def test_blocks_are_told_in_words(cluster: Cluster) -> None:
    found = seen(SlurmProvider(nodes_per_block=2, init_blocks=1, max_blocks=4, walltime="01:00:00"))
    assert found.blocks == (
        "blocks of a SlurmProvider: 1 to begin with, 0 to 4 in all, of 2 nodes each, for 01:00:00"
    )
