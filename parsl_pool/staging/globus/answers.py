"""What Globus says of a transfer, and what is to be done about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

LASTING = frozenset({"FILE_NOT_FOUND", "PERMISSION_DENIED"})
"""Faults that Globus would try to get over for a day, and that a workflow had better know of now."""

_ENDED_BY_SOMEBODY = frozenset({"CANCELED", "CANCELLED", "EXPIRED"})
_FINE = frozenset({"", "OK", "Queued"})


class Look(NamedTuple):
    """A transfer, as Globus had it when it was asked.

    Attributes:
        status: ACTIVE, INACTIVE, SUCCEEDED or FAILED.
        nice_status: the present fault, or why it failed; "" if there is none.
        fatal_error: what ended it: a code, and a description; "" if nothing did.
        details: of the fault, in Globus' words.
    """

    status: str
    nice_status: str = ""
    fatal_error: str = ""
    details: str = ""

    @property
    def fault(self) -> str:
        """What is wrong with it now; ""  if nothing is."""
        return "" if self.nice_status in _FINE else self.nice_status

    @property
    def can_pass(self) -> bool:
        """False if it would fail in the same way again."""
        codes = {self.nice_status, self.fatal_error.partition(":")[0]}
        return not codes & (LASTING | _ENDED_BY_SOMEBODY)

    @property
    def words(self) -> str:
        """All that is known of it, for people."""
        return ": ".join(dict.fromkeys(filter(None, (self.status, self.fault, self.fatal_error, self.details))))


def looked_at(document: Mapping[str, Any]) -> Look:
    """What is to be known of a task document of the Transfer API. Raises KeyError: it is none."""
    fatal = document.get("fatal_error")
    if isinstance(fatal, Mapping):
        fatal_error = ": ".join(str(fatal[name]) for name in ("code", "description") if fatal.get(name))
    else:
        fatal_error = str(fatal or "")
    return Look(
        str(document["status"]),
        str(document.get("nice_status") or ""),
        fatal_error,
        str(document.get("nice_status_details") or ""),
    )
