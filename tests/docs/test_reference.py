"""The reference has every public name. That it can be made is checked by `sphinx-build -W`."""

import re
from pathlib import Path

import parsl_pool

PAGE = Path(__file__).parents[2] / "docs" / "api.md"


def test_every_public_name_is_in_the_reference() -> None:
    told = set(re.findall(r"auto(?:class|function|data):: parsl_pool\.(\w+)$", PAGE.read_text(), re.MULTILINE))
    assert told == set(parsl_pool.__all__) - {"__version__"}


def test_every_public_name_says_what_it_is() -> None:
    for name in set(parsl_pool.__all__) - {"__version__", "AUTO_LOGNAME"}:
        thing = getattr(parsl_pool, name)
        assert thing.__doc__, name
