"""Every argument of every public constructor and call refuses what it can't be: at once, by name, with the value.

The table is held against the signatures: a new parameter without a line in it, or among FREE, fails.
"""

import inspect
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from fractions import Fraction
from typing import Any, NamedTuple

import pytest

import parsl_pool
from parsl_pool import (
    AppFuture,
    Config,
    DataFuture,
    File,
    HighThroughputExecutor,
    MPIExecutor,
    ParslPoolExecutor,
    ThreadPoolExecutor,
    options,
    providers,
    task,
)
from parsl_pool.dataflow.resolvers import DependencyResolver
from parsl_pool.errors import BadLauncher, ConfigurationError, shown
from parsl_pool.executors import RandomManagerSelector
from parsl_pool.options import PoolView
from parsl_pool.providers import (
    BlockLimits,
    Channel,
    LocalChannel,
    LocalProvider,
    SimpleLauncher,
    SingleNodeLauncher,
    WrappedLauncher,
)
from parsl_pool.providers.cluster import ClusterProvider
from parsl_pool.providers.node_launchers import NodeLauncher
from parsl_pool.staging import NoOpFileStaging

NAN, INF, HUGE = float("nan"), float("inf"), 1 << 80


class Wrong(NamedTuple):
    """What one parameter refuses: by a TypeError, and by a ValueError that is none."""

    types: list[Any]
    values: list[Any]


NO_NUMBER = ["4", b"4", [], {}, True, 1j]
NO_INTEGER = [*NO_NUMBER, 2.5, NAN, INF]
NO_TEXT = [5, b"text", ["text"], True]
NO_FLAG = ["yes", "", 1, 0, [], "False"]
NO_CALLABLE = [5, "abs", [], (abs,)]
STORAGE = Wrong(["noop", 5, [5], [NoOpFileStaging], NoOpFileStaging()], [])

WORKERS = Wrong(NO_INTEGER, [0, -1, HUGE])
COUNT = Wrong([*NO_INTEGER, None], [0, -1])
BUDGET = Wrong([*NO_INTEGER, None], [-1])
OWN_BUDGET = Wrong(NO_INTEGER, [-1])
SECONDS = Wrong([*NO_NUMBER, None], [0, -1, NAN, INF, HUGE])
NAME = Wrong([*NO_TEXT, None], ["", "  ", "x" * 1000, "a\nb", "a\0b", "\udc80"])
TEXT = Wrong([*NO_TEXT, None], ["a\0b", "\ud800"])
FLAG = Wrong([*NO_FLAG, None], [])
PATH = Wrong([5, b"path", ["path"], True], ["", "a\0b"])
SANDBOX = Wrong([5, 0, b"path", ["path"]], ["", "a\0b"])
TIMEOUT = Wrong(NO_NUMBER, [NAN])
FUNCTION = Wrong([*NO_CALLABLE, None], [])
PRELOAD = Wrong(["numpy", 5, None, [5], [None], {"numpy": 1}], [[""], ["a b"], ["os", "a..b"]])
INITARGS = Wrong([5, None, "one", b"one"], [])
TEXTS = Wrong([5, None, "12", [5]], [])
BAD_RESOURCES = [{"Cores": 1}, {"cores": 0}, {"memory": "4GB"}, {"num_nodes": 2}]
MAP = {
    "fn": FUNCTION,
    "iterables": Wrong([5, None, abs], []),
    "timeout": TIMEOUT,
    "chunksize": COUNT,
    "buffersize": Wrong(NO_INTEGER, [0, -1]),
    "unordered": FLAG,
}
STARMAP = {"fn": FUNCTION, "iterable": Wrong([5, None, abs], []), "chunksize": COUNT, "timeout": TIMEOUT}
BLOCKS = {
    "init_blocks": Wrong([*NO_INTEGER, None], [-1, 2]),
    "min_blocks": Wrong([*NO_INTEGER, None], [-1, 2]),
    "max_blocks": Wrong([*NO_INTEGER, None], [-1, 0]),
    "nodes_per_block": COUNT,
    "parallelism": Wrong([*NO_NUMBER, None], [-0.1, 1.1, NAN, INF]),
}

