"""The models that the benchmark converts, written with h5py alone, as tf.keras 2.15 and Keras 3.15 lay them out.

Processes of their own write them: the memory that h5py and numpy take would count as that of every process started
from here.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import h5py

Shape = tuple[int, ...]
VOCABULARY = 50_000
BLOCK = 1 << 20  # elements drawn once and written again and again


# the names of classes of more than one word
WORDS = {
    "BatchNormalization": "batch_normalization",
    "MaxPooling2D": "max_pooling2d",
    "GlobalAveragePooling2D": "global_average_pooling2d",
}


class Layer:
    """A layer of a chain: `variables` are (path in Keras 3, name in Keras 2, shape)."""

    def __init__(self, class_name: str, config: dict[str, Any], variables: list[tuple[str, str, Shape]]) -> None:
        self.class_name, self.config, self.variables = class_name, config, variables


def entry(class_name: str, config: dict[str, Any]) -> dict[str, Any]:
    return {"module": "keras.layers", "class_name": class_name, "config": config, "registered_name": None}


def dense(inputs: int, units: int) -> Layer:
    config = {"units": units, "activation": "linear", "use_bias": True}
    return Layer("Dense", config, [("vars/0", "kernel", (inputs, units)), ("vars/1", "bias", (units,))])


def embedding(units: int, vocabulary: int = VOCABULARY) -> Layer:
    config = {"input_dim": vocabulary, "output_dim": units, "mask_zero": False}
    return Layer("Embedding", config, [("vars/0", "embeddings", (vocabulary, units))])


def masking() -> Layer:
    return Layer("Masking", {"mask_value": 0.0}, [])


def conv2d(inputs: int, filters: int) -> Layer:
    config = {"filters": filters, "kernel_size": [3, 3], "padding": "same", "activation": "linear", "use_bias": False}
    return Layer("Conv2D", config, [("vars/0", "kernel", (3, 3, inputs, filters))])


def batch_normalization(channels: int) -> Layer:
    names = ["gamma", "beta", "moving_mean", "moving_variance"]
    return Layer("BatchNormalization", {"axis": -1}, [(f"vars/{i}", n, (channels,)) for i, n in enumerate(names)])


def conv1d(inputs: int, filters: int) -> Layer:
    config = {"filters": filters, "kernel_size": [5], "strides": [1], "padding": "same", "activation": "relu"}
    return Layer("Conv1D", config, [("vars/0", "kernel", (5, inputs, filters)), ("vars/1", "bias", (filters,))])


def lstm(inputs: int, units: int, place: str = "cell/") -> list[tuple[str, str, Shape]]:
    shapes = {"kernel": (inputs, 4 * units), "recurrent_kernel": (units, 4 * units), "bias": (4 * units,)}
    return [(f"{place}vars/{i}", n, s) for i, (n, s) in enumerate(shapes.items())]


def gru(inputs: int, units: int, place: str = "cell/") -> list[tuple[str, str, Shape]]:
    """With its reset gate before the product: one bias."""
    return [(path, name, (*shape[:-1], 3 * units)) for path, name, shape in lstm(inputs, units, place)]


def bidirectional(class_name: str, inputs: int, units: int, **options: Any) -> Layer:
    own = {"name": class_name.lower(), "trainable": True, "dtype": "float32", "units": units}
    own |= {"return_sequences": True, "activation": "tanh", "recurrent_activation": "sigmoid"}
    config = {"layer": entry(class_name, {**own, **options}), "merge_mode": "concat"}
    variables = lstm if class_name == "LSTM" else gru
    halves = [(h, v) for h in ("forward", "backward") for v in variables(inputs, units, f"{h}_layer/cell/")]
    return Layer("Bidirectional", config, [(path, f"{half}_{name}", shape) for half, (path, name, shape) in halves])


def stack(class_name: str = "LSTM", units: int = 64, layers: int = 2, **options: Any) -> list[Layer]:
    """Bidirectional layers, one on the other."""
    return [bidirectional(class_name, units if i == 0 else 2 * units, units, **options) for i in range(layers)]


def images(widths: Shape = (32, 64, 128)) -> list[Layer]:
    """Convolutions, each normalised and pooled; then the mean of each channel and a Dense."""
    layers = []
    for inputs, filters in zip((3, *widths), widths, strict=False):
        relu = Layer("Activation", {"activation": "relu"}, [])
        pool = Layer("MaxPooling2D", {"pool_size": [2, 2]}, [])
        layers += [conv2d(inputs, filters), batch_normalization(filters), relu, pool]
    return [*layers, Layer("GlobalAveragePooling2D", {}, []), dense(widths[-1], 10)]


def mixed(units: int, layers: int) -> list[Layer]:
    """An embedding, a convolution and a stack of bidirectional LSTMs, and a Dense."""
    return [embedding(units), conv1d(units, units), *stack(units=units, layers=layers), dense(2 * units, 10)]


def chain(count: int) -> list[Layer]:
    """Many small layers."""
    return [dense(8, 8) for _ in range(count)]


def bytes_of(layers: list[Layer]) -> int:
    return sum(4 * math.prod(s) for layer in layers for _, _, s in layer.variables)


def largest(layers: list[Layer]) -> int:
    """Bytes of the largest tensor: no two arrays make one."""
    return max(4 * math.prod(s) for layer in layers for _, _, s in layer.variables)


def write(path: Path, layers: list[Layer]) -> None:
    """A full `.h5` of tf.keras 2.15, or a `.keras` of Keras 3.15, by the path's suffix."""
    how = _write_keras if path.suffix == ".keras" else _write_h5
    process = multiprocessing.get_context("spawn").Process(target=how, args=(path, layers))
    process.start()
    process.join()
    if process.exitcode != 0:
        raise RuntimeError(f"{path} was not written")


