"""Builds models with genuine Kerases and computes with them. Runs in the oracle's environment; knows no h5port.

    python build.py JOBS.json RESULTS.jsonl FOLDER [FIRST]

A job is a `Description` (built, saved, computed) or a `Mutant` (read from its changed architecture, computed). Each
gives one line of RESULTS and, where the Keras takes it, case folders (case.json, golden.npz, the model's files) as
fixtures/README.md describes them, with the description in them as it was built.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ |= {"KERAS_BACKEND": "tensorflow", "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}

import keras
import numpy as np
import tensorflow as tf
import tf_keras
from absl import logging
from description import Description, Input, Mutant, Node
from tf_keras.src.layers.rnn import gru_lstm_utils

Array = np.ndarray[Any, np.dtype[Any]]
BATCH = 3
PACKAGES = {"keras": keras, "tf_keras": tf_keras}
OPERATIONS = ("numpy", "nn", "math", "core", "linalg", "image")
TRIES = 4  # how many choices of values are tried for a node
HALF = ("float16", "bfloat16")
STEADY = 1e-3  # a model that rounding moves by more has no numbers to compare


class Refused(Exception):
    """This Keras does not build or compute it."""


# ---- building


class Graph:
    """A functional model in the making: its values by name, and the nodes that were taken, written out."""

    def __init__(self, package: str, description: Description) -> None:
        self.keras, self.description = PACKAGES[package], description
        self.package = package
        self.values: dict[str, Any] = {}
        self.nodes: list[Node] = []
        self.called: list[Any] = []
        self.used: set[str] = set()
        for i, given in enumerate(description["inputs"]):
            self.values[f"x{i}"] = self.keras.Input(
                batch_shape=(given.get("batch"), *given["shape"]), dtype=given.get("dtype", "float32"), name=f"x{i}"
            )

    def add(self, node: Node) -> None:
        """The node, on the first choice of values that Keras takes. A node without a choice must be taken."""
        failed: Exception | None = None
        for args in self.choices(node):
            try:
                called, result = self.call(node, args)
            except Exception as error:  # whatever Keras raises
                failed = error
                continue
            written = {k: v for k, v in node.items() if k not in ("pick", "rank", "dtype", "joined")} | {"args": args}
            self.used.update(names_in([args, node.get("kwargs", {})]))
            name = f"n{len(self.nodes)}"
            self.nodes.append(written)  # type: ignore[arg-type]
            self.called.append(called)
            outputs = list(result.values()) if isinstance(result, dict) else result
            many = isinstance(outputs, list | tuple)
            self.values |= {f"{name}:{k}": v for k, v in enumerate(outputs)} if many else {name: outputs}
            return
        if "pick" not in node and failed is not None:
            raise failed

    def choices(self, node: Node) -> Iterator[list[Any]]:
        if "pick" not in node:
            yield node.get("args", [])
            return
        names = [n for n, v in self.values.items() if self.fits(v, node)][::-1]
        for shift in range(TRIES if names else 0):
            picked = [{"ref": names[(p + shift * k) % len(names)]} for k, p in enumerate(node["pick"], start=1)]
            yield [picked] if node.get("joined") else picked

    def fits(self, value: Any, node: Node) -> bool:
        dtype = str(value.dtype.name if hasattr(value.dtype, "name") else value.dtype)
        wanted = node.get("dtype", "float")
        if "again" in node and "Embedding" in type(self.called[node["again"]]).__name__:
            wanted = "int"
        return node.get("rank") in (None, len(value.shape)) and dtype.startswith(wanted)

    def call(self, node: Node, args: list[Any]) -> tuple[Any, Any]:
        """What is called, and what it gives."""
        given = [self.argument(a) for a in args]
        kwargs = {k: self.argument(v) for k, v in node.get("kwargs", {}).items()}
        if "op" in node:
            called = operation(node["op"])(**node.get("config", {}))
        elif "again" in node:
            called = self.called[node["again"]]
        elif "model" in node:
            called = self.nested(node["model"], given)
        else:
            called = self.layer(node)
        return called, called(*given, **kwargs)

    def layer(self, node: Node) -> Any:
        layer = make_layer(self.package, node["layer"], node.get("config", {}), self.description.get("policy"))
        for wrapper in node.get("around", []):
            layer = make_layer(self.package, wrapper, {"layer": layer}, self.description.get("policy"))
        return layer

    def nested(self, description: Description, given: list[Any]) -> Any:
        """A model whose inputs are made for the values that it is called on; their kinds are written into it."""
        flat = given[0] if isinstance(given[0], list | tuple) else given
        description["inputs"] = [{"shape": list(v.shape[1:]), "dtype": "float32"} for v in flat]
        inner = Graph(self.package, description)
        return inner.model()

    def argument(self, value: Any) -> Any:
        match value:
            case {"ref": name}:
                return self.values[name]
            case {"array": array, "dtype": dtype}:
                return np.asarray(array, dtype)
            case {"slice": [start, stop, step]}:
                return slice(start, stop, step)
            case "...":
                return Ellipsis
            case dict():
                return {k: self.argument(v) for k, v in value.items()}
            case list():
                return [self.argument(v) for v in value]
            case _:
                return value

    def model(self) -> Any:
        """All nodes, then the model. The description is left as it was built."""
        for node in self.description["nodes"]:
            self.add(node)
        if not self.nodes:
            raise Refused("no node was taken")
        outputs = self.outputs()
        taken = self.description["inputs"]
        self.description["nodes"], self.description["outputs"] = self.nodes, outputs
        ends = [self.values[n] for n in outputs]
        starts = [self.values[f"x{i}"] for i in range(len(taken))]
        if self.description.get("structure") == "dict":
            return self.keras.Model(
                {f"x{i}": v for i, v in enumerate(starts)}, {f"y{i}": v for i, v in enumerate(ends)}
            )
        return self.keras.Model(starts if len(starts) > 1 else starts[0], ends if len(ends) > 1 else ends[0])

    def outputs(self) -> list[str]:
        wanted = self.description.get("outputs", "leaves")
        if wanted == "leaves":
            return [n for n in self.values if n not in self.used and not n.startswith("x")]
        return [n for n in self.values if not n.startswith("x")] if wanted == "all" else list(wanted)


def make_layer(package: str, class_name: str, config: dict[str, Any], policy: str | None) -> Any:
    """A layer of this class; raises what Keras raises. Layers among the options are made first."""
    cls = getattr(PACKAGES[package].layers, class_name, None)
    if cls is None:
        raise Refused(f"{package} has no layer {class_name}")

    def option(value: Any) -> Any:
        if isinstance(value, list):
            named = len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], dict)
            return make_layer(package, value[0], value[1], policy) if named else [option(v) for v in value]
        return {k: option(v) for k, v in value.items()} if isinstance(value, dict) else value

    options = {k: option(v) for k, v in config.items()}
    if package == "tf_keras" and "negative_slope" in options and class_name == "LeakyReLU":
        options["alpha"] = options.pop("negative_slope")
    return cls(**options, **({"dtype": policy} if policy and "dtype" not in options else {}))


def operation(name: str) -> Any:
    """The class of an operation node of Keras 3."""
    for module in OPERATIONS:
        found = getattr(importlib.import_module(f"keras.src.ops.{module}"), name, None)
        if isinstance(found, type):
            return found
    raise Refused(f"Keras has no operation {name}")


def sequential(description: Description) -> Any:
    """A Sequential of the nodes; the description is left as it was built."""
    graph = Graph(description["package"], description)
    layers = [graph.layer(node) for node in description["nodes"]]
    given = description["inputs"][0]
    start = graph.keras.Input(batch_shape=(given.get("batch"), *given["shape"]), dtype=given.get("dtype", "float32"))
    description["outputs"] = [f"n{len(layers) - 1}"]
    return graph.keras.Sequential([start, *layers])


def names_in(value: Any) -> Iterator[str]:
    """The values that arguments refer to."""
    if isinstance(value, dict):
        if "ref" in value:
            yield value["ref"]
        value = list(value.values())
    for item in value if isinstance(value, list | tuple) else []:
        yield from names_in(item)


# ---- numbers


def randomise(model: Any, rng: np.random.Generator) -> None:
    """Every weight random, none zero, of a size that keeps the signal alive; variances positive."""
    for variable in model.weights:
        dtype = np.dtype(variable.dtype if isinstance(variable.dtype, str) else variable.dtype.as_numpy_dtype)
        if dtype.kind != "f" and dtype.name != "bfloat16":
            continue
        shape = tuple(variable.shape)
        value = rng.uniform(0.3, 1.2, shape)
        if "variance" not in variable.name:
            value *= rng.choice([-1.0, 1.0], shape)
        if len(shape) > 1:
            value *= 1.5 / np.sqrt(max(1, int(np.prod(shape[:-1]))))
        variable.assign(value.astype(dtype))
    for layer in model._flatten_layers():
        if hasattr(layer, "finalize_state"):
            layer.finalize_state()


def random_input(given: Input, batch: int, rng: np.random.Generator) -> Array:
    """A batch for one input."""
    shape, dtype = (given.get("batch") or batch, *(n or 5 for n in given["shape"])), given.get("dtype", "float32")
    if dtype == "string":
        return rng.choice(given.get("words") or ["a", "b", "c"], shape)
    if dtype == "bool":
        return rng.random(shape) < 0.5
    if dtype.startswith(("int", "uint")):
        x = rng.integers(1 if given.get("zeros") else 0, given.get("high") or 5, shape).astype(dtype)
    else:
        x = rng.normal(size=shape).astype(dtype if dtype != "bfloat16" else "float32")
    if given.get("zeros") and x.ndim > 1:
        steps = shape[1]
        x[1 % len(x), :] = 0
        x[2 % len(x), : (steps + 1) // 2] = 0
        x[3 % len(x), steps // 2 :] = 0
        x[4 % len(x), 1 : max(2, steps - 1) : 2] = 0
    return x


def compute(model: Any, inputs: list[Array]) -> list[Array]:
    """The outputs of one call, flat; a dict in the order of its names."""
    names = getattr(model, "_named_inputs", None)
    given = [tf.constant(x) for x in inputs]
    out = model(
        dict(zip(names, given, strict=True)) if names else given if len(given) > 1 else given[0], training=False
    )
    return [as_array(v) for v in tf.nest.flatten(out)]


def as_array(value: Any) -> Array:
    if isinstance(value, tf.RaggedTensor | tf.SparseTensor):
        raise Refused("a ragged or sparse output")
    value = tf.convert_to_tensor(value)
    if value.dtype == tf.string:
        return np.asarray([s.decode() for s in value.numpy().ravel()]).reshape(value.shape)
    if value.dtype == tf.bfloat16:
        value = tf.cast(value, tf.float32)
    return np.asarray(value.numpy())


def scale_of(y: Array) -> float:
    finite = np.abs(y[np.isfinite(y)]) if y.dtype.kind == "f" else np.zeros(0)
    return max(1.0, float(finite.max(initial=0)))


def unsteadiness(model: Any, inputs: list[Array], outputs: list[Array], rng: np.random.Generator) -> float:
    """How far the outputs move, as a part of their scale, when the inputs move by a few roundings."""
    moved = [x * (1 + 1e-6 * rng.uniform(-1, 1, x.shape)).astype(x.dtype) if x.dtype.kind == "f" else x for x in inputs]
    worst = 0.0
    for y, z in zip(outputs, compute(model, moved), strict=True):
        if y.dtype.kind in "fiub" and y.size:
            with np.errstate(invalid="ignore", over="ignore"):
                d = np.abs(y.astype(float) - z.astype(float))
            d[(y == z) | (np.isnan(y.astype(float)) & np.isnan(z.astype(float)))] = 0
            worst = max(worst, float(np.nan_to_num(d, nan=np.inf).max()) / scale_of(y))
    return worst


def numbers(model: Any, given: list[Input], seed: int, calls: int, half: bool) -> tuple[dict[str, Array], float]:
    """Inputs and outputs under the names of golden.npz, and the tolerance at which they can be compared."""
    rng = np.random.default_rng(seed)
    batch = 5 if any(g.get("zeros") for g in given) else BATCH
    arrays: dict[str, Array] = {}
    for call in range(calls):
        prefix = f"call{call}." if call else ""
        inputs = [random_input(g, batch, rng) for g in given]
        outputs = compute(model, inputs)
        arrays |= {f"{prefix}in{i}": x for i, x in enumerate(inputs)}
        arrays |= {f"{prefix}out{i}": y for i, y in enumerate(outputs)}
    moved = 0.0 if calls > 1 else unsteadiness(model, inputs, outputs, rng)
    if moved > STEADY:
        raise Refused("unsteady: rounding moves its outputs")
    return arrays, max(3e-2 if half else 1e-5, 10 * moved)


def refuse_nan_in_pools(graph: Graph, model: Any, inputs: list[Array]) -> None:
    """What the maximum of a NaN is hangs on the kernel: TensorFlow's own differ."""
    pooled = [n for node in graph.nodes if "MaxPool" in node.get("layer", "") for n in names_in(node["args"])]
    if pooled:
        before = graph.keras.Model(model.inputs, [graph.values[n] for n in pooled])
        if any(np.isnan(y).any() for y in compute(before, inputs) if y.dtype.kind == "f"):
            raise Refused("the maximum of NaN")


