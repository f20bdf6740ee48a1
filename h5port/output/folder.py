"""The four files of an output folder, written and read."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

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
    "NO_DIGEST",
    "WEIGHTS",
    "Origin",
    "check_free",
    "is_folder",
    "read_program",
    "read_report",
    "sha256",
    "write_folder",
    "write_raw",
]

WEIGHTS, CONFIG, CODE, REPORT = "model.safetensors", "config.json", "model.py", "report.json"


class Origin(NamedTuple):
    """What the weights are made of.

    read     gives a stored array by its path
    release  called when nothing is in use any more that `read` gave
    witness  verifies the source when all weights are written; gives its SHA-256 if that is asked for
    """

    read: safetensors.Read
    release: Callable[[], None]
    witness: Callable[[], str | None]


def write_folder(
    out: Path,
    program: Program,
    recipes: Mapping[str, Recipe],
    report: Report,
    origin: Origin,
    *,
    overwrite: bool,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """All four files, or none; gives the report as it was written. Raises H5PortError if the folder exists."""
    with published(out, overwrite=overwrite) as folder:
        report = _write_weights(folder / WEIGHTS, recipes, report, origin, progress)
        (folder / CONFIG).write_bytes(to_json(Document(program=program)))
        (folder / CODE).write_text(print_model(program), encoding="utf-8")
        (folder / REPORT).write_bytes(to_json(report))
    return report


def write_raw(
    out: Path,
    recipes: Mapping[str, Recipe],
    report: Report,
    origin: Origin,
    *,
    overwrite: bool,
    progress: Callable[[int], None] | None = None,
) -> Report:
    """One safetensors file of stored arrays under their own names, or nothing."""
    with published_file(out, overwrite=overwrite) as file:
        return _write_weights(file, recipes, report, origin, progress)


def _write_weights(
    file: Path,
    recipes: Mapping[str, Recipe],
    report: Report,
    origin: Origin,
    progress: Callable[[int], None] | None,
) -> Report:
    """The weights, with the source's SHA-256 among their metadata; gives the report that has it, too, and what was
    seen while they were written."""

    def late() -> dict[str, str]:
        nonlocal report
        digest = origin.witness()
        report = msgspec.structs.replace(report, source=msgspec.structs.replace(report.source, sha256=digest))
        return _metadata(report)

    head = _metadata(report)
    found = safetensors.write(file, recipes, origin.read, head, progress=progress, release=origin.release, late=late)
    return msgspec.structs.replace(report, nonfinite=found)


def _metadata(report: Report) -> dict[str, str]:
    found = {
        "format": "pt",
        "h5port_version": report.h5port,
        "source": report.source.file,
        "source_sha256": report.source.sha256,
        "writer": report.source.writer,
    }
    return {k: v for k, v in found.items() if v is not None}


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


NO_DIGEST = "0" * 64  # of the length of a SHA-256, in whose place it stands until that is known


def sha256(path: Path) -> str:
    """Of a file, or of the files of a folder one after the other by name."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        with file.open("rb") as f:
            while block := f.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()
