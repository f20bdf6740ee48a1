"""The output folder appears whole or not at all: refusals, errors, a full disk, kill -9 at every moment."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from conftest import genuine

import h5port
from h5port.output.publish import published

OLD = {"config.json": b'{"format": "h5port-module", "version": 1}', "model.safetensors": b"old", "model.py": b"# old"}
NEW = {"config.json": b'{"format": "h5port-module", "version": 1, "new": 1}', "model.safetensors": b"new"}
SOURCE = genuine("keras-2.2.4-tf1.12/gru_mask_seq")

Files = dict[str, bytes]


def fill(folder: Path, files: Files) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def files_in(folder: Path) -> Files:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def names_in(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def publish(out: Path, files: Files, *, overwrite: bool, before_the_end: Callable[[], Any] = lambda: None) -> None:
    """Publish these files; something else may happen when they are written."""
    with published(out, overwrite=overwrite) as folder:
        fill(folder, files)
        before_the_end()


def fail(error: BaseException) -> None:
    raise error


@pytest.fixture
def out(tmp_path: Path) -> Path:
    """Where a folder of an earlier run stands."""
    fill(tmp_path / "out", OLD)
    return tmp_path / "out"


def test_a_folder_appears_when_the_block_ends_and_not_before(tmp_path: Path) -> None:
    out = tmp_path / "new" / "out"
    with published(out, overwrite=False) as folder:
        fill(folder, NEW)
        assert not out.exists()
    assert files_in(out) == NEW
    assert names_in(out.parent) == ["out"]


@pytest.mark.parametrize("error", [ValueError("no"), OSError(errno.ENOSPC, "full"), KeyboardInterrupt(), SystemExit(1)])
@pytest.mark.parametrize("before", [OLD, None])
def test_an_error_in_the_block_leaves_no_trace(error: BaseException, before: Files | None, tmp_path: Path) -> None:
    if before is not None:
        fill(tmp_path / "out", before)
    with pytest.raises(type(error)):
        publish(tmp_path / "out", NEW, overwrite=True, before_the_end=lambda: fail(error))
    assert names_in(tmp_path) == (["out"] if before else [])
    assert before is None or files_in(tmp_path / "out") == before


def test_an_existing_folder_is_refused(out: Path) -> None:
    with pytest.raises(h5port.H5PortError) as error, published(out, overwrite=False):
        pytest.fail("the block is not to be entered")
    assert error.value.code == "output-exists"
    assert files_in(out) == OLD
    assert names_in(out.parent) == ["out"]


def test_overwrite_replaces_the_whole_folder(out: Path) -> None:
    with published(out, overwrite=True) as folder:
        assert files_in(out) == OLD
        fill(folder, NEW)
    assert files_in(out) == NEW
    assert names_in(out.parent) == ["out"]


def test_overwrite_needs_no_old_folder(tmp_path: Path) -> None:
    with published(tmp_path / "out", overwrite=True) as folder:
        fill(folder, NEW)
    assert files_in(tmp_path / "out") == NEW


FOREIGN: dict[str, Files] = {
    "a folder of other files": {"notes.txt": b"precious"},
    "a config.json of a web project": {"config.json": b'{"port": 8080}', "notes.txt": b"precious"},
    "a model of another program": {"config.json": b'{"model_type": "bert"}', "model.safetensors": b"weights"},
    "a config.json that is no JSON": {"config.json": b"port = 8080", "notes.txt": b"precious"},
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_a_folder_that_is_not_ours_is_never_replaced(kind: str, tmp_path: Path) -> None:
    fill(tmp_path / "out", FOREIGN[kind])
    with pytest.raises(h5port.H5PortError) as error:
        publish(tmp_path / "out", NEW, overwrite=True)
    assert error.value.code == "output-exists"
    assert files_in(tmp_path / "out") == FOREIGN[kind]
    assert names_in(tmp_path) == ["out"]


def test_a_file_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").write_bytes(b"precious")
    with pytest.raises(h5port.H5PortError) as error:
        publish(tmp_path / "out", NEW, overwrite=True)
    assert error.value.code == "output-exists"
    assert (tmp_path / "out").read_bytes() == b"precious"


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_foreign_folder_that_appears_meanwhile_is_not_replaced(overwrite: bool, tmp_path: Path) -> None:
    foreign = FOREIGN["a folder of other files"]
    out = tmp_path / "out"
    with pytest.raises((h5port.H5PortError, OSError)):
        publish(out, NEW, overwrite=overwrite, before_the_end=lambda: fill(out, foreign))
    assert files_in(out) == foreign
    assert names_in(tmp_path) == ["out"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_of_two_runs_at_once_the_later_replaces_the_earlier_only_if_asked(overwrite: bool, tmp_path: Path) -> None:
    out = tmp_path / "out"
    allowed = nullcontext() if overwrite else pytest.raises((h5port.H5PortError, OSError))
    with allowed:
        publish(out, NEW, overwrite=overwrite, before_the_end=lambda: publish(out, OLD, overwrite=overwrite))
    assert files_in(out) == (NEW if overwrite else OLD)
    assert names_in(tmp_path) == ["out"]


def test_the_folder_has_the_permissions_that_any_new_folder_has(tmp_path: Path) -> None:
    with published(tmp_path / "out", overwrite=False) as folder:
        fill(folder, NEW)
    (tmp_path / "plain").mkdir()
    assert (tmp_path / "out").stat().st_mode == (tmp_path / "plain").stat().st_mode


# ---- kill -9

CHILD = """
import os, signal, sys
from pathlib import Path
from h5port.output.publish import published

