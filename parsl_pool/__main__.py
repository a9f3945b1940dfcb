"""`python -m parsl_pool`: the same as the command `parsl-pool`."""

import sys

from parsl_pool.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
