import os
from pickle import dumps, loads
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from parsl_pool.dataflow.record import Options
from parsl_pool.errors import (
    AppTimeout,
    BadMessage,
    DeserializationError,
    ManagerLost,
    WorkerKilled,
    WorkerLost,
)
from parsl_pool.interchange import columns, envelope, serialize, wire
from tests.client.bursts import Client
from tests.interchange.frames import results


def facts(**items: str) -> bytes:
    return wire.encode(wire.Facts(list(items), list(items.values())))


RAISED = envelope.dump_exception(KeyError("why"))


# ---- what a task may come to


def test_a_worker_lost_under_a_task_is_its_error() -> None:
    client = Client()
    future = client.future()
    client.frame([future._tid], wire.LOST, facts(worker="3", host="n1", signal="SIGSEGV"))
    error = future.exception(0)
    assert isinstance(error, WorkerLost) and (error.hostname, error.worker_id) == ("n1", "3")
    assert "SIGSEGV" in str(error) and "function 0" in str(error)


@pytest.mark.parametrize("status, kind", [(wire.KILLED, WorkerKilled), (wire.TIMED_OUT, AppTimeout)])
def test_a_worker_ended_on_request_is_no_reason_to_try_again(status: int, kind: type[Exception]) -> None:
    client = Client(Options(retries=5))
    future = client.future()
    client.frame([future._tid], status, facts(reason="because"))
    assert isinstance(future.exception(0), kind) and not client.resent


def test_a_task_that_the_user_killed_is_cancelled() -> None:
    client = Client()
    future = client.future()
    client.tries.mark_killed(future)
    client.frame([future._tid], wire.KILLED, facts(reason="by future.kill()"))
    assert future.cancelled()


def test_a_task_that_was_asked_back_too_late_and_skipped_all_the_same_is_sent_again() -> None:
    client = Client()
    future = client.future()
    client.tries.withdrawn.add(future._tid)
    client.frame([future._tid], wire.CANCELLED, b"")
    assert client.resent == [future] and not future.done() and not client.tries.withdrawn


def test_arguments_that_cannot_be_opened_there_are_an_error_with_the_cause() -> None:
    client = Client()
    future = client.future()
    client.frame([future._tid], wire.UNREADABLE, RAISED)
    error = future.exception(0)
    assert isinstance(error, DeserializationError) and isinstance(error.__cause__, KeyError)


def test_an_error_that_cannot_be_read_is_told() -> None:
    client = Client()
    future = client.future()
    client.frame([future._tid], wire.RAISED, b"rubbish")
    assert isinstance(future.exception(0), DeserializationError)


# ---- tries


def test_a_task_that_raises_is_tried_again_as_often_as_it_may() -> None:
    client = Client(Options(retries=2))
    future = client.future()
    seen = set()
    for _ in range(2):
        seen.add(future._tid)
        client.frame([future._tid], wire.RAISED, RAISED)
        assert not future.done() and future._tid not in seen, "each try has an id of its own"
    client.frame([future._tid], wire.RAISED, RAISED)
    assert isinstance(future.exception(0), KeyError) and client.tries.retried == 2


def test_a_late_result_of_an_earlier_try_is_dropped() -> None:
    client = Client(Options(retries=1))
    future = client.future()
    first = future._tid
    client.frame([first], wire.RAISED, RAISED)
    client.frame([first], wire.OK, dumps("late"))
    assert not future.done() and client.tries.late == 1
    client.burst([future])
    assert future.result(0) == "value"


def test_a_lost_place_costs_what_had_begun_and_nothing_else() -> None:
    client = Client(Options(lost_retries=1))
    began, waited = client.futures(2)
    for times in (1, 2, 3):
        client.tries.place_lost(waited._tid, False, "n1", ManagerLost(None, "gone"))
        client.tries.place_lost(began._tid, True, "n1", ManagerLost(None, "gone"))
        assert not waited.done() and began.done() == (times > 1)
    assert isinstance(began.exception(0), ManagerLost)
    client.burst([waited])
    assert waited.result(0) == "value"


def test_the_last_of_several_lost_places_tells_of_all_of_them() -> None:
    client = Client(Options(lost_retries=2, label="fit"))
    future = client.future()
    first = future._tid
    for host in ("n1", "n2", "n3"):
        client.tries.place_lost(future._tid, True, host, ManagerLost({"manager": "m", "host": host}, "gone"))
    error = future.exception(0)
    assert type(error) is ManagerLost and error.hostname == "n3" and error.manager_id == "m"
    said = f"gone; task {first} (fit) was running in 3 places that were lost (n1, n2, n3), perhaps it is what ends them"
    assert said in str(error) and "0: n1" in str(error) and "2: n3" in str(error)
    again = loads(dumps(error))
    assert str(again) == str(error) and again.facts == error.facts


