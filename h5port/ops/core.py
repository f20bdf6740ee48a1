"""Operations on types, places and parts of tensors.

keras/src/ops/core.py and keras/src/backend/tensorflow/core.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.ops.operation import Operation, axis_of, computed_in, operation, tensor, tensors
from h5port.schema.graph import Constant

# ---- types


def rounded(b: Builder, x: Value, dtype: str) -> Value:
    """x in another type. What is half precision in Keras keeps its rounded values, in float32."""
    if "float16" in dtype:
        return b.call("round_trip", x, shape=x.shape, dtype=computed_in(b, dtype), through=dtype)
    return b.cast(x, computed_in(b, dtype))


@operation("Cast")
class Cast(Operation, frozen=True, kw_only=True):
    dtype: str
    examples = (
        *(example(on=((5, 4),), gives=t) for t in ("int32", "float64", "bool", "float16", "bfloat16")),
        example(on=((5, 4),), dtype="int32", gives="float32"),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return rounded(b, x, self.dtype)


@operation("SaturateCast")
class SaturateCast(Operation, frozen=True, kw_only=True):
    """What the new type cannot hold becomes its least or its greatest number."""

    dtype: str
    examples = (
        example(on=((5, 4),), gives="uint8"),
        example(on=((5, 4),), gives="int32"),
        example(on=((5, 4),), dtype="int32", gives="int8"),
        example(on=((5, 4),), dtype="int32", gives="float16"),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if "bool" in (x.dtype, self.dtype):
            return rounded(b, x, self.dtype)
        low, high = _limits(dtypes.known(x.dtype), dtypes.known(self.dtype))
        return rounded(b, b.call("clip", x, shape=x.shape, low=low, high=high), self.dtype)


def _limits(given: str, wanted: str) -> tuple[float, float]:
    """The bounds that Keras clips to: those of `wanted`, moved to the next numbers inside that `given` has."""
    bounds = _bounds(wanted)
    kind = np.dtype(given)
    least, most = (np.clip(n, *_bounds(given)).astype(kind) for n in bounds)
    if least < bounds[0]:
        least = np.nextafter(least, 0, dtype=kind)
    if most > bounds[1]:
        most = np.nextafter(most, 0, dtype=kind)
    return least.item(), most.item()


def _bounds(dtype: str) -> tuple[Any, Any]:
    """The least and the greatest number of a type."""
    if dtype == "bfloat16":
        return -3.3895313892515355e38, 3.3895313892515355e38
    if "int" in dtype:
        return np.iinfo(dtype).min, np.iinfo(dtype).max
    return float(np.finfo(dtype).min), float(np.finfo(dtype).max)


@operation("ConvertToTensor")
class ConvertToTensor(Operation, frozen=True, kw_only=True):
    dtype: str | None = None
    sparse: bool | None = None
    ragged: bool | None = None
    inert = frozenset({"sparse", "ragged"})  # how Keras stores it
    examples = (example(on=((5, 4),)), example(on=((5, 4),), gives="int32"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return rounded(b, x, self.dtype or x.dtype)


@operation("StopGradient")
class StopGradient(Operation, frozen=True, kw_only=True):
    examples = (example(on=((5, 4),)),)

    def apply(self, b: Builder, variable: Any) -> Value:
        (x,) = tensors(b, variable)
        return b.call("detach", x, shape=x.shape)


# ---- parts


def numbers_of(value: Any) -> list[int] | None:
    """The numbers of a list or a constant; None for a tensor."""
    given = np.asarray(value.value).tolist() if isinstance(value, Constant) else value
    if isinstance(given, list) and all(isinstance(n, int) for n in given):
        return given
    return None


def whole_shape(option: list[int] | None, argument: Any) -> list[int]:
    """A shape that is an option, or (before Keras 3.11) an argument of the call."""
    found = option if argument is None else numbers_of(argument)
    if found is None:
        raise refusal("unsupported-graph", "a part whose shape is not in the file")
    return found


@operation("Slice")
class Slice(Operation, frozen=True, kw_only=True):
    """The part of this shape that starts at these indices; -1 means all that is left of an axis."""

    shape: list[int] | None = None
    examples = (
        example(on=((5, 4),), args=["x0", [0, 1, 2]], shape=[1, 3, 2]),
        example(on=((5, 4),), args=["x0", [0, 1, 2]], shape=[-1, 3, -1]),
    )

    def apply(self, b: Builder, inputs: Any, start_indices: Any, shape: Any = None) -> Value:
        (x,) = tensors(b, inputs)
        wanted, starts = whole_shape(self.shape, shape), numbers_of(start_indices)
        if len(wanted) != x.rank or (starts is not None and len(starts) != x.rank):
            raise refusal("bad-config", f"a slice of {len(wanted)} axes of a tensor of {x.rank}")
        if starts is None and -1 in wanted:
            raise refusal("unsupported-graph", "a slice up to the end whose start depends on the data")
        if starts is not None:
            sizes = zip(wanted, x.known_shape, starts, strict=True)
            part: Shape = tuple((None if n is None else n - s) if want == -1 else want for want, n, s in sizes)
            return b.call("slice_at", x, shape=part, starts=starts, sizes=wanted)
        at = b.cast(tensor(b, start_indices, x), "int64")
        return b.call("slice_from", x, at, shape=tuple(wanted), sizes=wanted)


@operation("SliceUpdate")
class SliceUpdate(Operation, frozen=True, kw_only=True):
    """The tensor with a part of it replaced; a start is moved back so that the part fits."""

    examples = (
        example(on=((5, 4), (2, 2)), args=["x0", [0, 1, 2], "x1"]),
        example(on=((5, 4), (2, 2)), args=["x0", [0, 4, 1], "x1"]),
    )

    def apply(self, b: Builder, inputs: Any, start_indices: Any, updates: Any) -> Value:
        x, starts, updates = tensors(b, inputs, start_indices, updates)
        return b.call("slice_update", x, b.cast(starts, "int64"), b.cast(updates, x.dtype), shape=x.shape)


@operation("Scatter")
class Scatter(Operation, frozen=True, kw_only=True):
    """Zeros with values at these indices (..., axes indexed); where they meet they are added, as TensorFlow does."""

    shape: list[int] | None = None
    examples = (
        example(on=((2,), ()), dtype=("int32", "float32"), shape=[4, 4]),
        example(on=((1,), (3,)), dtype=("int32", "float32"), shape=[4, 3]),
    )

    def apply(self, b: Builder, indices: Any, values: Any, shape: Any = None) -> Value:
        indices, values = tensors(b, indices, values)
        sizes = whole_shape(self.shape, shape)
        at = b.cast(indices, "int64")
        return b.emit("scatter", at, values, shape=tuple(sizes), dtype=values.dtype, args={"shape": sizes})


_PLACES, _NEW = [[0, 1], [1, 3], [2, 0]], [0.5, -1.0, 2.0]


@operation("ScatterUpdate")
class ScatterUpdate(Operation, frozen=True, kw_only=True):
    reduction: Literal["add", "max", "min", "mul"] | None = None
    examples = (
        *(
            example(on=((4,),), args=["x0", _PLACES, [0.5, -1.0, 2.0]], reduction=r)
            for r in (None, "add", "max", "min")
        ),
        example(on=((2,),), args=["x0", [[0], [2]], [[0.5, -1.0], [2.0, 3.0]]], reduction="mul"),
        example(on=((2,),), args=["x0", [[0], [0]], [[0.5, -1.0], [2.0, 3.0]]], reduction="add"),
    )
    _names: ClassVar[dict[str, str]] = {"add": "sum", "max": "amax", "min": "amin", "mul": "prod"}

    def apply(self, b: Builder, inputs: Any, indices: Any, updates: Any) -> Value:
        x, indices, updates = tensors(b, inputs, indices, updates)
        given = [x, b.cast(indices, "int64"), b.cast(updates, x.dtype)]
        if self.reduction is None:
            return b.call("scatter_replace", *given, shape=x.shape)
        return b.call("scatter_reduce", *given, shape=x.shape, how=self._names[self.reduction])


@operation("Unstack")
class Unstack(Operation, frozen=True, kw_only=True):
    num: int | None = None
    axis: int = 0
    examples = (example(on=((3, 2),), axis=1), example(on=((3, 2),), axis=-1, num=2), example(on=((1, 2),), axis=1))

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = tensors(b, x)
        axis = axis_of(self.axis, x.rank)
        count = self.num if x.dim(axis) is None else x.dim(axis)
        if count is None or self.num not in (None, count):
            raise refusal("bad-config", f"{self.num} parts of an axis of the size {x.dim(axis)}")
        shape = (*x.known_shape[:axis], *x.known_shape[axis + 1 :])
        if count == 1:
            return [b.call("squeeze", x, shape=shape, dim=axis)]
        return b.calls("unstack", x, shapes=[shape] * count, dim=axis)