LAUNCHER = Wrong(["srun", 5, SimpleLauncher, len], [])
SOME = Wrong(NO_INTEGER, [0, -1])
GIGABYTES = Wrong(NO_NUMBER, [0, -1, NAN, INF, HUGE])
WORD = Wrong(NO_TEXT, NAME.values)
OWN_TEXT = Wrong(NO_TEXT, TEXT.values)
HERE = LocalChannel()
PLACE = {"channel": Wrong(["here", 5, LocalChannel], [])}
SCHEDULED = {
    **BLOCKS,
    **PLACE,
    "walltime": Wrong([[], b"1", None, True], ["10", "00:60:00", "00:00:00", 0, -1, NAN, INF]),
    "launcher": LAUNCHER,
    "worker_init": TEXT,
    "scheduler_options": TEXT,
    "cmd_timeout": SECONDS,
}
RATE = Wrong([*NO_NUMBER, None], [-1, NAN, INF, HUGE])
SPAN = Wrong([*NO_NUMBER, None, [1, 2], (1,)], [-1, NAN, INF, HUGE, (2, 1)])
STARTED = {"debug": FLAG, "overrides": TEXT}

TABLE: dict[tuple[type, str], dict[str, Wrong]] = {
    (providers.SlurmProvider, "__init__"): {
        **SCHEDULED, "partition": WORD, "account": WORD, "qos": WORD, "constraint": WORD, "cores_per_node": SOME,
        "mem_per_node": GIGABYTES, "regex_job_id": Wrong([5, None], ["x", "("]), "exclusive": FLAG, "move_files": FLAG,
    },
    (providers.PBSProProvider, "__init__"): {
        **SCHEDULED, "account": WORD, "queue": WORD, "select_options": TEXT, "cpus_per_node": COUNT,
    },
    (providers.TorqueProvider, "__init__"): {**SCHEDULED, "account": WORD, "queue": WORD},
    (providers.LSFProvider, "__init__"): {
        **SCHEDULED, "cores_per_block": SOME, "cores_per_node": SOME, "project": WORD, "queue": WORD,
        "move_files": FLAG, "bsub_redirection": FLAG, "request_by_nodes": FLAG,
    },
    (providers.GridEngineProvider, "__init__"): {**SCHEDULED, "queue": WORD},
    (providers.CondorProvider, "__init__"): {
        **SCHEDULED, "cores_per_slot": SOME, "mem_per_slot": GIGABYTES, "project": TEXT, "requirements": TEXT,
        "environment": Wrong([5, "A=1", {1: "x"}, {"A": 1}], [{"A": "x\ny"}]), "cmd_chunk_size": COUNT,
        "transfer_input_files": Wrong([5, None, "12", [5]], [[""]]),
    },
    (providers.CobaltProvider, "__init__"): {
        **SCHEDULED, "max_blocks": Wrong([*NO_INTEGER, None], [-1]), "account": WORD, "queue": WORD,
    },
    (providers.SrunLauncher, "__init__"): STARTED,
    (providers.SrunMPILauncher, "__init__"): STARTED,
    (providers.AprunLauncher, "__init__"): STARTED,
    (providers.JsrunLauncher, "__init__"): STARTED,
    (providers.MpiExecLauncher, "__init__"): {**STARTED, "bind_cmd": TEXT},
    (providers.MpiRunLauncher, "__init__"): {**STARTED, "bash_location": TEXT},
    (providers.GnuParallelLauncher, "__init__"): {"debug": FLAG},
    (LocalChannel, "__init__"): {
        "userhome": PATH, "envs": Wrong([5, "x", {1: "x"}, {"A": 1}], []), "script_dir": PATH,
    },
    (providers.AdHocProvider, "__init__"): {
        "channels": Wrong(["node1", 5, None, ["node1"], [LocalChannel]], [[HERE, HERE]]), "worker_init": TEXT,
        "cmd_timeout": SECONDS, "parallelism": BLOCKS["parallelism"], "move_files": Wrong(["yes", 1, []], []),
    },
    (providers.OAuthSSHChannel, "__init__"): {
        "hostname": NAME, "username": WORD, "script_dir": PATH, "port": Wrong(NO_INTEGER, [0, -1, 65536]),
        "envs": Wrong([5, "x", {1: "x"}, {"A": 1}], [{"A B": "x"}]),
    },
    (providers.SSHInteractiveLoginChannel, "__init__"): {
        "hostname": NAME, "username": WORD, "password": OWN_TEXT, "script_dir": PATH,
        "envs": Wrong([5, "x", {1: "x"}, {"A": 1}], [{"A B": "x"}]), "ask": Wrong(["yes", 5], []), "patience": SECONDS,
    },
    (providers.SSHChannel, "__init__"): {
        "hostname": NAME, "username": WORD, "password": OWN_TEXT, "passphrase": OWN_TEXT, "script_dir": PATH,
        "envs": Wrong([5, "x", {1: "x"}, {"A": 1}], [{"A B": "x"}]), "gssapi_auth": FLAG, "skip_auth": FLAG,
        "port": Wrong(NO_INTEGER, [0, -1, 65536]), "key_filename": Wrong([5, [5], b"x"], [[""]]),
        "host_keys_filename": PATH, "config_filename": PATH, "jump": Wrong(["host", 5, providers.SSHChannel], []),
        "connect_timeout": SECONDS,
    },
    (ParslPoolExecutor, "__init__"): {
        "max_workers": Wrong([*NO_INTEGER, Config], WORKERS.values),
        "mp_context": Wrong(["spawn", 5, abs], []),
        "initializer": Wrong(NO_CALLABLE, []),
        "initargs": INITARGS,
        "max_tasks_per_child": Wrong(NO_INTEGER, [0, -1]),
        "config": Wrong(["config", {}, 5, Config, [ThreadPoolExecutor()]], []),
        "retries": BUDGET,
        "lost_retries": BUDGET,
        "preload": PRELOAD,
        "run_dir": PATH,
        "manager_inside": Wrong(NO_FLAG, []),
        "progress": FLAG,
    },
    (ParslPoolExecutor, "submit"): {"fn": FUNCTION},
    (ParslPoolExecutor, "map"): MAP,
    (ParslPoolExecutor, "starmap"): STARMAP,
    (ParslPoolExecutor, "options"): {
        "retries": BUDGET,
        "lost_retries": BUDGET,
        "priority": Wrong([*NO_INTEGER, None], [HUGE, -HUGE]),
        "label": Wrong([*NO_TEXT, None], ["x" * 1000, "a\nb", "a\0b", "\udc80"]),
        "walltime": Wrong(NO_NUMBER, [0, -1, NAN, INF, HUGE]),
        "executors": Wrong([5, None, [5], {}], [[], "nobody", ["nobody"]]),
        "cache": FLAG,
        "ignore_for_cache": Wrong([5, "x", [5]], [[""]]),
        "retry_handler": Wrong(NO_CALLABLE, []),
        "retry_delay": Wrong([*NO_NUMBER, None], [-1, NAN, INF, HUGE]),
        "join": FLAG,
        "result": Wrong([5, None, ["ref"]], ["", "Ref", "remote"]),
        "sandbox": SANDBOX,
        "dependency_resolver": Wrong(["deep", 5, (abs, abs), DependencyResolver], []),
        "resources": Wrong(["cores", 5, ["cores"]], BAD_RESOURCES),
    },
    (PoolView, "submit"): {"fn": FUNCTION},
    (PoolView, "map"): MAP,
    (PoolView, "starmap"): STARMAP,
    (PoolView, "options"): {"retries": BUDGET},
    (Config, "__init__"): {
        "executors": Wrong([5, "threads", {}, [5], [ThreadPoolExecutor], ThreadPoolExecutor()], [[]]),
        "retries": BUDGET,
        "lost_retries": BUDGET,
        "run_dir": PATH,
        "app_cache": FLAG,
        "checkpoint_files": Wrong([5, "runs", [5], {"a": 1}], [[""]]),
        "checkpoint_mode": Wrong([5, True, ["manual"]], ["", "never", "periodic"]),
        "checkpoint_period": Wrong([[], True], ["", "1h", "00:60:00", 0, -1, NAN, INF]),
        "dependency_resolver": Wrong(["deep", 5, (abs, abs), DependencyResolver], []),
        "exit_mode": Wrong([5, None, True], ["", "wait "]),
        "garbage_collect": FLAG,
        "initialize_logging": FLAG,
        "internal_tasks_max_threads": Wrong([*NO_INTEGER, None], [0, -1, HUGE]),
        "max_idletime": Wrong([*NO_NUMBER, None], [-1, NAN, INF, HUGE]),
        "monitoring": Wrong([], ["sqlite://", 5, True, []]),
        "project_name": Wrong(NO_TEXT, NAME.values),
        "retry_delay": Wrong([*NO_NUMBER, None], [-1, NAN, INF, HUGE]),
        "retry_handler": Wrong(NO_CALLABLE, []),
        "sandbox": SANDBOX,
        "std_autopath": Wrong(NO_CALLABLE, []),
        "strategy": Wrong([5, True], ["", "fast"]),
        "strategy_period": SECONDS,
        "usage_address": Wrong(NO_TEXT, ["", "host", "host:", ":99", "a:b", "host:0", "host:65536", "::1:99", "a b:9"]),
        "usage_tracking": Wrong(["yes", "1", [], 1.0], [-1, 4, HUGE]),
    },
    (File, "__init__"): {"url": Wrong([5, None, ["x"]], ["", b"x", "a\0b", "file://host/x"])},
    (DataFuture, "__init__"): {
        "fut": Wrong([5, None, "x", abs], []),
        "file_obj": Wrong([5, None, ["x"]], [""]),
        "tid": Wrong(NO_INTEGER, []),
    },
    (HighThroughputExecutor, "__init__"): {
        "label": NAME,
        "max_workers_per_node": WORKERS,
        "cores_per_worker": Wrong(NO_NUMBER, [0, -1, NAN, INF, HUGE, 1e-7]),
        "mem_per_worker": GIGABYTES,
        "available_accelerators": Wrong(
            [1.5, None, True, abs, b"0", [5.5], [None], {"0": 1}], [-1, HUGE, "cuda", "", "0,1", [""], ["a\0b"], [-1]]
        ),
        "cpu_affinity": Wrong([5, None, ["block"], True], ["", "Block", "list", "list:", "list:3-1", "list:0:"]),
        "prefetch_capacity": Wrong(NO_INTEGER, [-1, HUGE]),
        "launch_cmd": Wrong(NO_TEXT, ["", "run", "{x} {command}", "{command", "a\0{command}"]),
        "interchange_launch_cmd": Wrong([5, "nice {command}", abs, [5]], [[], ["nice"], ["{command}", "{command}"]]),
        "poll_period": SECONDS,
        "start_method": Wrong([5, None, [], b"fork"], ["", "Fork", "thread"]),
        "initializer": Wrong(NO_CALLABLE, []),
        "initargs": INITARGS,
        "max_tasks_per_child": Wrong(NO_INTEGER, [0, -1]),
        "preload": PRELOAD,
        "manager_inside": Wrong(NO_FLAG, []),
        "provider": Wrong(["local", 5, LocalProvider, SimpleLauncher()], []),
        "address": Wrong(
            [*NO_TEXT, 2130706433],
            ["", " ", "0.0.0.0", "::", "127.0.0.1:80", "[::1]:80", "1.2.3", "1\0", "é", "a b", "10.0.0.0/33", "h/8",
             "fe80::1", "224.0.0.1", "*", "tcp://h", "-x..y", "tunnel"],
        ),
        "worker_ports": Wrong(
            [5, "54000", abs, ["54000", 55000], [54000.0, 55000]], [[], [54000], [0, 1], [1, 65536], [1, 2, 3]]
        ),
        "interchange_port_range": Wrong(["55000", ["55000", 56000]], [[2, 1], [0, 1], [1]]),
        "loopback_address": Wrong(NO_TEXT, ["", "192.168.0.7", "fd00::7", "host", "::"]),
        "address_probe_timeout": SECONDS,
        "worker_port_range": Wrong(
            [5, "54000-55000", abs, ["54000", 55000], [54000.0, 55000]],
            [[], [54000], [55000, 54000], [0, 1], [1, 65536], [1, 2, 3]],
        ),
        "block_start_timeout": SECONDS,
        "block_error_handler": Wrong([5, None, "simple", [], object], [abs]),
        "max_node_hours": Wrong(NO_NUMBER, [0, -1, NAN, INF, HUGE]),
        "max_submissions_per_hour": Wrong(NO_INTEGER, [0, -1]),
        "max_workers": WORKERS,
        "worker_debug": FLAG,
        "worker_logdir_root": PATH,
        "run_dir": PATH,
        "heartbeat_period": Wrong(SECONDS.types, [0, -1, NAN, INF, HUGE, 20]),
        "heartbeat_threshold": Wrong(SECONDS.types, [0, -1, NAN, INF, HUGE, 5]),
        "encrypted": FLAG,
        "manager_selector": Wrong(["block", 5, abs, RandomManagerSelector], []),
        "drain_period": Wrong([each for each in SECONDS.types if each is not None and not isinstance(each, str)],
                              [0, -1, NAN, INF, HUGE, "", "Auto", "01:00:00"]),
        "enable_mpi_mode": FLAG,
        "mpi_launcher": Wrong([5, None], ["mpirun", ""]),
        "storage_access": STORAGE,
        "working_dir": PATH,
        "retries": OWN_BUDGET,
        "lost_retries": OWN_BUDGET,
    },
    (MPIExecutor, "__init__"): {
        "label": NAME,
        "max_workers_per_block": Wrong([*NO_INTEGER, None], WORKERS.values),
        "mpi_launcher": Wrong([5, None], ["mpirun", ""]),
    },
    (HighThroughputExecutor, "shutdown"): {"timeout": SECONDS},
    (HighThroughputExecutor, "submit"): {"func": FUNCTION, "resource_specification": Wrong([5], BAD_RESOURCES)},
    (ThreadPoolExecutor, "__init__"): {
        "label": NAME,
        "max_threads": Wrong([*NO_INTEGER, None], WORKERS.values),
        "thread_name_prefix": Wrong([*NO_TEXT, None], ["a\0b"]),
        "storage_access": STORAGE,
        "working_dir": PATH,
        "retries": OWN_BUDGET,
    },
    (ThreadPoolExecutor, "submit"): {"func": FUNCTION, "resource_specification": Wrong([5], [{"cores": 1}])},
    (LocalProvider, "__init__"): {
        **BLOCKS,
        "launcher": Wrong(["srun", 5, SimpleLauncher, len], []),
        "worker_init": TEXT,
        "cmd_timeout": SECONDS,
        "script_dir": PATH,
        "channel": Wrong(["here", 5], [providers.SSHChannel("n1")]),
        "move_files": Wrong(NO_FLAG, []),
    },
    (LocalProvider, "submit"): {"command": TEXT, "tasks_per_node": COUNT, "job_name": NAME},
    (LocalProvider, "preview"): {"command": TEXT, "tasks_per_node": COUNT, "job_name": NAME},
    (LocalProvider, "status"): {"job_ids": TEXTS},
    (LocalProvider, "cancel"): {"job_ids": TEXTS},
    (BlockLimits, "__init__"): BLOCKS,
    (providers.SimulatedProvider, "__init__"): {
        **BLOCKS, "nodes": COUNT, "walltime": SCHEDULED["walltime"], "queue_wait": SPAN, "start_time": SPAN,
        "failure_rate": Wrong([*NO_NUMBER, None], [-0.1, 1.1, NAN, INF]), "preemption_rate": RATE,
        "node_failure_rate": RATE, "speed": SECONDS, "task_s": Wrong(NO_NUMBER, [-1, NAN, INF, HUGE]),
        "seed": Wrong([*NO_INTEGER, None], []),
    },
    (providers.SimulatedProvider, "submit"): {"command": TEXT, "tasks_per_node": COUNT, "job_name": NAME},
    (providers.SimulatedProvider, "status"): {"job_ids": TEXTS},
    (providers.SimulatedProvider, "cancel"): {"job_ids": TEXTS},
    (SimpleLauncher, "__init__"): {"debug": FLAG},
    (SingleNodeLauncher, "__init__"): {"debug": FLAG, "fail_on_any": FLAG},
    (WrappedLauncher, "__init__"): {"prepend": TEXT, "debug": FLAG, "launcher": LAUNCHER},
    (AppFuture, "result"): {"timeout": TIMEOUT},
    (AppFuture, "exception"): {"timeout": TIMEOUT},
}