def test_a_task_that_is_to_blame_is_not_tried_again_but_what_has_only_waited_is() -> None:
    client = Client(Options(lost_retries=100))
    began, waited = client.futures(2)
    client.tries.place_lost(began._tid, True, "n1", ManagerLost({}, "gone"))
    for future in (began, waited):
        client.tries.place_lost(future._tid, future is began, "n2", ManagerLost({}, "gone"), is_last=True)
    assert began.done() and not waited.done()
    assert "(n1, n2), perhaps it is what ends them, since no other was in all of them; so" in str(began.exception(0))
    assert "so it is not tried again" in str(began.exception(0)) and len(began.attempts) == 2


def test_a_worker_that_is_lost_is_told_of() -> None:
    client, told = Client(Options(retries=1)), list[tuple[int, dict[str, str]]]()
    client.tries.on_worker_lost = lambda future, facts: told.append((future._tid, facts))
    future = client.future()
    first = future._tid
    client.frame([first], wire.LOST, facts(host="n1", signal="SIGKILL"))
    client.frame([future._tid], wire.RAISED, RAISED)
    assert told == [(first, {"host": "n1", "signal": "SIGKILL"})]


def test_a_worker_lost_with_its_place_costs_no_retry() -> None:
    client = Client(Options(retries=0, lost_retries=1))
    future = client.future()
    client.frame([future._tid], wire.LOST, facts(cause="place", host="n1"))
    assert client.resent == [future]
    client.frame([future._tid], wire.LOST, facts(cause="place", host="n1"))
    assert isinstance(future.exception(0), WorkerLost)


def test_the_last_error_lists_the_tries() -> None:
    client = Client(Options(retries=1))
    future = client.future()
    client.frame([future._tid], wire.RAISED, RAISED)
    client.frame([future._tid], wire.LOST, facts(host="n2", signal="SIGKILL"))
    text = str(future.exception(0))
    assert "0: " in text and "KeyError: 'why'" in text and "1: n2" in text


def test_the_end_of_the_pool_gives_each_future_an_error_of_its_own() -> None:
    client = Client()
    futures = client.futures(3)
    client.tries.fail_all(lambda: WorkerKilled(None, "the pool was ended"))
    errors = [future.exception(0) for future in futures]
    assert len({id(error) for error in errors}) == 3 and not client.tries.table


# ---- frames that are not what they should be


def settled(client: Client, futures: list[Any]) -> None:
    """No future may be forgotten: it is over, or still in the table."""
    for future in futures:
        assert future.done() != (client.tries.table.get(future._tid) is future)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_frame_is_refused_and_costs_no_future(data: st.DataObject) -> None:
    client = Client()
    futures = client.futures(3)
    status = data.draw(st.sampled_from([wire.OK, wire.RAISED, wire.LOST, wire.CANCELLED, 77]))
    payload = data.draw(st.sampled_from([dumps(1), RAISED, facts(host="n1"), b"", b"M", b"rubbish"]))
    body = bytearray(results([future._tid for future in futures], status, payload).encode())
    for _ in range(data.draw(st.integers(0, 3))):
        place = data.draw(st.integers(0, len(body)))
        if data.draw(st.booleans()):
            del body[place:]
        elif place < len(body):
            body[place] = data.draw(st.integers(0, 255))
    try:
        client.tries.results(bytes(body), [])
    except BadMessage:
        pass
    settled(client, futures)


@pytest.mark.parametrize("payload", [b"", b"M", b"M" + bytes(8)])
@pytest.mark.parametrize("status", [wire.OK, wire.RAISED, wire.LOST, wire.KILLED])
def test_a_result_that_makes_no_sense_does_not_stop_the_others(status: int, payload: bytes) -> None:
    """A worker whose memory a task has overwritten says anything."""
    client = Client()
    bad, good, after = client.futures(3)
    one, other = results([bad._tid], status, payload), results([good._tid], payload=dumps("value"))
    frame = columns.Results(2, one.ids + other.ids, one.records + other.records)
    try:
        client.tries.results(frame.encode(), [])
    except BadMessage:
        pass
    settled(client, [bad, good])
    client.burst([after])
    assert after.result(0) == "value"


@pytest.mark.parametrize("late", [True, False])
def test_the_descriptor_of_a_large_result_is_closed(late: bool) -> None:
    client = Client()
    future = client.future()
    short, fd = serialize.to_shared_memory(dumps("x" * serialize.LARGE), "result")
    if late:
        future.cancel()
    client.frame([future._tid], wire.OK, short, [fd])
    assert late or future.result(0) == "x" * serialize.LARGE
    client.tries.warm.close()  # it may be kept there for the next task
    with pytest.raises(OSError):
        os.fstat(fd)
        os.close(fd)
