"""Operations of Keras 3 element by element, and the few shape operations that masks in functional graphs are made of.

A node's tensors and constants are its positional arguments; its options stand in the config. Sources:
keras/src/ops/numpy.py of Keras 3.15.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

import msgspec
import numpy as np

from h5port.errors import refusal
from h5port.layers.base import OPERATIONS, Layer, declares
from h5port.layers.builder import Builder, Value
from h5port.layers.merge import broadcast
from h5port.module.program import Shape
from h5port.schema.graph import Constant

_KINDS = ("bool", "uint8", "int8", "int16", "int32", "int64", "float16", "bfloat16", "float32", "float64")


class Operation(Layer, frozen=True, kw_only=True):
    """A node without weights and without masks."""

    mask = "own"

    def lower(self, b: Builder, *args: Any, **kwargs: Any) -> Any:
        raise NotImplementedError


def operation(*names: str) -> Any:
    return declares(*names, table=OPERATIONS)


def tensor(b: Builder, value: Any, like: Value) -> Value:
    """An argument as a tensor: constants of the graph become tensors beside `like`."""
    if isinstance(value, Value):
        return value
    given = value.value if isinstance(value, Constant) else value
    array = np.asarray(given)
    dtype = (value.dtype if isinstance(value, Constant) else None) or _default_dtype(array)
    return b.emit("constant", like, shape=array.shape, dtype=dtype, args={"value": given, "dtype": dtype})


def _default_dtype(array: np.ndarray[Any, Any]) -> str:
    return {"b": "bool", "i": "int32", "f": "float32"}.get(array.dtype.kind, "float32")


def operands(b: Builder, *args: Any) -> tuple[list[Any], Shape | None, str]:
    """The operands (numbers stay numbers), the shape of their broadcast and their common dtype."""
    values = [a for a in args if isinstance(a, Value)]
    if not values:
        raise refusal("unsupported-graph", "an operation on constants alone")
    given = [a if isinstance(a, Value | bool | int | float) else tensor(b, a, values[0]) for a in args]
    shapes = [v.shape for v in given if isinstance(v, Value)]
    shape = None if any(s is None for s in shapes) else broadcast([s for s in shapes if s is not None])
    return given, shape, promoted(given)


def promoted(given: list[Any]) -> str:
    """The dtype of an operation on these: a number only lifts integers to floats."""
    kinds = [v.dtype for v in given if isinstance(v, Value)]
    widest = max(kinds, key=_KINDS.index)
    numbers = [n for n in given if not isinstance(n, Value)]
    if any(isinstance(n, float) for n in numbers) and not widest.startswith(("float", "bfloat")):
        return "float32"
    if widest == "bool" and any(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
        return "int32"
    return widest


def two_of(args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, Any]:
    """The two operands of a call, given by position or by name."""
    given = [*args, *kwargs.values()]
    if len(given) != 2 or not any(isinstance(a, Value) for a in given):
        raise refusal("unsupported-graph", f"an operation of two operands on {len(given)} arguments")
    return given[0], given[1]


class Binary(Operation, frozen=True, kw_only=True):
    """function  of runtime/functions.py
    gives     the dtype of the result, where it is not that of the operands
    takes     the dtype that both operands are cast to: "common", or one of its own; None: numbers stay numbers
    """

    function: ClassVar[str]
    gives: ClassVar[str | None] = None
    takes: ClassVar[str | None] = None

    def lower(self, b: Builder, *args: Any, **kwargs: Any) -> Value:
        pair = two_of(args, kwargs)
        given, shape, dtype = operands(b, *pair)
        if self.takes is not None:
            like = next(a for a in pair if isinstance(a, Value))
            wanted = dtype if self.takes == "common" else self.takes
            given = [b.cast(tensor(b, a, like), wanted) for a in given]
        return b.call(self.function, *given, shape=shape, dtype=self.gives or dtype)


def _binary(name: str, function: str, **settings: Any) -> None:
    """Declare an operation of two operands."""
    namespace = {"function": function, **settings}
    operation(name)(msgspec.defstruct(name, [], bases=(Binary,), namespace=namespace, frozen=True, kw_only=True))


_binary("Add", "add")
_binary("Subtract", "subtract")
_binary("Multiply", "multiply")
_binary("Maximum", "maximum", takes="common")  # torch's function takes tensors only, of one dtype
_binary("Minimum", "minimum", takes="common")
_binary("NotEqual", "not_equal", gives="bool")
_binary("LogicalOr", "logical_or", gives="bool", takes="bool")


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


def axes_of(axis: int | list[int] | None, rank: int) -> list[int]:
    if axis is None:
        return list(range(rank))
    return [axis] if isinstance(axis, int) else list(axis)


def reduced(x: Value, axes: list[int], keepdims: bool) -> Shape:
    """The shape after a reduction over these (non-negative) axes."""
    if keepdims:
        return tuple(1 if i in axes else n for i, n in enumerate(x.known_shape))
    return tuple(n for i, n in enumerate(x.known_shape) if i not in axes)


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
        dtype = promoted(given)
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
        one, two = two_of(args, kwargs)
        like = one if isinstance(one, Value) else two
        one, two = tensor(b, one, like), tensor(b, two, like)
        if one.rank == 0 or two.rank == 0:
            return b.call("multiply", one, two, shape=one.shape if one.rank else two.shape)
        axis = max(0, two.rank - 2)
        shape = (*one.known_shape[:-1], *(n for i, n in enumerate(two.known_shape) if i != axis))
        return b.call("tensordot", one, two, shape=shape, axes=[[one.rank - 1], [axis]])
