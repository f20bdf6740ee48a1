"""What all operations have in common: how their arguments are read, and how they are declared.

An operation's options stand in its config; its tensors are the arguments of its call, by position or by the names that
Keras gives them, which are the names of the parameters of `apply`. An argument is a `Value`, a `Constant` of the
graph, a Python number, or a list of these.
"""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import numpy as np

from h5port.errors import refusal
from h5port.layers.base import OPERATIONS, Layer, declares
from h5port.layers.builder import Builder, Value
from h5port.layers.merge import broadcast
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.schema.graph import Constant


class Operation(Layer, frozen=True, kw_only=True):
    """A node without weights: a subclass has the options as fields, and `apply`. A mask lies on a tensor, so only an
    operation that gives back what it was given passes it on."""

    mask = "own"

    def lower(self, b: Builder, *args: Any, **kwargs: Any) -> Any:
        try:
            given = inspect.signature(self.apply).bind(b, *args, **kwargs)
        except TypeError as error:
            raise refusal("bad-config", f"the arguments of an operation {b.layer.class_name}: {error}") from None
        result = self.apply(*given.args, **given.kwargs)
        if not isinstance(result, Value) or any(result is v for v in values_in([*args, *kwargs.values()])):
            return result
        return result.with_mask(None)

    def apply(self, b: Builder, *args: Any, **kwargs: Any) -> Any:
        """Emit the calls, give the result. The parameters are those of `call` of Keras' class."""
        raise NotImplementedError


def operation(*names: str) -> Any:
    return declares(*names, table=OPERATIONS)


def declare(name: str, base: type[Operation], **settings: Any) -> None:
    """One more operation of a kind: `settings` are its class attributes."""
    operation(name)(msgspec.defstruct(name, [], bases=(base,), namespace=settings, frozen=True, kw_only=True))


# ---- arguments


def is_number(value: Any) -> bool:
    return isinstance(value, bool | int | float)


def values_in(value: Any) -> list[Value]:
    if isinstance(value, Value):
        return [value]
    return [v for item in value for v in values_in(item)] if isinstance(value, list | tuple) else []


def array_of(value: Any) -> Constant:
    """A constant of the graph, a number or a list of numbers, with the type that `convert_to_tensor` gives it."""
    given = value.value if isinstance(value, Constant) else value
    try:
        array = np.asarray(given)
    except ValueError:
        array = np.asarray(None)
    named = value.dtype if isinstance(value, Constant) else None
    dtype = named or {"b": "bool", "i": "int32", "f": dtypes.FLOATX}.get(array.dtype.kind)
    if dtype is None or array.dtype.kind not in "bif":
        raise refusal("unsupported-graph", f"an operation on {given!r}")
    return Constant(given, dtypes.known(dtype))


def tensor(b: Builder, value: Any, like: Value) -> Value:
    """An argument as a tensor: what is a constant becomes a tensor beside `like`."""
    if isinstance(value, Value):
        return value
    if isinstance(value, list) and values_in(value):
        raise refusal("unsupported-graph", "a list of tensors where a tensor is wanted")
    given = array_of(value)
    args = {"value": given.value, "dtype": given.dtype}
    return b.emit("constant", like, shape=np.shape(given.value), dtype=str(given.dtype), args=args)


def tensors(b: Builder, *given: Any) -> list[Value]:
    """All arguments as tensors."""
    like = next(iter(values_in(given)), None)
    if like is None:
        raise refusal("unsupported-graph", "an operation on constants alone")
    return [tensor(b, g, like) for g in given]


def listed(b: Builder, xs: Any) -> list[Value]:
    """The tensors of a list, in their common type."""
    if not isinstance(xs, list | tuple):
        raise refusal("unsupported-graph", f"{b.layer.class_name} of something else than a list of tensors")
    given = tensors(b, *xs)
    dtype = dtypes.result_type(*(v.dtype for v in given))
    return [b.cast(v, dtype) for v in given]


def kind(value: Any) -> str:
    """The type of an argument, a weak one for a number."""
    if isinstance(value, Value):
        return dtypes.known(value.dtype)
    if is_number(value):
        return type(value).__name__
    return str(array_of(value).dtype)


def broadcast_shape(*given: Any) -> Shape | None:
    shapes = [v.shape for v in given if isinstance(v, Value)]
    return None if any(s is None for s in shapes) else broadcast([s for s in shapes if s is not None])


def axes_of(axis: int | list[int] | None, rank: int) -> list[int]:
    """The axes that are meant, none negative; all for None."""
    axes = list(range(rank)) if axis is None else [axis] if isinstance(axis, int) else list(axis)
    if any(not -rank <= a < rank for a in axes):
        raise refusal("bad-config", f"the axis {axis} of a tensor of {rank} axes")
    return [a % rank for a in axes]


def axis_of(axis: int, rank: int) -> int:
    return axes_of(axis, rank)[0]


def reduced(x: Value, axes: list[int], keepdims: bool) -> Shape:
    """The shape after a reduction over these (non-negative) axes."""
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(x.known_shape))
    return tuple(n for i, n in enumerate(x.known_shape) if i not in axes)


def size_of(shape: Shape) -> int | None:
    """The number of elements, None if it is not known."""
    total = 1
    for n in shape:
        if n is None:
            return None
        total *= n
    return total


def plus(*sizes: int | None) -> int | None:
    """The sum of sizes of which some may be unknown."""
    return None if None in sizes else sum(n for n in sizes if n is not None)


def floats(b: Builder, *given: Any) -> list[Value]:
    """All arguments as tensors of floats. Keras on TensorFlow itself refuses any other here."""
    found = tensors(b, *given)
    for v in found:
        if v.dtype not in dtypes.FLOATS:
            raise refusal(
                "unsupported-graph", f"{b.layer.class_name} of tensors of the type {v.dtype}: it is one of floats"
            )
    return found


def computed_in(b: Builder, dtype: str) -> str:
    """The type that stands here for the one in the file: half precision is computed in float32."""
    if "float16" in dtype:
        b.note(f"Keras computed in {dtype}; here float32 is used, which is more exact")
        return "float32"
    return dtypes.known(dtype)
