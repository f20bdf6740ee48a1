"""docs/speed.md, made of results.json."""

from __future__ import annotations

import json
from pathlib import Path
from statistics import median
from typing import Any

SECTIONS = {
    "bytes": "Bytes: against `cp` and `sync` of the copy",
    "small": "A model of 600 KB: the whole process",
    "many": "Many small models: seconds of one of them",
    "growth": "Growth: the whole process",
    "speed": "The result, a batch of 32",
    "install": "The install, without torch",
}
_HEAD = """# Speed

Written by `make bench`; the figures are those of one machine on one day. Routes take turns in one run; a ratio is the
median of the ratios of the rounds, and stands beside the limit that it should keep to. Memory is the peak of a process.
"""


def document(results: Path) -> str:
    found = json.loads(results.read_text(encoding="utf-8"))
    machine = found["machine"]
    about = [
        f"{found['date']}: {machine['processor']}, {machine['cores']} cores, "
        f"{machine['memory_gb']} GB, {machine['system']}, Python {machine['python']}.",
        "Versions: " + ", ".join(f"{n} {v}" for n, v in found["versions"].items()) + ".",
        "Beside it: " + ", ".join(f"{n} {v}" for n, v in found["keras"].items()) + "." if found["keras"] else "",
    ]
    parts = [_HEAD, "\n".join(line for line in about if line) + "\n"]
    for section, title in SECTIONS.items():
        rows = [row for row in found["rows"] if row["section"] == section]
        if rows:
            parts.append(f"## {title} ({rows[0].get('mode', 'quick')} mode)\n\n" + _table(rows))
    return "\n".join(parts)


def _table(rows: list[dict[str, Any]]) -> str:
    """Columns in which no row has anything are left out."""
    columns = {
        "case": lambda row: row["case"],
        "size": _size,
        "route": lambda row: row["route"],
        "time": lambda row: _time(median(row["seconds"])) if row["section"] != "install" else "",
        "memory": lambda row: f"{row['peak_mb']:.0f} MB" if row["peak_mb"] else "",
        "limit of memory": lambda row: f"{row['limit_mb']:.0f} MB" if row.get("limit_mb") else "",
        "ratio": lambda row: f"{row['ratio']:.2f}" if row["ratio"] is not None else "",
        "limit": lambda row: f"{row['limit']:g}" if row["limit"] is not None else "",
        "command": lambda row: f"`{row['command']}`" if row["command"] else "",
    }
    cells = {name: [cell(row) for row in rows] for name, cell in columns.items()}
    shown = {name: column for name, column in cells.items() if any(column)}
    lines = ["| " + " | ".join(shown) + " |", "|" + "---|" * len(shown)]
    lines += ["| " + " | ".join(row) + " |" for row in zip(*shown.values(), strict=True)]
    return "\n".join(lines) + "\n"


def _size(row: dict[str, Any]) -> str:
    if row["size"] is None or row["section"] in ("bytes", "small"):
        return ""
    return f"{row['size']:,} layers" if row["case"] == "layers" else f"{row['size'] / 1e6:,.2f} MB"


def _time(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1e3:.1f} ms"