FREE = {
    "options": "those of another class, by name",
    "args": "what a task is called with",
    "kwargs": "what a task is called with",
    "changes": "options by name: those of the table",
    "wait": "true or not, as in the standard library",
    "cancel_futures": "true or not, as in the standard library",
    "block": "true or not",
}
"""Parameters that take anything, and why."""

NOT_FOR_USERS = {
    "ParslPoolExecutor.submit_with", "ParslPoolExecutor.submit_chunk", "ParslPoolExecutor.check_options",
    "ParslPoolExecutor.submit_call", "Config.is_same_as",
    "PoolView.__init__", "PoolView.submit_chunk", "AppFuture.disown", "AppFuture.finish", "AppFuture.set_result",
    "AppFuture.set_exception", "SimpleLauncher.__call__", "SingleNodeLauncher.__call__", "WrappedLauncher.__call__",
}  # fmt: skip
"""Called by ourselves, or by executors; each with arguments that were checked on the way in."""

ABSTRACT_OR_DATA = {"Channel", "ExecutionProvider", "Launcher", "JobState", "JobStatus", "Preview"}
OF_EXECUTORS = ["__init__", "submit", "shutdown"]
"""The other methods of executors are for the pool."""

NEEDED: dict[str, Any] = {
    "command": "true", "tasks_per_node": 1, "job_ids": [], "prepend": "", "iterable": [(1,)],
    "func": abs, "resource_specification": {}, "fn": abs, "fut": Future(), "file_obj": "x", "fraction": 0.5,
    "text": "x", "job_name": "block", "hostname": "x",
}  # fmt: skip
"""Arguments for parameters without a default, where another one is what is wrong."""


