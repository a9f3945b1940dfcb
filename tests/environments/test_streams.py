"""Standard input, output and errors that are closed, full, or read by nobody; and whose the input is."""

from pathlib import Path

import pytest

from tests.environments.places import WORKS, Place

pytestmark = pytest.mark.timeout(120)


@pytest.mark.parametrize("closed", [[0], [1], [2], [0, 1, 2]], ids=["stdin", "stdout", "stderr", "all"])
def test_streams_that_are_closed(folder: Path, closed: list[object]) -> None:
    """The pool's own files must not get their numbers: what is said would go into them."""
    says = "os.system('echo said by the shell; echo said by it >&2') >= 0 and pool.submit(abs, -2).result(40)"
    place = Place(steps=[["close", *closed]], extra=f"[{says} for _ in range(3)] == [2, 2, 2]")
    assert place.run(folder) == WORKS
    assert "Traceback" not in place.stderr


@pytest.mark.parametrize(
    "steps",
    [
        [["to", 1, "/dev/full"], ["to", 2, "/dev/full"]],
        [["broken_pipe", 1], ["broken_pipe", 2]],
    ],
    ids=["full", "broken pipe"],
)
def test_streams_that_take_nothing(folder: Path, steps: list[list[object]]) -> None:
    """Without a buffer `print` fails in the task, as it does in every program; with one nobody is to notice."""
    # The program itself would end with a failure to flush what its tasks did not even say.
    place = Place(steps=steps, environment={"PYTHONUNBUFFERED": None}, after="os._exit(0)")
    place.extra = "pool.submit(print, 'x' * 100000).exception(40) is not None or True"
    assert place.run(folder) == WORKS


def test_the_input_is_the_programs(folder: Path) -> None:
    """A task that reads finds it empty, and takes nothing away."""
    (folder / "input").write_text("first\nsecond\n")
    after = "import sys; assert sys.stdin.read() == 'first\\nsecond\\n'"
    assert Place(stdin="{folder}/input", after=after).run(folder) == WORKS
