"""The command `parsl-pool`."""
