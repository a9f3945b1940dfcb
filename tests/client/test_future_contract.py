"""`AppFuture` does what `Future` does: each call on both of them, in every state."""

import logging
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from parsl_pool.futures import AppFuture
from tests.interchange.drawn import Drawn, run_until_all_is_drawn

STATES = ["pending", "running", "cancelled", "cancelled and notified", "finished", "failed"]
ERROR = ValueError("why")
CALLS: dict[str, Callable[[Any], Any]] = {
    "cancel": lambda future: future.cancel(),
    "cancelled": lambda future: future.cancelled(),
    "running": lambda future: future.running(),
    "done": lambda future: future.done(),
    "result": lambda future: future.result(timeout=0),
    "exception": lambda future: future.exception(timeout=0),
    "start": lambda future: future.set_running_or_notify_cancel(),
    "set_result": lambda future: future.set_result(5),
    "set_exception": lambda future: future.set_exception(ERROR),
}

drawn = Drawn(STATES, [*CALLS, "add_done_callback"])


def outcome(call: Callable[[Any], Any], future: Any) -> tuple[str, Any]:
    """What a call gave or raised, so that two of them can be compared."""
    try:
        return "gave", call(future)
    except BaseException as error:
        return "raised", type(error)


class Twins(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        logging.getLogger("concurrent.futures").disabled = True  # raising callbacks are logged
        self.plain: Future[Any] = Future()
        self.ours: AppFuture[Any] = AppFuture()
        self.called: list[tuple[int, str]] = []
        self.callbacks = 0
        self.error: Any = None
        self.notified = False

    def state(self) -> str:
        if self.plain.cancelled():
            return "cancelled and notified" if self.notified else "cancelled"
        if self.plain.done():
            return "failed" if self.plain.exception() else "finished"
        return "running" if self.plain.running() else "pending"

    @initialize(calls=st.lists(st.sampled_from(["cancel", "start", "set_result", "set_exception"]), max_size=2))
    def begin(self, calls: list[str]) -> None:
        for name in calls:
            self.call(name)

    @rule(name=st.sampled_from(sorted(CALLS)))
    def call(self, name: str) -> None:
        drawn.note(self.state(), name)
        if name == "start" and self.plain.cancelled():
            self.notified = True
        ours, plain = outcome(CALLS[name], self.ours), outcome(CALLS[name], self.plain)
        if name == "start" and plain == ("gave", False):
            assert ours in (plain, ("raised", RuntimeError))  # who waits has been told when it was cancelled
        else:
            assert ours == plain

    @rule(raises=st.booleans())
    def add_done_callback(self, raises: bool) -> None:
        drawn.note(self.state(), "add_done_callback")
        self.callbacks += 1
        number = self.callbacks

        def callback(who: str) -> Callable[[Any], None]:
            def call(future: Any) -> None:
                assert future is (self.ours if who == "ours" else self.plain) and future.done()
                self.called.append((number, who))
                if raises:
                    raise ValueError("a callback's own fault")

            return call

        self.plain.add_done_callback(callback("plain"))
        self.ours.add_done_callback(callback("ours"))

    def teardown(self) -> None:
        if not self.plain.done():
            assert not self.called
            self.call("set_result")
        logging.getLogger("concurrent.futures").disabled = False
        numbers = list(range(1, self.callbacks + 1))
        for who in ("plain", "ours"):
            assert [number for number, caller in self.called if caller == who] == numbers


def test_every_call_in_every_state_does_what_the_base_class_does() -> None:
    run_until_all_is_drawn(Twins, drawn, examples=60, steps=10)
