"""Runs commands and workers, and says how long they took and how much memory they held."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec


class Row(msgspec.Struct, kw_only=True):
    """One route through one case. `ratio` is the median over the rounds of its time by the reference's."""

    section: str
    case: str
    route: str
    seconds: list[float]
    peak_mb: float | None = None
    reference: str | None = None
    ratio: float | None = None
    size: float | None = None  # bytes or layers: what the cost grows with
    limit: float | None = None  # what `ratio` should not be above
    limit_mb: float | None = None  # what `peak_mb` should not be above
    command: str | None = None
    mode: str = "quick"

    @property
    def median(self) -> float:
        return statistics.median(self.seconds)


class Done(NamedTuple):
    seconds: float
    peak_mb: float


def run(command: list[str], env: dict[str, str] | None = None) -> Done:
    """A process from its start to its end, its children included in the memory's peak."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={**os.environ, **(env or {})}
    )
    assert process.stderr is not None
    said = process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status != 0:
        raise RuntimeError(f"{' '.join(command)}: {said.decode(errors='replace')[-2000:]}")
    unit = 1 if sys.platform == "darwin" else 1024
    return Done(seconds, usage.ru_maxrss * unit / 1e6)


def limited(command: list[str], group: Path) -> list[str]:
    """The command in a control group."""
    return ["sh", "-c", 'echo $$ >"$0/cgroup.procs" && exec "$@"', str(group), *command]


@contextmanager
def memory_group(limit: int) -> Iterator[Path | None]:
    """A control group that may hold so many bytes, page cache included; None where none can be made."""
    first = Path("/sys/fs/cgroup")
    parent, file = (first, "memory.max") if (first / "cgroup.procs").exists() else (first / "memory", _LIMIT)
    group = parent / f"h5port-{os.getpid()}"
    try:
        group.mkdir()
        (group / file).write_text(str(limit))
    except OSError:
        yield None
        return
    try:
        yield group
    finally:
        group.rmdir()


_LIMIT = "memory.limit_in_bytes"  # the first version of control groups

Route = tuple[str, Callable[[], Done]]


def in_rounds(routes: Iterable[Route], rounds: int, **told: Any) -> list[Row]:
    """All routes one after the other, as often as there are rounds; the first is the reference of the others."""
    rows = [Row(route=name, seconds=[], peak_mb=0, **told) for name, _ in routes]
    for _ in range(rounds):
        for row, (_, go) in zip(rows, routes, strict=True):
            done = go()
            row.seconds.append(done.seconds)
            row.peak_mb = max(row.peak_mb or 0, done.peak_mb)
    return compared(rows)


def compared(rows: list[Row]) -> list[Row]:
    """The rows with their ratios to the first."""
    first = rows[0]
    for row in rows:
        ratios = [a / b for a, b in zip(row.seconds, first.seconds, strict=False)]
        row.reference, row.ratio = first.route, statistics.median(ratios)
    return rows


class Worker:
    """A process that runs one thing again and again when it is told to, and says how long each time took."""

    def __init__(self, command: list[str], env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            env={**os.environ, **(env or {})},
        )
        self.names = self._line().split("\t")

    def _line(self) -> str:
        assert self.process.stdout is not None
        while line := self.process.stdout.readline():
            if line.startswith("> "):
                return line[2:].rstrip("\n")
        raise RuntimeError(f"{self.process.args!r} ended with {self.process.wait()}")

    def time(self, name: str) -> float:
        """Seconds of one run."""
        assert self.process.stdin is not None
        self.process.stdin.write(name + "\n")
        self.process.stdin.flush()
        return float(self._line())

    def close(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()


def machine() -> dict[str, Any]:
    """What the figures were measured on; no names of it."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") if hasattr(os, "sysconf") else None
    return {
        "system": platform.system(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "memory_gb": None if memory is None else round(memory / 2**30),
        "python": platform.python_version(),
        "load": [round(x, 2) for x in os.getloadavg()] if hasattr(os, "getloadavg") else None,
    }


def _processor() -> str:
    information = Path("/proc/cpuinfo")
    if information.exists():
        for line in information.read_text().splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor()


def versions(python: Path, packages: Iterable[str]) -> dict[str, str]:
    """What of these is installed for a Python."""
    text = (
        "import sys, importlib.metadata as m\n"
        "have = {d.name.lower().replace('_', '-'): d.version for d in m.distributions()}\n"
        "print('\\n'.join(f'{n} {have[n]}' for n in sys.argv[1:] if n in have))"
    )
    out = subprocess.run([python, "-c", text, *packages], capture_output=True, text=True, check=True).stdout
    return dict(line.split() for line in out.splitlines())
