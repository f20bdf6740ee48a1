"""A folder appears whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from h5port.errors import refusal


@contextmanager
def published(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """A folder to write into; it takes the place of `out` when the block ends well, and is removed when it does not.

    An existing `out` is refused unless `overwrite`; then it stays whole until the new one is complete.
    """
    check_free(out, overwrite=overwrite)
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".h5port", dir=out.parent))
    try:
        staging.chmod(0o777 & ~_umask())
        yield staging
        for file in staging.iterdir():
            _sync(file)
        _take_place(staging, out)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise


def check_free(out: Path, *, overwrite: bool) -> None:
    """Refuse an output folder that is there, unless it may be replaced and is one that h5port wrote."""
    if not out.exists():
        return
    if not overwrite:
        remedy = "choose another with -o, or replace it with --overwrite"
        raise refusal("output-exists", f"the output {out} exists", remedy=remedy)
    if not _is_ours(out):
        raise refusal(
            "output-exists", f"{out} is nothing that h5port wrote: it is not replaced", remedy="choose another with -o"
        )


@contextmanager
def published_file(out: Path, *, overwrite: bool) -> Iterator[Path]:
    """The same for one file."""
    if out.is_dir() or (out.exists() and not overwrite):
        raise refusal("output-exists", f"the output {out} exists", remedy="choose another with -o, or --overwrite")
    out.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".h5port", dir=out.parent))
    try:
        yield staging / out.name
        _sync(staging / out.name)
        (staging / out.name).replace(out)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _is_ours(out: Path) -> bool:
    return out.is_dir() and ((out / "config.json").exists() or not any(out.iterdir()))


def _take_place(staging: Path, out: Path) -> None:
    if not out.exists():
        staging.rename(out)
        return
    old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".h5port-old", dir=out.parent))
    out.rename(old / out.name)
    try:
        staging.rename(out)
    except OSError:
        (old / out.name).rename(out)
        raise
    finally:
        shutil.rmtree(old, ignore_errors=True)


def _sync(file: Path) -> None:
    with file.open("rb+") as f:
        os.fsync(f.fileno())


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
