"""Every Python example in the README and in the guide runs, and prints what the page says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs import pages

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs" / "guide").glob("*.md"))]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_s_examples_do_what_it_says(page: Path, tmp_path: Path) -> None:
    script = tmp_path / f"{page.stem}.py"
    script.write_text(pages.script(page))
    clean = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, str(script)], cwd=tmp_path, env=clean, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 0, f"{page} (the line numbers are the page's):\n{done.stderr}"
    wrong = pages.differences(page, done.stdout)
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("page", ["README.md", "CHANGELOG.md", "SECURITY.md", "CONTRIBUTING.md"])
def test_what_a_page_at_the_top_links_to_is_there(page: str) -> None:
    """Links between the pages below docs/ are checked by Sphinx."""
    text = (ROOT / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
        assert "://" in link or (ROOT / link).exists(), link


def test_the_pages_have_examples() -> None:
    assert len(PAGES) > 10
    assert sum(len(pages.examples(page)) for page in PAGES) > 30


def test_an_example_stands_in_the_script_where_it_stands_in_the_page(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    one, two = (f"\n```python\nprint({name!r})\n```\n" for name in ("one", "two"))
    page.write_text(f"# A page\n{one}\n```console\n$ ls\n```\n{two}")
    lines = pages.script(page).splitlines()
    assert (lines[3], lines[11]) == ("print('one')", "print('two')")


def test_the_output_in_a_page_is_compared(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("```python\nprint('one 17')\n```\n\n```text\none ...\n```\n\n```python\npass\n```\n")
    assert pages.differences(page, "one 17\n\x1e\x1e") == []
    (wrong,) = pages.differences(page, "two\n\x1e\x1e")
    assert "the page says:\none ...\n" in wrong and "it printed:\ntwo\n" in wrong
