"""The commands of helper processes."""

import shlex

from parsl_pool.interchange import launch


def test_a_helper_s_command_alone_tells_of_no_mismatch() -> None:
    """It is quoted in errors of blocks that fail for other reasons."""
    command = shlex.join(launch.helper_command("manager_program", ["ticket", "0"]))
    assert not launch.tells_of_mismatch(f"exit code 7\ncommand: {command}")
    said = f"{launch.MISMATCH}: this is Python 3.9, the program runs (3, 11)"
    assert launch.tells_of_mismatch(f"command: {command}\n{said}")