out, renames_left = Path(sys.argv[1]), int(sys.argv[2])

def die():
    os.kill(os.getpid(), signal.SIGKILL)

def count(event, args):
    global renames_left
    if event == "os.rename":
        if renames_left == 0:
            die()
        renames_left -= 1

with published(out, overwrite=True) as folder:
    (folder / "model.safetensors").write_bytes(b"new")
    if renames_left < 0:
        die()
    (folder / "config.json").write_text(sys.argv[3])
    sys.addaudithook(count)
"""

needs_sigkill = pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="this system has no SIGKILL")


def child(out: Path, renames: int) -> int:
    """Publish in another process that is killed in the block (-1) or before rename number `renames`: its status."""
    command = [sys.executable, "-c", CHILD, str(out), str(renames), NEW["config.json"].decode()]
    return subprocess.run(command, check=False).returncode


@needs_sigkill
def test_kill_9_while_writing_leaves_the_old_folder_whole_and_the_next_run_cleans_up(out: Path) -> None:
    assert child(out, -1) == -signal.SIGKILL
    assert files_in(out) == OLD
    publish(out, NEW, overwrite=True)
    assert files_in(out) == NEW
    assert names_in(out.parent) == ["out"]


@needs_sigkill
@pytest.mark.parametrize("renames", [0, 1, 2])
def test_kill_9_while_publishing_leaves_the_old_folder_or_the_new_one(renames: int, out: Path) -> None:
    status = child(out, renames)
    assert status in (0, -signal.SIGKILL)
    assert files_in(out) in ((NEW,) if status == 0 else (OLD, NEW))


# ---- a full disk


def disk_full(*args: Any, **kwargs: Any) -> Any:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(("owner", "name"), [(Path, "write_bytes"), (Path, "write_text"), (os, "fsync")])
@pytest.mark.parametrize("before", [True, False])
def test_a_full_disk_leaves_the_old_folder_whole(
    owner: Any, name: str, before: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "out"
    if before:
        h5port.convert(SOURCE.source, out)
    files = files_in(out)
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, disk_full)
        with pytest.raises((OSError, h5port.H5PortError)):
            h5port.convert(SOURCE.source, out, overwrite=True)
    assert files_in(out) == files
    assert names_in(tmp_path) == (["out"] if before else [])


FULL_DISK = """
import sys
import numpy as np
from pathlib import Path
from h5port.output.safetensors import write
from h5port.transform.recipe import Recipe, Source

recipe = Recipe(sources=(Source("a", (1 << 20,)),))
try:
    write(Path(sys.argv[1]) / "x", {"w": recipe}, lambda name: np.ones(1 << 20, np.float32), {})
except OSError as error:
    print("refused:", error.errno)
"""


def test_a_disk_that_is_really_full_is_an_error_and_no_crash(tmp_path: Path) -> None:
    """4 MB onto a disk of 256 KB, which only this process sees."""
    mount = 'mount -t tmpfs -o size=256k none "$0" && exec "$1" -c "$2" "$0"'
    alone = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c"]
    try:
        subprocess.run([*alone, 'mount -t tmpfs none "$0"', str(tmp_path)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("this system does not let a user mount a small disk")
    run = subprocess.run(
        [*alone, mount, str(tmp_path), sys.executable, FULL_DISK], check=False, capture_output=True, text=True
    )
    assert (run.returncode, run.stdout) == (0, f"refused: {errno.ENOSPC}\n"), run.stderr
