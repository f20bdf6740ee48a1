"""Reductions over axes, plain and without NaN, running sums and products, places of extremes.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, ClassVar

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.module.program import Shape
from h5port.ops import dtypes
from h5port.ops.dtypes import FLOATS, Rule
from h5port.ops.operation import (
    Operation,
    axes_of,
    axis_of,
    declare,
    operation,
    reduced,
    size_of,
    tensor,
    tensors,
)

Axes = int | list[int] | None


class Reduction(Operation, frozen=True, kw_only=True):
    """function  of runtime/functions, with `dim` (a list of axes) and `keepdim`
    rule      the type that the input is cast to
    gives     the type of the result, where it is not that one
    plain     the function for inputs that cannot hold NaN, where it is another one
    """

    axis: Axes = None
    keepdims: bool = False
    function: ClassVar[str]
    rule: ClassVar[Rule] = dtypes.same
    gives: ClassVar[str | None] = None
    plain: ClassVar[str | None] = None

    def apply(self, b: Builder, x: Any) -> Value:
        return self.reduce(b, x, self.axis, self.keepdims)

    def reduce(self, b: Builder, x: Any, axis: Axes, keepdims: bool) -> Value:
        (x,) = tensors(b, x)
        axes = some_axes(axis, x.rank)
        function = self.function if x.dtype in FLOATS or self.plain is None else self.plain
        x = b.cast(x, type(self).rule(x.dtype))
        shape = reduced(x, axes, keepdims)
        return b.call(function, x, shape=shape, dtype=self.gives, dim=axes, keepdim=keepdims)


def some_axes(axis: Axes, rank: int) -> list[int]:
    if axis == []:
        raise refusal("unsupported-option", "a reduction over no axis at all")
    return axes_of(axis, rank)


OVER = (
    example(on=((5, 4),)),
    example(on=((5, 4),), axis=1),
    example(on=((5, 4),), axis=-1, keepdims=True),
    example(on=((5, 4),), axis=[0, 2]),
    example(on=((5, 4),), axis=[1, 2], keepdims=True, dtype="int32"),
)
FLOATS_OVER = OVER[:4]


def _reduction(
    name: str,
    function: str,
    rule: Rule = dtypes.same,
    *,
    gives: str | None = None,
    plain: str | None = None,
    examples: Any = OVER,
) -> None:
    settings = {"function": function, "rule": staticmethod(rule), "gives": gives, "plain": plain}
    declare(name, Reduction, **settings, examples=examples)


_reduction("All", "all_over", dtypes.boolean)
_reduction("Any", "any_over", dtypes.boolean)
_reduction("Amax", "max_over")
_reduction("Amin", "min_over")
_reduction("Ptp", "range_over")
_reduction("Sum", "sum_over", dtypes.total)
_reduction("Mean", "mean_over", dtypes.floating)
_reduction("Var", "var_over", dtypes.floating)
_reduction("Std", "std_over", dtypes.floating)
_reduction("Nanmax", "nanmax_over", plain="max_over")
_reduction("Nanmin", "nanmin_over", plain="min_over")
_reduction("Nansum", "nansum_over", dtypes.total, plain="sum_over")
_reduction("Nanprod", "nanprod_over", dtypes.total, plain="prod_over")
_reduction("Nanmean", "nanmean_over", dtypes.floating)
_reduction("Nanvar", "nanvar_over", dtypes.floating)
_reduction("Nanstd", "nanstd_over", dtypes.floating)


@operation("Prod")
class Prod(Reduction, frozen=True, kw_only=True):
    """TensorFlow multiplies in the input's own type where a `dtype` is asked for, and leaves it so."""

    dtype: str | None = None
    function = "prod_over"
    examples = (*OVER, example(on=((5, 4),), axis=1, dtype="int32", gives="int32"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if b.layer.dtype is None or b.layer.dtype == x.dtype:
            return self.reduce(b, b.cast(x, dtypes.total(x.dtype)), self.axis, self.keepdims)
        raise refusal("unsupported-option", f"ops.prod of {x.dtype} as {b.layer.dtype}: Keras' backends differ")


class Extreme(Reduction, frozen=True, kw_only=True):
    initial: float | None = None
    bound: ClassVar[str]

    def apply(self, b: Builder, x: Any) -> Value:
        y = self.reduce(b, x, self.axis, self.keepdims)
        if self.initial is None:
            return y
        if y.dtype == "bool":
            raise refusal("unsupported-option", f"{b.layer.class_name} of booleans with an initial value")
        initial = self.initial if y.dtype in FLOATS else int(self.initial)
        return b.call(self.bound, y, shape=y.shape, bound=initial)


@operation("Max")
class Max(Extreme, frozen=True, kw_only=True):
    function = "max_over"
    bound = "at_least"
    examples = (*OVER, example(on=((5, 4),), axis=1, initial=0.75))


@operation("Min")
class Min(Extreme, frozen=True, kw_only=True):
    function = "min_over"
    bound = "at_most"
    examples = (*OVER, example(on=((5, 4),), axis=1, initial=-0.75))


@operation("CountNonzero")
class CountNonzero(Operation, frozen=True, kw_only=True):
    axis: Axes = None
    examples = tuple(example(on=((5, 4),), axis=axis, dtype="int32") for axis in (None, 1, [0, 2]))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        axes = some_axes(self.axis, x.rank)
        return b.call("count_nonzero", x, shape=reduced(x, axes, False), dtype="int32", dim=axes)


@operation("Average")
class Average(Operation, frozen=True, kw_only=True):
    axis: int | None = None
    examples = (
        example(on=((5, 4),)),
        example(on=((5, 4),), axis=1, dtype="int32"),
        example(on=((5, 4), (5, 4)), axis=-1),
        example(on=((5, 4), (5, 4))),
        example(on=((5, 4), ()), axis=0),
        example(on=((5, 4),), axis=2, args=["x0", [0.5, -1.0, 2.0, 3.0]]),
    )

    def apply(self, b: Builder, x: Any, weights: Any = None) -> Value:
        (x,) = tensors(b, x)
        axes = axes_of(self.axis, x.rank)
        shape = reduced(x, axes, False)
        if weights is None:
            x = b.cast(x, dtypes.floating(x.dtype))
            return b.call("mean_over", x, shape=shape, dim=axes, keepdim=False)
        w = tensor(b, weights, x)
        dtype = dtypes.result_type(x.dtype, w.dtype, "float")
        x, w = b.cast(x, dtype), b.cast(w, dtype)
        if w.rank != x.rank:
            if w.rank != 1 or self.axis is None:
                raise refusal("unsupported-option", "ops.average with weights of another shape than its input")
            sizes = [-1 if i == axes[0] else 1 for i in range(x.rank)]
            w = b.call("reshape_whole", w, shape=tuple(w.dim(0) if n == -1 else 1 for n in sizes), dims=sizes)
        return b.call("weighted_mean", x, w, shape=shape, dim=axes)


# ---- running sums


def raveled(b: Builder, x: Value) -> Value:
    return x if x.rank == 1 else b.call("ravel", x, shape=(size_of(x.known_shape),))


class Cumulative(Operation, frozen=True, kw_only=True):
    axis: int | None = None
    dtype: str | None = None
    function: ClassVar[str]
    nan: ClassVar[float | None] = None

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if self.nan is not None and x.dtype in FLOATS:
            x = b.call("nan_to_num", x, shape=x.shape, nan=self.nan, posinf=None, neginf=None)
        x = b.cast(x, dtypes.number(b.layer.dtype or x.dtype))
        if self.axis is None:
            x = raveled(b, x)
        dim = axis_of(self.axis or 0, x.rank)
        return b.emit(self.function, x, shape=x.shape, dtype=x.dtype, args={"dim": dim, "dtype": x.dtype})


RUNNING = (
    example(on=((5, 4),)),
    example(on=((5, 4),), axis=1),
    example(on=((5, 4),), axis=-1, dtype="int32"),
    example(on=((5, 4),), axis=1, dtype="int32", gives="float32"),
)
declare("Cumsum", Cumulative, function="cumsum", examples=RUNNING)
declare("Cumprod", Cumulative, function="cumprod", examples=RUNNING)
declare("Nancumsum", Cumulative, function="cumsum", nan=0.0, examples=RUNNING)
declare("Nancumprod", Cumulative, function="cumprod", nan=1.0, examples=RUNNING)


# ---- places


class Place(Operation, frozen=True, kw_only=True):
    """Where the extreme stands. TensorFlow takes -0.0 for less than 0.0 here."""

    axis: int | None = None
    keepdims: bool = False
    function: ClassVar[str]
    nan: ClassVar[bool] = False

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        x = b.cast(x, dtypes.ordered(x.dtype))
        if self.axis is None:
            axis, shape = None, ((1,) * x.rank if self.keepdims else ())
        else:
            axis = axis_of(self.axis, x.rank)
            shape = reduced(x, [axis], self.keepdims)
        signed = "signed_zeros" if x.dtype in FLOATS else "identity"
        ordered = b.call(signed, x, shape=x.shape)
        return self.place(b, x, ordered, shape, {"dim": axis, "keepdim": self.keepdims})

    def place(self, b: Builder, x: Value, ordered: Value, shape: Shape, args: dict[str, Any]) -> Value:
        if self.nan and x.dtype in FLOATS:
            return b.call(f"nan{self.function}", ordered, shape=shape, dtype="int32", **args)
        return b.call(self.function, ordered, shape=shape, dtype="int32", **args)


PLACES = (
    example(on=((5, 4),)),
    example(on=((5, 4),), axis=1),
    example(on=((5, 4),), axis=-1, keepdims=True),
    example(on=((5, 4),), axis=2, dtype="int32"),
    example(on=((5, 4),), keepdims=True),
)
declare("Argmax", Place, function="argmax", examples=PLACES)
declare("Argmin", Place, function="argmin", examples=PLACES)
declare("Nanargmax", Place, function="argmax", nan=True, examples=PLACES[:4])
declare("Nanargmin", Place, function="argmin", nan=True, examples=PLACES[:4])