def public_calls() -> Iterator[tuple[type, str, inspect.Signature]]:
    """What users call with arguments."""
    names = [*((parsl_pool, name) for name in parsl_pool.__all__), *((providers, name) for name in providers.__all__)]
    classes = [getattr(module, name) for module, name in names if name not in ABSTRACT_OR_DATA]
    for cls in [*classes, PoolView]:
        if not isinstance(cls, type):
            continue
        methods = OF_EXECUTORS if cls in (HighThroughputExecutor, ThreadPoolExecutor) else public_methods(cls)
        for name in methods:
            signature = inspect.signature(getattr(cls, name))
            if f"{cls.__name__}.{name}" not in NOT_FOR_USERS and len(signature.parameters) > 1:
                yield cls, name, signature


def public_methods(cls: type) -> list[str]:
    elsewhere = ClusterProvider, providers.AdHocProvider, NodeLauncher, providers.GnuParallelLauncher, Channel
    if issubclass(cls, elsewhere):
        return ["__init__"]  # the others are for the executor, and for each other
    own = [name for name, value in vars(cls).items() if inspect.isfunction(value) and not name.startswith("_")]
    return ["__init__", *own, *(["__call__"] if "__call__" in vars(cls) else [])]


def test_every_public_parameter_refuses_something_or_is_said_to_take_anything() -> None:
    missing = []
    for cls, name, signature in public_calls():
        row = TABLE.get((cls, name), {})
        for parameter in list(signature.parameters)[1:]:
            if parameter not in FREE and parameter not in row:
                missing.append(f"{cls.__name__}.{name}({parameter}=)")
    assert not missing, "what do these refuse? " + ", ".join(missing)


