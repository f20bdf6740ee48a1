"""Operations that move elements and compute none: shapes, orders of axes, repeating, padding.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar, Literal

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.ops.dtypes import INTS
from h5port.ops.operation import Operation, axes_of, axis_of, declare, is_number, operation, plus, size_of, tensors
from h5port.ops.reductions import raveled

# ---- axes and shapes


@operation("Reshape")
class Reshape(Operation, frozen=True, kw_only=True):
    newshape: int | list[int | None]
    examples = (example(on=((5, 4),), newshape=[-1, 2, 10]), example(on=((5, 4),), newshape=[-1]))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        wanted = [self.newshape] if isinstance(self.newshape, int) else self.newshape
        dims = [-1 if n is None else n for n in wanted]
        return b.call("reshape_whole", x, shape=reshaped(x.shape, dims), dims=dims)


def reshaped(shape: Shape | None, dims: list[int]) -> Shape:
    known = math.prod(n for n in dims if n != -1)
    total = None if shape is None else size_of(shape)
    if dims.count(-1) > 1 or (total is not None and (total % known if -1 in dims and known else total != known)):
        raise refusal("bad-config", f"a tensor of the shape {shape} reshaped to {dims}")
    return tuple((None if total is None or not known else total // known) if n == -1 else n for n in dims)


@operation("Ravel")
class Ravel(Operation, frozen=True, kw_only=True):
    examples = (example(on=((5, 4),)),)

    def apply(self, b: Builder, x: Any) -> Value:
        return raveled(b, *tensors(b, x))


def permuted(b: Builder, x: Value, order: list[int]) -> Value:
    if sorted(order) != list(range(x.rank)):
        raise refusal("bad-config", f"axes {order} of a tensor of {x.rank} axes")
    return b.call("permute", x, shape=tuple(x.known_shape[a] for a in order), dims=order)


@operation("Transpose")
class Transpose(Operation, frozen=True, kw_only=True):
    axes: list[int] | None = None
    examples = (example(on=((5, 4),)), example(on=((5, 4),), axes=[0, 2, 1]), example(on=((5, 4),), axes=[2, 0, -2]))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        order = list(range(x.rank))[::-1] if self.axes is None else axes_of(self.axes, x.rank)
        return permuted(b, x, order)


@operation("Swapaxes")
class Swapaxes(Operation, frozen=True, kw_only=True):
    axis1: int
    axis2: int
    examples = (example(on=((5, 4),), axis1=1, axis2=-1), example(on=((5, 4),), axis1=0, axis2=2))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        one, two = axes_of([self.axis1, self.axis2], x.rank)
        shape = list(x.known_shape)
        shape[one], shape[two] = shape[two], shape[one]
        return x if one == two else b.call("transpose", x, shape=tuple(shape), dim0=one, dim1=two)


@operation("Moveaxis")
class Moveaxis(Operation, frozen=True, kw_only=True):
    source: int | list[int]
    destination: int | list[int]
    examples = (
        example(on=((5, 4),), source=-1, destination=0),
        example(on=((5, 4, 2),), source=[0, 1], destination=[2, -1]),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        source, to = axes_of(self.source, x.rank), axes_of(self.destination, x.rank)
        if len(source) != len(to):
            raise refusal("bad-config", f"ops.moveaxis from {self.source} to {self.destination}")
        order = [a for a in range(x.rank) if a not in source]
        for place, axis in sorted(zip(to, source, strict=True)):
            order.insert(place, axis)
        return x if source == to else permuted(b, x, order)


@operation("ExpandDims")
class ExpandDims(Operation, frozen=True, kw_only=True):
    axis: int | list[int]
    examples = (*(example(on=((5, 4),), axis=a) for a in (1, -1, 0)), example(on=((5, 4),), axis=[0, -1]))

    def apply(self, b: Builder, x: Any) -> Value:
        (y,) = tensors(b, x)
        axes = [self.axis] if isinstance(self.axis, int) else self.axis
        for at in sorted(axes_of(axes, y.rank + len(axes))):
            shape = (*y.known_shape[:at], 1, *y.known_shape[at:])
            y = b.call("unsqueeze", y, shape=shape, dim=at)
        return y


@operation("Squeeze")
class Squeeze(Operation, frozen=True, kw_only=True):
    axis: int | list[int] | None = None
    examples = (
        example(on=((1, 4),), axis=1),
        example(on=((5, 1, 1),), axis=[-1, 2]),
        example(on=((5, 1, 4, 1),)),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if self.axis is None and None in x.known_shape[1:]:
            raise refusal("unsupported-graph", "ops.squeeze of all axes of size 1, where the file does not tell sizes")
        if self.axis is None and x.dim(0) is None:
            b.note("ops.squeeze of all axes: Keras drops the batch, too, where it is 1; here it is kept")
        single = [i for i, n in enumerate(x.known_shape) if n == 1]
        axes = single if self.axis is None else axes_of(self.axis, x.rank)
        if any(x.dim(a) not in (1, None) for a in axes):
            raise refusal("bad-config", f"ops.squeeze of the axes {axes} of {x.shape}")
        return b.call("squeeze", x, shape=tuple(n for i, n in enumerate(x.known_shape) if i not in axes), dim=axes)


@operation("BroadcastTo")
class BroadcastTo(Operation, frozen=True, kw_only=True):
    shape: list[int]
    examples = (example(on=((1, 4),), shape=[5, 3, 4]), example(on=((4,),), shape=[2, 5, 4]))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return b.call("broadcast_to", x, shape=tuple(self.shape), sizes=self.shape)


# ---- repeating and moving


@operation("Repeat")
class Repeat(Operation, frozen=True, kw_only=True):
    repeats: int | list[int]
    axis: int | None = None
    examples = (
        example(on=((5, 4),), repeats=2),
        example(on=((5, 4),), repeats=3, axis=1),
        example(on=((3, 4),), repeats=[2, 0, 1], axis=1),
        example(on=((3, 4),), repeats=[2], axis=-1),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if self.axis is None:
            x = raveled(b, x)
        dim = axis_of(self.axis or 0, x.rank)
        size = x.dim(dim)
        counts = [self.repeats] if isinstance(self.repeats, int) else self.repeats
        if len(counts) == 1:
            shape = resized(x, dim, None if size is None else size * counts[0])
            return b.call("repeat", x, shape=shape, repeats=counts[0], dim=dim)
        if size is not None and size != len(counts):
            raise refusal("bad-config", f"ops.repeat by {counts} of an axis of {size}")
        places = [i for i, n in enumerate(counts) for _ in range(n)]
        return picked(b, x, dim, places)


def resized(x: Value, axis: int, size: int | None) -> Shape:
    return (*x.known_shape[:axis], size, *x.known_shape[axis + 1 :])


def picked(b: Builder, x: Value, dim: int, places: list[int]) -> Value:
    """These places of an axis, in this order."""
    return b.call("pick", x, shape=resized(x, dim, len(places)), dim=dim, places=places)


@operation("Tile")
class Tile(Operation, frozen=True, kw_only=True):
    repeats: int | list[int]
    examples = (
        example(on=((5, 4),), repeats=2),
        example(on=((5, 4),), repeats=[2, 3]),
        example(on=((4,),), repeats=[2, 1, 3]),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        counts = [self.repeats] if isinstance(self.repeats, int) else self.repeats
        rank = max(len(counts), x.rank)
        counts = [1] * (rank - len(counts)) + counts
        sizes = (1,) * (rank - x.rank) + x.known_shape
        shape = tuple(None if n is None else n * k for n, k in zip(sizes, counts, strict=True))
        return b.call("tile", x, shape=shape, repeats=counts)


@operation("Roll")
class Roll(Operation, frozen=True, kw_only=True):
    shift: int | list[int]
    axis: int | list[int] | None = None
    examples = (
        example(on=((5, 4),), shift=2),
        example(on=((5, 4),), shift=-1, axis=1),
        example(on=((5, 4),), shift=[1, 2], axis=[1, -1]),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        shifts = [self.shift] if isinstance(self.shift, int) else self.shift
        axes = [] if self.axis is None else axes_of(self.axis, x.rank)
        if len(shifts) != max(len(axes), 1):
            raise refusal("bad-config", f"ops.roll by {self.shift} along {self.axis}")
        return b.call("roll", x, shape=x.shape, shifts=shifts, dims=axes)


@operation("Flip")
class Flip(Operation, frozen=True, kw_only=True):
    axis: int | list[int] | None = None
    examples = tuple(example(on=((5, 4),), axis=axis) for axis in (None, 1, [1, -1]))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return b.call("flip_over", x, shape=x.shape, dims=axes_of(self.axis, x.rank))


class FlipAlong(Operation, frozen=True, kw_only=True):
    along: ClassVar[int]
    examples = (example(on=((5, 4),)),)

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return b.call("flip_over", x, shape=x.shape, dims=axes_of(self.along, x.rank))


declare("Flipud", FlipAlong, along=0)
declare("Fliplr", FlipAlong, along=1)


@operation("Rot90")
class Rot90(Operation, frozen=True, kw_only=True):
    k: int = 1
    axes: tuple[int, int] = (0, 1)
    examples = (
        example(on=((5, 4),)),
        example(on=((5, 5),), k=2, axes=[1, 2]),
        example(on=((5, 4),), k=-1, axes=[2, 1]),
    )

    def apply(self, b: Builder, array: Any) -> Value:
        (x,) = tensors(b, array)
        axes = axes_of(list(self.axes), x.rank)
        if len(set(axes)) != 2:
            raise refusal("bad-config", f"ops.rot90 in the axes {self.axes}")
        if self.k % 4 == 2 and not (None is not x.dim(axes[0]) == x.dim(axes[1])):
            raise refusal("unsupported-option", "ops.rot90 by half a turn in sides that differ: Keras' backends differ")
        shape = list(x.known_shape)
        if self.k % 2:
            shape[axes[0]], shape[axes[1]] = shape[axes[1]], shape[axes[0]]
        return b.call("rot90", x, shape=tuple(shape), k=self.k % 4, dims=axes) if self.k % 4 else x


@operation("Pad")
class Pad(Operation, frozen=True, kw_only=True):
    """The modes of TensorFlow; "symmetric" repeats the border, "reflect" does not."""

    pad_width: int | list[int | list[int]]
    mode: Literal["constant", "reflect", "symmetric"] = "constant"
    examples = (
        example(on=((5, 4),), pad_width=[[0, 0], [1, 2], [2, 1]]),
        example(on=((5, 4),), pad_width=[[1, 0], [0, 2], [0, 0]], args=["x0", 0.5]),
        example(on=((5, 4),), pad_width=[[0, 0], [1, 2], [3, 1]], mode="reflect"),
        example(on=((5, 4),), pad_width=[[1, 2], [1, 5], [4, 1]], mode="symmetric"),
        example(on=((5, 4),), pad_width=[[0, 0], [1, 2], [2, 1]], dtype="int32"),
    )

    def apply(self, b: Builder, x: Any, constant_values: Any = None) -> Value:
        (y,) = tensors(b, x)
        pads = self._pads(y.rank)
        if any(n < 0 for pair in pads for n in pair):
            raise refusal("bad-config", f"ops.pad by {self.pad_width}")
        if constant_values is not None and (self.mode != "constant" or not is_number(constant_values)):
            raise refusal("unsupported-option", f"ops.pad with constant_values {constant_values!r}")
        if self.mode == "constant":
            shape = tuple(plus(n, *pair) for n, pair in zip(y.known_shape, pads, strict=True))
            flat = [n for pair in reversed(pads) for n in pair]
            fill = constant_values or 0
            return b.call("pad", y, shape=shape, pads=flat, fill=int(fill) if y.dtype in INTS else fill)
        edge = 1 if self.mode == "symmetric" else 0
        for dim, (before, after) in enumerate(pads):
            if before or after:
                shape = resized(y, dim, plus(y.dim(dim), before, after))
                y = b.call("pad_mirrored", y, shape=shape, dim=dim, before=before, after=after, edge=edge)
        return y

    def _pads(self, rank: int) -> list[list[int]]:
        width: list[Any] = [self.pad_width] if isinstance(self.pad_width, int) else list(self.pad_width)
        rows = [width] if all(isinstance(row, int) for row in width) else width
        pairs = [[*row, *row] if len(row) == 1 else list(row) for row in rows]
        pairs = pairs * rank if len(pairs) == 1 else pairs
        if len(pairs) != rank or any(len(p) != 2 for p in pairs):
            raise refusal("bad-config", f"ops.pad by {self.pad_width} of a tensor of {rank} axes")
        return pairs


@operation("Diff")
class Diff(Operation, frozen=True, kw_only=True):
    n: int = 1
    axis: int = -1
    examples = (
        example(on=((5, 4),)),
        example(on=((5, 4),), n=2, axis=1),
        example(on=((5, 4),), dtype="bool"),
    )

    def apply(self, b: Builder, a: Any) -> Value:
        (x,) = tensors(b, a)
        dtypes.known(x.dtype)
        if self.n < 0:
            raise refusal("bad-config", f"ops.diff of order {self.n}")
        axis = axis_of(self.axis, x.rank)
        size = x.dim(axis)
        shape = resized(x, axis, None if size is None else max(size - self.n, 0))
        return b.call("diff", x, shape=shape, n=self.n, dim=axis)
