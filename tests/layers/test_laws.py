"""Laws of all layer declarations: no stored element is lost or used twice, and the module is what the program says."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache, cached_property
from typing import Any

import msgspec
import numpy as np
import pytest
from synthetic import KERAS1, KERAS2, KERAS3, Array, Entry, Shape, Synthetic, synthetic, writer_of

from h5port.layers.catalogue import LAYERS, Lowered
from h5port.module.program import Program, TensorSpec, names_in
from h5port.output import model_py
from h5port.transform.recipe import read_from

# Why a declared class has no `examples`; `written_cases` has them all.
WITHOUT_EXAMPLES = {
    **dict.fromkeys(
        ("TFOpLambda", "SlicingOpLambda", "TensorFlowOpLayer"), "a function, in tests/ops/test_tensorflow.py"
    ),
    "InputLayer": "it is in every model",
    "LSTMCell": "in an RNN",
    "GRUCell": "in an RNN",
    "SimpleRNNCell": "in an RNN",
    "StackedRNNCells": "in an RNN",
    "RNN": "wraps a cell",
    "Bidirectional": "wraps a recurrent layer",
    "TimeDistributed": "wraps a layer",
    "SpectralNormalization": "wraps a layer",
    "Merge": "its mode decides what it takes",
}

# Who wrote it, where the stored arrays differ by writer; otherwise the last Keras that has the class.
WRITERS: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("LSTM", "GRU", "SimpleRNN", "Dense", "Embedding", "PReLU"), (KERAS3, KERAS1)),
    **dict.fromkeys(("Conv1D", "Conv2D", "Conv3D"), (KERAS3, KERAS1)),
    **dict.fromkeys(("Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose"), (KERAS3, KERAS2)),
    **dict.fromkeys(("DepthwiseConv1D", "DepthwiseConv2D"), (KERAS3, KERAS2)),
    "BatchNormalization": (KERAS3, KERAS1),
}
NOT_IN_KERAS1 = {"scale", "center", "groups", *(f"use_bias of {name}" for name in ("LSTM", "GRU", "SimpleRNN"))}


@dataclass(frozen=True, eq=False)
class Case:
    """A chain of layers under a writer. Each is lowered once for all laws."""

    entries: tuple[Entry, ...]
    inputs: tuple[Shape, ...] = ((None, 7, 4),)
    writer: str = KERAS3
    backend: str = "tensorflow"
    dtype: str = "float32"
    given: str | None = None
    weights: tuple[tuple[int, ...], ...] | None = None

    def __str__(self) -> str:
        chain = "-".join(f"{name}({_words(options)})" for name, options in self.entries)
        return f"{self.writer}-{chain}" + (f"-{self.dtype}" if self.dtype != "float32" else "")

    @cached_property
    def model(self) -> Synthetic:
        return synthetic(
            *self.entries,
            inputs=self.inputs,
            writer=self.writer,
            backend=self.backend,
            dtype=self.dtype,
            given=self.given,
            weights=self.weights,
        )

    @cached_property
    def lowered(self) -> Lowered:
        return self.model.lower()

    def tensors(self, arrays: dict[str, Array]) -> dict[str, Array]:
        """What the recipes make of these arrays."""
        return {name: recipe.apply(read_from(arrays)) for name, recipe in self.lowered.recipes.items()}


def _words(options: dict[str, Any]) -> str:
    return ",".join(f"{k}={v[0] if isinstance(v, tuple) else v}" for k, v in options.items())


def declared_cases() -> list[Case]:
    """Every example of every declaration."""
    found = []
    for name, cls in LAYERS.items():
        for example in cls.examples:
            options = example.options
            newer = NOT_IN_KERAS1 & {*options, *(f"{option} of {name}" for option in options)}
            writers = [w for w in WRITERS.get(name, (writer_of(name),)) if not (newer and w == KERAS1)]
            inputs = tuple((None, *shape) for shape in example.on)
            found += [
                Case(((name, options),), inputs, w, given=example.dtype, weights=example.weights) for w in writers
            ]
    return found


def with_options(entry: Entry, **options: Any) -> Entry:
    return (entry[0], {**entry[1], **options})


MASKING: Entry = ("Masking", {})
LSTM: Entry = ("LSTM", {"units": 5, "recurrent_activation": "sigmoid"})
GRU: Entry = ("GRU", {"units": 5, "recurrent_activation": "sigmoid", "reset_after": True, "return_sequences": True})
SHIM: Entry = ("GRU", {"units": 5, "reset_after": False, "return_sequences": True})
SIMPLE: Entry = ("SimpleRNN", {"units": 5, "return_sequences": True})
BACKWARD_LSTM = with_options(LSTM, go_backwards=True, return_state=True)
EMBEDDING: Entry = ("Embedding", {"input_dim": 9, "output_dim": 4, "mask_zero": True})
CELLS: list[Any] = [("LSTMCell", {"units": 5}), ("GRUCell", {"units": 6}), ("SimpleRNNCell", {"units": 3})]
STACK: Entry = ("StackedRNNCells", {"cells": CELLS})


def bidirectional(layer: Entry, **options: Any) -> Entry:
    return ("Bidirectional", {"layer": layer, **options})


def written_cases() -> list[Case]:
    """Wrappers, cells, masked and stateful recurrences, and what the examples of old layers leave out."""
    recurrent = (LSTM, GRU, SHIM, SIMPLE)
    chains: list[tuple[Entry, ...]] = [
        *((bidirectional(inner),) for inner in recurrent),
        (MASKING, bidirectional(with_options(LSTM, return_state=True))),
        (MASKING, bidirectional(with_options(LSTM, return_state=True), backward_layer=BACKWARD_LSTM)),
        *((MASKING, bidirectional(inner)) for inner in (SHIM, GRU)),
        *((MASKING, with_options(inner, return_state=state)) for inner in recurrent for state in (False, True)),
        *((with_options(inner, return_sequences=True), inner) for inner in (LSTM, SHIM)),
        *((("RNN", {"cell": cell, "return_state": True}),) for cell in CELLS),
        (MASKING, ("RNN", {"cell": STACK, "return_sequences": True})),
        (bidirectional(("RNN", {"cell": STACK})),),
        (("TimeDistributed", {"layer": ("Dense", {"units": 5})}),),
        (("SpectralNormalization", {"layer": ("Dense", {"units": 5})}),),
    ]
    conv_lstm: Entry = ("ConvLSTM2D", {"filters": 2, "kernel_size": 2, "padding": "same", "return_sequences": True})
    cells = ((2, 2, 3, 8), (2, 2, 2, 8), (8,))
    modes = ("sum", "mul", "ave", None)
    merges = ("sum", "mul", "ave", "max", "concat", "dot", "cos")
    return [
        *(Case(chain, writer=w) for chain in chains for w in (KERAS3, KERAS2)),
        *(Case((bidirectional(inner, merge_mode=mode),)) for inner in recurrent for mode in modes),
        *(Case((with_options(e, stateful=True),), ((3, 7, 4),), w) for e in (LSTM, SHIM) for w in (KERAS3, KERAS2)),
        *(Case((with_options(e, time_major=True),), ((7, None, 4),), "tf.keras-2.8") for e in (LSTM, SIMPLE)),
        Case((("TimeDistributed", {"layer": LSTM}),), ((None, 6, 7, 4),)),
        Case((("TimeDistributed", {"layer": bidirectional(LSTM)}),), ((None, 6, 7, 4),)),
        Case((EMBEDDING, LSTM), ((None, 7),)),
        Case((EMBEDDING, ("GlobalAveragePooling1D", {})), ((None, 7),), KERAS2),
        Case((EMBEDDING, SHIM, ("Dense", {"units": 3, "activation": "softmax"})), ((None, 7),), KERAS2),
        Case((LSTM, ("BatchNormalization", {}), ("Dense", {"units": 2})), dtype="float64"),
        Case((("LayerNormalization", {"rms_scaling": True}),)),
        Case((("LayerNormalization", {"axis": 1, "rms_scaling": True}),)),
        Case((bidirectional(conv_lstm),), ((None, 4, 7, 6, 3),), weights=cells * 2),
        Case((with_options(conv_lstm, stateful=True),), ((3, 4, 7, 6, 3),), weights=cells),
        Case((("LayerNormalization", {"axis": [2, 1]}),), writer="tf.keras-2.8"),
        Case((("BatchNormalization", {"renorm": True}),), writer="tf.keras-2.8"),
        *(Case((("BatchNormalization", {"mode": mode}),), ((None, 4),), KERAS1) for mode in (1, 2)),
        *(Case(((n, {"units": 5, "implementation": 0}),), writer=KERAS1) for n in ("LSTM", "GRU", "SimpleRNN")),
        Case((("Conv1D", {"filters": 5, "kernel_size": [3]}),), writer=KERAS1, backend="theano"),
        *keras1_cases(),
        *(Case((("Merge", {"mode": mode}),), ((None, 4), (None, 4)), KERAS1) for mode in merges),
    ]


def keras1_cases() -> list[Case]:
    """Kernels as `dim_ordering` has the images; a transposed convolution is told its output's shape."""
    window = {"filters": 5, "kernel_size": [3, 1]}
    first = {"data_format": "channels_first"}
    image, turned = ((None, 6, 7, 4),), ((None, 4, 6, 7),)
    back = ("Conv2DTranspose", {**window, "strides": [2, 1], "padding": "same", "output_shape": [None, 12, 7, 5]})
    forth = ("Conv2DTranspose", {**window, **first, "output_shape": [None, 5, 8, 7]})
    separable = ("SeparableConv2D", {**window, "depth_multiplier": 2})
    local = ("LocallyConnected2D", window)
    return [
        Case((back,), image, KERAS1, weights=((3, 1, 4, 5), (5,))),
        Case((forth,), turned, KERAS1, "theano", weights=((5, 4, 3, 1), (5,))),
        Case((separable,), image, KERAS1, weights=((3, 1, 4, 2), (1, 1, 8, 5), (5,))),
        Case((with_options(separable, **first),), turned, KERAS1, weights=((2, 4, 3, 1), (5, 8, 1, 1), (5,))),
        Case((with_options(local, **first),), turned, KERAS1, weights=((28, 12, 5), (4, 7, 5))),
    ]