# ---- jobs


def build(job: Description, folder: Path) -> list[str]:
    """Build, save in all containers, compute; the case folders."""
    package = job["package"]
    graph = None if job.get("sequential") else Graph(package, job)
    model = sequential(job) if graph is None else graph.model()
    names = [f"x{i}" for i in range(len(job["inputs"]))] if job.get("structure") == "dict" else None
    model._named_inputs = names
    randomise(model, np.random.default_rng(job["seed"]))
    reset(model)
    text = model.to_json()
    half = any(h in text for h in HALF)
    calls = 2 if '"stateful": true' in text else 1
    arrays, tolerance = numbers(model, job["inputs"], job["seed"], calls, half)
    if graph is not None:
        refuse_nan_in_pools(graph, model, [a for n, a in arrays.items() if n.startswith("in")])
    reset(model)
    made = []
    for container in job["containers"]:
        place = folder / job["id"] / container
        place.mkdir(parents=True)
        try:
            file, config = save(model, container, place)
        except Exception as error:  # this Keras cannot save it there
            if len(job["containers"]) == 1:
                raise Refused(f"not saved: {error}") from error
            continue
        np.savez(place / "golden.npz", **arrays)
        outputs: Any = [f"y{i}" for i in range(len(job["outputs"]))] if names else "list"
        case = {
            "id": f"{job['id']}/{container}",
            "writer": {"package": package, "version": PACKAGES[package].__version__, "backend": "tensorflow"},
            "family": job["kind"],
            "layers": job["classes"],
            "container": container,
            "model": file,
            "config": config,
            "options": {"writer": f"keras-{keras.__version__}"} if config and package == "keras" else {},
            "inputs": names or "list",
            "outputs": outputs,
            "calls": calls,
            "expect": "equal",
            "tolerance": tolerance,
            "tests": f"{job['kind']} {job['id']}",
        }
        (place / "case.json").write_text(json.dumps(case))
        (place / "description.json").write_text(json.dumps(job))
        made.append(str(place))
    return made


