"""`pool.put`: in tasks a Ref is the object; its memory is shared, read-only, and gone with the last Ref."""

import copy
import os
import pickle
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import pytest

from parsl_pool import Config, HighThroughputExecutor, ParslPoolExecutor, Ref, ThreadPoolExecutor, portable
from parsl_pool.errors import ConfigurationError, ObjectUnavailable, SerializationError
from parsl_pool.interchange.object_records import WantObject
from parsl_pool.objects import Objects, Stored
from parsl_pool.providers import LocalProvider
from tests.eventually import eventually

np: Any = pytest.importorskip("numpy", reason="numpy is in the extra 'test'")

pytestmark = pytest.mark.timeout(90)

needs_proc = pytest.mark.skipif(not portable.has_proc(), reason="whose memory it is, /proc tells")

LARGE = 1_000_000


@pytest.fixture
def pool(manager_inside: bool) -> Iterator[ParslPoolExecutor]:
    with ParslPoolExecutor(2, manager_inside=manager_inside) as made:
        yield made


def looks(array: Any) -> tuple[float, bool]:
    return float(array.sum()), array.flags.writeable


def kinds(**values: Any) -> dict[str, str]:
    return {name: type(value).__name__ for name, value in values.items()}


def deep(value: Any) -> Any:
    return value["list"][0][1], value["dict"]["x"]


def write_to(array: Any) -> None:
    array[0] = 1


def return_it(value: Any) -> Any:
    return value


def gate(path: str) -> str:
    with open(path) as file:  # a named pipe: until somebody writes to it
        return file.read()


def descriptors_of(name: str) -> list[str]:
    """Those of this process that are of memory with that in its name."""
    found = []
    for fd in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{fd}")
        except FileNotFoundError:
            continue  # that of this listing
        if name in target:
            found.append(target)
    return found


def processes_that_map(name: str, pool: ParslPoolExecutor) -> list[int]:
    """Workers that have memory mapped with that in its name."""
    return [pid for pid in pool._processes if name in Path(f"/proc/{pid}/maps").read_text()]


def memory_of_objects() -> list[str]:
    """Of this process, by its descriptors."""
    return descriptors_of("parsl-pool-object")


# ---- what a task sees


def test_a_ref_is_the_object_in_a_task(pool: ParslPoolExecutor) -> None:
    ref = pool.put(np.ones(LARGE))
    assert isinstance(ref, Ref) and repr(ref) == f"<Ref of {ref.size:,} bytes>" and ref.size > 8 * LARGE
    assert [pool.submit(looks, ref).result(30) for _ in range(3)] == [(LARGE, False)] * 3
    assert pool.submit(looks, array=ref).result(30) == (LARGE, False)
    assert list(pool.map(looks, [ref] * 5, chunksize=2)) == [(LARGE, False)] * 5


def test_at_any_depth_and_of_any_size(pool: ParslPoolExecutor) -> None:
    small, large = pool.put(5), pool.put(b"x" * LARGE)
    value = {"list": [(0, small)], "dict": {"x": large}}
    assert pool.submit(deep, value).result(30) == (5, b"x" * LARGE)
    seen = pool.submit(kinds, a=small, b=large, c=[large], d=np.zeros(LARGE)).result(30)
    assert seen == {"a": "int", "b": "bytes", "c": "list", "d": "ndarray"}


def test_beside_futures_and_in_functions(pool: ParslPoolExecutor) -> None:
    ref = pool.put(np.ones(LARGE))
    future = pool.submit(abs, -3)
    assert pool.submit(lambda n, array: n + array.sum(), future, ref).result(30) == LARGE + 3
    assert pool.submit(lambda: ref.sum()).result(30) == LARGE  # type: ignore[attr-defined]  # there it is the array
    again = pool.options(retries=1, retry_handler=lambda error, task: 1.0)
    assert again.submit(looks, ref).result(30) == (LARGE, False)


def test_what_is_defined_in_the_program_and_what_has_refs_inside(pool: ParslPoolExecutor) -> None:
    class Model:
        def __init__(self, weights: Any) -> None:
            self.weights = weights

    weights = pool.put(np.ones(LARGE))
    model = pool.put(Model(weights))
    del weights  # the model's is enough
    assert pool.submit(lambda model: model.weights.sum(), model).result(30) == LARGE


def test_who_writes_gets_an_error_and_nobody_sees_it(pool: ParslPoolExecutor) -> None:
    ref = pool.put(np.zeros(LARGE))
    with pytest.raises(ValueError, match="read-only"):
        pool.submit(write_to, ref).result(30)
    with pytest.raises(ValueError, match="read-only"):
        write_to(ref.get())
    assert pool.submit(looks, ref).result(30) == (0, False)


