"""Functions of TensorFlow in graphs of tf.keras: the tables are whole, and nothing of a call is ignored."""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from h5port.archive import Archive
from h5port.layers.catalogue import OPERATIONS, Lowered, lower_model
from h5port.ops.tensorflow_tables import FUNCTIONS, RAW, Row
from h5port.schema.parse import parse_model
from h5port.schema.writer import find_writer


def lowered(entry: dict[str, Any], node: list[Any]) -> Lowered:
    """A model of one input x (None, 5, 4) and one such layer, called with `node`."""
    layers = [
        {
            "class_name": "InputLayer",
            "config": {"batch_input_shape": [None, 5, 4], "dtype": "float32", "name": "x"},
            "name": "x",
            "inbound_nodes": [],
        },
        {"name": "y", "inbound_nodes": node, **entry, "config": {"name": "y", "dtype": "float32", **entry["config"]}},
    ]
    config = {"name": "m", "layers": layers, "input_layers": [["x", 0, 0]], "output_layers": [["y", 0, 0]]}
    archive = Archive(source=__file__, container="none", layout="named", attributes={"": {"layer_names": []}})  # type: ignore[arg-type]
    who = find_writer(archive, {}, writer="tf.keras-2.15", source_backend="tensorflow")
    return lower_model(archive, parse_model({"class_name": "Functional", "config": config}, who), who)


def called(function: str, **kwargs: Any) -> Lowered:
    entry = {"class_name": "TFOpLambda", "config": {"function": function}}
    return lowered(entry, [["x", 0, 0, kwargs]])


def raw(node: dict[str, Any], constants: dict[str, Any]) -> Lowered:
    entry = {"class_name": "TensorFlowOpLayer", "config": {"node_def": node, "constants": constants}}
    return lowered(entry, [[["x", 0, 0, {}]]])


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_function_stands_on_what_is_there(name: str) -> None:
    meaning = FUNCTIONS[name]
    if isinstance(meaning, Row):
        fields = set(OPERATIONS[meaning.operation].__struct_fields__)
        assert set(meaning.renamed().values()) | set(meaning.fixed) <= fields
    else:
        assert next(iter(inspect.signature(meaning).parameters)) == "b"


@pytest.mark.parametrize("operation", sorted(RAW))
def test_every_node_of_a_graph_is_a_function_with_these_arguments(operation: str) -> None:
    function, inputs, attributes = RAW[operation]
    meaning = FUNCTIONS[function]
    given = {n.removeprefix("*") for n in inputs.split()} | {a.partition("=")[2] or a for a in attributes.split()}
    if isinstance(meaning, Row):
        assert given <= {*meaning.tensors.split(), *meaning.renamed()}
    else:
        known = {n.removesuffix("_") if n == "b_" else n for n in inspect.signature(meaning).parameters}
        assert given <= known


@pytest.mark.parametrize("function", ["random.normal", "py_function", "io.read_file", "math.multiply2", "__class__"])
def test_a_function_that_is_not_known_is_refused_by_name(function: str) -> None:
    (problem,) = called(function).problems
    assert problem.code == "unknown-layer"
    assert function in problem.message


@pytest.mark.parametrize(
    ("function", "kwargs", "word"),
    [
        ("math.multiply", {"y": 2.0, "surprise": 1}, "surprise"),
        ("math.multiply", {}, "math.multiply"),
        ("nn.silu", {"beta": 2.0}, "beta"),
        ("gather", {"indices": [1], "batch_dims": 1}, "batch_dims"),
        ("image.resize", {"size": [2, 2], "method": "spline"}, "spline"),
        ("math.reduce_sum", {"axis": "rows"}, "argument"),
    ],
)
def test_what_a_call_says_more_is_refused(function: str, kwargs: dict[str, Any], word: str) -> None:
    problems = called(function, **kwargs).problems
    assert any(word in p.message for p in problems)


def test_an_attribute_that_is_not_known_is_refused() -> None:
    node = {"name": "y", "op": "Relu", "input": ["x"], "attr": {"T": {"type": "DT_FLOAT"}, "surprise": {"b": True}}}
    (problem,) = raw(node, {}).problems
    assert "surprise" in problem.message


def test_constants_stand_at_their_places() -> None:
    node = {"name": "y", "op": "Sub", "input": ["c", "x"], "attr": {"T": {"type": "DT_FLOAT"}}}
    (call,) = (c for c in raw(node, {"0": 1.0}).program.calls if c.target == "subtract")
    assert call.inputs[0] == 1.0
    assert isinstance(call.inputs[1], str)
