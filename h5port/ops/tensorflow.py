"""Layers that tf.keras makes of calls of TensorFlow: TFOpLambda, SlicingOpLambda, TensorFlowOpLayer.

tf_keras/src/layers/core/tf_op_layer.py and TensorFlowOpLayer of engine/base_layer.py of tf_keras 2.21. They know no
masks: what they give has none.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from h5port.errors import refusal
from h5port.layers.base import Layer, declares
from h5port.layers.builder import Builder
from h5port.ops.operation import values_in
from h5port.ops.tensorflow_functions import floats_only, run
from h5port.ops.tensorflow_tables import FUNCTIONS, RAW, Row
from h5port.schema.graph import Constant

# Arguments of functions that say nothing of the numbers.
_INERT = frozenset({"name", "validate_indices", "conjugate"})


class FunctionLayer(Layer, frozen=True, kw_only=True):
    """A call of a function: its arguments are given as they stand in the graph."""

    mask = "own"
    is_function = True
    last = "tf.keras"

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


@declares("TFOpLambda")
class TFOpLambda(FunctionLayer, frozen=True, kw_only=True):
    function: str

    def lower(self, b: Builder, x: list[Any], **kwargs: Any) -> Any:
        return called(b, self.function.removeprefix("compat.v1."), x, kwargs["named"])


@declares("SlicingOpLambda")
class SlicingOpLambda(FunctionLayer, frozen=True, kw_only=True):
    function: str = "__operators__.getitem"

    def lower(self, b: Builder, x: list[Any], **kwargs: Any) -> Any:
        return called(b, self.function, x, kwargs["named"])


@declares("TensorFlowOpLayer")
class TensorFlowOpLayer(FunctionLayer, frozen=True, kw_only=True):
    """A node of a graph: its tensors in their order, constants at the places that `constants` names."""

    node_def: dict[str, Any]
    constants: dict[str, Any] = {}

    def lower(self, b: Builder, x: list[Any], **kwargs: Any) -> Any:
        operation = str(self.node_def.get("op"))
        if operation not in RAW:
            raise _unknown(b, operation)
        function, inputs, attributes = RAW[operation]
        given = list(x[0]) if x and isinstance(x[0], list) else list(x)
        for place, value in sorted((int(k), v) for k, v in self.constants.items()):
            given.insert(place, value)
        bound = _by_name(inputs.split(), given) | self._attributes(attributes)
        return called(b, function, [], bound)

    def _attributes(self, names: str) -> dict[str, Any]:
        renamed = {a.partition("=")[0]: a.partition("=")[2] or a for a in names.split()}
        found = {k: _attribute(v) for k, v in (self.node_def.get("attr") or {}).items()}
        unknown = [k for k in found.keys() - renamed.keys() if k not in _SILENT and not k.startswith("_")]
        if unknown:
            raise refusal("unknown-option", f"{self.node_def.get('op')} has attributes {unknown}")
        return {renamed[k]: v for k, v in found.items() if k in renamed}


# Attributes that repeat what the tensors say.
_SILENT = frozenset("T N Tidx Tdim Tlen Tperm Tshape Tmultiples Tpaddings Taxis Tindices Tparams Index SrcT".split())
_SILENT |= frozenset({"num_split", "Truncate", "data_format"})
_TYPES = {
    "DT_FLOAT": "float32",
    "DT_DOUBLE": "float64",
    "DT_HALF": "float16",
    "DT_BFLOAT16": "bfloat16",
    "DT_INT32": "int32",
    "DT_INT64": "int64",
    "DT_UINT8": "uint8",
    "DT_INT8": "int8",
    "DT_BOOL": "bool",
}


def _attribute(value: dict[str, Any]) -> Any:
    """An attribute of a NodeDef as JSON has it: {"i": "2"}, {"b": true}, {"type": "DT_FLOAT"}, {"list": {"i": []}}."""
    match next(iter(value.items()), (None, None)):
        case ("i", number):
            return int(number)
        case ("type", name):
            return _TYPES.get(name, name)
        case ("list", inner):
            return [int(i) for i in (inner or {}).get("i", [])] or None
        case (_, other):
            return other


def _by_name(names: list[str], given: list[Any]) -> dict[str, Any]:
    """The inputs of an operation under the names of the function; "*values" takes what the others leave."""
    if names[0].startswith("*"):
        rest = len(given) - (len(names) - 1)
        return {names[0][1:]: given[:rest], **dict(zip(names[1:], given[rest:], strict=True))}
    if len(given) > len(names):
        raise refusal("bad-config", f"{len(given)} inputs of an operation that has {len(names)}")
    return dict(zip(names, given, strict=False))


def called(b: Builder, name: str, args: list[Any], kwargs: dict[str, Any]) -> Any:
    """What a function of TensorFlow gives for these arguments, without masks."""
    meaning = FUNCTIONS.get(name)
    if meaning is None:
        raise _unknown(b, f"tf.{name}")
    kwargs = {k: _plain(v) for k, v in kwargs.items() if k not in _INERT or v}
    kwargs.pop("name", None)
    args = [_plain(a) for a in args]
    given = (
        _of_row(b, name, meaning, args, kwargs)
        if isinstance(meaning, Row)
        else _of_function(b, name, meaning, args, kwargs)
    )
    return [v.with_mask(None) for v in given] if isinstance(given, list) else given.with_mask(None)


def _of_row(b: Builder, name: str, row: Row, args: list[Any], kwargs: dict[str, Any]) -> Any:
    names = row.tensors.split()
    bound = dict(zip(names, args, strict=False)) | {k: v for k, v in kwargs.items() if k in names}
    renamed = row.renamed()
    unknown = sorted(kwargs.keys() - set(names) - renamed.keys())
    if unknown or len(args) > len(names) or bound.keys() != set(names):
        raise refusal("unsupported-graph", f"tf.{name} called with {len(args)} arguments and {sorted(kwargs)}")
    if row.floats:
        floats_only(b, *bound.values())
    options = {renamed[k]: v for k, v in kwargs.items() if k in renamed and v is not None}
    return run(b, row.operation, *(bound[n] for n in names), **{**row.fixed, **options})


def _of_function(b: Builder, name: str, function: Callable[..., Any], args: list[Any], kwargs: dict[str, Any]) -> Any:
    given = {f"{k}_" if k == "b" else k: v for k, v in kwargs.items()}  # `b` is the builder here
    try:
        bound = inspect.signature(function).bind(b, *args, **given)
    except TypeError as error:
        raise refusal("unsupported-graph", f"tf.{name}: {error}") from None
    return function(*bound.args, **bound.kwargs)


def _plain(value: Any) -> Any:
    """A constant of the graph as the number or the list that it is."""
    if isinstance(value, Constant):
        return value.value
    return [_plain(v) for v in value] if isinstance(value, list | tuple) and values_in(value) else value


def _unknown(b: Builder, name: str) -> Exception:
    return refusal(
        "unknown-layer",
        f"the function {name} (of {b.layer.name!r}) is not supported",
        layer=b.layer.place,
        remedy=f'register a replacement by the layer\'s name: @h5port.register("{b.layer.name}")',
    )
