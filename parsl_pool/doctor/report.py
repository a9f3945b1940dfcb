"""What a check has found, for people and for scripts."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from parsl_pool.doctor.finding import Finding, Level
from parsl_pool.doctor.inspection import Inspection

_MARKS = {Level.GOOD: "ok     ", Level.NOTE: "note   ", Level.WARNING: "WARNING", Level.PROBLEM: "PROBLEM"}


def finding_text(found: Finding) -> str:
    """One finding, with what to do."""
    first, *more = found.text.splitlines()
    lines = [f"  {_MARKS[found.level]}  {first}", *(f"           {line}" for line in more)]
    return "\n".join([*lines, *([f"           -> {found.remedy}"] if found.remedy else [])])


def inspection_text(seen: Inspection, with_script: bool) -> str:
    """All that was seen of an executor."""
    lines = [f"{seen.kind} {seen.label!r}" + (f": {seen.blocks}" if seen.blocks else "")]
    if seen.rendered is not None and with_script:
        lines += _rendered_text(seen.rendered.command, seen.rendered.preview)
    return "\n".join([*lines, *map(finding_text, seen.findings)])


def _rendered_text(command: str, preview: Any) -> list[str]:
    if preview is None:
        return [_indented("the manager's command:", command)]
    parts = [("the script of a block (the manager's command is in it):", preview.script)]
    if preview.description:
        parts.append(("the description that goes with it:", preview.description))
    if preview.submit:
        parts.append(("which is submitted by:", preview.submit))
    return [_indented(title, text) for title, text in parts]


def _indented(title: str, text: str) -> str:
    return f"  {title}\n" + "\n".join(f"    | {line}" for line in text.rstrip().splitlines())


def as_json(config: str, seen: Sequence[Inspection], trials: dict[str, list[Finding]], status: int) -> str:
    """The same, to be read by programs."""
    executors = [
        {
            "label": one.label,
            "kind": one.kind,
            "blocks": one.blocks,
            "manager_command": one.rendered.command if one.rendered else None,
            "script": one.rendered.preview.script if one.rendered and one.rendered.preview else None,
            "submit": one.rendered.preview.submit if one.rendered and one.rendered.preview else None,
            "findings": [_record(found) for found in one.findings],
            "trial": [_record(found) for found in trials[one.label]] if one.label in trials else None,
        }
        for one in seen
    ]
    return json.dumps({"config": config, "status": status, "executors": executors}, indent=2)


def _record(found: Finding) -> dict[str, str]:
    return {"level": found.level.value, "code": found.code, "text": found.text, "remedy": found.remedy}
