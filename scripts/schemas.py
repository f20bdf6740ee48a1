"""Writes schemas/: the JSON Schemas of config.json and report.json, generated from the structs that write them."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import msgspec

from h5port.module.program import Document
from h5port.output.report import Report

FILES: dict[str, type[Any]] = {"config.schema.json": Document, "report.schema.json": Report}


def schema(name: str) -> bytes:
    """The text of one schema file."""
    body = _clean({"$schema": "https://json-schema.org/draft/2020-12/schema", **msgspec.json.schema(FILES[name])})
    return msgspec.json.format(msgspec.json.encode(body), indent=2) + b"\n"


def _clean(value: Any) -> Any:
    """Descriptions come from docstrings, whose indentation depends on the Python."""
    if isinstance(value, dict):
        return {k: inspect.cleandoc(v) if k == "description" else _clean(v) for k, v in value.items()}
    return [_clean(v) for v in value] if isinstance(value, list) else value


if __name__ == "__main__":
    folder = Path(__file__).parent.parent / "schemas"
    for file in FILES:
        (folder / file).write_bytes(schema(file))