def test_later_changes_are_not_seen(pool: ParslPoolExecutor) -> None:
    array = np.zeros(LARGE)
    ref = pool.put(array)
    array[:] = 1
    assert pool.submit(looks, ref).result(30) == (0, False) and ref.get().sum() == 0


@needs_proc
def test_the_same_bytes_are_held_once(pool: ParslPoolExecutor) -> None:
    one, two, other = pool.put(np.ones(LARGE)), pool.put(np.ones(LARGE)), pool.put(np.zeros(LARGE))
    assert one == two and hash(one) == hash(two) and one.digest == two.digest
    known = {two}
    two.free()
    assert two in known and one not in known and one != two
    assert one != other and one.digest != other.digest and one != 1
    assert len(memory_of_objects()) == 2
    assert copy.copy(one) == copy.deepcopy(one) == pickle.loads(pickle.dumps(one)) == one


# ---- how long


@needs_proc
def test_memory_goes_with_the_last_ref_everywhere(pool: ParslPoolExecutor) -> None:
    ref = pool.put(np.ones(LARGE))
    other = copy.copy(ref)
    assert pool.submit(looks, ref).result(30) == (LARGE, False)
    assert len(memory_of_objects()) == 1 and processes_that_map("parsl-pool-object", pool)
    del ref
    assert pool.submit(looks, other).result(30) == (LARGE, False)
    other.free()
    assert not memory_of_objects()
    eventually(lambda: not processes_that_map("parsl-pool-object", pool))