def reset(model: Any) -> None:
    """States of stateful layers as they are before the first call."""
    for layer in model._flatten_layers():
        again = getattr(layer, "reset_state", getattr(layer, "reset_states", None))
        if getattr(layer, "stateful", False) and again is not None and not hasattr(layer, "layers"):
            again()


def save(model: Any, container: str, place: Path) -> tuple[str, str | None]:
    """The file of the model, and of its architecture where that is apart."""
    if container == "weights.h5":
        model.save_weights(str(place / "model.weights.h5"))
        (place / "arch.json").write_text(model.to_json())
        return "model.weights.h5", "arch.json"
    file = f"model.{container}"
    model.save(str(place / file))
    return file, None


def load(job: Mutant, folder: Path) -> list[str]:
    """Read the changed architecture and the weights of the case that it was made of, and compute."""
    source, package = Path(job["folder"]), PACKAGES[job["package"]]
    text = json.dumps(job["document"])
    model = package.models.model_from_json(text)
    model._named_inputs = None
    model.load_weights(str(source / "model.weights.h5"))
    half = any(h in text for h in HALF)
    case = json.loads((source / "case.json").read_text())
    inputs = [
        as_given(v, job["inputs"][i] if i < len(job["inputs"]) else {})
        for i, v in enumerate(tf.nest.flatten(model.inputs))
    ]
    calls = 2 if any('"stateful": true' in json.dumps(d) for d in (job["document"], case)) else 1
    arrays, tolerance = numbers(model, inputs, job["seed"], calls, half)
    place = folder / job["id"]
    place.mkdir(parents=True)
    np.savez(place / "golden.npz", **arrays)
    (place / "arch.json").write_text(text)
    case |= {
        "id": job["id"],
        "family": "mutant",
        "model": str(source / "model.weights.h5"),
        "config": "arch.json",
        "calls": calls,
        "tolerance": tolerance,
        "tests": job["changed"],
    }
    (place / "case.json").write_text(json.dumps(case))
    return [str(place)]


