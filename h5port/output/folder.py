"""The four files of an output folder, written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from h5port.errors import refusal
from h5port.module.program import FORMAT, VERSION, Document, Program, decoded, encoded
from h5port.output import safetensors
from h5port.output.model_py import print_model
from h5port.output.publish import check_free, published, published_file
from h5port.output.report import Report
from h5port.transform.recipe import Recipe

__all__ = [
    "CONFIG",
    "WEIGHTS",
    "check_free",
    "is_folder",
    "read_program",
    "read_report",
    "sha256",
    "write_folder",
    "write_raw",
]

WEIGHTS, CONFIG, CODE, REPORT = "model.safetensors", "config.json", "model.py", "report.json"


def write_folder(
    out: Path,
    program: Program,
    recipes: Mapping[str, Recipe],
    report: Report,
    read: safetensors.Read,
    *,
    overwrite: bool,
    progress: Callable[[int], None] | None = None,
) -> None:
    """All four files, or none. Raises H5PortError if the folder exists."""
    with published(out, overwrite=overwrite) as folder:
        safetensors.write(folder / WEIGHTS, recipes, read, _metadata(report), progress)
        (folder / CONFIG).write_bytes(to_json(Document(program=program)))
        (folder / CODE).write_text(print_model(program), encoding="utf-8")
        (folder / REPORT).write_bytes(to_json(report))


def write_raw(
    out: Path,
    recipes: Mapping[str, Recipe],
    report: Report,
    read: safetensors.Read,
    *,
    overwrite: bool,
    progress: Callable[[int], None] | None = None,
) -> None:
    """One safetensors file of stored arrays under their own names, or nothing."""
    with published_file(out, overwrite=overwrite) as file:
        safetensors.write(file, recipes, read, _metadata(report), progress)


def _metadata(report: Report) -> dict[str, str]:
    return {
        "format": "pt",
        "h5port_version": report.h5port,
        "source": report.source.file,
        "source_sha256": report.source.sha256,
        "writer": report.source.writer,
    }


def to_json(value: Any) -> bytes:
    """Indented JSON; the same value gives the same bytes."""
    return msgspec.json.format(msgspec.json.encode(encoded(msgspec.to_builtins(value))), indent=2) + b"\n"


def is_folder(path: Path) -> bool:
    return path.is_dir() and (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def read_program(folder: Path) -> Program:
    """The program of an output folder; refused if a newer h5port wrote it."""
    text = (folder / CONFIG).read_bytes()
    where = str(folder / CONFIG)
    try:
        head = msgspec.json.decode(text, type=_Head)
        if head.format != FORMAT:
            raise refusal("bad-output", f"not a config of h5port (its format is {head.format!r})", file=where)
        if head.version > VERSION:
            raise refusal(
                "bad-output",
                f"version {head.version} of the config; this h5port reads up to {VERSION}",
                file=where,
                remedy="use a newer h5port",
            )
        return msgspec.convert(decoded(msgspec.json.decode(text)), Document).program
    except (msgspec.DecodeError, msgspec.ValidationError, RecursionError) as error:
        raise refusal("bad-output", f"not a config that h5port wrote: {error}", file=where) from None


def read_report(folder: Path) -> Report:
    try:
        return msgspec.json.decode((folder / REPORT).read_bytes(), type=Report)
    except (OSError, msgspec.DecodeError, RecursionError) as error:
        raise refusal("bad-output", f"no report of h5port in this folder: {error}", file=str(folder / REPORT)) from None


class _Head(msgspec.Struct):
    format: str = ""
    version: int = 0


def sha256(path: Path) -> str:
    """Of a file, or of the files of a folder one after the other by name."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