@needs_proc
def test_a_task_under_way_holds_it(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    gates = [tmp_path / "one", tmp_path / "two"]
    for path in gates:
        os.mkfifo(path)
    first = [pool.submit(gate, str(path)) for path in gates]  # nobody is free for what follows
    ref = pool.put(np.ones(LARGE))
    last = pool.submit(looks, ref)
    after = pool.submit(lambda text, array: text + str(array.sum()), first[0], ref)
    ref.free()
    del ref
    for path in gates:
        path.write_text("x")
    assert last.result(30) == (LARGE, False) and after.result(30).endswith("1000000.0")
    del after
    eventually(lambda: not memory_of_objects())


def test_a_ref_that_was_freed_says_so(pool: ParslPoolExecutor) -> None:
    ref = pool.put(np.ones(LARGE))
    ref.free()
    ref.free()
    assert repr(ref) == "<Ref: its Ref was freed>"
    with pytest.raises(ObjectUnavailable, match="its Ref was freed"):
        ref.get()
    with pytest.raises(SerializationError, match="an argument of looks.*its Ref was freed"):
        pool.submit(looks, [ref]).result(30)


@needs_proc
def test_after_shutdown(manager_inside: bool) -> None:
    with ParslPoolExecutor(1, manager_inside=manager_inside) as pool:
        ref = pool.put(np.ones(LARGE))
        equal = copy.copy(ref)
        assert pool.submit(looks, ref).result(30) == (LARGE, False)
    assert not memory_of_objects()
    for each in (ref, equal):
        with pytest.raises(ObjectUnavailable, match="its pool has been shut down"):
            each.get()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.put(1)


# ---- what is of no use


def test_another_pool_s_ref_is_refused(pool: ParslPoolExecutor) -> None:
    with ParslPoolExecutor(1) as other:
        foreign: Any = other.put(np.ones(LARGE))
        pool.put(1)
        with pytest.raises(SerializationError, match="an argument of looks.*another's"):
            pool.submit(looks, foreign).result(30)
        with pytest.raises(SerializationError, match="another's"):
            pool.submit(lambda: foreign).result(30)
        with pytest.raises(SerializationError, match="the object.*another's"):
            pool.put([foreign])


def test_what_can_t_be_pickled_can_t_be_put(pool: ParslPoolExecutor) -> None:
    with pytest.raises(SerializationError, match="the object"):
        pool.put([sys._getframe()])
    with pytest.raises(SerializationError):
        pool.put(Future())


def test_a_pickle_of_the_user_s_is_opened_by_nobody_else(pool: ParslPoolExecutor, tmp_path: Path) -> None:
    ref = pool.put(np.ones(LARGE))
    (tmp_path / "ref").write_bytes(pickle.dumps(ref))
    program = f"import pickle; pickle.load(open({str(tmp_path / 'ref')!r}, 'rb'))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=False)
    assert "ObjectUnavailable" in done.stderr and "pass the value itself elsewhere" in done.stderr
    # In a task it may be gone: an answer, and not a wait.
    data = pickle.dumps(ref)
    assert pool.submit(lambda data: looks(pickle.loads(data)), data).result(30) == (LARGE, False)
    ref.free()
    with pytest.raises(ObjectUnavailable, match="its last Ref is gone"):
        pool.submit(lambda data: looks(pickle.loads(data)), data).result(30)


# ---- other executors


def test_threads_get_the_object_itself() -> None:
    with ParslPoolExecutor(Config([ThreadPoolExecutor(max_threads=2)])) as pool:
        thing = [object()]
        ref = pool.put(thing)
        assert pool.submit(return_it, ref).result(30) is thing
        assert pool.submit(lambda value: value[0], [ref]).result(30) is thing
        assert pool.options(retries=1, retry_delay=0.01).submit(return_it, ref).result(30) is thing
        ref.free()
        with pytest.raises(SerializationError, match="its Ref was freed"):
            pool.submit(return_it, ref).result(30)


def test_threads_beside_processes() -> None:
    processes = HighThroughputExecutor("processes", max_workers_per_node=1)
    config = Config([ThreadPoolExecutor("threads", max_threads=1), processes])
    with ParslPoolExecutor(config) as pool:
        array = np.ones(LARGE)
        ref = pool.put(array)
        assert pool.options(executors=["threads"]).submit(return_it, ref).result(30) is array
        assert pool.options(executors=["processes"]).submit(looks, ref).result(30) == (LARGE, False)


def test_the_key_of_a_call_has_the_digest(tmp_path: Path) -> None:
    with ParslPoolExecutor(1) as pool:
        known = pool.options(cache=True)
        first = known.submit(looks, pool.put(np.ones(LARGE)))
        assert first.result(30) == (LARGE, False)
        again = known.submit(looks, pool.put(np.ones(LARGE)))
        assert again.result(30) == (LARGE, False) and again.task_status() == "memo_done"
        other = known.submit(looks, pool.put(np.zeros(LARGE)))
        assert other.result(30) == (0, False) and other.task_status() == "exec_done"


# ---- nodes


def two_nodes(run_dir: Path, worker_init: str) -> ParslPoolExecutor:
    provider = LocalProvider(init_blocks=2, min_blocks=2, max_blocks=2, worker_init=worker_init)
    executor = HighThroughputExecutor(max_workers_per_node=2, provider=provider, manager_inside=False)
    return ParslPoolExecutor(Config([executor], run_dir=str(run_dir), initialize_logging=True))


def which_node(array: Any) -> tuple[str, float]:
    return os.environ["PARSL_WORKER_POOL_ID"], float(array.sum())


@pytest.mark.parametrize(
    ("worker_init", "how"), [("", "as memory of this host"), ("export PARSL_POOL_PORTABLE=1", "in parts")],
    ids=["this-host", "elsewhere"],
)  # fmt: skip
def test_each_node_gets_it_once(tmp_path: Path, worker_init: str, how: str) -> None:
    if os.environ.get("PARSL_POOL_PORTABLE"):
        how = "in parts"
    array = np.arange(3 * LARGE, dtype=np.float64)  # in many parts, with a window that fills
    with two_nodes(tmp_path, worker_init) as pool:
        ref = pool.put(array)
        nodes: dict[str, float] = {}
        while len(nodes) < 2:
            futures = [pool.submit(which_node, ref) for _ in range(20)]
            nodes.update(future.result(60) for future in futures)
        assert set(nodes.values()) == {array.sum()}
    (log,) = tmp_path.rglob("*interchange*.log")
    sent = [line for line in log.read_text().splitlines() if " goes to manager " in line]
    assert len(sent) == 2 and all(f"{ref_size(array):,}".replace(",", "") in line for line in sent)
    assert all(line.endswith(how) for line in sent) and len(set(sent)) == 2


def ref_size(array: Any) -> int:
    """Bytes of the object of an array."""
    with ParslPoolExecutor(1) as pool:
        return pool.put(array).size


# ---- results


def make(size: int) -> Any:
    import numpy  # in the worker

    return numpy.ones(size)


def fail() -> None:
    raise ValueError("by itself")


@needs_proc
@pytest.mark.parametrize("size", [10, LARGE], ids=["small", "large"])
def test_a_result_may_be_a_ref(pool: ParslPoolExecutor, size: int) -> None:
    future = pool.options(result="ref").submit(make, size)
    assert pool.submit(looks, future).result(30) == (size, size == 10)  # small ones are copied anyway
    ref = future.result(30)
    assert isinstance(ref, Ref) and ref.get().sum() == size
    assert [pool.submit(looks, [ref][0]).result(30)[0] for _ in range(2)] == [size] * 2
    assert bool(memory_of_results()) == (size == LARGE)
    del future, ref
    eventually(lambda: not memory_of_results() and not processes_that_map("parsl-pool-result", pool))


def test_results_of_a_map_and_of_tasks_that_fail(pool: ParslPoolExecutor) -> None:
    view = pool.options(result="ref")
    refs = list(view.map(make, [LARGE, 5, LARGE], chunksize=2))
    assert [pool.submit(looks, ref).result(30)[0] for ref in refs] == [LARGE, 5, LARGE]
    with pytest.raises(ValueError, match="by itself"):
        view.submit(fail).result(30)


@needs_proc
def test_a_task_holds_the_result_that_it_waits_for(pool: ParslPoolExecutor) -> None:
    future = pool.options(result="ref").submit(make, LARGE)
    last = pool.submit(looks, future)
    del future
    assert last.result(30) == (LARGE, False)
    eventually(lambda: not memory_of_results())


def test_a_thread_s_result_is_the_object() -> None:
    with ParslPoolExecutor(Config([ThreadPoolExecutor(max_threads=2)])) as pool:
        future: Any = pool.options(result="ref").submit(list, "ab")
        ref = future.result(30)
        assert pool.submit(return_it, ref).result(30) is pool.submit(return_it, future).result(30) is ref.get()


def test_what_a_ref_can_t_be_the_result_of(pool: ParslPoolExecutor) -> None:
    for other in ("join", "cache"):
        with pytest.raises(ConfigurationError, match='result must be "value"'):
            pool.options(result="ref", **{other: True})


def memory_of_results() -> list[str]:
    """Of this process, by its descriptors and its maps."""
    found = [line for line in Path("/proc/self/maps").read_text().splitlines() if "parsl-pool-result" in line]
    return found + descriptors_of("parsl-pool-result")


# ---- who knows of them


def test_threads_that_put_the_first_ones_at_the_same_time(
    pool: ParslPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    refs: list[Any] = []
    make = Objects.__init__

    def init(objects: Objects, backends: Any) -> None:
        make(objects, backends)
        if not threads:  # another one puts something, from beginning to end, before this one goes on
            threads.append(threading.Thread(target=lambda: refs.append(pool.put("other"))))
            threads[0].start()
            threads[0].join(20)

    threads: list[threading.Thread] = []
    monkeypatch.setattr(Objects, "__init__", init)
    refs.append(pool.put("own"))
    assert [pool.submit(return_it, ref).result(30) for ref in refs] == ["other", "own"]


@pytest.mark.parametrize("first", ["processes", "threads"])
def test_executors_that_are_added_later_know_them_too(first: str) -> None:
    kinds: dict[str, Any] = {
        "processes": lambda label: HighThroughputExecutor(label, max_workers_per_node=1),
        "threads": lambda label: ThreadPoolExecutor(label, max_threads=1),
    }
    with ParslPoolExecutor(config=Config([kinds[first]("first")], run_dir=None)) as pool:
        large, small = pool.put(np.ones(LARGE)), pool.put([1, 2])
        pool.add_executors([kinds["processes"]("second"), kinds["threads"]("third")])
        for label in ("first", "second", "third"):
            view = pool.options(executors=[label])
            assert view.submit(looks, large).result(30)[0] == LARGE, label
            assert view.submit(return_it, [small]).result(30) == [[1, 2]], label


def test_nobody_is_told_to_drop_an_object_before_it_is_sent(
    pool: ParslPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref, sent = pool.put(np.ones(LARGE)), []
    assert pool.submit(looks, ref).result(30)[0] == LARGE
    key, backend = ref.stored.key, pool._backend

    def lend(stored: Stored) -> int:
        ref.free()  # the last one is let go of by another thread at this moment
        return before(stored)

    def send(record: Any, descriptors: Any = ()) -> None:
        sent.append(type(record).__name__)
        for fd in descriptors:
            os.close(fd)

    before = Stored.lend
    with monkeypatch.context() as patched:
        patched.setattr(backend.link, "send", send)
        patched.setattr(Stored, "lend", lend)
        backend._object_asked(WantObject(key, 0))
    assert sent == ["Object", "DropObjects"]
    backend.object_dropped(key)  # for the interchange, which has not been told
