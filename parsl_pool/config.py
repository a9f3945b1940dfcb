"""`Config`: where and how a pool runs, as plain, checked data."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from parsl_pool import checks, sandboxing
from parsl_pool.dataflow.resolvers import DependencyResolver
from parsl_pool.errors import ConfigurationError
from parsl_pool.executors.base import ParslExecutor
from parsl_pool.loggers import careful_logger
from parsl_pool.recipe import same

_EXECUTORS = checks.list_of(
    checks.instance_of(ParslExecutor, "an executor"),  # type: ignore[type-abstract]  # only asked about
    "a list of executors, such as [HighThroughputExecutor(...)]",
)
CHECKPOINT_MODES = ("task_exit", "periodic", "dfk_exit", "manual")
STRATEGIES = ("none", "simple", "htex_auto_scale")
EXIT_MODES = ("cleanup", "skip", "wait")
_PREFIX = "PARSL_POOL_"
_WORDS = {"true": 1, "false": 0, "": 0}

log = careful_logger("parsl_pool.usage")


class Config:
    """What a `ParslPoolExecutor` is to be made of.

    Each option is checked when it is given, and when it is assigned later: `config.retries = 2`. Once a pool uses the
    Config it can't be changed, and it serves that one pool only: its executors are living things.

    Args:
        executors: where tasks run; their labels must differ. None: one ThreadPoolExecutor, as in Parsl.
        app_cache: whether results can be kept for calls with `cache=True`. Without it there are no checkpoints.
        checkpoint_files: checkpoints of earlier runs, to take results from: directories of runs, or files.
        checkpoint_mode: when results are written for later runs: "task_exit" (when a task ends), "periodic",
            "dfk_exit" (when the pool ends), "manual" (by `pool.checkpoint()`), or None: never.
        checkpoint_period: time between two writes, "HH:MM:SS" or seconds, for "periodic".
        dependency_resolver: tells what calls wait for; None: for all futures among their arguments, at any depth.
        exit_mode: what leaving `with parsl_pool.load(...)` does: "cleanup" (end the pool when all tasks are done),
            "wait" (the same; not after an exception: then what has not begun is cancelled), or "skip" (nothing).
        garbage_collect: whether a task's record, which handlers get, lets go of the call when the task is done.
        initialize_logging: whether there are log files in the run's directory.
        internal_tasks_max_threads: threads of this process for join apps, retry handlers and the like.
        lost_retries: how often a task is tried again whose place was lost.
        max_idletime: seconds without work after which a block may go.
        monitoring: None. There is no monitoring yet; so that this is an error, and not ignored, it has a name here.
        project_name: is sent with usage messages.
        retries: how often a task that fails is tried again.
        retry_delay: seconds before the second try, twice as many before each further one.
        retry_handler: called with the error and the task's record; what it returns is taken from `retries`.
        run_dir: where each run's directory is made, numbered; None: a temporary one, if one is needed, and no log.
        sandbox: whether each try of a task runs in a directory of its own, which stays if it fails; or where these
            directories are to be. True: in the executor's working_dir, else in the run's directory.
        std_autopath: called with a task's record and "stdout" or "stderr", makes the path for AUTO_LOGNAME.
        strategy: how blocks come and go: "none", "simple" or "htex_auto_scale".
        strategy_period: seconds between two looks at that.
        usage_address: "host:port" to which usage messages go; None: what PARSL_TRACKING_ADDRESS says, if anything.
        usage_tracking: how much they tell: False or 0 (nothing is sent), True or 1 (versions), 2 (and the classes of
            executors and providers), 3 (and numbers of tasks); None: 1 if PARSL_TRACKING=true, else 0.

    Raises:
        ConfigurationError: something is wrong; the text says what, and what would be right.
    """

    def __init__(
        self,
        executors: Iterable[ParslExecutor] | None = None,
        *,
        app_cache: bool = True,
        checkpoint_files: Sequence[str | os.PathLike[str]] | None = None,
        checkpoint_mode: str | None = None,
        checkpoint_period: str | float | None = None,
        dependency_resolver: DependencyResolver | None = None,
        exit_mode: str = "cleanup",
        garbage_collect: bool = True,
        initialize_logging: bool = True,
        internal_tasks_max_threads: int = 10,
        lost_retries: int = 3,
        max_idletime: float = 120.0,
        monitoring: None = None,
        project_name: str | None = None,
        retries: int = 0,
        retry_delay: float = 0.0,
        retry_handler: Callable[[BaseException, Any], float] | None = None,
        run_dir: str | os.PathLike[str] | None = "runinfo",
        sandbox: bool | str | os.PathLike[str] | None = None,
        std_autopath: Callable[[Any, str], Any] | None = None,
        strategy: str | None = "simple",
        strategy_period: float = 5.0,
        usage_address: str | None = None,
        usage_tracking: bool | int | None = None,
    ) -> None:
        given = dict(locals())
        self._is_used = False
        for name in RULES:
            setattr(self, name, given[name])
        if checkpoint_mode == "periodic" and checkpoint_period is None:
            raise ConfigurationError("checkpoint_mode 'periodic' needs a checkpoint_period, such as \"00:10:00\"")
        if checkpoint_mode is not None and not app_cache:
            raise ConfigurationError(f"checkpoint_mode {checkpoint_mode!r} needs app_cache=True: without, none is kept")

    # What __setattr__ makes of what is given.
    executors: list[ParslExecutor]
    app_cache: bool
    checkpoint_files: list[str]
    checkpoint_mode: str | None
    checkpoint_period: float | None
    dependency_resolver: DependencyResolver | None
    exit_mode: str
    garbage_collect: bool
    initialize_logging: bool
    internal_tasks_max_threads: int
    lost_retries: int
    max_idletime: float
    monitoring: None
    project_name: str | None
    retries: int
    retry_delay: float
    retry_handler: Callable[[BaseException, Any], float] | None
    run_dir: str | None
    sandbox: bool | str | None
    std_autopath: Callable[[Any, str], Any] | None
    strategy: str
    strategy_period: float
    usage_address: str | None
    usage_tracking: int | None

    def __setattr__(self, name: str, value: object) -> None:
        if name != "_is_used":
            if name not in RULES:
                raise ConfigurationError(f"a Config has no option {name!r}; there are: {', '.join(RULES)}")
            if self._is_used:
                raise ConfigurationError(f"{name} can't be changed: a pool uses this Config already; make a new one")
            value = RULES[name](name, value)
        object.__setattr__(self, name, value)

    def claim(self) -> list[ParslExecutor]:
        """The executors, for the one pool that they serve.

        Raises:
            ConfigurationError: another pool has them.
        """
        RULES["executors"]("executors", self.executors)  # once more, as lists can be changed
        for executor in self.executors:
            if executor.is_claimed:
                raise ConfigurationError(
                    f"the executor {executor.label!r} has been used for a pool already: make a new one, and a new "
                    "Config (in a function, if you need several)"
                )
        for executor in self.executors:
            executor.is_claimed = True
        self._is_used = True
        return self.executors

    @classmethod
    def from_toml(cls, path: str | os.PathLike[str]) -> Config:
        """A Config as a TOML file describes it: its options by name, and a table `[[executors]]` for each executor.

        Raises:
            ConfigurationError: the file can't be read, or something in it is wrong; the text has the place.
        """
        from parsl_pool import config_file  # few programs need it

        entries = config_file.entries_of(path)
        try:
            checks.reject_unknown(entries, RULES, "option")
            return cls(**entries)
        except ConfigurationError as problem:
            raise type(problem)(f"{os.fspath(path)}: {problem}") from None

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Config:
        """A Config from the file that PARSL_POOL_CONFIG names, if any, and variables such as PARSL_POOL_RETRIES=2.

        Raises:
            ConfigurationError: as `from_toml`; or a variable's value is wrong: the text has its name.
        """
        from parsl_pool import config_file  # few programs need it

        path = environment.get(f"{_PREFIX}CONFIG")
        config = cls.from_toml(path) if path else cls()
        for name in RULES:
            variable = _PREFIX + name.upper()
            if name == "executors" or variable not in environment:
                continue
            text = environment[variable]
            try:
                setattr(config, name, config_file.value_of(text))
            except ConfigurationError as problem:
                try:
                    setattr(config, name, text)  # a name that looks like a number, a time that looks like one of day
                except ConfigurationError:
                    raise type(problem)(f"{variable}: {problem}") from None
        return config

    def is_same_as(self, other: Config) -> bool:
        """True if all options are the same, and the executors were made in the same way."""
        return all(same(getattr(self, name), getattr(other, name)) for name in RULES)

    def __repr__(self) -> str:
        return f"Config({', '.join(f'{name}={getattr(self, name)!r}' for name in RULES)})"


def _config(value: Any) -> Config:
    if isinstance(value, dict):
        raise TypeError("Parsl has had no dicts since 0.6, write Config(executors=[HighThroughputExecutor(...)])")
    return _CONFIG._accept(value)


_CONFIG = checks.instance_of(Config, "a Config")


def checked(value: object, name: str = "config") -> Config:
    """What is to be a Config. Raises WrongType, by the name of the argument."""
    return checks.Rule("a Config", "", _config)(name, value)


def usage_level(config: Config | None, environment: Mapping[str, str] = os.environ) -> int:
    """How much a pool tells of its use, 0 to 3: as its Config says, or as PARSL_TRACKING does."""
    if config is not None and config.usage_tracking is not None:
        return config.usage_tracking
    said = environment.get("PARSL_TRACKING", "false").strip().lower()
    try:
        level = _WORDS[said] if said in _WORDS else _LEVEL("PARSL_TRACKING", int(said))
    except ValueError:
        log.warning("PARSL_TRACKING must be true, false, or 0 to 3, got %r: nothing is sent", said)
        return 0
    return level


def usage_address(config: Config | None, environment: Mapping[str, str] = os.environ) -> str | None:
    """Where it tells that: "host:port"; None: nowhere."""
    if config is not None and config.usage_address is not None:
        return config.usage_address
    said = environment.get("PARSL_TRACKING_ADDRESS")
    try:
        return checks.address("PARSL_TRACKING_ADDRESS", said) if said else None
    except ConfigurationError as problem:  # of the environment's: no reason for a program to fail
        log.warning("%s: nothing is sent", problem)
        return None


def _default() -> list[ParslExecutor]:
    from parsl_pool.executors.threads import ThreadPoolExecutor  # not for pools of processes

    return [ThreadPoolExecutor()]


def _executors(value: Any) -> list[ParslExecutor]:
    if value is None:
        return _default()
    known: list[ParslExecutor] = _EXECUTORS._accept(value)
    if not known:
        raise ValueError("it is empty")
    labels = [executor.label for executor in known]
    double = sorted({label for label in labels if labels.count(label) > 1})
    if double:
        raise ValueError(f"two have the label {double[0]!r}: give each its own label=")
    return known


def _period(value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str):
        parts = re.fullmatch(r"(\d{1,4}):([0-5]\d):([0-5]\d)", value)
        if parts is None:
            raise ValueError
        hours, minutes, seconds = map(int, parts.groups())
        value = 3600 * hours + 60 * minutes + seconds
    return checks.seconds._accept(value)


def _nothing(value: Any) -> None:
    if value is not None:
        raise ValueError


def _usage_level(value: Any) -> int | None:
    if value is None:
        return None
    return int(value) if isinstance(value, bool) else _LEVEL._accept(value)


_LEVEL = checks.whole(least=0, most=3)
_PATHS = checks.list_of(checks.path, "a list of paths")
_SECONDS = checks.number(least=0, most=1e8, kind="a number of seconds")

RULES: Mapping[str, checks.Rule[Any]] = {
    "executors": checks.Rule(
        "a list of executors, such as [HighThroughputExecutor(...)]", "at least one, each with a label of its own",
        _executors,
    ),
    "app_cache": checks.flag,
    "checkpoint_files": checks.Rule("a list of paths", "", lambda value: _PATHS._accept(value or [])),
    "checkpoint_mode": checks.optional(checks.one_of(*CHECKPOINT_MODES)),
    "checkpoint_period": checks.Rule('a time "HH:MM:SS", or seconds', 'a time "HH:MM:SS", or seconds above 0', _period),
    "dependency_resolver": checks.optional(checks.instance_of(DependencyResolver, "a DependencyResolver")),
    "exit_mode": checks.one_of(*EXIT_MODES),
    "garbage_collect": checks.flag,
    "initialize_logging": checks.flag,
    "internal_tasks_max_threads": checks.whole(above=0, most=10_000),
    "lost_retries": checks.budget,
    "max_idletime": _SECONDS,
    "monitoring": checks.Rule("None", "None, as there is no monitoring yet", _nothing),
    "project_name": checks.optional(checks.name),
    "retries": checks.budget,
    "retry_delay": checks.number(least=0, most=3600, kind="a number of seconds"),
    "retry_handler": checks.optional(checks.function),
    "run_dir": checks.optional(checks.path),
    "sandbox": sandboxing.RULE,
    "std_autopath": checks.optional(checks.function),
    "strategy": checks.Rule(
        "a text", f"one of {', '.join(map(repr, STRATEGIES))}",
        lambda value: "none" if value is None else checks.one_of(*STRATEGIES)._accept(value),
    ),
    "strategy_period": checks.seconds,
    "usage_address": checks.optional(checks.address),
    "usage_tracking": checks.Rule("True, False, None, or 0 to 3", "", _usage_level),
}  # fmt: skip
"""What each option may be."""
