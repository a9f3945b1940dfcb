"""How commands and files reach the machine on which a scheduler's commands are: this one, or another by SSH."""

from parsl_pool.providers.channels.base import Channel, CommandResult
from parsl_pool.providers.channels.local import LocalChannel

__all__ = ["Channel", "CommandResult", "LocalChannel"]