def as_given(value: Any, before: Input) -> Input:
    """The input as the changed model has it, with what is known of its numbers."""
    dtype = value.dtype if isinstance(value.dtype, str) else value.dtype.name
    return {**before, "shape": list(value.shape[1:]), "batch": value.shape[0], "dtype": dtype}


def build_and_load(job: Any, folder: Path) -> list[str]:
    """A mutant that was written down: first the model that it was made of."""
    (made,) = build(job | {"id": f"{job['id']}-before", "containers": ["weights.h5"]}, folder)
    return load(job | {"folder": made}, folder)


def outcome(job: Any, folder: Path) -> dict[str, Any]:
    run = build if "document" not in job else load if "folder" in job else build_and_load
    try:
        return {"id": job["id"], "folders": run(job, folder)}
    except Exception as error:  # whatever Keras raises
        text = " ".join(str(error).split())[:300]
        return {
            "id": job["id"],
            "folders": [],
            "why": text if isinstance(error, Refused) else f"{type(error).__name__}: {text}",
        }


def main(jobs_file: str, results_file: str, folder: str, first: str = "0") -> None:
    warnings.filterwarnings("ignore")
    logging.get_absl_handler().setLevel("ERROR")
    tf.get_logger().setLevel("ERROR")
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    gru_lstm_utils.function_register = lambda *a, **k: None  # a second, GPU form of each LSTM, never run here
    jobs = json.loads(Path(jobs_file).read_text())
    gc.collect()
    gc.freeze()  # what clear_session collects is then only the last model
    with Path(results_file).open("a") as results:
        for job in jobs[int(first) :]:
            for package in PACKAGES.values():
                package.backend.clear_session()
            results.write(json.dumps(outcome(job, Path(folder))) + "\n")
            results.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
