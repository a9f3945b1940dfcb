import os

from parsl_pool.errors import SerializationError
from parsl_pool.interchange import columns, envelope, serialize, shared_memory, wire
from parsl_pool.interchange.inline import inline_message, inline_results
from parsl_pool.interchange.task_messages import TaskMessage

TASK = 7


def result_in_shared_memory(size: int, begins: bytes = b"") -> columns.Results:
    """As it comes from a worker. Memory is taken only for what is written to."""
    fd = shared_memory.create(size, "result")
    os.pwrite(fd, begins, 0)
    short = columns.result_of(TASK, wire.OK, serialize.stand_in(size))
    short.descriptors = [fd]
    return short


def the_result(results: columns.Results) -> tuple[int, int, bytes]:
    task, size, status = columns.RECORD.unpack_from(results.records)
    assert len(results.records) == columns.RECORD.size + size
    return task, status, results.records[columns.RECORD.size :]


def test_a_result_in_shared_memory_comes_back_into_the_message() -> None:
    results = result_in_shared_memory(100_000, b"it begins so")
    inlined = inline_results(results)
    assert not inlined.descriptors
    assert the_result(inlined) == (TASK, wire.OK, b"it begins so".ljust(100_000, b"\0"))


def test_a_result_that_no_message_can_take_becomes_an_error_that_says_so() -> None:
    assert serialize.MAX_PAYLOAD < wire.MAX_FRAME
    results = result_in_shared_memory(serialize.MAX_PAYLOAD + 1)
    (fd,) = results.descriptors or []
    task, status, payload = the_result(inline_results(results))
    assert (task, status) == (TASK, wire.UNSENDABLE) and len(payload) < 10_000
    error = envelope.load_exception(payload, RuntimeError)
    assert isinstance(error, SerializationError) and f"{serialize.MAX_PAYLOAD + 1:,} bytes" in str(error)
    try:
        os.fstat(fd)
    except OSError:
        return
    raise AssertionError("the descriptor is still open")


def test_what_a_task_says_in_shared_memory_comes_back_into_the_message() -> None:
    fd = shared_memory.create(100_000, "message")
    os.pwrite(fd, b"it begins so", 0)
    delivered: list[int] = []
    message = inline_message(TaskMessage(wire.FromTask(TASK, "state", b""), [fd], lambda: delivered.append(1)))
    assert message.record == wire.FromTask(TASK, "state", b"it begins so".ljust(100_000, b"\0"))
    message.drop()
    assert not message.descriptors and delivered == [1]
