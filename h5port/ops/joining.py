"""Operations that join tensors, split one into several, or span a grid.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.layers.merge import broadcast
from h5port.ops.operation import Operation, axis_of, declare, listed, operation, plus, size_of, tensors
from h5port.ops.reductions import raveled
from h5port.ops.shaping import resized


def joined(b: Builder, values: list[Value], axis: int) -> Value:
    """Tensors of one type along an axis."""
    first = values[0]
    if any(v.rank != first.rank for v in values):
        raise refusal("bad-config", f"tensors of {[v.rank for v in values]} axes are joined")
    axis = axis_of(axis, first.rank)
    rest = broadcast([resized(v, axis, 1) for v in values])
    shape = (*rest[:axis], plus(*(v.dim(axis) for v in values)), *rest[axis + 1 :])
    return b.call("concatenate", values, shape=shape, dim=axis)


TWO = example(on=((5, 4), (5, 4)), args=[["x0", "x1"]])


@operation("Concatenate")
class Concatenate(Operation, frozen=True, kw_only=True):
    axis: int = 0
    examples = (
        TWO,
        example(on=((5, 4), (5, 3)), args=[["x0", "x1"]], axis=-1),
        example(on=((5, 4), (2, 4)), args=[["x0", "x1"]], axis=1, dtype=("int32", "float32")),
    )

    def apply(self, b: Builder, xs: Any) -> Value:
        return joined(b, listed(b, xs), self.axis)


@operation("Append")
class Append(Operation, frozen=True, kw_only=True):
    axis: int | None = None
    examples = (example(on=((5, 4), (5, 4))), example(on=((5, 4), (5, 3)), axis=2))

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        given = listed(b, [x1, x2])
        return joined(b, [raveled(b, v) for v in given], 0) if self.axis is None else joined(b, given, self.axis)


@operation("Stack")
class Stack(Operation, frozen=True, kw_only=True):
    axis: int = 0
    examples = (TWO, *(example(on=((5, 4), (5, 4)), args=[["x0", "x1"]], axis=a) for a in (1, -1)))

    def apply(self, b: Builder, x: Any) -> Value:
        given = listed(b, x)
        shape = broadcast([v.known_shape for v in given])
        at = axis_of(self.axis, len(shape) + 1)
        return b.call("stack", given, shape=(*shape[:at], len(given), *shape[at:]), dim=at)


@operation("Hstack")
class Hstack(Operation, frozen=True, kw_only=True):
    examples = (TWO,)

    def apply(self, b: Builder, xs: Any) -> Value:
        given = listed(b, xs)
        return joined(b, given, 0 if given[0].rank == 1 else 1)


@operation("Vstack")
class Vstack(Operation, frozen=True, kw_only=True):
    examples = (TWO,)

    def apply(self, b: Builder, xs: Any) -> Value:
        given = listed(b, xs)
        if given[0].rank < 2:
            raise refusal("unsupported-graph", "ops.vstack of vectors: Keras' backends differ")
        return joined(b, given, 0)


@operation("Dstack")
class Dstack(Operation, frozen=True, kw_only=True):
    examples = (TWO, example(on=((4,), (4,)), args=[["x0", "x1"]]))

    def apply(self, b: Builder, xs: Any) -> Value:
        given = listed(b, xs)
        if given[0].rank < 2:
            raise refusal("unsupported-graph", "ops.dstack of vectors")
        if given[0].rank == 2:
            given = [b.call("unsqueeze", v, shape=(*v.known_shape, 1), dim=2) for v in given]
        return joined(b, given, 2)


# ---- splitting


def divided(b: Builder, x: Value, places: int | list[int], axis: int, *, equal: bool = True) -> list[Value]:
    """Into so many parts, or at these places."""
    size = x.dim(axis)
    if isinstance(places, int):
        count = places
        if count < 1 or (equal and size is not None and size % count):
            raise refusal("bad-config", f"an axis of {size} in {count} parts")
        sizes: list[int | None] = [None if size is None else size // count + (i < size % count) for i in range(count)]
    else:
        ends = [0, *places]
        if any(later < former for former, later in zip(ends, places, strict=False)):
            raise refusal("unsupported-option", f"ops.split at {places}")
        if size is not None and places and places[-1] > size:
            raise refusal("bad-config", f"an axis of {size} split at {places}")
        sizes = [later - former for former, later in zip(ends, places, strict=False)]
        sizes.append(None if size is None else size - ends[-1])
    if len(sizes) == 1:
        return [x]
    shapes = [resized(x, axis, n) for n in sizes]
    return b.calls("split_at", x, shapes=shapes, at=places, dim=axis)


class Splitting(Operation, frozen=True, kw_only=True):
    """along  the axis, where it is not an option"""

    indices_or_sections: int | list[int]
    along: ClassVar[int]

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = tensors(b, x)
        axis = 0 if x.rank == 1 and self.along == 1 else axis_of(self.along, x.rank)
        return divided(b, x, self.indices_or_sections, axis)


@operation("Split")
class Split(Operation, frozen=True, kw_only=True):
    indices_or_sections: int | list[int]
    axis: int = 0
    examples = (
        example(on=((5, 4),), indices_or_sections=2, axis=-1),
        example(on=((5, 4),), indices_or_sections=[1, 4], axis=1),
        example(on=((5, 4),), indices_or_sections=1, axis=1),
    )

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = tensors(b, x)
        return divided(b, x, self.indices_or_sections, axis_of(self.axis, x.rank))


@operation("ArraySplit")
class ArraySplit(Operation, frozen=True, kw_only=True):
    indices_or_sections: int
    axis: int = 0
    examples = (example(on=((5, 4),), indices_or_sections=3, axis=1),)

    def apply(self, b: Builder, x: Any) -> list[Value]:
        (x,) = tensors(b, x)
        return divided(b, x, self.indices_or_sections, axis_of(self.axis, x.rank), equal=False)


declare("Vsplit", Splitting, along=0, examples=(example(on=((5, 4),), indices_or_sections=[1]),))
declare("Hsplit", Splitting, along=1, examples=(example(on=((6, 4),), indices_or_sections=3),))
declare("Dsplit", Splitting, along=2, examples=(example(on=((5, 4),), indices_or_sections=[1, 3]),))


@operation("Meshgrid")
class Meshgrid(Operation, frozen=True, kw_only=True):
    indexing: Literal["xy", "ij"] = "xy"
    examples = tuple(example(on=((4,), ()), indexing=indexing) for indexing in ("xy", "ij"))

    def apply(self, b: Builder, *x: Any) -> list[Value]:
        given = [raveled(b, v) for v in tensors(b, *x)]
        if len({v.dtype for v in given}) > 1:
            raise refusal("unsupported-graph", "ops.meshgrid of tensors of different types")
        shape = [size_of(v.known_shape) for v in given]
        if self.indexing == "xy" and len(shape) > 1:
            shape[:2] = shape[1::-1]
        return b.calls("meshgrid", given, shapes=[tuple(shape)] * len(given), indexing=self.indexing)