def test_the_table_has_nothing_but_public_parameters() -> None:
    known = {(cls, name): signature for cls, name, signature in public_calls()}
    for place, row in TABLE.items():
        parameters = known[place].parameters
        if "changes" not in parameters:
            assert set(row) <= set(parameters)


def test_the_table_has_all_options_of_calls() -> None:
    assert set(options.RULES) == set(TABLE[ParslPoolExecutor, "options"])


@pytest.fixture(scope="module")
def pool() -> Iterator[ParslPoolExecutor]:
    """Never started: what is refused is refused before that."""
    with ParslPoolExecutor(1) as pool:
        yield pool
        assert pool._backend.link.stage.name == "NEW"


@pytest.fixture(scope="module")
def owners(pool: ParslPoolExecutor) -> dict[type, Callable[[], Any]]:
    """Something to call the methods of."""
    return {
        ParslPoolExecutor: lambda: pool,
        PoolView: lambda: pool.options(label="view"),
        HighThroughputExecutor: lambda: pool._backend,
        ThreadPoolExecutor: ThreadPoolExecutor,
        LocalProvider: lambda: LocalProvider(script_dir="never_made"),
        providers.SimulatedProvider: providers.SimulatedProvider,
        AppFuture: AppFuture,
    }


def call(owner: Any, name: str, parameter: str, value: Any) -> Any:
    """Call it with one argument that is wrong; the others are right, or left out."""
    target = owner if name == "__init__" else getattr(owner, name)
    parameters = inspect.signature(target).parameters
    takes_more = any(each.kind is each.VAR_POSITIONAL for each in parameters.values())
    args: list[Any] = []
    kwargs = {} if parameter in parameters else {parameter: value}
    for each in parameters.values():
        if each.name == parameter:
            chosen = value
        elif each.default is each.empty and each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            chosen = NEEDED[each.name]
        else:
            continue
        if each.kind is each.POSITIONAL_ONLY or (takes_more and each.kind is not each.KEYWORD_ONLY):
            args.append(chosen)
        else:
            kwargs[each.name] = chosen
    return target(*args, **kwargs)


