"""Print what usage tracking would send.

Nothing is sent. Without --config and --level, what holds for pools that say nothing themselves: the variables
PARSL_TRACKING and PARSL_TRACKING_ADDRESS. What is known at the end only is shown as 0.
"""

from __future__ import annotations

import argparse
import time
import uuid


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What it takes."""
    parser.add_argument("--config", metavar="FILE", help="a TOML file, as for Config.from_toml")
    parser.add_argument("--level", type=int, choices=range(4), help="instead of what the file or PARSL_TRACKING says")


def run(options: argparse.Namespace) -> int:
    """Print it."""
    from parsl_pool.config import Config, usage_address, usage_level  # they load the executors
    from parsl_pool.usage import messages  # as above

    config = Config() if options.config is None else Config.from_toml(options.config)
    for executor in config.executors:
        executor.begin_shutdown(kill=False)  # it has descriptors from its birth on
    level = usage_level(config) if options.level is None else options.level
    if level == messages.NOTHING:
        print("usage tracking is off: nothing is sent")
        return 0
    where = usage_address(config)
    print(f"level {level}, to {where}:" if where else f"level {level}; but there is no address, so nothing is sent of:")
    known = messages.components_of(config.executors)
    example = messages.Run(str(uuid.UUID(int=0)), level, config.project_name, known, time.time())
    for message in (example.start_message(), example.end_message(time.time(), 0, 0)):
        if message is not None:
            print(messages.encoded(message).decode())
    return 0
