"""The file that a benchmark writes."""

from __future__ import annotations

import datetime
import json
import math
from pathlib import Path
from typing import Any


def header(machine: dict[str, Any], command: str) -> dict[str, Any]:
    """Return what every result begins with: the machine, the command and the date (UTC)."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return {"machine": machine, "command": command, "date": now.isoformat(timespec="seconds")}


def rounded(value: float) -> float:
    """Return a value to four digits."""
    return round(value, 3 - math.floor(math.log10(value))) if value > 0 else value


def short(value: float) -> str:
    """Return a value as tables show it: three digits, or whole thousands."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def write_results(results: dict[str, Any], path: Path) -> None:
    """Write results as JSON, each entry of a list, or of a dictionary of dictionaries, on a line.

    The folder is made if need be; a file that is there already is replaced.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    fields = [f'  "{name}": {_text(value)}' for name, value in results.items()]
    temporary = path.with_name(path.name + ".partial")
    temporary.write_text("{\n" + ",\n".join(fields) + "\n}\n", encoding="utf-8")
    temporary.replace(path)


def _text(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f"    {json.dumps(entry)}" for entry in value) + "\n  ]"
    if isinstance(value, dict) and value and all(isinstance(v, dict) for v in value.values()):
        lines = (f"    {json.dumps(key)}: {json.dumps(entry)}" for key, entry in value.items())
        return "{\n" + ",\n".join(lines) + "\n  }"
    return json.dumps(value)
