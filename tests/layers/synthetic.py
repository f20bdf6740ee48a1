"""Models as if read from a file, for any declared layer: a config, and random arrays for all that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from h5port.archive import Archive, StoredArray
from h5port.errors import H5PortError
from h5port.layers.base import Layer, decode, need_of
from h5port.layers.batch_normalization import BatchNormalization
from h5port.layers.catalogue import LAYERS, Lowered, lower_model
from h5port.layers.cells import Cell, StackedRNNCells
from h5port.layers.conv_recurrent import ConvLSTM
from h5port.layers.convolution import Conv1D, Convolution
from h5port.layers.core import Embedding
from h5port.layers.multi_head import HeadsAttention
from h5port.layers.normalization import LayerNormalization
from h5port.layers.recurrent import Recurrent
from h5port.layers.shaped_activations import ParametricSoftplus, PReLU, SReLU
from h5port.layers.spatial import numbers
from h5port.layers.text import TextVectorization
from h5port.layers.transposed import Transposed
from h5port.layers.wrappers import TimeDistributed
from h5port.schema.bind import snake_case
from h5port.schema.graph import LayerConfig, Model
from h5port.schema.needs import Need, Variable
from h5port.schema.parse import parse_model
from h5port.schema.writer import Writer, find_writer

Array = np.ndarray[Any, np.dtype[Any]]
Shape = tuple[int | None, ...]
Entry = tuple[str, dict[str, Any]]  # class name and options, among which may be entries and lists of them

KERAS3, KERAS2, KERAS1 = "keras-3.15.1", "keras-2.2.4", "keras-1.2.2"


@dataclass(frozen=True)
class Synthetic:
    archive: Archive
    model: Model
    writer: Writer
    arrays: dict[str, Array]

    def lower(self) -> Lowered:
        """The program and its recipes. Raises H5PortError with all problems."""
        lowered = lower_model(self.archive, self.model, self.writer)
        if lowered.problems:
            raise H5PortError(lowered.problems)
        return lowered


def synthetic(
    *entries: Entry,
    inputs: tuple[Shape, ...] = ((None, 7, 4),),
    writer: str = KERAS3,
    backend: str = "tensorflow",
    dtype: str = "float32",
    last: dict[str, Any] | None = None,
    given: str | None = None,
    weights: tuple[tuple[int, ...], ...] | None = None,
) -> Synthetic:
    """A chain of layers with random weights; the first layer takes all inputs, given by their shapes with the batch.

    Keras 3 stores by paths, older ones by names.

    last     further keys for the entry of the last layer
    given    the type of the inputs, if it is not the model's
    weights  the shapes of all variables, where the declarations do not tell them
    """
    who = find_writer(Archive(Path("synthetic"), "none"), {}, writer=writer, source_backend=backend)
    config = document(entries, inputs, dtype, given or dtype, keras3=who.family == "keras3")
    config["config"]["layers"][-1] |= last or {}
    model = parse_model(config, who)
    rng = np.random.default_rng(0)
    arrays: dict[str, Array] = {}
    attributes: dict[str, dict[str, Any]] = {"": {"layer_names": []}}
    count: dict[str, int] = {}
    x, told = inputs[0], iter(weights or ())
    for layer_config in model.layers.values():
        try:
            layer = decode(layer_config, who)
            need = need_of(layer_config, who)
            needed = list(stored_variables(layer_config, need, x, who, told if weights else None))
        except H5PortError:  # lowering reports it
            continue
        word = snake_case(need.class_name)
        count[word] = count.get(word, -1) + 1
        group = f"layers/{word}_{count[word]}" if count[word] else f"layers/{word}"
        made: dict[str, Array] = {}  # by name: a wrapper may list a variable of the wrapped layer, too
        for stored in needed:
            path = f"{group}/{stored.place}" if who.family == "keras3" else f"{layer_config.name}/{stored.name}"
            if stored.name not in made:
                made[stored.name] = random_array(rng, stored.variable, stored.shape, dtype)
            arrays[path] = made[stored.name]
        attributes[""]["layer_names"].append(layer_config.name)
        attributes[layer_config.name] = {"weight_names": list(made)}
        x = shape_after(layer, x)
    archive = Archive(
        Path("synthetic"),
        "keras-zip" if who.family == "keras3" else "h5-full",
        layout="paths" if who.family == "keras3" else "named",
        arrays={p: StoredArray(path=p, shape=a.shape, dtype=a.dtype.name) for p, a in arrays.items()},
        attributes={} if who.family == "keras3" else attributes,
        read=arrays.__getitem__,
    )
    return Synthetic(archive, model, who, arrays)


# ---- the config


def document(
    entries: tuple[Entry, ...], inputs: tuple[Shape, ...], dtype: str, given: str, *, keras3: bool
) -> dict[str, Any]:
    """A Sequential model of one input, a functional one of several; `given` is the type of the inputs."""
    given = "int32" if entries[0][0] == "Embedding" else given
    layers = [
        layer_entry(("InputLayer", {"batch_shape": list(shape)}), f"x{i}", given) for i, shape in enumerate(inputs)
    ]
    layers += [layer_entry(entry, f"{snake_case(entry[0])}_at_{i}", dtype) for i, entry in enumerate(entries)]
    config: dict[str, Any] = {"name": "synthetic", "layers": layers}
    if len(inputs) == 1:
        return {"class_name": "Sequential", "config": config}
    before = [layer["name"] for layer in layers[: len(inputs)]]
    for layer in layers[: len(inputs)]:
        layer["inbound_nodes"] = []
    for layer in layers[len(inputs) :]:
        layer["inbound_nodes"] = [
            (keras3_node if keras3 else keras2_node)(before, LAYERS[layer["class_name"]].arguments)
        ]
        before = [layer["name"]]
    config |= {"input_layers": [[f"x{i}", 0, 0] for i in range(len(inputs))], "output_layers": [[before[0], 0, 0]]}
    return {"class_name": "Functional" if keras3 else "Model", "config": config}


def layer_entry(entry: Entry, name: str, dtype: str) -> dict[str, Any]:
    class_name, options = entry
    inner = {key: inner_entries(value, dtype) for key, value in options.items()}
    config = {"name": name, "trainable": True, "dtype": dtype, **inner}
    return {"module": "keras.layers", "class_name": class_name, "config": config, "name": name}


def inner_entries(value: Any, dtype: str) -> Any:
    if isinstance(value, tuple):
        return layer_entry(value, snake_case(value[0]), dtype)
    return [inner_entries(v, dtype) for v in value] if isinstance(value, list) else value


def keras3_node(before: list[str], arguments: tuple[str, ...]) -> dict[str, Any]:
    """One list of all tensors, or a tensor for each argument."""
    tensors = [{"class_name": "__keras_tensor__", "config": {"keras_history": [name, 0, 0]}} for name in before]
    return {"args": tensors if len(arguments) > 1 or len(tensors) == 1 else [tensors], "kwargs": {}}


def keras2_node(before: list[str], arguments: tuple[str, ...]) -> list[Any]:
    if len(arguments) == 1:
        return [[name, 0, 0, {}] for name in before]
    kwargs = {a: [name, 0, 0] for a, name in zip(arguments[1:], before[1:], strict=False)}
    return [[before[0], 0, 0, kwargs]]


# ---- the arrays


def writer_of(name: str, newest: str = KERAS3) -> str:
    """Who wrote the class: `newest`, or the last Keras that has it."""
    last = {"keras0": KERAS1, "keras1": KERAS1, "keras2": KERAS2, "tf.keras": KERAS2}
    return last.get(LAYERS[name].last, newest)


@dataclass(frozen=True)
class StoredVariable:
    """A variable, its name in a store by names, and its place below its layer in a store by paths."""

    variable: Variable
    shape: tuple[int, ...]
    name: str
    place: str


def stored_variables(
    config: LayerConfig,
    need: Need,
    x: Shape,
    writer: Writer,
    told: Iterator[tuple[int, ...]] | None = None,
    names: tuple[str, ...] = (),
    place: str = "",
) -> Iterator[StoredVariable]:
    """All variables of a layer and of what it wraps, in the order in which Keras creates them."""
    if need.opaque:  # lowering reports it
        return
    layer, names = decode(config, writer), (*names, need.name)
    if isinstance(layer, HeadsAttention):
        assert told is not None
        for child in need.children:
            for i, variable in enumerate(child.variables):
                stored_as = f"{'/'.join((*names, child.name))}/{variable.name}:0"
                yield StoredVariable(variable, next(told), stored_as, f"{place}{child.attribute}/vars/{i}")
        return
    for i, variable in enumerate(need.variables):
        shape = shape_of(layer, variable, x) if told is None else next(told)
        owner = (*names, variable.of) if variable.of else names
        yield StoredVariable(variable, shape, f"{'/'.join(owner)}/{variable.name}:0", f"{place}vars/{i}")
    inner = [config] if isinstance(layer, Recurrent | ConvLSTM) else [c for _, _, c in layer.children()]
    children = () if isinstance(layer, TextVectorization) else need.children  # Keras' second copy is left out here
    for child, child_config in zip(children, inner, strict=not isinstance(layer, Recurrent | ConvLSTM)):
        below = (*x[:1], *x[2:]) if isinstance(layer, TimeDistributed) else x
        yield from stored_variables(child_config, child, below, writer, told, names, f"{place}{child.attribute}/")
        if isinstance(layer, StackedRNNCells):
            x = (*x[:-1], decode(child_config, writer).units)


def shape_of(layer: Layer, variable: Variable, x: Shape) -> tuple[int, ...]:
    """The shape of a variable: what the declaration leaves open is told by the input's shape."""
    open_sizes: Shape
    match layer:
        case Cell() if variable.shape is None:
            wide = len(layer.kind.gates) * layer.units
            open_sizes = (2 * wide,) if layer.is_cudnn else (2, wide) if layer.resets_after else (wide,)
        case PReLU() | SReLU() | ParametricSoftplus():
            open_sizes = tuple(1 if a in (layer.shared_axes or []) else x[a] for a in range(1, len(x)))
        case LayerNormalization() | BatchNormalization():
            open_sizes = tuple(x[a] for a in ([layer.axis] if isinstance(layer.axis, int) else layer.axis))
        case Conv1D() if variable.name == "W":  # Keras 1 from 1.1 on: (taps, 1, in, out)
            open_sizes = (*numbers(layer.kernel_size, 1, "kernel_size"), 1, x[-1], layer.filters)
        case Convolution() | Transposed():
            channels = x[1 if layer.data_format == "channels_first" else -1] or 0
            open_sizes = tuple(channels // layer.groups if n is None else n for n in variable.shape or ())
        case _:
            open_sizes = tuple(x[-1] if n is None else n for n in variable.shape or ())
    return tuple(int(n) for n in open_sizes if n is not None)


def shape_after(layer: Layer, x: Shape) -> Shape:
    """The shape that the next layer of a chain is called on, as far as these tests need it."""
    if isinstance(layer, Embedding):
        return (*x, layer.output_dim)
    return (*x[:-1], layer.units) if isinstance(layer, Recurrent) else x


def random_array(rng: np.random.Generator, variable: Variable, shape: tuple[int, ...], dtype: str) -> Array:
    """No zeros; what is a variance or a standard deviation is positive."""
    positive = variable.name.endswith(("variance", "std", "stddev"))
    signs = 1 if positive else rng.choice([-1, 1], shape)
    return np.asarray(signs * rng.uniform(0.1, 1, shape), dtype)