def _named(layers: list[Layer]) -> Iterator[tuple[str, Layer]]:
    """Each layer with its name, which is also where Keras 3 stores it."""
    count: dict[str, int] = {}
    for layer in layers:
        n = count[layer.class_name] = count.get(layer.class_name, -1) + 1
        yield WORDS.get(layer.class_name, layer.class_name.lower()) + (f"_{n}" if n else ""), layer


def _config(layers: list[Layer], shape: str) -> dict[str, Any]:
    """`shape` is what the input layer calls its shape."""
    first = next(layer for layer in layers if layer.variables)
    features = first.variables[0][2][-2]
    start = {"Embedding": [None], "Dense": [features], "Conv2D": [None, None, features]}.get(
        first.class_name, [None, features]
    )
    dtype = "int32" if first.class_name == "Embedding" else "float32"
    entries = [entry("InputLayer", {"name": "x", "dtype": dtype, shape: [None, *start]})]
    for name, layer in _named(layers):
        config = {"name": name, "trainable": True, "dtype": "float32", **layer.config}
        entries.append(entry(layer.class_name, config))
    return {**entry("Sequential", {"name": "model", "layers": entries}), "module": "keras"}


def _write_h5(path: Path, layers: list[Layer]) -> None:
    import h5py

    with h5py.File(path, "w") as file:
        file.attrs["model_config"] = json.dumps(_config(layers, "batch_input_shape"))
        names = []
        weights = file.create_group("model_weights")
        for at in (file, weights):
            at.attrs["keras_version"], at.attrs["backend"] = "2.15.0", "tensorflow"
        for name, layer in _named(layers):
            group = weights.create_group(name)
            stored = [f"{name}/{variable}:0" for _, variable, _ in layer.variables]
            for weight, (_, _, shape) in zip(stored, layer.variables, strict=True):
                _fill(group, weight, shape)
            group.attrs["weight_names"] = stored
            names.append(name)
        pieces = [names[i : i + 3000] for i in range(0, len(names), 3000)]  # an attribute has 64 KB at most
        for i, piece in enumerate(pieces):
            weights.attrs[f"layer_names{i}" if len(pieces) > 1 else "layer_names"] = piece


def _write_keras(path: Path, layers: list[Layer]) -> None:
    import h5py

    weights = path.with_suffix(".weights")
    with h5py.File(weights, "w") as file:
        for name, layer in _named(layers):
            for place, _, shape in layer.variables:
                _fill(file, f"layers/{name}/{place}", shape)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
        archive.writestr("metadata.json", json.dumps({"keras_version": "3.15.1", "date_saved": "2026-01-01@00:00:00"}))
        archive.writestr("config.json", json.dumps(_config(layers, "batch_shape")))
        archive.write(weights, "model.weights.h5")
    weights.unlink()


def _fill(group: h5py.Group, name: str, shape: Shape) -> None:
    import numpy as np

    dataset = group.create_dataset(name, shape, "f4")
    flat = math.prod(shape)
    drawn = np.random.default_rng(flat).standard_normal(min(flat, BLOCK), dtype="f4")
    rows = max(1, BLOCK * shape[0] // flat)
    for start in range(0, shape[0], rows):
        part = (min(rows, shape[0] - start), *shape[1:])
        dataset[start : start + rows] = np.resize(drawn, math.prod(part)).reshape(part)


def small(path: Path) -> None:
    """A model of 600 KB: embedding, bidirectional LSTM, Dense."""
    write(path, [embedding(32, 1500), bidirectional("LSTM", 32, 64), bidirectional("LSTM", 128, 32), dense(64, 4)])