def refusal(owner: Any, name: str, parameter: str, value: Any) -> Exception:
    """The error that the value gives. It names the argument, shows the value, and is short."""
    what = f"{name}({parameter}={shown(value)})"
    try:
        got = call(owner, name, parameter, value)
    except (TypeError, ValueError) as error:
        text = str(error)
        assert parameter in text, f"{what}: {text}"
        items = value if type(value) is list else []
        assert any(shown(each) in text for each in [value, *items]), f"{what}: {text}"
        assert len(text) < 600, f"{what}: {text}"
        return error
    raise AssertionError(f"{what} was taken, and gave {shown(got)}")


ROWS = [(cls, name, parameter) for (cls, name), row in TABLE.items() for parameter in row]
EACH = pytest.mark.parametrize("cls, name, parameter", ROWS, ids=[f"{c.__name__}.{n}({p})" for c, n, p in ROWS])
Owners = dict[type, Callable[[], Any]]


def owner_of(cls: type, name: str, owners: Owners) -> Any:
    return cls if name == "__init__" else owners[cls]()


@EACH
def test_wrong_types_and_values_are_refused_at_once(cls: type, name: str, parameter: str, owners: Owners) -> None:
    wrong = TABLE[cls, name][parameter]
    for value in wrong.types:
        error = refusal(owner_of(cls, name, owners), name, parameter, value)
        assert isinstance(error, TypeError), f"{value!r}: {error!r}"
        assert isinstance(error, ConfigurationError | BadLauncher), f"{value!r}: {error!r}"
    for value in wrong.values:
        error = refusal(owner_of(cls, name, owners), name, parameter, value)
        assert isinstance(error, ValueError) and not isinstance(error, TypeError), f"{value!r}: {error!r}"


