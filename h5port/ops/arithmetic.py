"""Operations of Keras 3 element by element, and the few shape operations that masks in functional graphs are made of.

A node's tensors and constants are its positional arguments; its options stand in the config. Sources:
keras/src/ops/numpy.py of Keras 3.15.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from h5port.errors import refusal
from h5port.layers.builder import Builder, Value
from h5port.ops import dtypes
from h5port.ops.operation import Operation, axes_of, operation, reduced, tensor, tensors


class Like(Operation, frozen=True, kw_only=True):
    dtype: str | None = None
    function: ClassVar[str]

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        dtype = b.layer.dtype or x.dtype
        return b.emit(self.function, x, shape=x.shape, dtype=dtype, args={"dtype": dtype})


@operation("ZerosLike")
class ZerosLike(Like, frozen=True, kw_only=True):
    function = "zeros_like"


@operation("OnesLike")
class OnesLike(Like, frozen=True, kw_only=True):
    function = "ones_like"


@operation("Any")
class AnyOver(Operation, frozen=True, kw_only=True):
    axis: int | list[int] | None = None
    keepdims: bool = False

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        x = b.cast(x, "bool")
        axes = [a % x.rank for a in axes_of(self.axis, x.rank)]
        return b.call("any_over", x, shape=reduced(x, axes, self.keepdims), dim=axes, keepdim=self.keepdims)


@operation("ExpandDims")
class ExpandDims(Operation, frozen=True, kw_only=True):
    axis: int

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        at = self.axis % (x.rank + 1)
        return b.call("unsqueeze", x, shape=(*x.known_shape[:at], 1, *x.known_shape[at:]), dim=self.axis)


@operation("Concatenate")
class Concatenate(Operation, frozen=True, kw_only=True):
    axis: int = 0

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        like = next(v for v in x if isinstance(v, Value))
        given = [tensor(b, v, like) for v in x]
        dtype = dtypes.result_type(*(v.dtype for v in given))
        given = [b.cast(v, dtype) for v in given]
        at = self.axis % given[0].rank
        sizes = [v.dim(at) for v in given]
        total = None if None in sizes else sum(n for n in sizes if n is not None)
        shape = (*given[0].known_shape[:at], total, *given[0].known_shape[at + 1 :])
        return b.call("concatenate", given, shape=shape, dtype=dtype, dim=self.axis)


@operation("Reshape")
class Reshape(Operation, frozen=True, kw_only=True):
    newshape: list[int | None]

    def lower(self, b: Builder, x: Any, **kwargs: Any) -> Value:
        dims = [-1 if n is None else n for n in self.newshape]
        known = math.prod(n for n in dims if n != -1)
        total = None if x.shape is None or None in x.shape else math.prod(n for n in x.shape if n is not None)
        shape = tuple((None if total is None else total // known) if n == -1 else n for n in dims)
        return b.call("reshape_whole", x, shape=shape, dims=dims)


@operation("Average")
class Average(Operation, frozen=True, kw_only=True):
    axis: int | None = None

    def lower(self, b: Builder, x: Any, *args: Any, **kwargs: Any) -> Value:
        weights = kwargs.get("weights", args[0] if args else None)
        axes = [a % x.rank for a in axes_of(self.axis, x.rank)]
        shape = reduced(x, axes, False)
        if weights is None:
            return b.call("mean_over", x, shape=shape, dim=axes, keepdim=False)
        w = tensor(b, weights, x)
        if w.rank != x.rank:
            if w.rank != 1 or len(axes) != 1:
                raise refusal("unsupported-option", "ops.average with weights of another shape than its input")
            sizes = [w.dim(0) if i == axes[0] else 1 for i in range(x.rank)]
            w = b.call("reshape_whole", w, shape=tuple(sizes), dims=sizes)
        return b.call("weighted_mean", x, w, shape=shape, dim=axes)


@operation("Dot")
class Dot(Operation, frozen=True, kw_only=True):
    """numpy.dot: the last axis of one, the last but one (or only) axis of the other."""

    def lower(self, b: Builder, *args: Any, **kwargs: Any) -> Value:
        one, two = tensors(b, *args, *kwargs.values())
        if one.rank == 0 or two.rank == 0:
            return b.call("multiply", one, two, shape=one.shape if one.rank else two.shape)
        axis = max(0, two.rank - 2)
        shape = (*one.known_shape[:-1], *(n for i, n in enumerate(two.known_shape) if i != axis))
        return b.call("tensordot", one, two, shape=shape, axes=[[one.rank - 1], [axis]])
