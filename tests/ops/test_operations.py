"""Laws of all operations: every example is what its program says, and the printed model computes the same."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from h5port.archive import Archive
from h5port.layers.base import Example
from h5port.layers.catalogue import OPERATIONS, lower_model
from h5port.module.program import Program, names_in
from h5port.ops.refused import REFUSED_OPERATIONS
from h5port.output import model_py
from h5port.schema.graph import Constant, SliceValue
from h5port.schema.parse import parse_model
from h5port.schema.writer import find_writer

CASES = [(name, i) for name, cls in OPERATIONS.items() for i in range(len(cls.examples))]
every_case = pytest.mark.parametrize(("name", "number"), CASES)

# Operations that are defined on some matrices alone: what the inputs become.
DEFINITE = {"Cholesky", "Logdet"}


def argument(value: Any) -> Any:
    """An argument of an example as Keras 3 writes it."""
    match value:
        case str():
            return {"class_name": "__keras_tensor__", "config": {"keras_history": [value, 0, 0]}}
        case Constant():
            return {"class_name": "__numpy__", "config": {"value": value.value, "dtype": value.dtype}}
        case SliceValue():
            return {"class_name": "__slice__", "config": {k: getattr(value, k) for k in ("start", "stop", "step")}}
        case list() | tuple():
            return [argument(v) for v in value]
    return {"class_name": "__ellipsis__", "config": {}} if value is ... else value


def document(name: str, example: Example) -> dict[str, Any]:
    """A functional model of one node."""
    inputs = [f"x{i}" for i in range(len(example.on))]
    layers: list[dict[str, Any]] = [
        {
            "module": "keras.layers",
            "class_name": "InputLayer",
            "config": {"batch_shape": [None, *shape], "dtype": dtype or "float32", "name": x},
            "name": x,
            "inbound_nodes": [],
        }
        for x, shape, dtype in zip(inputs, example.on, example.dtypes, strict=True)
    ]
    args = [argument(a) for a in (inputs if example.args is None else example.args)]
    layers.append(
        {
            "module": "keras.src.ops.numpy",
            "class_name": name,
            "config": example.options,
            "name": "operation",
            "inbound_nodes": [{"args": args, "kwargs": {}}],
        }
    )
    ends = {"input_layers": [[x, 0, 0] for x in inputs], "output_layers": [["operation", 0, 0]]}
    return {"class_name": "Functional", "config": {"name": "model", "layers": layers, **ends}}


def program_of(name: str, number: int) -> Program:
    example = OPERATIONS[name].examples[number]
    archive = Archive(Path("synthetic"), "keras-zip", layout="paths")
    writer = find_writer(archive, {}, writer="keras-3.15.1", source_backend="tensorflow")
    lowered = lower_model(archive, parse_model(document(name, example), writer), writer)
    assert not lowered.problems
    return lowered.program


def inputs_of(name: str, program: Program) -> list[Any]:
    torch = pytest.importorskip("torch")
    rng = np.random.default_rng(1)
    given = []
    for value in names_in(program.inputs):
        spec = program.values[value]
        shape = [n or 5 for n in spec.shape or ()]
        x = rng.normal(size=shape) if spec.dtype.startswith("float") else rng.integers(0, 3, shape)
        if name in DEFINITE:
            x = x @ np.swapaxes(x, -1, -2) + np.eye(shape[-1])
        given.append(torch.from_numpy(np.asarray(x, spec.dtype)))
    return given


def flat(value: Any) -> list[Any]:
    return [t for v in value for t in flat(v)] if isinstance(value, list | tuple) else [value]


@every_case
def test_every_value_has_the_shape_and_the_type_that_the_program_says(name: str, number: int) -> None:
    torch = pytest.importorskip("torch")
    from h5port.runtime.build import build

    program = program_of(name, number)
    specs = {n: spec for n, spec in program.values.items() if spec.shape is not None}
    tell_all = msgspec.structs.replace(program, outputs=list(specs))
    with torch.no_grad():
        values = flat(build(tell_all, {})(*inputs_of(name, program)))
    for (value, spec), tensor in zip(specs.items(), values, strict=True):
        assert spec.shape is not None
        assert len(tensor.shape) == len(spec.shape), value
        assert all(w is None or w == n for w, n in zip(spec.shape, tensor.shape, strict=True)), (value, tensor.shape)
        assert tensor.dtype == getattr(torch, spec.dtype), value


@pytest.fixture(scope="module")
def _one_library() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(model_py, "Library", cache(model_py.Library))
        yield


@every_case
@pytest.mark.usefixtures("_one_library")
def test_the_printed_model_computes_what_the_runtime_computes_bit_for_bit(name: str, number: int) -> None:
    torch = pytest.importorskip("torch")
    from h5port.runtime.build import build

    program = program_of(name, number)
    namespace: dict[str, Any] = {"__name__": "model"}
    exec(compile(model_py.print_model(program), "model.py", "exec"), namespace)
    namespace["load_file"] = lambda path: {}
    inputs = inputs_of(name, program)
    with torch.no_grad():
        mine, theirs = flat(namespace["load"]("model.safetensors")(*inputs)), flat(build(program, {})(*inputs))
    assert [y.numpy().tobytes() for y in mine] == [y.numpy().tobytes() for y in theirs]


def test_every_operation_has_examples_or_a_reason() -> None:
    assert not {name for name, cls in OPERATIONS.items() if not cls.examples} & set(REFUSED_OPERATIONS)
    assert not set(OPERATIONS) & set(REFUSED_OPERATIONS)
