"""What type checkers of users see of apps. CI runs this where mypy is installed."""

from pathlib import Path

import pytest

from tests.client.test_typing import check_fails, check_passes, check_runs

pytestmark = pytest.mark.timeout(120)

PROGRAM = Path(__file__).with_name("typed_workflow.py")


def test_a_strictly_typed_workflow_passes(tmp_path: Path) -> None:
    check_passes(PROGRAM, tmp_path)


def test_a_wrong_argument_does_not(tmp_path: Path) -> None:
    check_fails(PROGRAM, tmp_path, without="call-overload", says='matches argument type "str"')


def test_a_stream_taken_for_a_path_does_not(tmp_path: Path) -> None:
    check_fails(PROGRAM, tmp_path, without="union-attr", says='Item "DataFuture" of "str | DataFuture | None" has no')


def test_the_same_workflow_runs() -> None:
    check_runs("tests.apps.typed_workflow")
