import tracemalloc
from struct import Struct, pack
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from parsl_pool.errors import BadMessage
from parsl_pool.interchange import columns, wire
from parsl_pool.interchange.request import Request
from tests.interchange.frames import results, tasks

FEW = settings(max_examples=40, deadline=None)
MANY = settings(max_examples=300, deadline=None)

TEXTS = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too: in file names
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "i": st.integers(-(1 << 63), (1 << 63) - 1),
    "s": TEXTS,
    "b": st.binary(max_size=50),
    "I": st.lists(st.integers(-(1 << 63), (1 << 63) - 1), max_size=10),
    "S": st.lists(TEXTS, max_size=5),
}
RECORDS = st.sampled_from(list(wire.RECORDS.values())).flatmap(
    lambda cls: st.builds(cls, *[FIELDS[code] for code in wire.FORMAT[cls]])
)
FRAMES_OF_TASKS = st.integers(1, 8).flatmap(
    lambda count: st.builds(
        tasks,
        st.lists(st.integers(0, (1 << 63) - 1), min_size=count, max_size=count),
        st.lists(st.integers(0, (1 << 32) - 1), min_size=count, max_size=count),
        st.integers(-(1 << 31), (1 << 31) - 1),
        st.lists(st.binary(max_size=20), min_size=count, max_size=count),
        st.integers(0, (1 << 32) - 1),
    )
)
DECODERS = [*wire.RECORDS, wire.TASKS, wire.ASKING, wire.RESULTS]


def decode(kind: int, body: bytes) -> Any:
    """Whatever a frame of that kind holds."""
    if kind == wire.TASKS:
        return columns.Tasks.decode(body)
    if kind == wire.ASKING:
        return columns.Tasks.decode_asking(body)
    return columns.Results.decode(body) if kind == wire.RESULTS else wire.decode(kind, body)


def encode(thing: Any) -> bytes:
    return bytes(thing.encode()) if isinstance(thing, (columns.Tasks, columns.Results)) else wire.encode(thing)


def parts_of(thing: columns.Tasks) -> tuple[Any, ...]:
    return (
        thing.priority,
        thing.walltime_ms,
        thing.count,
        thing.ids,
        thing.functions,
        thing.lengths,
        thing.payload,
    )


def test_every_record_has_a_kind_and_a_type_for_each_field() -> None:
    assert set(wire.RECORDS.values()) == set(wire.Record.__args__)
    assert not {wire.TASKS, wire.RESULTS, wire.ASKING, wire.SETTLED} & set(wire.RECORDS)
    for kind, cls in wire.RECORDS.items():
        assert 0 < kind < 256 and wire.KIND[cls] == kind and len(wire.FORMAT[cls]) == len(cls._fields), cls


AMOUNTS = st.integers(0, 1 << 40)
REQUESTS = st.builds(Request, *[AMOUNTS] * 8, TEXTS)
ONE_TASK = FRAMES_OF_TASKS.map(lambda many: columns.single(many, 0))


@MANY
@given(ONE_TASK, REQUESTS)
def test_what_a_task_asks_for_survives_the_wire(task: columns.Tasks, request: Request) -> None:
    plain = task.frame()
    task.request = request
    kind, body = task.message()
    again = columns.Tasks.decode_asking(body)
    assert (kind, again.request, parts_of(again)) == (wire.ASKING, request, parts_of(task))
    frame = columns.asking(plain, request)
    assert wire.HEAD.unpack_from(frame) == (len(frame) - 4, wire.ASKING, 0) and frame[wire.HEAD.size :] == body


def test_a_task_that_asks_for_nothing_travels_as_ever() -> None:
    task = tasks([1, 2])
    assert task.message() == (wire.TASKS, task.encode())


@pytest.mark.parametrize("amount", [-1, (1 << 40) + 1])
def test_a_request_for_an_impossible_amount_is_no_message(amount: int) -> None:
    task = tasks([1])
    task.request = Request(1, 0, amount, 0, 0, 0, 0, 0, "")
    with pytest.raises(BadMessage, match="a Request of"):
        columns.Tasks.decode_asking(task.message()[1])


def test_a_request_is_of_one_task() -> None:
    head = columns.asking(tasks([1]).frame(), Request(1, 0, 0, 0, 0, 0, 0, 0, ""))[wire.HEAD.size :]
    body = head[: len(head) - len(tasks([1]).encode())] + tasks([1, 2]).encode()
    with pytest.raises(BadMessage, match="2 tasks"):
        columns.Tasks.decode_asking(body)


@MANY
@given(RECORDS)
def test_a_record_survives_the_wire(record: wire.Record) -> None:
    body = wire.encode(record)
    assert wire.decode(wire.KIND[type(record)], body) == record
    frame = wire.frame(record, 3)
    size, kind, descriptors = wire.HEAD.unpack_from(frame)
    assert (size, kind, descriptors) == (len(body) + 2, wire.KIND[type(record)], 3)
    assert frame[wire.HEAD.size :] == body and len(frame) == 4 + size


