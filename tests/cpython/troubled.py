"""Stands in for child.py: a class whose tests hang, crash and leave processes."""

import os
import subprocess
import sys
import threading
import types
import unittest

from tests.cpython import child, suite


class Troubled(unittest.TestCase):
    def test_1_fine(self) -> None:
        pass

    def test_2_hangs(self) -> None:
        threading.Event().wait()

    def test_3_crashes(self) -> None:
        os._exit(3)

    def test_4_fine(self) -> None:
        pass

    def test_5_leaves_a_process(self) -> None:
        subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)


if __name__ == "__main__":
    suite.load = list[types.ModuleType]  # the suite need not be here
    child.classes = lambda modules, executor: {"Troubled": Troubled}
    child.main()
