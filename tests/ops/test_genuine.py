"""Operations compute what genuine Keras computes, in its types; what has no exact form is refused by name."""

from __future__ import annotations

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from conftest import FIXTURES
from test_operations import argument, document, flat

from h5port.archive import Archive
from h5port.errors import H5PortError
from h5port.layers.base import Example, example
from h5port.layers.catalogue import OPERATIONS, lower_model
from h5port.module.program import Program
from h5port.ops import dtypes
from h5port.ops.refused import REFUSED_OPERATIONS
from h5port.schema.graph import Constant, SliceValue
from h5port.schema.parse import parse_model
from h5port.schema.writer import find_writer

torch = pytest.importorskip("torch")
torch.set_num_threads(1)  # at these sizes threads cost more than they bring

GENUINE = FIXTURES / "made" / "operations"
_spec = importlib.util.spec_from_file_location("operations", FIXTURES / "made" / "operations.py")
operations = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(operations)

RESULTS = json.loads((GENUINE / "results.json").read_text(encoding="utf-8"))
NAMES = sorted(OPERATIONS.keys() & set(RESULTS["classes"]))
EXAMPLES = [(name, i) for name in NAMES for i in range(len(OPERATIONS[name].examples))]
every_example = pytest.mark.parametrize(("name", "i"), EXAMPLES, ids=str)


def lowered(
    name: str,
    given: Example,
    *,
    count: int = 1,
    unknown: bool = False,
    kwargs: dict[str, Any] | None = None,
) -> Program:
    """The program of so many outputs of an operation. With `unknown` the file tells no size of its inputs."""
    config = document(name, given)
    layers = config["config"]["layers"]
    if unknown:
        for layer in layers[:-1]:
            layer["config"]["batch_shape"] = [None] * len(layer["config"]["batch_shape"])
    layers[-1]["inbound_nodes"][0]["kwargs"] = {k: argument(v) for k, v in (kwargs or {}).items()}
    config["config"]["output_layers"] = [["operation", 0, i] for i in range(count)]
    archive = Archive(Path("synthetic"), "keras-zip", layout="paths")
    writer = find_writer(archive, {}, writer="keras-3.15.1", source_backend="tensorflow")
    result = lower_model(archive, parse_model(config, writer), writer)
    if result.problems:
        raise H5PortError(result.problems)
    return result.program


@cache
def inputs_of(name: str, i: int) -> tuple[Any, ...]:
    job = operations.job_of(name, i, OPERATIONS[name].examples[i])
    return tuple(torch.from_numpy(x) for x in operations.inputs_of(job))


def outputs(program: Any, given: tuple[Any, ...]) -> list[Any]:
    from h5port.runtime.build import build

    with torch.no_grad():
        return flat(build(program, {})(*given))


# ---- genuine Keras


@cache
def genuine() -> dict[str, list[tuple[np.ndarray[Any, Any], str]]]:
    """The results of the examples and their types, by what was computed."""
    found, at = {}, 0
    with np.load(GENUINE / "values.npz", allow_pickle=False) as stored:
        values = stored["values"]
    for job in json.loads((GENUINE / "jobs.json").read_text(encoding="utf-8")):
        results = RESULTS["examples"][job.pop("id")]
        if isinstance(results, str):
            continue
        made = []
        for shape, dtype in results:
            size = int(np.prod(shape))
            made.append((values[at : at + size].reshape(shape), dtype))
            at += size
        found[json.dumps(job)] = made
    return found


def key_of(name: str, i: int) -> str:
    job = operations.job_of(name, i, OPERATIONS[name].examples[i])
    return json.dumps({k: v for k, v in job.items() if k != "id"})


@every_example
def test_the_numbers_and_their_types_are_those_of_keras(name: str, i: int) -> None:
    want = genuine().get(key_of(name, i))
    if want is None:
        pytest.skip("no result of genuine Keras: run fixtures/made/operations.py")
    program = lowered(name, OPERATIONS[name].examples[i], count=len(want))
    for got, (y, dtype) in zip(outputs(program, inputs_of(name, i)), want, strict=True):
        assert str(got.dtype) == f"torch.{dtype}" or name == "Ndim"  # a number of Python's in Keras
        np.testing.assert_allclose(got.float().numpy(), y, rtol=1e-5, atol=1e-5)


def test_every_class_of_keras_is_declared_or_refused() -> None:
    assert not set(RESULTS["classes"]) - OPERATIONS.keys() - REFUSED_OPERATIONS.keys()
    assert not OPERATIONS.keys() & REFUSED_OPERATIONS.keys()


# ---- types


@pytest.mark.parametrize("pair", RESULTS["result_type"])
def test_types_are_promoted_as_keras_promotes_them(pair: str) -> None:
    one, two = pair.split()
    assert dtypes.result_type(one, two) == dtypes.result_type(two, one) == RESULTS["result_type"][pair]


def test_a_type_that_torch_cannot_compute_in_is_refused() -> None:
    with pytest.raises(H5PortError, match="uint32"):
        dtypes.result_type("uint32", "int32")


def narrowed(dtype: str) -> str:
    return "int32" if dtype == "uint32" else dtype  # as Keras on torch has it