@FEW
@given(FRAMES_OF_TASKS)
def test_tasks_survive_the_wire(frame: columns.Tasks) -> None:
    assert parts_of(columns.Tasks.decode(frame.encode())) == parts_of(frame)
    data = frame.frame()
    assert wire.HEAD.unpack_from(data) == (len(data) - 4, wire.TASKS, 0)
    assert data[wire.HEAD.size :] == frame.encode()
    assert frame.task_ids() == tuple(Struct(f"<{frame.count}Q").unpack(frame.ids))
    assert frame.function_numbers() == set(Struct(f"<{frame.count}I").unpack(frame.functions))


@FEW
@given(FRAMES_OF_TASKS, st.data())
def test_tasks_split_anywhere_are_the_same_tasks(frame: columns.Tasks, data: st.DataObject) -> None:
    if frame.count == 1:
        return
    head, rest = frame.split(data.draw(st.integers(1, frame.count - 1)))
    assert head.count + rest.count == frame.count and head.priority == rest.priority == frame.priority
    assert head.walltime_ms == rest.walltime_ms == frame.walltime_ms
    assert head.task_ids() + rest.task_ids() == frame.task_ids()
    assert head.payload + rest.payload == frame.payload
    for part in (head, rest):
        assert parts_of(columns.Tasks.decode(part.encode())) == parts_of(part)


@pytest.mark.parametrize("count", [-1, 0, 3, 4])
def test_both_parts_of_a_split_have_tasks(count: int) -> None:
    with pytest.raises(ValueError, match="cannot split 3 tasks"):
        tasks([1, 2, 3]).split(count)


@FEW
@given(st.lists(st.integers(0, (1 << 64) - 1), min_size=1, max_size=8), st.binary(max_size=20))
def test_results_survive_the_wire(ids: list[int], payload: bytes) -> None:
    sent = results(ids, payload=payload)
    got = columns.Results.decode(sent.encode())
    assert (got.count, got.ids, got.records) == (sent.count, sent.ids, sent.records)
    assert got.task_ids() == tuple(ids)
    data = sent.frame()
    assert wire.HEAD.unpack_from(data) == (len(data) - 4, wire.RESULTS, 0) and data[6:] == sent.encode()


def test_one_result_is_a_frame_of_results() -> None:
    one = columns.result_of(7, wire.RAISED, b"envelope")
    assert one.task_ids() == (7,)
    assert columns.RECORD.unpack_from(one.records) == (7, 8, wire.RAISED)
    assert one.records[columns.RECORD.size :] == b"envelope"


def test_the_head_of_a_frame_counts_its_descriptors() -> None:
    one = tasks([1])
    one.descriptors = [3, 4]
    assert wire.HEAD.unpack_from(one.frame())[2] == 2
    assert wire.HEAD.unpack_from(columns.result_of(1, wire.OK, b"", [5]).frame())[2] == 1


def accepts_or_refuses(kind: int, body: bytes) -> None:
    """A decoder's whole contract: BadMessage, or something that encodes to the same bytes."""
    try:
        thing = decode(kind, body)
    except BadMessage:
        return
    assert encode(thing) == body


@MANY
@given(st.integers(0, 255), st.binary(max_size=60))
@example(16, b"")
def test_any_bytes_are_decoded_or_refused(kind: int, body: bytes) -> None:
    accepts_or_refuses(kind, body)


@MANY
@given(st.one_of(RECORDS, FRAMES_OF_TASKS, st.builds(results, st.just([1, 2]))), st.data())
def test_a_damaged_message_is_decoded_or_refused(thing: Any, data: st.DataObject) -> None:
    """Closer to a valid one than any bytes: cut, lengthened, a byte changed, or taken for another kind."""
    body = bytearray(encode(thing))
    place = data.draw(st.integers(0, len(body)))
    how = data.draw(st.sampled_from(["cut", "insert", "change", "append"]))
    if how == "cut":
        del body[place:]
    elif how == "insert":
        body[place:place] = data.draw(st.binary(min_size=1, max_size=8))
    elif how == "change" and place < len(body):
        body[place] = data.draw(st.integers(0, 255))
    else:
        body += b"\0"
    own = {columns.Tasks: wire.TASKS, columns.Results: wire.RESULTS}.get(type(thing)) or wire.KIND[type(thing)]
    for kind in (own, data.draw(st.sampled_from(DECODERS))):
        accepts_or_refuses(kind, bytes(body))


@pytest.mark.parametrize("kind", [0, 3, 15, 255])
def test_an_unknown_kind_is_refused(kind: int) -> None:
    with pytest.raises(BadMessage, match=f"unknown kind of message {kind}"):
        wire.decode(kind, b"")


@pytest.mark.parametrize("kind", DECODERS)
@pytest.mark.parametrize("length", [1 << 20, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
def test_a_lying_length_allocates_nothing(kind: int, length: int) -> None:
    """At each place of a small body where a length could be."""
    tracemalloc.start()
    try:
        for place in range(12):
            for filler in (b"\0", b"\xff"):
                body = filler * 4 * place + pack("<I", length) + filler * 24
                accepts_or_refuses(kind, body)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 200_000


def test_empty_frames_of_tasks_and_results_are_refused() -> None:
    """Nobody sends them, and code that takes the first of their tasks may rely on that."""
    with pytest.raises(BadMessage):
        columns.Tasks.decode(columns.TASKS_HEAD.pack(0, 0, 0))
    with pytest.raises(BadMessage):
        columns.Results.decode(pack("<I", 0))
