"""Counts, histograms, correlations, integrals.

keras/src/ops/numpy.py and keras/src/backend/tensorflow/numpy.py of Keras 3.15.1.
"""

from __future__ import annotations

from typing import Any, Literal

from h5port.errors import refusal
from h5port.layers.base import example
from h5port.layers.builder import Builder, Value
from h5port.ops import dtypes
from h5port.ops.dtypes import FLOATS, INTS
from h5port.ops.operation import Operation, axis_of, listed, operation, tensors
from h5port.ops.shaping import permuted


@operation("Bincount")
class Bincount(Operation, frozen=True, kw_only=True):
    """How often each number stands in a row; the largest number says how many there are."""

    weights: None = None
    minlength: int = 0
    sparse: Literal[False] = False
    examples = (
        example(on=((7,),), dtype="int32"),
        example(on=((7,),), dtype="int32", minlength=9),
        example(on=((),), dtype="int32"),
    )

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if x.dtype not in INTS or x.rank not in (1, 2):
            raise refusal("unsupported-graph", f"ops.bincount of {x.dtype}, {x.rank} axes")
        shape = (*x.known_shape[:-1], None)
        return b.call("bincount", x, shape=shape, dtype="int32", minlength=self.minlength)


@operation("Correlate")
class Correlate(Operation, frozen=True, kw_only=True):
    mode: Literal["valid", "same", "full"] = "valid"
    examples = tuple(example(on=((),), mode=mode, args=["x0", [0.5, -2.0]]) for mode in ("valid", "same", "full"))

    def apply(self, b: Builder, x1: Any, x2: Any) -> Value:
        one, two = listed(b, [x1, x2])
        if one.rank != 1 or two.rank != 1:
            raise refusal("bad-config", "ops.correlate of tensors of several axes")
        dtype = one.dtype if one.dtype in FLOATS else "float64" if one.dtype == "int64" else "float32"
        one, two = b.cast(one, dtype), b.cast(two, dtype)
        n, m = one.dim(0), two.dim(0)
        if self.mode == "valid" and (n is not None and m is not None and m > n):
            raise refusal("unsupported-graph", "ops.correlate with a second vector that is longer than the first")
        known = n is not None and m is not None
        size = {"valid": (n or 0) - (m or 0) + 1, "same": max(n or 0, m or 0), "full": (n or 0) + (m or 0) - 1}
        return b.call("correlate", one, two, shape=(size[self.mode] if known else None,), mode=self.mode)


@operation("Corrcoef")
class Corrcoef(Operation, frozen=True, kw_only=True):
    """Of the rows of a matrix."""

    examples = (example(on=((5,),)), example(on=((5,),), dtype="int32"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        if x.rank != 2 or x.dtype == "int64":
            raise refusal("unsupported-graph", f"ops.corrcoef of {x.dtype}, {x.rank} axes")
        return b.call("corrcoef", b.cast(x, dtypes.floating(x.dtype)), shape=(x.dim(0), x.dim(0)))


@operation("Trapezoid")
class Trapezoid(Operation, frozen=True, kw_only=True):
    """The integral by the trapezoidal rule, over steps of one width or between given places."""

    x: list[float] | None = None
    dx: float = 1.0
    axis: int = -1
    examples = (
        example(on=((5, 4),)),
        example(on=((5, 4),), dx=0.5, axis=1),
        example(on=((5, 4),), x=[0.0, 1.0, 3.0, 3.5]),
        example(on=((5, 4),), axis=1, dtype="int32"),
    )

    def apply(self, b: Builder, y: Any) -> Value:
        (y,) = tensors(b, y)
        y = b.cast(y, dtypes.floating(y.dtype))
        axis = axis_of(self.axis, y.rank)
        if self.x is not None and self.axis != -1:
            raise refusal("unsupported-option", "ops.trapezoid between places of an axis that is not the last")
        y = permuted(b, y, [*(i for i in range(y.rank) if i != axis), axis])
        widths = (
            self.dx if self.x is None else [after - before for before, after in zip(self.x, self.x[1:], strict=False)]
        )
        return b.call("trapezoid", y, shape=y.known_shape[:-1], widths=widths)


@operation("Vander")
class Vander(Operation, frozen=True, kw_only=True):
    N: int | None = None
    increasing: bool = False
    examples = (example(on=((),), N=4), example(on=((),), N=3, increasing=True, dtype="int32"))

    def apply(self, b: Builder, x: Any) -> Value:
        (x,) = tensors(b, x)
        count = x.dim(0) if self.N is None else self.N
        if x.rank != 1 or count is None:
            raise refusal("unsupported-graph", "ops.vander of anything but a vector, or of as many powers as elements")
        powers = list(range(count)) if self.increasing else list(range(count - 1, -1, -1))
        y = b.cast(x, dtypes.floating(x.dtype))
        return b.cast(b.call("powers", y, shape=(*x.known_shape, count), exponents=powers), x.dtype)
