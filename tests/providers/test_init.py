import subprocess
import sys

import pytest

import parsl_pool.providers as room


def loaded_by(statement: str) -> set[str]:
    """The modules of a fresh interpreter after `statement`."""
    program = f"import sys; {statement}; print(*sys.modules)"
    run = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    return set(run.stdout.split())


def test_every_name_is_where_the_table_says() -> None:
    for name in room.__all__:
        assert getattr(room, name).__module__ == room._HOMES[name]
    assert sorted(room.__all__) == sorted(room._HOMES) == sorted(dir(room))


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'SlurmProvidr'"):
        _ = room.SlurmProvidr


def test_the_room_alone_loads_none_of_its_modules() -> None:
    assert not [name for name in loaded_by("import parsl_pool.providers") if "providers." in name]


def test_a_local_provider_loads_nothing_heavy() -> None:
    loaded = loaded_by("from parsl_pool.providers import LocalProvider")
    heavy = {"psutil", "paramiko", "zmq", "sqlalchemy", "concurrent.futures.process", "asyncio"}
    assert not heavy & loaded
    rooms = {name.split(".")[1] for name in loaded if name.startswith("parsl_pool.")}
    assert rooms - {"_version"} == {
        "checks", "errors", "loggers", "portable", "provider_errors", "providers", "recipe",
    }  # fmt: skip
