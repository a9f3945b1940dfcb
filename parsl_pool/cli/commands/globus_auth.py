"""Log in to Globus, for GlobusStaging.

Shows a page to open in a browser, on any machine, and asks for the code that the page gives. If there is a login that
Globus takes and that is enough, nothing is asked. The login is kept in ~/.parsl_pool/globus/login.json, which only you
can read. It is renewed by itself, as long as it is used now and then.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("--client-id", metavar="UUID", help="the application that you have registered with Globus")
    parser.add_argument(
        "--scope", metavar="SCOPE", action="append", default=[],
        help="something more that it may do, as an error of a transfer has named it; may be given several times",
    )  # fmt: skip
    parser.add_argument("--force", action="store_true", help="log in anew, even if there is a login")


def run(options: argparse.Namespace) -> int:
    """Do it."""
    from parsl_pool.staging.globus import authorize  # it loads what only this command needs

    authorize.authorize(options.client_id, options.scope, anew=options.force)
    return 0
