"""Operations that make tensors of a shape, of a row of numbers, or of an argument.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1.
"""

from __future__ import annotations

import math
from typing import Any, ClassVar

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.layers.merge import broadcast
from h5port.ops import dtypes
from h5port.ops.dtypes import FLOATS, FLOATX
from h5port.ops.operation import Operation, axis_of, declare, is_number, kind, operation, tensor, tensors, values_in


class Like(Operation, frozen=True, kw_only=True):
    dtype: str | None = None
    function: ClassVar[str]
    examples = (example(on=((5, 4),)), example(on=((5, 4),), gives="int32"), example(on=((5, 4),), dtype="bool"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        dtype = dtypes.known(b.layer.dtype or x.dtype)
        return b.emit(self.function, x, shape=x.shape, dtype=dtype, args={"dtype": dtype})


declare("ZerosLike", Like, function="zeros_like")
declare("OnesLike", Like, function="ones_like")
declare("EmptyLike", Like, function="zeros_like")  # on TensorFlow what is empty is zero


@operation("FullLike")
class FullLike(Operation, frozen=True, kw_only=True):
    dtype: str | None = None
    examples = (
        example(on=((5, 4),), args=["x0", 2.5]),
        example(on=((5, 4),), args=["x0", 2], gives="int32"),
        example(on=((5, 4), (1, 4))),
    )

    def apply(self, b: Builder, x: Any, fill_value: Any) -> Value:
        x, fill = tensors(b, x, fill_value)
        dtype = dtypes.known(b.layer.dtype or x.dtype)
        return b.call("expand_as", b.cast(fill, dtype), x, shape=x.shape)


@operation("Full")
class Full(Operation, frozen=True, kw_only=True):
    shape: int | list[int]
    dtype: str | None = None
    examples = (example(on=((4,),), shape=[2, 5, 4], args=["x0"]),)

    def apply(self, b: Builder, fill_value: Any) -> Value:
        (fill,) = tensors(b, fill_value)
        fill = b.cast(fill, dtypes.known(b.layer.dtype or FLOATX))
        sizes = [self.shape] if isinstance(self.shape, int) else self.shape
        return b.call("broadcast_to", fill, shape=tuple(sizes), sizes=sizes)


@operation("Array")
class Array(Operation, frozen=True, kw_only=True):
    dtype: str | None = None
    examples = (example(on=((5, 4),)), example(on=((5, 4),), gives="int32"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return b.cast(x, dtypes.known(b.layer.dtype or x.dtype))


@operation("Size")
class Size(Operation, frozen=True, kw_only=True):
    examples = (example(on=((5, 4),)),)

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return b.call("size", x, shape=(), dtype="int32")


@operation("Ndim")
class Ndim(Operation, frozen=True, kw_only=True):
    examples = (example(on=((5, 4),)),)

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        return tensor(b, x.rank, x)


@operation("Arange")
class Arange(Operation, frozen=True, kw_only=True):
    dtype: str | None = None
    examples = ()

    def apply(self, b: Builder, start: Any, stop: Any = None, step: Any = None) -> Value:
        given = [v for v in (start, stop, step) if v is not None]
        dtype = dtypes.known(b.layer.dtype or dtypes.result_type(*map(kind, given)))
        start, stop = (0, start) if stop is None else (start, stop)
        step = 1 if step is None else step
        if any(isinstance(v, Value) and v.rank for v in given):
            raise refusal("bad-config", "ops.arange of tensors that are not single numbers")
        numbers = all(is_number(v) for v in (start, stop, step))
        size = max(0, math.ceil((stop - start) / step)) if numbers and step else None
        return b.emit("arange", start, stop, step, shape=(size,), dtype=dtype, args={"dtype": dtype})


class Spaced(Operation, frozen=True, kw_only=True):
    """Numbers at equal steps between two tensors, along a new axis."""

    num: int = 50
    endpoint: bool = True
    dtype: str | None = None
    axis: int = 0

    def between(self, b: Builder, start: Any, stop: Any) -> Value:
        dtype = b.layer.dtype or dtypes.result_type(kind(start), kind(stop), "float")
        if dtype not in FLOATS or self.num < 1:
            raise refusal("unsupported-option", f"{b.layer.class_name} of {self.num} numbers of the type {dtype}")
        one, two = (b.cast(v, dtype) for v in tensors(b, start, stop))
        shape = broadcast([one.known_shape, two.known_shape])
        at = axis_of(self.axis, len(shape) + 1)
        args: dict[str, Any] = {"num": self.num, "endpoint": self.endpoint, "dim": at}
        return b.call("spaced", one, two, shape=(*shape[:at], self.num, *shape[at:]), **args)


SPACED = (
    example(on=((4,), (4,)), num=5),
    example(on=((4,), (4,)), num=5, endpoint=False, axis=-1),
    example(on=((4,),), num=3, axis=1, args=["x0", 2.0]),
)


@operation("Linspace")
class Linspace(Spaced, frozen=True, kw_only=True):
    retstep: bool = False
    examples = (*SPACED, example(on=((4,), (4,)), num=5, dtype="int32"))

    def apply(self, b: Builder, start: Any, stop: Any) -> Value:
        if self.retstep:
            raise refusal("unsupported-option", "ops.linspace with retstep=True")
        return self.between(b, start, stop)


@operation("Logspace")
class Logspace(Spaced, frozen=True, kw_only=True):
    base: float = 10
    examples = (*SPACED, example(on=((4,), (4,)), num=5, base=2))

    def apply(self, b: Builder, start: Any, stop: Any) -> Value:
        exponents = self.between(b, start, stop)
        return b.call("power", self.base, exponents, shape=exponents.shape, dtype=exponents.dtype)


@operation("Geomspace")
class Geomspace(Spaced, frozen=True, kw_only=True):
    """Of the sign of the start; TensorFlow takes the absolute values of both ends."""

    examples = SPACED[:1]

    def apply(self, b: Builder, start: Any, stop: Any) -> Value:
        if not values_in([start]):
            raise refusal("unsupported-graph", "ops.geomspace from a constant")
        dtype = b.layer.dtype or FLOATX
        one, two = (b.cast(v, dtype) for v in tensors(b, start, stop))
        if self.axis not in (0, -one.rank - 1) and one.rank:
            raise refusal("unsupported-option", f"ops.geomspace along a new axis {self.axis}")
        ends = [b.call("log10_of_size", v, shape=v.shape) for v in (one, two)]
        exponents = self.between(b, *ends)
        y = b.call("power", 10, exponents, shape=exponents.shape, dtype=exponents.dtype)
        sign = b.call("sign", one, shape=one.shape)
        return b.call("multiply", y, sign, shape=y.shape)