IN_A_TASK = {
    ("progress", "fraction"): Wrong(["0.5", b"1", [], {}, True, 1j], [-0.1, 1.1, NAN, INF, HUGE]),
    ("progress", "text"): Wrong([5, b"text", None, ["text"]], []),
    ("log", "text"): Wrong([5, b"text", None, ["text"]], []),
    ("log", "level"): Wrong(["INFO", 20.0, None, True], [0, 51, -1]),
}
"""The same for the functions of `parsl_pool.task`; they look at their arguments also where no task runs."""


@pytest.mark.parametrize("name, parameter", IN_A_TASK)
def test_so_they_are_by_what_a_task_calls(name: str, parameter: str) -> None:
    wrong = IN_A_TASK[name, parameter]
    for value in wrong.types:
        assert isinstance(refusal(task, name, parameter, value), TypeError), value
    for value in wrong.values:
        assert not isinstance(refusal(task, name, parameter, value), TypeError), value


def test_all_that_a_task_can_call_is_there() -> None:
    own = {name: value for name, value in vars(task).items() if getattr(value, "__module__", "") == task.__name__}
    calls = {name: value for name, value in own.items() if name[0] != "_"}
    parameters = {(name, each) for name, value in calls.items() for each in inspect.signature(value).parameters}
    assert parameters - set(IN_A_TASK) == {("save", "state"), ("restored", "default"), ("log", "args")}


class ReprRaises:
    def __repr__(self) -> str:
        raise ZeroDivisionError


class ReprIsLong:
    def __repr__(self) -> str:
        return "long " * 100_000


class ReprLeaves:
    def __repr__(self) -> str:
        raise SystemExit(3)


@EACH
def test_a_value_that_cannot_be_shown_is_refused_all_the_same(
    cls: type, name: str, parameter: str, owners: Owners
) -> None:
    for kind, says in (ReprRaises, "ReprRaises"), (ReprLeaves, "ReprLeaves"), (ReprIsLong, "long lo"):
        assert says in str(refusal(owner_of(cls, name, owners), name, parameter, kind()))


CONTRADICTIONS: dict[str, tuple[Callable[[], object], str]] = {
    "a Config twice": (lambda: ParslPoolExecutor(Config(), config=Config()), "config must be None"),
    "workers beside a Config": (lambda: ParslPoolExecutor(2, config=Config()), "with a Config"),
    "retries beside a Config": (lambda: ParslPoolExecutor(Config(), retries=1), "with a Config"),
    "lost_retries beside a Config": (lambda: ParslPoolExecutor(Config(), lost_retries=1), "with a Config"),
    "initargs beside a Config": (lambda: ParslPoolExecutor(Config(), initargs=(1,)), "with a Config"),
    "preload beside a Config": (lambda: ParslPoolExecutor(Config(), preload=["os"]), "with a Config"),
    "two executors of one label": (
        lambda: Config([ThreadPoolExecutor("a"), ThreadPoolExecutor("a")]), "the label 'a'"
    ),
    "max_tasks_per_child and fork": (
        lambda: ParslPoolExecutor(1, multiprocessing.get_context("fork"), max_tasks_per_child=1), "'fork'"
    ),
    "manager inside, and blocks": (
        lambda: HighThroughputExecutor(manager_inside=True, provider=LocalProvider(max_blocks=2)), "manager_inside"
    ),
    "an option by both of its names": (
        lambda: HighThroughputExecutor(max_workers_per_node=2, max_workers=2), "max_workers=2 is the old name of"
    ),
    "debug logs without a place": (
        lambda: ParslPoolExecutor(Config([HighThroughputExecutor(worker_debug=True)])), "run_dir="
    ),
    "several nodes, one launched": (lambda: LocalProvider(2), "nodes_per_block=2"),
    "min_blocks above init_blocks": (lambda: BlockLimits(min_blocks=2, max_blocks=2), "raise init_blocks to 2"),
    "an unknown option": (lambda: ParslPoolExecutor(1).options(colour=1), "there is no option 'colour'; there are: "),
}  # fmt: skip