CASES = declared_cases() + written_cases()
every_case = pytest.mark.parametrize("case", CASES, ids=str)


def tensors_of(program: Program, prefix: str = "") -> dict[str, TensorSpec]:
    """Every tensor of the modules of a program and of the programs in it."""
    found: dict[str, TensorSpec] = {}
    for name, spec in program.modules.items():
        found |= {f"{prefix}{name}.{tensor}": of for tensor, of in spec.tensors.items()}
        if spec.program is not None:
            found |= tensors_of(spec.program, f"{prefix}{name}.")
    return found


def test_every_class_without_examples_has_a_reason() -> None:
    assert {name for name, cls in LAYERS.items() if not cls.examples} == set(WITHOUT_EXAMPLES)


def test_every_declared_class_is_in_a_case() -> None:
    def classes(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set().union(*map(classes, value.values()))
        if not isinstance(value, list | tuple):
            return set()
        named = {value[0]} if isinstance(value, tuple) and isinstance(value[0], str) else set()
        return named.union(*map(classes, value))

    functions = {name for name, cls in LAYERS.items() if cls.is_function}
    assert set(LAYERS) - functions - {"InputLayer"} == set().union(*(classes(c.entries) for c in CASES))


@every_case
def test_every_stored_element_is_used_once_or_named_as_dropped(case: Case) -> None:
    ids, start = {}, 0
    for path, array in case.model.arrays.items():
        ids[path] = np.arange(start, start + array.size).reshape(array.shape)
        start += array.size
    used = [tensor.ravel() for name, tensor in case.tensors(ids).items() if case.lowered.recipes[name].sources]
    dropped = [ids[path].ravel() for path in case.lowered.dropped]
    assert np.sort(np.concatenate([np.arange(0), *used, *dropped])).tolist() == list(range(start))


@every_case
def test_recipes_run_backwards_give_the_stored_arrays_bit_for_bit(case: Case) -> None:
    arrays = case.model.arrays
    back = {path: np.full_like(array, np.nan) for path, array in arrays.items()}
    for name, tensor in case.tensors(arrays).items():
        case.lowered.recipes[name].invert(tensor, back)
    for path in set(arrays) - set(case.lowered.dropped):
        assert back[path].tobytes() == arrays[path].tobytes(), path


@every_case
def test_every_tensor_of_the_program_has_a_recipe_of_its_shape_and_type(case: Case) -> None:
    specs, made = tensors_of(case.lowered.program), case.tensors(case.model.arrays)
    assert specs.keys() == made.keys()
    for name, spec in specs.items():
        recipe = case.lowered.recipes[name]
        assert spec.shape == recipe.shape() == made[name].shape
        assert spec.dtype == recipe.dtype == made[name].dtype.name


# ---- the module


@dataclass(frozen=True)
class Built:
    """A lowered model with its weights as tensors, and random inputs."""

    torch: Any
    program: Program
    tensors: dict[str, Any]
    inputs: list[Any]

    def module(self, program: Program | None = None) -> Any:
        from h5port.runtime.build import build

        return build(program or self.program, self.tensors)

    def outputs(self, module: Any) -> list[Any]:
        with self.torch.no_grad():
            return flat(module(*self.inputs))


def built(case: Case) -> Built:
    torch = pytest.importorskip("torch")
    torch.set_num_threads(1)  # at these sizes threads cost more than they bring
    tensors = {n: torch.from_numpy(np.array(a, order="C")) for n, a in case.tensors(case.model.arrays).items()}
    rng = np.random.default_rng(1)
    inputs = []
    for name in names_in(case.lowered.program.inputs):
        spec = case.lowered.program.values[name]
        assert spec.shape is not None
        shape = [n or 3 for n in spec.shape]
        if spec.dtype == "string":
            inputs.append(rng.choice(["a", "b", "B, c", "", "b c  a-b"], shape).astype(object))
            continue
        x = rng.integers(0, 3, shape) if "int" in spec.dtype else rng.normal(size=shape)
        x[::2, 1:2] = 0  # where there is time, one step of some rows is masked
        inputs.append(torch.from_numpy(np.asarray(x, spec.dtype)))
    return Built(torch, case.lowered.program, tensors, inputs)


def flat(value: Any) -> list[Any]:
    if isinstance(value, dict):
        value = list(value.values())
    return [t for v in value for t in flat(v)] if isinstance(value, list | tuple) else [value]


def bits(value: Any) -> Any:
    """A tensor's bytes, or strings."""
    return value.tolist() if value.dtype == object else value.numpy().tobytes()


@every_case
def test_the_module_has_exactly_the_tensors_of_the_program(case: Case) -> None:
    given = built(case)
    state, specs = given.module().state_dict(), tensors_of(given.program)
    assert state.keys() == specs.keys()
    for name, tensor in state.items():
        assert tuple(tensor.shape) == specs[name].shape
        assert tensor.dtype == getattr(given.torch, specs[name].dtype)
        assert given.torch.equal(tensor, given.tensors[name])


@every_case
def test_every_value_has_the_shape_and_the_type_that_the_program_says(case: Case) -> None:
    given = built(case)
    specs = {n: spec for n, spec in given.program.values.items() if spec.shape is not None}
    assert set(names_in(given.program.outputs)) <= set(specs)
    tell_all = msgspec.structs.replace(given.program, outputs=list(specs))
    for (name, spec), value in zip(specs.items(), given.outputs(given.module(tell_all)), strict=True):
        assert len(value.shape) == len(spec.shape), name
        assert all(w is None or w == n for w, n in zip(spec.shape, value.shape, strict=True)), (name, value.shape)
        assert value.dtype == (object if spec.dtype == "string" else getattr(given.torch, spec.dtype)), name


@pytest.fixture(scope="module")
def _one_library() -> Iterator[None]:
    """The source of the runtime is read once for all models: that takes longer than all else here."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_py, "Library", cache(model_py.Library))
        yield


@every_case
@pytest.mark.usefixtures("_one_library")
def test_the_printed_model_computes_what_the_runtime_computes_bit_for_bit(case: Case) -> None:
    given = built(case)
    namespace: dict[str, Any] = {"__name__": "model"}
    exec(compile(model_py.print_model(given.program), "model.py", "exec"), namespace)
    namespace["load_file"] = lambda path: given.tensors
    printed, module = namespace["load"]("model.safetensors"), given.module()
    frozen = [{n: p.requires_grad for n, p in m.named_parameters()} for m in (printed, module)]
    assert frozen[0] == frozen[1]
    for _ in range(2):  # a stateful model goes on from where it was
        mine, theirs = given.outputs(printed), given.outputs(module)
        assert list(map(bits, mine)) == list(map(bits, theirs))
        assert all(given.torch.isfinite(y).all() for y in theirs if y.dtype != object)
