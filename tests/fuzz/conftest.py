"""The fixtures of these tests."""

from tests.recovery.arrangement import arrangement

__all__ = ["arrangement"]