def type_of(name: str, given: Example) -> str | None:
    """The type of the result on [0, 1, 1]; None if it is refused."""
    try:
        program = lowered(name, given)
    except H5PortError:
        return None
    xs = tuple(torch.tensor([0, 1, 1]).to(getattr(torch, str(k))) for k in given.dtypes)
    return str(outputs(program, xs)[0].dtype).removeprefix("torch.")


@pytest.mark.parametrize("name", RESULTS["one"])
def test_the_type_of_a_result_hangs_on_the_input_as_in_keras(name: str) -> None:
    for dtype, want in RESULTS["one"][name].items():
        assert type_of(name, example(on=((),), dtype=dtype)) in (narrowed(want), None), dtype


@pytest.mark.parametrize("name", RESULTS["two"])
def test_the_type_of_a_result_hangs_on_both_operands_as_in_keras(name: str) -> None:
    for pair, want in RESULTS["two"][name].items():
        one, two = pair.split()
        if two in operations.NUMBERS:
            given = example(on=((),), dtype=one, args=["x0", operations.NUMBERS[two]])
        else:
            given = example(on=((), ()), dtype=(one, two))
        assert type_of(name, given) in (narrowed(want), None), pair


# ---- sizes that the file does not tell


@every_example
def test_sizes_may_be_unknown(name: str, i: int) -> None:
    """An axis of unknown size is computed as one that is known, or refused by name."""
    want = genuine().get(key_of(name, i))
    try:
        program = lowered(name, OPERATIONS[name].examples[i], count=len(want or [0]), unknown=True)
    except H5PortError:
        return
    for got, (y, _) in zip(outputs(program, inputs_of(name, i)), want or [], strict=want is not None):
        np.testing.assert_allclose(got.float().numpy(), y, rtol=1e-5, atol=1e-5)


# ---- refusals

X = ((5, 4),)
WRONG: list[tuple[str, Example, str]] = [
    ("Argpartition", example(on=X, kth=1), "not defined"),
    ("Unique", example(on=X), "depends on the data"),
    ("Add", example(on=X, args=["x0"]), "missing a required argument"),
    ("Add", example(on=X, args=["x0", "x0", 1]), "too many"),
    ("Add", example(on=X, args=[1, 2]), "constants alone"),
    ("Add", example(on=((5, 4), (3, 4))), "cannot be merged"),
    ("Add", example(on=X, args=["x0", "word"]), "word"),
    ("Sum", example(on=X, axis=3), "axis 3"),
    ("Sum", example(on=X, axis=[]), "no axis"),
    ("Sum", example(on=X, axis="all"), "value that h5port does not know"),
    ("Sum", example(on=X, where=True), "where"),
    ("Reshape", example(on=X, newshape=[-1, -1]), "reshaped"),
    ("Pad", example(on=X, pad_width=[[0, 0], [1, 1], [1, 1]], mode="edge"), "edge"),
    ("Where", example(on=X, dtype="bool"), "depends on the data"),
    ("GetItem", example(on=X, args=["x0", [SliceValue(None, None, None), 5]]), "place 5"),
    ("GetItem", example(on=X, args=["x0", [0, 0, 0, 0]]), "subscripts"),
    ("GetItem", example(on=((5, 4), ()), args=["x0", ["x1"]], dtype=("float32", "int32")), "subscript"),
    ("GetItem", example(on=X, args=["x0", [SliceValue(None, None, 0)]]), "step 0"),
    ("Take", example(on=X, args=["x0", 9], axis=1), "place 9"),
    ("Take", example(on=X, args=["x0", [0.5]], axis=1), "float32"),
    ("Split", example(on=X, indices_or_sections=3, axis=1), "3 parts"),
    ("Split", example(on=X, indices_or_sections=[3, 1], axis=1), "split at"),
    ("Matmul", example(on=((5, 4), (5, 4))), "product"),
    ("Einsum", example(on=X, subscripts="ij,jk->ik"), "einsum"),
    ("Einsum", example(on=X, subscripts="ij->i"), "einsum"),
    ("Vstack", example(on=((), ()), args=[["x0", "x1"]]), "backends differ"),
    ("Concatenate", example(on=X), "a list of tensors"),
    ("Quantile", example(on=((5, 4), ()), args=["x0", "x1"]), "computed"),
    ("LeftShift", example(on=((5, 4), (5, 4))), "bits of float32"),
    ("Digitize", example(on=X, args=["x0", [1.0, 0.0]]), "in order"),
    ("Linspace", example(on=((4,), (4,)), retstep=True), "retstep"),
    ("Rot90", example(on=X, k=2, axes=[1, 2]), "backends differ"),
    ("Clip", example(on=((5, 4),), x_min=0), "x_max"),
    ("Add", example(on=X, args=["x0", Constant([1], "complex64")]), "complex64"),
]


@pytest.mark.parametrize(("name", "given", "text"), WRONG, ids=str)
def test_what_has_no_exact_form_is_refused_by_name(name: str, given: Example, text: str) -> None:
    with pytest.raises(H5PortError, match=text):
        lowered(name, given)


def test_arguments_may_be_given_by_name() -> None:
    program = lowered("Subtract", example(on=X, args=[]), kwargs={"x2": "x0", "x1": 3.0})
    x = torch.ones(3, 5, 4)
    assert torch.equal(outputs(program, (x,))[0], 3 - x)
