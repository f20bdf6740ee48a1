"""Operations that choose elements: subscripts, takes, searches.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, Literal

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.layers.merge import broadcast
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.ops.dtypes import INTS
from h5port.ops.operation import Operation, array_of, axis_of, is_number, operation, size_of, tensors
from h5port.ops.reductions import raveled
from h5port.schema.graph import SliceValue

ALL = SliceValue(None, None, None)


@operation("GetItem")
class GetItem(Operation, frozen=True, kw_only=True):
    """x[key]: whole numbers, slices, None and one `...`.

    torch has no slices that run backwards: their axes are turned round first, and place i is then place -1 - i.
    """

    examples = (
        example(on=((5, 4),), args=["x0", [ALL, SliceValue(1, -1, None), SliceValue(None, None, 2)]]),
        example(on=((5, 4),), args=["x0", [ALL, -1]]),
        example(on=((5, 4),), args=["x0", [..., None, 0]]),
        example(on=((5, 4),), args=["x0", [ALL, SliceValue(None, None, -1)]]),
        example(on=((9, 4),), args=["x0", [ALL, SliceValue(-2, 1, -3), SliceValue(2, None, -1)]]),
        example(on=((5, 4),), args=["x0", 1]),
    )

    def apply(self, b: Builder, x: Any, key: Any) -> Value:
        (y,) = tensors(b, x)
        keys = _whole(key if isinstance(key, list | tuple) else [key], y.rank)
        backwards: list[int] = []
        places: list[Any] = []
        shape: list[int | None] = []
        axis = 0
        for k in keys:
            if k is None:
                places.append(None)
                shape.append(1)
                continue
            size = y.dim(axis)
            if isinstance(k, int):
                if size is not None and not -size <= k < size:
                    raise refusal("bad-config", f"the place {k} of an axis of {size}")
                places.append(k)
            else:
                shape.append(None if size is None and k != ALL else _length(k, size))
                if (k.step or 1) < 0:
                    backwards.append(axis)
                    k = SliceValue(_turned(k.start), _turned(k.stop), -k.step)
                places.append([k.start, k.stop, k.step])
            axis += 1
        if backwards:
            y = b.call("flip_over", y, shape=y.shape, dims=backwards)
        return b.call("subscript", y, shape=tuple(shape), key=places)


def _whole(key: list[Any] | tuple[Any, ...], rank: int) -> list[Any]:
    """One entry for each axis and each None."""
    for k in key:
        parts = [k.start, k.stop, k.step] if isinstance(k, SliceValue) else [k]
        whole = all(p is None or (isinstance(p, int) and not isinstance(p, bool)) for p in parts)
        if not whole and k is not ...:
            raise refusal("unsupported-graph", f"a subscript {k!r} of a tensor")
        if isinstance(k, SliceValue) and k.step == 0:
            raise refusal("bad-config", "a slice of step 0")
    left = rank - sum(k is not None and k is not ... for k in key)
    at = [i for i, k in enumerate(key) if k is ...] or [len(key)]
    if left < 0 or len(at) > 1:
        raise refusal("bad-config", f"{len(key)} subscripts of a tensor of {rank} axes")
    return [*key[: at[0]], *[ALL] * left, *key[at[0] + 1 :]]


def _length(part: SliceValue, size: int | None) -> int | None:
    return None if size is None else len(range(*slice(part.start, part.stop, part.step).indices(size)))


def _turned(place: int | None) -> int | None:
    return None if place is None else -1 - place


def _indices(b: Builder, indices: Any, x: Value) -> Value:
    _, places = tensors(b, x, indices)
    if places.dtype not in INTS:
        raise refusal("unsupported-graph", f"indices of the type {places.dtype}")
    return places


@operation("Take")
class Take(Operation, frozen=True, kw_only=True):
    axis: int | None = None
    examples = (
        example(on=((5, 4),), axis=1, args=["x0", [3, 0, -1]]),
        example(on=((5, 4),), axis=-1, args=["x0", [[3, 0], [1, 2]]]),
        example(on=((5, 4),), axis=1, args=["x0", 2]),
        example(on=((5, 4),), args=["x0", [3, 1]]),
        example(on=((5, 4), (2,)), axis=1, dtype=("float32", "int32")),
    )

    def apply(self, b: Builder, x: Any, indices: Any) -> Value:
        like = x if isinstance(x, Value) else indices
        if not isinstance(like, Value):
            raise refusal("unsupported-graph", "an operation on constants alone")
        (x, _) = tensors(b, x, like)
        if self.axis is None:
            x = raveled(b, x)
        axis = axis_of(self.axis or 0, x.rank)
        if is_number(indices) and (size := x.dim(axis)) is not None and not -size <= indices < size:
            raise refusal("bad-config", f"the place {indices} of an axis of {size}")
        places = _indices(b, indices, x)
        shape = (*x.known_shape[:axis], *places.known_shape, *x.known_shape[axis + 1 :])
        return b.call("take", x, places, shape=shape, dtype=x.dtype, dim=axis)


@operation("TakeAlongAxis")
class TakeAlongAxis(Operation, frozen=True, kw_only=True):
    axis: int | None = None
    examples = (
        example(on=((6, 4), (6, 4)), axis=1, dtype=("float32", "int32")),
        example(on=((6, 5), (2, 5)), axis=1, dtype=("float32", "int32")),
        example(on=((6, 5), (6, 1)), axis=-1, dtype=("float32", "int32")),
        example(on=((5, 4), ()), dtype=("float32", "int32")),
    )

    def apply(self, b: Builder, x: Any, indices: Any) -> Value:
        (x,) = tensors(b, x)
        places = _indices(b, indices, x)
        if self.axis is None:
            x = raveled(b, x)
        axis = axis_of(self.axis or 0, x.rank)
        if places.rank != x.rank:
            raise refusal("bad-config", f"indices of {places.rank} axes for a tensor of {x.rank}")
        rest = broadcast([_without(x, axis), _without(places, axis)])
        shape = (*rest[:axis], places.dim(axis), *rest[axis + 1 :])
        return b.call("take_along", x, places, shape=shape, dtype=x.dtype, dim=axis)


def _without(x: Value, axis: int) -> Shape:
    return (*x.known_shape[:axis], 1, *x.known_shape[axis + 1 :])


@operation("Digitize")
class Digitize(Operation, frozen=True, kw_only=True):
    """The bounds are float32 numbers, whatever the type of the input."""

    examples = (
        example(on=((5, 4),), args=["x0", [-0.5, 0.0, 0.75]]),
        example(on=((5, 4),), args=["x0", [0.0, 1.0, 3.0]], dtype="int32"),
    )

    def apply(self, b: Builder, x: Any, bins: Any) -> Value:
        (x,) = tensors(b, x)
        if isinstance(bins, Value):
            raise refusal("unsupported-graph", "ops.digitize with bounds that are computed")
        bounds = array_of(bins).value
        dtypes.known(x.dtype)
        if bounds != sorted(bounds):
            raise refusal("bad-config", "the bounds of ops.digitize are not in order")
        return b.call("digitize", x, shape=x.shape, dtype="int32", bounds=[float(n) for n in bounds])


@operation("SearchSorted")
class SearchSorted(Operation, frozen=True, kw_only=True):
    side: Literal["left", "right"] = "left"
    examples = tuple(example(on=((),), side=side, args=[[-1.0, 0.0, 0.5], "x0"]) for side in ("left", "right"))

    def apply(self, b: Builder, sorted_sequence: Any, values: Any) -> Value:
        row, given = tensors(b, sorted_sequence, values)
        if row.dtype != given.dtype or row.rank != 1:
            raise refusal("unsupported-graph", f"ops.searchsorted of {given.dtype} in {row.dtype}, {row.rank} axes")
        return b.call("search_sorted", row, given, shape=given.shape, dtype="int32", side=self.side)


@operation("Nonzero")
class Nonzero(Operation, frozen=True, kw_only=True):
    """One tensor of places for each axis; how many there are depends on the data."""

    examples = (example(on=((5, 4),), dtype="int32"), example(on=((),), dtype="int32"))

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = tensors(b, x)
        if x.rank == 0:
            raise refusal("unsupported-graph", "ops.nonzero of a number")
        places = b.call("nonzero", x, shape=(x.rank, None), dtype="int32")
        return [b.call("subscript", places, shape=(None,), key=[axis]) for axis in range(x.rank)]


@operation("UnravelIndex")
class UnravelIndex(Operation, frozen=True, kw_only=True):
    """The places in an array of this shape of places in its elements one after the other."""

    shape: list[int]
    examples = (example(on=((),), shape=[2, 3], dtype="int32"),)

    def apply(self, b: Builder, indices: Any) -> list[Value]:
        (x,) = tensors(b, indices)
        if x.dtype not in INTS or x.rank != 1:
            raise refusal("unsupported-graph", "ops.unravel_index of anything but one axis of whole numbers")
        found = []
        for n, size in enumerate(self.shape):
            below = size_of(tuple(self.shape[n + 1 :]))
            found.append(b.call("unravel", x, shape=x.shape, below=below, size=size))
        return found
