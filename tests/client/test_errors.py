import inspect
import pickle
from collections.abc import Iterator
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any

import cloudpickle
import pytest

from parsl_pool import errors, lost, provider_errors, staging_errors
from parsl_pool.errors import ParslPoolError


def classes(root: type[Exception] = ParslPoolError) -> Iterator[type[Exception]]:
    yield root
    for child in root.__subclasses__():
        yield from classes(child)


HOMES = {module.__name__ for module in (errors, lost, provider_errors, staging_errors)}
"""Others have errors of their own, which stay inside; whether these are loaded depends on the tests before."""

ALL = sorted({cls for cls in classes() if cls.__module__ in HOMES}, key=lambda cls: cls.__name__)

SAMPLES: dict[str, Any] = {
    "module_names": ["tqdm", "numpy"],
    "reason": "a reason",
    "name": "argument 1 of fit",
    "path": ".model.lock",
    "facts": {"worker": "3", "host": "n1", "pid": "77", "signal": "SIGSEGV", "stderr": "line one\nline two\n"},
    "dependent_exceptions_tids": [(ValueError("first"), "task 1"), (KeyError("second"), "task 2")],
    "executor": "the label",
    "exit_code": 3,
    "PoolBroken.executor": "a reason",  # its text is the reason alone
    "VersionMismatch.executor": "a reason",
    "InitializerError.executor": "the text",
    "GlobusTransferFailed.reason": "the nice_status: the fatal_error, in the task_id",  # who makes one says all there
}


def instance(cls: type[Exception]) -> Exception:
    """One with every argument given."""
    if not inspect.isfunction(cls.__init__):
        return cls("a text")
    arguments = inspect.signature(cls).parameters
    if cls is errors.DependencyCycle:
        return cls(["task 1 (fit)", "task 2 (draw)"])
    return cls(*[SAMPLES.get(f"{cls.__name__}.{name}", SAMPLES.get(name, f"the {name}")) for name in arguments])


def alike(value: Any) -> Any:
    """For comparing what has no equality."""
    if isinstance(value, BaseException):
        return type(value), value.args
    if isinstance(value, (list, tuple)):
        return [alike(item) for item in value]
    return value


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
@pytest.mark.parametrize("pickler", [pickle, cloudpickle])
def test_every_error_survives_pickling(cls: type[Exception], pickler: Any) -> None:
    error = instance(cls)
    for protocol in range(2, pickle.HIGHEST_PROTOCOL + 1):
        got = pickle.loads(pickler.dumps(error, protocol))
        assert type(got) is cls and str(got) == str(error)
        assert alike(got.args) == alike(error.args)
        assert {name: alike(value) for name, value in vars(got).items()} == {
            name: alike(value) for name, value in vars(error).items()
        }


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_error_can_be_shown_and_tells_its_facts(cls: type[Exception]) -> None:
    error = instance(cls)
    text = str(error)
    assert text and repr(error).startswith(cls.__name__)
    for value in vars(error).values():
        if isinstance(value, str) and value and value not in ("the traceback_text", "the stdout"):
            assert value in text, f"{value!r} is not in {text!r}"


@pytest.mark.parametrize("cls", ALL, ids=lambda cls: cls.__name__)
def test_every_error_says_what_it_means(cls: type[Exception]) -> None:
    assert vars(cls).get("__doc__")


def test_there_is_one_root_and_all_can_be_imported_from_one_place() -> None:
    assert len(ALL) > 25
    for cls in ALL:
        assert getattr(errors, cls.__name__) is cls
    with pytest.raises(AttributeError, match="no attribute 'NoSuchError'"):
        errors.NoSuchError  # noqa: B018  # that is what is tested


def test_every_late_error_is_in_the_late_modules_and_no_other() -> None:
    late = {
        name: module.__name__.removeprefix("parsl_pool.")
        for module in (lost, provider_errors, staging_errors)
        for name, value in vars(module).items()
        if isinstance(value, type) and value.__module__ == module.__name__
    }
    assert late == errors._LAZY


@pytest.mark.parametrize(
    "name, base",
    [
        ("ConfigurationError", ValueError),
        ("OptionalModuleMissing", ImportError),
        ("UnsupportedPlatform", ImportError),
        ("SerializationError", pickle.PicklingError),
        ("DeserializationError", pickle.PicklingError),
        ("AppTimeout", TimeoutError),
        ("InvalidResourceSpecification", ValueError),
        ("BadLauncher", TypeError),
        *[(name, BrokenProcessPool) for name, module in errors._LAZY.items() if module == "lost"],
        *[(name, errors.ExecutionProviderException) for name, of in errors._LAZY.items() if of == "provider_errors"],
        ("StagingError", ValueError),
        ("WorkerLost", BrokenExecutor),
        ("WorkerKilled", lost.WorkerLost),
        ("InterchangeLost", lost.ManagerLost),
        ("PoolBroken", errors.BadStateException),
        ("InitializerError", errors.ExecutorError),
    ],
)
def test_errors_are_the_standard_ones_that_programs_catch(name: str, base: type[Exception]) -> None:
    assert issubclass(getattr(errors, name), (base,))


def test_old_names_still_lead_somewhere() -> None:
    assert errors.ParslError is ParslPoolError
    assert errors.InternalConsistencyError is errors.InternalError


def test_the_root_of_a_chain_of_failed_dependencies_is_found() -> None:
    root = ValueError("why")
    inner = errors.DependencyError([(root, "task 1")], 2)
    outer = errors.DependencyError([(inner, "task 2"), (KeyError("other"), "task 9")], 3)
    assert outer.root_cause is root
    text = str(outer)
    assert "it needs task 2, which needs task 1, which failed with ValueError: why" in text and "1 more" in text


def test_a_dependency_error_without_dependencies_can_be_shown() -> None:
    assert "task 5" in str(errors.DependencyError([], 5))


def test_a_long_chain_of_failed_dependencies_can_be_shown_and_pickled() -> None:
    error: Exception = ValueError("why")
    for number in range(50):
        error = errors.DependencyError([(error, f"task {number}")], number + 1)
    assert isinstance(error, errors.DependencyError) and "ValueError: why" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_text_of_any_length_has_a_bounded_form_with_both_ends() -> None:
    assert errors.bounded("short") == "short" and errors.bounded("x" * 100, 100) == "x" * 100
    short = errors.bounded("a" * 1000 + "b" * 1000, 100)
    assert short == "a" * 50 + "\n... (1,900 characters left out) ...\n" + "b" * 50


def test_a_long_way_to_the_failure_is_told_by_its_ends() -> None:
    def at_the_end_of(length: int) -> str:
        error: BaseException = ValueError("the root")
        for number in range(length):
            error = errors.DependencyError([(error, f"task {number}")], number + 1)
        return str(error)

    assert at_the_end_of(3) == (
        "task 3 did not run: it needs task 2, which needs task 1, which needs task 0, "
        "which failed with ValueError: the root"
    )
    text = at_the_end_of(5000)
    assert text.startswith("task 5000 did not run: it needs task 4999, which needs task 4998")
    assert "(after 4,989 more) needs task 5" in text and text.endswith("which failed with ValueError: the root")
    assert len(text) < 500


def test_of_what_a_scheduler_says_at_length_the_ends_are_told() -> None:
    error = errors.SubmitException("job", "sbatch job.sh", 1, "", "first" + "x" * 100_000 + "last")
    assert len(error.stderr) > 100_000 and len(str(error)) < 10_000
    assert "first" in str(error) and "last" in str(error)
