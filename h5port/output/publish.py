"""A folder appears whole or not at all, and what was there before stays whole until then."""

from __future__ import annotations

import ctypes
import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from h5port.errors import refusal
from h5port.module.program import FORMAT

_EXCHANGE = 2  # RENAME_EXCHANGE of Linux' renameat2
_HERE = -100  # AT_FDCWD


@contextmanager
def published(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write into; it takes the place of `out` when the block ends well, and is removed when it does not.

    An existing `out` is refused unless `overwrite`; then it stays whole until the new one is complete. What a run
    that was killed left behind is cleaned up.
    """
    check_free(out, overwrite=overwrite)
    with _staging(out) as staging:
        (folder := staging / out.name).mkdir()
        yield folder
        for file in folder.iterdir():
            _sync(file)
        check_free(out, overwrite=overwrite)
        _take_place(folder, out)


@contextmanager
def published_file(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """The same for one file."""

    def check() -> None:
        if out.is_dir() or (out.exists() and not overwrite):
            raise refusal("output-exists", f"the output {out} exists", remedy="choose another with -o, or --overwrite")

    check()
    with _staging(out) as staging:
        yield staging / out.name
        _sync(staging / out.name)
        check()
        (staging / out.name).replace(out)


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse an output folder that is there, unless it may be replaced and is one that h5port wrote."""
    if not out.exists():
        return
    if not overwrite:
        remedy = "choose another with -o, or replace it with --overwrite"
        raise refusal("output-exists", f"the output {out} exists", remedy=remedy)
    if not _is_ours(out):
        remedy = "choose another with -o"
        raise refusal("output-exists", f"{out} is nothing that h5port wrote: it is not replaced", remedy=remedy)


def _is_ours(out: Path) -> bool:
    """An empty folder, or one whose config.json says that h5port wrote it."""
    if not out.is_dir():
        return False
    if not any(out.iterdir()):
        return True
    try:
        config = json.loads((out / "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and config.get("format") == FORMAT


@contextmanager
def _staging(out: Path) -> Iterator[Path]:
    """A folder beside `out`, named after this process, gone at the end."""
    out.parent.mkdir(parents=True, exist_ok=True)
    _clean_up(out)
    staging = Path(tempfile.mkdtemp(prefix=f"{_prefix(out)}{os.getpid()}.", suffix=".h5port", dir=out.parent))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _prefix(out: Path) -> str:
    return f".{out.name}."


def _clean_up(out: Path) -> None:
    """Remove what runs left behind that are no more."""
    for left in out.parent.glob(f"{_prefix(out)}*.h5port"):
        number = left.name[len(_prefix(out)) :].split(".")[0]
        if number.isdigit() and not _is_running(int(number)):
            shutil.rmtree(left, ignore_errors=True)


def _is_running(process: int) -> bool:
    if sys.platform == "win32":
        return True  # os.kill would end it
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True


def _take_place(folder: Path, out: Path) -> None:
    """Put the finished folder at `out`; the old one, if any, goes to where the new one was."""
    if not out.exists():
        folder.rename(out)
    elif not _exchange(folder, out):  # a moment in which there is neither cannot be helped elsewhere
        old = folder.with_name("old")
        out.rename(old)
        try:
            folder.rename(out)
        except OSError:
            old.rename(out)
            raise


def _exchange(one: Path, other: Path) -> bool:
    """Swap two folders in one step, where the system can."""
    if sys.platform != "linux":
        return False
    try:
        swap = ctypes.CDLL(None, use_errno=True).renameat2
    except (OSError, AttributeError):
        return False
    return bool(swap(_HERE, os.fsencode(one), _HERE, os.fsencode(other), _EXCHANGE) == 0)


def _sync(file: Path) -> None:
    with file.open("rb+") as f:
        os.fsync(f.fileno())