@pytest.mark.parametrize("name", CONTRADICTIONS)
def test_what_does_not_go_together_is_refused(name: str) -> None:
    make, text = CONTRADICTIONS[name]
    with pytest.raises(ConfigurationError, match=text):
        make()


def test_items_of_starmap_must_be_arguments(pool: ParslPoolExecutor) -> None:
    with pytest.raises(TypeError, match="item of iterable must be an iterable, got 5"):
        pool.starmap(pow, [5])  # type: ignore[list-item]  # the mistake


def test_an_executor_serves_one_config() -> None:
    threads = ThreadPoolExecutor()
    with ParslPoolExecutor(Config([threads])):
        with pytest.raises(ConfigurationError, match="threads"):
            ParslPoolExecutor(Config([threads]))


# ---- the standard library's own errors


SAME_AS_THERE: dict[str, Callable[[type[Executor]], object]] = {
    "no workers": lambda kind: kind(0),  # type: ignore[call-arg]  # an Executor has no arguments
    "fewer": lambda kind: kind(-1),  # type: ignore[call-arg]
    "workers as a text": lambda kind: kind("4"),  # type: ignore[call-arg]
    "no initializer": lambda kind: kind(1, initializer=5),  # type: ignore[call-arg]
    "no tasks for a child": lambda kind: kind(1, max_tasks_per_child=0),  # type: ignore[call-arg]
    "half a task for a child": lambda kind: kind(1, max_tasks_per_child=0.5),  # type: ignore[call-arg]
    "max_tasks_per_child and fork": lambda kind: kind(  # type: ignore[call-arg]
        1, multiprocessing.get_context("fork"), max_tasks_per_child=1
    ),
    "chunksize 0": lambda kind: kind(1).map(abs, [1], chunksize=0),  # type: ignore[call-arg]
    "chunksize as a text": lambda kind: kind(1).map(abs, [1], chunksize="x"),  # type: ignore[call-arg, arg-type]
    "timeout as a text": lambda kind: kind(1).map(abs, [1], timeout="x"),  # type: ignore[call-arg, arg-type]
    "no iterable": lambda kind: kind(1).map(abs, 5),  # type: ignore[call-arg, arg-type]
}


@pytest.mark.parametrize("name", SAME_AS_THERE)
def test_the_error_is_of_the_class_that_the_standard_library_raises(name: str) -> None:
    mistake = SAME_AS_THERE[name]
    try:
        mistake(ProcessPoolExecutor)
    except Exception as error:
        there = type(error)
    if "child" in name and "max_tasks_per_child" not in inspect.signature(ProcessPoolExecutor).parameters:
        there = ValueError  # 3.10 does not know it
    with pytest.raises(there):
        mistake(ParslPoolExecutor)


class Integer:
    """As those of numpy: no int, but as good as one."""

    def __init__(self, value: int) -> None:
        self.value = value

    def __index__(self) -> int:
        return self.value


def test_what_the_standard_library_takes_is_taken() -> None:
    """Numbers of numpy among it."""
    workers: Any = Integer(1)
    with ParslPoolExecutor(workers, initargs=[1]) as pool:  # type: ignore[arg-type]
        assert pool.size == 1 and type(pool.size) is int
        timeouts: list[Any] = [Integer(30), Fraction(60, 2), INF, HUGE, None]
        for timeout in timeouts:
            assert list(pool.map(abs, [-1], timeout=timeout, chunksize=workers, buffersize=workers)) == [1]
        done = threading.Event()
        future = pool.submit(abs, -1)
        future.add_done_callback(lambda _: done.set())
        assert future.result(INF) == future.result(HUGE) == 1
        assert done.wait(30)
