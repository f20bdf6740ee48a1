"""What is measured: each section makes its inputs and gives its rows."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import inputs
from measure import Done, Route, Row, Worker, compared, in_rounds, limited, memory_group, run

ROUTES = Path(__file__).parent / "routes"
ROOT = Path(__file__).parent.parent


class Setting(NamedTuple):
    """Where and with what it is measured. `oracle` is the Python of an environment with Keras on TensorFlow."""

    folder: Path
    full: bool
    rounds: int
    oracle: Path | None

    def keras(self) -> Iterator[tuple[str, list[str], dict[str, str]]]:
        """Each genuine Keras that is installed: name, its Python, its environment."""
        if self.oracle is None:
            return
        yield "Keras on TensorFlow", [str(self.oracle)], {"KERAS_BACKEND": "tensorflow", "CUDA_VISIBLE_DEVICES": "-1"}
        packages = next(self.oracle.parent.parent.glob("lib/python*/site-packages"))
        yield "Keras on torch", [sys.executable], {"KERAS_BACKEND": "torch", "PYTHONPATH": str(packages)}


def h5port(*args: str | Path) -> list[str]:
    return [sys.executable, "-m", "h5port", *map(str, args)]


def written(source: Path, out: Path, command: list[str], env: dict[str, str] | None = None) -> Callable[[], Done]:
    """A route that makes `out`: its source is in the page cache when it starts, its output is gone before."""

    def go() -> Done:
        shutil.rmtree(out, ignore_errors=True)
        out.unlink(missing_ok=True)
        os.sync()
        with source.open("rb") as file:
            while file.read(1 << 24):
                pass
        return run(command, env)

    return go


# ---- bytes


class Line(NamedTuple):
    """A command that makes `Case.out` of `Case.source`, and what its ratio should not be above."""

    command: list[str]
    env: dict[str, str] | None = None
    limit: float | None = None


class Case(NamedTuple):
    name: str
    source: Path
    out: Path
    size: int  # of the weights, in bytes
    largest: int  # of one tensor, in bytes

    def rows(self, lines: dict[str, Line], rounds: int) -> list[Row]:
        """All lines in turn; the first is the reference."""
        routes: list[Route] = [(n, written(self.source, self.out, line.command, line.env)) for n, line in lines.items()]
        rows = in_rounds(routes, rounds, section="bytes", case=self.name, size=self.size)
        for row, line in zip(rows, lines.values(), strict=True):
            row.limit, row.command = line.limit, _told(line.command, self.source.parent)
            if row.route.startswith("h5port"):
                row.limit_mb = round(100 + 1.25 * self.largest / 1e6)
        return rows

    def copied(self) -> Line:
        return Line(["sh", "-c", 'cp "$0" "$1" && sync "$1"', str(self.source), str(self.out)])

    def converted(self, *options: str, limit: float | None = None) -> Line:
        return Line(h5port("convert", self.source, "-o", self.out, *options), limit=limit)

    def by(self, script: str, python: list[str], env: dict[str, str] | None = None) -> Line:
        return Line([*python, str(ROUTES / script), str(self.source), str(self.out)], env)


def bytes_(setting: Setting) -> Iterator[Row]:
    """Against `cp` and `sync` of the copy, from `.h5` and from inside a `.keras`."""
    models = {"0.8 GB": (inputs.mixed(1024, 6), 1.5)}
    if setting.full:
        models = {"1.6 GB": (inputs.mixed(2048, 3), 1.5), "6.0 GB": (inputs.mixed(2048, 14), 1.3)}
    for name, (layers, limit) in models.items():
        for suffix in (".h5", ".keras"):
            source = setting.folder / f"model{suffix}"
            inputs.write(source, layers)
            sizes = inputs.bytes_of(layers), inputs.largest(layers)
            case = Case(f"{name} {suffix}", source, setting.folder / "out", *sizes)
            if name == "6.0 GB":
                yield from _against_a_copy(case, limit, setting.rounds)
                yield from _in_little_memory(case)
            else:
                peers = suffix == ".h5"
                yield from _against_a_copy(case, limit, setting.rounds, naive=peers)
                yield from _of_keras(case, setting) if peers and setting.full else []
            source.unlink()


def _against_a_copy(case: Case, limit: float, rounds: int, *, naive: bool = False) -> list[Row]:
    lines = {"cp and sync": case.copied()}
    lines["h5port --no-hash"] = case.converted("--no-hash", limit=limit)
    lines["h5port"] = case.converted(limit=2.0)
    if naive:
        lines["numpy, array by array"] = case.by("naive.py", [sys.executable])
    return case.rows(lines, rounds)


def _of_keras(case: Case, setting: Setting) -> list[Row]:
    """Once is enough: they take minutes."""
    lines = {name: case.by("keras_load.py", python, env) for name, python, env in setting.keras()}
    return case.rows({"cp and sync": case.copied(), **lines}, 1)[1:]


def _in_little_memory(case: Case) -> list[Row]:
    """In a control group that may hold 1 GB, the page cache of what is read and written included."""
    with memory_group(1 << 30) as group:
        if group is None:
            return []
        lines = {"cp and sync": case.copied(), "h5port": case.converted(limit=2.0)}
        inside = {name: line._replace(command=limited(line.command, group)) for name, line in lines.items()}
        rows = case._replace(name=f"{case.name}, 1 GB of memory").rows(inside, 1)
    for row, line in zip(rows, lines.values(), strict=True):
        row.command = _told(line.command, case.source.parent)
    return rows


def _told(command: list[str], folder: Path) -> str:
    """A command line without the folders of this machine."""
    words = [w.replace(str(folder) + "/", "").replace(str(ROOT) + "/", "") for w in command]
    return " ".join("python" if w == sys.executable or w.endswith("/python") else w for w in words)


# ---- growth


def growth(setting: Setting) -> Iterator[Row]:
    """Time by the bytes of a model, and by its layers."""
    units = [128, 256, 512, 1024, 2048] if setting.full else [64, 256, 512]
    for n in units:
        layers = inputs.stack(units=n)
        yield from _grown(setting, layers, "bytes", inputs.bytes_of(layers), ["convert", "--no-hash"])
    for n in (10, 100, 1000, 5000) if setting.full else (10, 100, 1000):
        yield from _grown(setting, inputs.chain(n), "layers", n, ["check"])


def _grown(setting: Setting, layers: list[inputs.Layer], what: str, size: int, command: list[str]) -> Iterator[Row]:
    source, out = setting.folder / "model.h5", setting.folder / "out"
    inputs.write(source, layers)
    line = h5port(*command, source, *(["-o", out] if command[0] == "convert" else []))
    routes: list[Route] = [(f"h5port {command[0]}", written(source, out, line))]
    rows = in_rounds(routes, setting.rounds, section="growth", case=what, size=size)
    for row in rows:
        row.reference = row.ratio = None
        row.command = _told(line, setting.folder)
    yield from rows


# ---- small files, many files


def small(setting: Setting) -> Iterator[Row]:
    """The whole process on a model of 600 KB."""
    source, out = setting.folder / "small.h5", setting.folder / "out"
    inputs.small(source)
    imports = [sys.executable, "-c", "import h5py, numpy, safetensors"]
    routes: list[Route] = [("imports of h5py, numpy, safetensors", lambda: run(imports))]
    routes.append(("h5port inspect", written(source, out, h5port("inspect", source))))
    routes.append(("h5port convert", written(source, out, h5port("convert", source, "-o", out))))
    rows = in_rounds(routes, 3 * setting.rounds, section="small", case="0.6 MB .h5", size=source.stat().st_size)
    for row, limit in zip(rows, (None, 2.5, 3.75), strict=True):
        row.limit, row.limit_mb = limit, None if limit is None else 80
    yield from rows


def many(setting: Setting) -> Iterator[Row]:
    """Small models by the hundred; seconds are those of one model."""
    count = 1000 if setting.full else 200
    folder, out = setting.folder / "many", setting.folder / "many_out"
    folder.mkdir()
    inputs.small(folder / "0.h5")
    for i in range(1, count):
        shutil.copy(folder / "0.h5", folder / f"{i}.h5")
    command = h5port("convert", *sorted(folder.iterdir()), "-o", out)
    done = run(command)
    shutil.rmtree(folder)
    shutil.rmtree(out)
    told = "h5port convert 0.h5 1.h5 ... -o DIR"
    yield Row(
        section="many",
        case=f"{count} models of 0.6 MB",
        route="h5port convert",
        seconds=[done.seconds / count],
        peak_mb=done.peak_mb,
        command=told,
    )


# ---- the result


def models(folder: Path) -> None:
    """What `routes/torch_speed.py` loads."""
    folder.mkdir(exist_ok=True)
    inputs.write(folder / "lstm.h5", inputs.stack())
    inputs.write(folder / "masked.h5", [inputs.masking(), *inputs.stack()])
    inputs.write(folder / "hard.h5", inputs.stack(recurrent_activation="hard_sigmoid"))
    inputs.write(folder / "before.h5", inputs.stack("GRU", reset_after=False))
    inputs.write(folder / "images.h5", inputs.images())


# case -> the routes through it, the reference first: name, worker, what the worker is asked, the limit
SPEED: dict[str, list[tuple[str, str, str, float | None]]] = {
    "2 BiLSTM": [
        ("nn.LSTM by hand", "torch", "lstm by hand", None),
        ("h5port", "torch", "lstm", 1.0),
        ("h5port, masked, all steps valid", "torch", "masked", 1.5),
        ("Keras on TensorFlow", "Keras on TensorFlow", "lstm", None),
        ("Keras on torch", "Keras on torch", "lstm", None),
    ],
    "2 BiLSTM, hard_sigmoid": [
        ("Keras on TensorFlow", "Keras on TensorFlow", "hard", None),
        ("h5port", "torch", "hard", 1.2),
        ("h5port, compiled", "torch", "hard compiled", 1.0),
        ("Keras on torch", "Keras on torch", "hard", None),
    ],
    "2 BiGRU, reset before": [
        ("Keras on TensorFlow", "Keras on TensorFlow", "before", None),
        ("h5port", "torch", "before", 1.2),
        ("h5port, compiled", "torch", "before compiled", 1.0),
        ("Keras on torch", "Keras on torch", "before", None),
    ],
    "images 64 x 64": [
        ("by hand, channels_last", "torch", "images by hand", None),
        ("h5port", "torch", "images", 1.05),
    ],
}


def speed(setting: Setting) -> Iterator[Row]:
    """The converted model against the same by hand and in Keras: batch 32, 50 steps, 64 units, all cores."""
    folder = setting.folder / "models"
    models(folder)
    compiled = ["--compiled"] if setting.full else []  # torch.compile takes minutes for the steps of two layers
    workers = {"torch": Worker([sys.executable, str(ROUTES / "torch_speed.py"), str(folder), *compiled])}
    for name, python, env in setting.keras():
        workers[name] = Worker([*python, str(ROUTES / "keras_speed.py")], env)
    for case, routes in SPEED.items():
        rows = [Row(section="speed", case=case, route=r, seconds=[], limit=limit) for r, _, _, limit in routes]
        asked = [
            (row, workers[w], name)
            for row, (_, w, name, _) in zip(rows, routes, strict=True)
            if w in workers and name in workers[w].names
        ]
        for _ in range(30 if setting.full else 6):
            for row, worker, name in asked:
                row.seconds.append(worker.time(name))
        yield from compared([row for row, _, _ in asked])
    for worker in workers.values():
        worker.close()


# ---- the install


def install(setting: Setting) -> Iterator[Row]:
    """Bytes of site-packages after `pip install h5port`, without what a new environment has."""
    place = setting.folder / "env"
    subprocess.run([sys.executable, "-m", "venv", place], check=True)
    packages = next(place.glob("lib/python*/site-packages"))
    before = _size(packages)
    pip = [place / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    with tempfile.TemporaryDirectory() as sources:  # building leaves files beside the sources
        copy = Path(sources) / "h5port"
        ignored = shutil.ignore_patterns(".*", "build", "*.egg-info", "tests", "fixtures", "__pycache__")
        shutil.copytree(ROOT, copy, ignore=ignored)
        subprocess.run([*pip, copy], check=True)
    own = _size(packages / "h5port")
    for name, size in (("site-packages", _size(packages) - before), ("h5port itself", own)):
        yield Row(section="install", case="without torch", route=name, seconds=[0.0], size=size)


def _size(folder: Path) -> int:
    return sum(f.stat().st_size for f in folder.rglob("*") if f.is_file() and "__pycache__" not in f.parts)


SECTIONS: dict[str, Callable[[Setting], Iterator[Row]]] = {
    "bytes": bytes_,
    "growth": growth,
    "small": small,
    "many": many,
    "speed": speed,
    "install": install,
}
